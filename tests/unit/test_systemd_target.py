"""The target and the driver `systemd` on a machine of files, with a manager that is told."""

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from leakguard.core.errors import DriverError, ReadingError, TargetError
from leakguard.core.plan import PluginSpec
from leakguard.core.sample import Incarnation, Scope
from leakguard.drivers.base import DriverContext, MemoryLimits, RestartOrder
from leakguard.drivers.systemd import Options as DriverOptions, SystemdDriver
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.linux.systemd_unit import Unit
from leakguard.targets.base import TargetContext
from leakguard.targets.systemd import Options, SystemdTarget
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import BOOT_ID, CgroupFiles, ProcFiles
from leakguard.testing.systemd import FakeManager

W = Unit(
    name="w.service",
    active_state="active",
    sub_state="running",
    main_pid=10,
    control_group="/system.slice/w.service",
    restart="always",
    start_s=90.0,
    stop_s=90.0,
    kind="notify",
    burst=5,
    interval_s=10.0,
)
GROUP = "/system.slice/w.service"


class Machine:
    """A /proc and cgroups of files; leakguard is pid 2, `w.service` is pid 10."""

    def __init__(self, folder: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = ProcFiles(folder / "proc")
        self.groups = CgroupFiles(folder / "cgroup", version)
        self.version = version
        self.proc = ProcFs(str(self.files.root))
        self.manager = FakeManager(W)
        self.clock = FakeClock()
        for name in ("targets", "drivers"):
            made = f"leakguard.{name}.systemd.Manager"
            monkeypatch.setattr(made, lambda *_args, **_more: self.manager)
        self.put(10, GROUP)

    def put(self, pid: int, group: str, parent: int = 1, start: int = 5) -> None:
        """Let a process run in a group."""
        self.files.add(pid, "worker", parent=parent, start=start)
        v1 = f"4:memory:{group}\n1:name=systemd:{group}\n0::/\n"
        self.files.write(f"{pid}/cgroup", v1 if self.version == 1 else f"0::{group}\n")
        self.groups.add(group, procs=(pid,))

    def target(self, unit: str = "w") -> SystemdTarget:
        """Make a target."""
        return SystemdTarget(
            Options(unit),
            TargetContext(
                service="a",
                proc=self.proc,
                cgroups=CgroupFs(self.proc, str(self.groups.root)),
                children=Children(run_here, self.clock, self.proc),
            ),
        )

    def driver(self, member: str = "", target: PluginSpec | None = None) -> SystemdDriver:
        """Make the driver of `w.service`."""
        return SystemdDriver(
            DriverOptions(),
            DriverContext(
                service="a",
                proc=self.proc,
                children=Children(run_here, self.clock, self.proc),
                clock=self.clock,
                locate=lambda: None,
                target=target or PluginSpec(key="systemd", options={"unit": "w"}),
                member=member,
                deadline_s=200.0,
            ),
        )

    def tell(self, **more: Any) -> None:
        """Have the manager say something else of `w.service`."""
        self.manager.known["w.service"] = replace(W, **more)


@pytest.fixture(params=[1, 2])
def machine(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    """Give a machine with cgroups of version 1, and one of version 2."""
    return Machine(tmp_path, request.param, monkeypatch)


def order(pid: int | None = 10, start: int = 5) -> RestartOrder:
    """Make an order."""
    run = None if pid is None else Incarnation(boot_id=BOOT_ID, pid=pid, start_ticks=start)
    return RestartOrder(incarnation=run, reason="test", deadline_s=200.0, cancelled=Event())


def test_the_main_process_and_its_cgroup(machine: Machine) -> None:
    """The unit's own cgroup is the service."""
    (found,) = machine.target().locate()
    assert (found.root.pid, found.scope, found.member) == (10, Scope.CGROUP, "")
    assert found.cgroup_path == f"{machine.groups.top}{GROUP}"


def test_a_delegated_cgroup_below_the_unit(machine: Machine) -> None:
    """The unit's is taken, not the one that the main process moved to."""
    machine.put(10, f"{GROUP}/payload")
    (found,) = machine.target().locate()
    assert found.cgroup_path == f"{machine.groups.top}{GROUP}"


def test_a_unit_without_memory_cgroup_is_a_tree(machine: Machine) -> None:
    """As those of a user's manager on version 1."""
    shared = "/user.slice"
    machine.put(11, shared)
    text = f"4:memory:{shared}\n1:name=systemd:{shared}/w.service\n0::/\n"
    if machine.version == 2:
        text = f"0::{shared}/w.service\n"
    machine.files.write("11/cgroup", text)
    machine.tell(main_pid=11)
    (found,) = machine.target().locate()
    assert (found.root.pid, found.scope, found.cgroup_path) == (11, Scope.TREE, "")


def test_a_unit_without_main_process(machine: Machine) -> None:
    """The oldest in its cgroup whose parent is outside."""
    machine.files.add(12, "child", parent=10, start=3)
    machine.groups.add(GROUP, procs=(10, 12))
    machine.tell(main_pid=0)
    (found,) = machine.target().locate()
    assert found.root.pid == 10


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"active_state": "failed", "result": "oom-kill"}, r"failed \(oom-kill\).*systemctl start"),
        ({"active_state": "inactive", "sub_state": "dead"}, "does not run"),
        ({"load_state": "masked"}, "systemctl unmask w.service"),
        ({"load_state": "not-found"}, "knows no w.service"),
        ({"load_state": "bad-setting"}, r"cannot read w.service \(bad-setting\)"),
        ({"main_pid": 99}, "has no process"),
        ({"main_pid": 0, "control_group": "/none"}, "has no process"),
    ],
)
def test_what_does_not_run(machine: Machine, said: dict[str, Any], words: str) -> None:
    """What systemd says, and what to do."""
    machine.tell(**said)
    with pytest.raises(TargetError, match=words):
        machine.target().locate()


def test_a_zombie_does_not_run(machine: Machine) -> None:
    """systemd has not reaped it yet."""
    machine.files.add(10, "worker", state="Z", start=5)
    with pytest.raises(TargetError, match="has no process"):
        machine.target().locate()


def test_a_main_process_of_another_namespace(machine: Machine) -> None:
    """The number belongs to somebody else here."""
    machine.put(10, "/system.slice/other.service")
    with pytest.raises(ReadingError, match="PID namespace"):
        machine.target().locate()


def test_leakguard_never_watches_itself(machine: Machine) -> None:
    """Nor as one of several."""
    machine.put(2, GROUP)
    with pytest.raises(TargetError, match="would watch leakguard itself"):
        machine.target().locate()
    with pytest.raises(TargetError, match="no service that matches"):
        machine.target("w*").locate()


def test_a_pattern_gives_each_by_its_name(machine: Machine) -> None:
    """Oldest first; what does not run is left out."""
    machine.put(11, "/system.slice/x.service", start=4)
    machine.manager.known["x.service"] = replace(W, name="x.service", main_pid=11)
    machine.manager.known["y.service"] = replace(W, name="y.service", active_state="failed")
    found = machine.target("*").locate()
    assert [(one.root.pid, one.member) for one in found] == [(11, "x.service"), (10, "w.service")]


def test_a_silent_manager_makes_nothing_unknown(machine: Machine) -> None:
    """What was found and still runs is given; nothing else."""
    target = machine.target()
    found = target.locate()
    machine.manager.silent = True
    assert target.locate() == found
    machine.files.add(10, "worker", start=6)
    with pytest.raises(ReadingError, match="does not answer"):
        target.locate()


def test_a_restart_is_one_job(machine: Machine) -> None:
    """Nothing else is asked for."""
    machine.driver().restart(order())
    assert machine.manager.asked == [("restart", "w.service")]


def test_the_unit_is_the_member_or_the_target_s(machine: Machine) -> None:
    """Without either, or for another target, it has to be named."""
    machine.manager.known["w@1.service"] = replace(W, name="w@1.service")
    machine.put(10, "/system.slice/w@1.service")
    machine.driver(member="w@1.service").restart(order())
    assert machine.manager.asked == [("restart", "w@1.service")]
    with pytest.raises(DriverError, match="which unit"):
        machine.driver(target=PluginSpec(key="cmdline", options={"pattern": "w"}))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"load_state": "masked"}, "masked"),
        ({"load_state": "not-found"}, "file of w.service is gone"),
        ({"load_state": "error"}, "cannot read"),
        ({"refuses_stop": True}, "RefuseManualStop"),
        ({"refuses_start": True}, "RefuseManualStart"),
    ],
)
def test_what_systemd_would_refuse(machine: Machine, said: dict[str, Any], words: str) -> None:
    """It is refused before, for good, and said before it is tried."""
    machine.tell(**said)
    driver = machine.driver()
    with pytest.raises(DriverError, match=words) as caught:
        driver.restart(order())
    assert (caught.value.permanent, machine.manager.asked) == (True, [])
    assert words in driver.refuses(running=True)
    assert any(words in line for line in driver.rehearse(None)) or words == "RefuseManualStop"


def test_the_last_start_is_not_wasted(machine: Machine) -> None:
    """Refused with the time when it is possible; trying again can help."""
    now = machine.clock.now().boot_s
    machine.tell(burst=1, interval_s=600.0, started_us=int((now - 60) * 1e6))
    driver = machine.driver()
    with pytest.raises(DriverError, match="possible in 9m, or at once after systemctl") as caught:
        driver.restart(order())
    assert (caught.value.permanent, machine.manager.asked) == (False, [])
    machine.clock.advance(541)
    assert driver.refuses(running=True) == ""


@pytest.mark.parametrize(
    ("result", "words"), [("failed", "ended as failed"), ("timeout", "ended as timeout"), ("", "")]
)
def test_a_job_that_is_not_done_is_no_success(machine: Machine, result: str, words: str) -> None:
    """It is said as systemd says it; trying again may help."""
    machine.manager.result = result
    with pytest.raises(DriverError, match=words or "goes on with it") as caught:
        machine.driver().restart(order())
    assert caught.value.permanent is False


@pytest.mark.parametrize(("pid", "start"), [(10, 6), (77, 5)])
def test_a_run_that_is_over_is_not_restarted(machine: Machine, pid: int, start: int) -> None:
    """The next one was not meant."""
    with pytest.raises(DriverError, match="does not run any more"):
        machine.driver().restart(order(pid, start))
    assert machine.manager.asked == []


def test_a_process_of_another_unit_is_left_alone(machine: Machine) -> None:
    """The wrong unit was named."""
    machine.put(11, "/system.slice/x.service")
    with pytest.raises(DriverError, match=r"is not in w\.service"):
        machine.driver().restart(order(11))


def test_stop_and_start(machine: Machine) -> None:
    """A transient unit is never stopped, one that runs is not started."""
    driver = machine.driver()
    driver.stop(order())
    driver.start(order(None))
    assert machine.manager.asked == [("stop", "w.service")]
    machine.tell(active_state="inactive")
    assert "stopped already" in driver.stop(order(None)).message
    driver.start(order(None))
    assert machine.manager.asked[1:] == [("start", "w.service")]
    machine.tell(transient=True)
    with pytest.raises(DriverError, match="transient"):
        driver.stop(order())


def test_limits_are_set_back_by_a_restart(machine: Machine) -> None:
    """Those from before the first change; without one nothing is set."""
    machine.tell(max_bytes=100)
    driver = machine.driver()
    driver.bend(MemoryLimits(max_bytes=200))
    machine.tell(max_bytes=200)
    driver.bend(MemoryLimits(max_bytes=300))
    driver.restart(order())
    driver.restart(order())
    kept = [ask for ask in machine.manager.asked if ask[0] == "limit"]
    assert [ask[3] for ask in kept] == [200, 300, 100]


def test_version_1_knows_no_high(machine: Machine) -> None:
    """Refused, rather than set without an effect."""
    limits = MemoryLimits(high_bytes=50, max_bytes=None)
    if machine.version == 2:
        machine.driver().bend(limits)
        assert machine.manager.asked == [("limit", "w.service", 50, None)]
        return
    with pytest.raises(DriverError, match="version 1, which know no MemoryHigh"):
        machine.driver().bend(limits)


def test_a_missing_right_is_found_by_the_rehearsal(machine: Machine) -> None:
    """Before anything is begun."""
    machine.manager.refused = DriverError("uid 7 may not: allow it", permanent=True)
    (location,) = machine.target().locate()
    assert machine.driver().rehearse(location) == ("uid 7 may not: allow it",)


def test_a_short_deadline_is_told(machine: Machine) -> None:
    """A start is waited for only where the unit says when it is ready."""
    machine.tell(stop_s=150.0)
    (said,) = machine.driver().rehearse(None)
    assert "is shorter than systemd may take to stop and start w.service (4m)" in said
    machine.tell(stop_s=150.0, kind="simple")
    assert machine.driver().rehearse(None) == ()


def test_the_words_for_check(machine: Machine) -> None:
    """What is not known yet is left out."""
    driver = machine.driver()
    assert driver.describe() == "systemctl restart w.service (system manager)"
    assert (driver.who_starts(), driver.cautions(None)) == ("systemd", ())
    machine.tell(stop_s=None, transient=True, interval_s=None, restart="on-abnormal")
    driver.rehearse(None)
    assert driver.describe().endswith(", stop takes for ever")
    assert driver.who_starts() == "systemd (Restart=on-abnormal)"
    said = " ".join(driver.cautions(None))
    for words in ("TimeoutStopSec=infinity", "transient", "within for ever", "on-abnormal"):
        assert words in said
