"""The bench of four weeks: how lives are put together, and what it asks of a policy."""

import pytest

from tests.bench import just_in_time as bench
from tests.bench.just_in_time import CRON, OURS, POLICIES, Kind, Sum


def sums(ours: Sum, cron: Sum) -> dict[str, Sum]:
    """Give the sums of all policies, two of which matter."""
    return {name: Sum(policy=name) for name in POLICIES} | {OURS: ours, CRON: cron}


@pytest.mark.parametrize(
    ("ours", "holds"),
    [
        (Sum(policy=OURS, restarts=40, outside=2), True),
        (Sum(policy=OURS, restarts=40, outside=2, kills=1), False),
        (Sum(policy=OURS, restarts=41), False),
        (Sum(policy=OURS, restarts=40, outside=3), False),
    ],
)
def test_what_is_asked(ours: Sum, holds: bool) -> None:
    """No kill, 60 % fewer restarts than cron, 95 % of them in windows."""
    assert bench.holds({Kind.LEAK: sums(ours, Sum(policy=CRON, restarts=100))}) is holds


def test_a_kill_counts_under_noise_too() -> None:
    """Only restarts and windows are judged apart."""
    fine = sums(Sum(policy=OURS, restarts=1), Sum(policy=CRON, restarts=100))
    noisy = sums(Sum(policy=OURS, restarts=99, outside=99), Sum(policy=CRON))
    killed = sums(Sum(policy=OURS, kills=1), Sum(policy=CRON))
    found = [bench.holds({Kind.LEAK: fine, Kind.NOISY: rest}) for rest in (noisy, killed)]
    assert found == [True, False]


def test_lives_are_put_one_behind_the_other() -> None:
    """Up to the length that is asked; what is too short to be a life is left out."""
    lives = [[1.0] * 20, [2.0] * 3, [3.0] * 20]
    shares, starts = bench.chained(iter(lives), 30)
    assert (shares, starts) == ([1.0] * 20 + [3.0] * 10, [20])


def test_the_same_seed_draws_the_same_services() -> None:
    """Every kind but recorded ones; leaks are killed at their limit, others are told to begin."""
    first, again = (list(bench.drawn(3, 1, 4, 600.0)) for _ in range(2))
    assert [c.recording.values for c in first] == [c.recording.values for c in again]
    assert {case.kind for case in first} == set(Kind) - {Kind.RECORDED}
    assert not any(case.recording.starts for case in first if case.kind is not Kind.BENIGN)
