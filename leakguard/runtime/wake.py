"""What wakes the loop: an eventfd that any thread or signal handler may set, and watched files."""

import os
import select
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from leakguard.core.errors import DaemonError

T = TypeVar("T")

MAX_WAIT_S = 3600.0
ANSWER_S = 60.0


class Wake:
    """Waits on the monotonic clock. Setting it takes no lock, so a signal handler may do it."""

    def __init__(self) -> None:
        """Open the eventfd."""
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        """Wake the loop; many calls before it looks count once."""
        os.eventfd_write(self._fd, 1)

    def wait(self, timeout_s: float, watched: Iterable[int] = ()) -> None:
        """Wait until set, until a watched descriptor is readable, or for `timeout_s`."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        for fd in watched:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(max(0.0, min(timeout_s, MAX_WAIT_S)) * 1000)
        if any(fd == self._fd for fd, _ in ready):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Close the eventfd."""
        os.close(self._fd)


class MainThread:
    """Runs functions in the main thread for others: what it starts dies with it, not with them."""

    def __init__(self, wake: Wake) -> None:
        """Serve calls between ticks of the loop that `wake` wakes."""
        self._wake = wake
        self._main = threading.main_thread()
        self._calls: list[tuple[Callable[[], Any], _Answer]] = []
        self._closed = threading.Event()

    def __call__(self, work: Callable[[], T], /) -> T:
        """Run `work` in the main thread and give what it gives; raises what it raises."""
        if threading.current_thread() is self._main or self._closed.is_set():
            return work()
        answer = _Answer()
        self._calls.append((work, answer))
        self._wake.set()
        if self._closed.is_set() and answer.claim():  # it was closed meanwhile: nobody will look
            return work()
        return cast("T", answer.wait())

    def run_pending(self) -> None:
        """Run what was asked for; called by the loop."""
        while self._calls:
            work, answer = self._calls.pop(0)
            if not answer.claim():
                continue
            try:
                answer.give(work())
            except Exception as error:  # noqa: BLE001  handed to the thread that asked
                answer.fail(error)

    def close(self) -> None:
        """Stop serving: later calls run where they are made."""
        self._closed.set()
        self.run_pending()


class _Answer:
    """Belongs to whoever claims it first: the thread that does the work, or who gives it up."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._claimed = False
        self._value: Any = None
        self._error: Exception | None = None

    def claim(self) -> bool:
        with self._lock:
            claimed, self._claimed = self._claimed, True
        return not claimed

    def give(self, value: object) -> None:
        self._value = value
        self._done.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._done.set()

    def wait(self) -> object:
        # Work that has begun is waited for once more: what it started must have an owner.
        if not self._done.wait(ANSWER_S) and (self.claim() or not self._done.wait(ANSWER_S)):
            raise DaemonError(f"the main thread gave no answer within {ANSWER_S:g} s")
        if self._error is not None:
            raise self._error
        return self._value
