"""When a limit is reached: the paths of several windows, joined to one distribution of the time.

Each window's path gives a time: that at which the *peaks* above the path are expected to reach
the limit once, for it is a peak that gets killed. The times are averaged on a logarithmic scale,
each weighted by how far it can be trusted: by the error of its slope, by how much such windows
have differed from one to the next in the past, by its noise against the room that is left, and by
how far beyond its length it is stretched. The band comes from the same variance and from how much
the windows disagree; its two sides were calibrated on recorded and generated leaks, so that 5 in
100 lie before it and as many after it (`make scores` prints how well that holds).

Without a path the slope alone is used, with the terms that leak-detection practice found
necessary (ordinary intervals cover the true time in 9-42 % of cases where they claim 90 %).
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from operator import mul
from typing import NamedTuple

from leakguard.core.frozen import dataclass
from leakguard.core.trend import PEAK_SHARES, Growth, Trend

MODEL_ERROR = 0.12
HORIZON_ERROR = 0.06
Z95 = 1.6448536269514722
HORIZON_S = 30 * 86400.0
"""Nothing further away than this is foreseen."""
FAR_S = 2 * HORIZON_S

MOMENT_S = 5.0
"""Added to times before their logarithm is taken: no error smaller than this matters."""
VARIANCE = (0.03, 0.4, 0.12, 0.6, 0.46, 0.009, 0.012)
"""Shares of: one, 1 / z^2, (noise / room)^2, (unrest / rise)^2, (noise / rise)^2, (T / W)^2, and
the logarithm of how many windows of that length the series has had: the best of many is luck."""
LUCK = 0.5
"""Taken off z^2 for that logarithm."""
TRUST = 4
"""A window's weight is its variance to the power of minus this."""
BAND_FLOOR, BAND_APART, BAND_SCORE, BAND_CRAMPED, BAND_STRETCH = 0.0009, 2.0, 8.9, 2.8, 0.002
"""Variance of the joint time: a floor; shares of the disagreement of the windows, of 1 / z^2, of
(noise / room)^2, and of (T / W)^2."""
EARLY, LATE = 1.75, 1.4
"""Deviations to p05 and to p95, of log(true / foreseen), as calibrated."""
PATIENCE = 0.3
"""Share of the height of the peaks that the path climbs at least before one reaches the limit."""
MOST_SIGMA = 3.0
SEASON_STEPS = 400
CREST_LOOKS = 48
CREST_SLACK = 1.001
"""Rounding must not hide a step."""


class LimitKind(StrEnum):
    """Where a limit comes from."""

    CONFIGURED = "configured"
    CGROUP = "cgroup"
    HOST = "host"
    RLIMIT = "rlimit"
    COMMIT = "commit"
    """CommitLimit under `vm.overcommit_memory=2`: malloc fails there, and nobody is killed."""
    HIGH = "high"
    """`memory.high`: no limit, and never among them; the kernel slows down what is above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One limit and what is left below it, in bytes. `path` names the cgroup, where it is one."""

    kind: LimitKind
    limit_bytes: int
    headroom_bytes: int
    path: str = ""
    domain: str = ""
    """Key of the memory domain, as in `Snapshot.domains`, `host` or `commit`; empty for a limit
    that no domain has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeToLimit:
    """Quantiles in seconds; None: beyond the horizon."""

    p05_s: float | None
    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When one limit is reached. `median_s` None: not foreseen.

    log(time) has the deviation `early_sigma` below the median and `late_sigma` above it.
    """

    room: Room
    slope_bytes_per_s: float | None
    median_s: float | None = None
    early_sigma: float = 0.0
    late_sigma: float = 0.0

    def quantiles(self) -> TimeToLimit | None:
        """Give p05, p50 and p95, or None when nothing is foreseen."""
        if self.median_s is None:
            return None
        times = (self._quantile(z) for z in (-Z95, 0.0, Z95))
        p05, p50, p95 = (None if t > HORIZON_S else t for t in times)
        return TimeToLimit(p05_s=p05, p50_s=p50, p95_s=p95)

    def early_edge_s(self) -> float | None:
        """Give p05, the time that is safe with 95 %."""
        return None if self.median_s is None else self._quantile(-Z95)

    def probability_within(self, seconds: float) -> float:
        """P(limit reached within `seconds`)."""
        if self.median_s is None:
            return 0.0
        if self.median_s <= 0 or seconds <= 0:
            return 1.0 if self.median_s <= 0 else 0.0
        sigma = self.early_sigma if seconds < self.median_s else self.late_sigma
        z = math.log(seconds / self.median_s) / max(sigma, 1e-9)
        return 0.5 * math.erfc(-z / math.sqrt(2))

    def time_at(self, share: float) -> float:
        """Give the seconds within which the limit is reached with this chance; inf: not foreseen.

        `share` lies between 0 and 1.
        """
        if self.median_s is None:
            return math.inf
        low, high = -8.0, 8.0
        for _ in range(40):
            middle = (low + high) / 2
            below = 0.5 * math.erfc(-middle / math.sqrt(2)) < share
            low, high = (middle, high) if below else (low, middle)
        return self._quantile(high)

    def _quantile(self, z: float) -> float:
        sigma = self.early_sigma if z < 0 else self.late_sigma
        return (self.median_s or 0.0) * math.exp(z * sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """How many deviations of log(time) p05 and p95 are away from the median."""

    early: float = EARLY
    late: float = LATE


PRIOR = Edges()
"""The edges that hold everywhere, before anything was learned."""


def forecast(room: Room, trend: Trend, edges: Edges = PRIOR) -> Forecast:
    """Foresee when `room` is used up if `trend` goes on; `edges`: what was learned of the band."""
    slope = trend.slope_bytes_per_s
    nothing = Forecast(room=room, slope_bytes_per_s=slope)
    if slope is None or slope <= 0:
        return nothing
    if room.headroom_bytes <= 0:
        return replace(nothing, median_s=0.0, early_sigma=MODEL_ERROR, late_sigma=MODEL_ERROR)
    if trend.growths:
        median_s, sigma = join(room.headroom_bytes, trend)
        early, late = sigma * edges.early / Z95, sigma * edges.late / Z95
    else:
        median_s, early = _straight(room.headroom_bytes, slope, trend)
        late = early
    if math.isinf(median_s):
        return nothing
    return replace(nothing, median_s=median_s, early_sigma=early, late_sigma=late)


def _straight(headroom: float, slope: float, trend: Trend) -> tuple[float, float]:
    """Give the time by the slope alone, and the deviation of its logarithm."""
    median_s = headroom / slope
    if median_s > HORIZON_S * 10:
        return math.inf, 0.0
    variance = (
        (trend.error_bytes_per_s / slope) ** 2
        + MODEL_ERROR**2
        + HORIZON_ERROR * median_s / max(trend.window_s, 1.0)
        + (trend.noise_bytes / headroom) ** 2
    )
    return median_s, min(MOST_SIGMA, math.sqrt(variance))


class _View(NamedTuple):
    """What one window foresees: the logarithm of the time, and what speaks against it."""

    log: float
    variance: float
    """Of the logarithm, up to a common factor: what the weight goes by."""
    own: float
    """The part of the band that is this window's own."""


def join(headroom: float, trend: Trend) -> tuple[float, float]:
    """Average what the windows foresee: the time, inf beyond the horizon, and its deviation.

    The deviation is that of log(time + a moment): wider where only moments are left.
    """
    top = trend.value_bytes + headroom
    views = [view for growth in trend.growths if (view := _view(growth, top, trend)) is not None]
    if not views:
        return math.inf, 0.0
    least = min(view.variance for view in views)
    weights = [(least / view.variance) ** TRUST for view in views]
    total = sum(weights)
    middle = sum(map(mul, weights, [view.log for view in views])) / total
    own = sum(map(mul, weights, [view.own for view in views])) / total
    apart = sum(map(mul, weights, [(view.log - middle) ** 2 for view in views])) / total
    sigma = min(MOST_SIGMA, math.sqrt(BAND_FLOOR + own + BAND_APART * apart))
    median_s = max(math.exp(middle) - MOMENT_S, 0.0)
    if median_s > FAR_S * 0.95:
        return math.inf, 0.0
    return median_s, min(MOST_SIGMA, sigma * (median_s + MOMENT_S) / max(median_s, MOMENT_S))


def _view(growth: Growth, top: float, trend: Trend) -> _View | None:
    time_s = time_to(growth, top, trend.at_boot_s)
    if math.isinf(time_s):
        return None
    rise = max(growth.rise_bytes, 1e-9)
    room = max(top - growth.level_bytes - peak_over(growth, 20.0), 1e-9)
    tries = math.log(max(trend.life_s / growth.window_s, 1.0))
    score = min(1 / max(growth.z * growth.z - LUCK * tries, 0.05), 20.0)
    cramped = min((growth.noise_bytes / room) ** 2, 4.0)
    unrest = min(((growth.unrest_bytes or 0.0) / rise) ** 2, 20.0)
    rough = min((growth.noise_bytes / rise) ** 2, 4.0)
    stretch = min((time_s / growth.window_s) ** 2, 400.0)
    terms = (1.0, score, cramped, unrest, rough, stretch, tries)
    variance = sum(map(mul, VARIANCE, terms))
    return _View(
        log=math.log(min(time_s, FAR_S) + MOMENT_S),
        variance=max(variance, 1e-4),
        own=BAND_SCORE * score + BAND_CRAMPED * cramped + BAND_STRETCH * stretch,
    )


def time_to(growth: Growth, top: float, now_boot_s: float) -> float:
    """Seconds until the peaks above a path reach `top` as likely as not; inf where they never do.

    The slower the path climbs through its own peaks, the more of them come by: the height that
    counts is the one that is expected once meanwhile.
    """
    slope, bend = growth.slope_bytes_per_s, growth.bend_bytes_per_s2
    if slope <= 0 and bend <= 0:
        return math.inf
    spread = _spread(growth)
    # It has not been reached: peaks that are due already keep for about their own height.
    waited = _climb(PATIENCE * spread, slope, max(bend, 0.0))
    if growth.season_bytes is not None:
        return max(_time_in_season(growth, top, spread) - now_boot_s, waited)
    time_s = 0.0
    for _ in range(3 if bend > 0 else 1):
        speed = slope + 2 * bend * time_s if bend > 0 else slope
        chances = spread / max(speed * growth.bucket_s, 1e-12)
        room = top - growth.level_bytes - peak_over(growth, chances)
        if room <= 0:
            return waited
        time_s = _climb(room, slope, bend)
    return max(time_s + growth.at_boot_s - now_boot_s, waited)


def _climb(room: float, slope: float, bend: float) -> float:
    if not bend:
        return room / slope
    if bend > 0:
        root = math.sqrt(slope * slope + 4 * bend * room)
        return 2 * room / (slope + root) if slope > 0 else (root - slope) / (2 * bend)
    span = slope / (-2 * bend)
    doublings = room / (slope * span)
    return span * math.expm1(doublings) if doublings < 20 else math.inf


def _time_in_season(growth: Growth, top: float, spread: float) -> float:
    """Give the boot time at which path, daily cycle and peaks reach `top`."""
    season, bucket_s = growth.season_bytes or (0.0, 0.0, 0.0, 0.0), growth.bucket_s
    slope = max(growth.slope_bytes_per_s, 1e-12)
    over = peak_over(growth, max(spread / (slope * bucket_s), 1.0))
    room = top - over - growth.level_bytes
    crest, steepest = _crest(season)
    swing = math.hypot(season[0], season[1]) + math.hypot(season[2], season[3])
    time_s, step_s = max((room - swing) / slope - bucket_s, 0.0), bucket_s / 2
    steps = min(max(int(((room - crest) / slope - time_s) / step_s) - 1, 0), SEASON_STEPS)
    time_s += steps * step_s
    while steps < SEASON_STEPS:
        left = room - slope * time_s - wave(season, time_s)
        if left <= 0:
            break
        # It climbs no faster than this, so that it cannot be there sooner.
        safe = int(left / ((slope + steepest) * step_s))
        safe = min(max(safe, 1), SEASON_STEPS - steps)
        steps, time_s = steps + safe, time_s + safe * step_s
    return growth.at_boot_s + time_s


@lru_cache(maxsize=64)
def _crest(season: tuple[float, float, float, float]) -> tuple[float, float]:
    """Give bounds of how high a daily cycle reaches, and of how fast it climbs a second.

    Between two looks at it, a curve rises by an eighth of its bend times their distance squared.
    """
    once, twice = math.hypot(season[0], season[1]), math.hypot(season[2], season[3])
    turn = 2 * math.pi / CREST_LOOKS
    highest = max(wave(season, 86400.0 * look / CREST_LOOKS) for look in range(CREST_LOOKS))
    crest = highest + turn * turn / 8 * (once + 4 * twice)
    return crest, CREST_SLACK * (once + 2 * twice) * (2 * math.pi / 86400.0)


def wave(season: tuple[float, float, float, float], time_s: float) -> float:
    """Give a daily cycle `time_s` after its origin."""
    a, b, c, d = season
    cos, sin = turned(time_s)
    return a * cos + b * sin + c * (2 * cos * cos - 1) + d * 2 * sin * cos


def turned(time_s: float) -> tuple[float, float]:
    """Give cosine and sine of how far a day has turned."""
    turn = time_s * (2 * math.pi / 86400.0)
    return math.cos(turn), math.sin(turn)


def _spread(growth: Growth) -> float:
    peaks = growth.peaks_bytes
    return max(peaks[2] - peaks[0], 1e-12) if peaks else 1e-12


def peak_over(growth: Growth, chances: float) -> float:
    """Give the height above the path that a peak reaches once in so many buckets."""
    peaks, n = growth.peaks_bytes, growth.points
    if not peaks:
        return 0.0
    share = 1 - 1 / (max(chances, 1.0) + 1)
    if chances > n:
        return peaks[-1] + 0.45 * (peaks[2] - peaks[0]) * math.log((chances + 1) / (n + 1))
    at = bisect_left(PEAK_SHARES, share, 1)
    low, below = PEAK_SHARES[at - 1], peaks[at - 1]
    return below + (peaks[at] - below) * max(share - low, 0.0) / (PEAK_SHARES[at] - low)


def nearest(forecasts: Iterable[Forecast]) -> Forecast | None:
    """Give the forecast whose limit is reached first; without one, the least headroom."""
    known = list(forecasts)
    foreseen = [f for f in known if f.median_s is not None]
    if foreseen:
        return min(foreseen, key=lambda f: (f.early_edge_s() or 0.0, f.median_s or 0.0))
    return min(known, key=lambda f: f.room.headroom_bytes, default=None)
