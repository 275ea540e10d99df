"""The guarded store on real file systems that fill up or turn read-only under it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard.core.engine import Notice
from leakguard.core.state import ServiceRecord
from leakguard.store.fallback import BACK_OFF_S
from leakguard.store.guarded import GuardedStore
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert
from leakguard.testing.ticks import event, sample, tick

pytestmark = pytest.mark.root


def mount(*arguments: str) -> None:
    """Attach a file system, or change how it is attached."""
    subprocess.run(["mount", *arguments], check=True, timeout=30)


@pytest.fixture(name="disk")
def a_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "leakguard-test", str(disk))
    yield disk
    while os.path.ismount(disk):
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=30)


@pytest.fixture(name="clock")
def a_clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


def fill(store: GuardedStore, clock: FakeClock, name: str) -> None:
    """Commit one tick with one of everything."""
    now = clock.advance(10)
    store.commit(
        tick(
            now,
            samples=(sample(now, 100),),
            records=(ServiceRecord(name=name),),
            events=(event(f"e-{name}", message="x" * 20_000),),
            alerts=(alert(f"a-{name}"),),
        )
    )


def durable(store: GuardedStore) -> bool:
    """Tell where the last commit went; asked anew each time."""
    return store.last_commit_durable


def recover(store: GuardedStore, clock: FakeClock) -> None:
    """Let the back-off pass."""
    clock.advance(BACK_OFF_S[-1])
    store.commit(tick(clock.now()))


def contents(path: Path, clock: FakeClock) -> tuple[list[str], list[str], list[str]]:
    """Give records, events and pending alerts of a file."""
    store = SqliteStore(str(path), clock)
    found = (
        sorted(store.load().records),
        sorted(e.id for e in store.events()),
        sorted(d.alert.id for d in store.due(clock.wall_s)),
    )
    store.close()
    return found


def use_up(disk: Path) -> Path:
    """Write until nothing fits any more."""
    ballast = disk / "ballast"
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, b"\0" * 4096):
            pass
    except OSError:
        os.close(descriptor)
    return ballast


def test_a_full_disk_is_survived_and_made_up_for(disk: Path, clock: FakeClock) -> None:
    """Ticks go to memory while there is no room, and into the file when there is."""
    notices: list[Notice] = []
    path = disk / "state.db"
    store = GuardedStore(str(path), clock, notice=notices.append)
    fill(store, clock, "0")
    ballast = use_up(disk)
    for n in range(1, 6):
        fill(store, clock, str(n))
    assert not durable(store)
    assert "the disk is full" in store.health
    assert len(store.due(clock.wall_s)) == 6
    ballast.unlink()
    recover(store, clock)
    assert (store.health, durable(store)) == ("ok", True)
    assert [n.kind for n in notices] == ["StoreFailed", "StoreRecovered"]
    store.close()
    names = [str(n) for n in range(6)]
    assert contents(path, clock) == (
        names,
        [f"e-{n}" for n in names],
        [f"a-{n}" for n in names],
    )


def test_a_start_on_a_full_disk(disk: Path, clock: FakeClock) -> None:
    """Without room for a file the guard begins in memory."""
    ballast = use_up(disk)
    store = GuardedStore(str(disk / "state.db"), clock)
    fill(store, clock, "0")
    assert not durable(store)
    ballast.unlink()
    recover(store, clock)
    assert durable(store)
    store.close()
    assert contents(disk / "state.db", clock) == (["0"], ["e-0"], ["a-0"])


def test_a_start_on_a_read_only_file_system(disk: Path, clock: FakeClock) -> None:
    """What the file says is known, what is new is in memory until it can be written."""
    path = disk / "state.db"
    store = GuardedStore(str(path), clock)
    fill(store, clock, "0")
    store.close()
    # A file system with files open for writing cannot be remounted: a bind mount can.
    mount("--bind", str(disk), str(disk))
    mount("-o", "remount,bind,ro", str(disk))
    store = GuardedStore(str(path), clock)
    fill(store, clock, "1")
    assert not durable(store)
    assert sorted(store.load().records) == ["0"]
    assert sorted(d.alert.id for d in store.due(clock.wall_s)) == ["a-0", "a-1"]
    mount("-o", "remount,bind,rw", str(disk))
    recover(store, clock)
    assert durable(store)
    store.close()
    assert contents(path, clock) == (["0", "1"], ["e-0", "e-1"], ["a-0", "a-1"])
