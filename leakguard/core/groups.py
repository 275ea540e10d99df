"""Groups: how many members restart at a time, how many stay well, how long the next one waits.

`max_parallel` holds every restart, also one before a certain end: two members that are down are
worse than one that the kernel takes. `min_healthy` and `stagger` hold what can wait. They yield to
a hard threshold and to an end that comes before the service could be back: the kernel would take
that member down anyway, without asking how many are well. A member that is not well itself may
always be restarted, since that costs the group nothing. `restart --force` overrides both, and
never `max_parallel`. A restart that takes its dependents down with it touches their groups too, and
is one restart in each.
"""

from collections.abc import Iterable, Mapping

from leakguard.core import linked
from leakguard.core.policy import GroupRules, Proposal, Trigger
from leakguard.core.propose import early_edge_s, margin_s
from leakguard.core.tick import Tick
from leakguard.core.units import format_duration

LATELY_INTERVALS = 3.0
LATELY_SLACK_S = 10.0
HURRY_AT_LEAST_S = 1.0
"""A member counts as well while its last sample is younger than three intervals and this."""

_CANNOT_WAIT = frozenset({Trigger.THRESHOLD, Trigger.EXHAUSTION})


def reason(tick: Tick, name: str, proposal: Proposal) -> str:
    """Say why its group holds a restart of `name` back; empty when it does not."""
    going = (name, *linked.to_stop(tick, name))
    groups = {rules.group for one in going if (rules := tick.rules_of(one)) and rules.group}
    for group in sorted(groups, key=lambda one: one.name):
        why = _holds(tick, group, going, proposal)
        if why:
            return f"group {group.name}: {why}"
    return ""


def _holds(tick: Tick, group: GroupRules, going: tuple[str, ...], proposal: Proposal) -> str:
    members = _members(tick, group)
    why = _too_many(tick, members, group)
    if why or proposal.forced or proposal.trigger in _CANNOT_WAIT:
        return why
    return _too_soon(tick, going[0], members, proposal, group) or _too_few(
        tick, going, members, proposal, group
    )


def in_turn(tick: Tick, proposals: Mapping[str, list[Proposal]]) -> list[str]:
    """Give the services in the order of their need: of a group only the first may go."""
    wanted = [name for name, proposed in proposals.items() if proposed]
    return sorted(wanted, key=lambda name: _urgency(tick, name, proposals[name]))


def is_well(tick: Tick, name: str) -> bool:
    """Whether a member runs, was sampled lately, and is not in a restart nor hurt by the last."""
    return not _ailment(tick, name)


def _urgency(tick: Tick, name: str, proposed: Iterable[Proposal]) -> tuple[int, int, float]:
    """Give what sorts the services of one tick: who cannot wait first, then the nearest end.

    What others depend on goes before them: its restart serves them too.
    """
    triggers = {proposal.trigger for proposal in proposed}
    rank = 0 if triggers & linked.CANNOT_WAIT else 1 if Trigger.MANUAL in triggers else 2
    return rank, linked.depth(tick, name), _edge_s(tick, name)


def _members(tick: Tick, group: GroupRules) -> tuple[str, ...]:
    found = ((name, tick.rules_of(name)) for name in tick.services)
    return tuple(
        n for n, rules in found if rules and rules.group and rules.group.name == group.name
    )


def _too_many(tick: Tick, members: tuple[str, ...], group: GroupRules) -> str:
    acts: dict[str, str] = {}
    for name in members:
        flight = tick.services[name].record.flight
        if flight is not None:
            acts.setdefault(flight.for_action or flight.action_id, name)
    if len(acts) < group.max_parallel:
        return ""
    verb = "is" if len(acts) == 1 else "are"
    return (
        f"{_and(list(acts.values()))} {verb} being restarted, max_parallel is {group.max_parallel}"
    )


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
    if left_s <= 0 or _presses(tick, name, proposal, left_s):
        return ""
    return (
        f"the restart of {last[1]} ended {format_duration(last[0])} ago, the next begins in "
        f"{format_duration(left_s)} (stagger {format_duration(group.stagger_s)})"
    )


def _too_few(
    tick: Tick,
    going: tuple[str, ...],
    members: tuple[str, ...],
    proposal: Proposal,
    group: GroupRules,
) -> str:
    """Ask whether too few members would be left that are well."""
    ill = {member: why for member in members if (why := _ailment(tick, member))}
    lost = [name for name in members if name in going and name not in ill]
    left = len(members) - len(ill) - len(lost)
    if not lost or left >= group.min_healthy or _presses(tick, going[0], proposal, 0.0):
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


def _presses(tick: Tick, name: str, proposal: Proposal, wait_s: float) -> bool:
    """Whether the memory would be full before the service could be back from a later restart."""
    near = proposal.trigger is Trigger.FORECAST
    return near and _edge_s(tick, name) - wait_s <= margin_s(tick.service(name))


def hurry_s(tick: Tick, name: str) -> float | None:
    """Give how long the dependents of a service may take to stop before its memory is full.

    Half of the time to the early edge, the other half is for its own restart; None: no end is near.
    """
    edge_s = early_edge_s(tick.service(name), tick.rules_of(name), tick.now)
    return None if edge_s is None else max(HURRY_AT_LEAST_S, edge_s / 2)


def _edge_s(tick: Tick, name: str) -> float:
    edge = early_edge_s(tick.service(name), tick.rules_of(name), tick.now)
    return float("inf") if edge is None else edge


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
