"""From proposals to one decision per service: guards veto, the first that passes is carried out."""

from collections.abc import Iterable
from dataclasses import replace

from leakguard.core import breaker, budget, futility, groups, leave, linked, propose, twins
from leakguard.core.decision import Decision, Reply, RestartService, Verb
from leakguard.core.events import EventKind
from leakguard.core.facts import evidence
from leakguard.core.guards import (
    ENDS_SOON,
    Guard,
    Veto,
    recent_restarts,
    remember,
    restarts_left,
    veto,
)
from leakguard.core.policy import Proposal, ServiceRules, Trigger
from leakguard.core.sample import Incarnation
from leakguard.core.severity import Severity
from leakguard.core.state import Flight, FlightStage, ServiceState
from leakguard.core.tick import Tick

RESPAWN_CEILING_S = 60.0
"""A child that keeps ending is started 1, 2, 4 … seconds after the last time, at most this."""

HELD_QUIET_S = 600.0
"""A veto is news again when its trigger was quiet for this long."""

_NEVER = frozenset(
    {Guard.OBSERVE.value, Guard.NO_DRIVER.value, Guard.CANNOT_ACT.value, Guard.FUTILE.value}
)
"""Guards that hold until a person changes something: people are told."""


def judge(
    tick: Tick, name: str, proposals: Iterable[Proposal], rules: ServiceRules
) -> Decision | None:
    """Decide for one service; None when nothing was proposed."""
    ordered = sorted(proposals, key=lambda p: list(Trigger).index(p.trigger))
    held: list[tuple[Proposal, tuple[Veto, ...]]] = []
    chosen: Proposal | None = None
    for proposal in ordered:
        vetoes = _vetoes(tick, name, proposal, rules)
        if not vetoes and chosen is None:
            chosen = proposal
        elif vetoes:
            held.append((proposal, vetoes))
        if vetoes and proposal.trigger is Trigger.SCHEDULE and not _stays_due(vetoes):
            tick.amend(name, due=None)
    asking = _ask(tick, name, held, rules) if chosen is None else []
    told = [one for one in held if one[0] not in asking]
    _report_vetoes(tick, name, told, rules, silent=chosen is not None)
    for proposal in ordered:
        if proposal.request_id and proposal is not chosen and proposal not in asking:
            _refuse(tick, proposal, held)
    if chosen is not None:
        return _restart(tick, name, chosen, rules)
    if not ordered:
        return None
    all_vetoes = tuple(veto for _, vetoes in held for veto in vetoes)
    return _decide(tick, name, Verb.HOLD, ordered[0], all_vetoes)


def _vetoes(tick: Tick, name: str, proposal: Proposal, rules: ServiceRules) -> tuple[Veto, ...]:
    others = {
        Guard.BREAKER: budget.reason(tick, proposal),
        Guard.IN_FLIGHT: linked.in_the_way(tick, name, proposal) or twins.in_the_way(tick, name),
        Guard.GROUP: groups.reason(tick, name, proposal),
        Guard.BUSY: leave.reason(tick, name, proposal, rules),
    }
    service = tick.service(name)
    return veto(proposal, service, rules, tick.now, durable=tick.durable, others=others)


def _ask(
    tick: Tick, name: str, held: list[tuple[Proposal, tuple[Veto, ...]]], rules: ServiceRules
) -> list[Proposal]:
    """Ask the service for leave where nothing else is in the way; gives what waits for that."""
    return [p for p, vetoes in held if leave.ask(tick, name, p, vetoes, rules)]


def _stays_due(vetoes: tuple[Veto, ...]) -> bool:
    return all(found.guard in ENDS_SOON for found in vetoes)


def _restart(tick: Tick, name: str, proposal: Proposal, rules: ServiceRules) -> Decision:
    service = tick.service(name)
    because = leave.said(service, proposal, rules, tick.now)
    proposal = replace(proposal, reason=proposal.reason + because)
    leave.end(tick, name)
    record, first = service.record, service.record.incarnation is None
    old = service.sample.incarnation if service.sample is not None else record.incarnation
    action_id = tick.next_id()
    before = service.sample.value_bytes if service.sample is not None else None
    flight = Flight(
        action_id=action_id, trigger=proposal.trigger, reason=proposal.reason, began=tick.now,
        deadline_s=rules.restart.deadline_s, old=old, before_bytes=before,
        request_id=proposal.request_id, after=rules.restart.after and not first,
    )  # fmt: skip
    restarts = record.restarts
    if not first:
        futility.restarting(tick, name, proposal.trigger, rules)
        restarts = remember(record, proposal.trigger.value, rules, tick.now)
    along = linked.to_stop(tick, name)
    if along:
        linked.queue(tick, along, flight, name)
        flight = replace(flight, stage=FlightStage.CLEARING, hurry_s=groups.hurry_s(tick, name))
    tick.amend(name, flight=flight, restarts=restarts, settling=None, due=None)
    on_probation = not proposal.forced and breaker.begin_probe(tick, name, action_id)
    if not along:
        running = service.sample.incarnation if service.sample is not None else None
        hand_out(tick, name, flight, running)
    if proposal.request_id:
        _accept(tick, proposal, action_id)
    decision = _decide(tick, name, Verb.RESTART, proposal)
    tick.event(
        EventKind.RESTART_DECIDED,
        name,
        Severity.INFO if first or proposal.trigger is Trigger.MANUAL else Severity.WARNING,
        f"{'starting' if first else 'restarting'} {name}: {proposal.reason}{_first(along)}",
        action_id=action_id,
        trigger=proposal.trigger.value,
        restarts_left=restarts_left(tick.service(name).record, rules, tick.now),
        probation=on_probation or None,
        **evidence(tick.service(name)),
    )
    return decision


def _first(along: tuple[str, ...]) -> str:
    return f"; stops {', '.join(along)} first" if along else ""


def hand_out(tick: Tick, name: str, flight: Flight, meant: Incarnation | None) -> None:
    """Order the restart itself; `meant`: what runs now, None where nothing does."""
    rules, service = tick.rules_of(name), tick.service(name)
    tick.actions.append(
        RestartService(
            id=flight.action_id, service=name, incarnation=meant, trigger=flight.trigger,
            reason=flight.reason, decided=tick.now,
            deadline_s=rules.restart.deadline_s if rules else flight.deadline_s,
            end_s=propose.early_edge_s(service, rules, tick.now),
        )
    )  # fmt: skip


def respawn_ready(tick: Tick, service: ServiceState, rules: ServiceRules) -> bool:
    """Whether enough time has passed since a child was last started again after it ended."""
    recent = recent_restarts(service.record, rules, tick.now)
    tries = [r.at for r in recent if r.reason == Trigger.RESPAWN.value]
    if not tries:
        return True
    wait = min(RESPAWN_CEILING_S, 2.0 ** (len(tries) - 1))
    return tick.now.since(tries[-1]) >= wait


def _decide(
    tick: Tick, name: str, verb: Verb, proposal: Proposal, vetoes: tuple[Veto, ...] = ()
) -> Decision:
    reason = proposal.reason
    if vetoes:
        reason += f"; held back: {'; '.join(v.reason for v in vetoes)}"
    decision = Decision(
        service=name, at=tick.now, verb=verb, trigger=proposal.trigger, reason=reason, vetoes=vetoes
    )
    tick.decisions.append(decision)
    service = tick.service(name)
    said = f"{verb.value} ({proposal.trigger.value}): {reason}"
    tick.put(replace(service, last_decision=said))
    return decision


def _report_vetoes(
    tick: Tick,
    name: str,
    held: list[tuple[Proposal, tuple[Veto, ...]]],
    rules: ServiceRules,
    *,
    silent: bool,
) -> None:
    """Report what is newly held back; what was held back lately is not news.

    A value that swings about a threshold would be told at every crossing otherwise.
    """
    service, now = tick.service(name), tick.now.boot_s
    told = {key: at for key, at in service.held.items() if 0 <= now - at < HELD_QUIET_S}
    for proposal, vetoes in held:
        first = vetoes[0]
        key = _held_key(proposal, first)
        if key in told and not _is_one_shot(tick, name, proposal):
            told[key] = now
        elif not silent:
            told[key] = now
            _report(tick, name, proposal, first)
        if not silent:
            breaker.hear(tick, name, proposal, vetoes, rules)
            budget.hear(tick, name, proposal, vetoes)
    tick.put(replace(tick.service(name), held=told))


def _is_one_shot(tick: Tick, name: str, proposal: Proposal) -> bool:
    """Tell whether a proposal comes only once, so that each of its vetoes is news."""
    if proposal.trigger is Trigger.SCHEDULE:
        return tick.service(name).record.due is None
    return proposal.trigger is Trigger.MANUAL


def _held_key(proposal: Proposal, first: Veto) -> str:
    return f"{proposal.trigger.value}/{first.guard}"


def _report(tick: Tick, name: str, proposal: Proposal, first: Veto) -> None:
    record = tick.service(name).record
    counts = dict(record.veto_counts)
    counts[first.guard] = counts.get(first.guard, 0) + 1
    tick.amend(name, veto_counts=counts)
    observed = first.guard == Guard.OBSERVE.value
    told = first.guard == Guard.FUTILE.value and record.futility is not None
    never = first.guard in _NEVER and not told
    along = ", ".join(linked.to_stop(tick, name)) if observed else ""
    tick.event(
        EventKind.RESTART_VETOED,
        name,
        Severity.WARNING if never and proposal.trigger is not Trigger.MANUAL else Severity.INFO,
        f"{'would have restarted' if observed else 'did not restart'} {name}: "
        f"{proposal.reason}{f'; would have stopped {along} first' if along else ''} "
        f"({first.reason})",
        trigger=proposal.trigger.value,
        guard=first.guard,
        **evidence(tick.service(name)),
    )


def _accept(tick: Tick, proposal: Proposal, action_id: str) -> None:
    tick.replies.append(
        Reply(
            request_id=proposal.request_id,
            accepted=True,
            message=proposal.reason,
            action_id=action_id,
        )
    )


def _refuse(tick: Tick, proposal: Proposal, held: list[tuple[Proposal, tuple[Veto, ...]]]) -> None:
    vetoed = [vetoes[0] for p, vetoes in held if p is proposal]
    message = f"{vetoed[0].guard}: {vetoed[0].reason}" if vetoed else "another restart goes first"
    tick.replies.append(Reply(request_id=proposal.request_id, accepted=False, message=message))
