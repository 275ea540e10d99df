"""The inbox: taken out once, answered always, bounded only where people fill it."""

import threading

import pytest

from leakguard.core.decision import Reply
from leakguard.core.engine import Notice
from leakguard.core.errors import DaemonError
from leakguard.core.inbox import (
    Outcome,
    OutcomeKind,
    PauseRequest,
    RestartRequest,
    ScheduleDue,
)
from leakguard.runtime.inbox import Inbox, Mail

ASK = RestartRequest(id="r", service="worker")
OUTCOME = Outcome(action_id="i", service="worker", kind=OutcomeKind.DONE)
NOTICE = Notice(kind="ClockJumped", service="", severity="info", message="set")


def due(service: str = "worker", at: float = 100.0) -> ScheduleDue:
    """Make a due moment."""
    return ScheduleDue(service=service, cron="0 3 * * *", due_wall_s=at)


class Asking:
    """A person who asks in a thread of their own."""

    def __init__(self, inbox: Inbox, request: PauseRequest | RestartRequest = ASK) -> None:
        self.got: list[Reply | str] = []
        self._inbox, self._request = inbox, request
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.got.append(self._inbox.ask(self._request, self._request.id, 30.0))
        except DaemonError as error:
            self.got.append(str(error))

    def answer(self) -> list[Reply | str]:
        """Give what came of it."""
        self._thread.join(30.0)
        return self.got


@pytest.fixture
def posted() -> "Posted":
    """Give an inbox that tells when something came in."""
    return Posted()


class Posted:
    """An inbox, and how many times it woke the loop."""

    def __init__(self) -> None:
        self._woken = threading.Semaphore(0)
        self.inbox = Inbox(self._woken.release)

    def arrived(self) -> None:
        """Wait for one more to come in."""
        assert self._woken.acquire(timeout=30.0)


def test_everything_is_taken_out_once_and_wakes() -> None:
    """In the order in which it came."""
    woken: list[int] = []
    inbox = Inbox(lambda: woken.append(1))
    inbox.outcome(OUTCOME)
    inbox.notice(NOTICE)
    inbox.post(due())
    assert inbox.take() == Mail(outcomes=(OUTCOME,), requests=(due(),), notices=(NOTICE,))
    assert (inbox.take(), len(woken)) == (Mail(), 3)


def test_a_person_waits_for_the_reply(posted: Posted) -> None:
    """The loop answers."""
    reply = Reply(request_id="r", accepted=True, message="asked for")
    other = Reply(request_id="nobody", accepted=True, message="")
    asking = Asking(posted.inbox)
    posted.arrived()
    assert posted.inbox.take().requests == (ASK,)
    posted.inbox.answer((other, reply))
    assert asking.answer() == [reply]


def test_a_request_that_nobody_answered_is_withdrawn() -> None:
    """Nobody waits for ever, and what was not answered does not act later."""
    inbox = Inbox(lambda: None)
    with pytest.raises(DaemonError, match=r"no answer within 0\.01 s: it was withdrawn"):
        inbox.ask(ASK, "r", 0.01)
    assert inbox.take() == Mail()


def test_a_request_that_was_taken_may_still_act(posted: Posted) -> None:
    """Then it is said so."""

    def take() -> None:
        posted.arrived()
        posted.inbox.take()

    taking = threading.Thread(target=take)
    taking.start()
    with pytest.raises(DaemonError, match="it may still be carried out"):
        posted.inbox.ask(ASK, "r", 1.0)
    taking.join(30.0)


def test_a_full_inbox_refuses_requests_and_nothing_else(
    posted: Posted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes are the truth about acts, schedules have no other moment; a person can ask again."""
    monkeypatch.setattr(Inbox, "MAX_REQUESTS", 1)
    waits = Asking(posted.inbox)
    posted.arrived()
    with pytest.raises(DaemonError, match="too many requests are waiting"):
        posted.inbox.ask(PauseRequest(id="p", service="worker"), "p", 30.0)
    posted.inbox.outcome(OUTCOME)
    for number in range(Inbox.MAX_REQUESTS + 2):
        posted.inbox.post(due(f"s{number}"))
    mail = posted.inbox.take()
    assert (mail.outcomes, len(mail.requests)) == ((OUTCOME,), 1 + 3)
    posted.inbox.close()
    posted.inbox.refuse(mail.requests, "over")
    assert waits.answer() == ["over"]


def test_a_later_moment_of_a_schedule_takes_the_place_of_an_earlier_one() -> None:
    """A loop that stands still is not given one restart after another."""
    inbox = Inbox(lambda: None)
    for at in (100.0, 220.0, 160.0):
        inbox.post(due(at=at))
    assert inbox.take().requests == (due(at=220.0),)


def test_the_end_answers_those_who_wait_and_those_who_come(posted: Posted) -> None:
    """Nobody waits for a loop that is over."""
    waits = Asking(posted.inbox)
    posted.arrived()
    posted.inbox.close()
    assert waits.answer() == ["the guard is ending: nothing was done"]
    with pytest.raises(DaemonError, match="the guard is ending: nothing was done"):
        posted.inbox.ask(ASK, "r", 30.0)
    assert posted.inbox.take() == Mail()


def test_what_is_put_back_comes_first() -> None:
    """Outcomes and notices in their order, schedules unless a later moment came; no requests."""
    inbox = Inbox(lambda: None)
    later = Outcome(action_id="j", service="worker", kind=OutcomeKind.DONE)
    inbox.outcome(later)
    inbox.post(due(at=160.0))
    inbox.put_back(
        Mail(outcomes=(OUTCOME,), requests=(ASK, due(), due("other")), notices=(NOTICE,))
    )
    assert inbox.take() == Mail(
        outcomes=(OUTCOME, later), requests=(due(at=160.0), due("other")), notices=(NOTICE,)
    )
