"""Real kills of a guarded service: `run --json` tells each once, with its cause."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event as Moment
from typing import Any

import pytest

from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.kernel_log import KernelLog
from leakguard.linux.own_cgroup import usual_parents
from leakguard.linux.procfs import ProcFs
from tests.workloads.guarded import Daemon, until

LIMIT = 64 * MIB
STEP = MIB
LIMITS = {1: "memory.limit_in_bytes", 2: "memory.max"}
GROW = (
    "import sys\nprint('ready', flush=True)\nkept = []\n"
    "for line in sys.stdin:\n kept.append(b'x' * int(line))\n print('ok', flush=True)\n"
)


def names_can_be_had() -> bool:
    """Tell whether the kernel's log may be read here."""
    with suppress(Exception):
        KernelLog().close()
        return True
    return False


class Stage:
    """A memory cgroup of ours with one below it, and what runs in that one."""

    def __init__(self, name: str) -> None:
        cgroups = CgroupFs(ProcFs())
        parent = usual_parents(cgroups, os.getpid())[-1]
        self.version = 1 if (parent / LIMITS[1]).exists() else 2
        self.outer = parent / f"leakguard-kills-{name}-{os.getpid()}"
        self.inner = self.outer / "service"
        self.running: list[subprocess.Popen[bytes]] = []
        for folder in (self.outer, self.inner):
            if self.version == 2:
                with suppress(OSError):
                    (folder.parent / "cgroup.subtree_control").write_text("+memory")
            folder.mkdir()

    def limit(self, folder: Path) -> None:
        """Give a group its limit."""
        (folder / LIMITS[self.version]).write_text(str(LIMIT))
        if self.version == 2:
            (folder / "memory.swap.max").write_text("0")

    def run(self) -> subprocess.Popen[bytes]:
        """Start a process in the inner group; it grows when told to."""
        script, place = 'echo $$ > "$0"; exec "$@"', str(self.inner / "cgroup.procs")
        process = subprocess.Popen(
            ["/bin/sh", "-c", script, place, sys.executable, "-S", "-c", GROW],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    def close(self) -> None:
        """End what runs, and remove the groups."""
        for process in self.running:
            process.kill()
            process.communicate()
        for folder in (self.inner, self.outer):
            until(partial(_removed, folder), what=f"{folder} is empty")


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def grow_until_killed(process: subprocess.Popen[bytes]) -> None:
    """Have a process take memory until the kernel ends it, and reap it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        for _ in range(4 * LIMIT // STEP):
            process.stdin.write(f"{STEP}\n".encode())
            process.stdin.flush()
            if process.stdout.readline() != b"ok\n":
                break
    assert process.wait(20) == -9


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Give a stage of this test's own."""
    made = Stage(request.node.name.removeprefix("test_")[:24])
    yield made
    made.close()


def guard(folder: Path, target: dict[str, Any], **restart: object) -> Daemon:
    """Guard one service in observe mode."""
    service = {"mode": "observe", "target": target, "restart": {"forecast": False, **restart}}
    return Daemon(folder, {"services": {"worker": service}})


def sampled(daemon: Daemon) -> None:
    """Wait until the guard has looked at the service twice, some seconds apart."""
    daemon.ready()
    Moment().wait(1.5)


def told_once(daemon: Daemon, cause: str) -> dict[str, Any]:
    """Wait for the death, and see that it is told once and with this cause."""
    event = daemon.wait_for("ServiceDied", "worker")
    Moment().wait(1.0)
    assert [e["cause"] for e in daemon.events("ServiceDied")] == [cause], event
    assert len(daemon.events("ServiceMissing", "worker")) == 1
    assert daemon.events("ServiceMissing", "worker")[0]["severity"] == "info"
    return event


@pytest.mark.root
@pytest.mark.parametrize(
    ("limited", "cause", "kill_cause"),
    [("inner", "oom_own_limit", "own_limit"), ("outer", "oom_ancestor_limit", "ancestor_limit")],
)
def test_killed_at_a_limit(
    stage: Stage, tmp_path: Path, limited: str, cause: str, kill_cause: str
) -> None:
    """Its own cgroup's, or one above: who, where, which limit, in one alarm."""
    group = getattr(stage, limited)
    stage.limit(group)
    victim = stage.run()
    with guard(tmp_path, {"pid": victim.pid}) as daemon:
        sampled(daemon)
        grow_until_killed(victim)
        event = told_once(daemon, cause)
        kills = daemon.events("OomKillObserved", "worker")
    assert (event["severity"], event["pid"], event["limit_bytes"]) == (
        "critical",
        victim.pid,
        LIMIT,
    )
    assert event["limit_cgroup"].endswith(str(group.relative_to(stage.outer.parent)))
    assert [(k["cause"], k["kills"], k["severity"]) for k in kills] == [(kill_cause, 1, "info")]
    if names_can_be_had():
        assert (event["victim_pid"], kills[0]["pid"]) == (victim.pid, victim.pid)
        assert 0 < event["anon_bytes"] <= LIMIT


@pytest.mark.root
def test_a_neighbour_is_killed(stage: Stage, tmp_path: Path) -> None:
    """The service shares its cgroup and lives: a warning, and no death."""
    stage.limit(stage.inner)
    service, neighbour = stage.run(), stage.run()
    with guard(tmp_path, {"pid": service.pid}) as daemon:
        sampled(daemon)
        grow_until_killed(neighbour)
        event = daemon.wait_for("OomKillObserved", "worker")
        Moment().wait(4.0)
        told = daemon.events("OomKillObserved", "worker")
        assert (len(told), daemon.events("ServiceDied")) == (1, [])
    assert service.poll() is None
    if names_can_be_had():
        assert (event["severity"], event["pid"], event["cause"]) == (
            "warning",
            neighbour.pid,
            "own_limit",
        )


@pytest.mark.root
def test_killed_by_somebody(stage: Stage, tmp_path: Path) -> None:
    """No memory was short: nothing is blamed."""
    stage.limit(stage.inner)
    service = stage.run()
    with guard(tmp_path, {"pid": service.pid}) as daemon:
        sampled(daemon)
        service.kill()
        service.wait(20)
        event = told_once(daemon, "unknown")
        assert daemon.events("OomKillObserved", "worker") == []
    assert (event["severity"], event["missing"]) == ("warning", True)


def test_a_child_that_was_killed_by_somebody(tmp_path: Path) -> None:
    """Its exit code is known, so it is a crash; it is started again, and nobody is woken twice."""
    argv = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
    with guard(tmp_path, {"child": {"argv": argv}}) as daemon:
        started = daemon.wait_for("ServiceStarted", "worker")
        pid = until(lambda: _pid_of_child(daemon))
        os.kill(pid, 9)
        event = daemon.wait_for("ServiceDied", "worker")
        daemon.wait_for("RestartSucceeded", "worker")
    assert started["severity"] == "info"
    assert (event["cause"], event["exit_code"], event["severity"]) == ("crash", 137, "info")
    assert "was ended by SIGKILL" in event["message"]


@pytest.mark.root
def test_a_child_of_exec_that_the_kernel_killed(stage: Stage) -> None:
    """`exec` ends with it, and says why before it does."""
    stage.limit(stage.inner)
    script = 'echo $$ > "$0"; exec "$@"'
    code = "kept = [b'x' * 1048576 for _ in range(400)]"
    place = str(stage.inner / "cgroup.procs")
    child = ["/bin/sh", "-c", script, place, sys.executable, "-S", "-c", code]
    run = subprocess.run(
        [sys.executable, "-m", "leakguard", "exec", "--json", "--", *child],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    died = [line for line in run.stderr.splitlines() if '"event":"ServiceDied"' in line]
    assert (run.returncode, len(died)) == (137, 1), run.stderr
    if names_can_be_had():
        assert '"cause":"oom_own_limit"' in died[0]


def _pid_of_child(daemon: Daemon) -> int:
    """Find the child of the guard that is neither its helper nor gone."""
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    for pid in map(int, children):
        with suppress(OSError):
            if b"signal.pause" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0
