"""No rule of the detector depends on absolute sizes, or on the day on which it looks."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings, strategies as st

from leakguard.core.forecast import LimitKind, Room, TimeToLimit, forecast
from leakguard.core.instant import Instant
from leakguard.core.series import Series
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB
from leakguard.detectors.envelope import EnvelopeDetector, Options

DAY_S = 86400
UNIT = 2**14
"""Values are multiples of it, so that dividing by a smaller power of two is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A series of whole units a minute apart, and its limit."""

    values: Sequence[int]
    limit: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw days of growth, cycles, teeth, steps and noise, in any mixture."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    minutes = draw(st.integers(20, 3000))
    limit = draw(st.integers(64, 4096)) * MIB // UNIT
    base, rise, noise, cycle, tooth, step = (
        limit * draw(st.sampled_from(shares)) / 100
        for shares in ((20, 60, 90), (-10, 0, 20, 60), (0, 1, 5), (0, 15), (0, 20), (0, 15))
    )
    at, length = draw(st.integers(0, 3000)), draw(st.integers(30, 300))
    values = [
        base
        + rise * i / minutes
        + rng.gauss(0, noise)
        + cycle * math.sin(math.tau * i / 1440)
        + tooth * (i % length) / length
        + (step if i > at else 0)
        for i in range(minutes)
    ]
    return Case(values=[max(1, min(round(v), limit - 1)) for v in values], limit=limit)


def play(
    case: Case, *, scale: float = 1.0, days: int = 0
) -> tuple[list[Verdict], list[TimeToLimit | None]]:
    """Judge and foresee, every two hours."""
    series, detector = Series(), EnvelopeDetector(Options())
    verdicts, times = list[Verdict](), list[TimeToLimit | None]()
    limit = int(case.limit * UNIT * scale)
    for i, value in enumerate(case.values):
        now = Instant(wall_s=0.0, boot_s=float(days * DAY_S + 60 * i), boot_id="")
        size = int(value * UNIT * scale)
        series.append(now.boot_s, size)
        if i % 120 in (19, 119) or i == len(case.values) - 1:
            trend = detector.fit(series, now, limit - size)
            room = Room(
                kind=LimitKind.CGROUP, limit_bytes=limit, headroom_bytes=limit - size, path="/w"
            )
            verdicts.append(trend.verdict)
            times.append(forecast(room, trend).quantiles())
    return verdicts, times


def near(one: TimeToLimit | None, other: TimeToLimit | None) -> bool:
    """Whether two times are the same but for the last digits."""
    if one is None or other is None:
        return one is other
    pairs = ((one.p05_s, other.p05_s), (one.p50_s, other.p50_s), (one.p95_s, other.p95_s))
    return all(a is b or math.isclose(a or 0, b or 0, rel_tol=1e-6, abs_tol=1e-3) for a, b in pairs)


@settings(max_examples=25, deadline=None)
@given(case=cases(), power=st.integers(-14, 14))
def test_a_larger_service_on_a_larger_machine_is_judged_alike(case: Case, power: int) -> None:
    """All sizes times a power of two: the same verdicts and the same times."""
    verdicts, times = play(case)
    scaled_verdicts, scaled_times = play(case, scale=2.0**power)
    assert scaled_verdicts == verdicts
    assert [near(a, b) for a, b in zip(times, scaled_times, strict=True)] == [True] * len(times)


@settings(max_examples=25, deadline=None)
@given(case=cases(), days=st.integers(1, 400))
def test_another_day_is_judged_alike(case: Case, days: int) -> None:
    """All times later by whole days: the same verdicts and the same times to the limit."""
    verdicts, times = play(case)
    later_verdicts, later_times = play(case, days=days)
    assert later_verdicts == verdicts
    assert [near(a, b) for a, b in zip(times, later_times, strict=True)] == [True] * len(times)
