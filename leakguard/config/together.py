"""What only shows between services: groups that could never keep their promise."""

from collections.abc import Iterator, Mapping, Sequence

from leakguard.config.problems import Problem
from leakguard.config.restarting import Group
from leakguard.core.plan import ServicePlan
from leakguard.core.policy import GroupRules
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


def wrong_groups(groups: Mapping[str, Group], plans: Sequence[ServicePlan]) -> Iterator[Problem]:
    """Find groups in which no restart could ever leave enough members."""
    for name, group in groups.items():
        members = members_of(name, plans)
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
