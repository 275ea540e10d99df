"""Rules of single services: when labels make new ones, what is told, what the scheduler gets."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest

from leakguard.core.engine import Rules
from leakguard.core.events import EventKind
from leakguard.core.inbox import ScheduleDue
from leakguard.core.plan import Plan, PluginSpec, ServicePlan
from leakguard.core.policy import Policy, ScheduleRule, ServiceRules, rules_among
from leakguard.core.sample import Incarnation, Location
from leakguard.runtime.bootstrap import DriverBook, Parts
from leakguard.runtime.roster import Entry, Roster
from leakguard.runtime.slot_rules import Change, SlotRules
from leakguard.runtime.upkeep import schedules_in
from leakguard.testing.bench import OLD_S
from leakguard.testing.clock import FakeClock
from leakguard.testing.several import CRON, Several, member, restarted
from leakguard.testing.targets import ScriptedTarget

RULES = ServiceRules(name="apps", policy=Policy(schedules=(ScheduleRule(cron="0 1 * * *"),)))


class World:
    """An entry with a fake target, its roster and its parts."""

    def __init__(self) -> None:
        self.plan = Plan(
            host="here",
            services=(ServicePlan(rules=RULES, target=PluginSpec(key="fake"), each=True),),
        )
        self.target = ScriptedTarget()
        self.clock = FakeClock()
        self.slots = SlotRules()
        self.pid = 10
        self.load(self.plan)

    def load(self, plan: Plan) -> None:
        """Take a configuration, as a start or a reload does."""
        roster = Roster({"apps": Entry(plan=plan.services[0], target=self.target)}, {})
        self.parts = Parts(
            plan=plan,
            rules=Rules(services={"apps": plan.services[0].rules}, detectors={}),
            roster=roster,
            drivers=cast("DriverBook", {}),
            health={},
            notifiers={},
        )

    def look(self, **containers: Mapping[str, str]) -> Change | None:
        """Have containers with labels run, and take what follows."""
        self.target.found = tuple(
            Location(
                root=Incarnation(boot_id="b", pid=self.pid + number, start_ticks=1),
                name=name,
                member=name,
                settings=tuple(sorted(labels.items())),
            )
            for number, (name, labels) in enumerate(containers.items())
        )
        self.clock.advance(60.0)
        self.parts.roster.scan(self.clock.now())
        change = self.slots.change(self.parts)
        if change is not None:
            self.parts = replace(self.parts, rules=change.rules)
        return change


@pytest.fixture
def world() -> World:
    """Give an entry that matches nothing yet."""
    return World()


def kinds(change: Change | None) -> list[tuple[str, str]]:
    """Give service and kind of what is told."""
    return [(n.service, n.kind) for n in change.notices] if change else []


def test_without_labels_nothing_changes(world: World) -> None:
    """Also nothing is worked out again."""
    assert world.look(web={}, db={}) is None


def test_labels_change_the_rules_of_one_service(world: World) -> None:
    """The engine finds them by the service's name; the others follow the entry."""
    change = world.look(web={"max-age": "7d"}, db={})
    assert change is not None
    services = change.rules.services
    found = [rules_among(services, name) for name in ("apps", "apps:db", "apps:web")]
    assert [rules.policy.max_age_s if rules else 0 for rules in found] == [None, None, 604800.0]
    assert kinds(change) == [("apps:web", EventKind.LABELS_ACCEPTED.value)]
    assert world.look(web={"max-age": "7d"}, db={}) is None


def test_a_new_container_with_other_labels_is_followed(world: World) -> None:
    """Under the same name; without labels the entry's rules are back."""
    seen = []
    for labels in ({"max-age": "7d"}, {"max-age": "1d"}, {}):
        world.pid += 1
        world.look(web=labels)
        rules = rules_among(world.parts.rules.services, "apps:web")
        seen.append(rules.policy.max_age_s if rules else 0)
    assert seen == [604800.0, 86400.0, None]


def test_a_wrong_label_is_told_once_and_taken_back(world: World) -> None:
    """By container and label; it is no reason for anything else."""
    change = world.look(web={"threshold": "80"})
    assert change is not None
    (notice,) = change.notices
    assert notice.kind == EventKind.LABELS_REJECTED.value
    assert notice.message.startswith("container web: label leakguard.threshold: '80' is not a size")
    assert change.rules.services == {"apps": RULES}
    assert world.look(web={"threshold": "80"}) is None
    world.pid += 1
    assert kinds(world.look(web={})) == [("apps:web", EventKind.LABELS_ACCEPTED.value)]


def test_a_reload_applies_the_labels_again(world: World) -> None:
    """To the new rules of the entry; what was told is not told again."""
    world.look(web={"max-age": "7d"})
    other = replace(RULES, pacing=replace(RULES.pacing, idle_s=5.0))
    world.load(replace(world.plan, services=(replace(world.plan.services[0], rules=other),)))
    change = world.look(web={"max-age": "7d"})
    assert change is not None
    rules = change.rules.services["apps:web"]
    assert (rules.pacing.idle_s, rules.policy.max_age_s) == (5.0, 604800.0)
    assert change.notices == ()


def test_only_times_of_its_own_are_scheduled_apart(world: World) -> None:
    """A service whose labels leave the schedule alone follows its entry's."""
    world.look(web={"restart-at": "0 3 * * *"}, db={"max-age": "7d"})
    planned = {(s.service, s.cron) for s in schedules_in(world.parts.rules.services)}
    assert planned == {("apps", "0 1 * * *"), ("apps:web", "0 3 * * *")}


def test_a_service_with_times_of_its_own_does_not_follow_its_entrys() -> None:
    """Each due moment is for those whose schedule it is."""
    own = replace(
        member("apps"), name="apps:2", policy=Policy(schedules=(ScheduleRule(cron="0 9 * * *"),))
    )
    several = Several.of(member("apps"), each={"apps": 2})
    several.rules = {**several.rules, "apps:2": own}
    several.look()
    soon = several.clock.wall_s + 0.5
    first = several.look(ScheduleDue(service="apps", cron=CRON, due_wall_s=soon))
    for name in ("apps:1", "apps:2"):
        several.run(name, age_s=OLD_S)
    several.look(after_s=600.0)
    soon = several.clock.wall_s + 0.5
    second = several.look(ScheduleDue(service="apps:2", cron="0 9 * * *", due_wall_s=soon))
    assert (restarted(first), restarted(second)) == (["apps:1"], ["apps:2"])
