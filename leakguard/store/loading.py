"""Read back what must survive the daemon: ids, records, and the newest samples of each run."""

import sqlite3

from leakguard.core.errors import CodecError
from leakguard.core.sample import Incarnation, Measure
from leakguard.core.state import ServiceRecord
from leakguard.store.base import Condensed, Saved, SavedSamples
from leakguard.store.rows import meta, unpack
from leakguard.store.writing import Run

LEAP = 1_000_000
"""How far the serial leaps after an unclean end: ids of ticks that stayed in memory are skipped."""

RECENT = 600
"""Newest samples of a run that are read as they came."""

_WINDOW = 4_000
"""Newest rows by wall clock that are looked through: covers a clock set back by some hours."""


def load_saved(connection: sqlite3.Connection, *, unclean: bool) -> Saved:
    """Give everything a daemon needs to go on where the last one ended."""
    records, problems = _load_records(connection)
    samples = {name: _load_samples(connection, run) for name, run in load_runs(connection).items()}
    return Saved(
        instance=meta(connection, "instance"),
        serial=int(meta(connection, "serial", "0")) + (LEAP if unclean else 0),
        records=records,
        samples=samples,
        problems=problems,
    )


def load_runs(connection: sqlite3.Connection) -> dict[str, Run]:
    """Give the newest run of each service."""
    rows = connection.execute(
        "SELECT s.name, s.id, r.id, r.incarnation, r.measure FROM runs r"
        " JOIN services s ON s.id = r.service"
        " WHERE r.id IN (SELECT max(id) FROM runs GROUP BY service)"
    ).fetchall()
    found = {}
    for name, service_id, run_id, incarnation, measure in rows:
        try:
            found[name] = Run(
                service_id, run_id, unpack(Incarnation, incarnation), Measure(measure)
            )
        except (CodecError, ValueError):
            continue  # written by another version: the next sample begins a new run
    return found


def _load_records(
    connection: sqlite3.Connection,
) -> tuple[dict[str, ServiceRecord], tuple[str, ...]]:
    records: dict[str, ServiceRecord] = {}
    problems = []
    for service, text in connection.execute("SELECT service, record FROM records").fetchall():
        try:
            record = unpack(ServiceRecord, text)
        except CodecError as error:
            problems.append(f"the record of {service} cannot be read and starts afresh: {error}")
        else:
            records[record.name] = record
    return records, tuple(problems)


def _load_samples(connection: sqlite3.Connection, run: Run) -> SavedSamples:
    # By boot time, since the wall clock may have been set back between two samples.
    recent = connection.execute(
        "SELECT boot_ms, value_bytes FROM (SELECT * FROM samples WHERE service = ?"
        " ORDER BY ts_ms DESC LIMIT ?) WHERE run = ? ORDER BY boot_ms DESC LIMIT ?",
        (run.service_id, _WINDOW, run.run_id, RECENT),
    ).fetchall()
    return SavedSamples(
        incarnation=run.incarnation,
        measure=run.measure,
        recent=tuple((boot_ms / 1000, value) for boot_ms, value in reversed(recent)),
        minutes=_condensed(connection, run, "samples_1m"),
        hours=_condensed(connection, run, "samples_1h"),
    )


def _condensed(connection: sqlite3.Connection, run: Run, table: str) -> tuple[Condensed, ...]:
    rows = connection.execute(
        "SELECT boot_ms, min_bytes, mid_bytes, max_bytes FROM"  # noqa: S608  constants only
        f" (SELECT * FROM {table} WHERE service = ? ORDER BY ts_ms DESC LIMIT ?)"
        " WHERE run = ? ORDER BY boot_ms DESC",
        (run.service_id, _WINDOW, run.run_id),
    ).fetchall()
    return tuple((boot_ms / 1000, low, mid, high) for boot_ms, low, mid, high in reversed(rows))
