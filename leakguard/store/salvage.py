"""Carry what memory held into a state file that works again, in one transaction."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from leakguard.core.errors import CodecError
from leakguard.core.sample import Incarnation, Measure
from leakguard.core.state import ServiceRecord
from leakguard.store import outbox
from leakguard.store.base import Delivery, DeliveryState
from leakguard.store.database import Database
from leakguard.store.loading import load_runs
from leakguard.store.memory import MemoryStore
from leakguard.store.retention import HOUR_MS, MINUTE_MS, watermark
from leakguard.store.rows import meta, set_meta, unpack
from leakguard.store.writing import Run, begin_run, write_deliveries, write_events, write_records

CORRUPT_KEPT = 3
MOST = 100_000


def carry_over(
    memory: MemoryStore,
    target: Database,
    *,
    instance: str,
    serial: int,
    records: Mapping[str, ServiceRecord],
) -> None:
    """Write everything that only memory has; nothing that the file has is lost by it."""
    events, deliveries = memory.events(limit=MOST), memory.deliveries(limit=MOST)
    totals = memory.delivery_counts()
    with memory.database.read() as source, target.write(full=True) as connection:
        set_meta(connection, "instance", instance)
        set_meta(connection, "serial", serial)
        write_records(connection, records.values())
        write_events(connection, reversed(events))
        write_deliveries(connection, reversed(deliveries))
        for channel, results in totals.items():
            for result in ("ok", "failed", "gave_up"):
                if results[result]:
                    outbox.add_total(connection, channel, result, results[result])
        _carry_samples(source, connection)


def _carry_samples(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    runs = load_runs(target)
    renamed: dict[int, Run] = {}
    for name, run_id, incarnation, measure, since_ms in source.execute(
        "SELECT s.name, r.id, r.incarnation, r.measure, r.since_ms FROM runs r"
        " JOIN services s ON s.id = r.service ORDER BY r.id"
    ).fetchall():
        try:
            known = unpack(Incarnation, incarnation)
        except CodecError:
            continue
        run = runs.get(name)
        if run is None or run.incarnation != known or run.measure != Measure(measure):
            run = runs[name] = begin_run(target, name, known, Measure(measure), since_ms)
        renamed[run_id] = run
    for table in ("samples", "samples_1m"):
        _carry_table(source, target, table, renamed)


def _carry_table(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, renamed: dict[int, Run]
) -> None:
    rows = [
        (renamed[run].service_id, ts_ms, renamed[run].run_id, *values)
        for _, ts_ms, run, *values in source.execute(f"SELECT * FROM {table}")  # noqa: S608  constants only
        if run in renamed
    ]
    if not rows:
        return
    marks = ", ".join("?" * len(rows[0]))
    target.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608  constants only
    _roll_up_again(target, min(ts_ms for _, ts_ms, *_ in rows))


def _roll_up_again(target: sqlite3.Connection, since_ms: int) -> None:
    """Let the next roll-up begin before the rows that were just put in."""
    for table, width in (("samples_1m", MINUTE_MS), ("samples_1h", HOUR_MS)):
        done = int(meta(target, watermark(table), "0"))
        set_meta(target, watermark(table), min(done, since_ms // width * width))


def move_aside(path: str, wall_s: float) -> str:
    """Rename a damaged file and its WAL, for inspection; gives the new name."""
    stamp = datetime.fromtimestamp(wall_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = f"{path}.corrupt-{stamp}"
    count = 1
    while Path(aside).exists():
        count += 1
        aside = f"{path}.corrupt-{stamp}-{count}"
    for suffix in ("", "-wal", "-shm"):
        if Path(path + suffix).exists():
            Path(path + suffix).rename(aside + suffix)
    _forget_old(path)
    return aside


def _forget_old(path: str) -> None:
    """Delete all but the newest files that were moved aside: a bad disk must not fill itself."""
    folder, name = Path(path).parent, Path(path).name
    found = sorted(
        p.name
        for p in folder.iterdir()
        if p.name.startswith(f"{name}.corrupt-") and not p.name.endswith(("-wal", "-shm"))
    )
    for old in found[:-CORRUPT_KEPT]:
        for suffix in ("", "-wal", "-shm"):
            (folder / f"{old}{suffix}").unlink(missing_ok=True)


def seed(
    memory: MemoryStore,
    *,
    instance: str,
    serial: int,
    records: Iterable[ServiceRecord],
    pending: Iterable[Delivery],
) -> None:
    """Give a memory store what is known when the file fails: ids, records, pending alerts."""
    with memory.database.write() as connection:
        set_meta(connection, "instance", instance)
        set_meta(connection, "serial", serial)
        write_records(connection, records)
        write_deliveries(connection, [d for d in pending if d.state is DeliveryState.PENDING])


def put_back(database: Database, path: str) -> None:
    """Make the deleted file of an open database anew at its path, with all it held."""
    fresh = f"{path}.new"
    Path(fresh).absolute().parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    Path(fresh).unlink(missing_ok=True)
    try:
        database.rescue(fresh)
        Path(fresh).chmod(0o600)
        let_go(database, path)
        os.link(fresh, path)  # unlike rename, never over a file that somebody put there meanwhile
    finally:
        Path(fresh).unlink(missing_ok=True)


def let_go(database: Database, path: str) -> None:
    """Close a database whose file is gone, and remove the WAL that it leaves at the path.

    SQLite would take it for the WAL of the file that is at the path now, and damage that.
    """
    database.close()
    for suffix in ("-wal", "-shm"):
        Path(path + suffix).unlink(missing_ok=True)
