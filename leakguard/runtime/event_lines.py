"""`run --json`, `exec --json`: each event as one line of JSON on stdout or stderr."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import TextIO

from leakguard.core.events import Detail, Event
from leakguard.core.instant import Clock
from leakguard.core.severity import Severity
from leakguard.runtime.line_writer import LineWriter

log = logging.getLogger("leakguard")

EVENTS_DROPPED = "EventsDropped"
"""No event of the guard: it stands only on this stream, where others should have been."""


class EventLines:
    """Writes until nobody reads any more; then it stops, and the guard goes on.

    A reader who is too slow misses events, and is told how many; the store has them all.
    """

    def __init__(self, to: str, clock: Clock) -> None:
        """Write to `stdout` or `stderr`; empty: nowhere."""
        self._clock = clock
        streams: dict[str, TextIO | None] = {"stdout": sys.stdout, "stderr": sys.stderr}
        stream = streams.get(to)  # None as well where the descriptor was closed at the start
        self._writer = (
            LineWriter(stream.fileno(), self._dropped, _report_broken)
            if stream is not None
            else None
        )

    def write(self, events: Iterable[Event]) -> None:
        """Write one line for each event; never blocks."""
        if self._writer is not None:
            for event in events:
                self._writer.put(_line(event.to_line()))

    def flush(self, timeout_s: float) -> None:
        """Give a slow reader a last chance."""
        if self._writer is not None and not self._writer.flush(timeout_s):
            log.warning("the last events were not printed: nobody reads them")

    def _dropped(self, count: int) -> str:
        were = "event was" if count == 1 else "events were"
        return _line(
            {
                "event": EVENTS_DROPPED,
                "service": None,
                "at": self._clock.now().rfc3339(),
                "severity": Severity.WARNING.value,
                "message": f"{count} {were} not printed: they were not read fast enough",
                "count": count,
            }
        )


def _line(plain: Mapping[str, Detail]) -> str:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def _report_broken(error: OSError) -> None:
    log.warning("events are no longer printed: %s", error)
