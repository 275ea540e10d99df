"""Lines, their honest errors, and the daily cycle that is taken out before."""

import math
import random
from collections.abc import Callable
from statistics import fmean

import pytest

from leakguard.core.fitting import (
    basis,
    dot,
    fit_line,
    quantile,
    smooth,
)

N = 48
SEEDS = 400
DAY = 18
"""Buckets of 80 minutes in a day."""
Noise = Callable[[random.Random], list[float]]


def autoregressive(rho: float) -> Noise:
    """Give noise whose every value keeps a share of the one before; 1 is a random walk."""

    def make(rng: random.Random) -> list[float]:
        value = rng.gauss(0, 1) / math.sqrt(1 - rho * rho) if rho < 1 else 0.0
        found = []
        for _ in range(N):
            value = rho * value + rng.gauss(0, 1)
            found.append(value)
        return found

    return make


def cycle(i: int, height: float = 100.0) -> float:
    """Give a day's curve: high in the afternoon, with a second hump."""
    turn = 2 * math.pi * i / DAY
    return height * (math.sin(turn) + 0.4 * math.cos(2 * turn))


@pytest.mark.parametrize(
    ("rho", "share"), [(0.0, 0.005), (0.5, 0.01), (0.8, 0.02), (0.95, 0.06), (1.0, 0.1)]
)
def test_noise_seldom_has_a_high_score(rho: float, share: float) -> None:
    """White, autocorrelated or wandering: about zero, and rarely beyond four."""
    noise = autoregressive(rho)
    scores = [fit_line(noise(random.Random(seed))).z for seed in range(SEEDS)]
    assert abs(fmean(scores)) < 0.25
    assert sum(abs(z) > 4 for z in scores) <= share * SEEDS


def test_a_rise_that_noise_explains_has_a_lower_score_than_one_that_it_does_not() -> None:
    """The same slope on white noise and on a walk."""
    rise = [0.5 * i for i in range(N)]
    white, walk = (
        fmean(
            fit_line([r + v for r, v in zip(rise, noise(random.Random(seed)), strict=True)]).z
            for seed in range(50)
        )
        for noise in (autoregressive(0.0), autoregressive(1.0))
    )
    assert white > 20
    assert 1 < walk < white / 4


def test_a_daily_cycle_is_taken_out() -> None:
    """Slope and score are those of what is left, and `flat` has no cycle any more."""
    rng = random.Random(5)
    values = [1000 + 2.0 * i + cycle(i) + rng.gauss(0, 3) for i in range(N)]
    blind, found = fit_line(values), fit_line(values, DAY)
    assert (blind.season, found.season) == (False, True)
    assert found.slope == pytest.approx(2.0, abs=0.1)
    assert found.z > 4 * abs(blind.z)
    off = [v - (1000 + 2.0 * i) for i, v in enumerate(found.flat)]
    assert max(abs(v - fmean(off)) for v in off) < 15


def test_a_daily_cycle_alone_has_no_slope() -> None:
    """Two days and two thirds end higher than they began."""
    found = fit_line([1000 + cycle(i) for i in range(N)], DAY)
    assert found.season
    assert found.slope == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("day", [0, 3, 30])
def test_without_two_days_no_cycle_is_looked_for(day: int) -> None:
    """Nor with so few values a day that they say nothing."""
    values = [1000 + cycle(i) for i in range(N)]
    assert fit_line(values, day) == fit_line(values)


def test_noise_has_no_daily_cycle() -> None:
    """A cycle must take most of the variance away to be believed."""
    noise = autoregressive(0.0)
    found = [fit_line(noise(random.Random(seed)), DAY).season for seed in range(100)]
    assert sum(found) <= 2


def test_a_spike_does_not_widen_the_noise() -> None:
    """The spread is a median."""
    rng = random.Random(2)
    values = [rng.gauss(100, 1) for _ in range(N)]
    spiky = [*values[:20], 500.0, *values[21:]]
    assert fit_line(spiky).noise < 6 * fit_line(values).noise


@pytest.mark.parametrize("n", [3, 8, 47, 48])
def test_the_polynomials_are_orthonormal(n: int) -> None:
    """To one another, and to a constant."""
    known, ones = basis(n), [1.0] * n
    products = [
        dot(known.first, ones), dot(known.second, ones), dot(known.first, known.second),
        dot(known.first, known.first) - 1, dot(known.second, known.second) - 1,
    ]  # fmt: skip
    assert max(map(abs, products)) < 1e-12


def test_a_lone_slip_is_smoothed_away() -> None:
    """Medians of three; the ends stay."""
    assert smooth([1.0, 2.0, 99.0, 4.0, 5.0]) == [1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.25, 2.5), (0.5, 4.0), (1.0, 16.0)])
def test_a_quantile_lies_between_its_neighbours(share: float, value: float) -> None:
    """In proportion."""
    assert quantile([1.0, 3.0, 5.0, 16.0], share) == value
