"""From samples to an assessment: fit the series, list the limits, foresee when each is reached."""

from collections.abc import Mapping
from dataclasses import field, replace

from leakguard.core import lasting
from leakguard.core.assessment import Assessment, Throttle
from leakguard.core.calibration import UNTRIED, Outcomes, learned
from leakguard.core.forecast import Edges, Forecast, LimitKind, Room, forecast, nearest
from leakguard.core.foretold import Foretold
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import DomainSample, HostSample, Sample, ThrottleSample
from leakguard.core.state import ServiceState
from leakguard.core.trace import trace_of
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import format_bytes, format_duration

HOST = "host"
"""Key of the host among the domains."""

COMMIT = "commit"
"""Key of what the kernel has promised to programs, among the domains that end without a kill."""

OWN_SHARE = 0.3
"""A shared domain's forecast concerns a service that causes at least this share of its slope."""

VISIBLE_SHARE = 0.05
VISIBLE_NOISE = 4.0
"""A service's rise should show in its domain once it is this share of what the domain holds, and
this many times its noise: where it does not, something else gives the memory back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The domains of one tick and their own trends, shared by the services in them."""

    host: HostSample | None = None
    domains: Mapping[str, DomainSample] = field(default_factory=dict)
    trends: Mapping[str, Trend] = field(default_factory=dict)
    foretold: Mapping[str, Foretold] = field(default_factory=dict)
    """Whom the kernel would kill, by the key of the domain; only what is not out of date."""
    throttles: Mapping[str, ThrottleSample] = field(default_factory=dict)
    throttled: frozenset[str] = frozenset()
    """Keys of those that are slowed down now."""
    outcomes: Outcomes = UNTRIED
    """How the newest forecasts of all services came out."""


def assess(
    service: ServiceState, trend: Trend, around: Surroundings, rules: ServiceRules, now: Instant
) -> Assessment:
    """Join what is known of one service; `service.sample` must be set."""
    sample = service.sample
    if sample is None:
        return Assessment(at=now, trend=trend)
    effective = effective_limit(sample, around, rules)
    edges = learned(service.record.outcomes, around.outcomes)
    forecasts = []
    for room in rooms(sample, around, rules):
        shared = around.trends.get(room.domain)
        forecasts.append(_foresee(room, trend, shared, edges))
    throttle = _throttle(sample, around, trend, edges)
    named = {f.room.domain for f in forecasts if f.median_s is not None} & around.foretold.keys()
    return Assessment(
        at=now,
        trend=_held_back(trend, throttle),
        forecasts=tuple(forecasts),
        nearest=nearest(forecasts),
        foretold={key: around.foretold[key] for key in sorted(named)},
        throttle=throttle,
        tmpfs_share=lasting.share_of_rise(service.marks, sample, trend.window_s),
        effective_limit_bytes=effective,
        edges=edges,
    )


def effective_limit(sample: Sample, around: Surroundings, rules: ServiceRules) -> int | None:
    """Give the smallest limit that counts for the service, in bytes; None when none is known."""
    known = (_real_limit(sample, around), _configured_limit(sample, around, rules))
    return min((limit for limit in known if limit is not None), default=None)


def least_room(service: ServiceState, around: Surroundings, rules: ServiceRules) -> int | None:
    """Give how much the service can grow before it meets a limit; None when none is known."""
    if service.sample is None:
        return None
    known = (room.headroom_bytes for room in rooms(service.sample, around, rules))
    return min(known, default=None)


def rooms(sample: Sample, around: Surroundings, rules: ServiceRules) -> tuple[Room, ...]:
    """List every limit above the service with what is left below it."""
    found = [
        Room(
            kind=LimitKind.CGROUP,
            path=domain.path,
            limit_bytes=domain.limit_bytes,
            headroom_bytes=domain.headroom_bytes,
            domain=key,
        )
        for key, domain in ((k, around.domains[k]) for k in sample.domains if k in around.domains)
    ]
    configured = _configured_limit(sample, around, rules)
    if configured is not None:
        found.append(
            Room(
                kind=LimitKind.CONFIGURED,
                limit_bytes=configured,
                headroom_bytes=configured - sample.value_bytes,
            )
        )
    if sample.address_limit_bytes is not None and sample.address_space_bytes is not None:
        found.append(
            Room(
                kind=LimitKind.RLIMIT,
                limit_bytes=sample.address_limit_bytes,
                headroom_bytes=sample.address_limit_bytes - sample.address_space_bytes,
            )
        )
    if around.host is not None:
        found.append(
            Room(
                kind=LimitKind.HOST,
                limit_bytes=around.host.total_bytes,
                headroom_bytes=around.host.headroom_bytes,
                domain=HOST,
            )
        )
    return (*found, *_commit_room(sample, around.host))


def caused_by(service: Trend, forecasted: Forecast) -> bool:
    """Whether the service drives a forecast: of a shared domain, by its share of the slope."""
    own = service.slope_bytes_per_s
    if own is None or own <= 0:
        return False
    if forecasted.room.kind in (LimitKind.CONFIGURED, LimitKind.RLIMIT):
        return True
    return own >= OWN_SHARE * (forecasted.slope_bytes_per_s or 0.0)


def victim_of(found: Assessment, foreseen: Forecast) -> Foretold | None:
    """Give whom the kernel would kill at the end of a forecast, None where that is not known."""
    return found.foretold.get(foreseen.room.domain)


def victim_words(name: str, told: Foretold | None) -> str:
    """Say whom the kernel would kill: `the kernel would kill postgres (pid 77), not worker`."""
    if told is None or told.victim is None:
        return ""
    sure = "the kernel would kill" if told.certain else "the kernel would probably kill"
    if told.victim.service == name:
        return f"{sure} {name} itself"
    return f"{sure} {told.victim}, not {name}"


def limit_words(room: Room) -> str:
    """Name a limit: `cgroup /app`, `host limit`, `CommitLimit`."""
    if room.kind is LimitKind.CGROUP:
        return f"cgroup {room.path}"
    return "CommitLimit" if room.kind is LimitKind.COMMIT else f"{room.kind} limit"


def end_words(name: str, found: Assessment, foreseen: Forecast) -> str:
    """Say what happens at the end of a forecast: whom the kernel would kill, or what else."""
    if foreseen.room.kind is LimitKind.COMMIT:
        return "malloc then fails (ENOMEM) at CommitLimit, and nobody is killed"
    return victim_words(name, victim_of(found, foreseen))


def tmpfs_words(found: Assessment | None) -> str:
    """Say that a restart does not cure the growth; empty where it does, or that is not known."""
    share = found.tmpfs_share if found is not None else None
    if share is None or share < lasting.MOSTLY:
        return ""
    return f"a restart does not cure it: {100 * share:.0f}% of the growth is in files of tmpfs"


def throttle_words(found: Assessment) -> str:
    """Say from where on it is slowed down, where that comes before its limit: `is throttled …`."""
    if found.throttle is None:
        return ""
    foreseen, near = found.throttle.foreseen, found.nearest
    size = format_bytes(foreseen.room.limit_bytes)
    if found.throttle.now:
        return f"is throttled now, from {size} on (memory.high)"
    end_s = near.median_s if near is not None else None
    if foreseen.median_s is None or (end_s is not None and foreseen.median_s >= end_s):
        return ""
    return f"is throttled from {size} (memory.high) in about {format_duration(foreseen.median_s)}"


def threshold_bytes(service: ServiceState, rules: ServiceRules) -> int | None:
    """Give the threshold in bytes; None when there is none or its share of a limit is unknown."""
    rule = rules.policy.threshold
    if rule is None:
        return None
    limit = service.assessment.effective_limit_bytes if service.assessment else None
    return rule.above.resolve(limit)


def evidence(service: ServiceState) -> dict[str, str | int | float | None]:
    """Give the numbers that an event about a service carries, in base units."""
    sample, facts = service.sample, service.assessment
    near = facts.nearest if facts is not None else None
    times = near.quantiles() if near is not None else None
    told = victim_of(facts, near) if facts is not None and near is not None else None
    victim = told.victim if told is not None else None
    return {
        "value_bytes": sample.value_bytes if sample else None,
        "measure": sample.measure.value if sample else None,
        "trace": trace_of(service.series) or None,
        "slope_bytes_per_s": facts.trend.slope_bytes_per_s if facts else None,
        "verdict": facts.trend.verdict.value if facts else None,
        "limit_kind": near.room.kind.value if near else None,
        "limit_path": near.room.path or None if near else None,
        "limit_bytes": near.room.limit_bytes if near else None,
        "headroom_bytes": near.room.headroom_bytes if near else None,
        "time_to_limit_p05_s": times.p05_s if times else None,
        "time_to_limit_p50_s": times.p50_s if times else None,
        "time_to_limit_p95_s": times.p95_s if times else None,
        **_throttle_evidence(facts),
        "tmpfs_bytes": (sample.tmpfs_bytes or None) if sample else None,
        "tmpfs_share": facts.tmpfs_share if facts else None,
        "victim": str(victim) if victim else None,
        "victim_pid": victim.pid if victim else None,
        "victim_certain": told.certain if told is not None and victim else None,
    }


def _throttle_evidence(found: Assessment | None) -> dict[str, int | float | None]:
    throttle = found.throttle if found is not None else None
    return {
        "throttled_from_bytes": throttle.foreseen.room.limit_bytes if throttle else None,
        "time_to_throttle_s": throttle.foreseen.median_s if throttle else None,
    }


def _throttle(sample: Sample, around: Surroundings, own: Trend, edges: Edges) -> Throttle | None:
    """Give the `memory.high` that comes first by time; one that is passed comes before all."""
    found = []
    for key in sample.throttles:
        group = around.throttles.get(key)
        if group is None:
            continue
        room = Room(
            kind=LimitKind.HIGH, path=group.path, limit_bytes=group.high_bytes,
            headroom_bytes=group.headroom_bytes, domain=key,
        )  # fmt: skip
        foreseen = _foresee(room, own, around.trends.get(key), edges)
        now = key in around.throttled
        found.append(Throttle(foreseen=foreseen, now=now, limited=group.limited))
    passed = [one for one in found if one.now]
    first = nearest(one.foreseen for one in passed or found)
    return next((one for one in found if one.foreseen is first), None)


def _held_back(trend: Trend, throttle: Throttle | None) -> Trend:
    """Take back a verdict that only says that the kernel lets it grow no further."""
    still = trend.verdict in (Verdict.STABLE, Verdict.WARMING_UP)
    if throttle is None or not throttle.now or not still:
        return trend
    high = throttle.foreseen.room
    reason = (
        f"is throttled at memory.high ({format_bytes(high.limit_bytes)}) of cgroup {high.path}: "
        "that it does not grow there says nothing"
    )
    return replace(trend, verdict=Verdict.UNKNOWN, reason=reason)


def _real_limit(sample: Sample, around: Surroundings) -> int | None:
    real = [around.domains[key].limit_bytes for key in sample.domains if key in around.domains]
    if around.host is not None:
        real.append(around.host.total_bytes)
        real += [room.limit_bytes for room in _commit_room(sample, around.host)]
    if sample.address_limit_bytes is not None:
        real.append(sample.address_limit_bytes)
    return min(real, default=None)


def _commit_room(sample: Sample, host: HostSample | None) -> tuple[Room, ...]:
    """Give CommitLimit, where the kernel holds to it."""
    limit = host.commit_limit_bytes if host is not None else None
    left = host.commit_room_bytes(sample.address_space_bytes or 0) if host is not None else None
    if limit is None or left is None:
        return ()
    room = Room(kind=LimitKind.COMMIT, limit_bytes=limit, headroom_bytes=left, domain=COMMIT)
    return (room,)


def _configured_limit(sample: Sample, around: Surroundings, rules: ServiceRules) -> int | None:
    """Give the limit that the configuration adds; a share is one of the nearest real limit."""
    return rules.limit.resolve(_real_limit(sample, around)) if rules.limit is not None else None


def _foresee(room: Room, own: Trend, shared: Trend | None, edges: Edges) -> Forecast:
    """Foresee by the domain's own trend where it has one, else by the service's.

    A domain that holds still although the service's rise would show in it does not run out.
    """
    if shared is None:
        return forecast(room, own, edges)
    if shared.slope_bytes_per_s is not None or _contradicts(room, own, shared):
        return forecast(room, shared, edges)
    return forecast(room, own, edges)


def _contradicts(room: Room, own: Trend, shared: Trend) -> bool:
    if shared.verdict is not Verdict.STABLE:
        return False
    expected = (own.slope_bytes_per_s or 0.0) * min(shared.window_s, own.window_s)
    used = room.limit_bytes - room.headroom_bytes
    return expected > max(VISIBLE_SHARE * used, VISIBLE_NOISE * shared.noise_bytes)
