"""The pyramid keeps exactly what the plain way of sorting samples into buckets gives."""

import json
from array import array
from collections.abc import Iterable
from itertools import accumulate

from hypothesis import given, strategies as st

from leakguard.core.pyramid import BUCKETS, FILLED, WIDTHS_S, Level, Pyramid, median

DAY_S = 86400.0
Points = list[tuple[float, float]]
VALUES = st.integers(0, 2**24 - 1).map(float)
"""Whole numbers that a single float holds exactly."""
PACES = st.sampled_from([0.1, 0.25, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 3600.0, DAY_S])
GAPS = st.one_of(PACES, st.floats(0.01, 3 * DAY_S), st.floats(0.9, 1.1).map(lambda f: 60 * f))


def pyramid_of(points: Iterable[tuple[float, float]]) -> Pyramid:
    """Make a pyramid of samples."""
    pyramid = Pyramid()
    for boot_s, value in points:
        pyramid.push(boot_s, value)
    return pyramid


def extremes(points: Points, width_s: float) -> dict[int, tuple[float, float]]:
    """Sort samples into buckets the plain way: lowest and highest by number.

    A sample that came much later than the one before says nothing of buckets that are finer.
    """
    found, before_s = dict[int, list[float]](), points[0][0] if points else 0.0
    for boot_s, value in points:
        if (boot_s - before_s) * FILLED <= width_s or width_s == WIDTHS_S[-1]:
            found.setdefault(int(boot_s // width_s), []).append(value)
        before_s = boot_s
    return {number: (min(values), max(values)) for number, values in found.items()}


def held(level: Level) -> dict[int, tuple[float, float]]:
    """Give lowest and highest of each bucket that a level holds, by number."""
    last = level.last or 0
    numbers = range(last - len(level) + 1, last + 1)
    return dict(zip(numbers, zip(level.lows, level.highs, strict=True), strict=True))


def at_pace(gaps: Iterable[float], values: Iterable[float], start_s: float = 1000.0) -> Points:
    """Give values the times that gaps lead to."""
    return list(zip(accumulate(gaps, initial=start_s), values, strict=False))


def check_extremes(points: Points) -> None:
    """Compare every level with the plain way."""
    for level in pyramid_of(points).levels:
        plain, found = extremes(points, level.width_s), held(level)
        both = plain.keys() & found.keys()
        assert {n: found[n] for n in both} == {n: plain[n] for n in both}


@given(gap=GAPS, start_s=st.floats(0, 1e6), values=st.lists(VALUES, max_size=200))
def test_extremes_are_exact_at_any_even_pace(
    gap: float, start_s: float, values: list[float]
) -> None:
    """At every level, for every bucket that samples fell into."""
    check_extremes(at_pace([gap] * len(values), values, start_s))


@given(moves=st.lists(st.tuples(GAPS, VALUES), max_size=200))
def test_extremes_are_exact_at_any_times(moves: list[tuple[float, float]]) -> None:
    """However the pace changes."""
    check_extremes(at_pace((gap for gap, _ in moves), (value for _, value in moves)))


@given(gap=st.sampled_from([0.2, 1.0, 5.0, 60.0]), values=st.lists(VALUES, max_size=300))
def test_the_middle_is_the_median_at_the_finest_level(gap: float, values: list[float]) -> None:
    """And lies between the lowest and the highest at every other."""
    points = at_pace([gap] * len(values), values, 0.0)
    levels = pyramid_of(points).levels
    finest = next(level for level in levels if level.width_s >= gap)
    buckets = dict[int, list[float]]()
    for boot_s, value in points:
        buckets.setdefault(int(boot_s // finest.width_s), []).append(value)
    numbers = sorted(buckets)[:-1][-BUCKETS:]
    assert list(finest.mids) == [array("f", [median(sorted(buckets[n]))])[0] for n in numbers]
    for level in levels:
        between = zip(level.lows, level.mids, level.highs, strict=True)
        assert all(low <= mid <= high for low, mid, high in between)


@given(moves=st.lists(st.tuples(GAPS, VALUES), max_size=120), more=st.lists(VALUES, max_size=60))
def test_a_pyramid_survives_as_plain_data(
    moves: list[tuple[float, float]], more: list[float]
) -> None:
    """With its open buckets: it goes on as if nothing had happened."""
    points = at_pace((gap for gap, _ in moves), (value for _, value in moves))
    pyramid = pyramid_of(points)
    again = Pyramid.from_plain(json.loads(json.dumps(pyramid.to_plain())))
    assert again.to_plain() == pyramid.to_plain()
    now_s = points[-1][0] if points else 0.0
    for step, value in enumerate(more, 1):
        pyramid.push(now_s + 7 * step, value)
        again.push(now_s + 7 * step, value)
    assert again.to_plain() == pyramid.to_plain()
