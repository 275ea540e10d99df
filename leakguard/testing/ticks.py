"""Ticks as the engine gives them, for tests of what happens after it."""

from leakguard.core.alerts import Alert
from leakguard.core.decision import Action
from leakguard.core.engine import Step
from leakguard.core.events import Event, EventKind, Severity
from leakguard.core.instant import Instant
from leakguard.core.sample import Incarnation, Measure, Sample
from leakguard.core.state import ServiceRecord, State
from leakguard.testing.clock import BOOT_ID
from leakguard.testing.notifiers import alert


def run_of(pid: int = 100) -> Incarnation:
    """Make an incarnation."""
    return Incarnation(boot_id=BOOT_ID, pid=pid, start_ticks=pid * 10)


def sample(
    at: Instant,
    value_bytes: int,
    *,
    service: str = "worker",
    incarnation: Incarnation | None = None,
) -> Sample:
    """Make a sample."""
    return Sample(
        service=service,
        at=at,
        incarnation=incarnation or run_of(),
        measure=Measure.AUTO,
        value_bytes=value_bytes,
        rss_bytes=value_bytes,
    )


def event(
    event_id: str,
    *,
    service: str = "worker",
    kind: EventKind = EventKind.LEAK_SUSPECTED,
    wall_s: float = 1_795_000_000.0,
    message: str = "worker leaks",
) -> Event:
    """Make an event."""
    return Event(
        id=event_id,
        kind=kind,
        service=service,
        wall_s=wall_s,
        severity=Severity.WARNING,
        message=message,
        details={"value_bytes": 1, "reason": "21.0 MiB/h"},
    )


def tick(
    at: Instant,
    *,
    instance: str = "i",
    serial: int = 0,
    samples: tuple[Sample, ...] = (),
    records: tuple[ServiceRecord, ...] = (),
    actions: tuple[Action, ...] = (),
    events: tuple[Event, ...] = (),
    alerts: tuple[Alert, ...] = (),
) -> Step:
    """Make what one tick gave."""
    return Step(
        at=at,
        state=State(instance=instance, serial=serial),
        samples=samples,
        records=records,
        actions=actions,
        events=events,
        alerts=alerts,
    )


def full_tick(at: Instant, name: str) -> Step:
    """Make a tick with one of everything: the service `name`, the event `e-name`, `a-name`."""
    return tick(
        at,
        serial=7,
        samples=(sample(at, 100),),
        records=(ServiceRecord(name=name, oom_kills=1),),
        events=(event(f"e-{name}"),),
        alerts=(alert(f"a-{name}"),),
    )
