"""The loop's body: collect, step, commit, act, in this order, and what a failed commit holds."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import pytest

from leakguard.core.decision import Action, RestartService
from leakguard.core.engine import Notice, Rules, Step
from leakguard.core.errors import DaemonError
from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import RestartRequest, ScheduleDue
from leakguard.core.instant import Instant
from leakguard.core.plan import Plan, PluginSpec, ServicePlan
from leakguard.core.policy import (
    GuardRules,
    Mode,
    Policy,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.sample import Incarnation, Location, Measure, Sample, Snapshot
from leakguard.core.state import State
from leakguard.core.units import MIB, Amount
from leakguard.runtime.agenda import Agenda
from leakguard.runtime.bootstrap import Parts
from leakguard.runtime.collect import Collected, Collector
from leakguard.runtime.daemon import Daemon, Outlets
from leakguard.runtime.executor import Executor
from leakguard.runtime.inbox import Inbox
from leakguard.runtime.live import Live
from leakguard.store.memory import MemoryStore
from leakguard.testing.clock import BOOT_ID, FakeClock
from leakguard.testing.drivers import ScriptedDriver

CRON = "0 3 * * *"


@dataclass
class Order:
    """What happened, in order."""

    seen: list[str] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class NotingStore(MemoryStore):
    """Notes each commit; may say that it did not reach the disk."""

    def __init__(self, clock: FakeClock, order: Order) -> None:
        """Begin durable."""
        super().__init__(clock, keep_s=1e6, raw_keep_s=1e6)
        self.order = order
        self.durable = True

    @property
    def last_commit_durable(self) -> bool:
        """Say what the test wants."""
        return self.durable

    def commit(self, step: Step) -> None:
        """Note it."""
        self.order.seen.append("commit")
        super().commit(step)


class NotingExecutor:
    """Notes what it is given."""

    def __init__(self, order: Order) -> None:
        """Share the order."""
        self.order = order

    def submit(self, action: Action) -> None:
        """Note it."""
        self.order.seen.append("act")
        self.order.actions.append(action)


class FixedCollector:
    """Gives the size that the test sets, for what is due."""

    def __init__(self, clock: FakeClock) -> None:
        """Begin small."""
        self.clock = clock
        self.value = 10 * MIB
        self.asked: list[tuple[str, ...]] = []
        self.fails = 0

    def collect(self, due: Iterable[str], now: Instant) -> Collected:
        """Read what is due."""
        names = tuple(due)
        self.asked.append(names)
        if self.fails:
            self.fails -= 1
            raise RuntimeError("as the test wants")
        readings = tuple(
            Sample(
                service=name,
                at=now,
                incarnation=Incarnation(boot_id=BOOT_ID, pid=7, start_ticks=1),
                measure=Measure.AUTO,
                value_bytes=self.value,
                rss_bytes=self.value,
                age_s=9999.0,
            )
            for name in names
        )
        return Collected(snapshot=Snapshot(at=now, readings=readings))


class FixedRoster:
    """Guards one service."""

    def names(self) -> tuple[str, ...]:
        """Give it."""
        return ("worker",)

    def places(self) -> dict[str, Location]:
        """Say nothing of where it is."""
        return {}


@dataclass
class World:
    """One daemon with its surroundings."""

    daemon: Daemon
    clock: FakeClock
    store: NotingStore
    inbox: Inbox
    collector: FixedCollector
    order: Order
    jumps: list[str]
    woken: threading.Event
    drivers: dict[str, ScriptedDriver]


def service_rules() -> ServiceRules:
    """A service with a threshold and a schedule."""
    return ServiceRules(
        name="worker",
        mode=Mode.ACT,
        policy=Policy(
            forecast=None,
            threshold=ThresholdRule(above=Amount(size_bytes=100 * MIB)),
            schedules=(ScheduleRule(cron=CRON),),
        ),
        guards=GuardRules(grace_s=0.0),
        restart=RestartRules(driver="fake"),
    )


@pytest.fixture
def world() -> World:
    """Wire a daemon with fakes of our own."""
    clock, order, jumps = FakeClock(), Order(), list[str]()
    woken = threading.Event()
    store, inbox = NotingStore(clock, order), Inbox(woken.set)
    collector = FixedCollector(clock)
    rules = service_rules()
    plan = Plan(host="h", services=(ServicePlan(rules=rules, target=PluginSpec(key="pid")),))
    live, drivers = Live(State(instance="test")), {"worker": ScriptedDriver()}
    live.parts = Parts(
        plan=plan,
        rules=Rules(services={"worker": rules}, detectors={}),
        roster=FixedRoster(),  # type: ignore[arg-type]  # the loop asks it for names only
        drivers=drivers,  # type: ignore[arg-type]  # the loop only looks them up
        health={},
        notifiers={},
    )

    def note(what: str) -> Callable[..., None]:
        return lambda *_: order.seen.append(what)

    daemon = Daemon(
        live=live,
        clock=clock,
        store=store,
        inbox=inbox,
        agenda=Agenda(),
        collector=cast("Collector", collector),
        executor=cast("Executor", NotingExecutor(order)),
        outlets=Outlets(
            events=order.events.extend,
            alerts_stored=note("alerts"),
            clock_jumped=lambda: jumps.append("jump"),
            rules_changed=lambda: None,
            ticked=note("published"),
        ),
    )
    return World(daemon, clock, store, inbox, collector, order, jumps, woken, drivers)


def test_what_the_driver_would_refuse_is_not_begun(world: World) -> None:
    """The loop asks it in every tick, so that it is believed as soon as it would act again."""
    driver = world.drivers["worker"]
    driver.refusal = "nobody starts it again: name who does"
    world.collector.value = 200 * MIB
    held = world.daemon.tick()
    assert [v.guard for d in held.decisions for v in d.vetoes] == ["cannot_act"]
    driver.refusal = ""
    world.clock.advance(60)
    assert [type(action) for action in world.daemon.tick().actions] == [RestartService]


def test_commit_comes_before_the_act(world: World) -> None:
    """A restart is in the store before anybody carries it out."""
    world.collector.value = 200 * MIB
    world.daemon.tick()
    assert world.order.seen[:2] == ["commit", "act"]


def test_threshold_acts_even_when_its_commit_was_lost(world: World) -> None:
    """A full disk must not let a service run into the OOM killer."""
    world.store.durable = False
    world.collector.value = 200 * MIB
    world.daemon.tick()
    assert [type(action) for action in world.order.actions] == [RestartService]


def test_schedule_waits_for_a_store_that_works(world: World) -> None:
    """What can wait is not begun when its decision could not be written."""
    world.daemon.tick()
    due = world.clock.now().wall_s + 5
    world.clock.advance(10)
    world.inbox.post(ScheduleDue(service="worker", cron=CRON, due_wall_s=due))
    world.store.durable = False
    world.daemon.tick()
    vetoed = [e for e in world.order.events if e.kind is EventKind.RESTART_VETOED]
    assert (world.order.actions, [e.details["guard"] for e in vetoed]) == ([], ["store"])


def test_lost_commit_of_what_can_wait_ends_as_a_failure(world: World) -> None:
    """The tick whose own commit fails does not act either, and says so in the next one."""
    world.daemon.tick()
    world.clock.advance(10)
    world.inbox.post(
        ScheduleDue(service="worker", cron=CRON, due_wall_s=world.clock.now().wall_s - 1)
    )
    original = world.store.commit

    def failing(step: Step) -> None:
        original(step)
        world.store.durable = False

    world.store.commit = failing  # type: ignore[method-assign]  # the disk fills up in this commit
    world.daemon.tick()
    world.store.commit = original  # type: ignore[method-assign]  # and is freed again
    world.store.durable = True
    world.clock.advance(1)
    world.daemon.tick()
    assert world.order.actions == []
    assert EventKind.RESTART_FAILED in [event.kind for event in world.order.events]


def test_a_service_that_was_asked_about_is_read_at_once(world: World) -> None:
    """A person's request is decided on a fresh sample, not on the last one."""
    world.daemon.tick()
    world.clock.advance(0.01)
    world.daemon.tick()
    asking = asks(world)
    world.daemon.tick()
    asking.join(30.0)
    assert world.collector.asked == [("worker",), (), ("worker",)]


def test_a_clock_that_was_set_wakes_the_scheduler(world: World) -> None:
    """Wall time that moves apart from boot time is noticed once, in both directions."""
    world.daemon.tick()
    for shift in (3600.0, 0.0, -3600.0):
        world.clock.advance(10)
        world.clock.set_wall(world.clock.wall_s + shift)
        world.daemon.tick()
    messages = [e.message for e in world.order.events if e.kind is EventKind.CLOCK_JUMPED]
    assert (world.jumps, messages) == (
        ["jump", "jump"],
        ["the clock was set forward by 3600 s", "the clock was set back by 3600 s"],
    )


def asks(world: World, said: list[str] | None = None) -> threading.Thread:
    """Have a person ask for a restart; gives the thread once the request is in the inbox."""

    def ask() -> None:
        try:
            reply = world.inbox.ask(RestartRequest(id="r", service="worker"), "r", 30.0)
            answer = reply.message
        except DaemonError as error:
            answer = str(error)
        if said is not None:
            said.append(answer)

    world.woken.clear()
    thread = threading.Thread(target=ask)
    thread.start()
    assert world.woken.wait(30.0)
    return thread


def test_last_tick_decides_nothing_and_answers(world: World) -> None:
    """A daemon that ends must not leave a restart behind that nobody carries out."""
    world.collector.value = 200 * MIB
    said = list[str]()
    asking = asks(world, said)
    world.daemon.tick(ending=True)
    asking.join(30.0)
    assert (world.collector.asked, world.order.actions) == ([()], [])
    assert said == ["the guard is ending: nothing was done"]


def test_a_failed_tick_answers_people_and_loses_no_outcome(world: World) -> None:
    """What an act came to is dealt with by the next tick, once."""
    world.daemon.tick()
    said = list[str]()
    asking = asks(world, said)
    jumped = Notice(kind="ClockJumped", service="", severity="info", message="set")
    world.inbox.notice(jumped)
    world.collector.fails = 1
    with pytest.raises(RuntimeError):
        world.daemon.tick()
    asking.join(30.0)
    world.daemon.tick()
    world.daemon.tick()
    assert said == ["the tick failed (RuntimeError): see the log"]
    assert [e.message for e in world.order.events if e.kind is EventKind.CLOCK_JUMPED] == ["set"]


def test_what_makes_every_tick_fail_does_not_stay(world: World) -> None:
    """Tried once more, it is given up."""
    world.inbox.notice(Notice(kind="NoSuchKind", service="", severity="info", message=""))
    for _ in range(2):
        with pytest.raises(ValueError, match="NoSuchKind"):
            world.daemon.tick()
    assert world.daemon.tick().events == ()
