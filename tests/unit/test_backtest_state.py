"""The daemon's own state file as a recording: its runs, its restarts, its limits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard.core.errors import StoreError, UsageError
from leakguard.core.events import Event, EventKind, Severity
from leakguard.core.units import MIB
from leakguard.runtime.backtest.from_state import read_state
from leakguard.runtime.backtest.lives import Ending, cut
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of, sample, tick


class Written:
    """A state file that a daemon writes, one sample a minute."""

    def __init__(self, path: str) -> None:
        """Open it; memory begins at 100 MiB."""
        self.path, self.clock, self.pid = path, FakeClock(), 100
        self.clock.set_wall(1_795_003_200.0)  # a whole hour
        self.store = SqliteStore(path, self.clock)
        self.mib, self.serial = 100, 0

    def run(self, minutes: int) -> None:
        """Let it leak one MiB a minute."""
        for _ in range(minutes):
            now = self.clock.advance(60.0)
            run = run_of(self.pid)
            self.store.commit(tick(now, samples=(sample(now, self.mib * MIB, incarnation=run),)))
            self.mib += 1

    def event(self, kind: EventKind, **details: str | int) -> None:
        """Write an event of now."""
        self.serial += 1
        event = Event(
            id=f"i-{self.serial}", kind=kind, service="worker", wall_s=self.clock.now().wall_s,
            severity=Severity.INFO, message="so it is", details=details,
        )  # fmt: skip
        self.store.commit(tick(self.clock.now(), serial=self.serial, events=(event,)))

    def renew(self) -> None:
        """Begin a new run."""
        self.pid, self.mib = self.pid + 1, 100


@pytest.fixture(name="written")
def a_state_file(tmp_path: Path) -> Iterator[Written]:
    """A state file of two hours and a new run after each."""
    written = Written(str(tmp_path / "state.db"))
    yield written
    written.store.close()


def test_samples_come_back_as_they_were(written: Written) -> None:
    """Times are Unix time, sizes are bytes."""
    written.run(30)
    (one,) = read_state(written.path)
    assert (one.name, len(one), one.spacing_s) == ("worker", 30, 60.0)
    assert one.times[0] == 1_795_003_260.0
    assert list(one.values) == [(100 + i) * MIB for i in range(30)]


def test_new_run_is_known_even_where_nothing_falls(written: Written) -> None:
    """A run that begins as high as the last one ended is another life; a fall alone is none."""
    written.run(20)
    written.pid += 1
    written.run(20)
    written.mib = 30
    written.run(20)
    (one,) = read_state(written.path)
    assert [life.first for life in cut(one)] == [0, 20]


def test_restart_by_a_policy_is_left_out_and_one_by_others_kept(written: Written) -> None:
    """What leakguard did then it would do otherwise now; a deployment comes all the same."""
    written.run(60)
    written.event(EventKind.RESTART_SUCCEEDED, trigger="forecast")
    written.renew()
    written.run(60)
    written.renew()
    written.run(60)
    written.event(EventKind.RESTART_SUCCEEDED, trigger="manual")
    written.renew()
    written.run(60)
    (one,) = read_state(written.path)
    assert [life.ending for life in cut(one)] == [
        Ending.DROPPED, Ending.RESTARTED, Ending.RESTARTED, Ending.OPEN,
    ]  # fmt: skip


def test_old_samples_are_read_as_medians(written: Written) -> None:
    """Days ago there are hours, then minutes, then single samples; nothing twice or missing."""
    written.run(10 * 24 * 60)
    now = written.clock.now().wall_s
    written.store.roll_up(now)
    written.store.prune(now)
    (one,) = read_state(written.path)
    gaps = {round(b - a) for a, b in zip(one.times, one.times[1:], strict=False)}
    assert gaps <= {60, 3600, *range(1770, 1861), *range(30, 91)}
    assert one.span_s > 9.9 * 86_400
    slope = (one.values[-1] - one.values[0]) / one.span_s
    assert slope * 60 / MIB == pytest.approx(1.0, rel=1e-3)


def test_limit_is_that_of_the_last_event(written: Written) -> None:
    """A cgroup's limit is in the evidence of events; another kind of limit kills nobody."""
    written.run(2)
    written.event(EventKind.LEAK_SUSPECTED, limit_kind="cgroup", limit_bytes=512 * MIB)
    written.event(EventKind.LEAK_CLEARED, limit_kind="configured", limit_bytes=100 * MIB)
    (one,) = read_state(written.path)
    assert one.limit_bytes == 512 * MIB


def test_limit_that_no_event_names_is_not_known(written: Written) -> None:
    """Without evidence there is no limit."""
    written.run(2)
    assert read_state(written.path)[0].limit_bytes is None


def test_service_that_is_not_in_it_is_named(written: Written) -> None:
    """A wrong name lists the right ones."""
    written.run(2)
    with pytest.raises(UsageError, match=r"no series of wroker \(it has worker\)"):
        read_state(written.path, ["wroker"])


def test_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A path that is wrong is an error, and no file is made."""
    with pytest.raises(StoreError, match="cannot be opened"):
        read_state(str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []
