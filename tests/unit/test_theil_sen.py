"""The first detector on the shapes that matter, and its parts."""

import random

import pytest

from leakguard.core.instant import Instant
from leakguard.core.series import Series
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import MIB, Seconds
from leakguard.detectors.theil_sen import (
    MIN_POINTS,
    Options,
    TheilSenDetector,
    binned_medians,
    fit_window,
    mann_kendall_z,
    theil_sen,
)
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()


def judge(mib: list[float], every_s: float = 10.0, options: Options | None = None) -> Trend:
    """Judge values that came at an even pace."""
    return judge_at([(i * every_s, value) for i, value in enumerate(mib)], options)


def judge_at(points: list[tuple[float, float]], options: Options | None = None) -> Trend:
    """Judge points of (seconds, MiB)."""
    series = Series()
    for t, value in points:
        series.append(t, value * MIB)
    last = points[-1][0] if points else 0.0
    now = Instant(wall_s=NOW.wall_s, boot_s=last, boot_id=NOW.boot_id)
    return TheilSenDetector(options or Options()).fit(series, now)


def test_no_sample_is_unknown() -> None:
    """A state of its own."""
    assert judge([]).verdict is Verdict.UNKNOWN


def test_a_few_samples_are_warming_up() -> None:
    """The reason says how many are needed."""
    found = judge([100.0] * 3)
    assert (found.verdict, found.reason, found.slope_bytes_per_s) == (
        Verdict.WARMING_UP,
        f"3 of {MIN_POINTS} samples needed",
        None,
    )


def test_flat_is_stable() -> None:
    """Ties are no growth."""
    found = judge([100.0] * 100)
    assert (found.verdict, found.slope_bytes_per_s) == (Verdict.STABLE, None)


def test_a_line_is_a_leak_with_its_slope() -> None:
    """Exactly, and with no error where there is none."""
    found = judge([100.0 + i for i in range(100)])
    assert found.verdict is Verdict.LEAKING
    assert found.slope_bytes_per_s == pytest.approx(0.1 * MIB)
    assert found.error_bytes_per_s == pytest.approx(0.0)
    assert found.reason.startswith("grows 360 MiB/h over 16m 10s (+97.0 MiB, z = ")


def test_a_noisy_line_is_a_leak_with_an_honest_slope() -> None:
    """Within a few standard errors."""
    rng = random.Random(7)
    found = judge([100.0 + 0.5 * i + rng.gauss(0, 5) for i in range(200)])
    assert found.verdict is Verdict.LEAKING
    assert found.slope_bytes_per_s is not None
    miss = abs(found.slope_bytes_per_s - 0.05 * MIB)
    assert miss < 4 * found.error_bytes_per_s


def test_growth_of_a_young_series_is_warming_up_with_a_slope() -> None:
    """Provisional: only a near exhaustion may act on it."""
    found = judge([100.0 + i for i in range(20)], every_s=1.0)
    assert found.verdict is Verdict.WARMING_UP
    assert found.slope_bytes_per_s == pytest.approx(1.0 * MIB)
    assert found.reason.startswith("only 19s seen; grows 1.00 MiB/s over 19s")


def test_a_young_flat_series_is_warming_up_without_a_slope() -> None:
    """Nothing can be said yet."""
    found = judge([100.0] * 20, every_s=1.0)
    assert (found.verdict, found.slope_bytes_per_s) == (Verdict.WARMING_UP, None)
    assert found.reason == "only 19s seen; no growth beyond noise over 19s"


def test_what_is_young_is_an_option() -> None:
    """A test bench may be in a hurry."""
    options = Options(young=Seconds(10.0))
    found = judge([100.0 + i for i in range(20)], every_s=1.0, options=options)
    assert found.verdict is Verdict.LEAKING


def test_a_sawtooth_is_stable() -> None:
    """A garbage collector takes it back."""
    found = judge([150.0 + 5 * (i % 30) for i in range(360)])
    assert found.verdict is Verdict.STABLE


def test_a_step_is_stable_when_it_is_over() -> None:
    """A cache that was filled at once."""
    found = judge([100.0] * 100 + [200.0] * 150)
    assert found.verdict is Verdict.STABLE


def test_a_warm_up_that_saturates_is_stable() -> None:
    """Its last third hardly grows."""
    found = judge([300.0 * (1 - 0.95**i) for i in range(150)])
    assert found.verdict is Verdict.STABLE
    assert found.reason.startswith("growth slows down: ")


def test_shrinking_is_stable() -> None:
    """A negative slope is never a leak."""
    assert judge([400.0 - i for i in range(100)]).verdict is Verdict.STABLE


def test_a_creep_below_the_floor_is_stable() -> None:
    """Two MiB, or two percent, may be anything."""
    assert judge([500.0 + 0.05 * i for i in range(100)]).verdict is Verdict.STABLE


def test_a_random_walk_is_often_taken_for_a_leak() -> None:
    """An honest note: a rank test cannot tell a walk from a trend; a later detector must."""
    suspected = 0
    for seed in range(40):
        rng, value, walk = random.Random(seed), 300.0, list[float]()
        for _ in range(300):
            value += rng.gauss(0, 2)
            walk.append(value)
        suspected += judge(walk).verdict is Verdict.LEAKING
    assert 0 < suspected < 20


def test_gaps_do_not_bend_the_line() -> None:
    """Time counts, not the number of the sample."""
    points = [(t, 100.0 + t / 10) for t in range(0, 600, 10)]
    points += [(t, 100.0 + t / 10) for t in range(3000, 3600, 10)]
    found = judge_at([(float(t), v) for t, v in points])
    assert found.verdict is Verdict.LEAKING
    assert found.slope_bytes_per_s == pytest.approx(0.1 * MIB)


def test_a_slow_leak_shows_in_the_minutes() -> None:
    """The recent samples alone are too few of its hours."""
    rng = random.Random(3)
    values = [300.0 + i / 250 + rng.gauss(0, 3) for i in range(6000)]
    found = judge(values, every_s=2.0)
    assert found.verdict is Verdict.LEAKING
    assert found.window_s > 3600.0


def test_points_in_one_burst_are_fitted_as_they_came() -> None:
    """Bins of an uneven pace may hold too few medians."""
    times = [0.0, *[100_000.0 + i for i in range(60)]]
    values = [100.0 * MIB, *[(100.0 + i) * MIB for i in range(60)]]
    found = fit_window(times, values)
    assert found is not None
    assert found.slope == pytest.approx(1.0 * MIB)


def test_a_window_that_is_not_significant_is_not_fitted() -> None:
    """When the caller asks for a least significance."""
    values = [(100.0 + 5 * (i % 2)) * MIB for i in range(20)]
    times = [float(i) for i in range(20)]
    assert fit_window(times, values, least_z=3.0) is None


def test_too_few_points_are_no_window() -> None:
    """Nothing is fitted through a handful."""
    assert fit_window([0.0] * 7, [0.0] * 7) is None


def test_bins_are_slices_of_time() -> None:
    """Empty ones give nothing, the last one holds the end."""
    xs, ys = binned_medians([0.0, 1.0, 2.0, 8.0, 9.0, 10.0], [1.0, 3.0, 2.0, 5.0, 9.0, 7.0], 2)
    assert (xs, ys) == ([1.0, 9.0], [2.0, 7.0])


def test_few_points_are_their_own_bins() -> None:
    """Nothing is lost."""
    assert binned_medians([0.0, 1.0], [5.0, 6.0], 2) == ([0.0, 1.0], [5.0, 6.0])


def test_points_at_one_moment_have_no_slope() -> None:
    """No pair has a time between them."""
    assert theil_sen([1.0, 1.0], [0.0, 9.0]) == (0.0, 0.0)


def test_one_wild_point_moves_no_slope() -> None:
    """That is what a median is for."""
    ys = [float(i) for i in range(20)]
    ys[10] = 1e6
    slope, _ = theil_sen([float(i) for i in range(20)], ys)
    assert slope == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ys", "sign"),
    [([1.0, 2.0, 3.0, 4.0], 1), ([4.0, 3.0, 2.0, 1.0], -1), ([1.0, 1.0, 1.0], 0)],
)
def test_the_rank_test_has_the_sign_of_the_trend(ys: list[float], sign: int) -> None:
    """Ties count as nothing."""
    z = mann_kendall_z(ys)
    assert (z > 0) - (z < 0) == sign


def test_the_rank_test_is_the_textbooks() -> None:
    """S = 6 of 4 values, variance 4·3·13/18."""
    assert mann_kendall_z([1.0, 2.0, 3.0, 4.0]) == pytest.approx(5 / (4 * 3 * 13 / 18) ** 0.5)
