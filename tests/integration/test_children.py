"""Real children: how they are started, found, signalled, reaped and outlived."""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import pytest

from leakguard.core.errors import DriverError
from leakguard.core.sample import Incarnation
from leakguard.linux.children import Children, ChildSpec, run_here
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.linux.spawn import Launch
from leakguard.runtime.clock import SystemClock

T = TypeVar("T")
PATIENCE_S = 20.0
SLEEPER = (sys.executable, "-S", "-c", "import signal; signal.pause()")
MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def children() -> Iterator[Children]:
    """Give children that are killed at the end."""
    made = Children(run_here, SystemClock())
    yield made
    for service in ("a", "b"):
        with suppress(ProcessGone):
            made.signal(service, signal.SIGKILL)
            await_end(made, service)
        for incarnation in made.leftovers(service):
            os.kill(incarnation.pid, signal.SIGKILL)


def await_end(children: Children, service: str) -> int | None:
    """Wait on the child's descriptor, and give its exit code."""
    fd = children.watch_fd(service)
    if fd is not None:
        assert readable(fd)
        os.close(fd)
    assert children.find(service) is None
    return children.exit_code(service)


def readable(fd: int) -> bool:
    """Wait until a descriptor can be read."""
    return bool(select.select([fd], [], [], PATIENCE_S)[0])


def eventually(condition: Callable[[], bool]) -> bool:
    """Look again and again until it holds."""
    return any(condition() or Event().wait(0.02) for _ in range(int(PATIENCE_S / 0.02)))


OF_LIBC = 0b11 << 31
"""Signals 32 and 33: the C library keeps them to itself and lets nobody reset them."""


def status(pid: int, name: str) -> str:
    """Read one line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(name))


def test_a_child_is_the_incarnation_that_was_started(children: Children) -> None:
    """Pid and start time stay the same across the starter's exec; the command is what runs."""
    started = children.start("a", ChildSpec(argv=SLEEPER))
    assert children.find("a") == started == ProcFs().incarnation(started.pid)
    assert ProcFs().cmdline(started.pid) == SLEEPER


def test_a_child_starts_clean(children: Children) -> None:
    """Own session, no blocked or ignored signal, no descriptor of ours but the standard three."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        pid = children.start("a", ChildSpec(argv=("sleep", "60"))).pid
    finally:
        signal.signal(signal.SIGHUP, previous)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    assert os.getsid(pid) == pid
    masks = {int(status(pid, name), 16) & ~OF_LIBC for name in ("SigBlk", "SigIgn")}
    assert masks == {0}
    fds = Path(f"/proc/{pid}/fd")  # the loader of the command opens and closes libraries
    assert eventually(lambda: {fd.name for fd in fds.iterdir()} <= {"0", "1", "2"})


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
)
def test_the_exit_code_is_the_shells(children: Children, script: str, code: int) -> None:
    """128 + n for signal n, as a shell reports it."""
    children.start("a", ChildSpec(argv=("sh", "-c", script)))
    assert await_end(children, "a") == code


def test_one_service_has_one_child(children: Children) -> None:
    """A second start is refused while the first child runs, and does nothing to it."""
    first = children.start("a", ChildSpec(argv=SLEEPER))
    with pytest.raises(DriverError, match="already started"):
        children.start("a", ChildSpec(argv=SLEEPER))
    assert children.find("a") == first


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ChildSpec(argv=("no-such-command-here",)), "No such file or directory"),
        (ChildSpec(argv=("/etc",)), "Permission denied"),
        (ChildSpec(argv=SLEEPER, cwd="/nonexistent"), "check cwd"),
        (ChildSpec(argv=SLEEPER, cgroup_dir="/nonexistent"), "cannot join cgroup"),
        (ChildSpec(argv=SLEEPER, user="no-such-user"), "there is no such user"),
        (ChildSpec(argv=()), "argv is empty"),
    ],
)
def test_a_failed_start_says_why(children: Children, spec: ChildSpec, words: str) -> None:
    """The starter's failure reaches the caller in words, permanent, and nothing is left behind."""
    with pytest.raises(DriverError, match=words) as caught:
        children.start("a", spec)
    assert (caught.value.permanent, children.find("a")) == (True, None)


def test_a_slow_fork_holds_nobody_who_reaps(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop reaps in every tick, and a fork waits for the disk that holds the interpreter."""
    forking, disk = Event(), Event()

    def slow(spec: ChildSpec, *, output: int | None = None, stdin: int | None = None) -> Launch:
        forking.set()
        assert disk.wait(PATIENCE_S)
        return Launch(spec, output=output, stdin=stdin)

    monkeypatch.setattr("leakguard.linux.children.Launch", slow)
    starting = Thread(target=lambda: children.start("a", ChildSpec(argv=SLEEPER)))
    starting.start()
    assert forking.wait(PATIENCE_S)
    reaping = Thread(target=children.reap_orphans)
    reaping.start()
    reaping.join(PATIENCE_S / 2)
    reaps = not reaping.is_alive()
    disk.set()
    starting.join(PATIENCE_S)
    assert reaps


def test_an_ended_child_is_forgotten_and_one_that_runs_is_not(children: Children) -> None:
    """What a service once ended with must not be said of a later one of its name."""
    running = children.start("a", ChildSpec(argv=SLEEPER))
    children.forget_ended("a")
    assert children.find("a") == running
    children.signal("a", signal.SIGKILL)
    assert await_end(children, "a") == 137
    children.forget_ended("a")
    assert children.exit_code("a") is None


def test_an_ended_child_can_be_started_again(children: Children) -> None:
    """The old exit code is forgotten with the new start."""
    children.start("a", ChildSpec(argv=("sh", "-c", "exit 3")))
    assert await_end(children, "a") == 3
    children.start("a", ChildSpec(argv=SLEEPER))
    assert children.exit_code("a") is None


def test_what_a_child_leaves_behind_is_known(children: Children) -> None:
    """Processes of its session that outlive it are named, even though init adopted them."""
    children.start("a", ChildSpec(argv=("sh", "-c", "sleep 60 & exit 0")))
    await_end(children, "a")
    (left,) = children.leftovers("a")
    assert eventually(lambda: ProcFs().cmdline(left.pid) == ("sleep", "60"))


def test_a_child_of_an_earlier_daemon_is_adopted(children: Children) -> None:
    """It is found and signalled by its incarnation; its exit code is not ours to know."""
    with subprocess.Popen(SLEEPER) as stranger:
        incarnation = ProcFs().incarnation(stranger.pid)
        children.adopt("a", incarnation)
        assert children.find("a") == incarnation
        children.signal("a", signal.SIGTERM)
        stranger.wait(PATIENCE_S)
    assert (children.find("a"), children.exit_code("a")) == (None, None)


def test_a_reused_pid_is_not_adopted(children: Children) -> None:
    """Another start time is another process: it is not found and never signalled."""
    with subprocess.Popen(SLEEPER) as stranger:
        own = ProcFs().incarnation(stranger.pid)
        children.adopt(
            "a", Incarnation(boot_id=own.boot_id, pid=own.pid, start_ticks=own.start_ticks - 1)
        )
        assert children.find("a") is None
        with pytest.raises(ProcessGone):
            children.signal("a", signal.SIGKILL)
        assert stranger.poll() is None
        stranger.kill()


def test_a_given_oom_score_reaches_the_child(children: Children) -> None:
    """The child gets the value that was asked for, and not leakguard's own."""
    pid = children.start("a", ChildSpec(argv=SLEEPER, oom_score_adj=700)).pid
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "700\n"


def test_the_child_dies_with_leakguard() -> None:
    """With `die_with_parent`, a `kill -9` of leakguard takes the child along."""
    program = textwrap.dedent("""
        import signal, sys
        from leakguard.linux.children import Children, ChildSpec, run_here
        from leakguard.runtime.clock import SystemClock
        spec = ChildSpec(argv=("sleep", "60"), die_with_parent=True)
        print(Children(run_here, SystemClock()).start("a", spec).pid, flush=True)
        signal.pause()
    """)
    guard = run_program(program)
    assert guard.stdout is not None
    fd = os.pidfd_open(int(guard.stdout.readline()))
    assert select.select([fd], [], [], 0.1)[0] == []
    guard.kill()
    assert readable(fd)
    os.close(fd)
    guard.communicate(timeout=PATIENCE_S)


def test_a_child_survives_the_thread_that_asked_for_it() -> None:
    """The fork is handed to the main thread, since the kernel watches the forking thread."""
    work: queue.Queue[Callable[[], object]] = queue.Queue()

    def main(job: Callable[[], T], /) -> T:
        done: queue.Queue[T] = queue.Queue()
        work.put(lambda: done.put(job()))
        return done.get(timeout=PATIENCE_S)

    children = Children(main, SystemClock())
    spec = ChildSpec(argv=SLEEPER, die_with_parent=True)
    thread = Thread(target=lambda: children.start("a", spec))
    thread.start()
    work.get(timeout=PATIENCE_S)()
    thread.join(PATIENCE_S)
    fd = children.watch_fd("a")
    assert fd is not None
    assert select.select([fd], [], [], 0.2)[0] == []
    os.close(fd)
    children.signal("a", signal.SIGKILL)
    assert await_end(children, "a") == 137


REAPER = """
    import json, os, subprocess, sys
    from threading import Event
    from leakguard.linux.children import Children, ChildSpec, run_here
    from leakguard.runtime.clock import SystemClock
    children = Children(run_here, SystemClock())
    if os.getpid() != 1:
        children.become_subreaper()
    popen = subprocess.Popen(["sh", "-c", "exit 7"])
    children.shield(popen.pid)
    children.start("a", ChildSpec(argv=("sh", "-c", "(exit 1 & exit 2 &) ; exit 9")))
    reaped, nap = 0, Event()
    for _ in range(500):
        reaped += children.reap_orphans()
        if reaped >= 2:
            break
        nap.wait(0.02)
    fd = children.watch_fd("a")
    code = children.exit_code("a")
    print(json.dumps({"pid": os.getpid(), "reaped": reaped, "popen": popen.wait(), "code": code}))
"""


def test_a_subreaper_reaps_only_orphans() -> None:
    """Zombies that were handed to us go; a child's and a Popen's status stay theirs."""
    report = answer(run_program(textwrap.dedent(REAPER)))
    assert (report["reaped"], report["popen"], report["code"]) == (2, 7, 9)


@pytest.mark.root
def test_pid_1_reaps_only_orphans() -> None:
    """As PID 1 of a container, leakguard leaves no zombie, and takes no status from others."""
    report = answer(run_program(textwrap.dedent(REAPER), "unshare", "-pf", "--mount-proc"))
    assert report == {"pid": 1, "reaped": 2, "popen": 7, "code": 9}


@pytest.mark.root
def test_the_cgroup_is_joined_before_exec(children: Children, tmp_path: Path) -> None:
    """Not a byte of the command is charged elsewhere: it is in its cgroup when it begins."""
    parent = MEMORY_CGROUPS if MEMORY_CGROUPS.is_dir() else MEMORY_CGROUPS.parent
    cgroup, seen = parent / f"leakguard-child-{os.getpid()}", tmp_path / "seen"
    cgroup.mkdir()
    try:
        script = f"cat /proc/self/cgroup > {seen}"
        children.start("a", ChildSpec(argv=("sh", "-c", script), cgroup_dir=str(cgroup)))
        assert await_end(children, "a") == 0
        assert f"/{cgroup.name}\n" in seen.read_text()
    finally:
        assert eventually(lambda: (cgroup / "cgroup.procs").read_text() == "")
        cgroup.rmdir()


@pytest.mark.root
def test_a_child_runs_as_the_wanted_user(children: Children, tmp_path: Path) -> None:
    """User, groups and home are those of the user, and the parent-death signal still holds."""
    tmp_path.chmod(0o755)
    spec = ChildSpec(argv=("sleep", "60"), user="nobody", cwd="/", die_with_parent=True)
    pid = children.start("a", spec).pid
    uid = subprocess.run(["id", "-u", "nobody"], check=True, capture_output=True, text=True).stdout
    assert status(pid, "Uid").split() == [uid.strip()] * 4
    assert b"USER=nobody" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def run_program(program: str, *before: str) -> subprocess.Popen[str]:
    """Start a Python program with leakguard in its path."""
    argv = [*before, sys.executable, "-c", program]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)


def answer(program: subprocess.Popen[str]) -> dict[str, int]:
    """Read the one JSON line that a program prints, and wait for it."""
    out, _ = program.communicate(timeout=PATIENCE_S)
    report: dict[str, int] = json.loads(out)
    return report
