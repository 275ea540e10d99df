"""Is it growing, how fast, and how sure is that: what a detector says of a series."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from leakguard.core.instant import Instant
from leakguard.core.series import Series


class Verdict(StrEnum):
    """What a detector makes of a series."""

    WARMING_UP = "warming_up"
    STABLE = "stable"
    LEAKING = "leaking"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A fitted slope with its error; `reason` says in one sentence why the verdict is so.

    `slope_bytes_per_s` is None while nothing can be said. `error_bytes_per_s` is one standard
    error of the slope. `noise_bytes` is the robust spread of the samples about the line.
    """

    verdict: Verdict
    reason: str
    slope_bytes_per_s: float | None = None
    error_bytes_per_s: float = 0.0
    noise_bytes: float = 0.0
    window_s: float = 0.0
    points: int = 0


UNKNOWN = Trend(verdict=Verdict.UNKNOWN, reason="no sample yet")


class Detector(Protocol):
    """A pure plug-in that turns a series into a trend. `now` is the instant of the last sample."""

    def fit(self, series: Series, now: Instant) -> Trend:
        """Judge `series` by its samples up to `now`."""
        ...
