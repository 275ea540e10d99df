"""A restart between its commit and its end: the next sample, not the driver, says how it went."""

from dataclasses import replace

from leakguard.core import errands, leave
from leakguard.core.decision import CheckHealth
from leakguard.core.events import EventKind
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import Absent, Reading, Sample, Unreadable
from leakguard.core.severity import Severity
from leakguard.core.state import Flight, FlightStage, ServiceRecord, ServiceState, Settling
from leakguard.core.tick import Tick
from leakguard.core.units import format_duration

HEALTH_SUFFIX = "/health"
SETTLED_AFTER_S = 5.0
"""Memory that was given back this long after the driver was done stays given back."""
HEALTH_SLACK_S = 5.0
"""How long after its own deadline a health check without an answer counts as failed."""
BACK_OFF_S = (5.0, 15.0, 60.0, 300.0)
"""The breaker holds the next attempt back this long after one, two, … failures in a row."""
SUCCEEDED = "succeeded"
SKIPPED = "skipped"
SMOOTHING = 0.5
START_TRIES = 5
"""So often a dependent is started that does not come back, over some six minutes."""
HALF = 0.5
BORN_SLACK_S = 2.0
"""Start times are known to a clock tick, and boot time is read twice."""


def take_outcome(tick: Tick, outcome: Outcome) -> None:
    """Note what came back of an action; outcomes of flights that are over are dropped."""
    if errands.take_outcome(tick, outcome) or leave.take_outcome(tick, outcome):
        return
    service = tick.services.get(outcome.service)
    flight = service.record.flight if service is not None else None
    if service is None or flight is None:
        return
    if not _is_awaited(outcome, flight):
        return
    match outcome.kind:
        case OutcomeKind.PREPARED:
            errands.tell_before(tick, outcome.service, flight.action_id, outcome.told)
            _set(tick, service, replace(flight, told=outcome.told))
        case OutcomeKind.DONE:
            done = replace(
                flight,
                stop_s=outcome.stop_s,
                started=outcome.started,
                done=tick.now,
                kept_root=outcome.kept_root,
                said=outcome.message if outcome.kept_root else "",
                elsewhere=outcome.elsewhere,
            )
            _set(tick, service, done)
        case OutcomeKind.FAILED:
            why = outcome.message or "the driver failed"
            _set(tick, service, replace(flight, failed=why, hopeless=outcome.permanent))
        case OutcomeKind.STALE:
            _end_stale(tick, service, flight, outcome.message)
        case OutcomeKind.HEALTHY:
            _succeed(tick, service, flight)
        case OutcomeKind.UNHEALTHY:
            _fail(tick, service, flight, f"it runs, but its health gate failed: {outcome.message}")


def _is_awaited(outcome: Outcome, flight: Flight) -> bool:
    """Whether an outcome is about what is in flight, and not settled by a reading already."""
    own = (flight.action_id, flight.action_id + HEALTH_SUFFIX)
    return outcome.action_id in own and flight.stage is not FlightStage.DOWN


def resumed(record: ServiceRecord) -> ServiceRecord:
    """Give the record of an earlier daemon: a health gate that it was asking is asked anew."""
    flight = record.flight
    if flight is None or flight.stage is not FlightStage.HEALTH:
        return record
    return replace(record, flight=replace(flight, stage=FlightStage.ACTING))


def take_reading(tick: Tick, reading: Reading, rules: ServiceRules) -> bool:
    """See whether a reading ends the flight of its service, before the reading is observed.

    Gives True when it shows the new incarnation that the flight was waiting for.
    """
    service = tick.service(reading.service)
    flight = service.record.flight
    if flight is None or flight.stage is not FlightStage.ACTING:
        return False
    match reading:
        case Sample() if _is_new(reading, flight, tick):
            _arrive(tick, service, flight, rules)
            return True
        case Absent() if flight.started is not None and reading.exit_code is not None:
            _arrive_and_end(tick, service, flight, rules, reading.exit_code)
        case Absent() if flight.elsewhere:  # gone from here, as it should be
            _succeed(tick, service, flight)
        case Sample() | Absent() if flight.failed:
            _fail(tick, service, flight, flight.failed)
        case Sample() | Absent() | Unreadable():
            pass
    return False


def _is_new(sample: Sample, flight: Flight, tick: Tick) -> bool:
    if flight.for_service and flight.done is not None:
        return True  # it was to run, and it does; perhaps it never stopped
    return sample.incarnation != flight.old or _gave_back(sample, flight, tick)


def _gave_back(sample: Sample, flight: Flight, tick: Tick) -> bool:
    """Whether a restart left the root process alone and took what was below it.

    A supervisor or a master stays; that its memory fell by half, and for good, is the evidence,
    unless the driver itself saw what it replaced.
    """
    if flight.kept_root:
        return True
    if flight.done is None or flight.before_bytes is None:
        return False
    fell = sample.value_bytes < HALF * flight.before_bytes
    return fell and tick.now.since(flight.done) >= SETTLED_AFTER_S


def is_older(sample: Sample, flight: Flight, tick: Tick) -> bool:
    """Whether a process that is not the old one ran before the restart was decided.

    A worker that outlived its master looks like a new incarnation, and is none.
    """
    since = tick.now.since(flight.began) + BORN_SLACK_S
    return sample.incarnation != flight.old and sample.age_s > since


def check_deadline(tick: Tick, name: str) -> None:
    """End a flight whose time is over; what was last seen decides what it is called."""
    service = tick.service(name)
    flight = service.record.flight
    if flight is None or tick.now.since(flight.began) <= flight.deadline_s:
        return
    if flight.stage not in (FlightStage.ACTING, FlightStage.HEALTH):  # `dependents` sees to it
        return
    limit = format_duration(flight.deadline_s)
    if flight.stage is FlightStage.HEALTH:
        _fail(tick, service, flight, "its health gate gave no answer")
    elif flight.for_service and service.sample is not None:
        _succeed(tick, service, flight)
    elif service.sample is not None and service.sample.incarnation == flight.old:
        _end(tick, service, flight, "abandoned", failed=True)
        tick.event(
            EventKind.RESTART_ABANDONED,
            name,
            Severity.CRITICAL,
            f"{name} still runs as {flight.old} after {limit}: {flight.failed or 'no answer'}",
            action_id=flight.action_id,
            trigger=flight.trigger.value,
            **errands.details(flight),
        )
        errands.follow(tick, name, flight, "abandoned")
    else:
        _fail(tick, service, flight, flight.failed or f"no new process within {limit}")


def _arrive(tick: Tick, service: ServiceState, flight: Flight, rules: ServiceRules) -> None:
    if rules.restart.health_within_s is None:
        _succeed(tick, service, flight)
        return
    within = rules.restart.health_within_s
    elapsed = tick.now.since(flight.began)
    deadline = elapsed + within + HEALTH_SLACK_S
    _set(tick, service, replace(flight, stage=FlightStage.HEALTH, deadline_s=deadline))
    tick.actions.append(
        CheckHealth(
            id=flight.action_id + HEALTH_SUFFIX, service=service.record.name, within_s=within
        )
    )


def _arrive_and_end(
    tick: Tick, service: ServiceState, flight: Flight, rules: ServiceRules, code: int
) -> None:
    """Take note of a process that we started and that ended before it could be sampled.

    It is not the absence of the one before: how *it* ended is seen next.
    """
    name = service.record.name
    service = tick.amend(name, incarnation=flight.started, missing=False, exit_code=None)
    if rules.restart.health_within_s is None:
        _succeed(tick, service, flight)
    else:
        _fail(tick, service, flight, f"it ended at once with code {code}")


def _succeed(tick: Tick, service: ServiceState, flight: Flight) -> None:
    name, took = service.record.name, tick.now.since(flight.began)
    if flight.for_service:
        _is_back(tick, service, flight)
        return
    record = _end(tick, service, flight, SUCCEEDED, failed=False).record
    if flight.old is None:
        tick.event(
            EventKind.SERVICE_STARTED, name, Severity.INFO, f"{name} was started",
            action_id=flight.action_id, trigger=flight.trigger.value, took_s=round(took, 3),
        )  # fmt: skip
        return
    known = record.stop_start_s
    smoothed = took if known is None else SMOOTHING * took + (1 - SMOOTHING) * known
    settling = Settling(
        since=tick.now, action_id=flight.action_id, before_bytes=flight.before_bytes, took_s=took
    )
    if took <= flight.deadline_s:  # else leakguard itself was down meanwhile
        tick.amend(name, stop_start_s=max(smoothed, took))
    tick.amend(name, settling=settling)
    tick.event(
        EventKind.RESTART_SUCCEEDED, name, Severity.INFO,
        f"{name} was restarted in {format_duration(took)}: {flight.reason}{_said(flight)}",
        action_id=flight.action_id, trigger=flight.trigger.value, took_s=round(took, 3),
        stop_s=flight.stop_s, before_bytes=flight.before_bytes, **errands.details(flight),
    )  # fmt: skip
    errands.follow(tick, name, flight, SUCCEEDED)


def _said(flight: Flight) -> str:
    said = flight.said or flight.elsewhere
    return f"; {said}" if said else ""


def _is_back(tick: Tick, service: ServiceState, flight: Flight) -> None:
    """End the part of a dependent in another one's restart."""
    name, took = service.record.name, tick.now.since(flight.began)
    _end(tick, service, flight, SUCCEEDED, failed=False)
    trial = service.record.probation
    if trial.run is not None:  # what ended it was no fault of its own: it begins anew
        tick.amend(name, probation=replace(trial, run=None, since=None))
    tick.event(
        EventKind.SERVICE_STARTED, name, Severity.INFO,
        f"{name} runs again {format_duration(took)} after the restart of {flight.for_service} "
        "was decided",
        action_id=flight.action_id, trigger=flight.trigger.value, took_s=round(took, 3),
        dependency=flight.for_service,
    )  # fmt: skip


def fail(tick: Tick, name: str, why: str) -> None:
    """End the flight of a service without success."""
    service = tick.service(name)
    if service.record.flight is not None:
        _fail(tick, service, service.record.flight, why)


def _fail(tick: Tick, service: ServiceState, flight: Flight, why: str) -> None:
    name = service.record.name
    if flight.for_service:
        _did_not_start(tick, service, flight, why)
        return
    _end(tick, service, flight, "failed", failed=True)
    tick.event(
        EventKind.RESTART_FAILED, name, Severity.CRITICAL,
        f"the restart of {name} failed: {why}",
        action_id=flight.action_id, trigger=flight.trigger.value, why=why,
        **errands.details(flight),
    )  # fmt: skip
    errands.follow(tick, name, flight, "failed")


def _did_not_start(tick: Tick, service: ServiceState, flight: Flight, why: str) -> None:
    """Tell of a dependent that is not back; try again while it does not even run."""
    name = service.record.name
    again = flight.stage is FlightStage.ACTING and flight.tries < START_TRIES
    if again:
        pause_s = BACK_OFF_S[min(flight.tries, len(BACK_OFF_S)) - 1]
        until_s = tick.now.since(flight.began) + pause_s
        _set(tick, service, replace(flight, stage=FlightStage.DOWN, pause_s=until_s, failed=why))
    else:
        _end(tick, service, flight, "failed", failed=True)
    then = f"; next try in {format_duration(pause_s)}" if again else ": start it by hand"
    tick.event(
        EventKind.RESTART_FAILED, name, Severity.CRITICAL,
        f"{name} was stopped for the restart of {flight.for_service} and does not start again: "
        f"{why}{then}",
        action_id=flight.action_id, trigger=flight.trigger.value, why=why,
        dependency=flight.for_service,
    )  # fmt: skip


def _end_stale(tick: Tick, service: ServiceState, flight: Flight, message: str) -> None:
    name = service.record.name
    _end(tick, service, flight, SKIPPED, failed=False)
    tick.event(
        EventKind.RESTART_SKIPPED, name, Severity.INFO,
        f"{name} was not restarted: {message or 'it runs anew already'}",
        action_id=flight.action_id, trigger=flight.trigger.value,
    )  # fmt: skip


def _end(
    tick: Tick, service: ServiceState, flight: Flight, outcome: str, *, failed: bool
) -> ServiceState:
    record = service.record
    ill = failed and flight.stage is FlightStage.HEALTH
    if ill:
        tick.came_back_ill.add(record.name)
    counts = dict(record.restart_counts)
    key = f"{flight.trigger.value}/{outcome}"
    counts[key] = counts.get(key, 0) + 1
    failures = record.failures + 1 if failed else 0
    if failed and flight.hopeless:
        failures = max(failures, len(BACK_OFF_S))
    wait = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1] if failures else 0.0
    return tick.amend(
        record.name,
        flight=None,
        flight_ended=record.flight_ended if outcome == SKIPPED else tick.now,
        unhealthy=ill or (record.unhealthy and outcome != SUCCEEDED),  # it may run on as it was
        failures=failures,
        retry_at=tick.now.plus(wait) if failures else None,
        restart_counts=counts,
    )


def _set(tick: Tick, service: ServiceState, flight: Flight) -> None:
    tick.amend(service.record.name, flight=flight)
