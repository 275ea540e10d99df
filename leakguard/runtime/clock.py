"""The only reader of time."""

import time
from pathlib import Path

from leakguard.core.instant import Instant

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """Reads the wall clock and CLOCK_BOOTTIME of this machine."""

    def __init__(self) -> None:
        """Learn which boot this is; without /proc, boot times of this run are still comparable."""
        try:
            self._boot_id = BOOT_ID_FILE.read_text(encoding="ascii").strip()
        except OSError:
            self._boot_id = "unknown"

    def now(self) -> Instant:
        """Read both clocks."""
        return Instant(
            wall_s=time.time(),
            boot_s=time.clock_gettime(time.CLOCK_BOOTTIME),
            boot_id=self._boot_id,
        )
