"""A real leak in a real cgroup is bought time until its window, and the limit comes back."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.units import MIB
from leakguard.linux.bending import limits_of
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.own_cgroup import OwnCgroup, usual_parents
from leakguard.linux.procfs import ProcFs
from tests.workloads.guarded import Daemon, kill, until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
LIMIT = 96 * MIB
FULL_AT = 0.85
"""The limit would be reached after this share of the time to the window; raised, at 1.7 of it."""
LEAST_S = 45.0


@dataclass(frozen=True)
class Cage:
    """A leaking service in a cgroup of its own, started again by somebody else."""

    group: OwnCgroup
    pidfile: Path
    window: datetime

    @property
    def limit(self) -> int | None:
        """The limit in force."""
        return limits_of(str(self.group.directory)).max_bytes

    @property
    def pid(self) -> int:
        """The run there is; 0 while its file is being written."""
        return int(self.pidfile.read_text("ascii") or 0)

    def config(self) -> dict[str, Any]:
        """Guard it, with one window a day that begins at the next full minute."""
        restart = {
            "driver": {"signal": {"respawned_by": "the test"}},
            "windows": {"cron": f"{self.window.minute} {self.window.hour} * * *", "length": "50s"},
            "buy_time": {"raise_by": "99%"},
            "grace": "5s",
        }
        target = {"pidfile": str(self.pidfile)}
        service = {"target": target, "mode": "act", "timezone": "UTC", "restart": restart}
        return {"services": {"leaky": service}}


@contextmanager
def cage(folder: Path) -> Iterator[Cage]:
    """Run a service whose memory ends before the next full minute that is far enough."""
    now = datetime.now(UTC)
    window = (now + timedelta(seconds=LEAST_S + 60)).replace(second=0, microsecond=0)
    rate = int(LIMIT / (FULL_AT * (window - now).total_seconds()))
    (place, *_) = usual_parents(CgroupFs(ProcFs()), os.getpid())
    group = OwnCgroup(place, f"leakguard-buy-{os.getpid()}", LIMIT)
    enter = f'echo $$ > {group.directory}/cgroup.procs; exec "$@"'
    pidfile = folder / "pid"
    leak = [
        sys.executable,
        "-S",
        str(WORKLOADS / "leak.py"),
        "--rate",
        f"{rate}B",
        "--to",
        "500MiB",
    ]
    service = ["sh", "-c", enter, "sh", *leak, "--pidfile", str(pidfile)]
    manager = subprocess.Popen([sys.executable, str(WORKLOADS / "respawn.py"), "0.2", *service])
    try:
        until(pidfile.exists)
        yield Cage(group, pidfile, window)
    finally:
        manager.send_signal(signal.SIGTERM)
        manager.wait()
        group.remove()


def raised(daemon: Daemon, own: Cage) -> None:
    """Wait until time was bought."""
    daemon.wait_for("LimitsRaised", "leaky", limit_s=120.0)
    assert own.limit is not None
    assert own.limit > 1.9 * LIMIT


def test_a_leak_lasts_until_its_window_and_the_limit_comes_back(tmp_path: Path) -> None:
    """No kill, no restart before the window, one in it."""
    with cage(tmp_path) as own, Daemon(tmp_path, own.config()) as daemon:
        raised(daemon, own)
        assert daemon.events("RestartDecided") == []
        daemon.wait_for("RestartSucceeded", "leaky", limit_s=120.0)
        daemon.wait_for("LimitsRestored", "leaky", limit_s=20.0)
        assert (own.limit, own.group.oom_kills()) == (LIMIT, 0)
        (decided,) = daemon.events("RestartDecided", "leaky")
        assert datetime.fromisoformat(decided["at"]) >= own.window


def test_a_killed_guard_puts_the_limit_back_after_its_next_start(tmp_path: Path) -> None:
    """What it bent was written down before; the run that needed it is gone meanwhile."""
    with cage(tmp_path) as own, Daemon(tmp_path, own.config()) as daemon:
        raised(daemon, own)
        assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        before = own.pid
        kill(before)
        until(lambda: own.pid not in {0, before})
        assert own.limit != LIMIT
        daemon.start().ready()
        daemon.wait_for("LimitsRestored", "leaky", limit_s=30.0)
        assert (own.limit, own.group.oom_kills()) == (LIMIT, 0)
