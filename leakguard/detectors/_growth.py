"""The path that memory takes in one window: a line, a bend, a later start, or a daily cycle.

The simplest shape that explains the window wins (Bayes' information criterion over the number of
values that are independent). A bend is shrunk towards the line as far as it may be noise.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import count, islice
from typing import NamedTuple

from leakguard.core.fitting import Basis, autocorrelation, basis, dot, quantile
from leakguard.core.forecast import turned
from leakguard.core.pyramid import Level
from leakguard.core.trend import PEAK_SHARES, Growth

HINGES = (0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75)
"""Shares of a window at which a later growth may begin."""
LEAST_AFTER = 6
LEAST_BEFORE = 3
PRICE = 1.3
"""Weight of a parameter against the fit; one is Bayes' criterion."""
LEAST_INDEPENDENT = 4.0
MOST_RHO = 0.95
DAY_S = 86400.0
SEASON_BUCKET_S = 1200.0
SEASON_DAYS = 1.7
SEASON_PER_DAY = 5.5
TINY = 1e-18


class Shape(NamedTuple):
    """A fit at equal steps; `end`, `slope` and `bend` are those at the last step."""

    left: float
    """Sum of squares that it leaves."""
    parameters: int
    end: float
    slope: float
    bend: float = 0.0
    error: float = 0.0
    """Standard error of the slope, for a residual deviation of one."""
    bend_score: float = 0.0
    start: int = 0
    season: tuple[float, float, float, float] | None = None

    def at(self, steps: float) -> float:
        """Give the level so many steps after the last one (before it: negative)."""
        return self.end + self.slope * steps + self.bend * steps * steps


def grow(level: Level, size: int, unrest: float | None, gap_s: float = 0.0) -> Growth | None:
    """Fit the last `size` buckets of a level; None where they do not grow.

    `gap_s`: the usual time between two samples, by which the last of a bucket is before its end.
    """
    if level.last is None:
        return None
    mids, width = level.mids[-size:], level.width_s
    base = mids[-1]
    values = [m - base for m in mids]
    chosen, left, residuals, rho = _choose(values, width)
    inflation = (1 + rho) / (1 - rho)
    free = max(len(residuals) - chosen.parameters + (2 if chosen.start else 0), 1)
    deviation = math.sqrt(max(left, 0.0) / free * inflation)
    shape = _shrunk(values, chosen, deviation)
    if shape.slope <= 0 and shape.bend <= 0:
        return None
    span = len(residuals) - 1
    spread = max(1 - gap_s / width, 0.0)
    rise = shape.slope * span if shape.season else shape.at(0) - shape.at(-span)
    peaks = _peaks(level.highs[-size:], shape, base, (width, spread))
    season = shape.season
    return Growth(
        at_boot_s=(level.last + spread / 2) * width,
        window_s=span * width,
        bucket_s=width,
        points=len(residuals),
        level_bytes=base + shape.end,
        slope_bytes_per_s=shape.slope / width,
        bend_bytes_per_s2=shape.bend / width / width,
        z=shape.slope / max(chosen.error * deviation, 1e-12),
        noise_bytes=math.sqrt(dot(residuals, residuals) / max(len(residuals) - 2, 1)),
        rise_bytes=rise,
        unrest_bytes=unrest,
        peaks_bytes=tuple(quantile(peaks, share) for share in PEAK_SHARES),
        season_bytes=season,
    )


def _choose(values: Sequence[float], width: float) -> tuple[Shape, float, Sequence[float], float]:
    """Give the shape to go by; where it holds, the squares and residuals it leaves, and their rho.

    Rho is the AR(1) coefficient.
    """
    n, known = len(values), basis(len(values))
    mean = sum(values) / n
    total = dot(values, values) - n * mean * mean
    score, bent = dot(known.first, values), dot(known.second, values)
    straight = max(total - score * score, 0.0)
    shapes = [
        _line(known, mean, score, straight),
        _bend(known, mean, (score, bent), max(straight - bent * bent, 0.0)),
    ]
    later = _later(values, straight)
    if later is not None:
        shapes.append(later)
    if width >= SEASON_BUCKET_S and (n - 1) * width >= SEASON_DAYS * DAY_S:
        season = _season(values, width, straight)
        if season is not None:
            shapes.append(season)
    richest = min(shapes, key=lambda s: s.left)
    residuals = _residuals(values, richest, width, whole=True)
    rho = _rho(residuals)
    independent = max(n * (1 - rho) / (1 + rho), LEAST_INDEPENDENT)
    floor = 1e-12 * n * _largest(values) ** 2 + TINY
    best = min(
        shapes,
        key=lambda s: (
            independent * math.log((s.left + floor) / n)
            + PRICE * s.parameters * math.log(independent)
        ),
    )
    if not best.start:
        if best is not richest:
            residuals = _residuals(values, best, width)
            rho = _rho(residuals)
        return best, best.left, residuals, rho
    after = values[best.start :]
    own, m = basis(len(after)), len(after)
    mean, score = sum(after) / m, dot(own.first, after)
    left = max(dot(after, after) - m * mean * mean - score * score, 0.0)
    line = _line(own, mean, score, left)
    moved = Shape(left, 4, line.end, line.slope, error=line.error, start=best.start)
    residuals = _residuals(values, moved, width)
    return moved, left, residuals, _rho(residuals)


def _largest(values: Sequence[float]) -> float:
    highest, lowest = max(values), min(values)
    return max(highest, -lowest)


def _line(known: Basis, mean: float, score: float, left: float) -> Shape:
    slope = known.first_scale * score
    return Shape(left, 2, mean + slope * known.middle, slope, error=known.first_scale)


def _bend(known: Basis, mean: float, scores: tuple[float, float], left: float) -> Shape:
    score, bent = scores
    bend, reach = known.second_scale * bent, known.middle
    slope = known.first_scale * score + 2 * bend * reach
    end = mean + known.first_scale * score * reach
    end += bend * (reach * reach - known.second_mean)
    error = math.hypot(known.first_scale, 2 * known.second_scale * reach)
    return Shape(left, 3, end, slope, bend, error, bend_score=bent)


@lru_cache(maxsize=6)
def _kinks(n: int) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """Give unit vectors of `flat, then rising from k on`, beside a line, for several k."""
    known, found = basis(n), []
    for k in sorted({int(n * share) for share in HINGES}):
        if k < LEAST_BEFORE or n - k < LEAST_AFTER:
            continue
        kink = [float(max(i - k, 0)) for i in range(n)]
        mean, along = sum(kink) / n, dot(known.first, kink)
        kink = [v - mean - along * f for v, f in zip(kink, known.first, strict=True)]
        length = math.sqrt(dot(kink, kink))
        found.append((k, tuple(v / length for v in kink)))
    return tuple(found)


def _later(values: Sequence[float], straight: float) -> Shape | None:
    scored = [(dot(kink, values) ** 2, k) for k, kink in _kinks(len(values))]
    if not scored:
        return None
    gain, start = max(scored)
    return Shape(max(straight - gain, 0.0), 4, 0.0, 0.0, start=start)


@lru_cache(maxsize=4)
def _waves(n: int, width: float) -> tuple[tuple[float, ...], ...]:
    """Give line and daily waves as columns: 1, step, cos, sin, cos 2, sin 2; zero at the last."""
    turn = 2 * math.pi * width / DAY_S
    steps = [float(i - n + 1) for i in range(n)]
    angles = [turn * s for s in steps]
    waves = [[f(k * a) for a in angles] for k in (1, 2) for f in (math.cos, math.sin)]
    return tuple(map(tuple, ([1.0] * n, steps, *waves)))


@lru_cache(maxsize=4)
def _inverse(n: int, width: float) -> tuple[tuple[float, ...], ...] | None:
    """Give the inverse of the normal matrix of `_waves`, None where it has none."""
    columns = _waves(n, width)
    size = len(columns)
    rows = [
        [dot(a, b) for b in columns] + [float(i == j) for j in range(size)]
        for i, a in enumerate(columns)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        if abs(rows[pivot][i]) < 1e-9:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for other in range(size):
            if other != i:
                factor = rows[other][i]
                rows[other] = [v - factor * w for v, w in zip(rows[other], rows[i], strict=True)]
    return tuple(tuple(row[size:]) for row in rows)


def _season(values: Sequence[float], width: float, straight: float) -> Shape | None:
    n = len(values)
    inverse = _inverse(n, width) if DAY_S / width >= SEASON_PER_DAY else None
    if inverse is None:
        return None
    scores = [dot(column, values) for column in _waves(n, width)]
    found = [dot(row, scores) for row in inverse]
    left = max(dot(values, values) - dot(found, scores), 0.0)
    if left >= straight:
        return None
    wide = math.sqrt(n / max(n - 8, 2))
    season = (found[2], found[3], found[4], found[5])
    return Shape(left, 6, found[0], found[1], error=basis(n).first_scale * wide, season=season)


def _residuals(
    values: Sequence[float], shape: Shape, width: float, *, whole: bool = False
) -> list[float]:
    n = len(values)
    if shape.start and whole:  # the two pieces of a line that breaks at `start`
        known = basis(n)
        kink = dict(_kinks(n))[shape.start]
        mean, score, over = sum(values) / n, dot(known.first, values), dot(kink, values)
        return [
            v - mean - score * f - over * k
            for v, f, k in zip(values, known.first, kink, strict=True)
        ]
    return _off(values[shape.start :], shape, shape.start - n + 1.0, width)


def _off(values: Sequence[float], shape: Shape, first: float, width: float) -> list[float]:
    """Give how far values lie above a shape, the first of them `first` steps from its end."""
    end, slope, bend, season = shape.end, shape.slope, shape.bend, shape.season
    steps = _steps(first, len(values))
    if bend:
        return [v - end - (slope + bend * s) * s for s, v in zip(steps, values, strict=True)]
    if season is None:
        return [v - end - slope * s for s, v in zip(steps, values, strict=True)]
    a, b, c, d = season
    turns = _turns(first, len(values), width)
    return [
        v - end - slope * s - (a * cos + b * sin + c * (2 * cos * cos - 1) + d * 2 * sin * cos)
        for s, v, (cos, sin) in zip(steps, values, turns, strict=True)
    ]


@lru_cache(maxsize=64)
def _steps(first: float, n: int) -> tuple[float, ...]:
    """Give `n` numbers from one that need not be whole."""
    return tuple(islice(count(first), n))


@lru_cache(maxsize=16)
def _turns(first: float, n: int, width: float) -> tuple[tuple[float, float], ...]:
    """Give cosine and sine of the time of day at `n` steps from `first` on."""
    return tuple(turned(width * step) for step in _steps(first, n))


def _rho(residuals: Sequence[float]) -> float:
    if len(residuals) <= LEAST_AFTER:
        return 0.0
    return min(max(autocorrelation(residuals), 0.0), MOST_RHO)


def _shrunk(values: Sequence[float], shape: Shape, deviation: float) -> Shape:
    """Take a bend back towards the line as far as it may be noise (James and Stein)."""
    if not shape.bend:
        return shape
    kept = max(0.0, 1 - (deviation / max(abs(shape.bend_score), 1e-12)) ** 2)
    n, known = len(values), basis(len(values))
    line = _line(known, sum(values) / n, dot(known.first, values), 0.0)
    return Shape(
        shape.left,
        3,
        line.end + kept * (shape.end - line.end),
        line.slope + kept * (shape.slope - line.slope),
        kept * shape.bend,
        shape.error,
    )


def _peaks(
    highs: Sequence[float], shape: Shape, base: float, bucket: tuple[float, float]
) -> list[float]:
    """Give how far the highest values lie above the path at the last sample of theirs, in order."""
    width, spread = bucket
    first = shape.start - len(highs) + 1 + spread / 2
    over = [o - base if o > base else 0.0 for o in _off(highs[shape.start :], shape, first, width)]
    over.sort()
    return over
