"""What every command shares when it speaks: exit codes, JSON on stdout, plain tables, colours."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import IntEnum

from leakguard.core.errors import (
    ConfigError,
    LeakguardError,
    PermissionRefused,
    PluginError,
    UnitError,
    UsageError,
)

GAP = "  "
NARROWEST = 30
"""Text is not folded into less, whatever the terminal says."""
CELL = 32
"""What a cell of prose is cut to where the terminal is narrow."""
UNKNOWN = "-"
"""What stands in a table where a value is not known."""


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PERMISSION = 77
    CONFIG = 78
    INTERRUPTED = 130


_CODES: tuple[tuple[type[LeakguardError], Exit], ...] = (
    (ConfigError, Exit.CONFIG),
    (PluginError, Exit.CONFIG),
    (UsageError, Exit.USAGE),
    (UnitError, Exit.USAGE),
    (PermissionRefused, Exit.PERMISSION),
)


def exit_code(error: LeakguardError) -> Exit:
    """Give the exit code that an error ends a command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def complain(error: LeakguardError) -> Exit:
    """Print an error to stderr, each of its problems on one line, and give the exit code."""
    for line in str(error).splitlines() or [type(error).__name__]:
        talk(f"leakguard: {line}")
    return exit_code(error)


def talk(message: str) -> None:
    """Say something to the person: stderr, so that stdout stays data."""
    print(message, file=sys.stderr, flush=True)


def emit_json(document: object) -> None:
    """Print one JSON document for people and programs alike."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def emit_line(record: object) -> None:
    """Print one record of a stream as one line of JSON."""
    print(json.dumps(record, ensure_ascii=False, separators=(",", ":")), flush=True)


def coloured() -> bool:
    """Tell whether stdout is a terminal that wants colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def paint(text: str, style: str) -> str:
    """Colour `text` (`red`, `bold`, …) when stdout wants colours; else give it as it is."""
    if not style or not text or not coloured():
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align columns under a header; the last column is not padded."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def count(number: int, word: str) -> str:
    """Give a number with its word: `1 restart`, `3 restarts`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def cut(text: str, most: int = CELL) -> str:
    """Give at most so many letters of a text, and show that it goes on."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def local_time(text: str) -> str:
    """Print an RFC 3339 time in the reader's zone: `Mon 23 Nov 02:20:05`."""
    return instant(text).astimezone().strftime("%a %d %b %H:%M:%S")


def instant(text: str) -> datetime:
    """Read an RFC 3339 time."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
