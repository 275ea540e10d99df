"""Whatever happens, in whatever order: what groups, breakers and dependencies promise is kept.

Eight services of six entries on three kinds of drivers: four workers in a group, and a shop of four
that stand on each other, some of which may be in the group, too. Random lives: people, schedules,
thresholds, deaths, acts that are slow, fail, are lost or half done, leakguard ended or killed (also
before it has written a decision down, and while a command of its goes on), the clock set, the
machine asleep or started anew. `Ledger` keeps a book of its own and holds every step to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, example, given, settings, strategies as st

from leakguard.core.events import EventKind
from leakguard.core.inbox import PauseRequest, Request, RestartRequest, ResumeRequest, ScheduleDue
from leakguard.core.policy import (
    Budget,
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
from leakguard.testing.ledger import Ledger, entry_of
from leakguard.testing.plant import Kind, Plant

Life = list[tuple[Any, ...]]
"""What happens, in order: the name of a deed and what it is told."""
CRON = "0 3 * * *"
DEADLINE_S = 60.0
PER_S = 3600.0
AT_MOST_S = 3000.0
"""Everything that is under way when all goes well is over after this."""
SETTLED_S = 100.0
"""What was wanted when it became calm has begun by then."""
LONG_S = 8 * PER_S
"""A breaker that is open, four times as long as ever, has let a child start after this."""
KINDS = {
    "a:1": Kind.SIGNAL, "a:2": Kind.SIGNAL, "b": Kind.CHILD, "c": Kind.COMMAND,
    "db": Kind.COMMAND, "cache": Kind.CHILD, "web:1": Kind.COMMAND, "web:2": Kind.COMMAND,
}  # fmt: skip
MEMBERS = {"a:1", "a:2", "b", "c"}
DEPENDS_ON = {"cache": ("db",), "web": ("cache",)}
NEEDS = {
    "cache": frozenset({"db"}),
    "web:1": frozenset({"db", "cache"}),
    "web:2": frozenset({"db", "cache"}),
}

TIMES = st.sampled_from([0.0, 1.0, 5.0, 5.0, 20.0, 61.0, 130.0, 301.0])
NAMES = st.sampled_from(sorted(KINDS))
ENTRIES = st.sampled_from(sorted({entry_of(name) for name in KINDS}))
HOW = st.sampled_from(["done", "done", "done", "half", "silent", "failed", "lost"])
WHAT = st.sampled_from(["restart", "restart", "force", "pause", "resume"])
CLOCKS = [
    *(("wall", by_s) for by_s in (-7200.0, -60.0, 3600.0)),
    ("reboot", 10.0),
    ("reboot", 120.0),
]
SLEEPS = [("sleep", for_s) for for_s in (700.0, 4000.0, 20000.0)]
OPERATIONS = st.one_of(
    st.tuples(st.just("live"), TIMES),
    st.tuples(st.just("answer"), st.integers(0, 5), HOW),
    st.tuples(st.just("answer"), st.integers(0, 5), HOW),
    st.tuples(st.just("answer"), st.integers(0, 5), st.just("done")),
    st.tuples(st.just("ask"), NAMES, WHAT),
    st.tuples(st.just("ask"), st.sampled_from(["db", "cache"]), st.just("restart")),
    st.tuples(st.just("due"), st.lists(ENTRIES, min_size=1, max_size=6, unique=True)),
    st.tuples(st.just("size"), NAMES, st.sampled_from([100.0, 600.0])),
    st.tuples(st.sampled_from(["die", "revive"]), NAMES),
    st.tuples(st.just("ill"), st.sampled_from(sorted(MEMBERS))),
    st.tuples(st.just("loop"), NAMES, st.integers(2, 6)),
    st.tuples(st.just("stubborn"), st.sampled_from(sorted(NEEDS)), st.integers(2, 6)),
    st.tuples(st.just("glance"), st.lists(NAMES, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("crash")),
    st.tuples(st.sampled_from(["crash", "end"])),
    st.tuples(st.just("cut"), NAMES, WHAT),
    st.tuples(st.just("drift"), st.integers(0, 5)),
    st.sampled_from(CLOCKS + SLEEPS),
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


def will_not_start(plant: Plant, name: str, times: int) -> None:
    """Let what is to start a dependent fail some times."""
    for _ in range(times):
        plant.answer_of(name, "failed")
        plant.look(after_s=61.0)


DEEDS: dict[str, Callable[..., None]] = {
    "live": lambda plant, after_s: plant.look(after_s=after_s),
    "answer": Plant.answer,
    "ask": lambda plant, name, what: plant.look(request(plant, name, what), after_s=1.0),
    "due": all_due,
    "size": lambda plant, name, mib: setattr(plant.units[name], "mib", mib),
    "loop": again_and_again,
    "ill": come_back_ill,
    "stubborn": will_not_start,
    "die": Plant.die,
    "revive": Plant.revive,
    "wall": lambda plant, by_s: plant.clock.set_wall(plant.clock.wall_s + by_s),
    "glance": lambda plant, names: plant.look(after_s=5.0, only=tuple(names)),
    "sleep": lambda plant, after_s: plant.look(after_s=after_s),
    "crash": Plant.crash,
    "end": Plant.end,
    "cut": lambda plant, name, what: plant.die_in_tick(request(plant, name, what)),
    "drift": Plant.drift,
    "reboot": Plant.reboot,
}
LOOKS = {"live", "ask", "due", "loop", "ill", "stubborn", "glance", "sleep"}


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
    together: int | None
    """How many restarts of all services may count at a time."""

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
        kinds = {entry_of(name): kind for name, kind in self.kinds().items()}
        return {name: self._one(name, kind, group) for name, kind in kinds.items()}

    def _one(self, name: str, kind: Kind, group: GroupRules) -> ServiceRules:
        return ServiceRules(
            name=name,
            mode=Mode.ACT,
            policy=Policy(
                forecast=None,
                threshold=ThresholdRule(above=Amount(size_bytes=500 * MIB)),
                schedules=(ScheduleRule(cron=CRON),),
            ),
            guards=GuardRules(
                grace_s=0.0,
                max_restarts=self.allowed,
                per_s=PER_S,
                budget=Budget(max_restarts=self.together, per_s=PER_S) if self.together else None,
            ),
            restart=RestartRules(
                driver=kind.value,
                deadline_s=DEADLINE_S,
                health_within_s=self.gate_s,
                starts=kind is Kind.CHILD,
                depends_on=DEPENDS_ON.get(name, ()),
            ),
            group=group if name in {"a", "b", "c", *self.more_members} else None,
        )


TERMS = st.builds(
    Terms,
    st.integers(1, 2),
    st.sampled_from([0, 1, 2, 2, 3]),
    st.sampled_from([0.0, 0.0, 20.0]),
    st.sampled_from([(), ("cache",), ("cache", "web")]),
    st.sampled_from([None, 30.0]),
    st.integers(2, 5),
    st.sampled_from([Kind.SIGNAL, Kind.CHILD, Kind.COMMAND]),
    st.sampled_from([None, None, 3]),
)
LIVES = st.lists(OPERATIONS, min_size=10, max_size=60)


def live(plant: Plant, life: Life) -> None:
    """Let a life happen; every step is held to the book."""
    for operation in life:
        DEEDS[operation[0]](plant, *operation[1:])
        if operation[0] not in LOOKS:
            plant.look(after_s=1.0)


def still_works(plant: Plant, ledger: Ledger, name: str) -> bool:
    """Whether a person can restart a service, and all that stands on it."""
    plant.revive(name)
    plant.calm(lambda: False, SETTLED_S)
    plant.calm(lambda: not ledger.under_way(), AT_MOST_S)
    plant.look(request(plant, name, "force"), after_s=1.0)
    ledger.came_of.pop(name, None)
    plant.calm(lambda: not ledger.under_way(), AT_MOST_S)
    return ledger.came_of.get(name) is EventKind.RESTART_SUCCEEDED


USUAL = Terms(
    max_parallel=1,
    min_healthy=1,
    stagger_s=0.0,
    more_members=(),
    gate_s=30.0,
    allowed=4,
    db=Kind.COMMAND,
    together=None,
)
CLOCK_BEHIND_AFTER_A_REBOOT: Life = [
    ("ask", "b", "restart"),
    ("wall", -7200.0),
    ("reboot", 120.0),
]
CLOCK_SET_BACK_AFTER_A_REBOOT: Life = [
    ("ask", "b", "restart"),
    ("reboot", 10.0),
    ("wall", -7200.0),
]
ILL_AFTER_AN_ATTEMPT_THAT_DID_NOTHING: Life = [
    ("ill", "c"),
    ("ask", "c", "force"),
    ("answer", 0, "lost"),
    ("live", 130.0),
    ("ask", "b", "restart"),
]
DB_ENDS_IN_ITS_RESTART: Life = [
    ("ask", "db", "restart"),
    *[("answer", 0, "done")] * 3,
    ("answer", 0, "half"),
    ("answer", 0, "failed"),
]
ENDED_WHILE_DEPENDENTS_START: Life = [
    ("ask", "db", "restart"),
    *[("answer", 0, "done")] * 5,
    ("end",),
]


@example(terms=USUAL, life=CLOCK_BEHIND_AFTER_A_REBOOT)
@example(terms=USUAL, life=CLOCK_SET_BACK_AFTER_A_REBOOT)
@example(terms=replace(USUAL, min_healthy=3), life=ILL_AFTER_AN_ATTEMPT_THAT_DID_NOTHING)
@example(terms=replace(USUAL, min_healthy=0, db=Kind.CHILD), life=DB_ENDS_IN_ITS_RESTART)
@example(terms=replace(USUAL, gate_s=None), life=ENDED_WHILE_DEPENDENTS_START)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(terms=TERMS, life=LIVES)
def test_groups_breakers_and_dependencies_hold(terms: Terms, life: Life) -> None:
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
    for name in ("a:1", "db"):
        assert still_works(plant, ledger, name), f"{name} cannot be restarted any more"
