"""Values to columns and back: JSON in plain ASCII, times in milliseconds, sizes in 64 bits."""

import json
import sqlite3
from typing import Any, TypeVar

from leakguard.core.alerts import Alert
from leakguard.core.codec import from_plain, to_plain
from leakguard.core.errors import CodecError
from leakguard.core.events import Event
from leakguard.store.base import Delivery, DeliveryState

T = TypeVar("T")

BIGGEST = 2**63 - 1

DELIVERY_COLUMNS = "alert, channel, created_wall_s, next_try_wall_s, state, attempts, answer"


def pack(value: object) -> str:
    """Write a core value as JSON; ASCII, because a process name may hold half a character."""
    return json.dumps(to_plain(value), separators=(",", ":"))


def unpack(expected: type[T], text: str) -> T:
    """Read back what `pack` wrote; CodecError when it does not fit."""
    try:
        return from_plain(expected, json.loads(text))
    except ValueError as error:
        raise CodecError(f"{expected.__name__}: not JSON: {error}") from error


def key(text: str) -> str:
    """Make a text that SQLite can hold as a key, whatever bytes it came from."""
    return text.encode("utf-8", "backslashreplace").decode()


def ms(seconds: float) -> int:
    """Give whole milliseconds."""
    return round(seconds * 1000)


def size(value: int) -> int:
    """Hold a size to what SQLite's integers can carry."""
    return max(-BIGGEST, min(BIGGEST, int(value)))


def meta(connection: sqlite3.Connection, name: str, default: str = "") -> str:
    """Read one entry of `meta`."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (name,)).fetchone()
    return default if row is None else str(row[0])


def set_meta(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Write one entry of `meta`."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, str(value)))


def to_delivery(row: tuple[Any, ...]) -> Delivery:
    """Read a row of DELIVERY_COLUMNS."""
    alert, channel, created, next_try, state, attempts, answer = row
    return Delivery(
        alert=unpack(Alert, alert),
        channel=channel,
        created_wall_s=created,
        next_try_wall_s=next_try,
        state=DeliveryState(state),
        attempts=attempts,
        answer=answer,
    )


def readable_deliveries(rows: list[tuple[Any, ...]]) -> list[Delivery]:
    """Read rows of DELIVERY_COLUMNS, leaving out what another version wrote differently."""
    found = []
    for row in rows:
        try:
            found.append(to_delivery(row))
        except (CodecError, ValueError):
            continue
    return found


def readable_events(rows: list[tuple[str]]) -> list[Event]:
    """Read rows of `event`, leaving out what another version wrote differently."""
    found = []
    for (text,) in rows:
        try:
            found.append(unpack(Event, text))
        except CodecError:
            continue
    return found
