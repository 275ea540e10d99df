"""A request that a server carries out to its end, also when leakguard is killed meanwhile.

supervisord drops what is left of a request when its connection closes: killed between the stop and
the start of a program, leakguard would leave it stopped for ever. So a process of its own, a `cat`
of half a megabyte, holds the connection too and passes the answer on. It ends when the server has
answered; it ignores the signals by which a service manager ends everything that is leakguard's.
"""

import os
import select
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from socket import (
    SO_RCVTIMEO,
    SOL_SOCKET,
    socket as Socket,  # noqa: N812  as the class that it is
)
from subprocess import Popen, TimeoutExpired
from threading import Event

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock
from leakguard.linux.children import Children
from leakguard.linux.pidfd import SLICE_S
from leakguard.linux.spawn import ChildSpec

HOLDER = ("/bin/sh", "-c", 'trap "" HUP INT TERM; exec cat 2>/dev/null')
LONGER_S = 30
"""So much longer than leakguard does the holder wait; then it ends in any case."""
REAP_S = 1.0
"""It ends by itself once it has passed on the whole answer."""
_CHUNK = 65536


def lacks() -> str:
    """Say what is missing for a holder, with the fix; empty when nothing is."""
    missing = [name for name in ("/bin/sh", "cat") if shutil.which(name) is None]
    if not missing:
        return ""
    return f"no {' and '.join(missing)}: install what holds a restart when leakguard is killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long to wait for an answer. `looks` is called in every slice of the wait."""

    limit_s: float
    cancelled: Event
    looks: Callable[[], None] = field(default=lambda: None)


def exchange(
    children: Children, connection: Socket, request: bytes, wait: Wait, clock: Clock
) -> bytes | None:
    """Send a request and give the whole answer; None when the time is over or we are cancelled.

    The connection is closed; the server goes on in any case.

    Raises:
        DriverError: nothing can be started that holds the connection, and nothing was sent.
        OSError: the connection is broken.
    """
    # The limit is the connection's own, so it also ends a holder whose leakguard was killed.
    connection.setblocking(True)
    limit = struct.pack("ll", int(wait.limit_s) + LONGER_S, 0)
    connection.setsockopt(SOL_SOCKET, SO_RCVTIMEO, limit)
    with _held(children, connection) as (holder, answer_fd):
        with connection:
            connection.sendall(request)
        answer = _read(answer_fd, wait, clock)
        if answer is not None:
            with suppress(TimeoutExpired):
                holder.wait(REAP_S)
        return answer


@contextmanager
def _held(children: Children, connection: Socket) -> Iterator[tuple[Popen[bytes], int]]:
    read_end, write_end = os.pipe()
    try:
        try:
            helper = children.helper(
                ChildSpec(argv=HOLDER), output=write_end, stdin=connection.fileno()
            )
            with helper as holder:
                os.close(write_end)
                write_end = -1
                yield holder, read_end
        finally:
            if write_end >= 0:
                os.close(write_end)
    finally:
        os.close(read_end)


def _read(fd: int, wait: Wait, clock: Clock) -> bytes | None:
    began, answer = clock.now(), b""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while not wait.cancelled.is_set():
        if clock.now().since(began) > wait.limit_s:
            return None
        if poller.poll(SLICE_S * 1000):
            data = os.read(fd, _CHUNK)
            if not data:
                return answer
            answer += data
        wait.looks()
    return None
