"""Whatever happens, in whatever order: what groups, breakers and dependencies promise is kept.

Six services on three kinds of drivers: three workers in a group, and a shop of three that stand on
each other, some of which may be in the group, too. Random lives: people, schedules, thresholds,
deaths, acts that are slow, fail, are lost or half done, leakguard killed (also before it has
written a decision down, and while a command of its goes on), the clock set, the machine asleep or
started anew. `Ledger` keeps a book of its own and holds every step to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, example, given, settings, strategies as st

from leakguard.core.inbox import PauseRequest, Request, RestartRequest, ResumeRequest, ScheduleDue
from leakguard.core.policy import (
    GroupRules,
    GuardRules,
    Mode,
    Policy,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.units import MIB, Amount
from leakguard.testing.ledger import Ledger
from leakguard.testing.plant import Kind, Plant

CRON = "0 3 * * *"
DEADLINE_S = 60.0
PER_S = 3600.0
AT_MOST_S = 3000.0
"""Everything that is under way when all goes well is over after this."""
LONG_S = 8 * PER_S
"""A breaker that is open, four times as long as ever, has let a child start after this."""
KINDS = {
    "a": Kind.SIGNAL, "b": Kind.CHILD, "c": Kind.COMMAND,
    "db": Kind.COMMAND, "cache": Kind.CHILD, "web": Kind.COMMAND,
}  # fmt: skip
MEMBERS = {"a", "b", "c"}
DEPENDS_ON = {"cache": ("db",), "web": ("cache",)}
NEEDS = {"cache": frozenset({"db"}), "web": frozenset({"db", "cache"})}

TIMES = st.sampled_from([0.0, 1.0, 5.0, 5.0, 20.0, 61.0, 130.0, 301.0])
NAMES = st.sampled_from(sorted(KINDS))
HOW = st.sampled_from(["done", "done", "done", "half", "silent", "failed", "lost"])
WHAT = st.sampled_from(["restart", "restart", "force", "pause", "resume"])
OPERATIONS = st.one_of(
    st.tuples(st.just("live"), TIMES),
    st.tuples(st.just("answer"), st.integers(0, 5), HOW),
    st.tuples(st.just("answer"), st.integers(0, 5), st.just("done")),
    st.tuples(st.just("ask"), NAMES, WHAT),
    st.tuples(st.just("due"), st.lists(NAMES, min_size=1, max_size=6, unique=True)),
    st.tuples(st.just("size"), NAMES, st.sampled_from([100.0, 600.0])),
    st.tuples(st.sampled_from(["die", "revive", "ill"]), NAMES),
    st.tuples(st.just("loop"), NAMES, st.integers(2, 6)),
    st.tuples(st.just("wall"), st.sampled_from([-7200.0, -60.0, 3600.0])),
    st.tuples(st.just("glance"), st.lists(NAMES, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("sleep"), st.sampled_from([700.0, 4000.0, 20000.0])),
    st.tuples(st.just("crash")),
    st.tuples(st.just("cut"), NAMES, WHAT),
    st.tuples(st.just("drift"), st.integers(0, 5)),
    st.tuples(st.just("reboot"), st.sampled_from([10.0, 120.0])),
)


def request(plant: Plant, name: str, what: str) -> Request:
    """Make what a person asks for."""
    own = f"req-{plant.clock.boot_s}"
    match what:
        case "pause":
            return PauseRequest(id=own, service=name, for_s=120.0)
        case "resume":
            return ResumeRequest(id=own, service=name)
        case _:
            return RestartRequest(id=own, service=name, force=what == "force")


def all_due(plant: Plant, names: list[str]) -> None:
    """Let the same cron moment come for several services at once."""
    moment = plant.clock.wall_s + 1.0
    plant.look(
        *(ScheduleDue(service=name, cron=CRON, due_wall_s=moment) for name in names), after_s=1.0
    )


def again_and_again(plant: Plant, name: str, times: int) -> None:
    """Let a person restart one service some times, each of them going well."""
    for _ in range(times):
        plant.look(request(plant, name, "restart"), after_s=1.0)
        for _ in range(2):  # the restart, and its gate
            plant.answer_of(name, "done")
            plant.look(after_s=30.0)


def come_back_ill(plant: Plant, name: str) -> None:
    """Let a person restart one service, whose gate then fails."""
    plant.look(request(plant, name, "restart"), after_s=1.0)
    for how in ("done", "failed"):
        plant.answer_of(name, how)
        plant.look(after_s=1.0)


DEEDS: dict[str, Callable[..., None]] = {
    "live": lambda plant, after_s: plant.look(after_s=after_s),
    "answer": Plant.answer,
    "ask": lambda plant, name, what: plant.look(request(plant, name, what), after_s=1.0),
    "due": all_due,
    "size": lambda plant, name, mib: setattr(plant.units[name], "mib", mib),
    "loop": again_and_again,
    "ill": come_back_ill,
    "die": Plant.die,
    "revive": Plant.revive,
    "wall": lambda plant, by_s: plant.clock.set_wall(plant.clock.wall_s + by_s),
    "glance": lambda plant, names: plant.look(after_s=5.0, only=tuple(names)),
    "sleep": lambda plant, after_s: plant.look(after_s=after_s),
    "crash": Plant.crash,
    "cut": lambda plant, name, what: plant.die_in_tick(request(plant, name, what)),
    "drift": Plant.drift,
    "reboot": Plant.reboot,
}
LOOKS = {"live", "ask", "due", "loop", "ill", "glance", "sleep"}


@dataclass(frozen=True, slots=True)
class Terms:
    """What is different from one plant to the next."""

    max_parallel: int
    min_healthy: int
    stagger_s: float
    more_members: tuple[str, ...]
    gate_s: float | None
    allowed: int
    db: Kind

    def kinds(self) -> dict[str, Kind]:
        """Give who starts each service."""
        return KINDS | {"db": self.db}

    def rules(self) -> dict[str, ServiceRules]:
        """Make the rules of all services."""
        group = GroupRules(
            name="workers",
            max_parallel=self.max_parallel,
            min_healthy=self.min_healthy,
            stagger_s=self.stagger_s,
        )
        return {name: self._one(name, kind, group) for name, kind in self.kinds().items()}

    def _one(self, name: str, kind: Kind, group: GroupRules) -> ServiceRules:
        return ServiceRules(
            name=name,
            mode=Mode.ACT,
            policy=Policy(
                forecast=None,
                threshold=ThresholdRule(above=Amount(size_bytes=500 * MIB)),
                schedules=(ScheduleRule(cron=CRON),),
            ),
            guards=GuardRules(grace_s=0.0, max_restarts=self.allowed, per_s=PER_S),
            restart=RestartRules(
                driver=kind.value,
                deadline_s=DEADLINE_S,
                health_within_s=self.gate_s,
                starts=kind is Kind.CHILD,
                depends_on=DEPENDS_ON.get(name, ()),
            ),
            group=group if name in MEMBERS or name in self.more_members else None,
        )


TERMS = st.builds(
    Terms,
    st.integers(1, 2),
    st.integers(0, 2),
    st.sampled_from([0.0, 20.0]),
    st.sampled_from([(), ("cache",), ("cache", "web")]),
    st.sampled_from([None, 30.0]),
    st.integers(2, 5),
    st.sampled_from([Kind.SIGNAL, Kind.CHILD, Kind.COMMAND]),
)
LIVES = st.lists(OPERATIONS, min_size=10, max_size=60)


def live(plant: Plant, life: list[tuple[Any, ...]]) -> None:
    """Let a life happen; every step is held to the book."""
    for operation in life:
        DEEDS[operation[0]](plant, *operation[1:])
        if operation[0] not in LOOKS:
            plant.look(after_s=1.0)


USUAL = Terms(
    max_parallel=1,
    min_healthy=1,
    stagger_s=20.0,
    more_members=("cache",),
    gate_s=30.0,
    allowed=4,
    db=Kind.COMMAND,
)
CLOCK_BEHIND_AFTER_A_REBOOT: list[tuple[Any, ...]] = [
    ("ask", "b", "restart"),
    ("wall", -7200.0),
    ("reboot", 120.0),
]
CLOCK_SET_BACK_AFTER_A_REBOOT: list[tuple[Any, ...]] = [
    ("ask", "b", "restart"),
    ("reboot", 10.0),
    ("wall", -7200.0),
]


@example(terms=USUAL, life=CLOCK_BEHIND_AFTER_A_REBOOT)
@example(terms=USUAL, life=CLOCK_SET_BACK_AFTER_A_REBOOT)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(terms=TERMS, life=LIVES)
def test_groups_breakers_and_dependencies_hold(terms: Terms, life: list[tuple[Any, ...]]) -> None:
    """No life breaks a promise; and when it calms down, all that was begun comes to its end."""
    ledger = Ledger(NEEDS)
    plant = Plant(terms.rules(), terms.kinds(), ledger)
    live(plant, life)
    plant.calm(lambda: not ledger.under_way(), AT_MOST_S)
    assert not ledger.under_way(), "a restart without end"
    down = {name for name, unit in plant.units.items() if unit.held_down}
    assert down <= ledger.given_up, "a dependent that stays down for ever"
    plant.calm(lambda: not plant.children_down(), LONG_S, every_s=300.0)
    assert not plant.children_down(), "a child that nobody starts"
