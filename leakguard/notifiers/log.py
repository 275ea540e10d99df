"""Log: one line per alert, to a file or to standard error."""

import json
import os
import sys
from dataclasses import field
from enum import StrEnum
from typing import Any

from leakguard.core.alerts import Alert
from leakguard.core.errors import NotifyError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import rfc3339
from leakguard.notifiers._text import clean, plain_details
from leakguard.notifiers.base import Notifier, NotifierContext
from leakguard.plugins import doc


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of the channel `log`."""

    path: str = field(default="", metadata=doc("File to append to; empty means standard error."))
    format: LogFormat = field(
        default=LogFormat.TEXT, metadata=doc("`text` (key=value pairs) or `json`.")
    )


class LogNotifier(Notifier):
    """Appends; the file is opened for each line, so it may be rotated or removed at any time."""

    def __init__(self, options: Options, context: NotifierContext) -> None:
        """Keep the options."""
        self._options = options

    def send(self, alert: Alert) -> str:
        """Write one line."""
        line = self.preview(alert) + "\n"
        path = self._options.path
        try:
            if path:
                _append(path, line.encode())
            else:
                sys.stderr.write(line)
                sys.stderr.flush()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise NotifyError(f"cannot write to {path or 'standard error'}: {reason}") from error
        return "written"

    def preview(self, alert: Alert) -> str:
        """Show the line."""
        line = line_of(alert)
        if self._options.format is LogFormat.JSON:
            return _printable(json.dumps(line, allow_nan=False, separators=(",", ":")))
        return " ".join(f"{_word(name)}={_word(value)}" for name, value in line.items())


def line_of(alert: Alert) -> dict[str, Any]:
    """Give what a line says, in the words of the event."""
    line: dict[str, Any] = {
        "at": rfc3339(alert.wall_s),
        "severity": alert.severity.value,
        "status": alert.status.value,
        "event": alert.kind.value,
        "service": clean(alert.service) or None,
        "host": clean(alert.host),
        "id": clean(alert.id),
        "message": clean(alert.summary),
    }
    return {**line, **{k: v for k, v in plain_details(alert.details).items() if k not in line}}


def _word(value: object) -> str:
    """Write a value so that a line stays a line: quoted and escaped unless it is a plain word."""
    if isinstance(value, str) and value and all(c.isalnum() or c in "-_.:/" for c in value):
        return value if value.isascii() else json.dumps(value)
    return "-" if value is None else _printable(json.dumps(value))


def _printable(text: str) -> str:
    """Escape the one control character that JSON lets pass."""
    return text.replace("\x7f", "\\u007f")


def _append(path: str, line: bytes) -> None:
    """Append with one write, so that lines of several writers never mix."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    try:
        written = os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if written != len(line):
        raise OSError(28, "the line was cut: the disk is full")
