"""The wall clock is set while the daemon runs: guarding goes on, schedules run once each."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.guarded import Daemon, Event, until

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
LOGGED, LEAK = WORKLOADS / "logged.py", WORKLOADS / "leak.py"
LIBRARIES = (
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    *Path("/usr/lib/faketime").glob("libfaketimeMT.so.1"),
)
HOUR_S = 3600
SCHEDULED = "scheduled for "


@pytest.fixture
def clock(tmp_path: Path) -> "SetClock":
    """A wall clock that can be set, for the processes that get its environment."""
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed (apt package faketime)")
    return SetClock(tmp_path / "clock")


class SetClock:
    """The wall clock of a process, moved by a file; its monotonic clocks are left alone."""

    def __init__(self, file: Path) -> None:
        """Begin without an offset."""
        self._file = file
        self.offset_s = 0
        self.set(0)

    @property
    def env(self) -> dict[str, str]:
        """What a process has to be started with."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "TZ": "UTC",
        }

    def set(self, offset_s: int) -> None:
        """Set it, against the real one."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}", "ascii")
        new.replace(self._file)
        self.offset_s = offset_s

    def set_before_minute(self, offset_s: int, by_s: int = 3) -> None:
        """Set it against the real one, and from there forth to `by_s` seconds before a minute."""
        self.set(offset_s + round(60 - by_s - (time.time() + offset_s) % 60) % 60)

    def now(self) -> float:
        """Give what it shows."""
        return time.time() + self.offset_s


def leaker(log: Path, **restart: Any) -> dict[str, Any]:
    """Give a child that leaks 50 MiB a second up to 64 MiB, and logs its life."""
    argv = [sys.executable, "-S", "-E", str(LOGGED), str(log)]
    limits = {"max_restarts": {"count": 1000, "per": "1h"}, "grace": "1s", **restart}
    target = {"child": {"argv": argv, "env": {"LD_PRELOAD": ""}}}
    return {"target": target, "mode": "act", "measure": "rss", "restart": limits}


def decided(daemon: Daemon, service: str) -> list[Event]:
    """Give the restarts of a service that were decided, but for its first start."""
    return [e for e in daemon.events("RestartDecided", service) if e["trigger"] != "respawn"]


def test_guarding_goes_on(tmp_path: Path, clock: SetClock) -> None:
    """Thresholds and forecasts act on while the clock is set an hour forward, then back."""
    slow = [sys.executable, "-S", "-E", str(LEAK), "--rate", "20MiB", "--to", "200MiB"]
    services = {
        "threshold": leaker(tmp_path / "a", threshold={"above": "30MiB"}, forecast=False),
        "forecast": {**leaker(tmp_path / "b"), "limit": "150MiB"},
    }
    services["forecast"]["target"]["child"]["argv"] = slow
    with Daemon(tmp_path, {"services": services}, env=clock.env) as daemon:
        for jumps, jump_s in enumerate((HOUR_S, 0), 1):
            acted(daemon, services)
            clock.set(jump_s)
            assert abs(daemon.wait_for("ClockJumped", count=jumps)["jump_s"]) > HOUR_S - 5
        acted(daemon, services)
        assert daemon.events("ServiceUnreadable") == []


def acted(daemon: Daemon, services: Iterable[str]) -> None:
    """Wait until every service was restarted once more."""
    before = {service: len(decided(daemon, service)) for service in services}

    def all_of_them() -> bool:
        return all(len(decided(daemon, s)) > n for s, n in before.items())

    until(all_of_them, limit_s=20.0, what=f"restarts beyond {before}")


def minutes(daemon: Daemon) -> list[str]:
    """Give the minutes that the schedule dealt with, whatever came of them, in order.

    A minute that is acted on and one that is held back, or skipped since nothing runs, were both
    dealt with; the sentence of each names the moment.
    """
    kinds = {"RestartDecided", "RestartVetoed", "RestartSkipped"}
    dealt = [e for e in daemon.events() if e["event"] in kinds and SCHEDULED in e["message"]]
    return [e["message"].partition(SCHEDULED)[2][:16] for e in dealt]


@pytest.fixture
def scheduled(tmp_path: Path, clock: SetClock) -> Iterator[Daemon]:
    """A daemon with a schedule of every minute, which runs and has its service running."""
    clock.set_before_minute(0, by_s=15)  # leakguard runs by then
    service = leaker(tmp_path / "s", forecast=False, schedule={"cron": "* * * * *"})
    service["restart"]["grace"] = "0s"
    with Daemon(tmp_path, {"services": {"timed": service}}, env=clock.env) as daemon:
        daemon.ready().wait_for("ServiceStarted", "timed")
        yield daemon


def acted_on(daemon: Daemon, count: int) -> None:
    """Wait until so many minutes were acted on, each to its end.

    The clock may be set only then: a moment that comes during a restart is skipped by right.
    """
    daemon.wait_for("RestartSucceeded", "timed", count=count, limit_s=80.0)
    assert len(minutes(daemon)) == count, minutes(daemon)


def test_a_minute_is_acted_on_once_whatever_the_clock_does(
    scheduled: Daemon, clock: SetClock
) -> None:
    """Set forward, the minutes that were jumped over run once; set back, none runs again."""
    acted_on(scheduled, 1)
    clock.set_before_minute(HOUR_S, by_s=50)  # so that no other minute comes by itself
    acted_on(scheduled, 2)
    clock.set_before_minute(0)
    scheduled.wait_for("ClockJumped", count=2)
    again = clock.now() // 60 + 1
    until(lambda: clock.now() // 60 >= again, limit_s=70.0, what="a minute comes a second time")
    clock.set_before_minute(HOUR_S + 2 * 60, by_s=50)
    acted_on(scheduled, 3)
    found = minutes(scheduled)
    assert found == sorted(set(found)), os.linesep.join(found)
