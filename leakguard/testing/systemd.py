"""A manager of systemd that says what a test tells it."""

from leakguard.core.errors import ReadingError
from leakguard.linux.systemd_starts import StartBook
from leakguard.linux.systemd_unit import Unit
from leakguard.linux.systemd_words import Patience, Way


class FakeManager(Way):
    """Knows `known`, answers every job with `result`, and notes what it was asked for."""

    def __init__(self, *known: Unit, result: str = "done") -> None:
        """Know these units."""
        self.known = {unit.name: unit for unit in known}
        self.result = result
        self.asked: list[tuple[object, ...]] = []
        self.book = StartBook()
        self.silent = False
        self.refused: Exception | None = None

    def __str__(self) -> str:
        """Name it as a real one is named."""
        return "system manager"

    def unit(self, name: str) -> Unit:
        """Give a unit; one that is not known is told as systemd does."""
        if self.silent:
            raise ReadingError("systemd does not answer")
        missing = Unit(name=name, load_state="not-found", active_state="inactive", sub_state="dead")
        unit = self.known.get(name, missing)
        self.book.seen(unit)
        return unit

    def units(self, pattern: str) -> tuple[Unit, ...]:
        """Give all that are known."""
        return tuple(self.unit(name) for name in self.known)

    def job(self, verb: str, name: str, patience: Patience) -> str:
        """Note the job."""
        self.asked.append((verb, name))
        if self.refused is not None:
            raise self.refused
        return self.result

    def limit(self, name: str, high_bytes: int | None, max_bytes: int | None) -> None:
        """Note the limits."""
        self.asked.append(("limit", name, high_bytes, max_bytes))

    def may(self, name: str) -> None:
        """Refuse what is refused."""
        if self.refused is not None:
            raise self.refused
