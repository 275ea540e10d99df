"""The paths of several windows, joined: peaks, weights, and a band that grows with doubt."""

import math
import random
from dataclasses import replace

import pytest

from leakguard.core.forecast import (
    MOST_SIGMA,
    Forecast,
    forecast,
    time_to,
)
from leakguard.core.instant import Instant
from leakguard.core.series import Series
from leakguard.core.trend import Growth, Trend, Verdict
from leakguard.core.units import MIB
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.testing.bench import room_of

HOUR_S = 3600.0
SURE = Growth(
    at_boot_s=0.0,
    window_s=47 * 60.0,
    bucket_s=60.0,
    points=48,
    level_bytes=100.0 * MIB,
    slope_bytes_per_s=0.1 * MIB,
    z=100.0,
    noise_bytes=0.1 * MIB,
    rise_bytes=282.0 * MIB,
    peaks_bytes=(0.0, 0.0, 0.0, 0.0, 0.0),
)
"""A line that reaches 400 MiB, 300 above, after 3000 seconds."""


def foresee(*growths: Growth, room_mib: float = 300.0, life_s: float = HOUR_S) -> Forecast:
    """Join paths that begin at 100 MiB."""
    trend = Trend(
        verdict=Verdict.LEAKING, reason="", slope_bytes_per_s=0.1 * MIB, value_bytes=100.0 * MIB,
        life_s=life_s, growths=growths,
    )  # fmt: skip
    return forecast(room_of(room_mib), trend)


def heights(size_mib: float) -> tuple[float, ...]:
    """Give peaks of which half lie above nothing, and the highest at so much."""
    return tuple(share * size_mib * MIB for share in (0.0, 0.3, 0.5, 0.8, 1.0))


def test_it_is_a_peak_that_meets_the_limit() -> None:
    """Peaks that stand 50 MiB above the path cut at least their usual height off the way."""
    smooth_s = time_to(SURE, 400.0 * MIB, 0.0)
    peaked_s = time_to(replace(SURE, peaks_bytes=heights(50)), 400.0 * MIB, 0.0)
    assert smooth_s == pytest.approx(3000.0)
    assert 2500.0 <= peaked_s <= 2850.0


def test_a_slow_path_meets_the_highest_of_many_peaks() -> None:
    """The slower it climbs through its peaks, the more of them it has to pass."""
    peaks, speeds = heights(50), (1.0, 0.1, 0.01, 0.001)
    over = [
        400.0 * MIB - SURE.level_bytes - speed * MIB * time_s
        for speed in speeds
        for time_s in [
            time_to(
                replace(SURE, slope_bytes_per_s=speed * MIB, peaks_bytes=peaks), 400.0 * MIB, 0.0
            )
        ]
    ]
    assert over == sorted(over)
    assert over[0] < 10 * MIB < 50 * MIB < over[-1]


def test_a_noisier_series_is_foreseen_earlier_and_less_surely() -> None:
    """Of the same path: by the whole way from samples to the band."""
    found = []
    for noise_mib in (1.0, 30.0):
        rng, series, detector = random.Random(6), Series(), EnvelopeDetector(Options())
        for i in range(600):
            series.append(i * 10.0, (100 + 0.5 * i + rng.gauss(0, noise_mib)) * MIB)
        now = Instant(wall_s=0.0, boot_s=5990.0, boot_id="")
        value = 100 + 0.5 * 599
        last = replace(detector.fit(series, now, 200.0 * MIB), value_bytes=value * MIB)
        found.append(forecast(room_of(600 - value), last))
    calm, rough = found
    assert calm.median_s == pytest.approx(2 * 200 * 10, rel=0.05)
    assert rough.median_s is not None
    assert calm.median_s is not None
    assert rough.median_s < 0.9 * calm.median_s
    assert rough.early_sigma > calm.early_sigma


def test_windows_that_agree_give_their_time() -> None:
    """One line seen by three windows."""
    found = foresee(*(replace(SURE, window_s=window_s) for window_s in (600, 2820, 14100)))
    assert found.median_s == pytest.approx(3000.0, rel=1e-6)


@pytest.mark.parametrize(
    "doubtful",
    [
        {"z": 1.0},
        {"unrest_bytes": 500.0 * MIB},
        {"noise_bytes": 300.0 * MIB},
        {"window_s": 100.0, "rise_bytes": 20.0 * MIB},
    ],
)
def test_the_window_that_can_be_trusted_counts(doubtful: dict[str, float]) -> None:
    """An unsure slope, a restless past, noise, or a long stretch: it hardly moves the time."""
    other = replace(SURE, slope_bytes_per_s=0.4 * MIB, **doubtful)  # type: ignore[arg-type]
    found = foresee(SURE, other)
    assert found.median_s == pytest.approx(3000.0, rel=0.1)


def test_windows_that_disagree_make_a_wider_band() -> None:
    """And the time lies between theirs."""
    fast = replace(SURE, slope_bytes_per_s=0.2 * MIB)
    found, agreed = foresee(SURE, fast), foresee(SURE, SURE)
    assert found.median_s is not None
    assert 1500.0 < found.median_s < 3000.0
    assert found.early_sigma > 3 * agreed.early_sigma


def test_a_window_stretched_far_beyond_its_length_is_unsure() -> None:
    """What was seen for an hour says less of next week than of the next hour."""
    near, far = foresee(SURE), foresee(SURE, room_mib=60_000.0)
    assert far.median_s == pytest.approx(600_000.0)
    assert far.early_sigma > 2 * near.early_sigma


def test_the_best_of_many_windows_is_less_believed() -> None:
    """In a long life some window rises by luck."""
    assert foresee(SURE, life_s=30 * 86400).early_sigma > foresee(SURE).early_sigma


def test_only_moments_are_never_known_exactly() -> None:
    """A tenth of ten seconds is less than a tick."""
    assert foresee(SURE, room_mib=0.5).early_sigma > foresee(SURE).early_sigma


def test_paths_that_never_get_there_are_left_out() -> None:
    """Where none does, nothing is foreseen."""
    level = replace(SURE, slope_bytes_per_s=0.0)
    assert foresee(level, SURE).median_s == pytest.approx(foresee(SURE).median_s)
    assert foresee(level).median_s is None


def test_what_lies_far_beyond_the_horizon_is_not_foreseen() -> None:
    """A path of almost nothing says nothing."""
    crawling = replace(SURE, slope_bytes_per_s=1.0)
    assert foresee(crawling, room_mib=1000.0).median_s is None


def test_a_path_of_the_past_counts_from_now() -> None:
    """Its level is that of its window's end; time has gone on since."""
    trend = Trend(
        verdict=Verdict.LEAKING, reason="", slope_bytes_per_s=0.1 * MIB, value_bytes=130.0 * MIB,
        at_boot_s=300.0, growths=(SURE,),
    )  # fmt: skip
    assert forecast(room_of(270.0), trend).median_s == pytest.approx(2700.0)


def test_a_band_is_finite() -> None:
    """Whatever the doubt: a factor of e to the sixth, at most."""
    hopeless = replace(SURE, z=0.0, rise_bytes=0.0, noise_bytes=1e12, unrest_bytes=1e12)
    found = foresee(hopeless, replace(hopeless, slope_bytes_per_s=10.0))
    assert found.median_s is not None
    assert math.isfinite(found.early_sigma)
    assert found.early_sigma <= 2 * MOST_SIGMA
