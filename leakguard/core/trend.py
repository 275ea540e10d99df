"""Is it growing, along which path, and how sure is that: what a detector says of a series."""

from enum import StrEnum
from typing import Protocol

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.series import Series

PEAK_SHARES = (0.5, 0.75, 0.9, 0.97, 1.0)
"""Quantiles of the peaks above a path that a growth keeps."""


class Verdict(StrEnum):
    """What a detector makes of a series."""

    WARMING_UP = "warming_up"
    STABLE = "stable"
    LEAKING = "leaking"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The path that one window foresees: level + slope t + bend t^2, and a daily cycle.

    `t` is in seconds from `at_boot_s`. A negative bend levels off like a logarithm, and never
    turns down.
    """

    at_boot_s: float
    window_s: float
    bucket_s: float
    points: int
    level_bytes: float
    slope_bytes_per_s: float
    bend_bytes_per_s2: float = 0.0
    z: float = 0.0
    """Slope over its standard error."""
    noise_bytes: float = 0.0
    """Standard deviation about the path."""
    rise_bytes: float = 0.0
    """Growth along the path over the window."""
    unrest_bytes: float | None = None
    """How much the rise of a window of this length has changed from one to the next in the past,
    root mean square; None where there is no past."""
    peaks_bytes: tuple[float, ...] = ()
    """How far the peaks of buckets stand above the path, at `PEAK_SHARES`."""
    season_bytes: tuple[float, float, float, float] | None = None
    """cos, sin, cos 2, sin 2 of the time of day, from `at_boot_s` on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A fitted slope with its error; `reason` says in one sentence why the verdict is so.

    `slope_bytes_per_s` is None while nothing can be said. `error_bytes_per_s` is one standard
    error of the slope. `noise_bytes` is the robust spread of the samples about the line.
    `growths` are the paths that windows of several lengths foresee; without one, the slope alone
    is what is known.
    """

    verdict: Verdict
    reason: str
    slope_bytes_per_s: float | None = None
    error_bytes_per_s: float = 0.0
    noise_bytes: float = 0.0
    window_s: float = 0.0
    points: int = 0
    value_bytes: float = 0.0
    """The newest value, where the room below a limit begins."""
    at_boot_s: float = 0.0
    life_s: float = 0.0
    """How long the series has been going on."""
    growths: tuple[Growth, ...] = ()


UNKNOWN = Trend(verdict=Verdict.UNKNOWN, reason="no sample yet")


class Detector(Protocol):
    """A pure plug-in that turns a series into a trend. `now` is the instant of the last sample."""

    def fit(self, series: Series, now: Instant, room_bytes: float | None = None) -> Trend:
        """Judge `series` by its samples up to `now`.

        `room_bytes`: how much it can still grow; None where no limit is known.
        """
        ...
