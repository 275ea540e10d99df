"""Roll-up and pruning: what is condensed, what is kept how long, what a chart is drawn from."""

from collections.abc import Iterator

import pytest

from leakguard.store.base import SeriesPoint
from leakguard.store.memory import MemoryStore
from leakguard.store.retention import Rolled, condense
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert
from leakguard.testing.ticks import event, run_of, sample, tick

START_S = 1_795_003_200.0
"""A full hour."""


@pytest.fixture(name="clock")
def a_clock() -> FakeClock:
    """A clock at a full hour."""
    return FakeClock(wall_s=START_S)


@pytest.fixture(name="store")
def a_store(clock: FakeClock) -> Iterator[SqliteStore]:
    """A store that keeps samples for an hour and the rest for a day."""
    store = MemoryStore(clock, keep_s=86_400.0, raw_keep_s=3_600.0)
    yield store
    store.close()


def fill(store: SqliteStore, clock: FakeClock, count: int, every_s: float = 10.0) -> None:
    """Commit samples of 0, 1, 2 bytes and so on."""
    for value in range(count):
        now = clock.now()
        store.commit(tick(now, samples=(sample(now, value),)))
        clock.advance(every_s)


def rows(store: SqliteStore, table: str) -> list[tuple[int, ...]]:
    """Give (ts_s, min, mid, max, last, n) of each row."""
    with store.database.read() as connection:
        query = "SELECT ts_ms / 1000, min_bytes, mid_bytes, max_bytes, last_bytes, n FROM {}"
        return connection.execute(query.format(table) + " ORDER BY ts_ms").fetchall()


def test_condense() -> None:
    """Least, median, greatest, last, and how many."""
    points = [Rolled(1, t, t, v, v, v, v, 1) for t, v in enumerate((5, 1, 9, 3, 4))]
    assert condense(0, points) == Rolled(1, 0, 2, 1, 4, 9, 4, 5)


def test_minutes_and_hours(store: SqliteStore, clock: FakeClock) -> None:
    """Only buckets that are over are rolled up."""
    fill(store, clock, 365)
    store.roll_up(clock.wall_s)
    minutes = rows(store, "samples_1m")
    start = int(START_S)
    assert len(minutes) == 60
    assert minutes[0] == (start, 0, 2, 5, 5, 6)
    assert rows(store, "samples_1h") == [(start, 0, 179, 359, 359, 360)]


def test_roll_up_twice_gives_the_same(store: SqliteStore, clock: FakeClock) -> None:
    """A crash between roll-up and its mark costs nothing."""
    fill(store, clock, 100)
    store.roll_up(clock.wall_s)
    once = rows(store, "samples_1m")
    with store.database.write() as connection:
        connection.execute("DELETE FROM meta WHERE key LIKE 'samples%'")
    store.roll_up(clock.wall_s)
    assert rows(store, "samples_1m") == once


def test_roll_up_after_the_clock_was_set_back(store: SqliteStore, clock: FakeClock) -> None:
    """Samples of an hour that comes twice are all in."""
    fill(store, clock, 60)
    store.roll_up(clock.wall_s)
    clock.set_wall(START_S + 1)
    fill(store, clock, 60)
    store.roll_up(clock.wall_s)
    assert sum(row[-1] for row in rows(store, "samples_1m")) == 120


def test_incarnations_are_not_mixed(store: SqliteStore, clock: FakeClock) -> None:
    """A minute with a restart in it has a row for each incarnation."""
    for pid in (1, 2):
        now = clock.now()
        store.commit(tick(now, samples=(sample(now, pid, incarnation=run_of(pid)),)))
        clock.advance(10)
    store.roll_up(clock.advance(60).wall_s)
    assert [row[1:] for row in rows(store, "samples_1m")] == [(1, 1, 1, 1, 1), (2, 2, 2, 2, 1)]


def test_prune_keeps_what_it_must(store: SqliteStore, clock: FakeClock) -> None:
    """Samples go after an hour; events and finished deliveries after a day; pending ones never."""
    fill(store, clock, 30)
    store.commit(tick(clock.now(), events=(event("old", wall_s=clock.wall_s),)))
    store.commit(tick(clock.now(), alerts=(alert("sent"), alert("waiting"))))
    store.delivered(store.due(clock.wall_s)[0], "ok")
    store.roll_up(clock.wall_s)
    store.prune(clock.advance(3_600).wall_s)
    assert len(store.series("worker", 0)) == 5
    assert [e.id for e in store.events()] == ["old"]
    store.prune(clock.advance(86_400).wall_s)
    assert store.series("worker", 0) == []
    assert store.events() == []
    assert [d.alert.id for d in store.deliveries()] == ["waiting"]


def test_prune_deletes_more_than_one_bite(store: SqliteStore, clock: FakeClock) -> None:
    """A long backlog goes in one call, in several transactions."""
    fill(store, clock, 2_500, every_s=0.1)
    store.prune(clock.advance(4_000).wall_s)
    assert store.series("worker", 0) == []


def test_prune_deletes_a_made_up_future(store: SqliteStore, clock: FakeClock) -> None:
    """Rows of a clock that was wrong by years do not stay for years."""
    clock.set_wall(START_S + 10 * 365 * 86_400)
    fill(store, clock, 3)
    clock.set_wall(START_S)
    store.prune(clock.wall_s)
    assert store.series("worker", 0) == []


def test_series_is_raw_where_there_are_few(store: SqliteStore, clock: FakeClock) -> None:
    """Few samples are given as they are."""
    fill(store, clock, 3)
    assert store.series("worker", 0) == [SeriesPoint(START_S + 10 * n, n, n, n) for n in range(3)]


def test_series_is_thinned_with_its_range(store: SqliteStore, clock: FakeClock) -> None:
    """No more points than asked for, and no peak is lost."""
    fill(store, clock, 300)
    found = store.series("worker", 0, points=10)
    assert len(found) == 10
    assert (min(p.min_bytes for p in found), max(p.max_bytes for p in found)) == (0, 299)


def test_series_of_a_day_reads_minutes_and_the_raw_tail(
    store: SqliteStore, clock: FakeClock
) -> None:
    """Where samples are gone, minutes stand in, and the newest samples follow them."""
    fill(store, clock, 6 * 60 * 3)
    store.roll_up(clock.wall_s)
    store.prune(clock.wall_s)
    fill(store, clock, 3)
    found = store.series("worker", START_S, points=1_000)
    assert len(found) == 183
    assert [p.wall_s for p in found] == sorted(p.wall_s for p in found)
    assert found[-1].value_bytes == 2


def test_series_of_weeks_reads_hours(clock: FakeClock) -> None:
    """When even minutes are too many, hours are read, and the last ones still follow."""
    store = MemoryStore(clock, raw_keep_s=60.0)
    fill(store, clock, 24 * 60, every_s=60)
    store.roll_up(clock.wall_s)
    found = store.series("worker", START_S, points=24)
    assert len(found) <= 24
    assert (found[0].min_bytes, found[-1].max_bytes) == (0, 24 * 60 - 1)
    store.close()


def test_series_of_an_unknown_service_is_empty(store: SqliteStore) -> None:
    """Nothing is known, nothing is given."""
    assert store.series("nobody", 0) == []
