"""What one window says for and against a leak: numbers first, the questions after.

A leak lifts the floor and the ceiling, beyond all that was seen before, by more than noise that
may itself wander, and it does not slow down. Each number is worked out once per closed bucket;
the questions also need the limit, which may move.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from operator import attrgetter

from leakguard.core.fitting import fit_line, quantile, smooth
from leakguard.core.frozen import dataclass
from leakguard.core.lives import Life
from leakguard.core.pyramid import WIDTHS_S, Pyramid, median

LEAST = 12
"""Buckets that a window needs."""
DAY_S = 86400.0
DAY_BUCKET_S = 1200.0
LATE = 3
"""The last third of a window is what it does lately."""
MOST_LATE = 1.5
"""A growth that speeds up is taken to go on at this many times its slope at most."""
CEILING = 0.75
"""The ceiling is the upper quartile of the peaks: one old spike is no precedent."""


class Objection(StrEnum):
    """Why a window does not show a leak."""

    FLAT = "flat"
    NOISE = "noise"
    SMALL = "small"
    SLOWING = "slowing"
    GIVES_BACK = "gives_back"
    KNOWN_FLOOR = "known_floor"
    KNOWN_CEILING = "known_ceiling"
    FAR = "far"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One window in numbers: bytes, seconds, and shares of the rise over the window."""

    window_s: float
    points: int
    slope: float = 0.0
    """Of the floor, in bytes a second."""
    z: float = 0.0
    end: float = 0.0
    rise: float = 0.0
    noise: float = 0.0
    late: float = 0.0
    """Slope of the last third over that of the whole."""
    back: float = 0.0
    """The most that the floor gave back meanwhile, beyond noise."""
    over_floor: float = 0.0
    """How much of the rise lies above every older floor."""
    over_ceiling: float = 0.0
    """How far the ceiling of late is above the older one."""
    peaks: float = 0.0
    """How far peaks reach above the line, in bytes: one in ten reaches higher."""

    def time_s(self, limit: float) -> float:
        """Seconds until the peaks reach `limit` at the slope of late, from the window's end."""
        if self.slope <= 0 or self.late <= 0:
            return math.inf
        return max(limit - self.end - self.peaks, 0.0) / (self.slope * min(self.late, MOST_LATE))

    def packed(self) -> "array[float]":
        """Give all numbers in less than half of the room."""
        return array("d", _numbers(self))

    @classmethod
    def unpacked(cls, numbers: "array[float]") -> "Evidence":
        """Read back what `packed` gave."""
        points, *others = numbers
        return cls(points=int(points), **dict(zip(_NAMES[1:], others, strict=True)))


_NAMES = "points", *(each.name for each in fields(Evidence) if each.name != "points")
_numbers = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """How much a window has to show. Shares of the rise, unless said otherwise."""

    z: float = 4.0
    size: float = 0.02
    """Share of the limit that it rises at least."""
    late: float = 0.25
    back: float = 0.5
    over_floor: float = 0.3
    over_ceiling: float = 0.25
    reach: float = 2.0
    """How many times its own length a window may look ahead."""
    young_reach: float = 1.0
    settled_s: float = 36 * 3600.0
    """Before a full day and a half was seen, a window looks ahead by `young_reach` only."""
    again_reach: float = 4.0
    """After a life that grew steadily until it was cut short: so many of that life's spans."""
    again_share: float = 0.22
    """Such a life used at least this share of the room it began with."""
    again_late: float = 0.6
    """Then it must not slow down more than this: a cache that fills anew does."""
    longest_s: float = 30 * DAY_S


def weigh(pyramid: Pyramid, index: int, lives: tuple[Life, ...], demands: Demands) -> Evidence:
    """Work out the numbers of the window that a level of `pyramid` holds."""
    level = pyramid.level(index)
    return _weigh(pyramid, index, (level.lows, level.highs), lives, demands)


def weigh_before(
    pyramid: Pyramid, index: int, lives: tuple[Life, ...], demands: Demands
) -> Evidence:
    """The same, as it was one bucket earlier."""
    level = pyramid.level(index)
    return _weigh(pyramid, index, (level.lows[:-1], level.highs[:-1]), lives, demands)


def _weigh(
    pyramid: Pyramid,
    index: int,
    values: tuple["array[float]", "array[float]"],
    lives: tuple[Life, ...],
    demands: Demands,
) -> Evidence:
    lows, highs = values
    width, n = WIDTHS_S[index], len(lows)
    few = max(n // 6, 2)
    if n < LEAST or median(sorted(lows[-few:])) <= median(sorted(lows[:few])):
        return Evidence(window_s=n * width, points=n)
    floor = smooth(lows)
    day = round(DAY_S / width) if width >= DAY_BUCKET_S else 0
    line = fit_line(floor, day)
    rise = line.slope * (n - 1)
    late, back, over_floor, over_ceiling, peaks = 1.0, 0.0, 0.0, 0.0, 0.0
    if line.slope > 0 and line.z >= demands.z and rise >= line.noise:
        third = max(n // LATE, 4)
        older = _older(pyramid, index, n, lives)
        above = sorted([h - line.end - line.slope * (i - n + 1) for i, h in enumerate(highs)])
        ceiling = max(quantile(sorted(highs[:-third]), CEILING), older[1])
        late = theil_sen_slope(floor[-third:]) / line.slope
        back = max(_drawdown(line.flat) - 3 * line.noise, 0.0) / rise
        over_floor = (median(sorted(line.flat[-few:])) - older[0]) / rise
        over_ceiling = (quantile(sorted(highs[-third:]), CEILING) - ceiling) / rise
        peaks = max(quantile(above, 0.9), 0.0)
    return Evidence(
        window_s=n * width, points=n,
        slope=line.slope / width, z=line.z, end=line.end, rise=rise, noise=line.noise,
        late=late, back=back, over_floor=over_floor, over_ceiling=over_ceiling, peaks=peaks,
    )  # fmt: skip


def object_to(
    found: Evidence, limit: float, age_s: float, again: tuple[Life, ...], demands: Demands
) -> Objection | None:
    """Give the first reason why a window shows no leak that matters for `limit`; None: it does.

    `again`: earlier lives that ended in such a leak (`repeated`).
    """
    if found.slope <= 0:
        return Objection.FLAT
    if found.z < demands.z or found.rise < found.noise:
        return Objection.NOISE
    if found.rise < demands.size * limit:
        return Objection.SMALL
    if found.late < (demands.again_late if again else demands.late):
        return Objection.SLOWING
    if found.back > demands.back:
        return Objection.GIVES_BACK
    known = None if again else _known(found, demands)
    if known is None and found.time_s(limit) > reach_s(found, age_s, again, demands):
        return Objection.FAR
    return known


def _known(found: Evidence, demands: Demands) -> Objection | None:
    if found.over_floor < demands.over_floor:
        return Objection.KNOWN_FLOOR
    return Objection.KNOWN_CEILING if found.over_ceiling < demands.over_ceiling else None


def reach_s(found: Evidence, age_s: float, again: tuple[Life, ...], demands: Demands) -> float:
    """Give how far ahead a window may look, in seconds: the longer, the more has been seen."""
    times = demands.reach if age_s >= demands.settled_s or again else demands.young_reach
    spans = (demands.again_reach * life.span_s for life in again)
    return min(max(times * found.window_s, max(spans, default=0.0)), demands.longest_s)


def repeated(lives: tuple[Life, ...], limit: float, demands: Demands) -> tuple[Life, ...]:
    """List the last lives that grew steadily into much of their room until they were cut short."""
    return tuple(
        life
        for life in lives[-3:]
        if life.cut_short and life.rise_bytes >= demands.again_share * (limit - life.start_bytes)
    )


def theil_sen_slope(values: Sequence[float]) -> float:
    """Give the median of all slopes between two values, a step."""
    n = len(values)
    slopes = [(values[j] - values[i]) / (j - i) for i in range(n) for j in range(i + 1, n)]
    slopes.sort()
    return median(slopes)


def _drawdown(values: Sequence[float]) -> float:
    top, most = values[0], 0.0
    for value in values:
        if value > top:
            top = value
        elif top - value > most:
            most = top - value
    return most


def _older(
    pyramid: Pyramid, index: int, count: int, lives: tuple[Life, ...]
) -> tuple[float, float]:
    """Give the highest floor and the highest ceiling before a window, in this life and others."""
    floor = max((life.top_low_bytes for life in lives), default=pyramid.gone_low)
    ceiling = max((life.top_high_bytes for life in lives), default=pyramid.gone_high)
    floor, ceiling = max(floor, pyramid.gone_low), max(ceiling, pyramid.gone_high)
    for wider in range(index + 1, len(WIDTHS_S)):
        before = pyramid.count(wider) - math.ceil(count * WIDTHS_S[index] / WIDTHS_S[wider])
        if before > 0:
            floor = max(floor, *pyramid.column(wider, 0)[:before])
            highs = sorted(pyramid.column(wider, 2)[:before])
            ceiling = max(ceiling, quantile(highs, CEILING))
    return floor, ceiling
