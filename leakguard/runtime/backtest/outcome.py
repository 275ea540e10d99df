"""What came of a policy: restarts with their reasons, kills, and what was needless."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import field

from leakguard.core.frozen import dataclass
from leakguard.core.policy import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """One simulated restart."""

    series: str
    t: float
    """By the recording's clock."""
    wall_s: float
    trigger: Trigger
    reason: str
    value_bytes: int
    in_window: bool
    """In a window, or at a moment of the policy's own schedule."""
    needless: bool | None
    """None: the recording ends too early to tell, or no limit is known."""
    until_wall_s: float
    """It could have waited until then, had the limit not been reached before."""
    limit_reached_after_s: float | None
    """Without it the limit would have been reached after this; None: not before `until_wall_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One simulated kill for memory."""

    series: str
    t: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOutcome:
    """What came of one series under one policy."""

    series: str
    restarts: tuple[Restart, ...] = ()
    kills: tuple[Kill, ...] = ()
    failed: int = 0
    """Restarts that were not done within the policy's deadline."""
    held_back: Mapping[str, int] = field(default_factory=dict)
    """Guard → how often it newly held a restart back."""
    limit_hits: int = 0
    """How often the breaker opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOutcome:
    """What came of all series under one policy."""

    config: str
    series: tuple[SeriesOutcome, ...]

    @property
    def restarts(self) -> tuple[Restart, ...]:
        """Give the restarts of all, in order of time."""
        found = (restart for one in self.series for restart in one.restarts)
        return tuple(sorted(found, key=lambda restart: restart.wall_s))

    @property
    def kills(self) -> tuple[Kill, ...]:
        """Give the kills of all, in order of time."""
        found = (kill for one in self.series for kill in one.kills)
        return tuple(sorted(found, key=lambda kill: kill.wall_s))

    @property
    def in_window(self) -> int:
        """Count the restarts at cheap moments."""
        return sum(restart.in_window for restart in self.restarts)

    @property
    def needless(self) -> int:
        """Count the restarts that were surely needless."""
        return sum(restart.needless is True for restart in self.restarts)

    @property
    def undecided(self) -> int:
        """Count the restarts of which that cannot be said."""
        return sum(restart.needless is None for restart in self.restarts)

    @property
    def failed(self) -> int:
        """Count the restarts that took longer than allowed."""
        return sum(one.failed for one in self.series)

    @property
    def limit_hits(self) -> int:
        """Count how often the breaker opened."""
        return sum(one.limit_hits for one in self.series)

    @property
    def by_reason(self) -> dict[str, int]:
        """Count the restarts by their trigger."""
        return dict(Counter(restart.trigger.value for restart in self.restarts))

    @property
    def held_back(self) -> dict[str, int]:
        """Count the vetoes by their guard."""
        return dict(sum((Counter(one.held_back) for one in self.series), Counter()))
