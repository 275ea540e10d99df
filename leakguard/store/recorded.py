"""Read all that is kept of a service's memory, each stretch of time in its finest form."""

import sqlite3
from typing import NamedTuple

from leakguard.store.rows import key


class KeptPoint(NamedTuple):
    """A sample, or the median of a minute or an hour, and the run that it belongs to."""

    wall_s: float
    value_bytes: int
    run: int


_ROLLED = (
    "SELECT ts_ms + {half}, mid_bytes, run FROM {table}"
    " WHERE service = ? AND ts_ms + {width} <= ? ORDER BY ts_ms, run"
)
_TABLES = (("samples_1m", 60_000), ("samples_1h", 3_600_000))
_NO_END = 2**62


def kept_services(connection: sqlite3.Connection) -> list[str]:
    """List the services of which a sample is kept."""
    rows = connection.execute(
        "SELECT name FROM services WHERE id IN (SELECT service FROM samples"
        " UNION SELECT service FROM samples_1m UNION SELECT service FROM samples_1h) ORDER BY name"
    ).fetchall()
    return [name for (name,) in rows]


def kept_points(connection: sqlite3.Connection, service: str) -> list[KeptPoint]:
    """Give everything kept of a service, oldest first: hours, then minutes, then samples."""
    row = connection.execute("SELECT id FROM services WHERE name = ?", (key(service),)).fetchone()
    if row is None:
        return []
    points = connection.execute(
        "SELECT ts_ms, value_bytes, run FROM samples WHERE service = ? ORDER BY ts_ms", row
    ).fetchall()
    before_ms = points[0][0] if points else _NO_END
    for table, width in _TABLES:
        query = _ROLLED.format(table=table, width=width, half=width // 2)
        coarser = connection.execute(query, (row[0], before_ms)).fetchall()
        if coarser:
            before_ms = coarser[0][0] - width // 2
        points = coarser + points
    return [KeptPoint(ts_ms / 1000, value, run) for ts_ms, value, run in points]
