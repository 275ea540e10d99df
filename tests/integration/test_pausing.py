"""`pause` and `resume` against a real daemon: what holds, who reads of it, and after a kill -9."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leakguard.cli.main import main
from tests.workloads.guarded import Daemon, until

Capture = pytest.CaptureFixture[str]
LIMIT_S = 30.0
SERVICE: dict[str, Any] = {
    "target": {"child": {"argv": ["sleep", "1000"]}},
    "mode": "act",
    "restart": {"threshold": {"above": "1KiB"}, "grace": "0s", "forecast": False},
}
"""A service that wants a restart all the time."""


def ask(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask a daemon over its socket."""
    argv = [sys.executable, "-m", "leakguard", *words]
    argv += ["--socket", str(daemon.folder / "control.sock")]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def status(daemon: Daemon) -> dict[str, Any]:
    """Give what `status --json` says of the service; empty while it is not known."""
    asked = ask(daemon, "status", "w", "--json")
    services = json.loads(asked.stdout)["services"] if asked.returncode == 0 else []
    found: dict[str, Any] = services[0] if services else {}
    return found


def killed_and_started(daemon: Daemon) -> None:
    """Kill the daemon where it stands, and start the next one."""
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    daemon.ready()


def test_a_pause_and_its_reason_outlive_a_kill(tmp_path: Path) -> None:
    """Status, why, events and refusals name who, until when and why; resume ends it."""
    calm = {**SERVICE, "restart": {}}
    with Daemon(tmp_path, {"services": {"w": calm}}) as daemon:
        daemon.wait_for("ServiceStarted", "w", limit_s=LIMIT_S)
        assert ask(daemon, "pause", "w", "--for", "2h", "--reason", "load test").returncode == 0
        event = daemon.wait_for("ServicePaused", "w")
        assert (event["reason"], event["message"].endswith(f"{event['until']}: load test")) == (
            "load test",
            True,
        )
        for _ in range(2):
            found = until(lambda: status(daemon))
            assert (found["phase"], found["paused"]) == ("paused", event["message"])
            assert event["message"] in ask(daemon, "status").stdout
            assert "load test" in ask(daemon, "why", "w").stdout
            refused = ask(daemon, "restart", "w")
            assert (refused.returncode, refused.stderr.strip()) == (
                1,
                f"leakguard: w is not restarted: paused: {event['message']}",
            )
            killed_and_started(daemon)
        assert "resumed" in ask(daemon, "resume", "w").stdout
        assert status(daemon)["paused"] == ""
        assert daemon.wait_for("ServiceResumed", "w")["by"]


def test_what_wants_a_restart_all_the_time_is_left_alone(tmp_path: Path) -> None:
    """No trigger passes, before a kill and after it; the veto names the pause, with its reason."""
    with Daemon(tmp_path, {"services": {"w": {**SERVICE, "mode": "observe"}}}) as daemon:
        daemon.wait_for("ServiceStarted", "w", limit_s=LIMIT_S)
        assert ask(daemon, "pause", "w", "--reason", "load test").returncode == 0
        daemon.write_config({"services": {"w": SERVICE}})
        killed_and_started(daemon)
        held = daemon.wait_for("RestartVetoed", "w", count=2)
        assert (held["guard"], "load test" in held["message"]) == ("paused", True)
        assert [e["trigger"] for e in daemon.events("RestartDecided", "w")] == ["respawn"]
        assert ask(daemon, "resume", "w").returncode == 0
        assert daemon.wait_for("RestartDecided", "w", count=2)["trigger"] == "threshold"


def test_a_pause_that_ends_while_leakguard_is_down_is_over(tmp_path: Path) -> None:
    """The next daemon says so, and the service is under guard again."""
    with Daemon(tmp_path, {"services": {"w": {**SERVICE, "restart": {}}}}) as daemon:
        daemon.wait_for("ServiceStarted", "w", limit_s=LIMIT_S)
        assert ask(daemon, "pause", "w", "--for", "100ms").returncode == 0
        killed_and_started(daemon)
        assert daemon.wait_for("ServiceResumed", "w")["message"] == "the pause is over"
        assert until(lambda: status(daemon))["paused"] == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0s", "'0s': write more than 0s and at most 366d"),
        ("400d", "'400d': write more than 0s and at most 366d"),
        ("2", "'2' is not a duration: write a number and a unit, such as 20m"),
        ("-5m", "'-5m' is not a duration: write a number and a unit, such as 20m"),
        ("soon", "'soon' is not a duration: write a number and a unit, such as 20m"),
    ],
)
def test_how_long_is_checked_before_anybody_is_asked(
    given: str, said: str, capsys: Capture
) -> None:
    """A slip is a usage error in the person's own units."""
    assert main(["pause", "worker", "--for", given]) == 2
    assert said in capsys.readouterr().err
