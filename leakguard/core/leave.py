"""Leave: a service may ask that its restart waits a little, for as long as its memory lasts.

It is asked by an action, when every other guard lets the restart pass, and its answer comes back
through the inbox. `busy` holds the restart until then, and while it said "busy, ask again in 5 m".
That is bounded: a promise that comes too late for the forecast's early edge (less the time that a
restart takes) is not waited for, and without a forecast `at_most` is all there is. No answer is
leave. An exhaustion and the start of what does not run ask nobody, nor does observe mode. A
person's restart asks anew; "busy" refuses it, and `--force` does not ask.
"""

from dataclasses import replace

from leakguard.core import propose
from leakguard.core.decision import AskLeave, Reply
from leakguard.core.guards import Guard, Veto
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.instant import Instant, rfc3339
from leakguard.core.policy import LeaveRules, Mode, Proposal, ServiceRules, Trigger
from leakguard.core.state import Leave, ServiceRecord, ServiceState
from leakguard.core.tick import Tick
from leakguard.core.units import format_duration

SUFFIX = "/leave"
SLACK_S = 5.0
"""How long after its own time a question without an answer counts as leave."""
AGAIN_S = 60.0
"""`busy` without a time is asked again after this."""
LEAST_AGAIN_S = 1.0
GRANT_LASTS_S = 60.0
"""Leave that was not used for this long has to be asked for anew."""
LAPSES_S = 600.0
"""Nothing has wanted a restart for this long: the next one has all its time again."""
NOTED_S = 60.0
"""How finely it is remembered when a restart was last wanted."""


def reason(tick: Tick, name: str, proposal: Proposal, rules: ServiceRules) -> str:
    """Say why a restart has to wait for the service's leave; empty when it has not."""
    rule, manual = rules.restart.leave, proposal.trigger is Trigger.MANUAL
    if rule is None or (rules.mode is Mode.OBSERVE and not manual):
        return ""
    service = tick.service(name)
    leave = service.record.leave
    if leave is None or (manual and leave.again is not None):
        return "it is asked for leave first"
    if leave.asked is not None:
        return "it is being asked for leave"
    if _is_granted(leave, tick.now) or _bound(service, rules, proposal.trigger, tick.now):
        return ""
    if leave.again is not None and leave.again.since(tick.now) > 0:
        left = format_duration(leave.again.since(tick.now))
        return f"it is busy{_colon(leave.words)}; it is asked again in {left}"
    return "it is asked for leave again"


def ask(
    tick: Tick, name: str, proposal: Proposal, vetoes: tuple[Veto, ...], rules: ServiceRules
) -> bool:
    """Ask, when nothing else holds the restart back; gives whether an answer is awaited now."""
    rule = rules.restart.leave
    if rule is None or [veto.guard for veto in vetoes] != [Guard.BUSY.value]:
        return False
    leave = tick.service(name).record.leave
    if leave is not None and leave.asked is not None:
        return _join(tick, name, leave, proposal)
    manual = proposal.trigger is Trigger.MANUAL
    if leave is not None and leave.again is not None and not manual:
        if tick.now.since(leave.wanted) >= NOTED_S:
            leave = tick.amend(name, leave=replace(leave, wanted=tick.now)).record.leave
        if leave is not None and leave.again is not None and leave.again.since(tick.now) > 0:
            return False
    _send(tick, name, proposal, leave, rule)
    return True


def take_outcome(tick: Tick, outcome: Outcome) -> bool:
    """Take the answer of a service; gives whether the outcome was one."""
    if not outcome.action_id.endswith(SUFFIX):
        return False
    service = tick.services.get(outcome.service)
    leave = service.record.leave if service is not None else None
    if leave is None or leave.action_id != outcome.action_id or leave.asked is None:
        return True
    match outcome.kind:
        case OutcomeKind.GRANTED:
            _grant(tick, outcome.service, leave, outcome.message)
        case OutcomeKind.REFUSED:
            _refuse(tick, outcome.service, leave, outcome)
        case _:
            _grant(tick, outcome.service, leave, f"it could not be asked: {outcome.message}")
    return True


def follow(tick: Tick, proposals: dict[str, list[Proposal]]) -> None:
    """Go on with what waited for an answer, and forget what nobody wants any more."""
    for name in [n for n, s in tick.services.items() if s.record.leave is not None]:
        leave, rules = tick.service(name).record.leave, tick.rules_of(name)
        if leave is None or rules is None:
            continue
        rule = rules.restart.leave
        if rule is None:
            tick.amend(name, leave=None)
            continue
        if leave.asked is not None and tick.now.since(leave.asked) > rule.within_s + SLACK_S:
            leave = _grant(tick, name, leave, "it gave no answer when it was asked for leave")
        unwanted = name in proposals and not proposals[name]
        if leave.asked is None and unwanted and tick.now.since(leave.wanted) > LAPSES_S:
            tick.amend(name, leave=None)
        elif leave.request_id and leave.granted is not None:
            proposals.setdefault(name, []).append(_asked_for(leave))
            tick.amend(name, leave=replace(leave, request_id=""))


def end(tick: Tick, name: str) -> None:
    """Forget what was asked: the restart begins. A person who waits for an answer is told so."""
    leave = tick.service(name).record.leave
    if leave is None:
        return
    tick.amend(name, leave=None)
    if leave.request_id:
        message = "another restart goes first"
        tick.replies.append(Reply(request_id=leave.request_id, accepted=False, message=message))


def said(service: ServiceState, proposal: Proposal, rules: ServiceRules, now: Instant) -> str:
    """Say what a decision owes to leave: no answer, or a wait that is over; empty when nothing."""
    rule, leave = rules.restart.leave, service.record.leave
    if rule is None or leave is None or proposal.trigger not in ASKS:
        return ""
    if proposal.forced:
        return "; it was not asked for leave"
    waited = format_duration(now.since(leave.since))
    if _is_granted(leave, now):
        words = f"; {leave.words}" if leave.words else ""
        return f"{words}; it was busy for {waited} before" if leave.refusals else words
    bound = _bound(service, rules, proposal.trigger, now)
    return f"; it was busy for {waited}, and {bound}" if bound else ""


def in_words(record: ServiceRecord, now: Instant) -> str:
    """Say where a restart stands that waits for leave; empty when none does."""
    leave = record.leave
    if leave is None:
        return ""
    if leave.asked is not None:
        return "it is being asked for leave"
    if leave.again is None or leave.again.since(now) <= 0:
        return ""
    return f"busy until {rfc3339(leave.again.wall_s)}{_colon(leave.words)}"


def resumed(record: ServiceRecord) -> ServiceRecord:
    """Give the record of an earlier daemon: what it asked and never heard of is asked anew."""
    leave = record.leave
    if leave is None or leave.asked is None:
        return record
    anew = replace(leave, asked=None, action_id="", request_id="")
    return replace(record, leave=anew)


ASKS = frozenset({Trigger.MANUAL, Trigger.THRESHOLD, Trigger.FORECAST, Trigger.SCHEDULE})
ASKS |= {Trigger.MAX_AGE}
"""Triggers that ask; the others cannot wait."""


def _bound(service: ServiceState, rules: ServiceRules, trigger: Trigger, now: Instant) -> str:
    """Say why a service that is busy is not waited for any longer; empty while it is."""
    rule = rules.restart.leave
    leave, edge_s = service.record.leave, propose.early_edge_s(service, rules, now)
    if rule is None or leave is None or leave.again is None:
        return ""
    if edge_s is not None:
        room_s = edge_s - propose.margin_s(service)
        if room_s < max(0.0, leave.again.since(now)):
            return "its memory may not last until it is asked again"
    if trigger is not Trigger.FORECAST and now.since(leave.since) >= rule.at_most_s:
        return f"{format_duration(rule.at_most_s)} is all that it gets"
    return ""


def _is_granted(leave: Leave, now: Instant) -> bool:
    return leave.granted is not None and now.since(leave.granted) < GRANT_LASTS_S


def _join(tick: Tick, name: str, leave: Leave, proposal: Proposal) -> bool:
    """Let a person's restart wait for the answer to what was asked already."""
    if proposal.request_id and leave.request_id:
        return False
    if proposal.request_id:
        tick.amend(name, leave=_for_person(leave, proposal))
    return True


def _asked_for(leave: Leave) -> Proposal:
    return Proposal(
        trigger=Trigger.MANUAL, reason=leave.request_reason, request_id=leave.request_id
    )


def _for_person(leave: Leave, proposal: Proposal) -> Leave:
    return replace(leave, request_id=proposal.request_id, request_reason=proposal.reason)


def _send(tick: Tick, name: str, proposal: Proposal, leave: Leave | None, rule: LeaveRules) -> None:
    action_id = tick.next_id() + SUFFIX
    known = leave or Leave(since=tick.now, wanted=tick.now)
    asked = replace(known, action_id=action_id, asked=tick.now, granted=None, wanted=tick.now)
    tick.amend(name, leave=_for_person(asked, proposal) if proposal.request_id else asked)
    tick.actions.append(
        AskLeave(
            id=action_id, service=name, trigger=proposal.trigger, reason=proposal.reason,
            within_s=rule.within_s,
        )
    )  # fmt: skip


def _grant(tick: Tick, name: str, leave: Leave, words: str) -> Leave:
    granted = replace(leave, asked=None, granted=tick.now, again=None, words=words)
    tick.amend(name, leave=granted)
    return granted


def _refuse(tick: Tick, name: str, leave: Leave, outcome: Outcome) -> None:
    again_s = AGAIN_S if outcome.again_s is None else max(LEAST_AGAIN_S, outcome.again_s)
    refused = replace(
        leave, asked=None, granted=None, again=tick.now.plus(again_s), words=outcome.message,
        refusals=leave.refusals + 1, request_id="",
    )  # fmt: skip
    tick.amend(name, leave=refused)
    if leave.request_id:
        message = (
            f"busy: it asks for {format_duration(again_s)} more{_colon(outcome.message)}; "
            "try again then, or with --force"
        )
        tick.replies.append(Reply(request_id=leave.request_id, accepted=False, message=message))


def _colon(words: str) -> str:
    return f": {words}" if words else ""
