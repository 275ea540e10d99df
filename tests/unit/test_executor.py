"""The executor: looks again, acts once, one service at a time, never holds the exit."""

import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leakguard.core.decision import (
    BendLimits,
    CheckHealth,
    LookUpLimits,
    RestartService,
    StartService,
    StopService,
)
from leakguard.core.errors import DriverError, ReadingError
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.instant import Instant
from leakguard.core.limits import MemoryLimits
from leakguard.core.plan import (
    ErrandPlan,
    HealthSpec,
    HookSpec,
    Plan,
    PluginSpec,
    ServicePlan,
    StatePlan,
)
from leakguard.core.policy import ServiceRules, Trigger
from leakguard.core.sample import Incarnation, Location
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.errands import Errands
from leakguard.runtime.executor import Executor
from leakguard.runtime.hook_output import HookOutput
from leakguard.testing.clock import FakeClock
from leakguard.testing.drivers import ScriptedDriver

OLD = Incarnation(boot_id="b", pid=10, start_ticks=100)
NEW = Incarnation(boot_id="b", pid=11, start_ticks=200)
PATIENCE_S = 20.0


@dataclass
class Bench:
    """An executor over scripted drivers, with what it posted and where services run."""

    drivers: dict[str, ScriptedDriver] = field(default_factory=dict)
    health: dict[str, HealthSpec] = field(default_factory=dict)
    here: dict[str, Incarnation] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    posted: queue.Queue[Outcome] = field(default_factory=queue.Queue)
    unreadable: str = ""
    errands: Errands | None = None

    def __post_init__(self) -> None:
        self.executor = Executor(
            drivers=self.drivers,
            post=self.posted.put,
            locate=self.locate,
            clock=self.clock,
            children=Children(run_here, self.clock),
            health=self.health,
            errands=self.errands,
        )

    def locate(self, service: str) -> Location | None:
        """Look where a service is."""
        if self.unreadable:
            raise ReadingError(self.unreadable)
        return Location(root=self.here[service]) if service in self.here else None

    def restart(self, service: str, meant: Incarnation | None = OLD, number: int = 1) -> None:
        """Submit a restart decided now."""
        self.executor.submit(restart(service, meant, self.clock.now(), number))

    def outcome(self) -> Outcome:
        """Wait for the next outcome."""
        return self.posted.get(timeout=PATIENCE_S)

    def end(self) -> None:
        """Let every driver go."""
        for driver in self.drivers.values():
            driver.release.set()


def restart(service: str, meant: Incarnation | None, now: Instant, number: int) -> RestartService:
    """Make an action."""
    return RestartService(
        id=f"a-{number}",
        service=service,
        incarnation=meant,
        trigger=Trigger.MANUAL,
        reason="a person asked",
        decided=now,
        deadline_s=60.0,
    )


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a bench and release its drivers at the end."""
    made = Bench()
    yield made
    made.end()


def test_a_restart_is_carried_out_once(bench: Bench) -> None:
    """The driver gets one order for the incarnation that runs; the outcome says how it went."""
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), OLD
    bench.restart("a")
    outcome = bench.outcome()
    assert outcome == Outcome(
        action_id="a-1", service="a", kind=OutcomeKind.DONE, message="done as told", stop_s=0.5
    )
    orders = bench.drivers["a"].orders
    assert [(o.incarnation, o.reason, o.deadline_s) for o in orders] == [
        (OLD, "a person asked", 60.0)
    ]


def test_another_incarnation_is_never_restarted(bench: Bench) -> None:
    """Look again, then act: what was meant has gone, so nothing is done."""
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), NEW
    bench.restart("a", meant=OLD)
    assert (bench.outcome().kind, bench.drivers["a"].orders) == (OutcomeKind.STALE, [])


def test_a_start_of_what_already_runs_does_nothing(bench: Bench) -> None:
    """A service that came back by itself is not started a second time."""
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), NEW
    bench.restart("a", meant=None)
    assert (bench.outcome().kind, bench.drivers["a"].orders) == (OutcomeKind.STALE, [])


def test_what_does_not_run_is_left_to_the_driver(bench: Bench) -> None:
    """Decided while nothing ran, the order says so; `child` and `command` start it."""
    bench.drivers["a"] = ScriptedDriver()
    bench.restart("a", meant=None)
    assert bench.outcome().kind is OutcomeKind.DONE
    assert [order.incarnation for order in bench.drivers["a"].orders] == [None]


def test_what_has_ended_since_is_left_to_whoever_starts_it(bench: Bench) -> None:
    """A crash between decision and act is being repaired by somebody: no second restart."""
    bench.drivers["a"] = ScriptedDriver()
    bench.restart("a", meant=OLD)
    assert (bench.outcome().kind, bench.drivers["a"].orders) == (OutcomeKind.STALE, [])


def test_a_container_is_the_same_by_its_token(bench: Bench) -> None:
    """Where a manager has its own identity for a run, that alone decides."""
    bench.drivers["a"] = ScriptedDriver()
    bench.here["a"] = Incarnation(boot_id="b", pid=99, start_ticks=9, token="c0ffee")
    bench.restart("a", meant=Incarnation(boot_id="b", pid=10, start_ticks=100, token="c0ffee"))
    assert bench.outcome().kind is OutcomeKind.DONE


@pytest.mark.parametrize(
    ("error", "permanent", "message"),
    [
        (DriverError("no such bus", permanent=True), True, "no such bus"),
        (DriverError("busy"), False, "busy"),
        (KeyError("oops"), False, "KeyError: 'oops'"),
    ],
)
def test_a_failing_driver_is_an_outcome(
    bench: Bench, error: Exception, permanent: bool, message: str
) -> None:
    """Whatever a driver raises comes back as FAILED, with its words, and the pool lives on."""
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(error=error), OLD
    bench.restart("a")
    outcome = bench.outcome()
    assert (outcome.kind, outcome.permanent, outcome.message) == (
        OutcomeKind.FAILED,
        permanent,
        message,
    )


def test_without_a_driver_nobody_acts(bench: Bench) -> None:
    """A service without driver answers at once, and permanently."""
    bench.restart("a")
    outcome = bench.outcome()
    assert (outcome.kind, outcome.permanent) == (OutcomeKind.FAILED, True)


def test_what_cannot_be_looked_at_is_not_touched(bench: Bench) -> None:
    """An unreadable /proc just before acting fails the restart; unknown is not `the same`."""
    bench.drivers["a"], bench.unreadable = ScriptedDriver(), "cannot read /proc"
    bench.restart("a")
    assert (bench.outcome().kind, bench.drivers["a"].orders) == (OutcomeKind.FAILED, [])


def test_an_action_past_its_deadline_is_not_begun(bench: Bench) -> None:
    """The policy decides afresh after the deadline, so the old decision must not act any more."""
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), OLD
    late = restart("a", OLD, bench.clock.now(), 1)
    bench.clock.advance(61)
    bench.executor.submit(late)
    assert (bench.outcome().kind, bench.drivers["a"].orders) == (OutcomeKind.FAILED, [])


def test_one_service_is_restarted_by_one_thread_at_a_time(bench: Bench) -> None:
    """A second restart while one is in flight is refused at once; the first goes on."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True)
    bench.here["a"] = OLD
    bench.restart("a", number=1)
    assert driver.began.wait(PATIENCE_S)
    bench.restart("a", number=2)
    refused = bench.outcome()
    assert (refused.action_id, refused.kind) == ("a-2", OutcomeKind.FAILED)
    assert "in flight" in refused.message
    driver.release.set()
    assert (bench.outcome().action_id, len(driver.orders)) == ("a-1", 1)


def test_a_wait_for_a_manager_s_word_gives_way_to_the_next_restart(bench: Bench) -> None:
    """The new run was seen before the manager told of it, and has to be restarted already."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True, managed=True)
    bench.here["a"] = OLD
    bench.restart("a", number=1)
    assert driver.began.wait(PATIENCE_S)
    bench.restart("a", number=2)
    assert bench.outcome().action_id == "a-1"
    driver.release.set()
    assert (bench.outcome().action_id, len(driver.orders)) == ("a-2", 2)


def test_a_slow_restart_delays_no_other_service(bench: Bench) -> None:
    """Services are independent of each other."""
    bench.drivers.update(a=ScriptedDriver(hold=True), b=ScriptedDriver())
    bench.here.update(a=OLD, b=OLD)
    bench.restart("a")
    assert bench.drivers["a"].began.wait(PATIENCE_S)
    bench.restart("b", number=2)
    assert bench.outcome().service == "b"


def test_the_pool_is_bounded(bench: Bench) -> None:
    """Six restarts at once take four threads, which are all daemons, and all get done."""
    for i in range(6):
        bench.drivers[f"s{i}"], bench.here[f"s{i}"] = ScriptedDriver(hold=True), OLD
        bench.restart(f"s{i}", number=i)
    for i in range(4):
        assert bench.drivers[f"s{i}"].began.wait(PATIENCE_S)
    acting = [t for t in threading.enumerate() if t.name == "leakguard-act"]
    assert (len(acting), all(t.daemon for t in acting)) == (4, True)
    assert [bench.drivers[f"s{i}"].orders for i in (4, 5)] == [[], []]
    bench.end()
    assert sorted(bench.outcome().service for _ in range(6)) == [f"s{i}" for i in range(6)]


def test_health_checks_leave_room_for_restarts(bench: Bench) -> None:
    """Gates that stay closed hold at most half the threads."""
    for i in range(5):
        bench.health[f"h{i}"] = HealthSpec(tcp="127.0.0.1:1", every_s=30.0)
        bench.executor.submit(CheckHealth(id=f"c{i}", service=f"h{i}", within_s=30.0))
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), OLD
    bench.restart("a")
    assert bench.outcome().service == "a"
    bench.executor.shutdown(0.0)


def test_a_restart_ends_the_health_check_of_its_service(bench: Bench) -> None:
    """A service that has to go is not asked for its health any longer."""
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), OLD
    bench.health["a"] = HealthSpec(tcp="127.0.0.1:1", every_s=30.0)
    bench.executor.submit(CheckHealth(id="c", service="a", within_s=60.0))
    bench.restart("a")
    kinds = {bench.outcome().kind, bench.outcome().kind}
    assert kinds == {OutcomeKind.UNHEALTHY, OutcomeKind.DONE}


def test_without_a_gate_a_service_is_healthy(bench: Bench) -> None:
    """A gate that a reload took away passes."""
    bench.executor.submit(CheckHealth(id="c", service="a", within_s=1.0))
    assert bench.outcome().kind is OutcomeKind.HEALTHY


def test_a_reload_counts_from_the_next_action_on(bench: Bench) -> None:
    """`replace` brings other drivers without disturbing what runs."""
    old = bench.drivers["a"] = ScriptedDriver(hold=True)
    bench.here["a"] = OLD
    bench.restart("a")
    assert old.began.wait(PATIENCE_S)
    new = ScriptedDriver()
    bench.executor.replace({"a": new}, {})
    old.release.set()
    assert bench.outcome().kind is OutcomeKind.DONE
    bench.restart("a", number=2)
    assert (bench.outcome().action_id, len(old.orders), len(new.orders)) == ("a-2", 1, 1)


def test_shutdown_waits_for_a_restart_of_our_own(bench: Bench) -> None:
    """A stop sequence that began is finished within the grace, and leaves nothing in doubt."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True)
    bench.here["a"] = OLD
    bench.restart("a")
    assert driver.began.wait(PATIENCE_S)
    threading.Timer(0.1, driver.release.set).start()
    assert bench.executor.shutdown(30.0) == ()
    assert bench.outcome().kind is OutcomeKind.DONE


def test_shutdown_does_not_wait_for_a_manager(bench: Bench) -> None:
    """What systemd or Docker completes without us is left in doubt at once."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True, managed=True)
    bench.here["a"] = OLD
    bench.restart("a")
    assert driver.began.wait(PATIENCE_S)
    assert bench.executor.shutdown(1e9) == ("a",)


def test_a_second_signal_cuts_the_shutdown_short(bench: Bench) -> None:
    """`hurry` ends the wait; the driver is told by its `cancelled` event."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True)
    bench.here["a"] = OLD
    bench.restart("a")
    assert driver.began.wait(PATIENCE_S)
    assert bench.executor.shutdown(1e9, hurry=lambda: True) == ("a",)
    assert driver.orders[0].cancelled.is_set()


def test_nothing_begins_after_shutdown(bench: Bench) -> None:
    """Later actions are refused with a reason."""
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), OLD
    bench.executor.shutdown(0.0)
    bench.restart("a")
    assert (bench.outcome().kind, bench.drivers["a"].orders) == (OutcomeKind.FAILED, [])


def hooked(code: str) -> Errands:
    """Make the errands of service `a`: one hook before a restart that is a Python program."""
    hook = HookSpec(command=(sys.executable, "-c", code), within_s=30.0)
    plan = ServicePlan(
        rules=ServiceRules(name="a"),
        target=PluginSpec(key="pid"),
        errands=ErrandPlan(before=(hook,)),
    )
    clock = FakeClock()
    whole = Plan(host="h", services=(plan,))
    return Errands(whole, clock, Children(run_here, clock), HookOutput(StatePlan()))


@pytest.mark.parametrize("code", ["pass", "raise SystemExit(1)"], ids=["well", "failed"])
def test_hooks_come_before_the_driver_and_never_stop_it(code: str) -> None:
    """What came of them is known before anything that the driver does can be seen."""
    bench = Bench(errands=hooked(code))
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), OLD
    bench.restart("a")
    prepared, done = bench.outcome(), bench.outcome()
    assert (prepared.kind, [one.ok for one in prepared.told]) == (
        OutcomeKind.PREPARED,
        [code == "pass"],
    )
    assert (done.kind, len(bench.drivers["a"].orders)) == (OutcomeKind.DONE, 1)


def test_what_a_failing_driver_leaves_carries_the_hooks_too() -> None:
    """The dump that was taken is not lost with the restart."""
    bench = Bench(errands=hooked("pass"))
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(error=DriverError("no")), OLD
    bench.restart("a")
    assert [bench.outcome().kind for _ in range(2)] == [OutcomeKind.PREPARED, OutcomeKind.FAILED]


def test_after_the_hooks_it_looks_again(tmp_path: Path) -> None:
    """A service that ended by itself meanwhile is not restarted a second time."""
    bench = Bench(errands=hooked(f"import pathlib; pathlib.Path({str(tmp_path / 'x')!r}).touch()"))
    bench.drivers["a"], bench.here["a"] = ScriptedDriver(), OLD
    locate = bench.locate

    def look(service: str) -> Location | None:
        return Location(root=NEW) if (tmp_path / "x").exists() else locate(service)

    bench.executor = Executor(
        drivers=bench.drivers, post=bench.posted.put, locate=look, clock=bench.clock,
        children=Children(run_here, bench.clock), health={}, errands=bench.errands,
    )  # fmt: skip
    bench.restart("a")
    assert [bench.outcome().kind for _ in range(2)] == [OutcomeKind.PREPARED, OutcomeKind.STALE]
    assert bench.drivers["a"].orders == []


def test_limits_are_bent_in_the_cgroup_where_the_driver_cannot(tmp_path: Path) -> None:
    """One outcome, as of every action; nothing is changed where nobody said where cgroups are."""
    (tmp_path / "memory.limit_in_bytes").write_text("4096")
    bench = Bench(drivers={"a": ScriptedDriver()}, here={"a": OLD})
    order = BendLimits(
        id="i-1", service="a", limits=MemoryLimits(max_bytes=8192), place=str(tmp_path)
    )
    bench.executor.submit(order)
    refused = bench.posted.get(timeout=PATIENCE_S)
    assert (refused.kind, refused.message) == (OutcomeKind.FAILED, "limits are not changed here")
    bench.executor.cgroups = CgroupFs(ProcFs(str(tmp_path)), str(tmp_path))
    bench.executor.submit(order)
    assert bench.posted.get(timeout=PATIENCE_S).kind is OutcomeKind.DONE
    assert (tmp_path / "memory.limit_in_bytes").read_text() == "8192"
    bench.executor.submit(LookUpLimits(id="i-2", service="a"))
    assert bench.posted.get(timeout=PATIENCE_S).kind is OutcomeKind.FAILED


# ---- dependents


def stop_of(bench: Bench) -> StopService:
    """Make an order to stop `a`."""
    return StopService(
        id="s-1", service="a", reason="db is restarted", trigger=Trigger.MANUAL,
        decided=bench.clock.now(), deadline_s=60.0,
    )  # fmt: skip


def start_of(bench: Bench) -> StartService:
    """Make an order to start `a`."""
    return StartService(
        id="s-2", service="a", reason="db is restarted", decided=bench.clock.now(), deadline_s=60.0
    )


def test_a_dependent_is_stopped_and_started(bench: Bench) -> None:
    """Whatever run of it is there: it is to be down, and then to be up."""
    driver = bench.drivers["a"] = ScriptedDriver()
    bench.here["a"] = NEW
    bench.executor.submit(stop_of(bench))
    assert bench.outcome().kind is OutcomeKind.DONE
    del bench.here["a"]
    bench.executor.submit(start_of(bench))
    assert bench.outcome().action_id == "s-2"
    assert [(v, o.incarnation) for v, o in zip(driver.verbs, driver.orders, strict=True)] == [
        ("stop", NEW),
        ("start", None),
    ]


def test_a_start_waits_for_the_stop_before_it_and_cuts_it_short(bench: Bench) -> None:
    """What hangs in a stop must not hold the start back, nor come after it."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True)
    bench.executor.submit(stop_of(bench))
    assert driver.began.wait(PATIENCE_S)
    bench.executor.submit(start_of(bench))
    assert bench.outcome().action_id == "s-1"
    driver.release.set()
    assert bench.outcome().action_id == "s-2"
    assert driver.verbs == ["stop", "start"]


def test_a_start_that_waits_for_its_turn_is_carried_out_at_the_end(bench: Bench) -> None:
    """Nobody else would start what leakguard has stopped."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True)
    driver.ignores_cancel = True
    bench.executor.submit(stop_of(bench))
    assert driver.began.wait(PATIENCE_S)
    bench.executor.submit(start_of(bench))

    def stop_ends() -> bool:
        driver.release.set()
        return False

    assert bench.executor.shutdown(PATIENCE_S, stop_ends) == ()
    assert driver.verbs == ["stop", "start"]
    assert [bench.outcome().kind for _ in range(2)] == [OutcomeKind.DONE] * 2


def test_a_start_that_has_no_turn_by_the_end_is_given_up(bench: Bench) -> None:
    """The next daemon reads that it was ordered."""
    driver = bench.drivers["a"] = ScriptedDriver(hold=True, managed=True)
    driver.ignores_cancel = True
    bench.executor.submit(stop_of(bench))
    assert driver.began.wait(PATIENCE_S)
    bench.executor.submit(start_of(bench))
    assert bench.executor.shutdown(0.0) == ("a",)
    refused = bench.outcome()
    assert (refused.action_id, refused.kind) == ("s-2", OutcomeKind.FAILED)
    driver.release.set()
    assert bench.outcome().action_id == "s-1"
    assert driver.verbs == ["stop"]


def test_a_stop_that_comes_too_late_is_not_begun(bench: Bench) -> None:
    """Its restart was given up by then."""
    driver, late = ScriptedDriver(), stop_of(bench)
    bench.drivers["a"] = driver
    bench.clock.advance(61)
    bench.executor.submit(late)
    assert (bench.outcome().kind, driver.verbs) == (OutcomeKind.FAILED, [])
