"""A restart with dependents: they stop first and start after, whatever became of the restart.

    the service      CLEARING ──────────────────────► ACTING ─► HEALTH ─► over
    a dependent      QUEUED ─► STOPPING ─► DOWN ───────────────────────► ACTING ─► HEALTH ─► over

Each is a flight of its own in the record of its service, so that a crash loses none of it: the next
daemon reads where each stands and goes on. What depends on a dependent stops before it and starts
after it. A dependent that does not stop ends a restart that can wait; one before a certain end
(`hurry_s`) goes on without it. Whatever comes of the restart, its dependents are started once
nothing that they need is in a restart any more, again and again for some minutes, and then it is
left to whoever looks after them. Stopping one is a restart of ours: its death is nobody's news. It
counts in no breaker of its own, and no pause of its own holds it: a person who pauses a
service keeps leakguard from restarting it for its own sake, and not its database from being cured.
"""

from dataclasses import replace

from leakguard.core import flight as flights, judge, linked
from leakguard.core.decision import StartService, StopService
from leakguard.core.events import EventKind
from leakguard.core.policy import Respawn, ServiceRules
from leakguard.core.sample import Absent, Reading, Sample
from leakguard.core.severity import Severity
from leakguard.core.state import Flight, FlightStage
from leakguard.core.tick import Tick
from leakguard.core.units import format_duration

CHILD_S = 120.0
"""So long after the decision a child that did not come back yet is waited for."""
AT_MOST_S = 1800.0
"""A dependent is down no longer than this on account of restarts that follow one another."""


def take_reading(tick: Tick, reading: Reading) -> None:
    """See whether a dependent has stopped, or somebody has started it again."""
    service = tick.service(reading.service)
    flight = service.record.flight
    if flight is None or flight.stage not in linked.HELD_DOWN:
        return
    match reading:
        case Absent() if flight.stage is FlightStage.STOPPING and not reading.ambiguous:
            _is_down(tick, reading.service, flight)
        case Sample() if flight.stage is FlightStage.STOPPING and flight.failed:
            _does_not_stop(tick, reading.service, flight, flight.failed)
        case Sample() if flight.stage is not FlightStage.QUEUED and _again(flight, reading):
            why = f"somebody started it again as {reading.incarnation}"
            _does_not_stop(tick, reading.service, flight, why)
        case _:
            pass


def advance(tick: Tick) -> None:
    """Stop what is next, restart what nothing stands on any more, start what may come back."""
    flying = {n: s.record.flight for n, s in tick.services.items() if s.record.flight is not None}
    for name, flight in flying.items():
        if flight.stage is FlightStage.STOPPING and _elapsed(tick, flight) > flight.deadline_s:
            why = f"it still runs {format_duration(flight.deadline_s)} after the decision"
            _does_not_stop(tick, name, flight, flight.failed or why)
    for name, flight in flying.items():
        if flight.stage is FlightStage.CLEARING:
            _clear(tick, name, flight)
    for name, flight in flying.items():
        if flight.stage is FlightStage.QUEUED:
            _stop_in_turn(tick, name, flight)
    for name in flying:
        now = tick.services[name].record.flight
        if now is not None and now.stage is FlightStage.DOWN and _may_start(tick, name, now):
            _start(tick, name, now)


def let_go(tick: Tick, name: str) -> None:
    """Start a dependent that is no longer guarded from now on, if it is held down."""
    service = tick.services.get(name)
    flight = service.record.flight if service is not None else None
    if flight is not None and flight.stage in {FlightStage.STOPPING, FlightStage.DOWN}:
        _start(tick, name, flight)


def _again(flight: Flight, sample: Sample) -> bool:
    """Whether a sample shows a run that nobody was to start yet."""
    if flight.failed or sample.incarnation == flight.old:
        return False
    return flight.stage in {FlightStage.STOPPING, FlightStage.DOWN}


def _is_down(tick: Tick, name: str, flight: Flight) -> None:
    tick.amend(name, flight=replace(flight, stage=FlightStage.DOWN, failed=""))
    tick.event(
        EventKind.SERVICE_STOPPED,
        name,
        Severity.INFO,
        f"{name} was stopped for the restart of {flight.for_service}",
        action_id=flight.action_id,
        dependency=flight.for_service,
    )


def _does_not_stop(tick: Tick, name: str, flight: Flight, why: str) -> None:
    """Note it, and have it started all the same: it may yet end of what was tried."""
    tick.amend(name, flight=replace(flight, stage=FlightStage.DOWN, failed=why))


def _clear(tick: Tick, name: str, flight: Flight) -> None:
    """Begin the restart once its dependents are down, or its time is up; or give it up."""
    along = {
        one: tick.services[one].record.flight for one in linked.taken_along(tick, flight.action_id)
    }
    failed = {n: f.failed for n, f in along.items() if f is not None and f.failed}
    waits = any(
        f is not None and f.stage in {FlightStage.QUEUED, FlightStage.STOPPING}
        for f in along.values()
    )
    late = flight.hurry_s is not None and _elapsed(tick, flight) >= flight.hurry_s
    if failed and not late and flight.trigger not in linked.CANNOT_WAIT:
        one, why = next(iter(failed.items()))
        flights.fail(tick, name, f"{one}, which depends on it, could not be stopped: {why}")
    elif late or not waits:
        _begin(tick, name, flight)


def _begin(tick: Tick, name: str, flight: Flight) -> None:
    deadline_s = _rules(tick, name).restart.deadline_s
    until_s = _elapsed(tick, flight) + deadline_s
    tick.amend(name, flight=replace(flight, stage=FlightStage.ACTING, deadline_s=until_s))
    judge.hand_out(tick, name, flight, flight.old)


def _stop_in_turn(tick: Tick, name: str, flight: Flight) -> None:
    """Stop a dependent once what depends on it is down; leave it alone where all is over."""
    leader = tick.services.get(flight.for_service)
    leading = leader.record.flight if leader is not None else None
    if leading is None or leading.action_id != flight.for_action:
        tick.amend(name, flight=None)
        return
    if leading.stage is not FlightStage.CLEARING:  # it could not wait
        tick.amend(name, flight=None)
        return
    first = (tick.services[one].record.flight for one in linked.below(tick, name))
    if any(f is not None and f.for_action == flight.for_action and _stands(f) for f in first):
        return
    service, deadline_s = tick.services[name], _rules(tick, name).restart.deadline_s
    runs = service.sample.incarnation if service.sample is not None else service.record.incarnation
    stopping = replace(
        flight,
        stage=FlightStage.STOPPING,
        action_id=tick.next_id(),
        old=runs,
        deadline_s=_elapsed(tick, flight) + deadline_s,
    )
    tick.amend(name, flight=stopping)
    tick.actions.append(
        StopService(
            id=stopping.action_id, service=name, reason=flight.reason, trigger=leading.trigger,
            decided=tick.now, deadline_s=deadline_s,
        )
    )  # fmt: skip


def _stands(flight: Flight) -> bool:
    return flight.stage in {FlightStage.QUEUED, FlightStage.STOPPING}


def _may_start(tick: Tick, name: str, flight: Flight) -> bool:
    """Whether nothing that it needs is in a restart, and its last try is long enough ago."""
    elapsed = _elapsed(tick, flight)
    if elapsed < flight.pause_s:
        return False
    above = linked.above(tick, name)
    if elapsed > AT_MOST_S:
        return all(not _is_in(tick, one, flight.for_action) for one in above)
    if any(tick.services[one].record.flight is not None for one in above):
        return False
    return elapsed > CHILD_S or not any(_is_to_come(tick, one) for one in above)


def _is_in(tick: Tick, name: str, action_id: str) -> bool:
    flight = tick.services[name].record.flight
    return flight is not None and flight.action_id == action_id


def _is_to_come(tick: Tick, name: str) -> bool:
    """Whether leakguard itself is about to start a service that is not there."""
    rules = _rules(tick, name).restart
    gone = tick.services[name].sample is None
    return gone and rules.starts and rules.respawn is not Respawn.NEVER


def _start(tick: Tick, name: str, flight: Flight) -> None:
    deadline_s = _rules(tick, name).restart.deadline_s
    starting = replace(
        flight,
        stage=FlightStage.ACTING,
        action_id=tick.next_id(),
        tries=flight.tries + 1,
        deadline_s=_elapsed(tick, flight) + deadline_s,
        stop_s=None,
        started=None,
        failed="",
        done=None,
    )
    tick.amend(name, flight=starting)
    tick.actions.append(
        StartService(
            id=starting.action_id, service=name, reason=flight.reason,
            decided=tick.now, deadline_s=deadline_s,
        )
    )  # fmt: skip


def _elapsed(tick: Tick, flight: Flight) -> float:
    return tick.now.since(flight.began)


def _rules(tick: Tick, name: str) -> ServiceRules:
    return tick.rules_of(name) or ServiceRules(name=name)
