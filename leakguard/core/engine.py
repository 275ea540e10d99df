"""One tick: facts, judgement, consequences. Pure: everything it needs is an argument.

Outcomes of earlier actions come first, then what people asked for, then the readings; what the
readings show of a restart in flight is settled before they are observed. Every service that was
read or asked about is then assessed, its triggers propose, its guards veto, and one decision
comes out.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import assert_never

from leakguard.core import (
    accuracy,
    breaker,
    budget,
    buy_time,
    calm,
    days,
    deaths,
    dependents,
    due,
    facts,
    flight,
    futility,
    groups,
    judge,
    just_in_time,
    kill_news,
    last_rise,
    learning,
    leave,
    pauses,
    propose,
    quiet,
    rate,
    throttling,
    watch,
)
from leakguard.core.alerts import Alert, AlertRules
from leakguard.core.calendar import Calendar
from leakguard.core.decision import Action, Decision, Reply
from leakguard.core.events import Detail, Event, EventKind
from leakguard.core.forecast import Forecast
from leakguard.core.foretold import Foretold
from leakguard.core.frozen import dataclass
from leakguard.core.guards import grace_left_s
from leakguard.core.inbox import (
    DryRunRequest,
    Outcome,
    PauseRequest,
    Request,
    RestartRequest,
    ResumeRequest,
    ScheduleDue,
)
from leakguard.core.instant import Instant
from leakguard.core.kill_book import SeenKill
from leakguard.core.kill_news import Heard
from leakguard.core.kills import NamedKill
from leakguard.core.observe import observe
from leakguard.core.pace import pace
from leakguard.core.policy import Proposal, ServiceRules, rules_among
from leakguard.core.sample import Absent, Reading, Sample, Snapshot
from leakguard.core.severity import Severity
from leakguard.core.state import ServiceRecord, State
from leakguard.core.tick import Tick
from leakguard.core.trend import Detector


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the shell saw that people should know of; the engine gives it id and alert."""

    kind: str
    service: str
    severity: str
    message: str
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that is new in one tick, in the order it is dealt with: outcomes, requests, readings."""

    now: Instant
    snapshot: Snapshot
    outcomes: tuple[Outcome, ...] = ()
    requests: tuple[Request, ...] = ()
    notices: tuple[Notice, ...] = ()
    durable: bool = True
    """Whether the last commit reached the disk."""
    dropped: tuple[str, ...] = ()
    """Services that are no longer guarded: their state is forgotten."""
    cannot_act: Mapping[str, str] = field(default_factory=dict)
    """Services that were looked at whose driver would refuse now → why, and the fix."""
    kills: tuple[NamedKill, ...] = ()
    """Processes that a log newly names as killed for memory."""
    kill_names: str = ""
    """Why no log can be read, so that kills have no names; empty when one can."""
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    """Windows, blackouts and schedules that are coming, of each entry whose calendar changed."""
    foretold: tuple[Foretold, ...] = ()
    """Whom the kernel would kill in the domains that were looked at."""
    ending: bool = False
    """The guard ends with this tick: what waits for evidence is told as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the configuration compiled to, for the engine.

    `detectors` go by the name under `services`; the one under "" judges domains and host.
    """

    services: Mapping[str, ServiceRules]
    detectors: Mapping[str, Detector]
    alerts: AlertRules = field(default_factory=AlertRules)

    def of(self, service: str) -> ServiceRules | None:
        """Give the rules of a guarded service; `worker:2` follows those of `worker`."""
        return rules_among(self.services, service)

    def detector_of(self, service: str) -> Detector | None:
        """Give the detector of a guarded service."""
        return self.detectors.get(service.partition(":")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one tick gave. Committed as a whole before any action is carried out."""

    at: Instant
    state: State
    samples: tuple[Sample, ...] = ()
    records: tuple[ServiceRecord, ...] = ()
    """Records that changed in this tick."""
    dropped: tuple[str, ...] = ()
    """Services that are no longer guarded: their records are forgotten."""
    decisions: tuple[Decision, ...] = ()
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    alerts: tuple[Alert, ...] = ()
    replies: tuple[Reply, ...] = ()
    pace: Mapping[str, float] = field(default_factory=dict)
    """Seconds until the next sample of each service that was read."""
    kills: tuple[SeenKill, ...] = ()
    """Kills told in this tick, with whom they concern and whose limit it was."""


def step(state: State, inputs: Inputs, rules: Rules) -> Step:
    """Take `state` over, deal with one tick's inputs, and give what follows from them."""
    tick = Tick.of(state, inputs.now, rules.alerts, rules.services, durable=inputs.durable)
    for name in inputs.dropped:
        buy_time.let_go(tick, name)
        dependents.let_go(tick, name)
        tick.forget(name)
    for notice in inputs.notices:
        _note(tick, notice)
    for outcome in inputs.outcomes:
        if not buy_time.take_outcome(tick, outcome):
            flight.take_outcome(tick, outcome)
    proposals = _requests(tick, inputs.requests, rules)
    snapshot = inputs.snapshot
    calendars = days.take(tick, state.calendars, inputs.calendars)
    heard = watch.hear_foretold(state.domains, inputs.foretold)
    known = replace(state, services=tick.services, domains=heard)
    detector = rules.detectors.get("")
    bloodless = quiet.follow(known, snapshot, detector)
    domains, around = watch.surroundings(known, snapshot, detector, bloodless)
    book, told = kill_news.hear(tick, state.kills, _heard(inputs), domains)
    accuracy.score(tick, told, known.domains)
    learning.hear(tick, told)
    for reading in snapshot.readings:
        deaths.notice(tick, reading, still_running=reading.service in snapshot.still_running)
        if rules.of(reading.service) is not None:
            days.mark(tick, reading.service, calendars)
        _read(tick, reading, proposals, around, rules)
        _hear(tick, reading.service, inputs.cannot_act.get(reading.service, ""))
    _expire(tick)
    due.propose_due(tick, proposals, _looked_at(inputs))
    leave.follow(tick, proposals)
    for name in groups.in_turn(tick, proposals):
        service_rules = rules.of(name)
        if service_rules is not None:
            futility.judge(tick, name, proposals[name], service_rules)
            left = buy_time.instead(tick, name, proposals[name], service_rules)
            judge.judge(tick, name, left, service_rules)
    if not inputs.ending:
        dependents.advance(tick)
    _follow(tick, snapshot.readings, proposals, rules)
    deaths.conclude(tick, book, no_names=inputs.kill_names, ending=inputs.ending)
    _answer_dry_runs(tick, inputs.requests)
    tick.remind()
    _set_pace(tick, snapshot.readings, rules)
    after = State(
        instance=state.instance,
        serial=tick.serial,
        services=tick.services,
        domains=accuracy.expect(domains, _forecasts(tick, snapshot), inputs.now),
        quiet=bloodless,
        kills=book,
        calendars=calendars,
        own=tick.own,
    )
    return _conclude(tick, inputs, after, told)


def _answer_dry_runs(tick: Tick, requests: tuple[Request, ...]) -> None:
    if any(isinstance(request, DryRunRequest) for request in requests):
        from leakguard.core import dry_run  # few ever ask

        dry_run.answer(tick, requests)


def _looked_at(inputs: Inputs) -> frozenset[str]:
    """Give the services that were read in this tick, or asked about."""
    read = frozenset(reading.service for reading in inputs.snapshot.readings)
    return read | {request.service for request in inputs.requests}


def _forecasts(tick: Tick, snapshot: Snapshot) -> tuple[Forecast, ...]:
    """Give the forecasts that were made in this tick."""
    known = (tick.services.get(reading.service) for reading in snapshot.readings)
    found = (service.assessment for service in known if service is not None)
    return tuple(one for assessed in found if assessed is not None for one in assessed.forecasts)


def _heard(inputs: Inputs) -> Heard:
    return Heard(
        snapshot=inputs.snapshot,
        kills=inputs.kills,
        no_names=inputs.kill_names,
        ending=inputs.ending,
    )


def _conclude(tick: Tick, inputs: Inputs, after: State, told: tuple[SeenKill, ...]) -> Step:
    """Give what the workbench holds at the end of a tick."""
    records = [tick.services[n].record for n in sorted(tick.changed) if n in tick.services]
    if "" in tick.changed:
        records.append(tick.own)
    return Step(
        at=inputs.now,
        state=after,
        samples=tuple(tick.samples),
        records=tuple(records),
        dropped=inputs.dropped,
        decisions=tuple(tick.decisions),
        actions=tuple(tick.actions),
        events=tuple(tick.events),
        alerts=tuple(tick.alerts),
        replies=tuple(tick.replies),
        pace=tick.pace,
        kills=told,
    )


def _set_pace(tick: Tick, readings: tuple[Reading, ...], rules: Rules) -> None:
    along = (name for name, s in tick.services.items() if s.record.flight is not None)
    for name in {*(reading.service for reading in readings), *along}:
        found = rules.of(name)
        if found is not None:
            tick.pace[name] = pace(tick.service(name), found, tick.now)


def _hear(tick: Tick, name: str, refusal: str) -> None:
    """Take note of what the driver of a service said."""
    service = tick.services.get(name)
    if service is not None and service.cannot_act != refusal:
        tick.put(replace(service, cannot_act=refusal))


def _note(tick: Tick, notice: Notice) -> None:
    tick.event(
        EventKind(notice.kind),
        notice.service,
        Severity(notice.severity),
        notice.message,
        **notice.details,
    )


def _read(
    tick: Tick,
    reading: Reading,
    proposals: dict[str, list[Proposal]],
    around: facts.Surroundings,
    rules: Rules,
) -> None:
    name, service_rules = reading.service, rules.of(reading.service)
    if service_rules is None:
        return
    under_way = tick.service(name).record.flight
    if under_way and isinstance(reading, Sample) and flight.is_older(reading, under_way, tick):
        return
    dependents.take_reading(tick, reading)
    arrived = flight.take_reading(tick, reading, service_rules)
    observe(tick, reading, service_rules, expected=arrived)
    fired = tick.service(name).record.fired
    crons = [rule.cron for rule in service_rules.policy.schedules]
    if set(crons) != set(fired):  # a schedule that comes back begins anew: nothing was missed
        tick.amend(name, fired={cron: fired.get(cron, tick.now.wall_s) for cron in crons})
    proposed = proposals.setdefault(name, [])
    match reading:
        case Sample():
            watch.assess(tick, name, around, service_rules, rules.detector_of(name))
            throttling.follow(tick, name)
            if tick.service(name).record.flight is None:
                proposed += _automatic(tick, name, service_rules)
        case Absent() if tick.service(name).record.flight is None:
            service = tick.service(name)
            wanted = propose.by_absence(reading, service, service_rules)
            if wanted is not None and judge.respawn_ready(tick, service, service_rules):
                proposed.append(wanted)
        case _:
            pass


def _automatic(tick: Tick, name: str, rules: ServiceRules) -> list[Proposal]:
    service, now = tick.service(name), tick.now
    grace = grace_left_s(service, rules, now)
    wanted = (
        propose.by_threshold(service, rules, now),
        propose.by_forecast(service, rules, grace)
        or last_rise.by_last_rise(service, rules)
        or just_in_time.propose_now(service, now),
        propose.by_max_age(service, rules),
    )
    return [p for p in wanted if p is not None]


def _requests(tick: Tick, requests: tuple[Request, ...], rules: Rules) -> dict[str, list[Proposal]]:
    proposals: dict[str, list[Proposal]] = {}
    for request in requests:
        match request:
            case RestartRequest() | DryRunRequest() | PauseRequest() | ResumeRequest() if (
                rules.of(request.service) is None
            ):
                message = f"no service named {request.service!r} is guarded"
                tick.replies.append(Reply(request_id=request.id, accepted=False, message=message))
            case RestartRequest():
                proposals.setdefault(request.service, []).append(propose.by_request(request))
            case PauseRequest():
                pauses.pause(tick, request)
            case ResumeRequest():
                pauses.resume(tick, request)
            case ScheduleDue():
                due.note(tick, request)
            case DryRunRequest():  # answered once all else is decided
                pass
            case _:
                assert_never(request)
    return proposals


def _expire(tick: Tick) -> None:
    """End what has lasted for long enough: restarts in flight, and pauses."""
    for name in [n for n, s in tick.services.items() if s.record.flight or s.record.pause]:
        flight.check_deadline(tick, name)
        pauses.expire(tick, name)


def _follow(
    tick: Tick,
    readings: tuple[Reading, ...],
    proposals: Mapping[str, list[Proposal]],
    rules: Rules,
) -> None:
    """See what became of standing matters of every service that this tick touched."""
    touched = {r.service for r in readings} | {e.service for e in tick.events}
    for name in sorted(touched - {""}):
        service_rules = rules.of(name)
        if name in tick.services and service_rules is not None:
            calm.watch(tick, name, proposals.get(name, ()))
            breaker.follow(tick, name, service_rules)
            futility.follow(tick, name, service_rules)
            rate.follow(tick, name)
            buy_time.follow(tick, name, service_rules)
    budget.follow(tick)
