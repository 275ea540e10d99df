"""A handle on one incarnation of a process: a signal through it can never hit a reused pid.

The order matters. The descriptor is opened first and pins whatever has the pid now; the start time
is compared afterwards. When it is the one that was meant, the descriptor is right for ever.
"""

import errno
import os
import select
import signal
from collections.abc import Iterable
from contextlib import ExitStack
from threading import Event
from types import TracebackType
from typing import Self

from leakguard.core.errors import DriverError
from leakguard.core.sample import Incarnation
from leakguard.linux.procfs import ProcessGone, ProcFs

SLICE_S = 0.05
"""A wait looks at its `cancelled` event this often."""


class Pidfd:
    """An open handle on one process; closed by `close` or at the end of `with`."""

    __slots__ = ("_fd", "incarnation")

    def __init__(self, fd: int, incarnation: Incarnation) -> None:
        """Own `fd`, a pidfd that was checked to be `incarnation`."""
        self._fd = fd
        self.incarnation = incarnation

    def fileno(self) -> int:
        """Give the descriptor; it becomes readable when the process has ended."""
        return self._fd

    def send(self, signum: int) -> None:
        """Send one signal (0 only asks for permission).

        Raises:
            ProcessGone: it has ended and was reaped.
            DriverError: we may not (permanent).
        """
        try:
            signal.pidfd_send_signal(self._fd, signum)
        except ProcessLookupError as error:
            raise ProcessGone(f"{self.incarnation} has ended") from error
        except PermissionError as error:
            raise DriverError(refused(self.incarnation), permanent=True) from error

    def wait(self, timeout_s: float, cancelled: Event | None = None) -> bool:
        """Wait until the process has ended (True), the time is over or `cancelled` is set."""
        return wait_all((self,), timeout_s, cancelled)

    def ended(self) -> bool:
        """Say whether the process has ended; a zombie has."""
        return self.wait(0)

    def close(self) -> None:
        """Let go of the process."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_checked(proc: ProcFs, incarnation: Incarnation) -> Pidfd:
    """Open a handle on exactly this incarnation.

    Raises:
        ProcessGone: it has ended, or its pid belongs to another process now.
        DriverError: pids read under `proc` are not ours to use, or the kernel refuses (permanent).
    """
    if not proc.same_namespace():
        raise DriverError(foreign(incarnation), permanent=True)
    with ExitStack() as undo:
        handle = undo.enter_context(Pidfd(_open(incarnation), incarnation))
        if not proc.is_running(incarnation):
            raise ProcessGone(f"{incarnation} has ended")
        undo.pop_all()
    return handle


def wait_all(handles: Iterable[Pidfd], timeout_s: float, cancelled: Event | None = None) -> bool:
    """Wait until every process has ended (True), the time is over or `cancelled` is set."""
    poller, open_fds = select.poll(), set()
    for handle in handles:
        poller.register(handle.fileno(), select.POLLIN)
        open_fds.add(handle.fileno())
    left_s = max(0.0, timeout_s)
    while open_fds:
        slice_s = min(left_s, SLICE_S)
        for fd, _ in poller.poll(slice_s * 1000):
            poller.unregister(fd)
            open_fds.discard(fd)
        if open_fds and (left_s <= 0 or (cancelled is not None and cancelled.is_set())):
            return False
        left_s -= slice_s
    return True


def foreign(incarnation: Incarnation) -> str:
    """Say that a pid was read in another PID namespace, where ours would hit something else."""
    return (
        f"{incarnation} was read from the /proc of another PID namespace, where that number is "
        "another process: run leakguard in the same namespace (docker run --pid, "
        "shareProcessNamespace), or use a driver that does not signal"
    )


def refused(incarnation: Incarnation) -> str:
    """Say that the kernel refuses our signals, and which right is missing."""
    return (
        f"not allowed to signal {incarnation} as uid {os.geteuid()}: run leakguard as the same "
        "user, or as root with CAP_KILL"
    )


def _open(incarnation: Incarnation) -> int:
    try:
        return os.pidfd_open(incarnation.pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise ProcessGone(f"{incarnation} has ended") from error
        if error.errno == errno.ENOSYS:
            message = "this kernel has no pidfd_open: Linux 5.3 or newer is needed to signal safely"
        elif error.errno == errno.EPERM:
            message = "pidfd_open is refused by a seccomp filter: allow it in the container's"
        elif error.errno == errno.EINVAL:
            message = f"{incarnation} is a thread, not a process: give the pid of the process"
        else:
            message = f"cannot open a handle on {incarnation}: {error.strerror}"
        raise DriverError(message, permanent=error.errno != errno.EMFILE) from error
