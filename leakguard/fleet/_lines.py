"""Straight lines through rows of values, with the honest errors of `core.fitting`."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from leakguard.core.fitting import LAGS, MAD_TO_SIGMA, SEASON_GAIN, TINY
from leakguard.fleet._arrays import Flags, Floats, Ints, autocorrelations, basis, dots, medians


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """One line a row, as `core.fitting.Line`."""

    slope: Floats
    z: Floats
    end: Floats
    noise: Floats
    flat: Floats
    """The values without the daily cycle, where one was found: [row, value]."""


def fit_lines(values: Floats, day: int = 0) -> Lines:
    """Fit a line to each row; `day`: how many values make a day."""
    n = values.shape[1]
    known = basis(n)
    mean = values.mean(axis=1)
    centred = values - mean[:, None]
    score = centred @ known.first
    residuals = centred - score[:, None] * known.first
    inflated = np.ones(len(values))
    if day >= 4 and n >= 2 * day:
        found, cycles = _cycles(centred, dots(residuals, residuals), day)
        centred[found] -= cycles
        inflated[found] = math.sqrt(n / (n - day))
        score = centred @ known.first
        residuals = centred - score[:, None] * known.first
    slope = known.first_scale * score
    return Lines(
        slope=slope,
        z=_z_scores(centred, residuals) / inflated,
        end=mean + slope * known.middle,
        noise=_spreads(residuals),
        flat=centred + mean[:, None],
    )


@lru_cache(maxsize=32)
def _phases(n: int, day: int) -> tuple[Ints, Floats, Floats]:
    """Give the phase of each step, the weights of the means, and the mean step of each phase."""
    steps = np.arange(n)
    phase = steps % day
    weights = (phase[:, None] == np.arange(day)) / np.bincount(phase)
    return phase, weights, steps @ weights


def _cycles(centred: Floats, without: Floats, day: int) -> tuple[Flags, Floats]:
    """Tell which rows have a daily cycle beside the trend, and give it for those, step by step."""
    n = centred.shape[1]
    phase, weights, mean_steps = _phases(n, day)
    means = centred @ weights
    xs = np.arange(n) - mean_steps[phase]
    ys = centred - means[:, phase]
    slope = ys @ xs / max(float(xs @ xs), TINY)
    off = ys - slope[:, None] * xs
    found = dots(off, off) / max(n - day - 1, 1) < SEASON_GAIN * without / (n - 2)
    cycle = means[found] - slope[found, None] * mean_steps
    cycle -= cycle.mean(axis=1)[:, None]
    return found, cycle[:, phase]


def _spreads(residuals: Floats) -> Floats:
    return MAD_TO_SIGMA * medians(np.abs(residuals - medians(residuals)[:, None]))


def _z_scores(values: Floats, residuals: Floats) -> Floats:
    n = values.shape[1]
    rho = autocorrelations(residuals, n)
    unit = rho > 1 - n**-0.5
    z = np.empty(len(values))
    z[unit] = _z_unit_root(values[unit])
    z[~unit] = _z_stationary(values[~unit], rho[~unit])
    return z


def _z_stationary(values: Floats, rho: Floats) -> Floats:
    """Score by generalised least squares: what is new since the value before."""
    n = values.shape[1]
    new = values[:, 1:] - rho[:, None] * values[:, :-1]
    known = basis(n - 1)
    score = new @ known.first
    new -= new.mean(axis=1)[:, None]
    new -= score[:, None] * known.first
    left = dots(new, new) / (n - 3)
    scores: Floats = score / np.sqrt(np.maximum(left, TINY))
    return scores


def _z_unit_root(values: Floats) -> Floats:
    """Give the mean difference over its Newey-West error."""
    off = np.diff(values, axis=1)
    m = off.shape[1]
    mean = off.mean(axis=1)
    off -= mean[:, None]
    own = dots(off, off) / m
    long_run = own.copy()
    for lag in range(1, LAGS + 1):
        long_run += 2 * (1 - lag / (LAGS + 1)) * dots(off[:, :-lag], off[:, lag:]) / m
    scores: Floats = mean / np.sqrt(np.maximum(np.maximum(long_run, 0.25 * own), TINY) / m)
    return scores
