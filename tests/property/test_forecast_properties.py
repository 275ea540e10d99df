"""Lines, paths and forecasts, for any numbers."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from leakguard.core.fitting import autocorrelation, fit_line, slope_of
from leakguard.core.forecast import HORIZON_S, MOST_SIGMA, forecast, peak_over, time_to
from leakguard.core.trend import Growth, Trend, Verdict
from leakguard.core.units import MIB
from leakguard.testing.bench import room_of

SIZES = st.floats(1.0, 1e12)
SLOPES = st.floats(-1e6, 1e6)
BENDS = st.floats(-100, -1e-9) | st.just(0.0) | st.floats(1e-9, 100)
N = 48
MINUTE_S = 60.0
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


@given(n=st.integers(8, 60), start=SIZES, slope=SLOPES)
def test_a_line_is_found_exactly(n: int, start: float, slope: float) -> None:
    """Slope, level at the end, and no noise."""
    found = fit_line([start + slope * i for i in range(n)])
    near = 1e-9 * (start + abs(slope) * n)
    assert found.slope == pytest.approx(slope, rel=1e-9, abs=near)
    assert found.end == pytest.approx(start + slope * (n - 1), rel=1e-9, abs=near)
    assert (found.noise <= near, found.season) == (True, False)


@given(values=st.lists(st.floats(0, 1e9), min_size=8, max_size=60), power=st.integers(-20, 40))
def test_a_unit_changes_no_score(values: list[float], power: int) -> None:
    """Bytes, pages or GiB: a slope over its error has none."""
    small, large = fit_line(values), fit_line([math.ldexp(v, power) for v in values])
    assert large.slope == math.ldexp(small.slope, power)
    if small.noise > 1e-3 and large.noise > 1e-3:
        assert large.z == pytest.approx(small.z)


@given(st.lists(st.integers(0, 1000), min_size=8, max_size=60))
def test_backwards_it_falls_as_it_rose(values: list[int]) -> None:
    """The slope has no favourite direction."""
    there, back = slope_of(values), slope_of(values[::-1])
    assert back == pytest.approx(-there, abs=1e-9)


@given(st.lists(st.floats(-1e9, 1e9), min_size=8, max_size=60))
def test_the_coefficient_of_noise_is_bounded(residuals: list[float]) -> None:
    """Noise that alternates is given little credit, and one is a random walk."""
    assert -0.5 <= autocorrelation(residuals) <= 1.0


def bent(slope: float, bend: float) -> Growth:
    """Make a path without peaks, at 100 MiB."""
    return Growth(
        at_boot_s=0.0, window_s=2820.0, bucket_s=MINUTE_S, points=N, level_bytes=100.0 * MIB,
        slope_bytes_per_s=slope, bend_bytes_per_s2=bend,
    )  # fmt: skip


@given(
    slope=st.floats(1.0, 1e6),
    span_s=st.floats(60.0, 1e6),
    rooms=st.lists(st.floats(1.0, 1e10), min_size=2, max_size=8),
)
def test_a_path_that_levels_off_never_turns_down(
    slope: float, span_s: float, rooms: list[float]
) -> None:
    """A higher limit is reached later, and never sooner than by the line it leaves."""
    growth = bent(slope, -slope / (2 * span_s))
    rooms.sort()
    times = [time_to(growth, growth.level_bytes + room, 0.0) for room in rooms]
    assert times == sorted(times)
    for room, time_s in zip(rooms, times, strict=True):
        assert time_s >= room / slope * (1 - 1e-6)


@given(slope=st.floats(1.0, 1e6), bend=st.floats(0.0, 1e3), room=st.floats(1e3, 1e10))
def test_an_accelerating_path_is_never_later_than_its_line(
    slope: float, bend: float, room: float
) -> None:
    """Where it meets the limit, slope and bend add up to the room."""
    time_s = time_to(bent(slope, bend), 100.0 * MIB + room, 0.0)
    assert time_s <= room / slope * (1 + 1e-9)
    assert slope * time_s + bend * time_s**2 == pytest.approx(room, rel=1e-3)


def heights(size_mib: float) -> tuple[float, ...]:
    """Give peaks of which half lie above nothing, and the highest at so much."""
    return tuple(share * size_mib * MIB for share in (0.0, 0.3, 0.5, 0.8, 1.0))


@st.composite
def growths(draw: st.DrawFn) -> Growth:
    """Draw a path of any kind, also an absurd one."""
    size = st.floats(-1e9, 1e9)
    seasonal = draw(st.booleans())
    return Growth(
        at_boot_s=draw(st.floats(0, 1e6)),
        window_s=draw(st.floats(10, 5e6)),
        bucket_s=draw(st.sampled_from([1.0, 60.0, 4800.0, 86400.0])),
        points=draw(st.integers(10, 48)),
        level_bytes=draw(st.floats(0, 1e10)),
        slope_bytes_per_s=draw(st.floats(-1e6, 0.0) | st.floats(1e-3, 1e7)),
        bend_bytes_per_s2=0.0 if seasonal else draw(BENDS),
        z=draw(st.floats(-10, 1e15)),
        noise_bytes=draw(st.floats(0, 1e9)),
        rise_bytes=draw(st.floats(0, 1e10)),
        unrest_bytes=draw(st.none() | st.floats(0, 1e10)),
        peaks_bytes=tuple(sorted(draw(st.tuples(size, size, size, size, size)))),
        season_bytes=draw(st.tuples(size, size, size, size)) if seasonal else None,
    )


@st.composite
def trends(draw: st.DrawFn) -> Trend:
    """Draw a trend of up to eight paths."""
    return Trend(
        verdict=draw(st.sampled_from(Verdict)),
        reason="",
        slope_bytes_per_s=draw(st.floats(1e-3, 1e7)),
        value_bytes=draw(st.floats(0, 1e10)),
        at_boot_s=draw(st.floats(1e6, 2e6)),
        life_s=draw(st.floats(0, 1e7)),
        growths=tuple(draw(st.lists(growths(), max_size=8))),
    )


@given(trend=trends(), room_mib=st.floats(-10, 1e5))
def test_quantiles_are_in_order(trend: Trend, room_mib: float) -> None:
    """Whatever the paths: early, middle, late; none is beyond the horizon or before now."""
    times = forecast(room_of(room_mib), trend).quantiles()
    if times is not None:
        known = [t for t in (times.p05_s, times.p50_s, times.p95_s) if t is not None]
        assert known == sorted(known)
        assert all(0 <= t <= HORIZON_S for t in known)
        assert (times.p50_s is None and times.p95_s is not None) is False


@given(
    trend=trends(),
    room_mib=st.floats(-10, 1e5),
    within=st.lists(st.just(0.0) | st.floats(0.01, 1e7), min_size=2, max_size=9),
)
def test_a_longer_time_is_never_less_likely(
    trend: Trend, room_mib: float, within: list[float]
) -> None:
    """The probability grows with the time, from nothing to one."""
    found = forecast(room_of(room_mib), trend)
    chances = [found.probability_within(seconds) for seconds in sorted(within)]
    assert chances == sorted(chances)
    assert all(0 <= chance <= 1 for chance in chances)


@given(trend=trends(), room_mib=st.floats(1, 1e5))
def test_the_early_edge_has_five_in_a_hundred_before_it(trend: Trend, room_mib: float) -> None:
    """And the middle half of them, where there is anything to come."""
    found = forecast(room_of(room_mib), trend)
    edge = found.early_edge_s()
    if found.median_s and edge is not None and found.early_sigma > 1e-6:
        assert found.probability_within(found.median_s) == pytest.approx(0.5)
        assert found.probability_within(edge) == pytest.approx(0.05)
    assert found.early_sigma <= 2 * MOST_SIGMA


@given(growth=growths(), chances=st.lists(st.floats(0, 1e6), min_size=2, max_size=9))
def test_more_chances_give_no_lower_peak(growth: Growth, chances: list[float]) -> None:
    """The highest of many is at least the highest of few."""
    found = [peak_over(growth, c) for c in sorted(chances)]
    assert found == sorted(found)


@given(st.lists(st.floats(0, 200), min_size=2, max_size=6))
def test_the_higher_the_peaks_the_earlier(sizes: list[float]) -> None:
    """Always."""
    times = [
        time_to(replace(SURE, peaks_bytes=heights(size)), 400.0 * MIB, 0.0)
        for size in sorted(sizes)
    ]
    assert times == sorted(times, reverse=True)
