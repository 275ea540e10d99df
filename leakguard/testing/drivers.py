"""A driver that does what a test tells it to, and remembers its orders."""

from threading import Event

from leakguard.core.sample import Location
from leakguard.drivers.base import Driver, RestartOrder, Stopped


class ScriptedDriver(Driver):
    """Restarts nothing. `release` holds every restart until it is set or the order is cancelled."""

    def __init__(
        self, *, error: Exception | None = None, hold: bool = False, managed: bool = False
    ) -> None:
        """Raise `error` on every restart, or succeed; with `hold`, only after `release`."""
        self.orders: list[RestartOrder] = []
        self.verbs: list[str] = []
        self.began = Event()
        self.release = Event()
        self.ignores_cancel = False
        self.refusal = ""
        self.managed = managed  # type: ignore[misc]  # a test makes both kinds of one class
        self._error = error
        if not hold:
            self.release.set()

    def refuses(self, *, running: bool) -> str:
        """Refuse what the test wants refused."""
        return self.refusal

    def restart(self, order: RestartOrder) -> Stopped:
        """Remember the order, wait as told, and answer as told."""
        return self._obey("restart", order)

    def stop(self, order: RestartOrder) -> Stopped:
        """Do the same for a stop."""
        return self._obey("stop", order)

    def start(self, order: RestartOrder) -> Stopped:
        """Do the same for a start."""
        return self._obey("start", order)

    def _obey(self, verb: str, order: RestartOrder) -> Stopped:
        self.orders.append(order)
        self.verbs.append(verb)
        self.began.set()
        while not self.release.wait(0.01):
            if order.cancelled.is_set() and not self.ignores_cancel:
                break
        if self._error is not None:
            raise self._error
        return Stopped(stop_s=0.5, message="done as told")

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Find nothing wrong."""
        return ()

    def describe(self) -> str:
        """Say what it is."""
        return "does what a test says"

    def who_starts(self) -> str:
        """Say that the test does."""
        return "the test"
