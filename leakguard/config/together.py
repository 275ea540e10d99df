"""What only shows between services: promises that could never be kept, names that nobody has."""

from collections.abc import Iterator, Mapping, Sequence

from leakguard.config.lines import Loc
from leakguard.config.problems import Problem, nearest
from leakguard.config.restarting import Budget, Group
from leakguard.core.linked import dependencies, dependents
from leakguard.core.plan import ServicePlan
from leakguard.core.policy import Budget as BudgetRules, GroupRules, Mode, ServiceRules
from leakguard.core.units import counted


def group_rules(groups: Mapping[str, Group]) -> dict[str, GroupRules]:
    """Give the groups as the engine reads them."""
    return {
        name: GroupRules(
            name=name,
            max_parallel=group.max_parallel,
            min_healthy=group.min_healthy,
            stagger_s=group.stagger,
        )
        for name, group in groups.items()
    }


def budget_rules(budget: Budget | None) -> BudgetRules | None:
    """Give what all services together may be restarted, as the engine reads it."""
    return None if budget is None else BudgetRules(max_restarts=budget.count, per_s=budget.per)


def wrong_groups(groups: Mapping[str, Group], plans: Sequence[ServicePlan]) -> Iterator[Problem]:
    """Find groups in which no restart could ever leave enough members."""
    for name, group in groups.items():
        members = members_of(name, plans)
        if members and group.min_healthy:
            yield from _wrong_with_dependents(name, group, members, plans)
        if not members or any(plan.each for plan in members):  # how many there are shows later
            continue
        if group.min_healthy >= len(members):
            yield Problem(
                ("groups", name, "min_healthy"),
                f"{group.min_healthy} of {counted(len(members), 'member')} must stay healthy, so "
                "none could ever be restarted - make it smaller",
            )


def empty_groups(groups: Mapping[str, Group], plans: Sequence[ServicePlan]) -> tuple[str, ...]:
    """Give the groups that nobody is in."""
    return tuple(name for name in groups if not members_of(name, plans))


def members_of(group: str, plans: Sequence[ServicePlan]) -> tuple[ServicePlan, ...]:
    """Give the entries that are in a group."""
    return tuple(p for p in plans if p.rules.group is not None and p.rules.group.name == group)


def wrong_dependencies(plans: Sequence[ServicePlan]) -> Iterator[Problem]:
    """Find names that nobody has, circles, and services that may not be touched."""
    rules = {plan.rules.name: plan.rules for plan in plans}
    told: set[frozenset[str]] = set()
    for name, own in rules.items():
        for other in own.restart.depends_on:
            if other not in rules:
                others = tuple(one for one in rules if one != name)
                text = f"no service {other!r} - {nearest(other, others)}"
                yield Problem(_depends_on(name), text)
        circle = _circle(rules, name)
        if circle and frozenset(circle) not in told:
            told.add(frozenset(circle))
            text = f"goes in a circle: {' → '.join(circle)} - take one of them out"
            yield Problem(_depends_on(name), text)
        elif not circle:
            yield from _untouchable(rules, name)


def _untouchable(rules: Mapping[str, ServiceRules], name: str) -> Iterator[Problem]:
    if rules[name].mode is Mode.ACT:
        return
    for other in sorted(dependencies(rules, name)):
        if other in rules and rules[other].mode is Mode.ACT:
            yield Problem(
                _depends_on(name),
                f"a restart of {other} would stop and start {name}, which is only observed - "
                f"set mode: act for {name}, or mode: observe for {other}",
            )


def _circle(rules: Mapping[str, ServiceRules], name: str) -> tuple[str, ...]:
    """Give the way from a service back to itself; empty when there is none."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        known = rules.get(way[-1])
        for other in known.restart.depends_on if known is not None else ():
            if other == name:
                return (*way, name)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return ()


def _wrong_with_dependents(
    name: str, group: Group, members: Sequence[ServicePlan], plans: Sequence[ServicePlan]
) -> Iterator[Problem]:
    """Find services whose restart takes down more of a group than it may lose."""
    rules = {plan.rules.name: plan.rules for plan in plans}
    for one in rules:
        taken = {one, *dependents(rules, one)}
        left = [plan for plan in members if plan.rules.name not in taken]
        lost = [plan.rules.name for plan in members if plan.rules.name in taken - {one}]
        enough = len(left) >= group.min_healthy or any(plan.each for plan in left)
        if lost and not enough:
            yield Problem(
                ("groups", name, "min_healthy"),
                f"a restart of {one} stops {', '.join(lost)}, and only {len(left)} of the group "
                "would be left - make it smaller",
            )


def _depends_on(name: str) -> Loc:
    return ("services", name, "restart", "depends_on")
