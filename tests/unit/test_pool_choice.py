"""Which workers of a pool are replaced."""

import pytest

from leakguard.core.sample import Incarnation
from leakguard.drivers._workers import Kind, Pool, Which, Worker, choose

MASTER = Incarnation(boot_id="b", pid=1, start_ticks=1)


def pool_of(*mib: int) -> Pool:
    """Make a pool whose workers hold so much, the largest first."""
    workers = tuple(
        Worker(run=Incarnation(boot_id="b", pid=10 + i, start_ticks=1), own_bytes=size * 2**20)
        for i, size in enumerate(mib)
    )
    return Pool(master=MASTER, workers=workers)


@pytest.mark.parametrize(
    ("mib", "chosen"),
    [
        ((100, 20, 20, 20), 1),
        ((100, 90, 20, 20, 20), 2),
        ((21, 20, 20, 20), 1),
        ((20, 20), 1),
        ((20,), 1),
        ((100, 90, 80), 1),
    ],
    ids=["one", "two", "the largest", "equal", "alone", "all alike"],
)
def test_those_far_above_the_others_are_chosen(mib: tuple[int, ...], chosen: int) -> None:
    """Beyond the factor of the others' median; at least the largest, for somebody has to go."""
    pool = pool_of(*mib)
    assert choose(pool, Which.LEAKING, 1.5) == pool.workers[:chosen]


def test_all_are_all() -> None:
    """The largest first: it gives back most."""
    pool = pool_of(3, 2, 1)
    assert choose(pool, Which.ALL, 1.5) == pool.workers


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_complete(kind: Kind) -> None:
    """It has a signal that its workers catch, and a name that they may give themselves."""
    assert (kind.ends_by in kind.catches, bool(kind.called.pattern)) == (True, True)
