"""One reading of the clocks: wall time for people and calendars, boot time for durations."""

from datetime import UTC, datetime
from typing import Protocol

from leakguard.core.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=False)
class Instant:
    """A moment. Durations are differences of `boot_s`; calendars and people read `wall_s`.

    `boot_s` is CLOCK_BOOTTIME (seconds since boot, counting sleep), comparable only under the
    same `boot_id`. `wall_s` is seconds since the epoch, UTC.
    """

    wall_s: float
    boot_s: float
    boot_id: str

    def since(self, earlier: "Instant") -> float:
        """Seconds from `earlier` to this instant; across a reboot the wall clock is all we have."""
        if earlier.boot_id == self.boot_id:
            return self.boot_s - earlier.boot_s
        return max(0.0, self.wall_s - earlier.wall_s)

    def plus(self, seconds: float) -> "Instant":
        """Give the instant `seconds` later."""
        return Instant(
            wall_s=self.wall_s + seconds, boot_s=self.boot_s + seconds, boot_id=self.boot_id
        )

    def rfc3339(self) -> str:
        """Print the wall time as `2026-11-22T21:00:00Z`."""
        return rfc3339(self.wall_s)


def rfc3339(wall_s: float) -> str:
    """Print seconds since the epoch as `2026-11-22T21:00:00Z`."""
    return datetime.fromtimestamp(int(wall_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Clock(Protocol):
    """The one reader of time, handed to whatever has to measure a wait."""

    def now(self) -> Instant:
        """Read both clocks."""
        ...
