"""A recording is cut into lives where runs begin, and each ending is called what it was."""

import pytest

from leakguard.core.errors import UsageError
from leakguard.core.units import MIB
from leakguard.runtime.backtest.lives import Ending, Recorded, cut
from leakguard.runtime.backtest.recording import Builder, Recording
from leakguard.testing.recordings import leak, recording


def of(*mib: float, limit: float | None = None, starts: tuple[int, ...] = ()) -> Recording:
    """Record these sizes, one a minute."""
    builder = Builder(name="worker")
    for i, size in enumerate(mib):
        builder.add(60.0 * i, size * MIB, starts=i in starts)
    return builder.recording(
        limit_bytes=None if limit is None else int(limit * MIB), runs_known=bool(starts)
    )


def test_one_life_when_nothing_falls() -> None:
    """A recording without a fall is one life that is still open."""
    lives = cut(of(100, 110, 120))
    assert [(life.first, life.last, life.ending) for life in lives] == [(0, 2, Ending.OPEN)]


def test_fall_by_most_of_the_memory_ends_a_life() -> None:
    """What comes after a fall by more than half is another run, restarted by others."""
    lives = cut(of(100, 200, 300, 100, 110))
    assert [(life.first, life.last) for life in lives] == [(0, 2), (3, 4)]
    assert lives[0].ending is Ending.RESTARTED


def test_fall_in_two_steps_is_one_end() -> None:
    """A recorder that averages shows a restart as two smaller falls."""
    lives = cut(of(300, 300, 200, 100, 100, 100))
    assert [(life.first, life.last) for life in lives] == [(0, 2), (3, 5)]


def test_fall_from_the_limit_is_a_kill() -> None:
    """A run that reached its limit at the pace it had was killed, if most of it is not gone too."""
    lives = cut(of(300, 400, 500, 350, 360, limit=512))
    assert [life.ending for life in lives] == [Ending.KILLED, Ending.OPEN]


def test_fall_from_below_the_limit_is_no_kill() -> None:
    """A restart at half of the limit had another cause."""
    assert cut(of(240, 250, 260, 100, 100, limit=512))[0].ending is Ending.RESTARTED


def test_small_fall_is_no_end() -> None:
    """Memory that goes down a little is the service's own affair."""
    assert len(cut(of(300, 200, 300, 200, 300))) == 1


def test_job_that_gives_its_memory_back_is_no_end() -> None:
    """Back to where it was just before a nightly job: the same run, however much it was."""
    jobs = recording(lambda t: 100 + t / 3600 + (300 if t % 86_400 > 79_200 else 0), hours=96)
    assert len(cut(jobs)) == 1


def test_dropped_restarts_are_told_apart() -> None:
    """Who says that recorded restarts were for the memory gets them left out."""
    assert cut(of(100, 200, 90, 100), Recorded.DROP)[0].ending is Ending.DROPPED


def test_falls_may_be_memory_given_back() -> None:
    """Who says that falls are no restarts gets one life, but kills stay kills."""
    assert len(cut(of(100, 300, 100, 300, 100), Recorded.NONE)) == 1
    assert cut(of(100, 300, 500, 100, limit=512), Recorded.NONE)[0].ending is Ending.KILLED


def test_known_runs_decide_alone() -> None:
    """Where runs are known, a fall is none, and a run that begins high is one."""
    lives = cut(of(100, 300, 100, 300, 290, starts=(4,)))
    assert [(life.first, life.last) for life in lives] == [(0, 3), (4, 4)]


def test_no_memory_is_no_service() -> None:
    """Samples of nothing are left out, and what comes after them is a new run."""
    lives = cut(of(300, 300, 0, 0, 290, 290))
    assert [(life.first, life.last) for life in lives] == [(0, 1), (2, 3)]


def test_slope_and_floor_of_a_straight_leak() -> None:
    """A leak of 20 MiB an hour has that slope, no start-up, and its base as floor."""
    (life,) = cut(recording(leak(100, 20, 1000), hours=48))
    assert life.slope * 3600 / MIB == pytest.approx(20)
    assert (life.warm_s, life.floor) == (0.0, 100 * MIB)


def test_start_up_is_found() -> None:
    """Half an hour from 50 to 300 MiB, then a leak: the knee is at half an hour."""
    rises = recording(
        lambda t: 50 + min(t, 1800) / 1800 * 250 + max(0.0, t - 1800) * 10 / 3600,
        hours=24, spacing_s=60.0,
    )  # fmt: skip
    (life,) = cut(rises)
    assert life.warm_s == pytest.approx(1800)
    assert life.floor == pytest.approx(300 * MIB)


def test_collected_heap_has_no_start_up() -> None:
    """The peaks of a heap that fills and is collected are no start-up."""
    heap = recording(lambda t: 200 + 80 * (t % 1800) / 1800 + t / 3600, hours=48, spacing_s=60.0)
    assert cut(heap)[0].warm_s == 0.0


def test_newest_part() -> None:
    """`--last` keeps what is newer, and the runs that begin in it."""
    part = of(100, 110, 300, 120, 130, starts=(3,)).last_of(120.0)
    assert list(part.times) == [120.0, 180.0, 240.0]
    assert part.starts == frozenset({1})


def test_time_that_goes_back_is_refused() -> None:
    """A series must be in order; the message names it and the two times."""
    builder = Builder(name="worker")
    builder.add(20.0, 1.0)
    with pytest.raises(UsageError, match="series worker: the time goes back from 20 to 10: sort"):
        builder.add(10.0, 1.0)


def test_second_sample_at_the_same_time_is_left_out() -> None:
    """Two samples at one time are one."""
    builder = Builder(name="worker")
    builder.add(20.0, 1.0)
    builder.add(20.0, 2.0)
    assert list(builder.values) == [1.0]
