"""The dispatcher where threads are short, where it stumbles, and when the guard ends."""

import threading

import pytest

from leakguard.runtime.dispatcher import HOLD_S
from leakguard.store.base import Delivery
from leakguard.store.memory import MemoryStore
from leakguard.testing.notifiers import down
from leakguard.testing.post import Post


def no_thread(_thread: threading.Thread) -> None:
    """Refuse, as the kernel does at its limit of processes."""
    raise RuntimeError("can't start new thread")


def test_a_channel_without_a_thread_recovers_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again a moment later, not at once for ever, and nothing is lost."""
    post = Post()
    post.alert("i-1")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        post.dispatcher.dispatch_due(30)
    assert post.dispatcher.next_wake_wall_s() == post.clock.wall_s + HOLD_S[0]
    post.pump(HOLD_S[0])
    assert post.ops.sent == ["i-1"]


class Failing(MemoryStore):
    """Stumbles over a bug of ours."""

    broken = True

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Fail in a way that nobody expects, once."""
        if self.broken:
            self.broken = False
            raise KeyError("oops")
        super().delivered(delivery, answer)


def test_a_worker_that_dies_leaves_its_channel_alive(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody expected is logged, and the channel goes on after a rest, without a duplicate."""
    post = Post()
    post.store = Failing(post.clock)
    post.dispatcher = post.start()
    post.alert("i-1", "i-2")
    post.dispatcher.dispatch_due(30)
    post.pump(HOLD_S[0])
    assert (post.ops.sent, "KeyError: 'oops'" in caplog.text) == (["i-1", "i-2"], True)


# ---- the end


def finish(post: Post, *, never_again: bool = False, budget_s: float = 30.0) -> dict[str, int]:
    """End, and give what is left."""
    return post.dispatcher.finish(budget_s, never_again=never_again, cancelled=threading.Event())


def test_the_end_sends_what_is_due() -> None:
    """And nothing after it."""
    post = Post()
    post.alert("i-1", "i-2", channels=("ops", "hook"))
    assert finish(post) == {}
    post.alert("i-3")
    post.dispatcher.dispatch_due(30)
    assert (post.ops.sent, post.hook.sent) == (["i-1", "i-2"], ["i-1", "i-2"])


def test_the_end_waits_for_a_slow_channel_and_sends_what_came_meanwhile() -> None:
    """A worker that was busy when the last alert came is not the end of it."""
    post = Post()
    post.ops.gate = threading.Event()
    post.alert("i-1")
    post.dispatcher.dispatch_due(0.01)
    post.alert("i-2")
    threading.Timer(0.1, post.ops.gate.set).start()
    assert (finish(post), post.ops.sent) == ({}, ["i-1", "i-2"])


def test_the_end_does_not_wait_for_ever_and_says_what_is_left() -> None:
    """By channel, those that the store still has."""
    post = Post()
    post.ops.gate = threading.Event()
    post.alert("i-1", "i-2", channels=("ops", "hook"))
    left = finish(post, budget_s=0.2)
    post.ops.gate.set()
    assert (left, post.hook.sent) == ({"ops": 2}, ["i-1", "i-2"])


def test_a_second_signal_cuts_the_last_chance_short() -> None:
    """Whoever asks twice does not wait."""
    post, cancelled = Post(), threading.Event()
    post.ops.gate = threading.Event()
    post.alert("i-1")
    threading.Timer(0.1, cancelled.set).start()
    left = post.dispatcher.finish(1e9, never_again=True, cancelled=cancelled)
    post.ops.gate.set()
    assert left == {"ops": 1}


@pytest.mark.parametrize(("never_again", "sent"), [(False, []), (True, ["i-1"])])
def test_what_waits_for_another_attempt_is_tried_when_there_is_no_other(
    never_again: bool, sent: list[str]
) -> None:
    """With a state file the next start tries it; without one, this is the last chance."""
    post = Post(down(1))
    post.alert("i-1")
    post.dispatcher.dispatch_due(30)
    left = finish(post, never_again=never_again)
    assert (post.ops.sent, left) == (sent, {} if sent else {"ops": 1})


def test_the_end_keeps_no_spacing() -> None:
    """A channel that takes one message a minute gets its last ones all the same."""
    post = Post()
    post.ops.spacing_s = 60.0
    post.alert("i-1", "i-2", "i-3")
    assert (finish(post, budget_s=20.0), post.ops.sent) == ({}, ["i-1", "i-2", "i-3"])
