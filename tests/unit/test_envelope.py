"""The detector on the shapes that services show, a minute apart and for days."""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

import pytest

from leakguard.core.forecast import LimitKind, Room, forecast
from leakguard.core.instant import Instant
from leakguard.core.lives import Life
from leakguard.core.series import Series
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import MIB, Seconds
from leakguard.detectors.envelope import EnvelopeDetector, Options

LIMIT_MIB = 1024.0
HOUR, DAY = 60, 1440
"""Minutes."""
LOOK = 10
"""Minutes between two looks."""
Shape = Callable[[int], float]
"""MiB by the minute."""


def fit(series: Series, options: Options | None = None, limit_mib: float = LIMIT_MIB) -> Trend:
    """Judge a series by its room below the limit."""
    boot_s, value = series.last() or (0.0, 0.0)
    now = Instant(wall_s=0.0, boot_s=boot_s, boot_id="")
    return EnvelopeDetector(options or Options()).fit(series, now, limit_mib * MIB - value)


def judge(mib: Iterable[float], every_s: float = 10.0, options: Options | None = None) -> Trend:
    """Judge values that came at an even pace."""
    series = Series()
    for i, value in enumerate(mib):
        series.append(i * every_s, value * MIB)
    return fit(series, options)


def watch(
    mib: Iterable[float], every_s: float = 60.0, series: Series | None = None, look: int = LOOK
) -> Iterator[tuple[int, Trend]]:
    """Give the number of the sample and the trend, at every look."""
    series, detector = Series() if series is None else series, EnvelopeDetector(Options())
    for i, value in enumerate(mib):
        now = Instant(wall_s=0.0, boot_s=i * every_s, boot_id="")
        series.append(now.boot_s, value * MIB)
        if i % look == look - 1:
            yield i, detector.fit(series, now, (LIMIT_MIB - value) * MIB)


def shaped(shape: Shape, minutes: int, noise_mib: float = 4.0, seed: int = 1) -> list[float]:
    """Give a shape with noise."""
    rng = random.Random(seed)
    return [shape(i) + rng.gauss(0, noise_mib) for i in range(minutes)]


def daily(i: int) -> float:
    """Give a daily cycle with two humps, from -1 to 1."""
    turn = math.tau * i / DAY
    return (math.sin(turn) + 0.35 * math.sin(2 * turn + 1)) / 1.2


BENIGN: dict[str, tuple[Shape, int]] = {
    "flat": (lambda _: 400, 4),
    "high": (lambda _: 930, 4),
    "warm-up of 3 hours": (lambda i: 200 - 400 * math.expm1(-i / 180), 4),
    "warm-up of a day": (lambda i: 200 - 400 * math.expm1(-i / 1200), 6),
    "logarithmic cache": (lambda i: 200 + 60 * math.log1p(i / 10), 6),
    "daily cycle": (lambda i: 500 + 150 * daily(i), 5),
    "weekly cycle": (lambda i: 500 + 150 * daily(i) * (0.4 if i // DAY % 7 >= 5 else 1), 14),
    "one step": (lambda i: 400 + (250 if i > 2000 else 0), 4),
    "sawtooth over a flat floor": (lambda i: 400 + 200 * (i % 240) / 240, 4),
    "uneven pace of a collector": (lambda i: 400 + 150 * (i % 97) / 97 + 40 * (i % 211) / 211, 4),
    "nightly batch": (lambda i: 400 + (300 if 120 < i % DAY < 260 else 0), 5),
    "falling": (lambda i: 900 - 600 * i / (4 * DAY), 4),
}
LEAKS: dict[str, tuple[Shape, int]] = {
    "line": (lambda i: 300 + 140 * i / DAY, 5),
    "sawtooth": (lambda i: 300 + 120 * i / DAY + 100 * (i % 240) / 240, 5),
    "daily cycle": (lambda i: 330 + 95 * i / DAY + 80 * daily(i), 6),
    "steps": (lambda i: 300 + 25 * (i // 250), 5),
    "accelerating": (lambda i: 300 + 700 * (i / (5 * DAY)) ** 2, 5),
    "after three quiet days": (lambda i: 300 + 350 * max(i / DAY - 3, 0), 5),
}


@pytest.mark.parametrize("name", BENIGN)
def test_what_only_looks_like_a_leak_is_none(name: str) -> None:
    """At no look of days, and in the end it is not warming up any more."""
    shape, days = BENIGN[name]
    found = list(watch(shaped(shape, days * DAY)))
    assert [i for i, trend in found if trend.verdict is Verdict.LEAKING] == []
    assert found[-1][1].verdict in (Verdict.STABLE, Verdict.UNKNOWN)


@pytest.mark.parametrize("name", ["flat", "high", "one step", "nightly batch", "falling"])
def test_what_does_not_grow_is_stable_in_the_end(name: str) -> None:
    """And nothing is foreseen of it that is worth a word."""
    shape, days = BENIGN[name]
    *_, (_, last) = watch(shaped(shape, days * DAY))
    assert last.verdict is Verdict.STABLE
    assert last.reason.startswith("no growth beyond noise over ")


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_told_before_eight_tenths_of_its_life(name: str) -> None:
    """And from then on until the end, with a time that is right within a quarter."""
    shape, days = LEAKS[name]
    values = shaped(shape, days * DAY)
    end = next((i for i, v in enumerate(values) if v >= LIMIT_MIB), len(values))
    found = list(watch(values[:end]))
    told = next(i for i, trend in found if trend.verdict is Verdict.LEAKING)
    assert told <= 0.8 * end
    after = [trend.verdict is Verdict.LEAKING for i, trend in found if i >= told]
    assert sum(after) >= 0.8 * len(after)


@pytest.mark.parametrize("noise_mib", [4.0, 30.0])
def test_the_slope_and_the_time_of_a_line_are_right(noise_mib: float) -> None:
    """At two thirds of the way: by the slope's own error, and by the band."""
    values = shaped(lambda i: 300 + 140 * i / DAY, int(3.4 * DAY), noise_mib)
    *_, (_, found) = watch(values)
    per_day = (found.slope_bytes_per_s or 0.0) * 86400 / MIB
    assert per_day == pytest.approx(140, rel=0.1)
    assert found.error_bytes_per_s < 0.1 * (found.slope_bytes_per_s or 0.0)
    room = int((LIMIT_MIB - values[-1]) * MIB)
    times = forecast(
        Room(kind=LimitKind.CGROUP, limit_bytes=int(LIMIT_MIB * MIB), headroom_bytes=room), found
    ).quantiles()
    assert times is not None
    assert times.p05_s is not None
    assert times.p95_s is not None
    peak_mib = 3 * noise_mib
    true_s = (LIMIT_MIB - peak_mib - (300 + 140 * 3.4)) / 140 * 86400
    assert times.p05_s < true_s < times.p95_s


def test_a_leak_of_minutes_is_told_in_minutes() -> None:
    """Sampled every five seconds, before seven tenths of the way."""
    for life_s in (120.0, 300.0, 1500.0):
        count = int(life_s / 5)
        values = shaped(lambda i, n=count: 300 + 724 * i / n, count, 3.0)  # type: ignore[misc]
        told = [i for i, t in watch(values, 5.0, look=1) if t.verdict is Verdict.LEAKING]
        assert told[0] <= 0.7 * count


def test_random_walks_are_seldom_taken_for_leaks() -> None:
    """Few of forty, over two days each: noise that wanders is given its due."""
    suspected = 0
    for seed in range(40):
        rng = random.Random(seed)
        walk = accumulate((rng.gauss(0, 2.0) for _ in range(2 * DAY)), initial=400.0)
        bounded = (min(max(v, 100.0), 1000.0) for v in walk)
        suspected += any(t.verdict is Verdict.LEAKING for _, t in watch(bounded, look=HOUR))
    assert suspected <= 6


def test_a_leak_is_told_again_after_each_restart() -> None:
    """Within a tenth of its life, where the first took half."""
    before, told = Series(), []
    for number in range(4):
        series = Series(before.ended())
        values = shaped(lambda i: 300 + 350 * i / DAY, DAY, seed=number)
        looks = watch(values, series=series)
        told.append(next((i for i, t in looks if t.verdict is Verdict.LEAKING), DAY))
        for _ in looks:
            pass
        before = series
    assert told[0] >= 0.5 * DAY
    assert all(i <= 0.1 * DAY for i in told[1:])


def test_a_rise_to_a_known_ceiling_is_none() -> None:
    """A page cache fills, is trimmed, and fills again: told at most the first time."""

    def cache(i: int) -> float:
        filled = 300 + 400 * min(i % DAY, 600) / 600
        return filled - 400 * max(i % DAY - 1200, 0) / 240

    found = list(watch(shaped(cache, 5 * DAY, 3.0)))
    assert [i for i, t in found if t.verdict is Verdict.LEAKING and i > DAY] == []


@pytest.mark.parametrize(("quiet", "rise"), [(HOUR, 40), (12 * HOUR, 3 * HOUR), (2 * DAY, 600)])
def test_a_level_that_killed_is_no_level_to_live_with(quiet: int, rise: int) -> None:
    """A leak that begins after a quiet time is told in every life, not in the first alone."""
    lives, told = tuple[Life, ...](), []
    for seed in range(3):
        series = Series(lives)
        values = shaped(
            lambda i: 300 + (LIMIT_MIB - 300) * max(i - quiet, 0) / rise, quiet + rise, seed=seed
        )
        looks = list(watch((v for v in values if v < LIMIT_MIB), series=series, look=2))
        told.append(any(t.verdict is Verdict.LEAKING for _, t in looks))
        lives = series.ended()
    assert told == [True, True, True]


# ---- words, and what is young


def test_no_sample_is_unknown() -> None:
    """A state of its own."""
    found = judge([])
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "no sample yet")


def test_exactly_flat_is_stable() -> None:
    """Ties are no growth."""
    found = judge([100.0] * 100)
    assert (found.verdict, found.slope_bytes_per_s, found.growths) == (Verdict.STABLE, None, ())


def test_a_line_is_a_leak_with_its_slope() -> None:
    """Exactly, with no error where there is none, and in words."""
    found = judge([600.0 + i for i in range(300)])
    assert found.verdict is Verdict.LEAKING
    assert found.slope_bytes_per_s == pytest.approx(0.1 * MIB, rel=1e-4)
    assert found.error_bytes_per_s == pytest.approx(0.0, abs=1.0)
    assert found.reason.startswith("grows 360 MiB/h over ")
    assert (found.value_bytes, found.at_boot_s) == (899.0 * MIB, 2990.0)


def test_growth_of_a_young_series_is_warming_up_with_a_slope() -> None:
    """Provisional: only a near exhaustion may act on it."""
    found = judge([600.0 + 5 * i for i in range(50)], every_s=1.0)
    assert found.verdict is Verdict.WARMING_UP
    assert found.slope_bytes_per_s == pytest.approx(5.0 * MIB, rel=1e-3)
    assert found.reason.startswith("only 49s seen; grows ")


def test_what_is_young_is_an_option() -> None:
    """A test bench may be in a hurry."""
    values = [600.0 + 5 * i for i in range(50)]
    found = judge(values, every_s=1.0, options=Options(young=Seconds(10.0)))
    assert found.verdict is Verdict.LEAKING


def test_how_sure_it_must_be_is_an_option() -> None:
    """With an absurd significance nothing but a perfect line is a leak."""
    rng = random.Random(7)
    values = [600.0 + i + rng.gauss(0, 5) for i in range(300)]
    strict = judge(values, options=Options(significance=1e6))
    assert (judge(values).verdict, strict.verdict is Verdict.LEAKING) == (Verdict.LEAKING, False)


def test_how_far_it_looks_is_an_option() -> None:
    """A limit that is further away than a window can tell is named as the reason."""
    values = shaped(lambda i: 300 + 50 * i / DAY, 3 * DAY)
    *_, (_, near) = watch(values)
    series = Series()
    for i, value in enumerate(values):
        series.append(i * 60.0, value * MIB)
    far = fit(series, Options(reach=20.0))
    assert (near.verdict, far.verdict) == (Verdict.UNKNOWN, Verdict.LEAKING)
    assert near.reason.endswith("but the limit is further away than this can tell")


def test_gaps_do_not_bend_the_line() -> None:
    """Time counts, not the number of the sample."""
    series = Series()
    for t in [*range(0, 1800, 10), *range(3000, 5400, 10)]:
        series.append(float(t), (300.0 + t / 10) * MIB)
    found = fit(series)
    assert found.verdict is Verdict.LEAKING
    assert found.slope_bytes_per_s == pytest.approx(0.1 * MIB, rel=0.01)


def test_without_a_limit_it_may_double() -> None:
    """Where no limit is known, twice the newest value stands for it."""
    series = Series()
    for i, value in enumerate(shaped(lambda i: 400 + 100 * i / DAY, 4 * DAY)):
        series.append(i * 60.0, value * MIB)
    now = Instant(wall_s=0.0, boot_s=(4 * DAY - 1) * 60.0, boot_id="")
    value = (series.last() or (0.0, 0.0))[1]
    detector = EnvelopeDetector(Options())
    assert detector.fit(series, now) == detector.fit(series, now, value)
