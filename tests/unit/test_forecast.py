"""When a limit is reached: median, band, probability, and what is not foreseen."""

import math
from typing import Any

import pytest

from leakguard.core.forecast import (
    HORIZON_S,
    MODEL_ERROR,
    MOST_SIGMA,
    Forecast,
    LimitKind,
    TimeToLimit,
    forecast,
    nearest,
)
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import MIB
from leakguard.testing.bench import room_of, trend_of


def test_the_median_is_headroom_over_slope() -> None:
    """And the quantiles lie about it."""
    found = forecast(room_of(3600), trend_of(mib_per_s=1.0))
    times = found.quantiles()
    assert times is not None
    assert (found.median_s, times.p50_s) == (3600.0, 3600.0)
    assert times.p05_s is not None
    assert times.p95_s is not None
    assert times.p05_s < 3600.0 < times.p95_s
    assert times.p05_s * times.p95_s == pytest.approx(3600.0**2)


@pytest.mark.parametrize("slope", [None, 0.0, -1.0])
def test_without_growth_nothing_is_foreseen(slope: float | None) -> None:
    """Neither quantiles nor a probability."""
    found = forecast(room_of(100), trend_of(mib_per_s=slope))
    assert (found.quantiles(), found.early_edge_s(), found.probability_within(1e9)) == (
        None,
        None,
        0.0,
    )


def test_what_is_full_is_full_now() -> None:
    """With certainty."""
    found = forecast(room_of(0), trend_of())
    assert (found.quantiles(), found.probability_within(0.0)) == (
        TimeToLimit(p05_s=0.0, p50_s=0.0, p95_s=0.0),
        1.0,
    )


def test_nothing_happens_within_no_time() -> None:
    """Unless it is full."""
    assert forecast(room_of(10), trend_of()).probability_within(0.0) == 0.0


def test_half_of_the_probability_lies_before_the_median() -> None:
    """And 5 % before the early edge."""
    found = forecast(room_of(3600), trend_of())
    early = found.early_edge_s()
    assert early is not None
    assert found.probability_within(3600.0) == pytest.approx(0.5)
    assert found.probability_within(early) == pytest.approx(0.05)


def test_quantiles_beyond_the_horizon_are_not_named() -> None:
    """Each by itself."""
    found = forecast(room_of(HORIZON_S / 2), trend_of())
    times = found.quantiles()
    assert times is not None
    assert (times.p05_s is None, times.p50_s is None, times.p95_s is None) == (False, False, True)


def test_what_lies_ten_horizons_away_is_not_foreseen() -> None:
    """A slope of almost nothing says nothing."""
    assert forecast(room_of(HORIZON_S * 11), trend_of()).median_s is None


@pytest.mark.parametrize(
    "worse",
    [
        {"error_bytes_per_s": 0.5 * MIB},
        {"noise_bytes": 1000.0 * MIB},
        {"window_s": 10.0},
    ],
)
def test_less_knowledge_makes_a_wider_band(worse: dict[str, Any]) -> None:
    """Error of the slope, noise of the samples, a short look."""
    good: dict[str, Any] = {"slope_bytes_per_s": 1.0 * MIB, "window_s": 3600.0}
    known = Trend(verdict=Verdict.LEAKING, reason="", **good)
    unsure = Trend(verdict=Verdict.LEAKING, reason="", **(good | worse))
    wide, narrow = forecast(room_of(3600), unsure), forecast(room_of(3600), known)
    assert wide.early_sigma > narrow.early_sigma > MODEL_ERROR
    assert wide.late_sigma > narrow.late_sigma > MODEL_ERROR


def test_the_band_is_bounded() -> None:
    """Beyond a factor of e³ it says nothing more."""
    assert forecast(room_of(1e6), trend_of(error=1e6)).early_sigma == MOST_SIGMA


def test_the_nearest_is_the_one_with_the_earliest_early_edge() -> None:
    """Limits are compared by time."""
    far, near = forecast(room_of(900), trend_of()), forecast(room_of(90), trend_of())
    assert nearest([far, near]) == near


def test_without_a_forecast_the_least_headroom_is_nearest() -> None:
    """There is something to show."""
    big = Forecast(room=room_of(900), slope_bytes_per_s=None)
    small = Forecast(room=room_of(9, kind=LimitKind.HOST), slope_bytes_per_s=None)
    assert (nearest([big, small]), nearest([])) == (small, None)


def test_the_edges_are_those_of_a_log_normal() -> None:
    """With the usual quantile, and a deviation of its own on each side."""
    found = Forecast(
        room=room_of(1), slope_bytes_per_s=1.0, median_s=100.0, early_sigma=1.0, late_sigma=2.0
    )
    times = found.quantiles()
    assert times is not None
    assert times.p05_s == pytest.approx(100 * math.exp(-1.6448536))
    assert times.p95_s == pytest.approx(100 * math.exp(2 * 1.6448536))
