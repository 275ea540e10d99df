"""The pyramid of buckets: exact extremes, bridged holes, bounded size, and its plain form."""

import random
import sys
from collections.abc import Iterable, Iterator
from itertools import accumulate

import pytest

from leakguard.core.instant import Instant
from leakguard.core.lives import Life
from leakguard.core.pyramid import BUCKETS, WIDTHS_S, Level, Pyramid, median
from leakguard.core.series import LIVES, Series
from leakguard.detectors.envelope import EnvelopeDetector, Options

DAY_S = 86400.0
MINUTES = WIDTHS_S.index(60.0)
Points = list[tuple[float, float]]


def pyramid_of(points: Iterable[tuple[float, float]]) -> Pyramid:
    """Make a pyramid of samples."""
    pyramid = Pyramid()
    for boot_s, value in points:
        pyramid.push(boot_s, value)
    return pyramid


def minutes() -> tuple[Pyramid, Level]:
    """Make an empty pyramid, with its view of minutes."""
    pyramid = Pyramid()
    return pyramid, pyramid.level(MINUTES)


def at_pace(gaps: Iterable[float], values: Iterable[float], start_s: float = 1000.0) -> Points:
    """Give values the times that gaps lead to."""
    return list(zip(accumulate(gaps, initial=start_s), values, strict=False))


@pytest.mark.parametrize("gap", [0.25, 1.0, 5.0, 15.0, 60.0, 1200.0])
def test_a_bucket_closes_with_the_first_sample_after_it(gap: float) -> None:
    """What a level says is never older than a bucket."""
    points = at_pace([gap] * 600, range(600), 0.0)
    last_s = points[-1][0]
    closed = [level.last for level in pyramid_of(points).levels if level.width_s >= gap]
    over = [int(last_s // width_s) - 1 for width_s in WIDTHS_S if width_s >= gap]
    assert closed == [number if number >= 0 else None for number in over]


def test_a_short_hole_is_bridged() -> None:
    """By a straight line from the bucket before it to the one after it."""
    pyramid, level = minutes()
    pyramid.put(MINUTES, 10, (100.0, 110.0, 120.0))
    pyramid.put(MINUTES, 14, (140.0, 190.0, 160.0))
    assert (list(level.lows), list(level.mids), list(level.highs), level.last) == (
        [100.0, 110.0, 120.0, 130.0, 140.0],
        [110.0, 130.0, 150.0, 170.0, 190.0],
        [120.0, 130.0, 140.0, 150.0, 160.0],
        14,
    )


def test_a_hole_as_long_as_the_window_begins_it_anew() -> None:
    """Nothing before it is known at this width; a wider level still knows."""
    pyramid, level = minutes()
    pyramid.put(MINUTES, 10, (1.0, 1.0, 1.0))
    pyramid.put(MINUTES, 11 + BUCKETS, (2.0, 2.0, 2.0))
    assert (list(level.lows), level.last) == ([2.0], 11 + BUCKETS)


def test_a_bucket_that_is_not_later_is_ignored() -> None:
    """A level has each once, in order."""
    pyramid, level = minutes()
    for number, value in ((10, 1.0), (10, 9.0), (9, 9.0), (11, 2.0)):
        pyramid.put(MINUTES, number, (value, value, value))
    assert list(level.mids) == [1.0, 2.0]


def test_a_full_level_gives_what_it_pushes_out() -> None:
    """The oldest bucket's lowest and highest value."""
    pyramid = Pyramid()
    gone = [pyramid.put(MINUTES, n, (float(n), n + 0.25, n + 0.5)) for n in range(BUCKETS + 2)]
    assert gone == [None] * BUCKETS + [(0.0, 0.5), (1.0, 1.5)]


def test_every_level_is_bounded() -> None:
    """However long the life."""
    pyramid = pyramid_of(at_pace([DAY_S / 2] * 400, range(400)))
    assert max(len(level) for level in pyramid.levels) == BUCKETS


def test_what_has_left_the_coarsest_level_is_remembered_by_its_height() -> None:
    """The highest floor and the highest ceiling of all times are precedents."""
    days = [5.0, 9.0, *[1.0] * (BUCKETS + 8)]
    points = [(day * DAY_S + hour, v + hour) for day, v in enumerate(days) for hour in (0, 3600)]
    pyramid = pyramid_of(points)
    assert (pyramid.gone_low, pyramid.gone_high) == (9.0, 9.0 + 3600)


def test_what_was_condensed_before_is_the_past_of_what_comes() -> None:
    """Hours, then minutes, then samples: the levels that they fill go on without a seam."""
    fed = Pyramid()
    for hour in range(100):
        fed.feed(hour * 3600.0, 3600.0, (100.0 + hour, 150.0 + hour, 200.0 + hour))
    for minute in range(100 * 60, 103 * 60):
        fed.feed(minute * 60.0, 60.0, (200.0, 250.0, 300.0))
    for second in range(103 * 3600, 104 * 3600, 10):
        fed.push(float(second), 222.0)
    minutes, hours = fed.levels[3], fed.levels[6]
    assert (len(minutes), len(hours)) == (BUCKETS, BUCKETS)
    assert (hours.lows[-1], hours.highs[-1]) == (200.0, 300.0)
    assert (hours.lows[-3], hours.highs[-3]) == (199.0, 299.0)
    assert list(hours.lows) == sorted(hours.lows)


@pytest.mark.parametrize(
    ("ordered", "middle"), [([1.0], 1.0), ([1.0, 2.0], 1.5), ([1.0, 2.0, 9.0], 2.0)]
)
def test_the_median_is_the_middle(ordered: list[float], middle: float) -> None:
    """Or the mean of the two in the middle."""
    assert median(ordered) == middle


def size_of(thing: object) -> int:
    """Sum up the sizes of everything that is reachable, each object once."""
    seen, waiting, total = set[int](), [thing], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one is None or isinstance(one, bool | type):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        else:
            names = [n for c in type(one).__mro__ for n in getattr(c, "__slots__", ())]
            waiting += [getattr(one, name) for name in names if hasattr(one, name)]
            waiting.append(getattr(one, "__dict__", None))
    return total


def filled() -> Iterator[Series]:
    """Fill every level, by samples that come faster and faster; gives it after each of them."""
    rng, series, now_s = random.Random(1), Series(), 0.0
    for gap, count in ((DAY_S / 3, 200), (3600, 500), (600, 500), (60, 500), (5, 500), (0.5, 500)):
        for _ in range(count):
            now_s += gap
            series.append(now_s, 1e8 + 10 * now_s + rng.gauss(0, 1e5))
            yield series


def test_a_full_series_is_small() -> None:
    """At most 8 kB, counted to the last float, with every level filled."""
    *_, series = filled()
    assert [len(level) for level in series.pyramid.levels] == [BUCKETS] * len(WIDTHS_S)
    assert size_of(series) <= 8_000


def test_a_service_is_small() -> None:
    """At most 24 kB with all that the detector keeps of every level, and with earlier lives."""
    detector, now = EnvelopeDetector(Options()), Instant(wall_s=0.0, boot_s=0.0, boot_id="")
    for series in filled():
        detector.fit(series, now, 1e9)
    series.lives = tuple(
        Life(
            span_s=n + 0.5, start_bytes=n + 0.5, rise_bytes=n + 0.5, top_low_bytes=n + 0.5,
            top_high_bytes=n + 0.5,
        )
        for n in range(LIVES)
    )  # fmt: skip
    assert size_of(series) <= 24_000
    assert len(series.memo) == 2 * len(WIDTHS_S)
