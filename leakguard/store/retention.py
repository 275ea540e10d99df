"""Condense samples to one row a minute and an hour, and delete what is older than it must be kept.

A bucket is rolled up when it is over, from whatever rows it has, and replaces what was there: so
doing it again after a crash or a clock that was set back gives the same row.
"""

import sqlite3
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from leakguard.core.pyramid import median
from leakguard.store.database import Database
from leakguard.store.rows import meta, ms, set_meta

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_S = 86_400.0
MINUTES_KEPT_S = 7 * DAY_S
FINISHED_KEPT_S = 7 * DAY_S
MOST_EVENTS = 100_000
CHUNK = 2_000
"""Rows deleted in one transaction, so that a commit never waits more than a few milliseconds."""

ROLL_UPS = (("samples", "samples_1m", MINUTE_MS), ("samples_1m", "samples_1h", HOUR_MS))

_RAW = (
    "SELECT run, ts_ms, boot_ms, value_bytes, value_bytes, value_bytes, value_bytes, 1"
    " FROM samples WHERE service = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms"
)
_MINUTES = (
    "SELECT run, ts_ms, boot_ms, min_bytes, mid_bytes, max_bytes, last_bytes, n"
    " FROM samples_1m WHERE service = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms"
)
_QUERIES = {"samples": _RAW, "samples_1m": _MINUTES}


class Rolled(NamedTuple):
    """A sample or an already rolled-up row, in the same shape."""

    run: int
    ts_ms: int
    boot_ms: int
    low: int
    mid: int
    high: int
    last: int
    n: int


def roll_up(database: Database, now_wall_s: float, since_ms: int) -> None:
    """Bring minutes and hours up to `now`, one service and one table at a time.

    `since_ms`: the oldest sample that came after the last roll-up, by a clock that may go back.
    """
    for source, target, width in ROLL_UPS:
        end = ms(now_wall_s) // width * width
        with database.read() as connection:
            done = int(meta(connection, watermark(target), "0"))
            services = [row[0] for row in connection.execute("SELECT id FROM services")]
        start = min(done, end - 2 * width, since_ms // width * width)
        for service in services:
            _roll_up_service(database, (source, target, width), service, (start, end))
        if end != done:
            with database.write() as connection:
                set_meta(connection, watermark(target), end)


def watermark(table: str) -> str:
    """Name the entry of `meta` that says up to when `table` is complete."""
    return f"{table}_until_ms"


def _roll_up_service(
    database: Database, tables: tuple[str, str, int], service: int, span: tuple[int, int]
) -> None:
    source, target, width = tables
    with database.read() as connection:
        rows = [Rolled(*row) for row in connection.execute(_QUERIES[source], (service, *span))]
    condensed = [(service, *condense(bucket, group)) for bucket, group in _buckets(rows, width)]
    for at in range(0, len(condensed), CHUNK):
        with database.write() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO {target} (service, run, ts_ms, boot_ms, min_bytes,"  # noqa: S608  constants only
                " mid_bytes, max_bytes, last_bytes, n) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                condensed[at : at + CHUNK],
            )


def _buckets(rows: list[Rolled], width: int) -> Iterator[tuple[int, list[Rolled]]]:
    def place(row: Rolled) -> tuple[int, int]:
        return row.ts_ms // width, row.run

    for (bucket, _), group in groupby(sorted(rows, key=place), key=place):
        yield bucket * width, list(group)


def condense(bucket_ms: int, rows: list[Rolled]) -> Rolled:
    """Make one row of those in a bucket: least, median, greatest, last, and how many."""
    return Rolled(
        rows[0].run,
        bucket_ms,
        round(median(sorted(row.boot_ms for row in rows))),
        min(row.low for row in rows),
        round(median(sorted(row.mid for row in rows))),
        max(row.high for row in rows),
        rows[-1].last,
        sum(row.n for row in rows),
    )


def prune(database: Database, now_wall_s: float, *, keep_s: float, raw_keep_s: float) -> None:
    """Delete old samples, events and finished deliveries in small bites; pending ones never."""
    minutes_keep_s = min(keep_s, max(raw_keep_s, MINUTES_KEPT_S))
    for table, keep in (
        ("samples", raw_keep_s),
        ("samples_1m", minutes_keep_s),
        ("samples_1h", keep_s),
    ):
        _prune_table(database, table, ms(now_wall_s - keep), ms(now_wall_s + DAY_S))
    _repeat(database, lambda c: _prune_events(c, now_wall_s - keep_s))
    finished_s = min(keep_s, FINISHED_KEPT_S)
    _repeat(database, lambda c: _prune_deliveries(c, now_wall_s - finished_s))
    with database.write() as connection:
        _prune_runs(connection, ms(now_wall_s - keep_s))


def _repeat(database: Database, delete: Callable[[sqlite3.Connection], int]) -> None:
    """Delete a bite at a time until a bite is not full."""
    while True:
        with database.write() as connection:
            if delete(connection) < CHUNK:
                return


def _prune_table(database: Database, table: str, before_ms: int, after_ms: int) -> None:
    """Delete rows before a moment, and those of a future that a wrong clock once made up."""
    with database.read() as connection:
        services = [row[0] for row in connection.execute("SELECT id FROM services")]
    for service in services:

        def delete(connection: sqlite3.Connection, service: int = service) -> int:
            rows = connection.execute(
                f"SELECT ts_ms FROM {table} WHERE service = :s AND ts_ms < :before UNION"  # noqa: S608  constants only
                f" SELECT ts_ms FROM {table} WHERE service = :s AND ts_ms > :after LIMIT :n",
                {"s": service, "before": before_ms, "after": after_ms, "n": CHUNK},
            ).fetchall()
            connection.executemany(
                f"DELETE FROM {table} WHERE service = {service} AND ts_ms = ?",  # noqa: S608  an integer of ours
                rows,
            )
            return len(rows)

        _repeat(database, delete)


def _prune_events(connection: sqlite3.Connection, before_wall_s: float) -> int:
    # Only the oldest are looked at: they were appended in order, so no index on time is needed.
    return connection.execute(
        "DELETE FROM events WHERE seq IN (SELECT seq FROM"
        " (SELECT seq, wall_s FROM events ORDER BY seq LIMIT ?)"
        " WHERE wall_s < ? OR seq <= (SELECT coalesce(max(seq), 0) - ? FROM events))",
        (CHUNK, before_wall_s, MOST_EVENTS),
    ).rowcount


def _prune_deliveries(connection: sqlite3.Connection, before_wall_s: float) -> int:
    return connection.execute(
        "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM"
        " (SELECT seq, state, touched_wall_s FROM deliveries ORDER BY seq LIMIT ?)"
        " WHERE state <> 'pending' AND touched_wall_s < ?)",
        (CHUNK, before_wall_s),
    ).rowcount


def _prune_runs(connection: sqlite3.Connection, before_ms: int) -> None:
    """Forget runs whose successor began so long ago that no sample of them is kept."""
    connection.execute(
        "DELETE FROM runs WHERE EXISTS (SELECT 1 FROM runs later WHERE later.service ="
        " runs.service AND later.id > runs.id AND later.since_ms < ?)",
        (before_ms,),
    )
