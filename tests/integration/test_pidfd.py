"""Handles on real processes: the right one, its end, and waits that can be cut short."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Timer

import pytest

from leakguard.core.errors import DriverError
from leakguard.core.sample import Incarnation
from leakguard.linux.pidfd import open_checked, wait_all
from leakguard.linux.procfs import ProcessGone, ProcFs

PATIENCE_S = 20.0
SLEEPER = (sys.executable, "-S", "-c", "import signal; signal.pause()")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that waits to be killed."""
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


def test_a_handle_sees_the_end(sleeper: subprocess.Popen[bytes]) -> None:
    """Running, then ended; a zombie counts as ended."""
    proc = ProcFs()
    with open_checked(proc, proc.incarnation(sleeper.pid)) as handle:
        assert (handle.ended(), handle.wait(0.01)) == (False, False)
        sleeper.kill()
        assert (handle.wait(PATIENCE_S), handle.ended()) == (True, True)


def test_a_reaped_process_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    """A handle outlives its process and says so; a new one cannot be had."""
    proc = ProcFs()
    incarnation = proc.incarnation(sleeper.pid)
    with open_checked(proc, incarnation) as handle:
        sleeper.kill()
        sleeper.wait()
        with pytest.raises(ProcessGone):
            handle.send(0)
    with pytest.raises(ProcessGone):
        open_checked(proc, incarnation)


def test_another_start_time_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    """A pid alone opens nothing, and leaves no descriptor open."""
    proc = ProcFs()
    own = proc.incarnation(sleeper.pid)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(ProcessGone):
            open_checked(proc, Incarnation(boot_id=own.boot_id, pid=own.pid, start_ticks=1))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_another_namespace_is_refused(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """Pids of a mounted host /proc name other processes here: refused, with the way out."""
    (tmp_path / "self").symlink_to(str(os.getpid() + 1))
    with pytest.raises(DriverError, match="another PID namespace") as caught:
        open_checked(ProcFs(str(tmp_path)), ProcFs().incarnation(sleeper.pid))
    assert caught.value.permanent is True


def test_a_wait_can_be_cut_short(sleeper: subprocess.Popen[bytes]) -> None:
    """`cancelled` ends a wait of an hour; the process is untouched."""
    proc, cancelled = ProcFs(), Event()
    with open_checked(proc, proc.incarnation(sleeper.pid)) as handle:
        Timer(0.05, cancelled.set).start()
        assert handle.wait(3600.0, cancelled) is False
        assert handle.ended() is False


def test_waiting_for_several_needs_all() -> None:
    """One survivor keeps the answer False; waiting for none is over at once."""
    proc = ProcFs()
    with (
        subprocess.Popen(SLEEPER) as first,
        subprocess.Popen(SLEEPER) as second,
        open_checked(proc, proc.incarnation(first.pid)) as one,
        open_checked(proc, proc.incarnation(second.pid)) as two,
    ):
        first.kill()
        assert (one.wait(PATIENCE_S), wait_all((one, two), 0.05)) == (True, False)
        second.kill()
        assert (wait_all((one, two), PATIENCE_S), wait_all((), 0.0)) == (True, True)
