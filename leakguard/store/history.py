"""Read events by page, and a series from the finest table that reaches back far enough."""

import sqlite3
from collections.abc import Collection, Iterable

from leakguard.core.events import Event, EventKind
from leakguard.core.pyramid import median
from leakguard.store.base import SeriesPoint
from leakguard.store.rows import key, ms, readable_events

Row = tuple[int, int, int, int]
"""ts_ms, value, min, max."""

ROWS_PER_POINT = 12
"""A table with more rows per point asked for than this is too fine: the next coarser is read."""

MOST = 100_000
"""Rows read at most: hours of eleven years, or samples that were never rolled up."""

_RAW = (
    "SELECT ts_ms, value_bytes, value_bytes, value_bytes FROM samples"
    " WHERE service = ? AND ts_ms >= ? ORDER BY ts_ms LIMIT ?"
)
_ROLLED = (
    "SELECT ts_ms + {half}, mid_bytes, min_bytes, max_bytes FROM {table}"
    " WHERE service = ? AND ts_ms >= ? ORDER BY ts_ms LIMIT ?"
)
_TABLES = (("samples_1h", 3_600_000), ("samples_1m", 60_000))


def events(
    connection: sqlite3.Connection,
    service: str | None,
    limit: int,
    before_id: str | None,
    kinds: Collection[EventKind] | None,
) -> list[Event]:
    """List events, newest first."""
    conditions, values = ["1"], []
    if service is not None:
        conditions.append("service = ?")
        values.append(key(service))
    if before_id is not None:
        conditions.append("seq < (SELECT seq FROM events WHERE id = ?)")
        values.append(key(before_id))
    if kinds is not None:
        conditions.append(f"kind IN ({', '.join('?' * len(kinds))})")
        values.extend(kind.value for kind in kinds)
    rows = connection.execute(
        f"SELECT event FROM events WHERE {' AND '.join(conditions)}"  # noqa: S608  constants only
        " ORDER BY seq DESC LIMIT ?",
        (*values, limit),
    ).fetchall()
    return readable_events(rows)


def has_event(connection: sqlite3.Connection, event_id: str) -> bool:
    """Whether an event of that id is kept."""
    query = "SELECT 1 FROM events WHERE id = ?"
    return connection.execute(query, (key(event_id),)).fetchone() is not None


def series(
    connection: sqlite3.Connection, service: str, since_wall_s: float, points: int
) -> list[SeriesPoint]:
    """Give at most `points` points of a service since a moment, oldest first."""
    row = connection.execute("SELECT id FROM services WHERE name = ?", (key(service),)).fetchone()
    if row is None or points < 1:
        return []
    since_ms, most = max(0, ms(since_wall_s)), points * ROWS_PER_POINT
    return thin(_rows(connection, row[0], since_ms, most), points)


def thin(rows: list[Row], points: int) -> list[SeriesPoint]:
    """Reduce rows to at most `points`: medians and ranges over equal stretches of time."""
    if len(rows) <= points:
        return [SeriesPoint(ts / 1000, mid, low, high) for ts, mid, low, high in rows]
    first = rows[0][0]
    width = (rows[-1][0] - first) // points + 1
    bins: dict[int, list[Row]] = {}
    for row in rows:
        bins.setdefault((row[0] - first) // width, []).append(row)
    return [_merge(group) for group in bins.values()]


def _merge(group: list[Row]) -> SeriesPoint:
    return SeriesPoint(
        group[len(group) // 2][0] / 1000,
        round(median(sorted(mid for _, mid, _, _ in group))),
        min(low for _, _, low, _ in group),
        max(high for _, _, _, high in group),
    )


def _rows(connection: sqlite3.Connection, service: int, since_ms: int, most: int) -> list[Row]:
    """Read the finest table that reaches back to `since_ms` and is not too fine, with its tail."""
    if _reaches(connection, "samples", service, since_ms):
        rows = _fetch(connection, _RAW, service, since_ms, most + 1)
        if len(rows) <= most:
            return rows
    minutes_reach = _reaches(connection, "samples_1m", service, since_ms)
    tables: Iterable[tuple[str, int]] = _TABLES[1:] if minutes_reach else _TABLES
    rows = _with_tail(connection, service, since_ms, tables, most)
    if minutes_reach and len(rows) > most:
        rows = _with_tail(connection, service, since_ms, _TABLES, most)
    return rows


def _reaches(connection: sqlite3.Connection, table: str, service: int, since_ms: int) -> bool:
    """Whether a table has what the coarser ones have since `since_ms`."""
    oldest = {
        name: connection.execute(
            f"SELECT min(ts_ms) FROM {name} WHERE service = ?",  # noqa: S608  constants only
            (service,),
        ).fetchone()[0]
        for name in ("samples", "samples_1m", "samples_1h")
    }
    own = oldest[table]
    others = [ts for ts in oldest.values() if ts is not None]
    if own is None:
        return False
    # One hour of slack: a coarser bucket begins before its first sample.
    return bool(own <= since_ms or own <= min(others) + 3_600_000)


def _with_tail(
    connection: sqlite3.Connection,
    service: int,
    since_ms: int,
    tables: Iterable[tuple[str, int]],
    most: int,
) -> list[Row]:
    """Read coarse rows, then finer ones for what is not rolled up yet."""
    rows: list[Row] = []
    for table, width in tables:
        limit = max(0, most + 1 - len(rows)) if table == "samples_1m" else MOST
        query = _ROLLED.format(table=table, half=width // 2)
        found = _fetch(connection, query, service, since_ms, limit)
        rows += found
        if found:
            since_ms = found[-1][0] + width // 2
    return rows + _fetch(connection, _RAW, service, since_ms, MOST)


def _fetch(
    connection: sqlite3.Connection, query: str, service: int, since_ms: int, limit: int
) -> list[Row]:
    return connection.execute(query, (service, since_ms, limit)).fetchall()
