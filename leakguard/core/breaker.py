"""The breaker beyond its count: who opens it, and the one restart on probation that may close it.

It opens when `max_restarts` are used up and another one is wanted; people are told once. When the
oldest of them is out of sight it is half-open: the next restart is on probation, and it is the only
one. The breaker closes when the new run stays well for as long as restarts may be apart for ever
(`per` / `max_restarts`): then they are rare enough to be no loop. A run that fails, ends by itself
or is back at a trigger before that was no help: the breaker is open again, for twice as long as
`per`, then four times. Without the probation a loop would go on for ever at full pace, a burst of
restarts every `per`. A run that nobody wants to restart in all that time closes it as well.

A health gate that fails after a restart of leakguard's own making opens it at once: what came back
runs and is not well, and another restart would loop. People hear of the failed restart. After a
person's restart there is somebody who looks; a child that ends has to be started, so its back-off
does.
"""

from dataclasses import replace
from enum import StrEnum

from leakguard.core import futility
from leakguard.core.calm import calm_for_s, is_back
from leakguard.core.events import EventKind
from leakguard.core.facts import evidence
from leakguard.core.guards import Guard, Veto, probation_s, restarts_left
from leakguard.core.instant import Instant
from leakguard.core.policy import Proposal, ServiceRules, Trigger
from leakguard.core.severity import Severity
from leakguard.core.state import Probation, ServiceRecord, ServiceState
from leakguard.core.tick import Tick
from leakguard.core.units import format_duration

CEILING = 4
"""An open breaker waits at most this many times `per`."""

_ACTS_NOW = frozenset({Guard.BREAKER.value, Guard.STORE.value, Guard.FUTILE.value})
"""What only these hold back would be done now: it waits for no better moment."""


class BreakerWord(StrEnum):
    """Where the breaker of a service stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


def word_of(record: ServiceRecord, rules: ServiceRules, now: Instant) -> BreakerWord:
    """Say where the breaker stands now."""
    if not record.breaker_open:
        return BreakerWord.CLOSED
    trial = record.probation
    waits = trial.until is not None and now.since(trial.until) < 0
    full = not trial.action_id and restarts_left(record, rules, now) == 0
    return BreakerWord.OPEN if waits or full else BreakerWord.HALF_OPEN


def holds(record: ServiceRecord, rules: ServiceRules, now: Instant) -> bool:
    """Tell whether it lets no restart pass now: it is open, or its one restart is out."""
    word = word_of(record, rules, now)
    return word is BreakerWord.OPEN or bool(record.breaker_open and record.probation.action_id)


def hear(
    tick: Tick, name: str, proposal: Proposal, vetoes: tuple[Veto, ...], rules: ServiceRules
) -> None:
    """Take note of a proposal that is held back: it may open the breaker, once or again."""
    record = tick.service(name).record
    if not vetoes or vetoes[0].guard != Guard.BREAKER.value:
        return
    if not record.breaker_open:
        in_vain = any(veto.guard == Guard.FUTILE.value for veto in vetoes)
        told = in_vain and record.futility is not None
        if restarts_left(record, rules, tick.now) == 0 and not told:
            _hit(tick, name, proposal, vetoes[0], rules)
        return
    at_once = {veto.guard for veto in vetoes} <= _ACTS_NOW
    back = is_back(tick.service(name), rules, proposal.trigger)
    if record.probation.action_id and back and at_once:
        _relapse(tick, name, rules, "it failed" if record.failures else proposal.reason)


def begin_probe(tick: Tick, name: str, action_id: str) -> bool:
    """Note that a restart is on probation; gives whether it is."""
    record = tick.service(name).record
    if record.breaker_open:
        trial = replace(record.probation, action_id=action_id, run=None, since=None)
        tick.amend(name, probation=trial)
    return record.breaker_open


def follow(tick: Tick, name: str, rules: ServiceRules) -> None:
    """See whether a breaker that is not closed may close, at the end of a tick."""
    service = tick.service(name)
    record = service.record
    if record.unhealthy and name in tick.came_back_ill and not record.breaker_open:
        _gate_failed(tick, name, rules)
        return
    if not record.breaker_open or record.flight is not None:
        return
    if record.probation.action_id:
        _watch_probe(tick, service, rules)
    elif holds(record, rules, tick.now):
        return
    elif calm_for_s(tick, name) >= probation_s(rules):
        close(tick, name)


def close(tick: Tick, name: str) -> None:
    """Close it and say so."""
    tick.amend(name, breaker_open=False, probation=Probation())
    message = f"{name} may be restarted again"
    tick.event(EventKind.RESTART_LIMIT_CLEARED, name, Severity.INFO, message)


def _watch_probe(tick: Tick, service: ServiceState, rules: ServiceRules) -> None:
    record, name = service.record, service.record.name
    trial = record.probation
    if trial.run is None:
        if record.failures:
            _relapse(tick, name, rules, "it failed")
        elif service.sample is not None:
            tick.amend(name, probation=replace(trial, run=record.incarnation, since=tick.now))
    elif record.incarnation != trial.run:
        _relapse(tick, name, rules, f"{trial.run} ended by itself")
    elif (
        service.sample is not None
        and trial.since is not None
        and tick.now.since(trial.since) >= probation_s(rules)
    ):
        close(tick, name)


def _hit(tick: Tick, name: str, proposal: Proposal, first: Veto, rules: ServiceRules) -> None:
    """Say it, once, when a restart is held back because too many were used up."""
    tick.amend(name, breaker_open=True, probation=Probation())
    service = tick.service(name)
    back = is_back(service, rules, proposal.trigger) and proposal.trigger in futility.FOR_MEMORY
    found = futility.find(service, rules, proposal.trigger) if back else None
    why = f"; {found.words}" if found is not None else ""
    tick.event(
        EventKind.RESTART_LIMIT_HIT,
        name,
        Severity.CRITICAL,
        f"{name} is only watched now: {first.reason}; it wants a restart because "
        f"{proposal.reason}{why}",
        trigger=proposal.trigger.value,
        **evidence(service),
    )


def _gate_failed(tick: Tick, name: str, rules: ServiceRules) -> None:
    """Open it because what came back is not well."""
    last = tick.service(name).record.restarts[-1:]
    by_hand = any(restart.reason == Trigger.MANUAL.value for restart in last)
    if rules.restart.starts or by_hand:
        return
    until = tick.now.plus(probation_s(rules))
    tick.amend(name, breaker_open=True, probation=Probation(until=until))
    tick.event(
        EventKind.RESTART_LIMIT_HIT,
        name,
        Severity.INFO,
        f"{name} is only watched now: its health gate failed; the next restart is allowed in "
        f"{format_duration(probation_s(rules))}, on probation",
    )


def _relapse(tick: Tick, name: str, rules: ServiceRules, why: str) -> None:
    """Open it again, for longer than the last time; the problem that people know of stands."""
    relapses = tick.service(name).record.probation.relapses + 1
    wait_s = min(2**relapses, CEILING) * rules.guards.per_s
    tick.amend(name, probation=Probation(relapses=relapses, until=tick.now.plus(wait_s)))
    tick.event(
        EventKind.RESTART_LIMIT_HIT,
        name,
        Severity.CRITICAL,
        f"{name} is only watched again: the restart on probation was no help: {why}; "
        f"the next one is allowed in {format_duration(wait_s)}",
        probation=True,
        **evidence(tick.service(name)),
    )
