"""Facts of one tick: domains with their own series and trends, and each service's assessment."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from leakguard.core import facts, just_in_time, learning
from leakguard.core.assessment import Assessment
from leakguard.core.events import EventKind
from leakguard.core.facts import evidence, threshold_bytes
from leakguard.core.forecast import Forecast, LimitKind
from leakguard.core.foretold import Foretold
from leakguard.core.instant import Instant
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import DomainSample, Sample, Snapshot
from leakguard.core.series import Series
from leakguard.core.severity import Severity
from leakguard.core.state import (
    DomainState,
    FlightStage,
    ServiceRecord,
    ServiceState,
    State,
)
from leakguard.core.tick import Tick
from leakguard.core.trend import UNKNOWN, Detector, Verdict
from leakguard.core.units import format_bytes, format_duration
from leakguard.core.waiting import PlanKind

REFIT_S = 0.3
"""A fit costs some 0.3 ms; at ten samples a second not every sample is worth one."""

FORESEE_S = 24 * 3600.0
"""People are told of an exhaustion whose median lies within this."""

FORGET_S = 3600.0
"""A domain that was not read for this long is forgotten: containers come and go."""

CALM_S = 900.0
"""A leak or an exhaustion is over when it was not seen for this long."""

SHORT_SHARE = 0.05
"""A domain with less room than this share of it may be the one that a kill was about."""

THROTTLED_S = 15.0
"""A cgroup that was seen to be slowed down this long before still is."""

LOOK_S = 3.0
"""People are told of an exhaustion this much later at most, so that the victim can be named."""

LEAK_TWICE = 2
"""Fits in a row that must say `leaking` before people are told."""


def surroundings(
    state: State,
    snapshot: Snapshot,
    detector: Detector | None,
    quiet: Mapping[str, DomainState] | None = None,
) -> tuple[dict[str, DomainState], facts.Surroundings]:
    """Take the domains' samples into their series; give the new states and what services need.

    `quiet` are the domains that end without a kill, as of this tick.
    """
    domains = {k: d for k, d in state.domains.items() if not is_forgotten(d, snapshot.at)}
    for key in emptied(state, snapshot) & domains.keys():
        domains[key] = begin_anew(domains[key])
    for key, sample in snapshot.domains.items():
        known = domains.get(key)
        grown = grow(known, snapshot.at, (sample.used_bytes, sample.headroom_bytes), detector)
        domains[key] = _fill(grown, sample, snapshot.at)
    if snapshot.host is not None:
        host, whole = snapshot.host, snapshot.host.total_bytes + snapshot.host.swap_total_bytes
        used = host.total_bytes - host.available_bytes
        known = domains.get(facts.HOST)
        grown = grow(known, snapshot.at, (used, host.headroom_bytes), detector)
        domains[facts.HOST] = _note_room(grown, host.headroom_bytes, whole, snapshot.at)
    around = facts.Surroundings(
        host=snapshot.host,
        domains=snapshot.domains,
        trends={key: d.trend for key, d in ({**(quiet or {}), **domains}).items()},
        foretold={
            key: d.foretold
            for key, d in domains.items()
            if d.foretold is not None and d.foretold.is_fresh(snapshot.at)
        },
        throttles=snapshot.throttles,
        throttled=throttled(quiet or {}, snapshot),
        outcomes=state.own.outcomes,
    )
    return domains, around


def throttled(quiet: Mapping[str, DomainState], snapshot: Snapshot) -> frozenset[str]:
    """Give the cgroups of this tick that the kernel was seen to slow down just before."""
    seen = {key: quiet[key].short_boot_s for key in snapshot.throttles if key in quiet}
    now = snapshot.at.boot_s
    return frozenset(k for k, at in seen.items() if at is not None and now - at < THROTTLED_S)


def hear_foretold(
    domains: Mapping[str, DomainState], news: Iterable[Foretold]
) -> dict[str, DomainState]:
    """Take the newest looks at whom the kernel would kill."""
    heard = dict(domains)
    for foretold in news:
        if foretold.domain in heard:
            heard[foretold.domain] = replace(heard[foretold.domain], foretold=foretold)
    return heard


def begin_anew(domain: DomainState) -> DomainState:
    """Forget what a domain held before."""
    return replace(domain, series=Series(), fitted_boot_s=None, trend=UNKNOWN)


def is_forgotten(domain: DomainState, at: Instant) -> bool:
    """Tell whether nothing has been in a domain for so long that it is not looked at any more."""
    last = domain.series.last()
    return last is not None and not 0 <= at.boot_s - last[0] < FORGET_S


def emptied(state: State, snapshot: Snapshot) -> set[str]:
    """Find the domains in which a service began anew: what they held before is no trend."""
    found: set[str] = set()
    for reading in snapshot.readings:
        if not isinstance(reading, Sample):
            continue
        known = state.services.get(reading.service)
        if known is not None and _begins_anew(known.record, reading):
            found |= {facts.HOST, facts.COMMIT, *reading.domains, *reading.throttles}
    return found


def _begins_anew(record: ServiceRecord, sample: Sample) -> bool:
    flight = record.flight
    if flight is not None and flight.kept_root and flight.stage is FlightStage.ACTING:
        return True
    return record.incarnation not in (None, sample.incarnation)


def grow(
    known: DomainState | None,
    at: Instant,
    used_and_room: tuple[int, int],
    detector: Detector | None,
) -> DomainState:
    """Take what a domain holds now into its series, and fit it where that is due."""
    known = known or DomainState(series=Series())
    used, room = used_and_room
    known.series.append(at.boot_s, used)
    if detector is None or not _fit_is_due(known.fitted_boot_s, at):
        return known
    return replace(known, trend=detector.fit(known.series, at, room), fitted_boot_s=at.boot_s)


def _fill(known: DomainState, sample: DomainSample, at: Instant) -> DomainState:
    """Note what a cgroup is, and whether it is at its limit."""
    before, hits = known.limit_hits, sample.limit_hits
    if before is not None and hits is not None and hits > before:
        known = replace(known, short_boot_s=at.boot_s)
    known = replace(known, path=sample.path, limit_bytes=sample.limit_bytes, limit_hits=hits)
    return _note_room(known, sample.headroom_bytes, sample.limit_bytes, at)


def _note_room(known: DomainState, room_bytes: int, whole_bytes: int, at: Instant) -> DomainState:
    if room_bytes > SHORT_SHARE * whole_bytes:
        return known
    return replace(known, short_boot_s=at.boot_s)


def _fit_is_due(fitted_boot_s: float | None, at: Instant) -> bool:
    return fitted_boot_s is None or at.boot_s - fitted_boot_s >= REFIT_S


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
    room = facts.least_room(before, around, rules)
    if detector is not None and _fit_is_due(fitted, tick.now):
        trend, fitted = detector.fit(before.series, tick.now, room), tick.now.boot_s
    assessment = facts.assess(before, trend, around, rules, tick.now)
    service = tick.put(replace(before, assessment=assessment, fitted_boot_s=fitted))
    service = learning.follow(tick, service, room)
    waiting = just_in_time.wait_for(service, rules, tick.now)
    service = tick.put(replace(service, waiting=waiting))
    service = _follow_threshold(tick, service, rules)
    service = _follow_limit(tick, service, assessment)
    service = _follow_leak(tick, service, assessment)
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


def _follow_leak(tick: Tick, service: ServiceState, found: Assessment) -> ServiceState:
    """Tell of a leak after two fits that agree, and of its end when the verdict is stable."""
    trend = found.trend
    name, told = service.record.name, "leak" in service.record.problems
    streak = service.leak_streak + 1 if trend.verdict is Verdict.LEAKING else 0
    service = tick.put(replace(service, leak_streak=min(streak, LEAK_TWICE)))
    if streak:
        service = see(tick, service, "leak")
    if streak >= LEAK_TWICE and not told:
        tick.event(
            EventKind.LEAK_SUSPECTED, name, Severity.WARNING, _leak_text(name, found),
            **evidence(service),
        )  # fmt: skip
    elif (
        told
        and trend.verdict in (Verdict.STABLE, Verdict.WARMING_UP)
        and calm(tick, service, "leak")
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
    slowed = found.throttle is not None and found.throttle.now
    if (foreseen and sure) or (told and slowed):
        service = see(tick, service, "exhaustion")
    since = (service.foreseen_since or tick.now) if foreseen and sure and not told else None
    service = tick.put(replace(service, foreseen_since=since))
    if near is not None and since is not None and not _is_looked_for(found, near, since, tick.now):
        tick.event(
            EventKind.EXHAUSTION_PREDICTED, name, Severity.WARNING,
            _exhaustion_text(service, found, near, tick.now),
            **evidence(service),
        )  # fmt: skip
    elif told and not foreseen and calm(tick, service, "exhaustion"):
        tick.event(
            EventKind.EXHAUSTION_AVERTED, name, Severity.INFO,
            f"{name} is not running out of memory any more: {found.trend.reason}",
        )  # fmt: skip
    return tick.service(name)


def _is_looked_for(found: Assessment, near: Forecast, since: Instant, now: Instant) -> bool:
    """Whether it pays to wait a moment: whom the kernel would kill is just being found out."""
    if not near.room.domain or near.room.kind is LimitKind.COMMIT:
        return False
    if facts.victim_of(found, near) is not None:
        return False
    return now.since(since) < LOOK_S < (near.early_edge_s() or 0.0)


def calm(tick: Tick, service: ServiceState, topic: str) -> bool:
    """Whether a problem is over: its incarnation is gone, or it was last seen long enough ago.

    A heap that fills and is collected would open and end the same problem at every turn otherwise.
    """
    problem, sample = service.record.problems[topic], service.sample
    if sample is not None and problem.since_wall_s < sample.at.wall_s - sample.age_s:
        return True
    seen = service.last_seen.get(topic)
    return seen is None or tick.now.boot_s - seen >= CALM_S


def see(tick: Tick, service: ServiceState, topic: str) -> ServiceState:
    """Note that a problem shows now."""
    seen = {**service.last_seen, topic: tick.now.boot_s}
    return tick.put(replace(service, last_seen=seen))


def _leak_text(name: str, found: Assessment) -> str:
    throttle = found.throttle
    near = throttle is not None and (throttle.foreseen.median_s or 0.0) <= FORESEE_S
    slowed = facts.throttle_words(found) if near else ""
    parts = (f"{name} {found.trend.reason}", slowed, facts.tmpfs_words(found))
    return "; ".join(part for part in parts if part)


def _exhaustion_text(service: ServiceState, found: Assessment, near: Forecast, now: Instant) -> str:
    times = near.quantiles()
    name, room = service.record.name, near.room
    where = facts.limit_words(room)
    where = f"the {where}" if where.endswith(" limit") else where
    span = ""
    if room.headroom_bytes <= 0:
        span = " now"
    elif times is not None and times.p05_s is not None:
        late = format_duration(times.p95_s) if times.p95_s is not None else "later"
        span = f" in {format_duration(times.p05_s)} to {late}"
    who = facts.end_words(name, found, near)
    text = f"{name} fills {where} ({format_bytes(room.limit_bytes)}){span}"
    waiting = service.waiting
    waits = waiting is not None and waiting.what is not PlanKind.EDGE
    plan = just_in_time.in_words(waiting, now) if waiting is not None and waits else ""
    parts = (text, facts.throttle_words(found), who, facts.tmpfs_words(found), plan)
    return "; ".join(part for part in parts if part)
