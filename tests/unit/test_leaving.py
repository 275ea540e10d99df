"""Children whose service left the configuration are ended; of those that stay people are told."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from leakguard.core.decision import RestartService
from leakguard.core.engine import Notice
from leakguard.core.errors import DriverError
from leakguard.core.policy import Trigger
from leakguard.core.sample import Incarnation
from leakguard.linux.children import Children, ChildSpec, run_here
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.executor import Executor
from leakguard.runtime.leaving import Leaving
from leakguard.testing.drivers import ScriptedDriver

SLEEPER = ("sleep", "60")
PATIENCE_S = 20.0


class Owner(ScriptedDriver):
    """A driver that starts what it restarts, and ends it as the test says."""

    starts: ClassVar[bool] = True

    def __init__(self, children: Children, service: str, *, refuses: bool = False) -> None:
        super().__init__(hold=True)
        self._children, self._service, self._refuses = children, service, refuses

    def stop_for_good(self, cancelled: threading.Event, first: str = "") -> None:
        """End the child, or refuse."""
        if self._refuses:
            raise DriverError("not allowed")
        if self._children.find(self._service) is not None:
            self._children.signal(self._service, 9)
        while self._children.find(self._service) is not None:
            cancelled.wait(0.01)


@dataclass
class Bench:
    """Real children, and what people are told."""

    children: Children = field(default_factory=lambda: Children(run_here, SystemClock()))
    notices: list[Notice] = field(default_factory=list)
    drivers: dict[str, Owner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.executor = Executor(
            drivers=self.drivers,
            post=lambda _: None,
            locate=lambda _: None,
            clock=SystemClock(),
            children=self.children,
            health={},
        )
        self.leaving = Leaving(self.children, self.executor, self.notices.append)

    def start(self, service: str, *, refuses: bool = False) -> Incarnation:
        """Start a child."""
        self.drivers[service] = Owner(self.children, service, refuses=refuses)
        return self.children.start(service, ChildSpec(argv=SLEEPER))

    def end(self, service: str) -> None:
        """End a child, and reap it."""
        if self.children.find(service) is None:
            return
        self.children.signal(service, 9)
        wait = threading.Event()
        while self.children.find(service) is not None:
            wait.wait(0.01)

    def wait_for_notices(self, count: int) -> None:
        """Wait until people were told so much."""
        wait = threading.Event()
        for _ in range(int(PATIENCE_S / 0.01)):
            if len(self.notices) >= count:
                return
            wait.wait(0.01)
        pytest.fail(f"told {self.notices}")

    def finish(self) -> None:
        """Wait for all."""
        self.leaving.finish(threading.Event())


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a bench and leave nothing running."""
    made = Bench()
    yield made
    for service, driver in made.drivers.items():
        driver.release.set()
        made.end(service)
    made.finish()


def test_what_left_is_ended_and_what_stays_goes_on(bench: Bench) -> None:
    """Each by its own stop sequence; an entry with several slots is one entry."""
    gone, stays, slot = (bench.start(name) for name in ("gone", "stays", "many:2"))
    assert bench.leaving.begin(bench.drivers, {"stays", "many"}) == (f"gone ({gone})",)
    bench.finish()
    found = [bench.children.find(name) for name in ("gone", "stays", "many:2")]
    assert (found, bench.notices) == ([None, stays, slot], [])


def test_what_leakguard_did_not_start_is_left_alone(bench: Bench) -> None:
    """A service of somebody else is only no longer guarded."""
    assert bench.leaving.begin({"other": ScriptedDriver()}, ()) == ()


def test_what_had_ended_is_not_named(bench: Bench) -> None:
    """There is nothing to end."""
    bench.drivers["gone"] = Owner(bench.children, "gone")
    assert bench.leaving.begin(bench.drivers, ()) == ()


def test_what_does_not_end_is_told(bench: Bench) -> None:
    """With its pid, and that nobody guards it any more."""
    running = bench.start("gone", refuses=True)
    bench.leaving.begin(bench.drivers, ())
    bench.finish()
    (notice,) = bench.notices
    assert notice.kind == "ServiceCannotAct"
    assert notice.message == (
        f"{running} of gone could not be ended: not allowed; it is no longer in the configuration "
        "and runs on unguarded: end it by hand"
    )


def test_when_it_ends_after_all_that_is_told_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problem is over."""
    monkeypatch.setattr("leakguard.runtime.leaving.LOOK_AGAIN_S", 0.01)
    running = bench.start("gone", refuses=True)
    bench.leaving.begin(bench.drivers, ())
    bench.wait_for_notices(1)
    bench.children.signal("gone", 9)
    bench.wait_for_notices(2)
    assert [n.kind for n in bench.notices] == ["ServiceCannotAct", "ServiceCanAct"]
    assert bench.notices[1].message == f"{running} of gone has ended after all"


def test_without_a_thread_it_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better than silence."""
    bench.start("gone")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        bench.leaving.begin(bench.drivers, ())
    assert [n.kind for n in bench.notices] == ["ServiceCannotAct"]


def test_a_restart_under_way_is_cut_off_first(bench: Bench) -> None:
    """What it would start would belong to nobody."""
    driver = bench.drivers["gone"] = Owner(bench.children, "gone")
    bench.executor.submit(
        RestartService(
            id="a-1",
            service="gone",
            incarnation=None,
            trigger=Trigger.MANUAL,
            reason="",
            decided=SystemClock().now(),
            deadline_s=60.0,
        )
    )
    assert driver.began.wait(PATIENCE_S)
    assert bench.leaving.begin(bench.drivers, ()) == ("gone (being restarted)",)
    bench.finish()
    assert driver.orders[0].cancelled.is_set()


def test_what_a_second_reload_brings_back_is_not_ended(bench: Bench) -> None:
    """While the restart that is cut off still holds it."""
    running = bench.start("gone")
    driver = bench.drivers["gone"]
    driver.ignores_cancel = True
    bench.executor.submit(
        RestartService(
            id="a-1",
            service="gone",
            incarnation=None,
            trigger=Trigger.MANUAL,
            reason="",
            decided=SystemClock().now(),
            deadline_s=60.0,
        )
    )
    assert driver.began.wait(PATIENCE_S)
    bench.leaving.begin(bench.drivers, ())
    bench.leaving.begin({}, {"gone"})
    driver.release.set()
    bench.finish()
    assert bench.children.find("gone") == running
