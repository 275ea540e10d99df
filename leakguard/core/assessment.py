"""All facts on one service at one instant: the hinge between measurement and judgement."""

from collections.abc import Mapping
from dataclasses import field

from leakguard.core.forecast import PRIOR, Edges, Forecast
from leakguard.core.foretold import Foretold
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.trend import Trend


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """Where the kernel slows a service down and kills nobody, and when it comes to that."""

    foreseen: Forecast
    now: bool = False
    """It is slowed down at present."""
    limited: bool = True
    """The cgroup has a limit too; without one this is how it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What is known of a service now; nothing in here is a wish or a rule."""

    at: Instant
    trend: Trend
    forecasts: tuple[Forecast, ...] = ()
    nearest: Forecast | None = None
    """The forecast whose limit comes first by time."""
    foretold: Mapping[str, Foretold] = field(default_factory=dict)
    """Whom the kernel would kill at the end of each domain that is running out, by its key."""
    throttle: Throttle | None = None
    """The `memory.high` above it that comes first. It moves neither limits nor victims."""
    tmpfs_share: float | None = None
    """Share of the rise that is in files of tmpfs, which a restart does not give back; None where
    that is not known, or the rise too small to say."""
    effective_limit_bytes: int | None = None
    """The smallest limit that counts: what a percentage in the configuration is a share of."""
    edges: Edges = PRIOR
    """What was learned of the band of its forecasts."""
