"""The guarded store with files that break: damage, deletion, a foreign lock, no folder."""

import sqlite3
from pathlib import Path

import pytest

from leakguard.core.engine import Notice
from leakguard.core.plan import StatePlan
from leakguard.core.state import ServiceRecord
from leakguard.store.base import NewerSchema, Store
from leakguard.store.fallback import BACK_OFF_S
from leakguard.store.guarded import GuardedStore
from leakguard.store.lock import AlreadyRunning
from leakguard.store.memory import MemoryStore
from leakguard.store.opening import open_store
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import full_tick, tick


@pytest.fixture(name="clock")
def a_clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(name="path")
def a_path(tmp_path: Path) -> Path:
    """Where the state file will be."""
    return tmp_path / "state.db"


@pytest.fixture(name="notices")
def the_notices() -> list[Notice]:
    """What people are told."""
    return []


def kinds(notices: list[Notice]) -> list[str]:
    """Give the kinds of notices."""
    return [notice.kind for notice in notices]


def durable(store: Store) -> bool:
    """Tell where the last commit went; asked anew each time."""
    return store.last_commit_durable


def fill(store: GuardedStore, clock: FakeClock, name: str) -> None:
    """Commit one tick with one of everything."""
    store.commit(full_tick(clock.advance(10), name))


def everything(store: GuardedStore | SqliteStore, clock: FakeClock) -> tuple[list[str], ...]:
    """Give records, events and pending alerts."""
    return (
        sorted(store.load().records),
        sorted(e.id for e in store.events()),
        sorted(d.alert.id for d in store.due(clock.wall_s)),
    )


def reopened(path: Path, clock: FakeClock) -> tuple[list[str], ...]:
    """Give what a next start would find."""
    store = SqliteStore(str(path), clock)
    found = everything(store, clock)
    store.close()
    return found


ALL = (["one", "two"], ["e-one", "e-two"], ["a-one", "a-two"])


def test_a_good_file_is_plainly_used(path: Path, clock: FakeClock, notices: list[Notice]) -> None:
    """Nothing is said while nothing is wrong."""
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    fill(store, clock, "two")
    assert (store.health, durable(store), notices) == ("ok", True, [])
    store.close()
    assert reopened(path, clock) == ALL


def test_garbage_is_moved_aside(path: Path, clock: FakeClock, notices: list[Notice]) -> None:
    """A file that is no database is kept for inspection, and a fresh one is used."""
    garbage = b"this is no database" * 1000
    path.write_bytes(garbage)
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    aside = [p for p in path.parent.iterdir() if ".corrupt-" in p.name]
    assert [p.read_bytes() for p in aside] == [garbage]
    assert (store.health, durable(store)) == ("ok", True)
    assert kinds(notices) == ["StoreFailed", "StoreFailed", "StoreRecovered"]
    assert aside[0].name in notices[1].message
    store.close()
    assert reopened(path, clock) == (["one"], ["e-one"], ["a-one"])


def test_damage_while_running_loses_no_record_and_no_alert(
    path: Path, clock: FakeClock, notices: list[Notice]
) -> None:
    """What is needed to go on is written into a new file at once."""
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    store.close()
    store = GuardedStore(str(path), clock, notice=notices.append)
    for pages in path.parent.glob("state.db*"):
        if pages.suffix == ".db":
            head = pages.read_bytes()[:100]
            pages.write_bytes(head + b"\xff" * (pages.stat().st_size - 100))
    fill(store, clock, "two")
    assert durable(store)
    records, events, pending = everything(store, clock)
    assert (records, pending) == (["one"], ["a-one", "a-two"])
    assert events == ["e-two"]
    assert "StoreFailed" in kinds(notices)
    store.close()
    assert reopened(path, clock) == (["one", "two"], ["e-two"], ["a-one", "a-two"])


def test_a_deleted_file_is_made_anew_with_all_it_held(
    path: Path, clock: FakeClock, notices: list[Notice]
) -> None:
    """The open connection still has the data, so even history is kept."""
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    path.unlink()
    fill(store, clock, "two")
    assert durable(store)
    assert kinds(notices) == ["StoreFailed", "StoreRecovered"]
    store.close()
    assert reopened(path, clock) == ALL


def test_a_deleted_folder_is_made_anew(clock: FakeClock, tmp_path: Path) -> None:
    """`rm -r` of the whole state is survived too."""
    inner = tmp_path / "lib" / "state.db"
    store = GuardedStore(str(inner), clock)
    fill(store, clock, "one")
    for file in inner.parent.iterdir():
        file.unlink()
    inner.parent.rmdir()
    fill(store, clock, "two")
    for _ in BACK_OFF_S:
        clock.advance(BACK_OFF_S[-1])
        store.commit(tick(clock.now()))
    assert durable(store)
    store.close()
    assert reopened(inner, clock) == ALL


def test_a_replaced_file_is_taken_over(path: Path, clock: FakeClock) -> None:
    """A backup that was put in place is used, and what runs now is written into it."""
    store = GuardedStore(str(path), clock)
    fill(store, clock, "one")
    other = path.with_name("other.db")
    backup = SqliteStore(str(other), clock)
    backup.commit(tick(clock.now(), records=(ServiceRecord(name="old"),)))
    backup.close()
    other.replace(path)
    fill(store, clock, "two")
    assert durable(store)
    store.close()
    assert reopened(path, clock) == (["old", "one", "two"], ["e-two"], ["a-one", "a-two"])


def locked(path: Path) -> sqlite3.Connection:
    """Hold the file as a careless program would."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_memory_takes_over_and_gives_back(
    path: Path, clock: FakeClock, notices: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records, events, samples and alerts of the bad time are in the file afterwards."""
    monkeypatch.setattr("leakguard.store.database.BUSY_TIMEOUT_S", 0.01)
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    other = locked(path)
    fill(store, clock, "two")
    assert not durable(store)
    assert "another program holds it locked" in store.health
    assert everything(store, clock)[1:] == ALL[1:]
    other.close()
    clock.advance(BACK_OFF_S[0])
    store.commit(tick(clock.now(), serial=8))
    assert (store.health, durable(store)) == ("ok", True)
    assert kinds(notices) == ["StoreFailed", "StoreRecovered"]
    assert len(store.series("worker", 0)) == 2
    store.close()
    assert reopened(path, clock) == ALL


def test_tries_are_spaced_out(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that stays bad is asked after 5, 10, 20, 40, 60, 60 … seconds."""
    monkeypatch.setattr("leakguard.store.database.BUSY_TIMEOUT_S", 0.01)
    store = GuardedStore(str(path), clock)
    other = locked(path)
    store.commit(tick(clock.now()))
    began, tries = clock.boot_s, []
    original = store._state._open  # noqa: SLF001  counts the tries

    def counted() -> SqliteStore:
        tries.append(clock.boot_s - began)
        return original()

    monkeypatch.setattr(store._state, "_open", counted)  # noqa: SLF001  as above
    for _ in range(200):
        clock.advance(1)
        store.commit(tick(clock.now()))
    assert tries == [5, 15, 35, 75, 135, 195]
    other.close()
    store.close()


def test_marks_made_in_memory_reach_the_file(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert that was sent while the file was bad is not sent again, and counts once."""
    monkeypatch.setattr("leakguard.store.database.BUSY_TIMEOUT_S", 0.01)
    store = GuardedStore(str(path), clock)
    fill(store, clock, "one")
    fill(store, clock, "two")
    first, second = store.due(clock.wall_s)
    store.delivered(first, "ok")
    other = locked(path)
    store.delivered(second, "ok")
    assert store.due(clock.wall_s) == []
    assert store.delivery_counts()["ops"] == {"ok": 2, "failed": 0, "gave_up": 0, "pending": 0}
    other.close()
    clock.advance(BACK_OFF_S[0])
    store.commit(tick(clock.now()))
    assert store.due(clock.wall_s) == []
    assert store.delivery_counts()["ops"] == {"ok": 2, "failed": 0, "gave_up": 0, "pending": 0}
    store.close()


def test_ids_used_in_memory_are_not_used_again(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash while the file was bad must not give a new alert the id of one already sent."""
    monkeypatch.setattr("leakguard.store.database.BUSY_TIMEOUT_S", 0.01)
    store = GuardedStore(str(path), clock)
    fill(store, clock, "one")
    other = locked(path)
    store.commit(tick(clock.now(), serial=500))
    other.close()
    after_crash = SqliteStore(str(path), clock)
    assert after_crash.load().serial > 500
    after_crash.close()


def test_closing_writes_what_only_memory_has(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for the next try."""
    monkeypatch.setattr("leakguard.store.database.BUSY_TIMEOUT_S", 0.01)
    store = GuardedStore(str(path), clock)
    fill(store, clock, "one")
    other = locked(path)
    fill(store, clock, "two")
    other.close()
    store.close()
    assert reopened(path, clock) == ALL


def test_events_are_paged_across_memory_and_file(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History does not stop where memory begins."""
    monkeypatch.setattr("leakguard.store.database.BUSY_TIMEOUT_S", 0.01)
    store = GuardedStore(str(path), clock)
    for name in ("one", "two"):
        fill(store, clock, name)
    other = locked(path)
    for name in ("three", "four"):
        fill(store, clock, name)
    pages = [store.events(limit=1)]
    while pages[-1]:
        pages.append(store.events(limit=1, before_id=pages[-1][0].id))
    assert [e.id for page in pages for e in page] == ["e-four", "e-three", "e-two", "e-one"]
    assert [e.id for e in store.events(limit=3)] == ["e-four", "e-three", "e-two"]
    other.close()
    store.close()


def test_a_start_without_a_folder_guards_in_memory(
    clock: FakeClock, notices: list[Notice], tmp_path: Path
) -> None:
    """A path that cannot be made is said, not fatal; when it can be, it is used."""
    blocker = tmp_path / "lib"
    blocker.write_text("a file where the folder should be")
    path = blocker / "state.db"
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    assert not durable(store)
    assert store.health.startswith("in memory only: ")
    assert everything(store, clock)[2] == ["a-one"]
    blocker.unlink()
    clock.advance(BACK_OFF_S[-1])
    fill(store, clock, "two")
    assert durable(store)
    store.close()
    assert reopened(path, clock) == ALL


def test_a_second_guard_is_refused(path: Path, clock: FakeClock) -> None:
    """Not even memory is an excuse for two guards on one state."""
    store = GuardedStore(str(path), clock)
    with pytest.raises(AlreadyRunning):
        GuardedStore(str(path), clock)
    store.close()
    GuardedStore(str(path), clock).close()


def test_a_newer_file_stops_the_start(path: Path, clock: FakeClock) -> None:
    """And lets go of the lock, so that the newer version can start."""
    SqliteStore(str(path), clock).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NewerSchema):
        GuardedStore(str(path), clock)
    with pytest.raises(NewerSchema):
        GuardedStore(str(path), clock)


def test_few_damaged_files_are_kept(path: Path, clock: FakeClock) -> None:
    """A disk that goes bad does not fill itself with copies."""
    for _ in range(5):
        path.write_bytes(b"garbage" * 1000)
        GuardedStore(str(path), clock).close()
        clock.advance(60)
    assert len([p for p in path.parent.iterdir() if ".corrupt-" in p.name]) == 3


@pytest.mark.parametrize(
    ("plan_path", "kind"), [("", MemoryStore), ("state.db", GuardedStore)], ids=["none", "file"]
)
def test_open_store(plan_path: str, kind: type, clock: FakeClock, tmp_path: Path) -> None:
    """No path: memory, by choice and without complaint. A path: the guarded file."""
    plan = StatePlan(path=str(tmp_path / plan_path) if plan_path else "")
    store = open_store(plan, clock)
    assert (type(store), store.health, durable(store)) == (kind, "ok", True)
    store.close()


def test_deliveries_fail_and_recover_while_the_file_is_bad(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts, next tries and what was given up are the same on both sides of a failure."""
    monkeypatch.setattr("leakguard.store.database.BUSY_TIMEOUT_S", 0.01)
    store = GuardedStore(str(path), clock)
    fill(store, clock, "one")
    fill(store, clock, "two")
    first, second = store.due(clock.wall_s)
    store.failed(first, "500", clock.wall_s + 300)
    other = locked(path)
    store.failed(second, "404", None)
    assert store.next_due() == {"ops": clock.wall_s + 300}
    other.close()
    clock.advance(BACK_OFF_S[0])
    store.commit(tick(clock.now()))
    assert [(d.alert.id, d.attempts) for d in store.due(clock.wall_s + 300)] == [("a-one", 1)]
    store.hasten("ops", clock.wall_s)
    assert store.next_due() == {"ops": clock.wall_s}
    states = sorted((d.alert.id, d.state.value) for d in store.deliveries())
    assert states == [("a-one", "pending"), ("a-two", "gave_up")]
    store.close()


def test_damage_found_by_upkeep_is_mended(
    path: Path, clock: FakeClock, notices: list[Notice]
) -> None:
    """The damage need not wait for a commit to stumble over it."""
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    store.close()
    store = GuardedStore(str(path), clock, notice=notices.append)
    pages = path.read_bytes()
    path.write_bytes(pages[:100] + b"\xff" * (len(pages) - 100))
    store.roll_up(clock.wall_s)
    assert kinds(notices) == ["StoreFailed", "StoreFailed", "StoreRecovered"]
    store.prune(clock.wall_s)
    assert [d.alert.id for d in store.due(clock.wall_s)] == ["a-one"]
    store.close()
