"""The demo's leaking service and its cages, as real processes in real cgroups."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from leakguard.cli._demo.load import ask
from leakguard.cli._demo.patient import free_port
from leakguard.cli._demo.scope import parents
from leakguard.cli._demo.tally import Fate
from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.own_cgroup import OwnCgroup
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.linux.spawn import ChildSpec, Launch
from leakguard.runtime.clock import SystemClock

LEAK = Path(__file__).parents[1] / "workloads" / "leak.py"
WITHIN_S = 20


@contextlib.contextmanager
def running(*argv: str) -> Generator["subprocess.Popen[str]", None, None]:
    """A Python program, killed at the end if it still runs."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, *argv], stdout=pipe, stderr=pipe, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def wait_until(true: Callable[[], bool]) -> None:
    """Poll until it is true; fail when that takes too long."""
    end, pause = time.monotonic() + WITHIN_S, threading.Event()
    while not true():
        assert time.monotonic() < end
        pause.wait(0.02)


def service(port: int, *options: str) -> list[str]:
    """Arguments that run the service."""
    argv = ["-m", "leakguard.cli._demo.service", "--port", str(port), "--life", "60s"]
    return [*argv, "--most", "256MiB", *options]


def test_service_answers_what_it_has_in_hand_before_it_ends() -> None:
    """TERM in the middle of a request: the caller is answered, the exit code is 0."""
    port, fates = free_port(os.getpid()), []
    with running(*service(port, "--work", "600ms")) as program:
        wait_until(lambda: ask(port)[0] is Fate.ANSWERED)
        caller = threading.Thread(target=lambda: fates.append(ask(port)))
        caller.start()
        threading.Event().wait(0.2)
        program.send_signal(signal.SIGTERM)
        caller.join()
        assert (fates, program.wait(WITHIN_S)) == ([(Fate.ANSWERED, program.pid)], 0)


def test_service_with_a_full_address_space_ends_with_memory_error() -> None:
    """Without a cgroup the cap is the address space, and it ends the service, not the machine."""
    port = free_port(os.getpid() + 100)
    with running(*service(port, "--rate", "60MiB", "--address-space", "60MiB")) as program:
        _, said = program.communicate(timeout=WITHIN_S)
        assert (program.returncode, said) == (1, "MemoryError\n")


def test_service_stops_leaking_at_its_bound() -> None:
    """Whatever else fails, the service never grows beyond `--most`."""
    port = free_port(os.getpid() + 200)
    with running(*service(port, "--rate", "900MiB", "--most", "32MiB")) as program:
        statm = Path(f"/proc/{program.pid}/statm")
        wait_until(lambda: resident(statm) > 32 * MIB)
        threading.Event().wait(0.3)
        assert resident(statm) < 90 * MIB


def test_nobody_listening_is_a_refusal() -> None:
    """A caller learns at once that nobody is there."""
    assert ask(free_port(os.getpid() + 300)) == (Fate.REFUSED, None)


def test_leaker_grows_to_its_bound_and_ends_on_term() -> None:
    """The shared workload leaks what it was told to, then holds it, and ends with 0 on TERM."""
    with running(str(LEAK), "--rate", "100MiB", "--to", "50MiB") as program:
        statm = Path(f"/proc/{program.pid}/statm")
        wait_until(lambda: resident(statm) > 50 * MIB)
        program.send_signal(signal.SIGTERM)
        assert program.wait(WITHIN_S) == 0


@pytest.mark.root
def test_kernel_kills_in_the_cage_and_the_cage_counts_it() -> None:
    """A leak in the cage meets the kernel at the limit; afterwards nothing is left."""
    place = parents(CgroupFs(ProcFs()), os.getpid())[0]
    cage = OwnCgroup(place, f"leakguard-test-{os.getpid()}", 48 * MIB)
    try:
        argv = (sys.executable, str(LEAK), "--rate", "200MiB", "--to", "300MiB")
        spec = ChildSpec(argv=argv, cgroup_dir=str(cage.directory))
        launch = Launch(spec, output=subprocess.DEVNULL)
        launch.confirm(SystemClock())
        assert launch.popen.wait(WITHIN_S) == -signal.SIGKILL
        assert cage.oom_kills() == 1
    finally:
        cage.remove()
    assert [path for path in place.iterdir() if path.name == f"leakguard-test-{os.getpid()}"] == []


@pytest.mark.root
def test_removing_a_cage_kills_what_is_left_inside() -> None:
    """Whatever still runs in the cage ends with it, by pid."""
    place = parents(CgroupFs(ProcFs()), os.getpid())[0]
    cage = OwnCgroup(place, f"leakguard-test-{os.getpid()}-left", 64 * MIB)
    spec = ChildSpec(
        argv=(sys.executable, str(LEAK), "--to", "1MiB"), cgroup_dir=str(cage.directory)
    )
    launch = Launch(spec, output=subprocess.DEVNULL)
    launch.confirm(SystemClock())
    cage.remove()
    assert launch.popen.wait(WITHIN_S) == -signal.SIGKILL


def resident(statm: Path) -> int:
    """Resident bytes of a process."""
    return int(statm.read_text("ascii").split()[1]) * PAGE_BYTES
