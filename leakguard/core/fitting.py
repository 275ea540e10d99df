"""Straight lines and their honest errors, on values at equal steps of time.

The bases depend only on the number of values and are kept, so that a fit of 48 values is a few
sums of products. Memory is neither white noise nor a pure random walk, so an error is either that
of generalised least squares under AR(1) noise, or that of a unit root where the noise is close to
one (Perron and Yabu 2009, in spirit; the correction of the coefficient is (n r + 2) / (n - 4)).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from operator import mul
from typing import NamedTuple

from leakguard.core.frozen import dataclass
from leakguard.core.pyramid import median

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation, for Gaussian noise."""
LAGS = 4
"""Lags of the Newey-West error of a mean of differences."""
SEASON_GAIN = 0.5
"""A daily cycle is believed when it takes away at least this share of the variance."""
TINY = 1e-18


@dataclass(frozen=True, slots=True)
class Basis:
    """Orthonormal polynomials on 0, 1, ... n - 1: `first` of degree one, `second` of two."""

    middle: float
    first: tuple[float, ...]
    first_scale: float
    second: tuple[float, ...]
    second_scale: float
    second_mean: float


@lru_cache(maxsize=24)
def basis(n: int) -> Basis:
    """Give the polynomials for `n` >= 3 values."""
    middle = (n - 1) / 2
    centred = [i - middle for i in range(n)]
    first_scale = 1 / math.sqrt(sum(c * c for c in centred))
    mean = (n * n - 1) / 12
    curved = [c * c - mean for c in centred]
    second_scale = 1 / math.sqrt(max(sum(c * c for c in curved), TINY))
    return Basis(
        middle=middle,
        first=tuple(first_scale * c for c in centred),
        first_scale=first_scale,
        second=tuple(second_scale * c for c in curved),
        second_scale=second_scale,
        second_mean=mean,
    )


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Give the scalar product."""
    return float(sum(map(mul, a, b)))


def slope_of(values: Sequence[float]) -> float:
    """Give the least-squares slope a step."""
    known = basis(len(values))
    return known.first_scale * dot(known.first, values)


def autocorrelation(residuals: Sequence[float]) -> float:
    """Give the AR(1) coefficient of residuals of a fit, corrected for its bias, in [-0.5, 1]."""
    n, before = len(residuals), residuals[:-1]
    power = dot(before, before)
    rho = dot(before, residuals[1:]) / power if power > TINY else 0.0
    return min(max((n * rho + 2) / (n - 4), -0.5), 1.0)


def smooth(values: Sequence[float]) -> list[float]:
    """Give running medians of three; the ends stay."""
    inner = [  # comparing is three times as fast as min and max
        (b if b < c else max(a, c)) if a < b else (a if a < c else max(b, c))
        for a, b, c in zip(values, values[1:], values[2:], strict=False)
    ]
    return [values[0], *inner, values[-1]]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give a quantile of values in order, between its neighbours."""
    place = share * (len(ordered) - 1)
    at = int(place)
    above = ordered[min(at + 1, len(ordered) - 1)]
    return ordered[at] + (above - ordered[at]) * (place - at)


class Line(NamedTuple):
    """A line through values at equal steps. `slope` is a step's, `end` the level at the last."""

    slope: float
    z: float
    """Slope over its standard error, honest under autocorrelated and unit-root noise."""
    end: float
    noise: float
    """Robust standard deviation of the values about the line."""
    season: bool
    flat: tuple[float, ...]
    """The values without the daily cycle, where one was found."""


def fit_line(values: Sequence[float], day: int = 0) -> Line:
    """Fit a line to at least 8 values; `day`: how many make a day, where two days are there."""
    n, known = len(values), basis(len(values))
    mean = sum(values) / n
    centred = [v - mean for v in values]
    score = dot(known.first, centred)
    residuals = [c - score * f for c, f in zip(centred, known.first, strict=True)]
    inflated, season = 1.0, False
    if day >= 4 and n >= 2 * day:
        cycle = _cycle(centred, dot(residuals, residuals), day)
        if cycle is not None:
            centred = [c - cycle[i % day] for i, c in enumerate(centred)]
            inflated, season = math.sqrt(n / (n - day)), True
            score = dot(known.first, centred)
            residuals = [c - score * f for c, f in zip(centred, known.first, strict=True)]
    slope = known.first_scale * score
    return Line(
        slope=slope,
        z=_z_score(centred, residuals) / inflated,
        end=mean + slope * known.middle,
        noise=_spread(residuals),
        season=season,
        flat=tuple([c + mean for c in centred]),
    )


def _cycle(centred: Sequence[float], without: float, day: int) -> list[float] | None:
    """Give the mean of each phase of the day beside the trend, if there is a daily cycle."""
    n = len(centred)
    phases = [range(p, n, day) for p in range(day)]
    steps = [sum(p) / len(p) for p in phases]
    means = [sum(centred[p::day]) / len(phase) for p, phase in enumerate(phases)]
    xs = [i - steps[i % day] for i in range(n)]
    ys = [centred[i] - means[i % day] for i in range(n)]
    slope = dot(xs, ys) / max(dot(xs, xs), TINY)
    left = sum([(y - slope * x) ** 2 for x, y in zip(xs, ys, strict=True)])
    if left / max(n - day - 1, 1) >= SEASON_GAIN * without / (n - 2):
        return None
    cycle = [mean - slope * step for mean, step in zip(means, steps, strict=True)]
    middle = sum(cycle) / day
    return [c - middle for c in cycle]


def _spread(residuals: Sequence[float]) -> float:
    middle = median(sorted(residuals))
    return MAD_TO_SIGMA * median(sorted([abs(r - middle) for r in residuals]))


def _z_score(values: Sequence[float], residuals: Sequence[float]) -> float:
    n = len(values)
    rho = autocorrelation(residuals)
    if rho > 1 - n**-0.5:
        return _z_unit_root(values)
    # Generalised least squares: slope and error of what is new since the value before.
    new = [b - rho * a for a, b in pairwise(values)]
    known, mean = basis(n - 1), sum(new) / (n - 1)
    score = dot(known.first, new)
    left = sum([(c - mean - score * f) ** 2 for c, f in zip(new, known.first, strict=True)])
    return score / math.sqrt(max(left / (n - 3), TINY))


def _z_unit_root(values: Sequence[float]) -> float:
    """Give the mean difference over its Newey-West error."""
    changes = [b - a for a, b in pairwise(values)]
    m = len(changes)
    mean = sum(changes) / m
    off = [c - mean for c in changes]
    own = dot(off, off) / m
    long_run = own
    for lag in range(1, LAGS + 1):
        long_run += 2 * (1 - lag / (LAGS + 1)) * dot(off, off[lag:]) / m
    return mean / math.sqrt(max(long_run, 0.25 * own, TINY) / m)
