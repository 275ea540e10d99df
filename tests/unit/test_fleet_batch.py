"""The batch form gives the verdicts of the online form, from buckets and from samples."""

import math
from collections.abc import Iterator
from functools import cache
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from leakguard.core.errors import UsageError
from leakguard.core.forecast import LimitKind, Room, forecast
from leakguard.core.pyramid import BUCKETS, WIDTHS_S
from leakguard.core.series import Series
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import GIB
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.fleet.batch import Judgement, judge
from leakguard.fleet.fleet import Buckets, Fleet, gather, side_by_side
from leakguard.fleet.samples import condense
from leakguard.testing.clock import FakeClock
from leakguard.testing.shapes import BENIGN, FAMILIES, LEAKS, make

Floats = NDArray[np.float64]

START_S = 1000.0
NOW = FakeClock().now()
AGREEMENT = 0.99


@cache
def drawn(per_family: int, every: int, seed: int, most: int = 2016) -> tuple[Floats, Floats]:
    """Give samples, every n-th of those of each family, and limits; NaN after a series' end."""
    shapes = [make(family, i, seed) for family in FAMILIES for i in range(per_family)]
    values = [shape.values[::every][:most] for shape in shapes]
    samples = np.full((len(shapes), max(map(len, values))), np.nan)
    for row, own in enumerate(values):
        samples[row, : len(own)] = own
    return samples, np.array([shape.limit_bytes for shape in shapes])


def fit(series: Series, limit: float, *, afresh: bool = True) -> Trend:
    """Judge one series by the online form; `afresh`: without what it kept from before."""
    if afresh:
        series.memo = {}
    last = series.last()
    return EnvelopeDetector(Options()).fit(series, NOW, limit - (last[1] if last else 0.0))


def appended(
    series: list[Series], samples: Floats, period_s: float, columns: range
) -> list[Series]:
    """Give series more of their samples."""
    for row, one in enumerate(series):
        for column in columns:
            value = float(samples[row, column])
            if not math.isnan(value):
                one.append(START_S + column * period_s, value)
    return series


def instants(count: int, last: int, seed: int) -> list[int]:
    """Draw moments as numbers of samples seen."""
    return sorted(Random(seed).sample(range(10, last), count))


def side_by_side_at(
    samples: Floats, limits: Floats, period_s: float, moments: list[int]
) -> Iterator[tuple[list[Series], list[Trend], Judgement]]:
    """Give what the online and the batch form make of samples so far, at some moments."""
    series, before = [Series() for _ in samples], 0
    for moment in moments:
        appended(series, samples, period_s, range(before, moment))
        before = moment
        trends = [fit(one, float(limit)) for one, limit in zip(series, limits, strict=True)]
        yield (
            series,
            trends,
            judge(condense(samples[:, :moment], period_s, START_S), limits),
        )


def verdicts(found: Judgement) -> list[Verdict]:
    """List the verdicts of the batch form."""
    return [found.verdict(row) for row in range(len(found.verdicts))]


def agreement(pairs: list[tuple[Verdict, Verdict]]) -> float:
    """Give the share of equal verdicts."""
    return sum(a is b for a, b in pairs) / len(pairs)


def test_hundreds_of_series_get_the_same_verdicts() -> None:
    """At least 99 in 100, of leaks and of what only looks like one, at many moments."""
    samples, limits = drawn(20, 5, 71)
    moments, pairs = instants(12, samples.shape[1], 1), list[tuple[Verdict, Verdict]]()
    for series, trends, found in side_by_side_at(samples, limits, 300.0, moments):
        online = [trend.verdict for trend in trends]
        pairs += zip(online, verdicts(found), strict=True)
        pairs += zip(online, verdicts(judge(gather(series), limits)), strict=True)
    assert (agreement(pairs) >= AGREEMENT, {a for a, _ in pairs}) == (True, set(Verdict))


@pytest.mark.parametrize("period_s", [0.5, 5.0, 10.0, 30.0, 60.0, 62.0, 900.0, 3600.0, 90000.0])
def test_at_any_pace(period_s: float) -> None:
    """Buckets of several samples, of one, and of less than one."""
    samples, limits = drawn(2, 5, 72)
    pairs = [
        (trend.verdict, found.verdict(row))
        for _, trends, found in side_by_side_at(samples, limits, period_s, instants(5, 2000, 2))
        for row, trend in enumerate(trends)
    ]
    assert agreement(pairs) >= AGREEMENT


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3])
def test_samples_that_are_missing_change_nothing(share: float) -> None:
    """A series with holes is read as the daemon reads it."""
    samples, limits = drawn(2, 5, 73)
    holed = np.where(np.random.default_rng(1).random(samples.shape) < share, np.nan, samples)
    pairs = [
        (trend.verdict, found.verdict(row))
        for _, trends, found in side_by_side_at(holed, limits, 300.0, instants(5, 2000, 3))
        for row, trend in enumerate(trends)
    ]
    assert agreement(pairs) >= AGREEMENT


def test_a_daemon_that_looks_all_the_time_agrees() -> None:
    """What it remembers of the closing before is what the batch works out anew."""
    samples, limits = drawn(2, 5, 74, 700)
    pairs = list[tuple[Verdict, Verdict]]()
    online = [list[Verdict]() for _ in samples]
    for row, own in enumerate(samples):
        series = Series()
        for column, value in enumerate(own.tolist()):
            if not math.isnan(value):
                series.append(START_S + column * 300.0, value)
            online[row].append(fit(series, float(limits[row]), afresh=False).verdict)
    for moment in instants(60, 700, 4):
        found = verdicts(judge(condense(samples[:, :moment], 300.0, START_S), limits))
        going_on = np.flatnonzero(~np.isnan(samples[:, moment - 1])).tolist()
        pairs += [(online[row][moment - 1], found[row]) for row in going_on]
    assert agreement(pairs) >= AGREEMENT


def test_leaks_are_found_and_the_rest_is_left_alone() -> None:
    """A day before a leak is through, half of them are known; of the rest hardly any is accused."""
    samples, limits = drawn(20, 5, 71)
    found = judge(condense(samples[:, :1500], 300.0, START_S), limits)
    ended = np.isnan(samples[:, 1500])
    leaks = np.repeat([family in LEAKS for family in FAMILIES], 20)
    benign = np.repeat([family in BENIGN for family in FAMILIES], 20)
    leaking = np.array([verdict is Verdict.LEAKING for verdict in verdicts(found)])
    assert (leaking[leaks & ended].mean() > 0.8, leaking[benign & ~ended].mean() < 0.05) == (
        True,
        True,
    )


def test_the_time_left_and_the_slope_are_those_of_the_online_form() -> None:
    """The joint time of the paths, to the last digits that matter."""
    samples, limits = drawn(20, 5, 71)
    *_, (_, trends, found) = side_by_side_at(samples, limits, 300.0, [1200])
    seen = 0
    for row, trend in enumerate(trends):
        if trend.verdict is not Verdict.LEAKING:
            continue
        seen += 1
        limit = int(limits[row])
        room = Room(
            kind=LimitKind.CGROUP,
            limit_bytes=limit,
            headroom_bytes=limit - int(trend.value_bytes),
        )
        median_s = forecast(room, trend).median_s
        if median_s is not None:
            assert found.left_s[row] == pytest.approx(median_s, rel=1e-5, abs=1.0)
        assert found.slope_bytes_per_s[row] == pytest.approx(trend.slope_bytes_per_s, rel=1e-6)
    assert seen > 50


def test_the_leak_with_the_least_time_left_comes_first() -> None:
    """A list to work through from the top."""
    samples, limits = drawn(20, 5, 71)
    found = judge(condense(samples[:, :1500], 300.0, START_S), limits)
    order = found.left_s[found.leaking()].tolist()
    assert (len(order) > 20, [t for t in order if not math.isnan(t)]) == (
        True,
        sorted(t for t in order if not math.isnan(t)),
    )


@pytest.mark.parametrize("period_s", [5.0, 10.0, 60.0, 62.0, 300.0])
def test_the_buckets_are_those_of_the_pyramid(period_s: float) -> None:
    """The same numbers, edges, extremes and middles, but for the first of a life."""
    samples, _ = drawn(3, 5, 75)
    series = appended([Series() for _ in samples], samples, period_s, range(1700))
    mine, theirs = condense(samples[:, :1700], period_s, START_S), gather(series)
    assert np.array_equal(mine.value, theirs.value)
    assert np.allclose(mine.age_s, theirs.age_s)
    for index, level in mine.levels.items():
        for row, one in enumerate(series):
            count = len(one.pyramid.levels[index])
            assert np.count_nonzero(~np.isnan(level.low[row])) == count
            if count < 2:
                continue
            assert level.until_s[row] == pytest.approx(theirs.levels[index].until_s[row])
            for name in ("low", "mid", "high"):
                own, other = getattr(level, name)[row], getattr(theirs.levels[index], name)[row]
                assert own[1 - count :] == pytest.approx(other[1 - count :], rel=1e-6), name


def test_a_life_ends_where_the_series_sees_it_end() -> None:
    """Falls and restarts, and what is known of the lives before."""
    samples, _ = drawn(8, 5, 76)
    series = appended([Series() for _ in samples], samples, 300.0, range(samples.shape[1]))
    fleet = condense(samples, 300.0, START_S)
    lived = {row: one.lives for row, one in enumerate(series) if one.lives}
    assert (len(lived) > 5, sorted(fleet.lives)) == (True, sorted(lived))
    for row, lives in lived.items():
        assert len(fleet.lives[row]) == len(lives)
        for mine, theirs in zip(fleet.lives[row], lives, strict=True):
            assert mine.span_s == pytest.approx(theirs.span_s)
            assert mine.steady is theirs.steady
            assert mine.rise_bytes == pytest.approx(theirs.rise_bytes, rel=0.01)
            assert mine.top_high_bytes == pytest.approx(theirs.top_high_bytes)


def test_a_second_leak_of_a_service_is_known_by_its_first() -> None:
    """Earlier lives count as they do online: it is recognised sooner."""
    life = np.linspace(0.2, 0.7, 240) * GIB
    samples = np.concatenate([life, life, life[:60]])[None, :]
    fleet = condense(samples, 300.0)
    first_time = condense(samples[:, :60], 300.0)
    limits = np.array([float(GIB)])
    online = [fit(one, GIB).verdict for one in appended([Series()], samples, 300.0, range(540))]
    assert (len(fleet.lives[0]), judge(fleet, limits).verdict(0)) == (2, online[0])
    assert judge(fleet, limits).verdict(0) is Verdict.LEAKING
    assert judge(first_time, limits).verdict(0) is Verdict.WARMING_UP


def test_series_that_begin_later_or_end_earlier_stand_side_by_side() -> None:
    """Each is judged at its own newest sample, by its own age."""
    samples, limits = drawn(3, 5, 77, 1400)
    random = Random(5)
    shifted = np.full_like(samples, np.nan)
    for row, own in enumerate(samples):
        begin = random.randrange(700)
        shifted[row, begin:] = own[: samples.shape[1] - begin]
    series = appended([Series() for _ in shifted], shifted, 300.0, range(shifted.shape[1]))
    online = [fit(one, float(limit)).verdict for one, limit in zip(series, limits, strict=True)]
    found = judge(condense(shifted, 300.0, START_S), limits)
    assert agreement(list(zip(online, verdicts(found), strict=True))) >= AGREEMENT


def test_what_has_left_the_widest_level_still_counts() -> None:
    """A year ago it lived with more than now."""
    days = np.full(400, 0.3 * GIB)
    days[20:60] = 0.7 * GIB
    days[-40:] += np.linspace(0.0, 0.35 * GIB, 40)
    samples = days[None, :]
    fleet = condense(samples, 86400.0)
    series = appended([Series()], samples, 86400.0, range(400))
    assert fleet.gone_high[0] == series[0].pyramid.gone_high
    assert judge(fleet, np.array([float(GIB)])).verdict(0) is fit(series[0], GIB).verdict


def test_without_a_limit_twice_the_value_is_one() -> None:
    """As online."""
    samples, _ = drawn(3, 5, 78)
    unknown = np.full(len(samples), np.nan)
    fleet = condense(samples[:, :1200], 300.0, START_S)
    found = judge(fleet, unknown)
    assert verdicts(found) == verdicts(judge(fleet, 2 * fleet.value))


def test_too_little_is_warming_up_and_nothing_is_unknown() -> None:
    """The words are those of the daemon."""
    samples = np.full((2, 20), np.nan)
    samples[0, 15:] = GIB
    found = judge(condense(samples, 60.0), np.array([2.0 * GIB, 2.0 * GIB]))
    assert verdicts(found) == [Verdict.WARMING_UP, Verdict.UNKNOWN]
    assert (found.objection(0), found.objection(1)) == (None, None)


def test_no_series_at_all() -> None:
    """Nothing comes of nothing."""
    found = judge(condense(np.empty((0, 50)), 60.0), np.empty(0))
    assert (verdicts(found), found.leaking().tolist()) == ([], [])
    assert len(judge(gather([]), np.empty(0)).verdicts) == 0


def test_parts_of_a_fleet_make_the_whole() -> None:
    """Taken apart and put together again."""
    samples, limits = drawn(3, 5, 77, 1400)
    fleet = condense(samples, 300.0, START_S)
    whole = side_by_side(list(fleet.parts(7)))
    assert whole.lives == fleet.lives
    assert verdicts(judge(whole, limits)) == verdicts(judge(fleet, limits))


def test_options_are_those_of_the_detector() -> None:
    """Who asks for more significance gets fewer leaks."""
    samples, limits = drawn(20, 5, 71)
    fleet = condense(samples[:, :1200], 300.0, START_S)
    strict = judge(fleet, limits, Options(significance=1e6))
    assert (len(strict.leaking()) < 0.2 * len(judge(fleet, limits).leaking())) is True


def test_what_does_not_fit_is_refused() -> None:
    """The message says what does not fit, and what to give."""
    fleet = condense(np.ones((2, 50)), 60.0)
    with pytest.raises(UsageError, match="for 2 series: give one each"):
        judge(fleet, np.ones(3))
    with pytest.raises(UsageError, match="at least one column"):
        condense(np.empty((2, 0)), 60.0)
    wide = np.ones((1, BUCKETS + 1), np.float32)
    with pytest.raises(UsageError, match=f"the newest {BUCKETS} buckets at most"):
        Buckets(low=wide, mid=wide, high=wide, until_s=np.zeros(1))


def test_buckets_that_one_has_are_enough() -> None:
    """A leak in one level of buckets, without any sample."""
    line = np.linspace(0.2, 0.8, BUCKETS, dtype=np.float32)[None, :] * np.float32(GIB)
    level = Buckets(low=line, mid=line, high=line, until_s=np.zeros(1))
    nothing = np.full(1, -np.inf)
    fleet = Fleet(
        levels={WIDTHS_S.index(14400.0): level},
        value=line[:, -1].astype(np.float64),
        age_s=np.array([8 * 86400.0]),
        gap_s=np.array([60.0]),
        gone_low=nothing,
        gone_high=nothing,
    )
    found = judge(fleet, np.array([float(GIB)]))
    assert found.verdict(0) is Verdict.LEAKING
    assert found.left_s[0] == pytest.approx(0.2 / 0.6 * 47 * 14400, rel=0.05)
