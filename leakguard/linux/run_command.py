"""Run a command to its end: argv without a shell, a deadline, the tail of what it printed."""

import contextlib
import os
import select
import signal
import subprocess
from threading import Event

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.linux.children import Children
from leakguard.linux.pidfd import SLICE_S
from leakguard.linux.spawn import ChildSpec

TAIL_BYTES = 4096
_CHUNK = 65536
_KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. `code` None: not within its time, it was killed; or we were cancelled.

    `held_open`: a process that it left behind still has its output, which is closed now.
    """

    code: int | None
    tail: str
    cancelled: bool = False
    held_open: bool = False


def run_command(
    children: Children,
    spec: ChildSpec,
    *,
    timeout_s: float,
    clock: Clock,
    cancelled: Event,
    keep_bytes: int = TAIL_BYTES,
) -> Ended:
    """Run a command; after `timeout_s` its process group is killed, on `cancelled` it is left.

    The end of the process counts, not of its output: a service that it started in the background
    keeps that open. The last `keep_bytes` of it are given.

    Raises:
        DriverError: it cannot be started.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    output = _Tail(read_end, keep_bytes)
    try:
        try:
            with children.helper(spec, write_end) as popen:
                os.close(write_end)
                write_end = -1
                in_time = _wait(popen, output, _Deadline(clock, timeout_s), cancelled)
                if not in_time and not cancelled.is_set():
                    _kill_group(popen)
        finally:
            if write_end >= 0:
                os.close(write_end)
        open_still = output.drain()
        return Ended(
            code=popen.returncode if in_time else None,
            tail=output.text(),
            cancelled=not in_time and cancelled.is_set(),
            held_open=in_time and open_still,
        )
    finally:
        os.close(read_end)


class _Deadline:
    """Seconds left until a moment."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._began: Instant = clock.now()
        self._seconds = seconds

    def left_s(self) -> float:
        """Give the seconds left, never below zero."""
        return max(0.0, self._seconds - self._clock.now().since(self._began))


class _Tail:
    """The last bytes that came through a pipe."""

    def __init__(self, fd: int, keep_bytes: int) -> None:
        self.fd = fd
        self._most = keep_bytes
        self._kept = b""

    def drain(self) -> bool:
        """Take what is there now; False once every writer has closed."""
        while True:
            try:
                data = os.read(self.fd, _CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._kept = (self._kept + data)[-self._most :]

    def text(self) -> str:
        """Give what was kept, readable."""
        return self._kept.decode(errors="replace").strip()


def _wait(
    popen: subprocess.Popen[bytes], output: _Tail, deadline: _Deadline, cancelled: Event
) -> bool:
    pidfd = os.pidfd_open(popen.pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(output.fd, select.POLLIN)
        while True:
            ready = dict(poller.poll(min(SLICE_S, deadline.left_s()) * 1000))
            if output.fd in ready and not output.drain():
                poller.unregister(output.fd)
            if pidfd in ready:
                popen.wait()
                return True
            if cancelled.is_set() or deadline.left_s() <= 0:
                return False
    finally:
        os.close(pidfd)


def _kill_group(popen: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)  # not reaped yet, so the number is its own
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(timeout=_KILL_WAIT_S)
