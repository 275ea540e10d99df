"""`leakguard run` from start to end: one daemon a state, signals, crash and reload."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.guarded import Daemon, kill, started_at, until

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
SLEEPER = [sys.executable, "-S", "-E", "-c", "import signal; signal.pause()"]
OFTEN = {"threshold": {"above": "30MiB"}, "max_restarts": {"count": 1000, "per": "1h"}}


def child(argv: list[str], **restart: Any) -> dict[str, Any]:
    """Give a guarded child."""
    return {
        "target": {"child": {"argv": argv}},
        "mode": "act",
        "measure": "rss",
        "restart": restart,
    }


def leaker(log: Path, **restart: Any) -> dict[str, Any]:
    """Give a child that leaks 50 MiB/s and logs its life."""
    argv = [sys.executable, "-S", "-E", str(WORKLOADS / "logged.py"), str(log)]
    return child(argv, **{**OFTEN, **restart})


def pid_of(daemon: Daemon, service: str) -> int:
    """Give the process of a service, as the daemon sees it; 0 when there is none."""
    return int(status(daemon, service).get("pid") or 0)


def status(daemon: Daemon, service: str) -> dict[str, Any]:
    """Ask the daemon for one service; empty while it does not know it."""
    command = [sys.executable, "-m", "leakguard", "status", "--json"]
    asked = subprocess.run(
        [*command, "--socket", str(daemon.folder / "control.sock")],
        capture_output=True,
        text=True,
        check=False,
    )
    services = json.loads(asked.stdout)["services"] if asked.returncode == 0 else []
    found: list[dict[str, Any]] = [s for s in services if s["name"] == service]
    return found[0] if found else {}


@contextmanager
def swept(log: Path) -> Iterator[None]:
    """Kill what a killed daemon left behind of a logged service."""
    try:
        yield
    finally:
        for line in log.read_text("ascii").splitlines() if log.exists() else []:
            _, pid, started = line.split()
            kill(int(pid), int(started))


def words(log: Path, word: str) -> int:
    """Count the lines of a word."""
    return log.read_text("ascii").count(f"{word} ") if log.exists() else 0


def test_a_second_run_on_the_same_state_is_refused(tmp_path: Path) -> None:
    """It ends with code 1 and names the pid of the first, which goes on."""
    with Daemon(tmp_path, {"services": {"idle": child(SLEEPER)}}) as first:
        first.ready()
        second = subprocess.run(
            [sys.executable, "-m", "leakguard", "run", "-c", str(first.config_file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert (second.returncode, str(first.pid) in second.stderr) == (1, True), second.stderr
        assert first.process is not None
        assert first.process.poll() is None
        assert first.stop() == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_and_its_children(tmp_path: Path, signum: int) -> None:
    """With nothing in flight TERM and Ctrl-C end it within two seconds, and its child before."""
    with Daemon(tmp_path, {"services": {"idle": child(SLEEPER)}}) as daemon:
        pid = until(lambda: pid_of(daemon, "idle"))
        began = time.monotonic()
        assert daemon.stop(signum) == 0
        took_s = time.monotonic() - began
    assert (took_s < 2.0, started_at(pid)) == (True, None)
    assert [e["event"] for e in daemon.events()][-1] == "DaemonStopped"


def test_after_a_stop_the_next_run_starts_the_child_at_once(tmp_path: Path) -> None:
    """What ends together with the guard is not missing, and no restart of it stays in flight."""
    with Daemon(tmp_path, {"services": {"idle": child(SLEEPER)}}) as daemon:
        daemon.wait_for("ServiceStarted", "idle")
        assert daemon.stop() == 0
        assert [e["event"] for e in daemon.events(service="idle")] == [
            "RestartDecided",
            "ServiceStarted",
        ]
        daemon.start()
        until(lambda: pid_of(daemon, "idle"), limit_s=8.0)


def test_the_next_run_adopts_the_child_of_a_killed_one(tmp_path: Path) -> None:
    """After kill -9 the child lives on, the next daemon guards that very process and ends it."""
    with Daemon(tmp_path, {"services": {"idle": child(SLEEPER)}}) as daemon:
        pid = until(lambda: pid_of(daemon, "idle"))
        kill(daemon.pid)
        assert daemon.process is not None
        daemon.process.wait()
        assert started_at(pid) is not None
        daemon.start().ready()
        assert until(lambda: pid_of(daemon, "idle")) == pid
        assert len(daemon.events("ServiceStarted")) == 1
        daemon.stop()
    assert started_at(pid) is None


def test_a_child_that_was_started_but_never_seen_is_adopted_too(tmp_path: Path) -> None:
    """Killed between the start of a child and its first sample, the daemon starts no second one."""
    started = tmp_path / "started"
    script = f"echo $$ >> {started}; [ $(wc -l < {started}) -gt 1 ] || kill -9 $PPID; exec sleep 99"
    service = child(["/bin/sh", "-c", script], deadline="1s")
    daemon = Daemon(tmp_path, {"services": {"quick": service}})
    try:
        with daemon:
            assert daemon.process is not None
            daemon.process.wait(20)
            daemon.start().ready()
            watched = until(lambda: pid_of(daemon, "quick"), what="it is watched")
            assert started.read_text("ascii").split() == [str(watched)]
    finally:
        for pid in started.read_text("ascii").split():
            kill(int(pid))


def reload(daemon: Daemon, config: dict[str, Any]) -> None:
    """Write another configuration and say so."""
    daemon.write_config(config)
    os.kill(daemon.pid, signal.SIGHUP)


def test_a_reload_adds_and_removes_services_and_keeps_the_others(tmp_path: Path) -> None:
    """The service that stays keeps its process; a bad file changes nothing and is told by line."""
    old = {"services": {"stays": child(SLEEPER), "goes": child(SLEEPER)}}
    with Daemon(tmp_path, old) as daemon:
        pid = until(lambda: pid_of(daemon, "stays"))
        reload(daemon, {"services": {"stays": child(SLEEPER), "comes": child(SLEEPER)}})
        daemon.wait_for("ConfigReloaded")
        assert until(lambda: pid_of(daemon, "comes")) != pid
        assert (pid_of(daemon, "stays"), status(daemon, "goes")) == (pid, {})
        reload(daemon, {"services": {"stays": {**child(SLEEPER), "moed": "act"}}})
        rejected = daemon.wait_for("ConfigRejected")
        assert re.search(r"config\.yaml:\d+: .*mode", rejected["message"]), rejected["message"]
        assert (pid_of(daemon, "stays"), pid_of(daemon, "comes") > 0) == (pid, True)


@pytest.mark.parametrize("killed", [False, True])
def test_a_recording_replays_to_the_same_decisions(tmp_path: Path, killed: bool) -> None:
    """`replay` of a run ends with code 0, also when the run was killed in the middle of a line."""
    log, record = tmp_path / "life", tmp_path / "record"
    service = leaker(log)
    with (
        swept(log),
        Daemon(
            tmp_path, {"services": {"leaky": service}}, extra=("--record", str(record))
        ) as daemon,
    ):
        daemon.wait_for("RestartSucceeded", "leaky", count=2)
        until(lambda: words(log, "start") >= 3)  # so that nothing unknown is left behind
        if killed:
            kill(daemon.pid)
        daemon.stop()
    text = record.read_bytes()
    if killed:
        record.write_bytes(text + text.splitlines()[-1][:40])
    replayed = subprocess.run(
        [sys.executable, "-m", "leakguard", "replay", str(record)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert replayed.returncode == 0, replayed.stderr
    assert '"restart"' in replayed.stdout
