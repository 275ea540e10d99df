"""A dry run: what a person's restart would do now, by the same judgement on a copy of the tick.

The copy takes every consequence and is thrown away: no record changes, no event is told, nothing is
counted. It comes last in the tick, so that what else was decided is in the way of it as it would
be of a restart. What only the shell knows (the driver's part, hooks, the health gate) is added to
the answer there.
"""

from collections.abc import Iterable
from dataclasses import replace

from leakguard.core import judge, linked
from leakguard.core.decision import Reply
from leakguard.core.frozen import dataclass
from leakguard.core.guards import Veto, restarts_left
from leakguard.core.inbox import DryRunRequest, Request
from leakguard.core.policy import Proposal, ServiceRules
from leakguard.core.propose import by_request
from leakguard.core.tick import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """A guard that holds the restart back; whether `--force` would override it."""

    guard: str
    reason: str
    yields_to_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedProcess:
    """A process that a restart would end."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a restart would do. The shell fills in what is below `starts_after`."""

    service: str
    running: bool
    """False: there is nothing to stop, it would only be started."""
    first: bool = False
    """It was never seen running: no hook follows its first start."""
    held_by: tuple[HeldBy, ...] = ()
    overridden: tuple[HeldBy, ...] = ()
    """Guards that would hold it back, were it not forced."""
    asks_leave: bool = False
    """The service itself is asked first, and may refuse."""
    restarts_left: int = 0
    """How many restarts the breaker allows before this one."""
    deadline_s: float = 0.0
    stops_first: tuple[str, ...] = ()
    """Dependents, in the order in which they stop."""
    starts_after: tuple[str, ...] = ()
    driver: str = ""
    how: str = ""
    """The driver's own sentence."""
    ends: tuple[NamedProcess, ...] = ()
    processes: int = 0
    """How many are ended: `ends` names the first of them."""
    stop_within_s: float | None = None
    """How long they have before they are killed; None: not known, or no limit."""
    started_by: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    health: str = ""
    """The health gate that it would be held to; empty: none."""
    problems: tuple[str, ...] = ()
    """What would make it fail, each with what to do."""
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunReply(Reply):
    """What the reply to a restart would be, and what it would do."""

    dry_run: DryRun


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    accepted: bool
    asks: bool = False
    refusal: str = ""
    vetoes: tuple[Veto, ...] = ()


def answer(tick: Tick, requests: Iterable[Request]) -> None:
    """Reply to every dry run that was asked for of a guarded service."""
    for request in requests:
        rules = tick.rules_of(request.service)
        if isinstance(request, DryRunRequest) and rules is not None:
            tick.replies.append(_reply(tick, request, rules))


def _reply(tick: Tick, request: DryRunRequest, rules: ServiceRules) -> DryRunReply:
    wanted = by_request(request)
    free = _judged(tick, replace(wanted, forced=False), rules, request.service)
    forced = _judged(tick, replace(wanted, forced=True), rules, request.service)
    verdict = forced if request.force else free
    found = _describe(tick, request.service, rules)
    found = replace(
        found,
        held_by=_held(verdict, forced),
        overridden=_overridden(free, forced) if request.force else (),
        asks_leave=verdict.asks,
    )
    return DryRunReply(
        request_id=request.id,
        accepted=verdict.accepted,
        message=_words(found, wanted.reason) if verdict.accepted else verdict.refusal,
        dry_run=found,
    )


def _judged(tick: Tick, proposal: Proposal, rules: ServiceRules, name: str) -> _Verdict:
    """Judge a proposal on a copy, and see what came out."""
    copy = _copy(tick)
    judge.judge(copy, name, [proposal], rules)
    reply = next((r for r in copy.replies if r.request_id == proposal.request_id), None)
    if reply is None:  # the service is asked for leave, and the person waits for its answer
        return _Verdict(accepted=True, asks=True)
    vetoes = copy.decisions[-1].vetoes
    return _Verdict(accepted=reply.accepted, refusal=reply.message, vetoes=vetoes)


def _copy(tick: Tick) -> Tick:
    return replace(
        tick,
        services=dict(tick.services),
        changed=set(),
        samples=[],
        decisions=[],
        actions=[],
        events=[],
        alerts=[],
        replies=[],
        pace={},
    )


def _describe(tick: Tick, name: str, rules: ServiceRules) -> DryRun:
    copy = _copy(tick)
    service = copy.service(name)
    stops = linked.to_stop(copy, name)
    return DryRun(
        service=name,
        running=service.sample is not None and not service.record.missing,
        first=service.record.incarnation is None,
        restarts_left=restarts_left(service.record, rules, tick.now),
        deadline_s=rules.restart.deadline_s,
        stops_first=stops,
        starts_after=tuple(reversed(stops)),
    )


def _held(verdict: _Verdict, forced: _Verdict) -> tuple[HeldBy, ...]:
    firm = {veto.guard for veto in forced.vetoes}
    return tuple(
        HeldBy(guard=v.guard, reason=v.reason, yields_to_force=v.guard not in firm)
        for v in verdict.vetoes
    )


def _overridden(free: _Verdict, forced: _Verdict) -> tuple[HeldBy, ...]:
    return tuple(held for held in _held(free, forced) if held.yields_to_force)


def _words(found: DryRun, reason: str) -> str:
    verb = "restarted" if found.running else "started"
    if found.asks_leave:
        return f"would be asked for leave, and {verb} if it gives it: {reason}"
    return f"would be {verb}: {reason}"
