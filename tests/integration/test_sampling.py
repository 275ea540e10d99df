"""Samples of real processes: known amounts of memory, trees, shared memory, ends."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event

import pytest

from leakguard import plugins
from leakguard.collectors.services import ServiceCollector
from leakguard.core.errors import TargetError
from leakguard.core.sample import Location, Measure, Sample
from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, ChildSpec, run_here
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.linux.statm import StatmReader
from leakguard.runtime.clock import SystemClock
from leakguard.targets.base import TargetContext

PATIENCE_S = 30.0
READY = "\nprint('ready', flush=True); import sys; sys.stdin.read()\n"
GROW = "kept = bytearray({size})\nfor at in range(0, {size}, 4096): kept[at] = 1\n"
SHARE = (
    "import mmap\n"
    "shared = mmap.mmap(-1, {size})\n"
    "for at in range(0, {size}, 4096): shared[at] = 1\n"
)
FORK = (
    "import os, signal\n"
    "for _ in range({count}):\n"
    "    ready, told = os.pipe()\n"
    "    if os.fork() == 0:\n"
    "        import ctypes; ctypes.CDLL(None).prctl(1, 9)\n"
    "        {work}\n"
    "        os.write(told, b'x'); signal.pause()\n"
    "    os.read(ready, 1)\n"
)

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that runs Python code and returns once it said that it is ready."""
    with ExitStack() as stack:

        def run(code: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-S", "-c", code + READY],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            return process

        yield run


def sample(pid: int, measure: Measure = Measure.AUTO) -> Sample:
    """Read a tree once."""
    proc = ProcFs()
    collector = ServiceCollector(proc, CgroupFs(proc))
    location = Location(root=proc.incarnation(pid))
    try:
        return collector.read("app", location, measure, SystemClock().now())
    finally:
        collector.close()


def baseline(start: Start, measure: Measure = Measure.AUTO) -> int:
    """Measure a Python that holds nothing."""
    return sample(start("").pid, measure).value_bytes


@pytest.mark.parametrize("measure", [Measure.AUTO, Measure.RSS, Measure.PSS, Measure.USS])
def test_a_known_amount_is_measured(start: Start, measure: Measure) -> None:
    """100 MiB more are 100 MiB more, within three percent, in every measure of processes."""
    grown = sample(start(GROW.format(size=100 * MIB)).pid, measure).value_bytes
    assert grown - baseline(start, measure) == pytest.approx(100 * MIB, rel=0.03)


def test_statm_agrees_with_the_kernel_s_walk(start: Start) -> None:
    """The cheap number is the dear one, within what a kernel's counters may lag."""
    process = start(GROW.format(size=50 * MIB))
    proc = ProcFs()
    cheap = StatmReader(proc).read(process.pid, proc.stat(process.pid).start_ticks)[1]
    dear = next(
        int(line.split()[1]) * 1024
        for line in proc.read(process.pid, "smaps_rollup").splitlines()
        if line.startswith(b"Rss:")
    )
    assert cheap == pytest.approx(dear, abs=2 * MIB)


def test_a_forked_tree_is_one_service(start: Start) -> None:
    """Root and workers are summed."""
    work = GROW.format(size=20 * MIB).replace("\n", "\n        ")
    process = start(FORK.format(count=3, work=work))
    got = sample(process.pid)
    assert got.processes == 4
    assert got.value_bytes - 4 * baseline(start) == pytest.approx(60 * MIB, rel=0.25)


def test_shared_memory_counts_once(start: Start) -> None:
    """A segment that four processes have touched is one segment; RSS counts it four times."""
    touch = f"for at in range(0, {40 * MIB}, 4096): shared[at]"
    code = SHARE.format(size=40 * MIB) + FORK.format(count=3, work=touch)
    process = start(code)
    got = sample(process.pid)
    assert got.shmem_bytes == pytest.approx(40 * MIB, rel=0.05)
    assert sample(process.pid, Measure.RSS).value_bytes > 160 * MIB


def test_separate_shared_memory_adds_up(start: Start) -> None:
    """Workers that each hold a segment of their own share nothing."""
    work = SHARE.format(size=15 * MIB).replace("\n", "\n        ")
    got = sample(start(FORK.format(count=3, work=work)).pid)
    assert got.shmem_bytes == pytest.approx(45 * MIB, rel=0.05)


def test_a_zombie_is_no_process(start: Start) -> None:
    """Ended and not reaped: not running, gone for every reader, refused as a target."""
    process = start("")
    proc = ProcFs()
    incarnation = proc.incarnation(process.pid)
    reader = StatmReader(proc)
    reader.read(incarnation.pid, incarnation.start_ticks)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not proc.is_running(incarnation)
    for look in (reader, StatmReader(proc)):
        with pytest.raises(ProcessGone):
            look.read(incarnation.pid, incarnation.start_ticks)


def test_an_end_between_two_readings_is_seen(start: Start) -> None:
    """The kept descriptor says so, and nothing stays open."""
    process = start("")
    proc, clock = ProcFs(), SystemClock()
    collector = ServiceCollector(proc, CgroupFs(proc))
    location = Location(root=proc.incarnation(process.pid))
    collector.read("app", location, Measure.AUTO, clock.now())
    process.kill()
    process.wait()
    with pytest.raises(ProcessGone):
        collector.read("app", location, Measure.AUTO, clock.now())
    for read in (proc.stat, proc.cmdline, proc.memory_status, proc.smaps_rollup, proc.cgroup_of):
        with pytest.raises(ProcessGone):
            read(process.pid)


def test_processes_may_vanish_while_they_are_read() -> None:
    """Short-lived children come and go under the collector's eyes; the root is always read."""
    code = (
        "import subprocess\nprint('ready', flush=True)\n"
        "while True: subprocess.run(['/bin/true'], check=False)\n"
    )
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            counts = {sample(process.pid).processes for _ in range(50)}
        finally:
            process.kill()
    assert counts <= {1, 2}


def test_exec_keeps_the_incarnation(start: Start) -> None:
    """The same process under another name: pid, start time and kept descriptor stay."""
    process = start("")
    proc = ProcFs()
    before = proc.incarnation(process.pid)
    reader = StatmReader(proc)
    reader.read(before.pid, before.start_ticks)
    assert process.stdin is not None
    shell = subprocess.Popen(["/bin/sh", "-c", "read x; exec sleep 60"], stdin=subprocess.PIPE)
    try:
        run = proc.incarnation(shell.pid)
        first = reader.read(run.pid, run.start_ticks)
        assert shell.stdin is not None
        shell.stdin.write(b"\n")
        shell.stdin.close()
        wait_for(lambda: proc.stat(shell.pid).name == "sleep")
        assert proc.incarnation(shell.pid) == run
        assert reader.read(run.pid, run.start_ticks) != first
    finally:
        shell.kill()
        shell.wait()
        reader.close()


def test_an_address_space_limit_is_seen(start: Start) -> None:
    """RLIMIT_AS of the root process, beside the address space it has."""
    code = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
    got = sample(start(code).pid)
    assert got.address_limit_bytes == 1 << 30
    assert got.address_space_bytes is not None
    assert got.rss_bytes <= got.address_space_bytes <= 1 << 30


def context(service: str = "app") -> TargetContext:
    """Give what a target needs on this machine."""
    proc = ProcFs()
    return TargetContext(
        service=service,
        proc=proc,
        cgroups=CgroupFs(proc),
        children=Children(run_here, SystemClock(), proc),
    )


def test_a_pattern_finds_the_command_and_not_the_shell() -> None:
    """The shell that carries the words, and this very test run, do not match."""
    word = f"leakguard-{os.getpid()}-word"
    code = f"'{sys.executable}' -S -c 'import signal; signal.pause()' {word}; true"
    target = plugins.load("targets", "cmdline").make({"pattern": word}, context())
    with subprocess.Popen(["/bin/sh", "-c", code]) as shell:
        try:
            wait_for(lambda: len(ProcFs().tree(shell.pid)) == 2)
            (child,) = ProcFs().tree(shell.pid)[1:]
            wait_for(lambda: word in ProcFs().cmdline(child))
            assert [location.root.pid for location in target.locate()] == [child]
        finally:
            shell.kill()
            os.kill(child, 9)
    wait_for(lambda: not alive(child))
    with pytest.raises(TargetError):
        target.locate()


def test_our_own_process_is_refused() -> None:
    """By number, and by an ancestor's number."""
    for pid in (os.getpid(), os.getppid()):
        with pytest.raises(TargetError, match="leakguard itself"):
            plugins.load("targets", "pid").make({"pid": pid}, context()).locate()


def test_a_child_is_located_and_its_exit_code_told() -> None:
    """Through what leakguard started; nothing before, nothing after."""
    around = context("job")
    argv = (sys.executable, "-S", "-c", "import sys; sys.stdin.read(); sys.exit(3)")
    target = plugins.load("targets", "child").make({"argv": list(argv)}, around)
    with pytest.raises(TargetError, match="job: no child"):
        target.locate()
    started = around.children.start("job", ChildSpec(argv=argv))
    try:
        assert [location.root for location in target.locate()] == [started]
    finally:
        around.children.signal("job", 9)
    wait_for(lambda: target.exit_code() is not None)
    assert target.exit_code() == 128 + 9
    with pytest.raises(TargetError):
        target.locate()


def alive(pid: int) -> bool:
    """Tell whether a process runs."""
    proc = ProcFs()
    try:
        return proc.stat(pid).state not in "ZX"
    except ProcessGone:
        return False


def wait_for(true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    clock, pause = SystemClock(), Event()
    end = clock.now().plus(PATIENCE_S)
    while not true():
        assert clock.now().since(end) < 0, "waited in vain"
        pause.wait(0.01)
