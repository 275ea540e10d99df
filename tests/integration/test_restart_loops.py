"""A service that starts at 95 % of its limit is restarted a few times, then there is one alert."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.guarded import Daemon, Receiver, until

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
MAX_RESTARTS = 4
LOUD = {"FutilityFound", "RestartLimitHit"}
DRIVERS = ("child", "signal", "command")


def options_of(driver: str, pidfile: Path) -> dict[str, Any]:
    """Give a driver that makes somebody else start the service again."""
    if driver == "signal":
        return {"signal": {"respawned_by": "the test"}}
    return {"command": {"argv": ["sh", "-c", 'kill -KILL "$(cat "$0")"', str(pidfile)]}}


def full(pidfile: Path) -> list[str]:
    """Give a service that needs some 61 MiB from its start on."""
    leak = [sys.executable, "-S", "-E", str(WORKLOADS / "leak.py"), "--pidfile", str(pidfile)]
    return [*leak, "--start", "52MiB", "--to", "52MiB"]


@contextmanager
def service(driver: str, pidfile: Path) -> Iterator[dict[str, Any]]:
    """Give the target and the driver of such a service, started where leakguard does not."""
    if driver == "child":
        yield {"target": {"child": {"argv": full(pidfile)}}, "restart": {}}
        return
    manager = [sys.executable, str(WORKLOADS / "respawn.py"), "0.1", *full(pidfile)]
    with subprocess.Popen(manager) as running:
        try:
            until(pidfile.exists)
            yield {
                "target": {"pidfile": str(pidfile)},
                "restart": {"driver": options_of(driver, pidfile)},
            }
        finally:
            running.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_restart_loop_ends_in_one_alert(tmp_path: Path, driver: str) -> None:
    """At most `max_restarts` restarts, one critical alert that says why, and it is watched."""
    with service(driver, tmp_path / "pid") as found, Receiver() as receiver:
        rules = {"forecast": False, "threshold": "90%", **found["restart"]}
        entry = {"target": found["target"], "mode": "act", "measure": "rss", "limit": "64MiB"}
        config = {
            "services": {"full": {**entry, "restart": rules, "sample_every": "1s"}},
            "alerts": {"channels": {"hook": {"webhook": {"url": receiver.url + "/hook"}}}},
        }
        with Daemon(tmp_path, config) as daemon:
            until(lambda: any(daemon.events(kind) for kind in LOUD), 60.0)
            pid = int((tmp_path / "pid").read_text("ascii"))
            before = len(daemon.events("RestartSucceeded", "full"))
            daemon.wait_for("MemoryRecovered", "full", limit_s=30.0)
            after = len(daemon.events("RestartSucceeded", "full"))
            assert (before, int((tmp_path / "pid").read_text("ascii"))) == (after, pid)
            assert 1 <= after <= MAX_RESTARTS
            taken = [r.body["data"] for r in receiver.accepted("/hook")]
            loud = [alert for alert in taken if alert["event"] in LOUD]
            assert [alert["severity"] for alert in loud] == ["critical"], loud
