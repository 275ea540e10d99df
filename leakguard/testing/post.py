"""A dispatcher over a memory store, as a test drives it: time passes when told to."""

from collections.abc import Iterable

from leakguard.core.engine import Notice
from leakguard.runtime.dispatcher import Dispatcher
from leakguard.store.memory import MemoryStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import FakeNotifier, alert
from leakguard.testing.ticks import tick


class Post:
    """The dispatcher, its store, and the channels `ops` and `hook`."""

    def __init__(self, ops: Iterable[Exception | None] = ()) -> None:
        """Let `ops` answer by a script."""
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.ops, self.hook = FakeNotifier(ops), FakeNotifier()
        self.notices: list[Notice] = []
        self.dispatcher = self.start()

    def start(self) -> Dispatcher:
        """Begin as after a restart of the daemon."""
        channels = {"ops": self.ops, "hook": self.hook}
        return Dispatcher(self.store, channels, self.clock, self.notices.append, seed=1)

    def alert(self, *ids: str, channels: tuple[str, ...] = ("ops",)) -> None:
        """Commit alerts."""
        alerts = tuple(alert(i, channels=channels) for i in ids)
        self.store.commit(tick(self.clock.now(), alerts=alerts))

    def pump(self, seconds: float, every_s: float = 1.0) -> None:
        """Let time pass while the scheduler calls."""
        for _ in range(int(seconds / every_s)):
            self.clock.advance(every_s)
            self.dispatcher.dispatch_due(30)

    def pump_until_asked(self, times: int) -> float:
        """Let time pass, wake by wake, until the receiver was asked so often; gives seconds."""
        began = self.clock.wall_s
        while len(self.ops.asked) < times:
            wake = self.dispatcher.next_wake_wall_s()
            if wake is None:
                raise AssertionError("nothing is pending")
            self.clock.advance(max(0.1, wake - self.clock.wall_s))
            self.dispatcher.dispatch_due(30)
        return self.clock.wall_s - began
