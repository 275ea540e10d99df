"""The bounded series, and the notation that scenarios are written in."""

import json

import pytest

from leakguard.core.errors import UsageError
from leakguard.core.lives import Life
from leakguard.core.series import AGREE, RECENT_POINTS, Series
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
    """The newest are kept."""
    series, last = filled(10 * RECENT_POINTS), 10 * RECENT_POINTS - 1.0
    assert (len(series), series.last()) == (RECENT_POINTS, (last, last))


def test_the_span_reaches_back_to_the_first_sample() -> None:
    """Though neither the recent points nor a fine level reach that far."""
    assert filled(4000).span_s() == 3999.0


def test_older_samples_are_in_the_buckets() -> None:
    """A minute is closed by the first sample after it."""
    minutes = filled(150).pyramid.levels[3]
    assert (list(minutes.lows), list(minutes.mids), list(minutes.highs)) == (
        [0.0, 60.0],
        [29.5, 89.5],
        [59.0, 119.0],
    )


def test_a_series_survives_as_plain_data() -> None:
    """With its open buckets, its lives, and a fall that is not sure yet."""
    for more in ([], [1.0], [1.0, 1.0], [1.0] * AGREE):
        series = filled(100)
        for i, value in enumerate(more):
            series.append(101.0 + i, value)
        again = Series.from_plain(json.loads(json.dumps(series.to_plain())))
        for each in (series, again):
            for i in range(100):
                each.append(500.0 + i, 1.0)
        assert again.to_plain() == series.to_plain()


# ---- falls


def after(*values: float, steady: float = 200.0) -> Series:
    """Make a series of some steady samples a second apart, and then these."""
    series = Series()
    for i, value in enumerate([*[steady] * 60, *values]):
        series.append(float(i), value)
    return series


@pytest.mark.parametrize(
    ("values", "span_s", "lives"),
    [
        ((50.0,) * (AGREE - 1), 61.0, 0),
        ((50.0,) * AGREE, 2.0, 1),
        ((119.0,) * AGREE, 2.0, 1),
        ((121.0,) * AGREE, 62.0, 0),
        ((50.0, 200.0, 50.0, 200.0, 50.0, 200.0), 65.0, 0),
        ((50.0, 60.0, 70.0, 80.0), 3.0, 1),
    ],
    ids=["not sure yet", "sure", "just enough", "not enough", "slips", "rising again"],
)
def test_most_of_the_memory_given_back_begins_a_life(
    values: tuple[float, ...], span_s: float, lives: int
) -> None:
    """Two fifths at once, in three samples that agree; it began with the first of them."""
    series = after(*values)
    assert (series.span_s(), len(series.lives)) == (span_s, lives)


def test_a_fall_is_more_than_the_usual_step() -> None:
    """What jumps about all the time gives nothing back."""
    series = Series()
    for i in range(120):
        series.append(float(i), 100.0 if i % 4 == 0 else 300.0)
    assert (series.lives, series.span_s()) == ((), 119.0)


def test_a_slow_decline_is_no_fall() -> None:
    """A cache that is emptied bit by bit is the same life."""
    series = after(*(200.0 - i for i in range(150)))
    assert (series.lives, series.span_s()) == ((), 209.0)


def test_the_samples_of_a_fall_are_the_first_of_the_new_life() -> None:
    """None is lost, and none of the life before is left."""
    series = after(50.0, 51.0, 52.0)
    assert list(zip(series.recent.times, series.recent.values, strict=True)) == [
        (60.0, 50.0),
        (61.0, 51.0),
        (62.0, 52.0),
    ]
    assert series.born_s == 60.0


def test_earlier_lives_go_along() -> None:
    """Those that came with it, and its own."""
    known = Life(span_s=1.0, start_bytes=1.0, rise_bytes=1.0, top_low_bytes=1.0, top_high_bytes=1.0)
    series = Series((known,))
    assert (series.lives, series.ended()) == ((known,), (known,))
    for i in range(60):
        series.append(float(i), 100.0)
    assert (series.ended()[0], len(series.ended())) == (known, 2)


def test_what_was_condensed_comes_before_the_first_sample() -> None:
    """Its span counts, its buckets are there, and a sample goes on."""
    series = Series()
    for minute in range(120):
        series.feed(minute * 60.0, 60.0, (100.0 + minute, 110.0 + minute, 120.0 + minute))
    series.append(7200.0, 300.0)
    assert (series.span_s(), series.last(), len(series)) == (7200.0, (7200.0, 300.0), 1)
    assert list(series.pyramid.levels[4].lows) == [100.0 + 5 * i for i in range(24)]


# ---- the notation


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
