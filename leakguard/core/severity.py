"""How loud something is."""

from enum import StrEnum


class Severity(StrEnum):
    """How loud an event is; routes choose channels by it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Order from quiet to loud."""
        return ("info", "warning", "critical").index(self.value)
