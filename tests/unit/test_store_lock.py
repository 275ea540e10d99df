"""One guard per state file."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leakguard.store.lock import AlreadyRunning, StateLock

HOLDER = """
import sys
from leakguard.store.lock import StateLock
lock = StateLock(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_one_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    """The refusal names the process to stop."""
    path = str(tmp_path / "state.db")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}") as refused:
            StateLock(path)
        assert refused.value.pid == holder.pid
        holder.communicate()


def test_a_dead_holder_does_not_count(tmp_path: Path) -> None:
    """The kernel releases the lock of a killed process, whatever the file still says."""
    path = str(tmp_path / "state.db")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
        holder.wait()
    lock = StateLock(path)
    assert Path(lock.path).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_released_lock_is_free(tmp_path: Path) -> None:
    """A reload in the same process can take it again."""
    path = str(tmp_path / "state.db")
    StateLock(path).release()
    lock = StateLock(path)
    lock.release()
    lock.release()


def test_a_deleted_lock_file_is_made_anew(tmp_path: Path) -> None:
    """A lock on a file that is no longer there protects nothing and is not taken for one."""
    path = str(tmp_path / "state.db")
    first = StateLock(path)
    Path(first.path).unlink()
    second = StateLock(path)
    assert Path(second.path).exists()
    second.release()
    first.release()


def test_garbage_in_the_lock_file_is_no_pid(tmp_path: Path) -> None:
    """A holder that is not ours cannot be named, and is refused all the same."""
    path = tmp_path / "state.db.lock"
    path.write_text("what is this")
    with path.open() as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning, match="cannot be named") as refused:
            StateLock(str(tmp_path / "state.db"))
    assert refused.value.pid == 0
