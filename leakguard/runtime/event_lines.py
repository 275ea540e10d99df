"""`run --json`, `exec --json`: each event as one line of JSON on stdout or stderr."""

import json
import logging
import sys
from collections.abc import Iterable
from typing import TextIO

from leakguard.core.events import Event

log = logging.getLogger("leakguard")


class EventLines:
    """Writes until nobody reads any more; then it stops, and the guard goes on."""

    def __init__(self, to: str) -> None:
        """Write to `stdout` or `stderr`; empty: nowhere."""
        streams: dict[str, TextIO] = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._stream = streams.get(to)

    def write(self, events: Iterable[Event]) -> None:
        """Write one line for each event."""
        if self._stream is None:
            return
        try:
            for event in events:
                self._stream.write(
                    json.dumps(event.to_line(), ensure_ascii=False, separators=(",", ":")) + "\n"
                )
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._stream = None
            log.warning("events are no longer printed: %s", error)
