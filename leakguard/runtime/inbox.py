"""Where everything that is new waits for the next tick: outcomes, requests, schedules, notices."""

import threading
from collections.abc import Callable, Iterable

from leakguard.core.decision import Reply
from leakguard.core.engine import Notice
from leakguard.core.errors import DaemonError
from leakguard.core.foretold import Foretold
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import Outcome, Request, ScheduleDue

ENDING = "the guard is ending: nothing was done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What one tick takes out of the inbox."""

    outcomes: tuple[Outcome, ...] = ()
    requests: tuple[Request, ...] = ()
    notices: tuple[Notice, ...] = ()
    foretold: tuple[Foretold, ...] = ()


class Inbox:
    """Filled from any thread, emptied by the loop.

    Only people can fill it without bound, so only their requests are refused when it is full.
    """

    MAX_REQUESTS = 256

    def __init__(self, wake: Callable[[], None]) -> None:
        """Start empty; `wake` is called whenever something comes in."""
        self._wake = wake
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._requests: list[Request] = []
        self._schedules: dict[tuple[str, str], ScheduleDue] = {}
        self._notices: list[Notice] = []
        self._foretold: dict[str, Foretold] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._closed = ""

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

    def foretold(self, news: Foretold) -> None:
        """Put in whom the kernel would kill; the newest of each domain. It wakes nobody."""
        with self._lock:
            self._foretold[news.domain] = news

    def post(self, due: ScheduleDue) -> None:
        """Put in a due moment; it takes the place of an earlier one of the same schedule."""
        with self._lock:
            self._keep_latest(due)
        self._wake()

    def ask(self, request: Request, request_id: str, timeout_s: float) -> Reply:
        """Put in a person's request and wait for the engine's reply.

        Raises:
            DaemonError: too many wait already, the guard is ending, its tick failed, or the loop
                did not answer in time.
        """
        waiting = _Waiting()
        with self._lock:
            if self._closed:
                raise DaemonError(self._closed)
            if len(self._requests) >= self.MAX_REQUESTS:
                raise DaemonError("too many requests are waiting; try again")
            self._waiting[request_id] = waiting
            self._requests.append(request)
        self._wake()
        waiting.done.wait(timeout_s)
        return self._reply_to(request, request_id, waiting, timeout_s)

    def take(self) -> Mail:
        """Take everything out."""
        with self._lock:
            mail = Mail(
                outcomes=tuple(self._outcomes),
                requests=(*self._requests, *self._schedules.values()),
                notices=tuple(self._notices),
                foretold=tuple(self._foretold.values()),
            )
            self._outcomes, self._requests, self._notices = [], [], []
            self._schedules, self._foretold = {}, {}
        return mail

    def put_back(self, mail: Mail) -> None:
        """Put in again what could not be dealt with, before what came since; not the requests."""
        with self._lock:
            self._outcomes[:0] = mail.outcomes
            self._notices[:0] = mail.notices
            for request in mail.requests:
                if isinstance(request, ScheduleDue):
                    self._keep_latest(request)

    def answer(self, replies: Iterable[Reply]) -> None:
        """Hand the engine's replies to those who wait for them."""
        with self._lock:
            for reply in replies:
                waiting = self._waiting.get(reply.request_id)
                if waiting is not None:
                    waiting.reply = reply
                    waiting.done.set()

    def refuse(self, requests: Iterable[Request], why: str) -> None:
        """Tell those who wait for a reply to `requests` why there will be none."""
        with self._lock:
            for request in requests:
                if isinstance(request, ScheduleDue) or request.id not in self._waiting:
                    continue
                self._waiting[request.id].refusal = why
                self._waiting[request.id].done.set()

    def close(self, why: str = ENDING) -> None:
        """Refuse every request that waits, and every later one."""
        with self._lock:
            self._closed = why
            requests, self._requests = self._requests, []
        self.refuse(requests, why)

    def _keep_latest(self, due: ScheduleDue) -> None:
        key = (due.service, due.cron)
        known = self._schedules.get(key)
        if known is None or known.due_wall_s < due.due_wall_s:
            self._schedules[key] = due

    def _reply_to(
        self, request: Request, request_id: str, waiting: "_Waiting", timeout_s: float
    ) -> Reply:
        """Give the reply; a request without one is withdrawn, so that it does not act later."""
        with self._lock:
            self._waiting.pop(request_id, None)
            if waiting.reply is not None:
                return waiting.reply
            if waiting.refusal:
                raise DaemonError(waiting.refusal)
            untouched = [r for r in self._requests if r is not request]
            withdrawn = len(untouched) < len(self._requests)
            self._requests = untouched
        what = "it was withdrawn" if withdrawn else "it may still be carried out"
        raise DaemonError(f"the loop gave no answer within {timeout_s:g} s: {what}; see the log")


class _Waiting:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.reply: Reply | None = None
        self.refusal = ""
