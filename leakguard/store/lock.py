"""One guard per state file: an flock on `<path>.lock`, which holds the pid of its owner."""

import contextlib
import fcntl
import os
from pathlib import Path

from leakguard.core.errors import StoreError


class AlreadyRunning(StoreError):  # noqa: N818  a kind of StoreError, named by what is wrong
    """Another leakguard uses the state file; `pid` is its process, 0 when it is not known."""

    def __init__(self, path: str, pid: int) -> None:
        """Name the file and the process."""
        who = f"pid {pid}" if pid else "a process that cannot be named"
        super().__init__(
            f"leakguard already runs on {path} ({who}): stop it first, or give this one another"
            " state.path"
        )
        self.pid = pid


class StateLock:
    """Held from construction to `release`; the kernel releases it when the process ends."""

    def __init__(self, path: str) -> None:
        """Lock `<path>.lock`, made when it is not there.

        Raises:
            AlreadyRunning: another process holds it.
            StoreError: the file can neither be made nor opened.
        """
        self._state_path = path
        self.path = f"{path}.lock"
        try:
            self._descriptor = self._acquire()
        except OSError as error:
            raise StoreError(f"cannot lock {self.path}: {error.strerror}") from error

    def release(self) -> None:
        """Let another process have the file. The lock file stays: removing it would race."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _acquire(self) -> int:
        while True:
            descriptor = _open(self.path)
            try:
                self._lock(descriptor)
                if _is_at(descriptor, self.path):
                    _write_pid(descriptor)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # somebody deleted it between open and lock: take the new one

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(self._state_path, _read_pid(descriptor)) from None


def _open(path: str) -> int:
    Path(path).absolute().parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        # A read-only file system: an existing file can still be locked, only the pid stays old.
        with contextlib.suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        raise


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except FileNotFoundError:
        return False


def _write_pid(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # a full or read-only disk: the lock itself still holds
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
