"""Where everything that is new waits for the next tick: outcomes, requests, notices."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from leakguard.core.decision import Reply
from leakguard.core.engine import Notice
from leakguard.core.errors import DaemonError
from leakguard.core.inbox import Outcome, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What one tick takes out of the inbox."""

    outcomes: tuple[Outcome, ...] = ()
    requests: tuple[Request, ...] = ()
    notices: tuple[Notice, ...] = ()


class Inbox:
    """Filled from any thread, emptied by the loop. A full inbox refuses requests, not outcomes."""

    MAX_REQUESTS = 256

    def __init__(self, wake: Callable[[], None]) -> None:
        """Start empty; `wake` is called whenever something comes in."""
        self._wake = wake
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._requests: list[Request] = []
        self._notices: list[Notice] = []
        self._waiting: dict[str, _Waiting] = {}

    def outcome(self, outcome: Outcome) -> None:
        """Put in what came of an action."""
        with self._lock:
            self._outcomes.append(outcome)
        self._wake()

    def notice(self, notice: Notice) -> None:
        """Put in something that the shell saw."""
        with self._lock:
            self._notices.append(notice)
        self._wake()

    def post(self, request: Request) -> None:
        """Put in a request that nobody waits for (a due schedule)."""
        self._add(request)

    def ask(self, request: Request, request_id: str, timeout_s: float) -> Reply:
        """Put in a person's request and wait for the engine's reply."""
        waiting = _Waiting()
        with self._lock:
            self._waiting[request_id] = waiting
        try:
            self._add(request)
            if not waiting.done.wait(timeout_s) or waiting.reply is None:
                raise DaemonError(f"the loop gave no answer within {timeout_s:g} s; see the log")
            return waiting.reply
        finally:
            with self._lock:
                self._waiting.pop(request_id, None)

    def take(self) -> Mail:
        """Take everything out."""
        with self._lock:
            mail = Mail(
                outcomes=tuple(self._outcomes),
                requests=tuple(self._requests),
                notices=tuple(self._notices),
            )
            self._outcomes, self._requests, self._notices = [], [], []
        return mail

    def answer(self, replies: tuple[Reply, ...]) -> None:
        """Hand the engine's replies to those who wait for them."""
        with self._lock:
            for reply in replies:
                waiting = self._waiting.get(reply.request_id)
                if waiting is not None:
                    waiting.reply = reply
                    waiting.done.set()

    def _add(self, request: Request) -> None:
        with self._lock:
            if len(self._requests) >= self.MAX_REQUESTS:
                raise DaemonError("too many requests are waiting; try again")
            self._requests.append(request)
        self._wake()


class _Waiting:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.reply: Reply | None = None
