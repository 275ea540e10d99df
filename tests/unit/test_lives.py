"""Precedents: what earlier lives tell, and how much sooner the next leak is recognised."""

import math
import random
from collections.abc import Callable, Iterable
from itertools import count

import pytest

from leakguard.core.instant import Instant
from leakguard.core.lives import RESTART_S, Life, is_restart, summarise
from leakguard.core.pyramid import Pyramid
from leakguard.core.series import LIVES, Series
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB
from leakguard.detectors.envelope import EnvelopeDetector, Options

LIMIT = 512 * MIB
HOUR_S = 3600.0


def leak(rate_mib: float, samples: int, *, noise_mib: float = 2.0, seed: int = 1) -> list[float]:
    """Give a life that begins at 100 MiB and grows by so much a sample."""
    rng = random.Random(seed)
    return [(100 + rate_mib * i + rng.gauss(0, noise_mib)) * MIB for i in range(samples)]


def fill(series: Series, values: Iterable[float], step_s: float) -> Series:
    """Append values at an even pace after the last."""
    last = series.last()
    start_s = last[0] if last is not None else 0.0
    for i, value in enumerate(values, 1):
        series.append(start_s + i * step_s, value)
    return series


def life_of(values: Iterable[float], step_s: float = 60.0) -> Life:
    """Give the life that a restart ends after these values."""
    (life,) = fill(Series(), values, step_s).ended()
    return life


def samples_until_told(lives: tuple[Life, ...], values: list[float], step_s: float) -> int:
    """Count the samples that it takes to call a leak."""
    detector, series = EnvelopeDetector(Options()), Series(lives)
    for i, value in enumerate(values, 1):
        now = Instant(wall_s=0.0, boot_s=i * step_s, boot_id="")
        series.append(now.boot_s, value)
        if detector.fit(series, now, LIMIT - value).verdict is Verdict.LEAKING:
            return i
    return len(values) + 1


@pytest.mark.parametrize(
    ("rate_mib", "step_s", "first", "second"),
    [(1.0, 10.0, 230, 40), (1.0, 60.0, 230, 30), (0.2, 60.0, 1150, 100)],
)
def test_the_second_leak_is_recognised_sooner(
    rate_mib: float, step_s: float, first: int, second: int
) -> None:
    """The same values, with and without the precedent: a fifth of the samples, or fewer."""
    values = leak(rate_mib, int(400 / rate_mib))
    lives = fill(Series(), values[: len(values) * 4 // 5], step_s).ended()
    alone, again = (samples_until_told(known, values, step_s) for known in ((), lives))
    assert alone <= first
    assert again <= second
    assert 5 * again <= alone


def test_a_life_that_was_no_leak_makes_nothing_sooner() -> None:
    """A flat precedent is none, and a floor that was seen before is not news."""
    values = leak(1.0, 400)
    flat = fill(Series(), leak(0.0, 300), 60.0).ended()
    assert samples_until_told(flat, values, 60.0) >= samples_until_told((), values, 60.0)


@pytest.mark.parametrize("slower", [lambda i: 50 * math.log1p(i), lambda i: 300 * (1 - 0.995**i)])
def test_a_cache_that_was_restarted_is_no_leak_the_second_time(
    slower: Callable[[int], float],
) -> None:
    """Growth that slows down is not told the sooner because a restart ended it before."""
    values = [(100 + slower(i)) * MIB for i in range(300)]
    lives = fill(Series(), values, 60.0).ended()
    alone, again = (samples_until_told(known, values, 60.0) for known in ((), lives))
    assert (alone, again) == (301, 301)


def test_a_life_tells_how_it_grew() -> None:
    """Span, start, rise, and what it lived with before its last third."""
    life = life_of((100 + i) * MIB for i in range(48))
    assert (life.span_s, life.steady, life.restarted) == (47 * 60.0, True, True)
    assert life.start_bytes == pytest.approx(100 * MIB, rel=0.02)
    assert life.rise_bytes == pytest.approx(46 * MIB, rel=0.02)
    assert life.top_high_bytes == pytest.approx(131 * MIB)


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ("flat", leak(0.0, 300)),
        ("warm-up", [(100 + 300 * (1 - 0.97**i)) * MIB for i in range(300)]),
        ("logarithm", [(100 + 50 * math.log1p(i)) * MIB for i in range(300)]),
        ("falling", [(500 - i) * MIB for i in range(300)]),
        ("noise", leak(0.05, 300, noise_mib=30.0)),
    ],
)
def test_only_a_rise_that_goes_on_is_steady(shape: str, values: list[float]) -> None:
    """Whatever slows down, falls, or drowns in noise is no precedent of a leak."""
    assert (shape, life_of(values).cut_short) == (shape, False)


def test_a_life_of_a_few_samples_tells_nothing() -> None:
    """Too little to fit."""
    assert fill(Series(), leak(1.0, 5), 60.0).ended() == ()
    assert summarise(Pyramid(), 0.0, 100.0) is None
    assert Series().ended() == ()


def test_as_many_lives_are_kept_as_are_asked_for() -> None:
    """The newest ones."""
    series = Series()
    for number in range(LIVES + 3):
        series = Series(fill(series, leak(1.0 + number, 60), 60.0).ended())
    assert len(series.lives) == LIVES
    assert series.lives[-1].rise_bytes > series.lives[0].rise_bytes


@pytest.mark.parametrize(
    ("steady", "restarted", "span_s", "short"),
    [
        (True, True, 60.0, True),
        (True, False, RESTART_S, True),
        (True, False, RESTART_S - 1, False),
        (False, True, 10 * RESTART_S, False),
    ],
)
def test_what_was_cut_short(steady: bool, restarted: bool, span_s: float, short: bool) -> None:
    """A steady rise that a restart ended; without an incarnation to tell, a long one."""
    life = Life(
        span_s=span_s, start_bytes=1e8, rise_bytes=1e8, top_low_bytes=2e8, top_high_bytes=2e8,
        steady=steady, restarted=restarted,
    )  # fmt: skip
    assert life.cut_short is short


def test_nothing_is_no_restart() -> None:
    """A fall after too few samples."""
    assert not is_restart(None)


def test_a_long_steady_rise_that_falls_back_was_a_restart() -> None:
    """Workers under a master: the incarnation stays, the memory is given back."""
    series = fill(Series(), leak(0.5, 8 * 60), 60.0)
    fill(series, leak(0.5, 10), 60.0)
    (life,) = series.lives
    assert (life.cut_short, life.restarted) == (True, False)
    assert series.span_s() == 9 * 60.0


@pytest.mark.parametrize("low_mib", [100, 220])
@pytest.mark.parametrize("tooth_s", [600.0, HOUR_S, 3 * HOUR_S])
def test_the_sawtooth_of_a_collector_is_no_restart(tooth_s: float, low_mib: int) -> None:
    """Whether a tooth gives back most of the memory or a quarter, no life was cut short."""
    rng, length = random.Random(4), int(tooth_s / 60)
    detector, series, told = EnvelopeDetector(Options()), Series(), 0
    for i in count():
        height = (300 - low_mib) * (i % length) / length
        value = (low_mib + height + rng.gauss(0, 1)) * MIB
        series.append(i * 60.0, value)
        now = Instant(wall_s=0.0, boot_s=i * 60.0, boot_id="")
        told += detector.fit(series, now, LIMIT - value).verdict is Verdict.LEAKING
        if i * 60 > 10 * tooth_s:
            break
    assert [life for life in series.lives if life.cut_short] == []
    assert told == 0


def test_one_slip_is_no_fall() -> None:
    """Three samples must agree, and then the slip is a sample like any other."""
    series = fill(Series(), [200.0 * MIB] * 60, 10.0)
    fill(series, [20.0 * MIB, 20.0 * MIB, *[200.0 * MIB] * 30], 10.0)
    assert (series.lives, series.span_s()) == ((), 910.0)
    assert min(series.pyramid.levels[3].lows) == 20.0 * MIB
