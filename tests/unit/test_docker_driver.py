"""The driver `docker`: what it orders of an engine, and when it leaves a container alone."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from leakguard import plugins
from leakguard.core.errors import DriverError
from leakguard.core.plan import PluginSpec
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import MIB
from leakguard.drivers.base import Driver, DriverContext, MemoryLimits, RestartOrder
from leakguard.linux.children import Children, run_here
from leakguard.linux.engine_api import Engine
from leakguard.linux.procfs import ProcFs
from leakguard.testing.clock import FakeClock
from leakguard.testing.engine import FakeContainer, FakeEngine
from leakguard.testing.files import BOOT_ID, ProcFiles

WEB = "a" * 64
HERE = Incarnation(boot_id=BOOT_ID, pid=10, start_ticks=100)


class Machine:
    """A /proc of files in which the container `web` is pid 10, and its engine."""

    def __init__(self, folder: Path) -> None:
        self.files = ProcFiles(folder / "proc")
        self.files.add(10, "app", cgroups=f"0::/docker/{WEB}\n")
        self.web = FakeContainer(id=WEB, name="web", pid=10)
        self.engine = FakeEngine(folder / "engine.sock", self.web)
        self.location: Location | None = Location(root=HERE)

    def driver(
        self, target: PluginSpec | None = None, member: str = "", **options: object
    ) -> Driver:
        """Make a driver as the daemon does; by default for a target that names the container."""
        clock, proc = FakeClock(), ProcFs(str(self.files.root))
        named = PluginSpec(
            key="container", options={"name": "web", "socket": str(self.engine.socket)}
        )
        context = DriverContext(
            service="app",
            proc=proc,
            children=Children(run_here, clock, proc),
            clock=clock,
            locate=lambda: self.location,
            member=member,
            target=target or named,
        )
        made = plugins.load("drivers", "docker").make(options, context)
        assert isinstance(made, Driver)
        return made

    def refusal(self, order: RestartOrder) -> DriverError:
        """Give the error of a restart that is not done."""
        with pytest.raises(DriverError) as caught:
            self.driver().restart(order)
        return caught.value


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Give a machine with one container that runs."""
    made = Machine(tmp_path)
    with made.engine:
        yield made


def order(incarnation: Incarnation | None = HERE) -> RestartOrder:
    """Make an order."""
    return RestartOrder(
        incarnation=incarnation, reason="a test", deadline_s=60.0, cancelled=Event()
    )


def times(machine: Machine) -> list[str]:
    """Give the stop time-outs that were ordered."""
    return [one.query["t"] for one in machine.engine.orders]


def test_one_order_for_one_restart(machine: Machine) -> None:
    """With the stop time-out that the container was made with."""
    machine.web.stop_timeout = 45
    machine.driver().restart(order())
    assert (machine.engine.verbs(), times(machine)) == (["restart web"], ["45"])


def test_whose_stop_time_out_counts(machine: Machine) -> None:
    """The option's, else the label's, else the container's own; a bad label's does not."""
    machine.driver().restart(order())
    for label in ("90s", "soon"):
        machine.web.labels = {"leakguard.stop-timeout": label}
        machine.driver().restart(order())
    machine.driver(stop_timeout=120.0).restart(order())
    assert times(machine) == ["10", "90", "10", "120"]


def test_a_stop_that_takes_long_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request lasts longer than the stop, whatever the deadline: else it would look failed."""
    waited: list[float] = []

    def note(engine: Engine, request: Any, /, *args: Any) -> Any:  # noqa: ANN401  as the original
        waited.append(request.within_s)
        return original(engine, request, *args)

    original = Engine._exchange  # noqa: SLF001  the wait is not to be waited for
    monkeypatch.setattr(Engine, "_exchange", note)
    machine.web.stop_timeout = 240
    machine.driver().restart(order())
    assert max(waited) == 270.0


@pytest.mark.parametrize(
    ("target", "member"),
    [
        (PluginSpec(key="container", options={"label": "x"}), "web"),
        (PluginSpec(key="cmdline", options={"pattern": "x"}), ""),
        (PluginSpec(key="pidfile", options={"path": "/x", "name": "not-a-container"}), ""),
    ],
)
def test_the_container_is_known_without_naming_it(
    machine: Machine, target: PluginSpec, member: str
) -> None:
    """From the match of a label, or from the cgroup of the process that another target found."""
    driver = machine.driver(target, member, socket=str(machine.engine.socket))
    driver.restart(order())
    assert machine.engine.verbs() == ["restart web"]


def test_a_process_outside_of_containers_is_refused(machine: Machine) -> None:
    """The driver of another manager is meant."""
    machine.files.write("10/cgroup", "0::/system.slice/app.service\n")
    driver = machine.driver(PluginSpec(key="cmdline"), socket=str(machine.engine.socket))
    with pytest.raises(DriverError, match="runs in no container") as caught:
        driver.restart(order())
    assert caught.value.permanent is True


def test_another_run_than_the_one_that_was_meant_is_left_alone(machine: Machine) -> None:
    """The engine's own restart was faster: a second one would be one too many."""
    machine.web.pid = 11
    assert "runs as pid 11, not 10: nothing was done" in str(machine.refusal(order()))
    machine.web.pid = 10
    machine.files.add(10, "app", start=777)
    assert "has ended: nothing was done" in str(machine.refusal(order()))
    assert machine.engine.orders == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("restarting", "waits before it starts it again"),
        ("exited", "has ended by itself"),
        ("paused", "docker unpause"),
        ("removing", "is being removed"),
    ],
)
def test_states_in_which_nothing_is_ordered(machine: Machine, status: str, said: str) -> None:
    """What the engine is about to do itself is not done twice."""
    machine.web.status = status
    assert said in str(machine.refusal(order()))
    assert machine.engine.orders == []


def test_a_container_that_is_gone(machine: Machine) -> None:
    """Compose may make it anew: trying again can help."""
    machine.engine.containers.clear()
    error = machine.refusal(order())
    assert ("no container 'web'" in str(error), error.permanent) == (True, False)


def test_what_does_not_run_is_started(machine: Machine) -> None:
    """And not restarted; what runs already is left alone."""
    assert "runs already" in str(machine.refusal(order(None)))
    machine.web.status = "exited"
    machine.driver().restart(order(None))
    assert machine.engine.verbs() == ["start web"]


def test_stop_and_start_are_two_orders(machine: Machine) -> None:
    """Nobody starts it between them."""
    driver = machine.driver()
    driver.stop(order())
    driver.start(order(None))
    assert (type(driver).stops, machine.engine.verbs()) == (True, ["stop web", "start web"])


def test_a_container_that_would_be_removed_is_not_stopped(machine: Machine) -> None:
    """After `docker run --rm` there would be nothing to start."""
    machine.web.auto_remove = True
    with pytest.raises(DriverError, match="--rm"):
        machine.driver().stop(order())
    assert machine.engine.orders == []


def test_a_limit_is_raised_and_given_back(machine: Machine) -> None:
    """What may be swapped beside it stays the same."""
    machine.web.memory, machine.web.swap = 100 * MIB, 150 * MIB
    driver = machine.driver()
    before = driver.limits()
    driver.bend(MemoryLimits(max_bytes=200 * MIB))
    bent = (machine.web.memory, machine.web.swap)
    driver.bend(before)
    assert bent == (200 * MIB, 250 * MIB)
    assert (machine.web.memory, machine.web.swap) == (100 * MIB, 150 * MIB)


def test_podman_has_an_update_of_its_own(machine: Machine) -> None:
    """Where its Docker API has none."""
    machine.engine.unknown = frozenset({"update"})
    machine.web.memory = 100 * MIB
    machine.driver().bend(MemoryLimits(max_bytes=200 * MIB))
    assert machine.engine.orders[-1].body == {"memory": {"limit": 200 * MIB, "swap": -1}}


def test_no_limit_is_given_back_too(machine: Machine) -> None:
    """Engines take no limit away; the kernel's greatest stands for none."""
    driver = machine.driver()
    before = driver.limits()
    driver.bend(MemoryLimits(max_bytes=64 * MIB))
    driver.bend(before)
    assert (before, machine.web.memory) == (MemoryLimits(), 2**63 - 4096)
    assert driver.limits() == MemoryLimits()


def test_an_engine_has_no_memory_high(machine: Machine) -> None:
    """What it cannot do is refused, and nothing is changed."""
    with pytest.raises(DriverError, match="leave high out"):
        machine.driver().bend(MemoryLimits(high_bytes=MIB))
    assert machine.engine.orders == []


def test_a_rehearsal_acts_on_nothing(machine: Machine) -> None:
    """It also finds out whether orders are let through, without an order."""
    driver = machine.driver()
    assert driver.rehearse(machine.location) == ()
    assert machine.engine.orders == []


def test_a_dry_run_tells_the_stop_time_out_that_a_restart_orders(machine: Machine) -> None:
    """Whoever set it; without an answer of the engine what the target saw; whom it ends is all."""
    location = Location(root=HERE, stop_within_s=7.0)
    driver, told = machine.driver(), []
    told.append(driver.ending(location))
    driver.rehearse(machine.location)
    told.append(driver.ending(location))
    machine.web.labels = {"leakguard.stop-timeout": "90s"}
    driver.rehearse(machine.location)
    told += [driver.ending(location), machine.driver(stop_timeout=120.0).ending(location)]
    assert [ending.within_s for ending in told] == [7.0, 10.0, 90.0, 120.0]
    assert ({ending.pids for ending in told}, machine.engine.orders) == ({None}, [])


def test_a_rehearsal_finds_a_missing_right(machine: Machine) -> None:
    """A proxy that only lets questions pass is found out before a restart is needed."""
    machine.engine.forbidden = frozenset({"restart"})
    driver = machine.driver()
    (problem,) = driver.rehearse(machine.location)
    assert "forbids `POST /v1.41/containers/" in problem
    machine.engine.forbidden = frozenset()
    assert driver.rehearse(machine.location) == ()


def test_a_rehearsal_compares_container_and_service(machine: Machine) -> None:
    """A container that is named for another service's process is found out."""
    (problem,) = machine.driver().rehearse(
        Location(root=Incarnation(boot_id=BOOT_ID, pid=30, start_ticks=1))
    )
    assert "runs as pid 10, the service as 30" in problem


def test_what_a_rehearsal_saw_is_refused_without_asking(machine: Machine) -> None:
    """The loop asks in every tick; until the next rehearsal the state stands."""
    driver = machine.driver()
    machine.web.status = "paused"
    driver.rehearse(None)
    machine.engine.paths.clear()
    assert ("paused" in driver.refuses(running=True), machine.engine.paths) == (True, [])
    machine.web.status = "running"
    driver.rehearse(None)
    assert driver.refuses(running=True) == ""


@pytest.mark.parametrize(
    ("policy", "retries", "said"),
    [
        ("no", 0, "the engine, when leakguard restarts it (restart policy no)"),
        ("always", 0, "the engine; also when it ends by itself (restart policy always)"),
        (
            "on-failure",
            5,
            "the engine; also when it fails (restart policy on-failure, at most 5 times in a row)",
        ),
    ],
)
def test_who_starts_it(machine: Machine, policy: str, retries: int, said: str) -> None:
    """The restart policy in words."""
    machine.web.policy, machine.web.retries = policy, retries
    driver = machine.driver()
    driver.rehearse(None)
    assert driver.who_starts() == said


@pytest.mark.parametrize(
    ("verb", "said"), [("restart", "broke off"), ("json", "cannot ask for web")]
)
def test_an_engine_that_ends_in_the_middle(machine: Machine, verb: str, said: str) -> None:
    """One clear error; nothing is ordered again by itself."""
    machine.engine.breaks = frozenset({verb})
    error = machine.refusal(order())
    assert (said in str(error), error.permanent) == (True, False)
    assert machine.engine.orders == []


def test_a_hanging_engine_gets_no_order(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would carry it out when it wakes up, long after anybody wanted it."""
    monkeypatch.setattr("leakguard.linux.engine_api.LOOK_S", 0.2)
    machine.engine.hangs = frozenset({"json"})
    assert "no answer" in str(machine.refusal(order()))
    machine.engine.hangs = frozenset()
    assert machine.engine.orders == []


@pytest.mark.parametrize("options", [{"socket": "ssh://x"}, {"stop_timeout": 2e5}])
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    """What the file alone shows to be wrong."""
    with pytest.raises(ValueError, match=r"engine|stop_timeout"):
        plugins.load("drivers", "docker").make(options, None)
