"""What the page, the metrics and the commands may see: a frozen view of state and rules."""

from collections.abc import Mapping
from dataclasses import field, replace

from leakguard.core import breaker, buy_time, leave
from leakguard.core.assessment import Assessment, Throttle
from leakguard.core.calibration import Came
from leakguard.core.engine import Rules
from leakguard.core.facts import threshold_bytes, victim_of
from leakguard.core.forecast import Forecast, TimeToLimit
from leakguard.core.frozen import dataclass
from leakguard.core.guards import grace_left_s, restarts_left
from leakguard.core.instant import Instant, rfc3339
from leakguard.core.just_in_time import in_words
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import Sample
from leakguard.core.state import Phase, ServiceRecord, ServiceState, State
from leakguard.core.victim_status import VictimStatus, victim_status
from leakguard.core.waiting import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatus:
    """One limit of a service. `time_to_limit` is None when nothing is foreseen."""

    kind: str
    path: str
    limit_bytes: int
    headroom_bytes: int
    time_to_limit: TimeToLimit | None = None
    oom: VictimStatus | None = None
    """None until somebody had to look: the end of this domain is far, or it kills nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleStatus:
    """`memory.high` above a service: from there on the kernel slows it down and kills nobody."""

    path: str
    high_bytes: int
    headroom_bytes: int
    limited: bool
    """The cgroup has a limit too."""
    now: bool
    """It is slowed down at present."""
    time_to_throttle: TimeToLimit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingStatus:
    """What the restart of a leaking service waits for. `kind` is a `PlanKind`."""

    kind: str
    begin: str
    end: str
    sure: float
    """The chance that the memory lasts until then."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartStatus:
    """One recent restart, whoever caused it."""

    at: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One service, ready to print. Sizes in bytes, durations in seconds, times in RFC 3339."""

    name: str
    mode: str
    phase: str
    measure: str
    driver: str
    value_bytes: int | None = None
    rss_bytes: int | None = None
    anon_bytes: int | None = None
    file_bytes: int | None = None
    shmem_bytes: int | None = None
    swap_bytes: int | None = None
    tmpfs_bytes: int | None = None
    """Of its shmem what lies in files that outlive it; None where that is not known."""
    tmpfs_share: float | None = None
    """Share of the rise that such files are."""
    processes: int | None = None
    pid: int | None = None
    age_s: float | None = None
    sampled_at: str | None = None
    verdict: str = "unknown"
    verdict_reason: str = ""
    slope_bytes_per_s: float | None = None
    effective_limit_bytes: int | None = None
    nearest: LimitStatus | None = None
    limits: tuple[LimitStatus, ...] = ()
    throttle: ThrottleStatus | None = None
    """None where no cgroup above it has `memory.high`."""
    threshold_bytes: int | None = None
    next_schedule: str | None = None
    """When the next scheduled restart is due."""
    depends_on: tuple[str, ...] = ()
    """The entries whose restarts it is stopped for."""
    stopped_for: str = ""
    """The service whose restart it is stopped for now."""
    group: str = ""
    """The group that it is in."""
    due: str | None = None
    """The moment of a scheduled restart that was held back and is still to come."""
    waiting: WaitingStatus | None = None
    """When it is going to be restarted for its leak; None while no end is in sight."""
    last_decision: str = ""
    """The last decision and its reason, in one sentence."""
    restarts: tuple[RestartStatus, ...] = ()
    restarts_left: int = 0
    """How many restarts the breaker still allows now."""
    breaker: str = "closed"
    """`closed`, `open`, or `half-open`: one restart is allowed, or out, on probation."""
    breaker_open: bool = False
    """It lets no restart pass now."""
    bent: str = ""
    """How its limits are bent, and until when; empty when they are as they were."""
    futile: str = ""
    """Why restarts do not help, and what would; empty when that was not found."""
    paused: str = ""
    """Who paused it, why and until when; empty when it is not paused."""
    leave: str = ""
    """That the service is being asked for leave, or until when it is busy and why."""
    in_flight: str = ""
    """Action id of a restart in flight."""
    cannot_act: tuple[str, ...] = ()
    """What the rehearsal of the driver found, each with its fix."""
    restart_counts: Mapping[str, int] = field(default_factory=dict)
    veto_counts: Mapping[str, int] = field(default_factory=dict)
    sample_errors: int = 0
    oom_kills: int = 0
    oom_causes: Mapping[str, int] = field(default_factory=dict)
    """Of these, by whose memory had run out."""
    deaths: Mapping[str, int] = field(default_factory=dict)
    """Cause → number of its runs that died so."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Of its newest forecasts, up to 32, how many came `early`, `inside` and `late`."""
    next_sample_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceExtras:
    """What the shell knows of a service and the engine does not."""

    next_schedule: str | None = None
    cannot_act: tuple[str, ...] = ()
    next_sample_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole daemon at one instant."""

    host: str
    version: str
    pid: int
    at: str
    started_at: str
    ready: bool
    not_ready_because: str = ""
    services: tuple[ServiceStatus, ...] = ()
    store: str = "ok"
    """`ok`, or what is wrong with the state file."""
    config_ok: bool = True
    host_total_bytes: int | None = None
    host_available_bytes: int | None = None
    host_swap_free_bytes: int | None = None
    psi_some_avg10: float | None = None
    predictions: Mapping[str, int] = field(default_factory=dict)
    """How the kernel's kills compared with what was foretold: result → number."""
    deliveries: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Channel → result (`ok`, `failed`, `gave_up`, `pending`) → number."""


def project(
    state: State, rules: Rules, now: Instant, extras: Mapping[str, ServiceExtras]
) -> tuple[ServiceStatus, ...]:
    """Give every guarded service as people may see it; `extras` is what only the shell knows."""
    shown = []
    for name in sorted(state.services):
        service_rules = rules.of(name)
        if service_rules is not None:
            extra = extras.get(name, ServiceExtras())
            shown.append(_project_one(state.services[name], service_rules, now, extra))
    return tuple(shown)


def phase_of(service: ServiceState, rules: ServiceRules, now: Instant) -> Phase:
    """Give where a service stands, in one word; what matters most to a person wins."""
    record = service.record
    if record.flight is not None:
        return Phase.RESTARTING
    if record.pause is not None:
        return Phase.PAUSED
    if record.missing:
        return Phase.MISSING
    if record.unreadable:
        return Phase.UNREADABLE
    if breaker.holds(record, rules, now):
        return Phase.BREAKER_OPEN
    if service.sample is None:
        return Phase.STARTING
    return Phase.GRACE if grace_left_s(service, rules, now) > 0 else Phase.WATCHING


def _project_one(
    service: ServiceState, rules: ServiceRules, now: Instant, extra: ServiceExtras
) -> ServiceStatus:
    record, sample, facts = service.record, service.sample, service.assessment
    base = ServiceStatus(
        name=record.name,
        mode=rules.mode.value,
        phase=phase_of(service, rules, now).value,
        measure=rules.measure.value,
        driver=rules.restart.driver,
        threshold_bytes=threshold_bytes(service, rules),
        next_schedule=extra.next_schedule,
        depends_on=rules.restart.depends_on,
        stopped_for=record.flight.for_service if record.flight is not None else "",
        group=rules.group.name if rules.group is not None else "",
        due=rfc3339(record.due.due_wall_s) if record.due is not None else None,
        waiting=_waiting(service.waiting, now) if sample is not None else None,
        last_decision=service.last_decision,
        restarts=tuple(
            RestartStatus(at=r.at.rfc3339(), reason=r.reason) for r in record.restarts[-10:]
        ),
        restarts_left=restarts_left(record, rules, now),
        breaker=breaker.word_of(record, rules, now).value,
        breaker_open=breaker.holds(record, rules, now),
        bent=buy_time.words(record.bent) if record.bent is not None else "",
        futile=record.futility.words if record.futility is not None else "",
        paused=_pause_text(record),
        leave=leave.in_words(record, now),
        in_flight=_in_flight(record),
        cannot_act=extra.cannot_act,
        restart_counts=record.restart_counts,
        veto_counts=record.veto_counts,
        sample_errors=service.sample_errors,
        oom_kills=record.oom_kills,
        oom_causes=record.oom_causes,
        deaths=record.deaths,
        outcomes={came.value: record.outcomes.count(came) for came in Came},
        next_sample_s=extra.next_sample_s,
    )
    if sample is not None:
        base = _with_sample(base, sample, now)
    return _with_facts(base, facts) if facts is not None and sample is not None else base


def _with_sample(base: ServiceStatus, sample: Sample, now: Instant) -> ServiceStatus:
    return replace(
        base,
        value_bytes=sample.value_bytes,
        rss_bytes=sample.rss_bytes,
        anon_bytes=sample.anon_bytes,
        file_bytes=sample.file_bytes,
        shmem_bytes=sample.shmem_bytes,
        swap_bytes=sample.swap_bytes,
        tmpfs_bytes=sample.tmpfs_bytes,
        processes=sample.processes,
        pid=sample.incarnation.pid,
        age_s=round(sample.age_s + now.since(sample.at), 1),
        sampled_at=sample.at.rfc3339(),
    )


def _with_facts(base: ServiceStatus, facts: Assessment) -> ServiceStatus:
    limits = tuple(_limit(f, facts) for f in facts.forecasts)
    return replace(
        base,
        verdict=facts.trend.verdict.value,
        verdict_reason=facts.trend.reason,
        slope_bytes_per_s=facts.trend.slope_bytes_per_s,
        effective_limit_bytes=facts.effective_limit_bytes,
        nearest=_limit(facts.nearest, facts) if facts.nearest is not None else None,
        limits=limits,
        tmpfs_share=facts.tmpfs_share,
        throttle=_throttle(facts.throttle) if facts.throttle is not None else None,
    )


def _waiting(waiting: Waiting | None, now: Instant) -> WaitingStatus | None:
    if waiting is None:
        return None
    return WaitingStatus(
        kind=waiting.what.value,
        begin=rfc3339(waiting.span.begin_wall_s),
        end=rfc3339(waiting.span.end_wall_s),
        sure=round(waiting.sure, 3),
        text=in_words(waiting, now),
    )


def _throttle(throttle: Throttle) -> ThrottleStatus:
    foreseen = throttle.foreseen
    return ThrottleStatus(
        path=foreseen.room.path,
        high_bytes=foreseen.room.limit_bytes,
        headroom_bytes=foreseen.room.headroom_bytes,
        limited=throttle.limited,
        now=throttle.now,
        time_to_throttle=foreseen.quantiles(),
    )


def _limit(forecast: Forecast, facts: Assessment) -> LimitStatus:
    told = victim_of(facts, forecast)
    return LimitStatus(
        oom=victim_status(told) if told is not None else None,
        kind=forecast.room.kind.value,
        path=forecast.room.path,
        limit_bytes=forecast.room.limit_bytes,
        headroom_bytes=forecast.room.headroom_bytes,
        time_to_limit=forecast.quantiles(),
    )


def _in_flight(record: ServiceRecord) -> str:
    flight = record.flight
    return "" if flight is None else flight.action_id or flight.for_action


def _pause_text(record: ServiceRecord) -> str:
    pause = record.pause
    if pause is None:
        return ""
    until = rfc3339(pause.until_wall_s) if pause.until_wall_s is not None else "it is resumed"
    by = f"by {pause.by} " if pause.by else ""
    return f"paused {by}until {until}" + (f": {pause.reason}" if pause.reason else "")
