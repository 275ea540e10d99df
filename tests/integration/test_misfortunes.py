"""What goes wrong beside a running guard is told once, survived, and told again when it is over."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.guarded import Daemon, Receiver, kill, until

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
SLEEPER = [sys.executable, "-S", "-E", "-c", "import signal; signal.pause()"]


def leaker(log: Path, **restart: Any) -> dict[str, Any]:
    """Give a child that leaks 50 MiB a second."""
    argv = [sys.executable, "-S", "-E", str(WORKLOADS / "logged.py"), str(log)]
    often = {"threshold": {"above": "30MiB"}, "max_restarts": {"count": 1000, "per": "1h"}}
    target = {"child": {"argv": argv}}
    return {"target": target, "mode": "act", "measure": "rss", "restart": {**often, **restart}}


def told(receiver: Receiver) -> list[str]:
    """Give the kinds of the alerts that were taken."""
    return [r.body["data"]["event"] for r in receiver.accepted("/hook")]


def hook(receiver: Receiver) -> dict[str, Any]:
    """Give the alerts section for one webhook."""
    return {"channels": {"hook": {"webhook": {"url": receiver.url + "/hook"}}}}


def restarts(daemon: Daemon) -> int:
    """Count what went well."""
    return len(daemon.events("RestartSucceeded", "leaky"))


def replace(path: Path) -> None:
    """Put another file in the place of a state file."""
    path.with_suffix(".other").write_bytes(b"not a database")
    path.with_suffix(".other").replace(path)


def test_a_corrupt_state_file_at_the_start_is_moved_aside(tmp_path: Path) -> None:
    """The guard begins, says so, and has a working state file again."""
    (tmp_path / "state.db").write_bytes(b"this is no database\n" * 500)
    with Receiver() as receiver:
        config = {"services": {"leaky": leaker(tmp_path / "life")}, "alerts": hook(receiver)}
        with Daemon(tmp_path, config) as daemon:
            daemon.wait_for("StoreFailed")
            daemon.wait_for("StoreRecovered")
            until(lambda: restarts(daemon) >= 1)
            until(lambda: "StoreFailed" in told(receiver))
    assert len(list(tmp_path.glob("state.db*corrupt*"))) == 1, list(tmp_path.iterdir())


@pytest.mark.parametrize("harm", [replace, Path.unlink])
def test_a_state_file_that_is_lost_while_it_leaks(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """Restarts go on, people are told once, and the state file works again."""
    with Receiver() as receiver:
        config = {"services": {"leaky": leaker(tmp_path / "life")}, "alerts": hook(receiver)}
        with Daemon(tmp_path, config) as daemon:
            until(lambda: restarts(daemon) >= 1)
            harm(daemon.state_file)
            daemon.wait_for("StoreFailed", limit_s=30.0)
            before = restarts(daemon)
            until(lambda: restarts(daemon) >= before + 2)
            daemon.wait_for("StoreRecovered")
            until(lambda: told(receiver).count("StoreRecovered") == 1)
            assert told(receiver).count("StoreFailed") == 1


def test_a_state_file_that_is_overwritten_while_it_leaks(tmp_path: Path) -> None:
    """Restarts go on; the file is mended from the log or made anew, and holds what comes after."""
    with Daemon(tmp_path, {"services": {"leaky": leaker(tmp_path / "life")}}) as daemon:
        until(lambda: restarts(daemon) >= 1)
        daemon.state_file.write_bytes(b"not a database\n" * 1000)
        before = restarts(daemon)
        until(lambda: restarts(daemon) >= before + 2)
        assert daemon.stop() == 0
    with closing(sqlite3.connect(daemon.state_file)) as state:
        (sound,) = state.execute("PRAGMA integrity_check").fetchone()
        kept = state.execute("SELECT id FROM events WHERE kind = 'RestartSucceeded'").fetchall()
    told = [event["id"] for event in daemon.events("RestartSucceeded", "leaky")[before + 1 :]]
    assert (sound, set(told) - {identity for (identity,) in kept}) == ("ok", set())


@pytest.mark.root
def test_a_full_disk_while_it_leaks(tmp_path: Path) -> None:
    """Restarts go on in memory, people are told, and the file is used again when there is room."""
    with small_disk(tmp_path / "disk") as disk, Receiver() as receiver:
        config = {
            "services": {"leaky": leaker(tmp_path / "life")},
            "alerts": hook(receiver),
            "state": {"path": str(disk / "state.db")},
        }
        with Daemon(tmp_path, config) as daemon:
            until(lambda: restarts(daemon) >= 1)
            ballast = disk / "ballast"
            fill(ballast)
            daemon.wait_for("StoreFailed", limit_s=40.0)
            before = restarts(daemon)
            until(lambda: restarts(daemon) >= before + 2)
            ballast.unlink()
            daemon.wait_for("StoreRecovered", limit_s=30.0)
            until(lambda: "StoreRecovered" in told(receiver))


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MiB."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> None:
    """Take all the room that there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def test_a_webhook_that_answers_500_is_served_later(tmp_path: Path) -> None:
    """Nothing is lost: what could not be delivered arrives once the receiver works again."""
    with Receiver(lambda _path: 500) as receiver:
        config = {
            "services": {"leaky": leaker(tmp_path / "life")},
            "alerts": {**hook(receiver), "routes": [{"severity": "info", "to": ["hook"]}]},
        }
        with Daemon(tmp_path, config):
            first = until(lambda: receiver.received)[0]
            receiver.answer = lambda _path: 200
            until(lambda: first.id in {r.id for r in receiver.accepted("/hook")})


def test_a_restart_command_that_hangs_is_reported_once(tmp_path: Path) -> None:
    """At its deadline it is given up; the breaker then only watches."""
    leak = [sys.executable, str(WORKLOADS / "leak.py"), "--rate", "50MiB", "--to", "60MiB"]
    process = subprocess.Popen([*leak, "--pidfile", str(tmp_path / "pid")], stdout=subprocess.PIPE)
    service = {
        "target": {"pidfile": str(tmp_path / "pid")},
        "mode": "act",
        "measure": "rss",
        "restart": {
            "driver": {"command": {"argv": ["/bin/sleep", "60"], "timeout": "1s"}},
            "threshold": {"above": "30MiB"},
            "deadline": "2s",
            "max_restarts": {"count": 1, "per": "1h"},
        },
    }
    try:
        with Receiver() as receiver:
            config = {"services": {"leaky": service}, "alerts": hook(receiver)}
            with Daemon(tmp_path, config) as daemon:
                failed = daemon.wait_for("RestartFailed", "leaky")
                assert "did not end within 1s" in failed["message"]
                daemon.wait_for("RestartLimitHit", "leaky")
                until(lambda: "RestartLimitHit" in told(receiver))
                assert told(receiver).count("RestartFailed") == 1
                assert len(daemon.events("RestartDecided", "leaky")) == 1
    finally:
        kill(process.pid)
        process.communicate()


def test_a_target_that_goes_and_comes_back(tmp_path: Path) -> None:
    """It is missing once and has returned once; others are guarded all the while."""
    pidfile = tmp_path / "pid"
    first, second = (subprocess.Popen(SLEEPER) for _ in range(2))
    try:
        pidfile.write_text(f"{first.pid}\n")
        services = {
            "comes": {"target": {"pidfile": str(pidfile)}, "sample_every": "200ms"},
            "leaky": leaker(tmp_path / "life"),
        }
        with Daemon(tmp_path, {"services": services}) as daemon:
            daemon.ready()
            kill(first.pid)
            first.wait()
            daemon.wait_for("ServiceMissing", "comes")
            before = restarts(daemon)
            until(lambda: restarts(daemon) > before)
            pidfile.write_text(f"{second.pid}\n")
            assert daemon.wait_for("ServiceReturned", "comes")["pid"] == second.pid
            assert len(daemon.events("ServiceMissing", "comes")) == 1
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


class Health(BaseHTTPRequestHandler):
    """Answers with what the server holds."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(getattr(self.server, "status", 200))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_health_gate_decides_what_a_restart_was(tmp_path: Path) -> None:
    """A service that is back but not well has failed to restart; once it answers, it succeeds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    server.status = 503  # type: ignore[attr-defined]  # read by the handler
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    gate = {"http": f"http://127.0.0.1:{server.server_port}/", "within": "1s", "every": "100ms"}
    try:
        service = leaker(tmp_path / "life", health=gate)
        with Daemon(tmp_path, {"services": {"leaky": service}}) as daemon:
            failed = daemon.wait_for("RestartFailed", "leaky")
            assert "answered 503" in failed["message"]
            server.status = 200  # type: ignore[attr-defined]  # as above
            daemon.wait_for("RestartSucceeded", "leaky", limit_s=20.0)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
