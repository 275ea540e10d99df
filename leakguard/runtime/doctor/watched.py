"""The guarded services as `doctor` sees them: from a daemon's status, or from a configuration."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from leakguard.core.errors import LeakguardError
from leakguard.core.findings.facts import ServiceFacts
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.plan import Plan, ServicePlan
from leakguard.core.policy import Mode
from leakguard.core.sample import Absent, Location, Measure, Sample, Scope
from leakguard.core.trend import Verdict
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.bootstrap import Machine, Parts, build
from leakguard.runtime.collect import Collector

Plain = Mapping[str, Any]  # a JSON object is untyped

_OBSERVED = "it is only observed: set `mode: act`"
_NO_DRIVER = "it has nobody to restart it: give it a `restart.driver`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A guarded service and its processes; none when it does not run, or cannot be seen."""

    facts: ServiceFacts
    pids: tuple[int, ...] = ()


def from_status(document: Plain, proc: ProcFs, *, visible: bool) -> tuple[Watched, ...]:
    """Read the services out of a daemon's status.

    Args:
        visible: the daemon's pids are those of this `/proc`.
    """
    parents = proc.parents() if visible else {}
    found = []
    for service in document.get("services", ()):
        pid = service.get("pid")
        pids = proc.tree(pid, parents) if pid in parents else ()
        found.append(Watched(facts=_told(service), pids=pids))
    return tuple(found)


def from_plan(plan: Plan, machine: Machine, now: Instant, notes: list[str]) -> tuple[Watched, ...]:
    """Find and measure what a configuration guards; what does not run goes into `notes`."""
    found: list[Watched] = []
    for service in plan.services:
        only = replace(plan, services=(service,), channels=())
        try:
            parts = build(only, machine, {}, lambda _: False)
        except (LeakguardError, OSError, ValueError) as error:
            notes.append(f"{service.rules.name}: {error}")
            continue
        found += _measured(parts, service, machine, now, notes)
    return tuple(found)


def with_trends(found: Sequence[Watched], told: Sequence[Watched]) -> tuple[Watched, ...]:
    """Add to what a configuration matches what the daemon knows of the same services."""
    by_pid = {one.facts.pid: one.facts for one in told if one.facts.pid is not None}
    by_name = {one.facts.name: one.facts for one in told}
    return tuple(
        replace(one, facts=_joined(one.facts, by_pid.get(one.facts.pid)))
        if one.facts.pid in by_pid
        else replace(one, facts=_joined(one.facts, by_name.get(one.facts.name)))
        for one in found
    )


def _joined(facts: ServiceFacts, told: ServiceFacts | None) -> ServiceFacts:
    if told is None:
        return facts
    return replace(
        facts,
        name=told.name,
        age_s=told.age_s,
        verdict=told.verdict,
        slope_bytes_per_s=told.slope_bytes_per_s,
        trend_known=True,
        held_by=told.held_by,
        reached_s=told.reached_s,
    )


def _told(service: Plain) -> ServiceFacts:
    return ServiceFacts(
        name=str(service["name"]),
        pid=service.get("pid"),
        size_bytes=_size(service),
        age_s=service.get("age_s"),
        verdict=_verdict(service.get("verdict")),
        slope_bytes_per_s=service.get("slope_bytes_per_s"),
        trend_known=True,
        held_by=_held_by(service),
        started_by_guard=service.get("driver") == "child",
        reached_s={place: times for place, times in _reached(service) if place},
    )


def _size(service: Plain) -> int | None:
    """Give anon + shmem + swap, whatever the configured measure is."""
    value: int | None = service.get("value_bytes")
    if service.get("measure") == Measure.AUTO.value or service.get("anon_bytes") is None:
        return value
    return sum(service.get(f"{part}_bytes") or 0 for part in ("anon", "shmem", "swap"))


def _verdict(word: object) -> Verdict:
    return next((verdict for verdict in Verdict if verdict.value == word), Verdict.UNKNOWN)


def _held_by(service: Plain) -> str:
    if service.get("paused"):
        return f"it is {service['paused']}"
    if not service.get("driver"):
        return _NO_DRIVER
    if service.get("mode") != Mode.ACT.value:
        return _OBSERVED
    if service.get("breaker_open"):
        return "its breaker is open: `leakguard resume` closes it"
    return "; ".join(service.get("cannot_act") or ())


def _reached(service: Plain) -> Iterator[tuple[str, tuple[float | None, float | None]]]:
    """Give when each domain ends; the last word on one counts.

    Under overcommit 2 the host ends at CommitLimit, which comes later in the list; a cgroup with
    `memory.high` alone ends where it is throttled.
    """
    high = service.get("throttle")
    if high is not None and not high.get("limited", True):
        times = high.get("time_to_throttle") or {}
        yield high.get("path", ""), (times.get("p05_s"), times.get("p95_s"))
    for limit in service.get("limits") or ():
        places = {"host": "host", "commit": "host", "cgroup": limit.get("path", "")}
        place = places.get(limit.get("kind"), "")
        times = limit.get("time_to_limit") or {}
        yield place, (times.get("p05_s"), times.get("p95_s"))


def _measured(
    parts: Parts, service: ServicePlan, machine: Machine, now: Instant, notes: list[str]
) -> Iterator[Watched]:
    parts.roster.scan(now)
    collector = Collector(parts.roster, machine.proc, machine.cgroups)
    try:
        readings = collector.collect(parts.roster.names(), now).snapshot.readings
    finally:
        collector.close()
    for reading in readings:
        if not isinstance(reading, Sample):
            if not (isinstance(reading, Absent) and service.rules.restart.starts):
                notes.append(reading.reason)
            continue
        yield Watched(
            facts=_seen(reading, service), pids=_pids(parts, reading.service, machine, now)
        )


def _seen(sample: Sample, service: ServicePlan) -> ServiceFacts:
    rules = service.rules
    held = "" if rules.mode is Mode.ACT else _OBSERVED
    return ServiceFacts(
        name=sample.service,
        pid=sample.incarnation.pid,
        size_bytes=sample.value_bytes
        if sample.measure is Measure.AUTO
        else (sample.anon_bytes or 0) + (sample.shmem_bytes or 0) + (sample.swap_bytes or 0),
        age_s=sample.age_s,
        held_by=held if rules.restart.driver else _NO_DRIVER,
        started_by_guard=rules.restart.starts,
    )


def _pids(parts: Parts, service: str, machine: Machine, now: Instant) -> tuple[int, ...]:
    try:
        location: Location = parts.roster.where(service, now)
        if location.scope is Scope.CGROUP:
            return machine.cgroups.procs(machine.cgroups.directory(location.cgroup_path))
        if location.scope is Scope.PROCESS:
            return (location.root.pid,)
        return machine.proc.tree(location.root.pid)
    except LeakguardError:  # it ended since it was measured
        return ()
