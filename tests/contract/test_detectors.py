"""What holds for every detector, ours and those of other packages, found by name."""

import copy
import math
import random

import pytest

from leakguard import plugins
from leakguard.core.instant import Instant
from leakguard.core.series import Series
from leakguard.core.trend import Detector, Trend, Verdict
from leakguard.core.units import MIB
from leakguard.testing.clock import FakeClock

NAMES = plugins.names("detectors")
NOW = FakeClock().now()

SHAPES: dict[str, list[float]] = {
    "empty": [],
    "one": [100.0],
    "flat": [100.0] * 120,
    "zero": [0.0] * 120,
    "line": [100.0 + i for i in range(400)],
    "falling": [400.0 - i for i in range(400)],
    "sawtooth": [100.0 + i % 30 for i in range(400)],
    "step": [100.0] * 200 + [300.0] * 200,
    "huge": [1e9 + 1e6 * i for i in range(100)],
}


@pytest.fixture(params=NAMES)
def detector(request: pytest.FixtureRequest) -> Detector:
    """Give each detector with its default options."""
    made: Detector = plugins.load("detectors", request.param).make({}, None)
    return made


def series_of(mib: list[float], every_s: float = 10.0) -> tuple[Series, Instant]:
    """Make a series and the moment of its last sample."""
    series = Series()
    for i, value in enumerate(mib):
        series.append(1000.0 + i * every_s, value * MIB)
    return series, NOW.plus(1000.0 + len(mib) * every_s - NOW.boot_s)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_trend_is_finite_and_has_a_reason(detector: Detector, shape: str) -> None:
    """Whatever the series."""
    found = detector.fit(*series_of(SHAPES[shape]))
    numbers = (found.slope_bytes_per_s or 0.0, found.error_bytes_per_s, found.noise_bytes)
    assert all(math.isfinite(number) for number in numbers)
    assert (found.error_bytes_per_s >= 0, found.noise_bytes >= 0, bool(found.reason)) == (
        True,
        True,
        True,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_fitting_changes_nothing_and_gives_the_same_again(detector: Detector, shape: str) -> None:
    """A detector is pure: replay depends on it."""
    series, now = series_of(SHAPES[shape])
    before = copy.deepcopy(series.to_plain())
    first, second = detector.fit(series, now, 1e9), detector.fit(series, now, 1e9)
    assert (first, series.to_plain()) == (second, before)


def test_nothing_is_unknown(detector: Detector) -> None:
    """An empty series is neither stable nor leaking."""
    assert detector.fit(Series(), NOW).verdict is Verdict.UNKNOWN


def test_a_clear_leak_is_seen_with_its_slope(detector: Detector) -> None:
    """6 MiB a minute for an hour, within a tenth, where the limit is half an hour away."""
    found = detector.fit(*series_of(SHAPES["line"]), 180.0 * MIB)
    assert found.verdict is Verdict.LEAKING
    assert found.slope_bytes_per_s == pytest.approx(0.1 * MIB, rel=0.1)


@pytest.mark.parametrize("shape", ["flat", "zero", "falling", "sawtooth"])
def test_what_does_not_grow_is_no_leak(detector: Detector, shape: str) -> None:
    """Whatever else it is."""
    assert detector.fit(*series_of(SHAPES[shape])).verdict is not Verdict.LEAKING


def test_a_few_samples_are_no_leak(detector: Detector) -> None:
    """A service that starts grows."""
    series, now = series_of([100.0, 150.0, 200.0], every_s=1.0)
    assert detector.fit(series, now).verdict is not Verdict.LEAKING


def test_any_noise_is_survived(detector: Detector) -> None:
    """With gaps of any length."""
    rng = random.Random(1)
    for _ in range(20):
        series, t = Series(), 0.0
        for _ in range(rng.randrange(400)):
            t += rng.expovariate(0.1)
            series.append(t, rng.randrange(2**36))
        assert isinstance(detector.fit(series, NOW.plus(t - NOW.boot_s)), Trend)
