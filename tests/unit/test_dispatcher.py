"""The dispatcher: when what is sent again, when it is given up, who is told of it."""

import threading
from collections.abc import Callable

import pytest

from leakguard.core.errors import NotifyError, StoreError
from leakguard.core.events import EventKind
from leakguard.runtime.dispatcher import HOLD_S
from leakguard.store.base import Delivery, DeliveryState
from leakguard.store.memory import MemoryStore
from leakguard.testing.notifiers import FakeNotifier, down
from leakguard.testing.post import Post
from leakguard.testing.ticks import event, tick


def told(post: Post) -> list[tuple[str, object, str]]:
    """Give kind, channel and severity of what people are told."""
    return [(n.kind, n.details["channel"], n.severity) for n in post.notices]


def test_what_is_due_is_sent_once() -> None:
    """And not again."""
    post = Post()
    post.alert("i-1", "i-2", channels=("ops", "hook"))
    post.dispatcher.dispatch_due(30)
    post.dispatcher.dispatch_due(30)
    assert (post.ops.sent, post.hook.sent) == (["i-1", "i-2"], ["i-1", "i-2"])
    assert post.dispatcher.next_wake_wall_s() is None


def test_back_off() -> None:
    """Tried again after 5 s, 30 s, 5 min, 30 min and 2 h, a little more or less."""
    post = Post(down(6))
    post.alert("i-1")
    post.dispatcher.dispatch_due(30)
    waits = [post.pump_until_asked(n) for n in range(2, 8)]
    for wait, expected in zip(waits, (5, 30, 300, 1800, 7200, 7200), strict=True):
        assert expected * 0.89 <= wait <= expected * 1.11 + 0.2
    assert post.ops.sent == ["i-1"]


def test_given_up_after_a_day() -> None:
    """Then nobody wants to hear of it any more."""
    post = Post(down())
    post.alert("i-1")
    post.pump(25 * 3600, every_s=60)
    assert [d.state for d in post.store.deliveries()] == [DeliveryState.GAVE_UP]
    assert 10 < len(post.ops.asked) < 20
    assert told(post) == [
        (EventKind.DELIVERY_FAILED, "ops", "warning"),
        (EventKind.DELIVERY_FAILED, "ops", "critical"),
    ]


def test_a_clock_that_leaps_gives_nothing_up() -> None:
    """A board without a clock of its own starts in 1970 and learns the year later."""
    post = Post(down(1))
    post.clock.set_wall(10.0)
    post.alert("i-1")
    post.clock.set_wall(1_795_000_000.0)
    post.pump(10)
    assert post.ops.sent == ["i-1"]


def test_retry_after_is_kept() -> None:
    """The receiver knows better than our back-off."""
    post = Post([NotifyError("429", retry_after_s=90)])
    post.alert("i-1", "i-2")
    post.dispatcher.dispatch_due(30)
    post.pump(89)
    assert post.ops.asked == ["i-1"]
    post.pump(2)
    assert sorted(post.ops.sent) == ["i-1", "i-2"]


def test_retry_after_has_a_bound() -> None:
    """Nobody silences the guard for a year."""
    post = Post([NotifyError("429", retry_after_s=1e9)])
    post.alert("i-1")
    post.dispatcher.dispatch_due(30)
    assert post.dispatcher.next_wake_wall_s() == post.clock.wall_s + 3600


def test_permanent_is_given_up_at_once_and_told() -> None:
    """The others learn of it once, and of the recovery."""
    post = Post([NotifyError("404 no_service", permanent=True)] * 2)
    post.alert("i-1", "i-2", "i-3")
    post.dispatcher.dispatch_due(30)
    states = {d.alert.id: d.state for d in post.store.deliveries()}
    assert states == {
        "i-1": DeliveryState.GAVE_UP,
        "i-2": DeliveryState.GAVE_UP,
        "i-3": DeliveryState.OK,
    }
    assert told(post) == [
        (EventKind.DELIVERY_FAILED, "ops", "critical"),
        (EventKind.DELIVERY_RECOVERED, "ops", "warning"),
    ]
    assert "404 no_service" in post.notices[0].message


def test_an_hour_of_500_is_told_once_and_recovers() -> None:
    """One message that it fails, one that it works again, and every alert arrives."""
    post = Post()
    post.ops.script = down()
    for n in range(12):
        post.alert(f"i-{n}")
        post.pump(300, every_s=10)
    assert told(post) == [(EventKind.DELIVERY_FAILED, "ops", "warning")]
    assert len(post.ops.asked) < 20
    post.ops.script = []
    post.pump(330, every_s=10)
    assert sorted(set(post.ops.sent)) == sorted(f"i-{n}" for n in range(12))
    assert len(post.ops.sent) == 12
    assert told(post)[1:] == [(EventKind.DELIVERY_RECOVERED, "ops", "warning")]


def test_one_hiccup_is_not_told() -> None:
    """A single failure is what back-off is for."""
    post = Post(down(2))
    post.alert("i-1")
    post.pump(60)
    assert (post.ops.sent, post.notices) == (["i-1"], [])


def test_a_hanging_channel_does_not_delay_another() -> None:
    """Each channel has its own thread; a busy one is left alone until it ends."""
    post = Post()
    post.ops.gate = threading.Event()
    post.alert("i-1", channels=("ops", "hook"))
    post.dispatcher.dispatch_due(0.05)
    post.alert("i-2", channels=("ops", "hook"))
    post.dispatcher.dispatch_due(0.05)
    _until(lambda: post.hook.sent == ["i-1", "i-2"])
    assert (post.ops.asked, post.ops.sent) == (["i-1"], [])
    post.ops.gate.set()
    _until(lambda: post.ops.sent == ["i-1"])
    _until(lambda: _pumped(post))
    assert post.ops.asked == ["i-1", "i-2"]


def _pumped(post: Post) -> bool:
    post.dispatcher.dispatch_due(5)
    return post.ops.sent == ["i-1", "i-2"]


def _until(true: Callable[[], bool]) -> None:
    """Wait for other threads, with a deadline."""
    wait = threading.Event()
    for _ in range(500):
        if true():
            return
        wait.wait(0.01)
    pytest.fail("did not happen within 5 s")


def test_a_stuck_channel_is_told() -> None:
    """A receiver that neither answers nor ends is a failure too."""
    post = Post()
    post.ops.gate = threading.Event()
    post.alert("i-1")
    post.dispatcher.dispatch_due(0.01)
    post.clock.advance(121)
    post.dispatcher.dispatch_due(0.01)
    post.ops.gate.set()
    assert told(post) == [(EventKind.DELIVERY_FAILED, "ops", "warning")]


def test_spacing() -> None:
    """Slack takes one message a second: the second one waits for its turn."""
    post = Post()
    post.ops.spacing_s = 0.05
    post.alert("i-1", "i-2")
    post.dispatcher.dispatch_due(30)
    assert post.ops.sent == ["i-1", "i-2"]


def test_stop_sends_nothing_more() -> None:
    """A daemon that ends leaves the rest for its successor."""
    post = Post()
    post.ops.spacing_s = 60
    post.alert("i-1", "i-2")
    post.dispatcher.dispatch_due(0.2)
    post.dispatcher.stop()
    _until(lambda: not [t for t in threading.enumerate() if t.name == "notify-ops"])
    post.dispatcher.dispatch_due(30)
    assert post.ops.sent == ["i-1"]
    assert [d.alert.id for d in post.store.due(post.clock.wall_s)] == ["i-2"]


def test_a_broken_plug_in_is_a_failure_like_any_other() -> None:
    """Its mistake neither ends the thread nor the queue, and its text is not spread."""
    post = Post([RuntimeError("token=secret")])
    post.alert("i-1")
    post.dispatcher.dispatch_due(30)
    assert [d.answer for d in post.store.deliveries()] == ["RuntimeError"]
    post.pump(10)
    assert post.ops.sent == ["i-1"]


class Forgetful(MemoryStore):
    """Cannot note the first delivery."""

    broken = True

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Fail once."""
        if self.broken:
            self.broken = False
            raise StoreError("disk full")
        super().delivered(delivery, answer)


def test_what_could_not_be_noted_is_not_sent_again() -> None:
    """A full disk must not flood people."""
    post = Post()
    post.store = Forgetful(post.clock)
    post.dispatcher = post.start()
    post.alert("i-1")
    post.dispatcher.dispatch_due(30)
    post.pump(HOLD_S[0])
    assert post.ops.sent == ["i-1"]
    assert [d.state for d in post.store.deliveries()] == [DeliveryState.OK]


def test_a_channel_that_is_no_longer_there_waits_a_day() -> None:
    """Perhaps it comes back with the next reload."""
    post = Post()
    post.alert("i-1", channels=("pager",))
    post.dispatcher.dispatch_due(30)
    assert post.dispatcher.next_wake_wall_s() is None
    pager = FakeNotifier()
    post.dispatcher.replace({"pager": pager})
    post.dispatcher.dispatch_due(30)
    assert pager.sent == ["i-1"]
    post.alert("i-2", channels=("gone",))
    post.pump(86_400, every_s=3_600)
    assert post.store.deliveries(limit=1)[0].state is DeliveryState.GAVE_UP


def test_recovery_is_told_after_a_restart_of_the_daemon() -> None:
    """People who were told that it fails are told that it works, by whatever process."""
    post = Post()
    failed = event("e-1", service="", kind=EventKind.DELIVERY_FAILED)
    details = {"channel": "ops", "permanent": False}
    known = type(failed)(
        **{n: getattr(failed, n) for n in type(failed).__dataclass_fields__} | {"details": details}
    )
    post.store.commit(tick(post.clock.now(), events=(known,)))
    post.dispatcher = post.start()
    post.alert("i-1")
    post.dispatcher.dispatch_due(30)
    assert told(post) == [(EventKind.DELIVERY_RECOVERED, "ops", "warning")]
