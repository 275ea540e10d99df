"""The memory after a restart that was never recorded, where the truth is known."""

import math

import pytest

from leakguard.core.units import MIB
from leakguard.runtime.backtest.lives import Recorded, cut
from leakguard.runtime.backtest.memory import ServiceMemory
from leakguard.runtime.backtest.recording import Recording
from leakguard.testing.recordings import DAY_S, START_S, leak, recording


def restarted(
    what: Recording, *hours: float, recorded: Recorded = Recorded.KEEP
) -> dict[float, float]:
    """Restart at these hours since the beginning; give hour → MiB at every sample."""
    memory, found = ServiceMemory(what, cut(what, recorded)), {}
    due = [START_S + 3600 * hour for hour in hours]
    for i, t in enumerate(what.times):
        while due and due[0] <= t:
            memory.start(due.pop(0))
        found[round((t - START_S) / 3600, 9)] = memory.step(i) / MIB
    return found


def test_left_alone_it_is_the_recording() -> None:
    """Without a restart of ours every sample is as recorded, across kills too."""
    what = recording(leak(100, 20.6, 20), hours=100)
    assert list(restarted(what).values()) == [value / MIB for value in what.values]


@pytest.mark.parametrize("hour", [0.0, 3.123, 11.0, 19.5, 26.71])
def test_straight_leak_begins_anew_exactly(hour: float) -> None:
    """A restart at any moment gives the base and the known slope from there."""
    found = restarted(recording(leak(100, 20, 20), hours=40), hour)
    for at, mib in found.items():
        if hour <= at < (20 if hour < 20 else 40):
            assert mib == pytest.approx(100 + 20 * (at - hour))


def test_every_restart_of_several_is_exact() -> None:
    """A second restart counts from itself, not from the first."""
    found = restarted(recording(leak(100, 20, 100), hours=60), 10, 25, 45.5)
    assert (found[9], found[24], found[45], found[59]) == pytest.approx((280, 380, 500, 370))


def test_recorded_kill_that_it_survives_changes_nothing() -> None:
    """Restarted at hour 15, it goes on leaking as before when the recorded one dies at hour 20."""
    found = restarted(recording(leak(100, 20.6, 20), hours=40), 15)
    assert (found[19], found[21], found[30]) == pytest.approx(
        (100 + 4 * 20.6, 100 + 6 * 20.6, 100 + 15 * 20.6), rel=1e-3
    )


def test_recorded_restart_by_others_happens_to_it_too() -> None:
    """A deployment at hour 10 gives the recorded new run, whatever we did before."""
    what = recording(leak(100, 20, 10), hours=20)
    found = restarted(what, 7)
    assert [found[h] for h in (10.0, 15.0)] == pytest.approx([100, 200])


def test_recorded_restart_that_is_left_out_does_not() -> None:
    """The same, when it was made because of the memory: the leak goes on."""
    what = recording(leak(100, 20, 10), hours=20)
    found = restarted(what, 7, recorded=Recorded.DROP)
    assert [found[h] for h in (10.0, 15.0)] == pytest.approx([160, 260], rel=1e-3)


def starting_up(t: float) -> float:
    """Half an hour from 50 to 300 MiB, then 10 MiB an hour."""
    return 50 + min(t, 1800) / 1800 * 250 + max(0.0, t - 1800) * 10 / 3600


def test_start_up_is_repeated_by_age() -> None:
    """After a restart it starts up as recorded, and leaks on from there by wall time."""
    found = restarted(recording(starting_up, hours=24, spacing_s=60.0), 12)
    assert found[12.25] == pytest.approx(175)
    assert found[12.5] == pytest.approx(300)
    assert found[20.5] == pytest.approx(380)


def test_first_life_may_have_begun_before_its_recording() -> None:
    """A later run that begins lower shows how the service starts."""
    found = restarted(recording(lambda t: leak(100, 20, 20)(t + 10 * 3600), hours=30), 5)
    assert found[6] == pytest.approx(120)


def daily(t: float) -> float:
    """Live memory that swings by 100 MiB a day, lowest at the beginning."""
    return 200 - 100 * math.cos(2 * math.pi * t / DAY_S)


def test_cycle_without_a_leak_comes_back_to_the_recording() -> None:
    """A restart at the top gives nothing back in the end: after the next night all is as was."""
    what = recording(daily, hours=96)
    found = restarted(what, 36)
    assert found[37] < 120
    assert [found[h] for h in (60.0, 70.0)] == pytest.approx(
        [daily(60 * 3600), daily(70 * 3600)], rel=1e-3
    )


def test_cycle_is_compared_with_the_same_hour() -> None:
    """Recorded from the top of a day on, a restart at night still gives back what had leaked."""
    what = recording(lambda t: daily(t + DAY_S / 2) + 2 * t / 3600, hours=120, limit_mib=None)
    found = restarted(what, 84)
    assert found[84] == pytest.approx(daily(0) + 2 * 12, rel=0.02)
    assert found[96] == pytest.approx(daily(DAY_S / 2) + 2 * 24, rel=0.02)


def test_peak_of_a_heap_counts_for_nothing() -> None:
    """A restart at a peak gives back what had leaked, and not the peak."""
    heap = recording(
        lambda t: 100 + 50 * (t % 1200) / 1200 + 10 * t / 3600, hours=48, spacing_s=60.0
    )
    found = restarted(heap, 24 + 19 / 60)
    assert found[30] == pytest.approx(100 + 10 * 5.7, abs=5)


def test_never_below_what_the_service_needs() -> None:
    """Whatever is restarted when, it uses at least the least that was recorded."""
    what = recording(lambda t: daily(t) + t / 3600, hours=96)
    assert min(restarted(what, 12, 30, 31, 55).values()) >= 100
