"""Groups: how many members restart at a time, how many stay well, how long the next one waits.

`max_parallel` holds every restart, also one before a certain end: two members that are down are
worse than one that the kernel takes. `min_healthy` and `stagger` hold what can wait. They yield to
a hard threshold and to an end that comes before the service could be back: the kernel would take
that member down anyway, without asking how many are well. A member that is not well itself may
always be restarted, since that costs the group nothing. `restart --force` overrides both, and
never `max_parallel`.
"""

from collections.abc import Iterable

from leakguard.core.policy import GroupRules, Proposal, Trigger
from leakguard.core.propose import margin_s
from leakguard.core.state import ServiceState
from leakguard.core.tick import Tick
from leakguard.core.units import format_duration

LATELY_INTERVALS = 3.0
LATELY_SLACK_S = 10.0
"""A member counts as well while its last sample is younger than three intervals and this."""

_URGENT = frozenset({Trigger.RESPAWN, Trigger.THRESHOLD, Trigger.EXHAUSTION})
_CANNOT_WAIT = _URGENT - {Trigger.RESPAWN}


def reason(tick: Tick, name: str, proposal: Proposal) -> str:
    """Say why its group holds a restart of `name` back; empty when it does not."""
    rules = tick.rules_of(name)
    if rules is None or rules.group is None:
        return ""
    group = rules.group
    members = _members(tick, group)
    why = _too_many(tick, members, group)
    if not why and not proposal.forced and proposal.trigger not in _CANNOT_WAIT:
        why = _too_soon(tick, name, members, proposal, group)
        why = why or _too_few(tick, name, members, proposal, group)
    return f"group {group.name}: {why}" if why else ""


def urgency(service: ServiceState, proposed: Iterable[Proposal]) -> tuple[int, float]:
    """Give what sorts the services of one tick: who cannot wait first, then the nearest end."""
    triggers = {proposal.trigger for proposal in proposed}
    rank = 0 if triggers & _URGENT else 1 if Trigger.MANUAL in triggers else 2
    return rank, _edge_s(service)


def is_well(tick: Tick, name: str) -> bool:
    """Whether a member runs, was sampled lately, and is not in a restart nor hurt by the last."""
    return not _ailment(tick, name)


def _members(tick: Tick, group: GroupRules) -> tuple[str, ...]:
    found = ((name, tick.rules_of(name)) for name in tick.services)
    return tuple(
        n for n, rules in found if rules and rules.group and rules.group.name == group.name
    )


def _too_many(tick: Tick, members: tuple[str, ...], group: GroupRules) -> str:
    flying = [name for name in members if tick.services[name].record.flight is not None]
    if len(flying) < group.max_parallel:
        return ""
    verb = "is" if len(flying) == 1 else "are"
    return f"{_and(flying)} {verb} being restarted, max_parallel is {group.max_parallel}"


def _too_soon(
    tick: Tick, name: str, members: tuple[str, ...], proposal: Proposal, group: GroupRules
) -> str:
    """Ask whether the last restart in the group is too short a time ago."""
    ended = ((tick.services[m].record.flight_ended, m) for m in members)
    last = min(
        ((tick.now.since(at), m) for at, m in ended if at is not None),
        default=(group.stagger_s, ""),
    )
    left_s = group.stagger_s - last[0]
    if left_s <= 0 or _presses(tick.service(name), proposal, left_s):
        return ""
    return (
        f"the restart of {last[1]} ended {format_duration(last[0])} ago, the next begins in "
        f"{format_duration(left_s)} (stagger {format_duration(group.stagger_s)})"
    )


def _too_few(
    tick: Tick, name: str, members: tuple[str, ...], proposal: Proposal, group: GroupRules
) -> str:
    """Ask whether too few members would be left that are well."""
    ill = {member: why for member in members if (why := _ailment(tick, member))}
    left = len(members) - len(ill) - 1
    if name in ill or left >= group.min_healthy or _presses(tick.service(name), proposal, 0.0):
        return ""
    because = "".join(f"; {member} {why}" for member, why in ill.items())
    return (
        f"it would leave {left} of {len(members)} healthy, "
        f"min_healthy is {group.min_healthy}{because}"
    )


def _ailment(tick: Tick, name: str) -> str:
    service = tick.services[name]
    record, sample, rules = service.record, service.sample, tick.rules_of(name)
    if record.flight is not None:
        return "is being restarted"
    if sample is None or record.missing:
        return "does not run"
    if record.unhealthy:
        return "failed its health gate"
    idle_s = rules.pacing.idle_s if rules is not None else 0.0
    if tick.now.since(sample.at) > LATELY_INTERVALS * idle_s + LATELY_SLACK_S:
        return "was not sampled lately"
    return ""


def _presses(service: ServiceState, proposal: Proposal, wait_s: float) -> bool:
    """Whether the memory would be full before the service could be back from a later restart."""
    near = proposal.trigger is Trigger.FORECAST
    return near and _edge_s(service) - wait_s <= margin_s(service)


def _edge_s(service: ServiceState) -> float:
    facts = service.assessment
    nearest = facts.nearest if facts is not None else None
    edge = nearest.early_edge_s() if nearest is not None else None
    return float("inf") if edge is None else edge


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
