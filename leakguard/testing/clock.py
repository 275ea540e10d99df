"""A clock that moves only when told to."""

from leakguard.core.instant import Instant

BOOT_ID = "00000000-0000-0000-0000-000000000000"
EPOCH_S = 1_795_000_000.0
"""Some moment in November 2026."""


class FakeClock:
    """Reads what it was set to; wall and boot time can be moved apart."""

    def __init__(self, wall_s: float = EPOCH_S, boot_s: float = 10_000.0) -> None:
        """Start at the given times."""
        self.wall_s, self.boot_s, self.boot_id = wall_s, boot_s, BOOT_ID

    def now(self) -> Instant:
        """Give the current moment."""
        return Instant(wall_s=self.wall_s, boot_s=self.boot_s, boot_id=self.boot_id)

    def advance(self, seconds: float) -> Instant:
        """Let time pass on both clocks."""
        self.wall_s += seconds
        self.boot_s += seconds
        return self.now()

    def set_wall(self, wall_s: float) -> None:
        """Set the wall clock, as an operator or NTP does; boot time goes on."""
        self.wall_s = wall_s
