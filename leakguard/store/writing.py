"""Write one tick: new samples, changed records, events, and a delivery for each alert's channel."""

import sqlite3
from collections.abc import Iterable

from leakguard.core.alerts import Alert
from leakguard.core.engine import Step
from leakguard.core.events import Event
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Incarnation, Measure, Sample
from leakguard.core.state import ServiceRecord
from leakguard.store.base import Delivery
from leakguard.store.rows import key, ms, pack, set_meta, size


@dataclass(frozen=True, slots=True)
class Run:
    """The newest run of a service: where its samples go while nothing changes."""

    service_id: int
    run_id: int
    incarnation: Incarnation
    measure: Measure


def write_step(
    connection: sqlite3.Connection, step: Step, runs: dict[str, Run], *, serial_changed: bool
) -> dict[str, Run]:
    """Write everything of `step`; gives the runs that are new, to be kept once it is committed."""
    if serial_changed:
        set_meta(connection, "instance", step.state.instance)
        set_meta(connection, "serial", step.state.serial)
    connection.executemany(
        "DELETE FROM records WHERE service = ?", [(key(name),) for name in step.dropped]
    )
    write_records(connection, step.records)
    write_events(connection, step.events)
    deliveries = [d for a in step.alerts for d in fresh_deliveries(a, step.at.wall_s)]
    write_deliveries(connection, deliveries)
    return _write_samples(connection, step.samples, runs)


def fresh_deliveries(alert: Alert, wall_s: float) -> list[Delivery]:
    """Give one delivery for each channel of an alert, due at once."""
    return [
        Delivery(alert=alert, channel=channel, created_wall_s=wall_s, next_try_wall_s=wall_s)
        for channel in dict.fromkeys(alert.channels)
    ]


def write_records(connection: sqlite3.Connection, records: Iterable[ServiceRecord]) -> None:
    """Replace the records of these services."""
    connection.executemany(
        "INSERT OR REPLACE INTO records VALUES (?, ?)", [(key(r.name), pack(r)) for r in records]
    )


def write_events(connection: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Append events; one that is there already stays as it is."""
    connection.executemany(
        "INSERT OR IGNORE INTO events (id, kind, service, wall_s, event) VALUES (?, ?, ?, ?, ?)",
        [(key(e.id), e.kind.value, key(e.service), e.wall_s, pack(e)) for e in events],
    )


def write_deliveries(connection: sqlite3.Connection, deliveries: Iterable[Delivery]) -> None:
    """Put deliveries in as they are; a second one of the same alert and channel replaces it."""
    connection.executemany(
        "INSERT INTO deliveries (alert_id, channel, alert, state, attempts, created_wall_s,"
        " touched_wall_s, next_try_wall_s, answer) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (alert_id, channel) DO UPDATE SET state = excluded.state,"
        " attempts = excluded.attempts, touched_wall_s = excluded.touched_wall_s,"
        " next_try_wall_s = excluded.next_try_wall_s, answer = excluded.answer",
        [
            (
                key(d.alert.id),
                key(d.channel),
                pack(d.alert),
                d.state.value,
                d.attempts,
                d.created_wall_s,
                d.created_wall_s,
                d.next_try_wall_s,
                key(d.answer),
            )
            for d in deliveries
        ],
    )


def _write_samples(
    connection: sqlite3.Connection, samples: Iterable[Sample], runs: dict[str, Run]
) -> dict[str, Run]:
    new: dict[str, Run] = {}
    rows = []
    for sample in samples:
        run = new.get(sample.service) or runs.get(sample.service)
        if run is None or run.incarnation != sample.incarnation or run.measure != sample.measure:
            run = new[sample.service] = begin_run(
                connection,
                sample.service,
                sample.incarnation,
                sample.measure,
                ms(sample.at.wall_s),
            )
        rows.append(
            (
                run.service_id,
                ms(sample.at.wall_s),
                run.run_id,
                ms(sample.at.boot_s),
                size(sample.value_bytes),
                size(sample.rss_bytes),
            )
        )
    # Replace: a clock that was set back may come to the very same millisecond again.
    connection.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?)", rows)
    return new


def begin_run(
    connection: sqlite3.Connection,
    service: str,
    incarnation: Incarnation,
    measure: Measure,
    since_ms: int,
) -> Run:
    """Note that a new incarnation, or another measure of it, is sampled from now on."""
    name = key(service)
    connection.execute("INSERT OR IGNORE INTO services (name) VALUES (?)", (name,))
    service_id = connection.execute("SELECT id FROM services WHERE name = ?", (name,)).fetchone()[0]
    run_id = connection.execute(
        "INSERT INTO runs (service, measure, incarnation, since_ms) VALUES (?, ?, ?, ?)",
        (service_id, measure.value, pack(incarnation), since_ms),
    ).lastrowid
    return Run(service_id, run_id or 0, incarnation, measure)
