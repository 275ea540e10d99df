"""The series that a daemon goes on from: what the store kept of its samples and its lives."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard.core.lives import Life
from leakguard.core.sample import Measure
from leakguard.core.series import RECENT_POINTS, Series
from leakguard.core.state import ServiceRecord
from leakguard.store.base import SavedSamples
from leakguard.store.memory import MemoryStore
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of, sample, tick


@pytest.fixture(name="clock")
def a_clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(name="store", params=["file", "memory"])
def a_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> Iterator[SqliteStore]:
    """A store of either kind."""
    path = str(tmp_path / "state.db")
    store = SqliteStore(path, clock) if request.param == "file" else MemoryStore(clock)
    yield store
    store.close()


def test_a_series_comes_back_as_if_the_daemon_had_never_stopped(
    store: SqliteStore, clock: FakeClock
) -> None:
    """Newest samples as they came; before them minutes, and before those hours.

    Lowest and highest are those of the samples; boot and wall clock turn a minute together here.
    """
    clock.wall_s, clock.boot_s = clock.wall_s - clock.wall_s % 86400, 10 * 86400.0
    live, rng = Series(), random.Random(3)
    for number in range(1500):
        now = clock.advance(10)
        value = 100_000 + 10 * number + rng.randrange(500)
        live.append(now.boot_s, value)
        store.commit(tick(now, samples=(sample(now, value),)))
    store.roll_up(clock.wall_s)
    back = store.load().samples["worker"].series()
    newest = [list(series.recent.values)[-RECENT_POINTS:] for series in (back, live)]
    assert newest[0] == newest[1]
    for level, lived in zip(back.pyramid.levels[3:], live.pyramid.levels[3:], strict=True):
        assert (level.last, list(level.lows), list(level.highs)) == (
            lived.last,
            list(lived.lows),
            list(lived.highs),
        )
    assert abs(back.span_s() - live.span_s()) <= 60


def test_precedents_come_back_with_the_record(store: SqliteStore, clock: FakeClock) -> None:
    """The next daemon knows how earlier lives ended."""
    life = Life(span_s=9.0, start_bytes=1.0, rise_bytes=2.0, top_low_bytes=3.0, top_high_bytes=4.0)
    kept = ServiceRecord(name="worker", incarnation=run_of(), lives=(life,))
    now = clock.now()
    store.commit(tick(now, records=(kept,), samples=(sample(now, 7),)))
    saved = store.load()
    assert saved.records["worker"].lives == (life,)
    assert saved.samples["worker"].series((life,)).lives == (life,)


def test_hours_come_before_minutes_and_minutes_before_samples() -> None:
    """What is condensed twice is taken once, the finer of the two."""
    day = 86400.0
    saved = SavedSamples(
        incarnation=run_of(),
        measure=Measure.AUTO,
        recent=tuple((2 * day + 10 * i, 900 + i) for i in range(60)),
        minutes=tuple((day + 60 * i + 30, 500, 550, 600) for i in range(1450)),
        hours=tuple((3600 * i + 1800.0, 100, 150, 200) for i in range(30)),
    )
    series = saved.series()
    wide = series.pyramid.levels[6]
    assert (list(wide.lows), list(wide.highs)) == (
        [100.0] * 18 + [500.0] * 18,
        [200.0] * 18 + [600.0] * 18,
    )
    assert (series.span_s(), series.last()) == (2 * day + 590, (2 * day + 590, 959.0))


def test_nothing_saved_is_an_empty_series() -> None:
    """Without a sample there is no life yet."""
    series = SavedSamples(incarnation=run_of(), measure=Measure.AUTO).series()
    assert (series.last(), series.span_s(), series.lives) == (None, 0.0, ())
