"""Facts of one tick: domains with their own series and trends, and each service's assessment."""

from dataclasses import replace

from leakguard.core import facts
from leakguard.core.assessment import Assessment
from leakguard.core.events import EventKind
from leakguard.core.facts import evidence, threshold_bytes
from leakguard.core.forecast import Forecast, LimitKind
from leakguard.core.instant import Instant
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import DomainSample, Sample, Snapshot
from leakguard.core.series import Series
from leakguard.core.severity import Severity
from leakguard.core.state import DomainState, ServiceState, State
from leakguard.core.tick import Tick
from leakguard.core.trend import UNKNOWN, Detector, Trend, Verdict
from leakguard.core.units import format_bytes, format_duration

REFIT_S = 0.3
"""A fit costs some 0.3 ms; at ten samples a second not every sample is worth one."""

FORESEE_S = 24 * 3600.0
"""People are told of an exhaustion whose median lies within this."""

FORGET_S = 3600.0
"""A domain that was not read for this long is forgotten: containers come and go."""

CALM_S = 900.0
"""A leak or an exhaustion is over when it was not seen for this long."""

LEAK_TWICE = 2
"""Fits in a row that must say `leaking` before people are told."""


def surroundings(
    state: State, snapshot: Snapshot, detector: Detector | None
) -> tuple[dict[str, DomainState], facts.Surroundings]:
    """Take the domains' samples into their series; give the new states and what services need."""
    domains = {k: d for k, d in state.domains.items() if not _is_forgotten(d, snapshot.at)}
    for key in _emptied(state, snapshot):
        domains.pop(key, None)
    for key, sample in snapshot.domains.items():
        used = sample.used_bytes
        domains[key] = _grow(domains.get(key), snapshot.at, used, sample.oom_kills, detector)
    if snapshot.host is not None:
        used = snapshot.host.total_bytes - snapshot.host.available_bytes
        host = domains.get(facts.HOST)
        domains[facts.HOST] = _grow(host, snapshot.at, used, None, detector)
    around = facts.Surroundings(
        host=snapshot.host,
        domains=snapshot.domains,
        trends={key: d.trend for key, d in domains.items()},
    )
    return domains, around


def _is_forgotten(domain: DomainState, at: Instant) -> bool:
    """Tell whether nothing has been in a domain for so long that it is not looked at any more."""
    last = domain.series.last()
    return last is not None and not 0 <= at.boot_s - last[0] < FORGET_S


def _emptied(state: State, snapshot: Snapshot) -> set[str]:
    """Find the domains in which a service began anew: what they held before is no trend."""
    found: set[str] = set()
    for reading in snapshot.readings:
        if not isinstance(reading, Sample):
            continue
        known = state.services.get(reading.service)
        if known is not None and known.record.incarnation not in (None, reading.incarnation):
            found |= {facts.HOST, *reading.domains}
    return found


def _grow(
    known: DomainState | None,
    at: Instant,
    used: int,
    oom_kills: int | None,
    detector: Detector | None,
) -> DomainState:
    known = known or DomainState(series=Series())
    if known.series.is_fall(used):  # a process in it ended
        known = replace(known, series=Series(), fitted_boot_s=None)
    known.series.append(at.boot_s, used)
    if detector is None or not _fit_is_due(known.fitted_boot_s, at):
        return replace(known, oom_kills=oom_kills)
    trend = detector.fit(known.series, at)
    return replace(known, oom_kills=oom_kills, trend=trend, fitted_boot_s=at.boot_s)


def _fit_is_due(fitted_boot_s: float | None, at: Instant) -> bool:
    return fitted_boot_s is None or at.boot_s - fitted_boot_s >= REFIT_S


def kills(tick: Tick, state: State, snapshot: Snapshot) -> int | None:
    """Report kernel kills that the counters show; gives the host's counter to remember."""
    for key, sample in snapshot.domains.items():
        before = state.domains[key].oom_kills if key in state.domains else None
        if before is None or sample.oom_kills is None or sample.oom_kills <= before:
            continue
        _report_kill(tick, key, sample, sample.oom_kills - before)
    if snapshot.host is None or snapshot.host.oom_kills is None:
        return state.host_oom_kills
    return snapshot.host.oom_kills


def _report_kill(tick: Tick, key: str, sample: DomainSample, count: int) -> None:
    inside = [n for n, s in tick.services.items() if s.sample and key in s.sample.domains]
    for name in inside:
        tick.amend(name, oom_kills=tick.service(name).record.oom_kills + count)
    tick.event(
        EventKind.OOM_KILL_OBSERVED,
        inside[0] if len(inside) == 1 else "",
        Severity.CRITICAL,
        f"the kernel killed {count} process{'es' if count > 1 else ''} in cgroup {sample.path}, "
        f"limit {format_bytes(sample.limit_bytes)}",
        cgroup=sample.path,
        kills=count,
        limit_bytes=sample.limit_bytes,
    )


def assess(
    tick: Tick,
    name: str,
    around: facts.Surroundings,
    rules: ServiceRules,
    detector: Detector | None,
) -> ServiceState:
    """Fit, foresee and join; tell what is new: a leak, an exhaustion, a threshold crossed."""
    before = tick.service(name)
    trend = before.assessment.trend if before.assessment is not None else UNKNOWN
    fitted = before.fitted_boot_s
    if detector is not None and _fit_is_due(fitted, tick.now):
        trend, fitted = detector.fit(before.series, tick.now), tick.now.boot_s
    assessment = facts.assess(before, trend, around, rules, tick.now)
    service = tick.put(replace(before, assessment=assessment, fitted_boot_s=fitted))
    service = _follow_threshold(tick, service, rules)
    service = _follow_limit(tick, service, assessment)
    service = _follow_leak(tick, service, trend)
    return _follow_exhaustion(tick, service, assessment)


def _follow_threshold(tick: Tick, service: ServiceState, rules: ServiceRules) -> ServiceState:
    """Keep since when it is above; while its share of a limit is not known, it is neither."""
    above, sample = threshold_bytes(service, rules), service.sample
    name, told = service.record.name, "threshold" in service.record.problems
    if above is None or sample is None:
        return tick.put(replace(service, over_since=None))
    over = sample.value_bytes > above
    since = (service.over_since or tick.now) if over else None
    service = tick.put(replace(service, over_since=since))
    if over and not told:
        tick.event(
            EventKind.THRESHOLD_CROSSED, name, Severity.INFO,
            f"{format_bytes(sample.value_bytes)} ({sample.measure}) is above {format_bytes(above)}",
            threshold_bytes=above, **evidence(service),
        )  # fmt: skip
    elif told and not over:
        tick.event(
            EventKind.THRESHOLD_CLEARED, name, Severity.INFO, f"{name} is below its threshold again"
        )
    return tick.service(name)


def _follow_limit(tick: Tick, service: ServiceState, found: Assessment) -> ServiceState:
    """Tell when a configured limit lies below what is used: it says little, or comes too late."""
    name, told = service.record.name, "limit" in service.record.problems
    configured = [f.room for f in found.forecasts if f.room.kind is LimitKind.CONFIGURED]
    passed = any(room.headroom_bytes < 0 for room in configured)
    if passed and not told:
        tick.event(
            EventKind.LIMIT_PASSED, name, Severity.WARNING,
            f"{name} uses more than its configured limit of "
            f"{format_bytes(configured[0].limit_bytes)}; nothing enforces it",
            **evidence(service),
        )  # fmt: skip
    elif told and not passed:
        tick.event(
            EventKind.LIMIT_KEPT, name, Severity.INFO, f"{name} is below its configured limit again"
        )
    return tick.service(name)


def _follow_leak(tick: Tick, service: ServiceState, trend: Trend) -> ServiceState:
    """Tell of a leak after two fits that agree, and of its end when the verdict is stable."""
    name, told = service.record.name, "leak" in service.record.problems
    streak = service.leak_streak + 1 if trend.verdict is Verdict.LEAKING else 0
    service = tick.put(replace(service, leak_streak=min(streak, LEAK_TWICE)))
    if streak:
        service = _see(tick, service, "leak")
    if streak >= LEAK_TWICE and not told:
        tick.event(
            EventKind.LEAK_SUSPECTED, name, Severity.WARNING, f"{name} {trend.reason}",
            **evidence(service),
        )  # fmt: skip
    elif (
        told
        and trend.verdict in (Verdict.STABLE, Verdict.WARMING_UP)
        and _calm(tick, service, "leak")
    ):
        tick.event(EventKind.LEAK_CLEARED, name, Severity.INFO, f"{name}: {trend.reason}")
    return tick.service(name)


def _follow_exhaustion(tick: Tick, service: ServiceState, found: Assessment) -> ServiceState:
    name, told = service.record.name, "exhaustion" in service.record.problems
    near = found.nearest
    sure = found.trend.verdict is Verdict.LEAKING
    foreseen = (
        near is not None
        and near.median_s is not None
        and near.median_s <= FORESEE_S
        and facts.caused_by(found.trend, near)
    )
    if foreseen and sure:
        service = _see(tick, service, "exhaustion")
    if near is not None and foreseen and sure and not told:
        tick.event(
            EventKind.EXHAUSTION_PREDICTED, name, Severity.WARNING, _exhaustion_text(name, near),
            **evidence(service),
        )  # fmt: skip
    elif told and not foreseen and _calm(tick, service, "exhaustion"):
        tick.event(
            EventKind.EXHAUSTION_AVERTED, name, Severity.INFO,
            f"{name} is not running out of memory any more: {found.trend.reason}",
        )  # fmt: skip
    return tick.service(name)


def _calm(tick: Tick, service: ServiceState, topic: str) -> bool:
    """Whether a problem is over: its incarnation is gone, or it was last seen long enough ago.

    A heap that fills and is collected would open and end the same problem at every turn otherwise.
    """
    problem, sample = service.record.problems[topic], service.sample
    if sample is not None and problem.since_wall_s < sample.at.wall_s - sample.age_s:
        return True
    seen = service.last_seen.get(topic)
    return seen is None or tick.now.boot_s - seen >= CALM_S


def _see(tick: Tick, service: ServiceState, topic: str) -> ServiceState:
    seen = {**service.last_seen, topic: tick.now.boot_s}
    return tick.put(replace(service, last_seen=seen))


def _exhaustion_text(name: str, near: Forecast) -> str:
    times = near.quantiles()
    room = near.room
    where = f"cgroup {room.path}" if room.kind is LimitKind.CGROUP else f"the {room.kind} limit"
    span = ""
    if times is not None and times.p05_s is not None:
        late = format_duration(times.p95_s) if times.p95_s is not None else "later"
        span = f" in {format_duration(times.p05_s)} to {late}"
    return f"{name} fills {where} ({format_bytes(room.limit_bytes)}){span}"
