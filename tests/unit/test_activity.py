"""How busy a service is at each time of day: learned from samples, kept as two short texts."""

from collections.abc import Callable
from dataclasses import replace

from leakguard.core.activity import SLOTS, UNKNOWN, Activity, Pulse, follow, slot_of
from leakguard.core.instant import Instant
from leakguard.core.units import MIB
from leakguard.testing.bench import sample_of
from leakguard.testing.ticks import run_of

MIDNIGHT = 20_000 * 86400.0
HOUR_S = 3600.0


def at(seconds: float) -> Instant:
    """Give a moment by its distance from a midnight."""
    return Instant(wall_s=MIDNIGHT + seconds, boot_s=1000.0 + seconds, boot_id="b")


def watch(
    days: float,
    cpu: Callable[[float], float] | None,
    churn: Callable[[float], float] = lambda _: 0.0,
    every_s: float = 60.0,
) -> Activity:
    """Watch a service whose CPU share and churn (MiB a minute) follow the hour of the day."""
    activity, pulse, used, size = Activity(), None, 0.0, 100.0
    for i in range(int(days * 86400 / every_s)):
        t = i * every_s
        hour = t % 86400 / HOUR_S
        used += cpu(hour) * every_s if cpu is not None else 0.0
        size += churn(hour) * (1 if i % 2 else -1)
        sample = replace(sample_of(at(t), size), cpu_s=used if cpu is not None else None)
        activity, pulse = follow(activity, pulse, sample)
    return activity


def night(hour: float) -> float:
    """Give a day in which little happens between two and four o'clock."""
    return 0.05 if 2 <= hour < 4 else 0.5


def test_the_night_is_quiet_and_the_day_is_not() -> None:
    """After a day each half hour has a level, relative to the mean."""
    busy = watch(1.1, night).business()
    assert busy is not None
    assert [i for i in range(SLOTS) if busy[i] < 0.5] == [4, 5, 6, 7]
    assert all(0.9 < busy[i] < 1.2 for i in range(SLOTS) if i not in (4, 5, 6, 7))


def test_memory_alone_shows_it_too() -> None:
    """Where CPU time is not known, churn is what tells."""
    busy = watch(1.1, None, night).business()
    assert busy is not None
    assert [i for i in range(SLOTS) if busy[i] < 0.5] == [4, 5, 6, 7]


def test_half_a_day_says_nothing() -> None:
    """What was not seen may be the quietest time."""
    assert watch(0.5, night).business() is None


def test_a_service_that_does_nothing_has_no_quiet_time() -> None:
    """There is no mean to compare with."""
    assert watch(1.1, lambda _: 0.0).business() is None


def test_a_new_habit_replaces_the_old_one_within_days() -> None:
    """The newest days weigh most."""
    early = watch(2.0, night)
    late, pulse, used = early, None, 0.0
    for i in range(int(6 * 86400 / 60)):
        t = 3 * 86400 + i * 60.0
        used += night((t % 86400 / HOUR_S + 12) % 24) * 60
        late, pulse = follow(late, pulse, replace(sample_of(at(t), 100), cpu_s=used))
    before, after = early.business(), late.business()
    assert before is not None
    assert after is not None
    assert (min(range(SLOTS), key=before.__getitem__) // 4, after[5] > 0.8) == (1, True)
    assert min(range(SLOTS), key=after.__getitem__) in (28, 29, 30, 31)


def test_a_gap_and_a_new_run_are_no_activity() -> None:
    """What happened while nobody looked, and the memory of another process, do not count."""
    activity, pulse = Activity(), None
    for t, size, pid in ((0, 100, 7), (600, 900, 7), (620, 10, 8), (640, 11, 8)):
        sample = replace(sample_of(at(t), size, run=run_of(pid)), cpu_s=float(size))
        activity, pulse = follow(activity, pulse, sample)
    assert pulse is not None
    assert (pulse.watched_s, pulse.churn_bytes, pulse.cpu_s) == (20.0, 1.0 * MIB, 1.0)


def test_levels_are_letters_and_keep_their_order() -> None:
    """A record stays short: 96 letters, and one doubling is never lost."""
    activity, levels = Activity(), []
    for power in range(12):
        last = sample_of(at(0), 1)
        pulse = Pulse(slot=0, last=last, watched_s=1800.0, churn_bytes=1024.0 * 1800 * 2**power)
        fresh, _ = follow(Activity(), pulse, replace(last, at=at(1800)))
        levels.append(fresh.churn[0])
        activity = fresh
    assert levels == sorted(set(levels))
    assert (len(activity.cpu), len(activity.churn), activity.cpu) == (SLOTS, SLOTS, UNKNOWN * SLOTS)


def test_slots_are_half_hours_of_utc() -> None:
    """The day is cut in 48."""
    assert [slot_of(MIDNIGHT + s) for s in (0, 1799, 1800, 86399)] == [0, 0, 1, 47]
