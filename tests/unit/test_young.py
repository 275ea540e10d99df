"""The slope of a series that is too young for windows, and the parts that it is made of."""

import pytest

from leakguard.core.series import Series
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import MIB
from leakguard.detectors._young import (
    MIN_POINTS,
    binned_medians,
    fit_window,
    fit_young,
    mann_kendall_z,
    theil_sen,
)


def judge(mib: list[float], every_s: float = 1.0) -> Trend:
    """Judge values that came at an even pace."""
    series = Series()
    for i, value in enumerate(mib):
        series.append(i * every_s, value * MIB)
    return fit_young(series)


def test_a_few_samples_are_warming_up() -> None:
    """The reason says how many are needed."""
    found = judge([100.0] * 3)
    assert (found.verdict, found.reason, found.slope_bytes_per_s) == (
        Verdict.WARMING_UP,
        f"3 of {MIN_POINTS} samples needed",
        None,
    )


def test_growth_of_a_young_series_is_warming_up_with_a_slope() -> None:
    """Provisional: only a near exhaustion may act on it."""
    found = judge([100.0 + i for i in range(20)])
    assert found.verdict is Verdict.WARMING_UP
    assert found.slope_bytes_per_s == pytest.approx(1.0 * MIB)
    assert found.error_bytes_per_s == pytest.approx(0.0, abs=1e-6)
    assert (found.value_bytes, found.at_boot_s) == (119.0 * MIB, 19.0)
    assert found.reason.startswith("only 19s seen; grows 1.00 MiB/s over 19s (+19.0 MiB, z = ")


@pytest.mark.parametrize(
    "mib",
    [
        [100.0] * 20,
        [100.0 + 5 * (i % 2) for i in range(20)],
        [400.0 - i for i in range(20)],
        [500.0 + 0.05 * i for i in range(20)],
    ],
    ids=["flat", "noise", "falling", "creeping"],
)
def test_a_young_series_that_does_not_grow_has_no_slope(mib: list[float]) -> None:
    """Nothing can be said yet; two percent may be anything."""
    found = judge(mib)
    assert (found.verdict, found.slope_bytes_per_s) == (Verdict.WARMING_UP, None)
    assert found.reason == "only 19s seen; no growth beyond noise over 19s"


def test_a_young_growth_that_slows_down_has_no_slope() -> None:
    """Its last third hardly grows, and the reason says so."""
    found = judge([300.0 * (1 - 0.8**i) for i in range(30)])
    assert (found.verdict, found.slope_bytes_per_s) == (Verdict.WARMING_UP, None)
    assert found.reason.startswith("only 29s seen; growth slows down: ")


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
