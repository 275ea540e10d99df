"""Target and driver `systemd` on a real `systemd --user`: over D-Bus, and by systemctl alone."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from leakguard import plugins
from leakguard.core.errors import DriverError, ReadingError, TargetError
from leakguard.core.plan import PluginSpec
from leakguard.core.sample import Location, Scope
from leakguard.core.units import MIB
from leakguard.drivers.base import Driver, DriverContext, Ending, MemoryLimits, RestartOrder
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.linux.systemd_bus import BusWay, NoBus
from leakguard.runtime.clock import SystemClock
from leakguard.targets.base import Target, TargetContext
from tests.integration.user_manager import UserManager
from tests.workloads.guarded import Daemon, until

pytestmark = [pytest.mark.root, pytest.mark.systemd, pytest.mark.timeout(120)]

SLEEPER = "ExecStart=/bin/sh -c 'echo x >> {log}; exec sleep 1000'"
LEAK = Path(__file__).parents[1] / "workloads" / "leak.py"


class Bench:
    """A manager, and what leakguard needs to speak with it."""

    def __init__(self, manager: UserManager, folder: Path) -> None:
        self.manager = manager
        self.folder = folder
        self.proc = ProcFs()
        self.cgroups = CgroupFs(self.proc)
        self.children = Children(run_here, SystemClock())
        self._names: list[str] = []

    def service(self, name: str, *lines: str, unit: str = "", start: bool = True) -> Path:
        """Write and start a service that notes each of its starts; gives the file."""
        log = self.folder / f"{name}.starts"
        text = "\n".join([SLEEPER.format(log=log), *lines])
        self.manager.write(name, text, unit)
        self._names.append(name)
        if start:
            self.manager.systemctl("start", name)
            until(log.exists)
        return log

    def target(self, unit: str) -> Target:
        """Make a target."""
        context = TargetContext(
            service="a", proc=self.proc, cgroups=self.cgroups, children=self.children
        )
        made: Target = plugins.load("targets", "systemd").make(
            {"unit": unit, "user": True}, context
        )
        return made

    def locate(self, unit: str) -> Location:
        """Locate the one match."""
        (location,) = self.target(unit).locate()
        return location

    def driver(self, unit: str, member: str = "", **more: Any) -> Driver:
        """Make the driver that follows from a target."""
        context = DriverContext(
            service="a",
            proc=self.proc,
            children=self.children,
            clock=SystemClock(),
            locate=lambda: None,
            target=PluginSpec(key="systemd", options={"unit": unit, "user": True}),
            member=member,
            **more,
        )
        made: Driver = plugins.load("drivers", "systemd").make({}, context)
        return made

    def asks(self) -> bool:
        """Tell whether a systemctl that was left alone still runs."""
        tree = self.proc.tree(os.getpid())
        return any(self.proc.stat(p).name == "systemctl" for p in tree if p != os.getpid())

    def clear(self) -> None:
        """Stop and forget every service."""
        until(lambda: self.children.reap_orphans() or not self.asks())
        self.manager.systemctl("stop", *self._names, check=False)
        self.manager.systemctl("reset-failed", check=False)
        for name in self._names:
            (self.manager.units / name).unlink(missing_ok=True)
        self.manager.systemctl("daemon-reload")


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserManager]:
    """Run one manager for all tests of this file."""
    made = UserManager(tmp_path_factory.mktemp("systemd"))
    yield made
    made.end()


@pytest.fixture
def bench(manager: UserManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Give a bench that speaks D-Bus."""
    for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, manager.environ[name])
    made = Bench(manager, tmp_path)
    yield made
    made.clear()


@pytest.fixture(params=["bus", "systemctl"])
def either(bench: Bench, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give the bench twice: with the bus, and as on a machine without one."""
    if request.param == "systemctl":
        address = f"unix:path={bench.folder}/no-bus"
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        with pytest.raises(NoBus):
            BusWay(address).unit("a.service")
    return bench


def order(location: Location | None, deadline_s: float = 30.0, **more: Any) -> RestartOrder:
    """Make an order."""
    return RestartOrder(
        incarnation=location.root if location else None,
        reason="a test",
        deadline_s=deadline_s,
        cancelled=more.get("cancelled") or Event(),
    )


def starts(log: Path) -> int:
    """Count the starts that a service noted."""
    return len(log.read_text().split())


@pytest.mark.parametrize("restart", ["always", "no"])
def test_one_service_is_restarted_once_by_its_manager(either: Bench, restart: str) -> None:
    """The neighbour notices nothing; score and cgroup are systemd's own."""
    log = either.service("a.service", f"Restart={restart}", "OOMScoreAdjust=321")
    near = either.service("b.service", f"Restart={restart}")
    old, neighbour = either.locate("a"), either.locate("b.service")
    stopped = either.driver("a").restart(order(old))
    new = either.locate("a.service")
    assert not either.proc.is_running(old.root)
    assert (starts(log), starts(near), either.locate("b").root) == (2, 1, neighbour.root)
    assert new.root.pid == either.manager.pid("a.service")
    assert Path(f"/proc/{new.root.pid}/oom_score_adj").read_text() == "321\n"
    assert (new.scope, new.cgroup_path) == (Scope.CGROUP, old.cgroup_path)
    assert new.cgroup_path.endswith("/a.service")
    assert stopped.stop_s is not None
    assert 0 <= stopped.stop_s < 10
    assert either.manager.show("a.service", "NRestarts") == "0"


def test_no_restart_that_the_start_limit_would_refuse(either: Bench) -> None:
    """The service is left alone, and the message says when it is possible again."""
    limit = "StartLimitBurst=2\nStartLimitIntervalSec=1h"
    name = "limited.service"
    log = either.service(name, unit=limit)
    driver = either.driver(name)
    last = driver.restart(order(either.locate(name)))
    assert "the last start that systemd allows within 1h" in last.message
    location = either.locate(name)
    with pytest.raises(DriverError, match=r"2 starts within 1h .* possible in (59m|1h)") as caught:
        driver.restart(order(location))
    assert (caught.value.permanent, either.locate(name).root) == (False, location.root)
    assert "nothing was done" in str(caught.value)
    assert "StartLimitBurst" in driver.refuses(running=True)
    assert any("StartLimitBurst" in problem for problem in driver.rehearse(location))
    assert starts(log) == 2


def test_a_dry_run_tells_how_long_a_stop_may_take(either: Bench) -> None:
    """TimeoutStopSec of the unit, by what the rehearsal saw; nothing is stopped."""
    log = either.service("slow.service", "TimeoutStopSec=7")
    location, driver = either.locate("slow.service"), either.driver("slow.service")
    assert driver.rehearse(location) == ()
    assert driver.ending(location) == Ending(within_s=7.0)
    assert "stop takes at most 7s" in driver.describe()
    assert (starts(log), either.locate("slow.service").root) == (1, location.root)


def test_what_systemd_started_by_itself_counts_too(either: Bench) -> None:
    """NRestarts tells of starts between two looks."""
    name = "counted.service"
    limit = "StartLimitBurst=3\nStartLimitIntervalSec=1h"
    log = either.service(name, "Restart=always", "RestartSec=10ms", unit=limit)
    driver = either.driver(name)
    for count in (2, 3):
        os.kill(either.manager.pid(name), 9)
        until(partial(_started, log, count))
    location = either.locate(name)
    with pytest.raises(DriverError, match="3 starts within 1h"):
        driver.restart(order(location))
    assert either.proc.is_running(location.root)


def test_what_may_not_be_stopped_by_hand(either: Bench) -> None:
    """It is said by the rehearsal, and refused before anything is stopped."""
    either.service("c.service", unit="RefuseManualStop=yes")
    location, driver = either.locate("c"), either.driver("c")
    assert any("RefuseManualStop" in problem for problem in driver.rehearse(location))
    with pytest.raises(DriverError, match="RefuseManualStop"):
        driver.restart(order(location))
    assert either.locate("c") == location
    either.manager.write("c.service", "ExecStart=/bin/true")


def test_what_may_not_be_started_by_hand(either: Bench) -> None:
    """systemd would stop it and not start it again."""
    either.service("m.service", unit="RefuseManualStart=yes", start=False)
    either.service("starter.service", unit="Wants=m.service")
    location = until(partial(_found, either, "m.service"))
    with pytest.raises(DriverError, match="RefuseManualStart"):
        either.driver("m").restart(order(location))
    assert either.locate("m") == location


def _started(log: Path, count: int) -> bool:
    return starts(log) == count


def _found(bench: Bench, name: str) -> Location | None:
    try:
        return bench.locate(name)
    except TargetError:
        return None


def test_masked_and_unknown_units_are_told(either: Bench) -> None:
    """By name, with the fix; a stopped one says its state."""
    either.service("d.service", start=False)
    with pytest.raises(TargetError, match=r"d.service does not run, systemd says inactive"):
        either.locate("d")
    with pytest.raises(TargetError, match=r"systemd knows no no-such.service"):
        either.locate("no-such")
    (either.manager.units / "masked.service").symlink_to("/dev/null")
    either.manager.systemctl("daemon-reload")
    with pytest.raises(TargetError, match=r"systemctl unmask masked\.service"):
        either.locate("masked")
    with pytest.raises(DriverError, match="masked") as caught:
        either.driver("masked").restart(order(None))
    assert caught.value.permanent is True
    (either.manager.units / "masked.service").unlink()


def test_stop_and_start_at_another_time(either: Bench) -> None:
    """Nobody starts it in between, `Restart=always` or not; a second start does nothing."""
    log = either.service("e.service", "Restart=always", "RestartSec=10ms")
    driver, old = either.driver("e"), either.locate("e")
    assert driver.stop(order(old)).stop_s is not None
    with pytest.raises(TargetError, match="does not run"):
        either.locate("e")
    driver.start(order(None))
    assert starts(log) == 2
    assert "already" in driver.start(order(None)).message
    assert either.locate("e").root != old.root


def test_a_stopped_service_is_started_by_a_restart(either: Bench) -> None:
    """A person asked for it."""
    log = either.service("f.service", start=False)
    either.driver("f").restart(order(None))
    assert starts(log) == 1


def test_a_slow_stop_is_waited_for(either: Bench) -> None:
    """systemd is given its time; the time that it took is told."""
    either.service("g.service", "ExecStop=/bin/sleep 1")
    stopped = either.driver("g").restart(order(either.locate("g")))
    assert stopped.stop_s is not None
    assert 0.8 < stopped.stop_s < 10


def test_a_deadline_leaves_the_rest_to_systemd(either: Bench) -> None:
    """The message says so, and the restart is completed; the end of leakguard does the same."""
    log = either.service("h.service", "ExecStop=/bin/sleep 2", "TimeoutStopSec=10s")
    driver, cancelled = either.driver("h", deadline_s=5.0), Event()
    assert any("restart.deadline (5s)" in p for p in driver.rehearse(either.locate("h")))
    with pytest.raises(DriverError, match=r"within 300ms and goes on with it") as caught:
        driver.restart(order(either.locate("h"), 0.3))
    assert caught.value.permanent is False
    until(lambda: starts(log) == 2)
    until(lambda: either.manager.show("h.service", "ActiveState") == "active")
    Timer(0.3, cancelled.set).start()
    with pytest.raises(DriverError, match="systemd completes the restart"):
        driver.restart(order(either.locate("h"), cancelled=cancelled))
    until(lambda: starts(log) == 3)


def test_a_start_that_fails_is_told(either: Bench) -> None:
    """With systemd's own word for it."""
    either.service("i.service", "Type=oneshot\nRemainAfterExit=yes", start=False)
    bad = "Type=notify\nExecStart=/bin/false"
    either.manager.write("i.service", bad)
    with pytest.raises(DriverError, match=r"ended as failed, failed .*systemctl status i.service"):
        either.driver("i").restart(order(None))


def test_another_run_or_another_unit_is_left_alone(either: Bench) -> None:
    """The driver looks again just before it acts."""
    either.service("j.service")
    either.service("k.service")
    j, k = either.locate("j"), either.locate("k")
    with pytest.raises(DriverError, match=r"is not in j.service"):
        either.driver("j").restart(order(k))
    gone = dataclasses.replace(j.root, start_ticks=j.root.start_ticks - 1)
    with pytest.raises(DriverError, match="does not run any more"):
        either.driver("j").restart(order(dataclasses.replace(j, root=gone)))
    assert (either.locate("j"), either.locate("k")) == (j, k)


def test_limits_are_bent_until_the_next_restart(either: Bench) -> None:
    """The kernel's own file follows; a new run has the old limit again."""
    either.service("l.service", "MemoryMax=64M")
    driver, location = either.driver("l"), either.locate("l")
    v1 = Path(location.cgroup_path, "memory.limit_in_bytes").exists()
    limit = Path(location.cgroup_path, "memory.limit_in_bytes" if v1 else "memory.max")
    assert driver.limits() == MemoryLimits(max_bytes=64 * MIB)
    driver.bend(MemoryLimits(max_bytes=96 * MIB))
    assert (int(limit.read_text()), driver.limits().max_bytes) == (96 * MIB, 96 * MIB)
    if v1:
        with pytest.raises(DriverError, match=r"version 1, which know no MemoryHigh"):
            driver.bend(MemoryLimits(high_bytes=32 * MIB, max_bytes=96 * MIB))
    driver.restart(order(location))
    assert (int(limit.read_text()), driver.limits().max_bytes) == (64 * MIB, 64 * MIB)


def test_a_pattern_is_one_service_for_each_unit(either: Bench) -> None:
    """Each goes by its unit's name, and its driver restarts that one alone."""
    for name in ("w@x.service", "w@y.service"):
        either.service(name)
    either.service("other.service")
    found = either.target("w@*").locate()
    assert sorted(one.member for one in found) == ["w@x.service", "w@y.service"]
    x = next(one for one in found if one.member == "w@x.service")
    y = next(one for one in found if one.member == "w@y.service")
    either.driver("w@*.service", member="w@x.service").restart(order(x))
    now = {one.member: one.root for one in either.target("w@*.service").locate()}
    assert (now["w@y.service"], now["w@x.service"] != x.root) == (y.root, True)
    with pytest.raises(TargetError, match="no service that matches"):
        either.target("v@*").locate()


def test_a_manager_that_hangs_up_makes_no_service_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs on is still there; once it has ended, nothing is known."""
    bench.service("o.service")
    target = bench.target("o")
    (location,) = target.locate()

    def deaf(*_: object) -> None:
        raise ReadingError("no answer")

    monkeypatch.setattr("leakguard.linux.systemd_manager.Manager.unit", deaf)
    assert target.locate() == (location,)
    bench.manager.systemctl("stop", "o.service")
    with pytest.raises(ReadingError, match="no answer"):
        target.locate()


def test_check_says_what_surprises(bench: Bench) -> None:
    """None of it hinders a restart."""
    bench.service("p.service", "Restart=no", unit="StartLimitBurst=4\nStartLimitIntervalSec=2min")
    bench.service("q.service", unit="Requires=p.service\nAfter=p.service")
    driver, location = bench.driver("p"), bench.locate("p")
    assert driver.rehearse(location) == ()
    said = "\n".join(driver.cautions(location))
    for words in ("Restart=no", "OOMPolicy=stop", "4 times within 2m", "q.service will be"):
        assert words in said
    assert driver.describe() == (
        "systemctl restart p.service (user manager), stop takes at most 1m 30s"
    )
    assert driver.who_starts() == "systemd (Restart=no)"


LEAKER = (
    f"ExecStart=\nExecStart={sys.executable} -S {LEAK} "
    "--start {start} --rate {rate} --to 400MiB"
)


def daemon(bench: Bench, unit: str, **restart: Any) -> Daemon:
    """Make a daemon that acts on a unit."""
    service = {
        "mode": "act",
        "target": {"systemd": {"unit": unit, "user": True}},
        "sample_every": "500ms",
        "restart": {"grace": "1s", **restart},
    }
    env = {name: bench.manager.environ[name] for name in ("XDG_RUNTIME_DIR", "HOME")}
    return Daemon(bench.folder, {"services": {"leaky": service}}, env=env)


@pytest.mark.parametrize(("restart", "times"), [("always", 2), ("no", 1)])
def test_the_daemon_restarts_a_leaking_unit_before_the_kernel_kills(
    bench: Bench, restart: str, times: int
) -> None:
    """Once for each time that it fills up; its neighbour is the same process afterwards."""
    leaker = LEAKER.format(start="8MiB", rate="4MiB")
    bench.service("r.service", leaker, f"Restart={restart}", "MemoryMax=96M", start=False)
    bench.service("s.service")
    bench.manager.systemctl("start", "r.service")
    neighbour = bench.locate("s").root
    with daemon(bench, "r.service") as guard:
        guard.wait_for("RestartSucceeded", "leaky", count=times, limit_s=80)
        kinds = [event["event"] for event in guard.events(service="leaky")]
    assert not {"OomKillObserved", "ServiceDied", "RestartFailed"} & set(kinds), kinds
    assert kinds.count("RestartDecided") == times
    assert bench.manager.show("r.service", "NRestarts") == "0"
    assert bench.locate("s").root == neighbour


def test_a_unit_that_starts_at_its_limit_is_not_restarted_for_ever(bench: Bench) -> None:
    """`max_restarts`, then one clear alert; the last run is left alone."""
    leaker = LEAKER.format(start="61MiB", rate="1B")
    bench.service("t.service", leaker, "Restart=always", "MemoryMax=70M", start=False)
    bench.manager.systemctl("start", "t.service")
    restart = {"threshold": {"above": "80%"}, "max_restarts": {"count": 2, "per": "1h"}}
    with daemon(bench, "t.service", **restart) as guard:
        guard.wait_for("RestartLimitHit", "leaky", limit_s=60)
        last = bench.locate("t").root
        guard.wait_for("RestartSucceeded", "leaky", count=2)
        Event().wait(3.0)
        assert bench.locate("t").root == last
        kinds = [event["event"] for event in guard.events(service="leaky")]
    assert (kinds.count("RestartSucceeded"), kinds.count("RestartLimitHit")) == (2, 1)
    assert "RestartFailed" not in kinds
