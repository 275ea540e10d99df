"""Others at the state file: somebody overwrites it, or too many read it."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from leakguard.core.engine import Notice
from leakguard.store.base import TooManyReaders
from leakguard.store.database import READERS
from leakguard.store.guarded import GuardedStore
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


def fill(store: GuardedStore, clock: FakeClock, name: str) -> None:
    """Commit one tick with one of everything."""
    store.commit(full_tick(clock.advance(10), name))


def kept(path: Path, clock: FakeClock) -> tuple[list[str], list[str]]:
    """Give the records and the pending alerts that a next start would find."""
    store = SqliteStore(str(path), clock)
    found = sorted(store.load().records), sorted(d.alert.id for d in store.due(clock.wall_s))
    store.close()
    return found


ALL = (["one", "two"], ["a-one", "a-two"])


def crowd(store: GuardedStore, readers: contextlib.ExitStack) -> None:
    """Take every reader that there is."""
    file = store._state.file  # noqa: SLF001  whom it lends readers to is nobody's business else
    assert file is not None
    for _ in range(READERS):
        readers.enter_context(file.database.read())


def overwrite(path: Path, data: bytes) -> None:
    """Write into the same file, as `cp` does; never within the clock tick of the write before."""
    before = path.stat().st_mtime_ns
    with path.open("r+b", buffering=0) as file:
        while True:
            file.seek(0)
            file.write(data)
            file.truncate()
            if path.stat().st_mtime_ns != before:
                return


@pytest.mark.parametrize(
    "harm",
    [
        lambda _data: b"something else\n" * 4000,
        lambda data: data[:4096] + b"\xff" * (len(data) - 4096),
        lambda data: data[: len(data) // 2],
    ],
    ids=["garbage", "broken pages", "half of it"],
)
def test_a_file_that_is_overwritten_in_place_is_noticed_by_the_next_commit(
    path: Path, clock: FakeClock, notices: list[Notice], harm: Callable[[bytes], bytes]
) -> None:
    """Not when a page of it happens to be read: no record and no alert is lost."""
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    store.close()  # so that the file holds it, and not the log
    store = GuardedStore(str(path), clock, notice=notices.append)
    overwrite(path, harm(path.read_bytes()))
    fill(store, clock, "two")
    assert [notice.kind for notice in notices] == ["StoreFailed", "StoreFailed", "StoreRecovered"]
    assert re.search(r"state.db (was overwritten|is damaged)", notices[0].message)
    assert (store.health, store.last_commit_durable) == ("ok", True)
    store.close()
    assert kept(path, clock) == ALL


def test_what_is_still_in_the_log_mends_a_file_that_was_overwritten(
    path: Path, clock: FakeClock, notices: list[Notice], tmp_path: Path
) -> None:
    """At once, so that a crash after it loses nothing either."""
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    overwrite(path, b"something else\n" * 4000)
    store.commit(tick(clock.advance(10)))
    crashed = tmp_path / "crashed.db"
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{crashed}{suffix}")
    fill(store, clock, "two")
    store.close()
    assert (notices, kept(path, clock)) == ([], ALL)
    assert kept(crashed, clock) == (["one"], ["a-one"])


LOCKS = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1])
other.execute("SELECT count(*) FROM meta").fetchone()
other.close()
"""


def test_our_locks_on_the_file_are_never_dropped(path: Path, clock: FakeClock) -> None:
    """Else the next program that closes the file takes itself for the last, and removes our log."""
    store = GuardedStore(str(path), clock)
    log = path.with_name("state.db-wal")
    for name in ("one", "two"):
        fill(store, clock, name)
        os.utime(path, ns=(1, len(name)))
        inode = log.stat().st_ino
        subprocess.run([sys.executable, "-c", LOCKS, str(path)], check=True)
        assert (log.exists(), log.stat().st_ino) == (True, inode)
    store.close()
    assert kept(path, clock) == ALL


def test_a_file_that_was_only_touched_is_used_on(
    path: Path, clock: FakeClock, notices: list[Notice]
) -> None:
    """And so is one that another program has checkpointed."""
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    os.utime(path, ns=(1, 1))
    fill(store, clock, "two")
    other = sqlite3.connect(path)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    store.commit(tick(clock.advance(10)))
    store.close()
    assert (notices, kept(path, clock)) == ([], ALL)


def test_a_crowd_of_readers_is_no_failure(
    path: Path, clock: FakeClock, notices: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes too much is told to come again; the file is as good as before."""
    monkeypatch.setattr("leakguard.store.database.READER_WAIT_S", 0.01)
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "one")
    before = store.delivery_counts()
    with contextlib.ExitStack() as readers:
        crowd(store, readers)
        with pytest.raises(TooManyReaders):
            store.due(clock.wall_s)
        fill(store, clock, "two")
        assert (store.delivery_counts(), store.last_commit_durable) == (before, True)
    assert (len(store.due(clock.wall_s)), notices, store.health) == (2, [], "ok")
    store.close()


def test_a_reader_that_waits_does_not_hold_up_a_commit(path: Path, clock: FakeClock) -> None:
    """The tick must not stand behind a crowd at the web page."""
    store = GuardedStore(str(path), clock)
    asking = threading.Thread(target=lambda: store.due(clock.wall_s))
    with contextlib.ExitStack() as readers:
        crowd(store, readers)
        asking.start()
        asking.join(0.05)
        fill(store, clock, "one")
        assert asking.is_alive()
    asking.join(20.0)
    assert store.last_commit_durable
    store.close()
