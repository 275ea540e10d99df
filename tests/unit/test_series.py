"""The bounded series, and the notation that scenarios are written in."""

import pytest

from leakguard.core.errors import UsageError
from leakguard.core.series import BUCKET_S, BUCKETS, RECENT_POINTS, Series
from leakguard.core.units import MIB
from leakguard.testing.series import parse_series


def filled(points: int, every_s: float = 1.0) -> Series:
    """Make a series of so many points."""
    series = Series()
    for i in range(points):
        series.append(i * every_s, float(i))
    return series


def test_an_empty_series_has_nothing() -> None:
    """No last point, no span."""
    assert (len(Series()), Series().last(), Series().span_s()) == (0, None, 0.0)


def test_a_sample_that_is_not_later_is_ignored() -> None:
    """Two readings in one moment are one."""
    series = filled(3)
    series.append(2.0, 99.0)
    series.append(1.5, 99.0)
    assert (len(series), series.last()) == (3, (2.0, 2.0))


def test_recent_points_are_bounded() -> None:
    """A quarter more than the size at most, and the newest are kept."""
    series = filled(10 * RECENT_POINTS)
    assert RECENT_POINTS <= len(series) <= RECENT_POINTS + RECENT_POINTS // 4
    assert series.last() == (2999.0, 2999.0)


def test_minutes_are_medians() -> None:
    """At the middle of their minute; the open one is not there yet."""
    series = filled(150)
    assert list(zip(series.minutes.times, series.minutes.values, strict=True)) == [
        (30.0, 29.5),
        (90.0, 89.5),
    ]


def test_minutes_are_bounded() -> None:
    """Six hours."""
    series = filled(10 * BUCKETS, BUCKET_S)
    assert BUCKETS <= len(series.minutes.times) <= BUCKETS + BUCKETS // 4


def test_the_span_reaches_back_to_the_oldest_minute() -> None:
    """Minutes live longer than recent points."""
    series = filled(4000)
    assert series.span_s() == 3999.0 - 30.0


def test_a_young_series_spans_its_recent_points() -> None:
    """The first minute's middle is later than the first point."""
    assert filled(61).span_s() == 60.0


def test_a_series_survives_as_plain_data() -> None:
    """With its open minute."""
    series = filled(100)
    again = Series.from_plain(series.to_plain())
    for each in (series, again):
        each.append(500.0, 1.0)
    assert again.to_plain() == series.to_plain()


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("100MiB", (100,)),
        ("100MiBx3", (100, 100, 100)),
        ("100MiB+1MiBx3", (100, 101, 102, 103)),
        ("100MiB-5MiBx1", (100, 95)),
        ("1MiB - ?x2 2MiB", (1, "-", "?", "?", 2)),
        ("", ()),
    ],
)
def test_notation(text: str, points: tuple[int | str, ...]) -> None:
    """A start, a step, how often; `-` is absent and `?` unreadable."""
    assert parse_series(text) == tuple(p if isinstance(p, str) else p * MIB for p in points)


@pytest.mark.parametrize("text", ["100", "x5", "-xa", "100MiB+x5", "--", "1MiBx99999999"])
def test_what_is_no_series(text: str) -> None:
    """The part is named."""
    with pytest.raises(UsageError, match="is not a series"):
        parse_series(text)
