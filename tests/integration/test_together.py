"""Real services that belong together: groups over two drivers, dependents, kill -9 between."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.guarded import Daemon, kill, started_at, until

RESPAWN = Path(__file__).resolve().parent.parent / "workloads" / "respawn.py"
LIMIT_S = 60.0
SLOW_S = 0.4
SHOP = ("db", "cache", "web")
EACH = 3
"""So many restarts of each member are allowed."""


def script(folder: Path, name: str, slow_s: float = SLOW_S) -> list[str]:
    """Give a service that says in a common book when it comes and goes, and ends slowly."""
    book = f"{folder}/book"
    text = (
        f"echo $$ > {folder}/{name}.pid; echo up {name} $(date +%s.%N) >> {book}; "
        f"trap 'echo down {name} $(date +%s.%N) >> {book}; sleep {slow_s}; exit 0' TERM; "
        "while :; do sleep 0.05; done"
    )
    return ["/bin/sh", "-c", text]


def book(folder: Path) -> list[tuple[str, str, float]]:
    """Give what services said: up or down, who, when."""
    path = folder / "book"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, who, float(when)) for what, who, when in (line.split() for line in lines)]


def downs(folder: Path, name: str) -> list[tuple[float, float]]:
    """Give from when to when a service was down."""
    found: list[tuple[float, float]] = []
    since: float | None = None
    for what, who, when in book(folder):
        if who == name and what == "down":
            since = when
        elif who == name and since is not None:
            found.append((since, when))
            since = None
    return found


def runs(folder: Path, name: str) -> bool:
    """Tell whether a service runs now."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return False
    return started_at(pid) is not None


def child(folder: Path, name: str, slow_s: float = SLOW_S, **restart: Any) -> dict[str, Any]:
    """Guard one of these as a child."""
    return {
        "target": {"child": {"argv": script(folder, name, slow_s)}},
        "mode": "act",
        "measure": "rss",
        "sample_every": "200ms",
        "restart": {"forecast": False, "grace": "0s", **restart},
    }


@contextmanager
def respawned(folder: Path, name: str) -> Iterator[None]:
    """Have a service run under somebody who starts it again."""
    argv = [sys.executable, str(RESPAWN), "0.2", *script(folder, name)]
    manager = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        until(lambda: runs(folder, name), what=f"{name} runs")
        yield
    finally:
        manager.terminate()
        manager.wait(20.0)


def ask(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask a daemon over its socket."""
    socket = str(daemon.folder / "control.sock")
    argv = [sys.executable, "-m", "leakguard", *words, "--socket", socket]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S)


@pytest.mark.parametrize("group", [{"max_parallel": 1}, {"max_parallel": 2, "min_healthy": 1}])
def test_a_signal_and_a_child_in_one_group_are_never_down_together(
    tmp_path: Path, group: dict[str, int]
) -> None:
    """Both are too old again and again, and go in turn until the breaker holds them."""
    loop: dict[str, Any] = {
        "max_age": "700ms",
        "max_restarts": {"count": EACH, "per": "1h"},
        "group": "pair",
        "deadline": "20s",
    }
    foreign = {
        "target": {"pidfile": str(tmp_path / "a.pid")},
        "mode": "act",
        "measure": "rss",
        "sample_every": "200ms",
        "restart": {
            "forecast": False,
            "grace": "0s",
            "driver": {"signal": {"respawned_by": "the test"}},
            **loop,
        },
    }
    config = {
        "groups": {"pair": group},
        "services": {"a": foreign, "b": child(tmp_path, "b", **loop)},
    }
    with respawned(tmp_path, "a"), Daemon(tmp_path, config) as daemon:
        for name in ("a", "b"):
            daemon.wait_for("RestartLimitHit", name, limit_s=LIMIT_S)
        until(lambda: runs(tmp_path, "a") and runs(tmp_path, "b"), what="both run")
        down_a, down_b = downs(tmp_path, "a"), downs(tmp_path, "b")
        held = [e["message"] for e in daemon.events("RestartVetoed") if e["guard"] == "group"]
    assert (len(down_a), len(down_b) >= EACH - 1) == (EACH, True)
    both = [(a, b) for a in down_a for b in down_b if a[0] < b[1] and b[0] < a[1]]
    assert both == []
    assert held, "nobody ever waited"


def shop(folder: Path) -> dict[str, Any]:
    """Give db (a child), cache (by commands) on it, and web (a child) on both."""
    cache = folder / "cache.sh"
    text = shlex.join(script(folder, "cache"))
    cache.write_text(
        "#!/bin/sh\n"
        f"pid=$(cat {folder}/cache.pid 2>/dev/null)\n"
        'alive() { [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; }\n'
        "stop() { alive && kill -TERM $pid; while alive; do sleep 0.05; done; return 0; }\n"
        f"start() {{ alive || setsid {text} </dev/null >/dev/null 2>&1 & sleep 0.2; }}\n"
        'case "$1" in stop) stop;; start) start;; *) stop; pid=; start;; esac\n'
    )
    cache.chmod(0o755)
    commands = {"argv": [str(cache)], "stop": [str(cache), "stop"], "start": [str(cache), "start"]}
    return {
        "services": {
            "db": child(folder, "db", slow_s=1.5, deadline="6s"),
            "cache": {
                "target": {"pidfile": str(folder / "cache.pid")},
                "mode": "act",
                "measure": "rss",
                "sample_every": "200ms",
                "restart": {
                    "forecast": False, "driver": {"command": commands}, "depends_on": "db",
                    "deadline": "6s",
                },
            },
            "web": child(folder, "web", depends_on=["db", "cache"], deadline="6s"),
        }
    }  # fmt: skip


@contextmanager
def open_shop(folder: Path) -> Iterator[Daemon]:
    """Run the shop, and end all of it."""
    config = shop(folder)
    subprocess.run([str(folder / "cache.sh"), "start"], check=True, timeout=LIMIT_S)
    try:
        with Daemon(folder, config) as daemon:
            until(lambda: len(book(folder)) == len(SHOP), limit_s=LIMIT_S, what="all run")
            daemon.wait_for("ServiceStarted", "web")
            yield daemon
    finally:
        until(lambda: runs(folder, "cache"), what="cache was left running")
        kill(int((folder / "cache.pid").read_text()))


def all_run(folder: Path) -> bool:
    """Tell whether all of the shop runs."""
    return all(runs(folder, name) for name in SHOP)


def comings(folder: Path, since: int = 0) -> list[str]:
    """Give who came and went, in order."""
    return [f"{what} {who}" for what, who, _ in book(folder)[since:]]


def test_dependents_go_down_and_up_in_order(tmp_path: Path) -> None:
    """Real processes: web and cache are down before db is, and up after it."""
    with open_shop(tmp_path) as daemon:
        before = len(book(tmp_path))
        answer = ask(daemon, "restart", "db")
        assert answer.returncode == 0, answer.stderr
        daemon.wait_for("ServiceStarted", "web", count=2, limit_s=LIMIT_S)
        order = ["down web", "down cache", "down db", "up db", "up cache", "up web"]
        until(lambda: len(comings(tmp_path, before)) >= len(order), what="web has noted its start")
        assert comings(tmp_path, before) == order
        kinds = {event["event"] for event in daemon.events()}
        assert kinds.isdisjoint({"ServiceDied", "ServiceMissing", "RestartFailed"})
        stopped = [(e["service"], e["dependency"]) for e in daemon.events("ServiceStopped")]
        assert stopped == [("web", "db"), ("cache", "db")]


@pytest.mark.parametrize("moment", ["down web", "down cache", "down db", "up db"])
def test_kill_9_in_the_middle_leaves_nobody_down(tmp_path: Path, moment: str) -> None:
    """leakguard is killed as one of them goes or comes; the next one brings all of them back."""
    with open_shop(tmp_path) as daemon:
        before = len(book(tmp_path))
        assert ask(daemon, "restart", "db", "--no-wait").returncode == 0
        until(lambda: moment in comings(tmp_path, before), limit_s=LIMIT_S, what=moment)
        os.kill(daemon.pid, signal.SIGKILL)
        assert daemon.process is not None
        daemon.process.wait(LIMIT_S)
        daemon.start().ready()
        until(
            lambda: comings(tmp_path, before).count("up web") == 1 and all_run(tmp_path),
            limit_s=LIMIT_S,
            what=f"all run again: {comings(tmp_path, before)}",
        )
        until(lambda: settled(daemon), limit_s=LIMIT_S, what="nothing is in flight")
        came = comings(tmp_path, before)
        assert [came.count(f"down {name}") for name in ("db", "cache", "web")] == [1, 1, 1], came
        assert came.index("up db") < came.index("up cache") < came.index("up web")
        assert daemon.events("ServiceDied") == []


def settled(daemon: Daemon) -> bool:
    """Tell whether no restart is in flight any more."""
    answer = ask(daemon, "status", "--json")
    if answer.returncode:
        return False
    return not any(service["in_flight"] for service in json.loads(answer.stdout)["services"])


def test_an_end_of_leakguard_starts_what_is_held_down(tmp_path: Path) -> None:
    """Nobody would start the one that others look after; its own children end with it."""
    with open_shop(tmp_path) as daemon:
        before = len(book(tmp_path))
        assert ask(daemon, "restart", "db", "--no-wait").returncode == 0
        until(lambda: "down db" in comings(tmp_path, before), limit_s=LIMIT_S)
        assert daemon.stop() == 0
        until(lambda: runs(tmp_path, "cache"), what="cache runs")
        assert [runs(tmp_path, name) for name in ("db", "web")] == [False, False]
        daemon.start().ready()
        until(lambda: all_run(tmp_path), limit_s=LIMIT_S, what="all run again")


def test_a_reload_does_not_forget_what_is_held_down(tmp_path: Path) -> None:
    """It is refused, and people are told when to try again."""
    with open_shop(tmp_path) as daemon:
        before = len(book(tmp_path))
        assert ask(daemon, "restart", "db", "--no-wait").returncode == 0
        until(lambda: "down db" in comings(tmp_path, before), limit_s=LIMIT_S)
        less = shop(tmp_path)
        del less["services"]["cache"]
        less["services"]["web"]["restart"]["depends_on"] = ["db"]
        daemon.write_config(less)
        os.kill(daemon.pid, signal.SIGHUP)
        rejected = daemon.wait_for("ConfigRejected", limit_s=LIMIT_S)["message"]
        assert "cache" in rejected
        assert "stopped just now" in rejected
        until(lambda: all_run(tmp_path), limit_s=LIMIT_S, what="all run again")
