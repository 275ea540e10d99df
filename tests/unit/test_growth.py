"""The paths that windows foresee: a line, a bend, a later start, a daily cycle."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from leakguard.core.forecast import time_to, wave
from leakguard.core.pyramid import WIDTHS_S, Level, Pyramid
from leakguard.core.trend import Growth
from leakguard.core.units import MIB
from leakguard.detectors._growth import grow

N = 48
MINUTE_S = 60.0
WIDE_S = 4800.0
DAY_S = 86400.0
Path = Callable[[float], float]
"""MiB by the number of the bucket."""


def level_of(path: Path, *, width_s: float = MINUTE_S, noise_mib: float = 0.0) -> Level:
    """Make a full level whose middles follow a path, with peaks a MiB above."""
    rng, pyramid, index = random.Random(1), Pyramid(), WIDTHS_S.index(width_s)
    for i in range(N):
        mid = (path(i) + rng.gauss(0, noise_mib)) * MIB
        pyramid.put(index, i, (mid - MIB, mid, mid + MIB))
    return pyramid.level(index)


def growth_of(
    path: Path, *, size: int = N, width_s: float = MINUTE_S, noise_mib: float = 0.0
) -> Growth:
    """Give the path that the last buckets foresee."""
    found = grow(level_of(path, width_s=width_s, noise_mib=noise_mib), size, None)
    assert found is not None
    return found


def mib_a_bucket(growth: Growth) -> float:
    """Give the slope at the end of the window."""
    return growth.slope_bytes_per_s * growth.bucket_s / MIB


@pytest.mark.parametrize("size", [12, 24, 48])
def test_a_line_is_a_line(size: int) -> None:
    """Its slope, its level in the middle of the last bucket, its rise; no bend, no cycle."""
    found = growth_of(lambda i: 300 + 2 * i, size=size)
    assert mib_a_bucket(found) == pytest.approx(2.0, rel=1e-5)
    assert found.level_bytes == pytest.approx((300 + 2 * 47) * MIB, rel=1e-6)
    assert found.rise_bytes == pytest.approx(2 * (size - 1) * MIB, rel=1e-5)
    assert (found.at_boot_s, found.window_s) == (47.5 * MINUTE_S, (size - 1) * MINUTE_S)
    assert (found.bend_bytes_per_s2, found.season_bytes) == (0.0, None)


def test_a_noisy_line_has_the_noise_that_it_has() -> None:
    """And its slope within a few errors; mere noise bends nothing."""
    found = growth_of(lambda i: 300 + 2 * i, noise_mib=5.0)
    assert mib_a_bucket(found) == pytest.approx(2.0, abs=4 * 2.0 / found.z)
    assert found.noise_bytes == pytest.approx(5 * MIB, rel=0.3)
    assert abs(found.bend_bytes_per_s2) * found.window_s**2 < 5 * MIB


def test_a_leak_that_accelerates_has_its_bend() -> None:
    """Slope and bend at the end of the window."""
    found = growth_of(lambda i: 300 + 0.05 * i * i, noise_mib=0.2)
    assert mib_a_bucket(found) == pytest.approx(2 * 0.05 * 47, rel=0.05)
    assert found.bend_bytes_per_s2 * MINUTE_S**2 == pytest.approx(0.05 * MIB, rel=0.05)


@pytest.mark.parametrize("start", [12, 24, 34])
def test_a_leak_that_began_later_has_the_slope_since_then(start: int) -> None:
    """The quiet time before it does not flatten the path."""
    found = growth_of(lambda i: 300 + 5 * max(i - start, 0), noise_mib=1.0)
    assert mib_a_bucket(found) == pytest.approx(5.0, rel=0.08)
    assert found.points <= N - start + 3


@pytest.mark.parametrize("width_s", [WIDE_S, 14400.0])
def test_a_daily_cycle_is_recovered(width_s: float) -> None:
    """Slope within a tenth, and both waves within a tenth of the larger."""

    def path(i: float) -> float:
        turn = 2 * math.pi * (i - 47) * width_s / DAY_S
        return 1000 + 2 * i + 40 * math.cos(turn) - 25 * math.sin(turn) + 10 * math.sin(2 * turn)

    found = growth_of(path, width_s=width_s, noise_mib=3.0)
    assert mib_a_bucket(found) == pytest.approx(2.0, rel=0.1)
    assert found.season_bytes == pytest.approx(
        (40 * MIB, -25 * MIB, 0.0, 10 * MIB), abs=0.1 * 40 * MIB
    )


def test_without_a_cycle_none_is_found() -> None:
    """Days of a noisy line."""
    assert growth_of(lambda i: 1000 + 2 * i, width_s=WIDE_S, noise_mib=5.0).season_bytes is None


@pytest.mark.parametrize("path", [lambda _: 300.0, lambda i: 500.0 - i])
def test_what_does_not_grow_has_no_path(path: Path) -> None:
    """Flat, or falling; and an empty level."""
    assert grow(level_of(path), N, None) is None
    assert grow(Pyramid().level(WIDTHS_S.index(MINUTE_S)), N, None) is None


def test_peaks_are_told_by_their_heights() -> None:
    """Above the path at the end of their bucket, in order; one high one is the last of them."""
    pyramid, minutes = Pyramid(), WIDTHS_S.index(MINUTE_S)
    for i in range(N):
        mid = (300.0 + 2 * i) * MIB
        pyramid.put(minutes, i, (mid, mid, mid + (64 if i == 20 else 8) * MIB))
    found = grow(pyramid.level(minutes), N, None)
    assert found is not None
    assert found.peaks_bytes == pytest.approx(
        tuple(size * MIB for size in (7, 7, 7, 7, 63)), abs=0.1 * MIB
    )


def test_growth_that_levels_off_reaches_things_later() -> None:
    """A logarithm is followed like one: later than by a line, and later than it will be."""
    found = growth_of(lambda i: 300 + 60 * math.log1p(i / 12))
    straight = replace(found, bend_bytes_per_s2=0.0, season_bytes=None)
    top = found.level_bytes + 200 * MIB
    assert time_to(found, top, found.at_boot_s) >= time_to(straight, top, found.at_boot_s)


def bent(slope: float, bend: float) -> Growth:
    """Make a path without peaks, at 100 MiB."""
    return Growth(
        at_boot_s=0.0, window_s=2820.0, bucket_s=MINUTE_S, points=N, level_bytes=100.0 * MIB,
        slope_bytes_per_s=slope, bend_bytes_per_s2=bend,
    )  # fmt: skip


def test_a_season_is_waited_for() -> None:
    """The limit is reached at the high of a day, not in the night before."""
    season = (0.0, 50.0 * MIB, 0.0, 0.0)
    growth = replace(bent(10.0 * MIB / DAY_S, 0.0), bucket_s=WIDE_S, season_bytes=season)
    time_s = time_to(growth, 200.0 * MIB, 0.0)
    assert growth.slope_bytes_per_s * time_s + wave(season, time_s) >= 100 * MIB
    assert (time_s / DAY_S) % 1 == pytest.approx(0.22, abs=0.06)
    assert time_s == pytest.approx(4.7 * DAY_S, rel=0.15)


@pytest.mark.parametrize(("slope", "bend"), [(0.0, 0.0), (-1.0, 0.0), (-5.0, -1.0)])
def test_a_path_that_does_not_climb_reaches_nothing(slope: float, bend: float) -> None:
    """Never."""
    assert time_to(bent(slope, bend), 200.0 * MIB, 0.0) == math.inf


def test_a_path_above_its_top_is_there_now() -> None:
    """And never was there before now."""
    assert time_to(bent(1.0, 0.0), 50.0 * MIB, 0.0) == pytest.approx(0.0, abs=1e-6)
    assert time_to(bent(float(MIB), 0.0), 110.0 * MIB, 100.0) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("bend", [0.0, 50.0])
def test_peaks_that_are_due_hold_no_leak_up(bend: float) -> None:
    """With peaks of 20 MiB the limit is met no later than without, however slowly it began."""
    smooth = bent(100.0, bend)
    peaked = replace(
        smooth, peaks_bytes=tuple(share * MIB for share in (0.0, 6.0, 10.0, 16.0, 20.0))
    )
    assert time_to(peaked, 400.0 * MIB, 0.0) <= time_to(smooth, 400.0 * MIB, 0.0)
