"""What every way to a manager of systemd offers, and what its refusals mean."""

import os
import re
from abc import ABC, abstractmethod
from threading import Event

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.linux.systemd_unit import Unit

RIGHT = "org.freedesktop.systemd1.manage-units"
RULE = "config/polkit/50-leakguard.rules"
_DENIED = re.compile(
    r"AccessDenied|InteractiveAuthorizationRequired|AuthFailed"
    r"|access denied|permission denied|interactive authentication required|not authorized",
    re.IGNORECASE,
)
_FOR_GOOD = re.compile(
    r"NoSuchUnit|LoadFailed|UnitMasked|OnlyByDependency|BadUnitSetting|UnitGenerated"
    r"|not found|is masked|could not be found|not loaded|by dependency|bad unit file",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Patience:
    """How long a job is waited for."""

    clock: Clock
    began: Instant
    limit_s: float
    cancelled: Event

    @classmethod
    def of(cls, clock: Clock, limit_s: float, cancelled: Event) -> "Patience":
        """Begin to wait now."""
        return cls(clock, clock.now(), limit_s, cancelled)

    def left_s(self) -> float:
        """Give the seconds left."""
        return max(0.0, self.limit_s - self.clock.now().since(self.began))

    def lasts(self) -> bool:
        """Tell whether to go on waiting."""
        return not self.cancelled.is_set() and self.left_s() > 0


class Way(ABC):
    """One way to speak with a manager. Jobs are `restart`, `stop` and `start`."""

    @abstractmethod
    def unit(self, name: str) -> Unit:
        """Ask for a unit; one that does not exist is told by its `load_state`.

        Raises:
            ReadingError: the manager does not answer.
        """

    @abstractmethod
    def units(self, pattern: str) -> tuple[Unit, ...]:
        """Ask for every loaded service whose name matches.

        Raises:
            ReadingError: the manager does not answer.
        """

    @abstractmethod
    def job(self, verb: str, name: str, patience: Patience) -> str:
        """Have a job done and wait for its end; gives `done`, `failed` …; "": not ended in time.

        Raises:
            DriverError: it was refused.
        """

    @abstractmethod
    def limit(self, name: str, high_bytes: int | None, max_bytes: int | None) -> None:
        """Set MemoryHigh and MemoryMax at run time; None: no limit.

        Raises:
            DriverError: it was refused.
        """

    @abstractmethod
    def may(self, name: str) -> None:
        """Ask whether we may manage a unit, without changing anything.

        Raises:
            DriverError: we may not.
        """


def problem(name: str, kind: str, text: str) -> tuple[str, bool]:
    """Say what a refusal means, and whether it will be the same the next time."""
    if _DENIED.search(f"{kind} {text}"):
        who = f"uid {os.geteuid()} may not manage {name} ({RIGHT})"
        return f"{who}: allow it by the polkit rule {RULE}, or run leakguard as root", True
    said = text.strip().splitlines()[0] if text.strip() else kind
    return f"systemd refused {name}: {said}", bool(_FOR_GOOD.search(f"{kind} {text}"))
