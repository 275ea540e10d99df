"""No sequence of crashes, outages and clock jumps loses an alert or repeats it without a crash."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

from hypothesis import given, settings, strategies as st

from leakguard.core.alerts import Alert
from leakguard.core.errors import NotifyError
from leakguard.notifiers.base import Notifier
from leakguard.runtime.dispatcher import Dispatcher
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert
from leakguard.testing.ticks import tick

Act = Literal["alert", "dispatch", "crash", "crash_after_send", "down", "up", "back", "ahead"]
ACTS = st.lists(st.sampled_from(get_args(Act)), max_size=25)


class World(Notifier):
    """A daemon with one channel, its state file, and the receiver, which outlives them."""

    def __init__(self, path: str) -> None:
        self.path, self.clock = path, FakeClock()
        self.got: Counter[str] = Counter()
        self.down = False
        self.die_after_send = False
        self.alerts: list[str] = []
        self.crashes = 0
        self.start()

    def start(self) -> None:
        """Begin again with what the file holds."""
        self.store = SqliteStore(self.path, self.clock)
        self.dispatcher = Dispatcher(self.store, {"ops": self}, self.clock, lambda _: None, seed=1)

    def crash(self) -> None:
        """End without a word: nothing more reaches the file."""
        self.crashes += 1
        self.store.database.close()
        self.start()

    def send(self, alert: Alert) -> str:
        """Receive; perhaps the daemon dies before it can note that."""
        if self.down:
            raise NotifyError("down")
        self.got[alert.id] += 1
        if self.die_after_send:
            self.store.database.close()
        return "ok"

    def preview(self, alert: Alert) -> str:
        """Show the id."""
        return alert.id

    def act(self, act: Act) -> None:
        """Do one thing of the sequence."""
        match act:
            case "alert":
                self.alerts.append(f"i-{len(self.alerts)}")
                self.store.commit(tick(self.clock.now(), alerts=(alert(self.alerts[-1]),)))
            case "dispatch":
                self.clock.advance(20)
                self.dispatcher.dispatch_due(30)
            case "crash":
                self.crash()
            case "crash_after_send":
                self.die_after_send = True
                self.dispatcher.dispatch_due(30)
                self.die_after_send = False
                self.crash()
            case "down" | "up":
                self.down = act == "down"
            case "back" | "ahead":
                self.clock.set_wall(self.clock.wall_s + (3600 if act == "ahead" else -3600))


@settings(max_examples=60, deadline=None)
@given(ACTS)
def test_every_alert_arrives_and_only_crashes_repeat_it(acts: list[Act]) -> None:
    """At least once each; at most once more for each crash; none waits when all is well."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(str(Path(folder) / "state.db"))
        for act in acts:
            world.act(act)
        world.down = False
        for _ in range(60):
            world.clock.advance(200)
            world.dispatcher.dispatch_due(30)
        assert sorted(world.got) == sorted(world.alerts)
        assert sum(world.got.values()) <= len(world.alerts) + world.crashes
        assert world.store.next_due() == {}
        world.store.close()
