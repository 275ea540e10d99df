"""A clock that moves only when told to."""

from leakguard.core.instant import Instant

BOOT_ID = "00000000-0000-0000-0000-000000000000"
EPOCH_S = 1_795_000_000.0
"""Some moment in November 2026."""
BOOTED_S = 20.0
"""Seconds since boot when leakguard starts with the machine."""


class FakeClock:
    """Reads what it was set to; wall and boot time can be moved apart."""

    def __init__(self, wall_s: float = EPOCH_S, boot_s: float = 10_000.0) -> None:
        """Start at the given times."""
        self.wall_s, self.boot_s, self.boot_id = wall_s, boot_s, BOOT_ID
        self._boots, self._earlier_s = 0, 0.0

    def now(self) -> Instant:
        """Give the current moment."""
        return Instant(wall_s=self.wall_s, boot_s=self.boot_s, boot_id=self.boot_id)

    @property
    def lived_s(self) -> float:
        """True time: it only goes forward, at its own pace, over every reboot."""
        return self._earlier_s + self.boot_s

    def advance(self, seconds: float) -> Instant:
        """Let time pass on both clocks."""
        self.wall_s += seconds
        self.boot_s += seconds
        return self.now()

    def set_wall(self, wall_s: float) -> None:
        """Set the wall clock, as an operator or NTP does; boot time goes on."""
        self.wall_s = wall_s

    def reboot(self, down_s: float) -> None:
        """Start the machine anew after a while: seconds since boot begin again."""
        self.wall_s += down_s
        self._earlier_s = self.lived_s + down_s - BOOTED_S
        self.boot_s = BOOTED_S
        self._boots += 1
        self.boot_id = f"{self._boots:08x}{BOOT_ID[8:]}"
