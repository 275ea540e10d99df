"""The path of memory in rows of values: a line, a bend, a later start, or a daily cycle.

The same shapes and the same choice among them as in `detectors._growth`, row by row.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from leakguard.detectors._growth import (
    DAY_S,
    HINGES,
    LEAST_AFTER,
    LEAST_BEFORE,
    LEAST_INDEPENDENT,
    MOST_RHO,
    PRICE,
    SEASON_BUCKET_S,
    SEASON_DAYS,
    SEASON_PER_DAY,
    TINY,
)
from leakguard.fleet._arrays import Floats, Ints, autocorrelations, basis, dots

LINE, BEND, LATER, SEASON = range(4)
PARAMETERS = np.array([2, 3, 4, 6])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """One shape a row; `end`, `slope` and `bend` are those at the last step, in steps."""

    end: Floats
    slope: Floats
    bend: Floats
    error: Floats
    """Standard error of the slope, for a residual deviation of one."""
    deviation: Floats
    """Of the residuals, honest about autocorrelation."""
    noise: Floats
    """Of the residuals, as they are."""
    start: Ints
    """Where a later growth begins; the values before it are not looked at."""
    season: Floats
    """cos, sin, cos 2, sin 2 of the time of day: [row, 4]; zeros where there is no cycle."""
    seasonal: Ints
    """One where there is a cycle."""

    def at(self, steps: Floats, turn: float) -> Floats:
        """Give the path at steps from the last one, [row, step]; `turn`: of the day, a step."""
        found = self.end[:, None] + (self.slope[:, None] + self.bend[:, None] * steps) * steps
        if self.seasonal.any():
            found += np.einsum("ik,kij->ij", self.season, _waves_at(steps, turn))
        return found


def fit_shapes(values: Floats, width_s: float) -> Shapes:
    """Fit every row, and give the simplest shape that explains it."""
    n, rows = values.shape[1], np.arange(len(values))
    fit = _Fit(values, width_s)
    kind = _simplest(fit)
    off, left = fit.off(kind), fit.left[kind, rows]
    start = np.where(kind == LATER, fit.start, 0)
    end, slope, bend, error = fit.at_the_end(kind)
    for k in np.unique(start[start > 0]):
        some = start == k
        end[some], slope[some], left[some], off[some] = _after(values[some], k)
        error[some] = basis(n - k).first_scale
    counts = n - start
    rho = _rho(off, counts)
    free = np.maximum(counts - PARAMETERS[kind] + 2 * (start > 0), 1)
    deviation = np.sqrt(left / free * (1 + rho) / (1 - rho))
    # A bend goes back towards the line as far as it may be noise (James and Stein).
    kept = np.maximum(1 - (deviation / np.maximum(np.abs(fit.bent), 1e-12)) ** 2, 0.0)
    straight, bent = fit.at_the_end(np.full_like(kind, LINE)), kind == BEND
    return Shapes(
        end=np.where(bent, straight[0] + kept * (end - straight[0]), end),
        slope=np.where(bent, straight[1] + kept * (slope - straight[1]), slope),
        bend=kept * bend,
        error=error,
        deviation=deviation,
        noise=np.sqrt(dots(off, off) / np.maximum(counts - 2, 1)),
        start=start,
        season=np.where((kind == SEASON)[:, None], fit.waves[:, 2:], 0.0),
        seasonal=(kind == SEASON).astype(np.intp),
    )


class _Fit:
    """All shapes fitted to each row: what they leave, and where they end."""

    def __init__(self, values: Floats, width_s: float) -> None:
        rows, n = values.shape
        self.known = known = basis(n)
        self.mean = values.mean(axis=1)
        self.score, self.bent = values @ known.first, values @ known.second
        total = dots(values, values)
        straight = np.maximum(total - n * self.mean**2 - self.score**2, 0.0)
        self.left = np.full((4, rows), np.inf)
        self.left[LINE] = straight
        self.left[BEND] = np.maximum(straight - self.bent**2, 0.0)
        self.start, self.over = np.zeros(rows, np.intp), np.zeros(rows)
        starts, self.kinks = _kinks(n)
        if len(starts):
            scores = values @ self.kinks.T
            self.best = np.abs(scores).argmax(axis=1)
            self.start = starts[self.best]
            self.over = scores[np.arange(rows), self.best]
            self.left[LATER] = np.maximum(straight - self.over**2, 0.0)
        self.waves = np.zeros((rows, 6))
        columns = _columns(n, width_s)
        if columns is not None:
            scores = values @ columns[0].T
            self.waves = scores @ columns[1]
            left = np.maximum(total - dots(self.waves, scores), 0.0)
            self.left[SEASON] = np.where(left < straight, left, np.inf)
        self.values, self.columns = values, columns

    def off(self, kind: Ints) -> Floats:
        """Give how far the values lie above a shape each."""
        known = self.known
        off: Floats = self.values - self.mean[:, None] - self.score[:, None] * known.first
        bend, later, season = (kind == each for each in (BEND, LATER, SEASON))
        off[bend] -= self.bent[bend, None] * known.second
        if later.any():
            off[later] -= self.over[later, None] * self.kinks[self.best[later]]
        if self.columns is not None and season.any():
            off[season] = self.values[season] - self.waves[season] @ self.columns[0]
        return off

    def at_the_end(self, kind: Ints) -> tuple[Floats, Floats, Floats, Floats]:
        """Give level, slope and bend at the last step, and the error of the slope."""
        known, reach = self.known, self.known.middle
        bend = np.where(kind == BEND, known.second_scale * self.bent, 0.0)
        slope = known.first_scale * self.score
        end = self.mean + slope * reach + bend * (reach * reach - known.second_mean)
        slope = slope + 2 * bend * reach
        n = self.values.shape[1]
        errors = np.full(4, known.first_scale)
        errors[BEND] = math.hypot(known.first_scale, 2 * known.second_scale * reach)
        errors[SEASON] *= math.sqrt(n / max(n - 8, 2))
        season = kind == SEASON
        return (
            np.where(season, self.waves[:, 0], end),
            np.where(season, self.waves[:, 1], slope),
            bend,
            errors[kind],
        )


def _simplest(fit: _Fit) -> Ints:
    """Choose a shape for each row: Bayes' criterion over the values that are independent."""
    values = fit.values
    n = values.shape[1]
    rho = _rho(fit.off(fit.left.argmin(axis=0)), n)
    independent = np.maximum(n * (1 - rho) / (1 + rho), LEAST_INDEPENDENT)
    floor = 1e-12 * n * np.abs(values).max(axis=1) ** 2 + TINY
    costs = independent * np.log((fit.left + floor) / n)
    costs += PRICE * PARAMETERS[:, None] * np.log(independent)
    kind: Ints = costs.argmin(axis=0)
    return kind


def _after(values: Floats, start: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Fit a line from `start` on: its end and slope, what it leaves, and how far values are off."""
    after = values[:, start:]
    known = basis(after.shape[1])
    mean, score = after.mean(axis=1), after @ known.first
    left = np.maximum(dots(after, after) - after.shape[1] * mean**2 - score**2, 0.0)
    off = np.zeros_like(values)
    off[:, start:] = after - mean[:, None] - score[:, None] * known.first
    slope = known.first_scale * score
    return mean + slope * known.middle, slope, left, off


def _rho(residuals: Floats, counts: Ints | int) -> Floats:
    rho = np.clip(autocorrelations(residuals, counts), 0.0, MOST_RHO)
    return np.where(np.asarray(counts) <= LEAST_AFTER, 0.0, rho)


@lru_cache(maxsize=128)
def _kinks(n: int) -> tuple[Ints, Floats]:
    """Give unit rows of `flat, then rising from k on`, beside a line, for several k, latest first.

    The latest first, because that is the one which counts when two are as good.
    """
    known = basis(n)
    starts = sorted({int(n * share) for share in HINGES}, reverse=True)
    found = np.array([k for k in starts if k >= LEAST_BEFORE and n - k >= LEAST_AFTER], np.intp)
    kinks: Floats = np.maximum(np.arange(n) - found[:, None], 0).astype(np.float64)
    kinks -= kinks.mean(axis=1)[:, None]
    kinks -= (kinks @ known.first)[:, None] * known.first
    return found, kinks / np.sqrt(dots(kinks, kinks))[:, None]


def _waves_at(steps: Floats, turn: float) -> Floats:
    angles = turn * steps
    waves: Floats = np.array(
        [np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)]
    )
    return waves


@lru_cache(maxsize=64)
def _columns(n: int, width_s: float) -> tuple[Floats, Floats] | None:
    """Give line and daily waves as rows, and the inverse of their products.

    None for windows of less than two days, or with too few buckets a day.
    """
    days = (n - 1) * width_s / DAY_S
    if width_s < SEASON_BUCKET_S or days < SEASON_DAYS or DAY_S / width_s < SEASON_PER_DAY:
        return None
    steps = np.arange(1.0 - n, 1.0)
    columns = np.vstack([np.ones(n), steps, _waves_at(steps, 2 * math.pi * width_s / DAY_S)])
    return columns, np.linalg.inv(columns @ columns.T)
