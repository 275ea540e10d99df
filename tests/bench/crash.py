"""Kill the daemon with SIGKILL at random moments of restarts and deliveries, again and again.

    python -m tests.bench.crash [--kills 200] [--seed 1] [--json]

Two leaking services (a child, and one that others start again after a signal) cross their
thresholds all the time, while a receiver refuses or delays some of the alerts. Each service logs
its own life, so that what happened does not depend on what leakguard believes. Exit code 1 when a
rule is broken:

- no incarnation is told to end more often than it was decided, no decision starts two, and never
  do two run at once;
- every alert in the state file arrived;
- at most one duplicate for each channel and crash, with the same id.
"""

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.workloads.guarded import Daemon, Receiver, kill, started_at, until

FOLDER = Path(__file__).resolve().parent.parent / "workloads"
SERVICES = ("child", "manned")
CHANNELS = {"hook": "/hook", "chat": "/services/T0/B0/x"}
REFUSED = 0.1
SLOW = 0.2
SLOWEST_S = 0.4

IN_FLIGHT_S = 0.2
"""A request may be noted this long after the daemon that sent it was killed; the next daemon needs
longer than that to start."""


@dataclass(slots=True)
class Result:
    """What was counted."""

    kills: int = 0
    seconds: float = 0.0
    decided: dict[str, int] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    terms: dict[str, int] = field(default_factory=dict)
    double_acts: int = 0
    """TERMs beyond the decisions about one service, or starts beyond those of a child."""
    two_at_once: int = 0
    alerts: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    duplicates: dict[str, int] = field(default_factory=dict)
    most_duplicates_of_a_crash: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    killed_in: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no rule was broken."""
        most = max(self.most_duplicates_of_a_crash.values(), default=0)
        return not (self.double_acts or self.two_at_once or self.lost) and most <= 1


class Crashes:
    """One experiment in one folder."""

    def __init__(self, folder: Path, receiver: Receiver, *, seed: int) -> None:
        """Prepare; nothing runs yet."""
        self.folder, self.receiver = folder, receiver
        self.random = random.Random(seed)
        self.daemon = Daemon(folder, config(folder, receiver.url), extra=("--log-level", "warning"))
        self.result = Result()
        self.crashed_at: list[float] = []

    def run(self, kills: int) -> Result:
        """Do it; everything is ended in any case."""
        began = time.monotonic()
        manager = self._manager()
        try:
            for _ in range(kills):
                self._once()
            self.daemon.start()
            self._drain()
            self.daemon.stop()
        finally:
            manager.terminate()
            manager.wait()
            self._sweep()
        self._judge()
        self.result.seconds = round(time.monotonic() - began, 1)
        return self.result

    def _manager(self) -> subprocess.Popen[bytes]:
        command = [*script("respawn.py"), "0.05", *script("logged.py")]
        return subprocess.Popen(
            [*command, str(self.folder / "manned"), str(self.folder / "manned.pid")]
        )

    def _once(self) -> None:
        """Start, wait for a moment that matters, light a fuse, kill."""
        seen = self._seen()
        self.daemon.start()
        kind, happened, longest_s = self.random.choice(
            (
                ("delivery", lambda: self.receiver.begun > seen["begun"], 0.5),
                ("stop", lambda: self._count("child", "term") > seen["child term"], 0.6),
                ("stop", lambda: self._count("manned", "term") > seen["manned term"], 0.6),
                ("start", lambda: self._count("child", "end") > seen["child end"], 0.1),
                ("start", lambda: self._count("manned", "end") > seen["manned end"], 0.2),
                ("anything", lambda: True, 3.0),
            )
        )
        self._soon(happened)
        threading.Event().wait(self.random.random() ** 2 * longest_s)
        kill(self.daemon.pid)
        assert self.daemon.process is not None
        self.daemon.process.wait()
        self.crashed_at.append(time.monotonic())
        self.result.kills += 1
        self.result.killed_in[kind] = self.result.killed_in.get(kind, 0) + 1

    def _soon(self, happened: Callable[[], bool]) -> None:
        try:
            until(happened, limit_s=5.0)
        except AssertionError:
            return  # it waits for a deadline or a back-off: any moment is good to be killed

    def _seen(self) -> dict[str, int]:
        said = {f"{s} {word}": self._count(s, word) for s in SERVICES for word in ("term", "end")}
        return {**said, "begun": self.receiver.begun}

    def _count(self, service: str, word: str) -> int:
        path = self.folder / service
        return path.read_text("ascii").count(f"{word} ") if path.exists() else 0

    def _drain(self) -> None:
        """Stop the noise, then let everything out that waits."""
        self.receiver.answer = lambda _path: 200
        self.daemon.ready()
        for service in SERVICES:
            command = [sys.executable, "-m", "leakguard", "pause", service]
            socket = str(self.folder / "control.sock")
            subprocess.run([*command, "--socket", socket], check=True, stdout=subprocess.DEVNULL)
        until(lambda: self._pending() == 0, limit_s=600.0, what="everything is delivered")

    def _pending(self) -> int:
        with closing(sqlite3.connect(self.daemon.state_file)) as state:
            found = state.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'")
            return int(found.fetchone()[0])

    def _sweep(self) -> None:
        """End what the daemon left behind."""
        for service in SERVICES:
            for line in (self.folder / service).read_text("ascii").splitlines():
                _, pid, started = line.split()
                if started_at(int(pid)) == int(started):
                    kill(int(pid), int(started))

    def _judge(self) -> None:
        with closing(sqlite3.connect(self.daemon.state_file)) as state:
            self._judge_restarts(state)
            self._judge_alerts(state)

    def _judge_restarts(self, state: sqlite3.Connection) -> None:
        result = self.result
        rows = state.execute(
            "SELECT service, count(*) FROM events WHERE kind = 'RestartDecided' GROUP BY service"
        )
        result.decided = {str(service): int(n) for service, n in rows}
        for service in SERVICES:
            lines = [line.split() for line in (self.folder / service).read_text().splitlines()]
            result.starts[service] = sum(word == "start" for word, *_ in lines)
            result.terms[service] = sum(word == "term" for word, *_ in lines)
            result.two_at_once += sum(word == "double" for word, *_ in lines)
            decided = result.decided.get(service, 0)
            # The last stop of all, when the daemon ends, is no restart.
            result.double_acts += max(0, result.terms[service] - decided - (service == "child"))
        result.double_acts += max(0, result.starts["child"] - result.decided.get("child", 0))

    def _judge_alerts(self, state: sqlite3.Connection) -> None:
        result = self.result
        wanted = state.execute("SELECT alert_id, channel FROM deliveries").fetchall()
        for channel, path in CHANNELS.items():
            accepted = self.receiver.accepted(path)
            times = Counter(r.id for r in accepted)
            due = {str(alert) for alert, to in wanted if to == channel}
            result.alerts[channel] = len(due)
            result.lost += sorted(f"{channel}/{alert}" for alert in due - set(times))
            result.lost += sorted(f"{channel}/{alert} unknown" for alert in set(times) - due)
            result.duplicates[channel] = sum(n - 1 for n in times.values())
            crashes: Counter[int] = Counter()
            last: dict[str, int] = {}
            for r in sorted(accepted, key=lambda r: r.at):
                if (
                    r.id in last
                ):  # the crash after the first time is the one that made it come again
                    crashes[last[r.id]] += 1
                last[r.id] = sum(at < r.at - IN_FLIGHT_S for at in self.crashed_at)
            result.most_duplicates_of_a_crash[channel] = max(crashes.values(), default=0)
        result.refused = sum(r.answer != 200 for r in self.receiver.received)


def script(name: str) -> list[str]:
    """Give the command of a workload."""
    return [sys.executable, "-S", "-E", str(FOLDER / name)]


def config(folder: Path, url: str) -> dict[str, Any]:
    """Give a configuration in which something happens all the time."""
    often: dict[str, Any] = {
        "threshold": {"above": "30MiB"},
        "forecast": False,
        # Back-off grows with the restarts within `per`; a daemon of short life never waits so long.
        "max_restarts": {"count": 1000, "per": "10s"},
        "deadline": "3s",
    }
    stop = [{"signal": "TERM", "wait": "2s"}, {"signal": "KILL"}]
    return {
        "defaults": {"mode": "act", "measure": "rss"},
        "services": {
            "child": {
                "target": {"child": {"argv": [*script("logged.py"), str(folder / "child")]}},
                "restart": {
                    **often,
                    "driver": {"child": {"stop": stop}},
                    "health": {"command": ["/bin/true"], "within": "5s"},
                },
            },
            "manned": {
                "target": {"pidfile": str(folder / "manned.pid")},
                "restart": {
                    **often,
                    "driver": {"signal": {"stop": stop, "respawned_by": "the test"}},
                },
            },
        },
        "alerts": {
            "channels": {
                "hook": {"webhook": {"url": url + CHANNELS["hook"]}},
                "chat": {"slack": {"webhook_url": url + CHANNELS["chat"]}},
            },
            "routes": [
                {"severity": "info", "to": ["hook"]},
                {"severity": "warning", "to": ["chat"]},
            ],
        },
    }


def moody(seed: int) -> Callable[[str], int]:
    """Give an answer that is sometimes an error and sometimes late."""
    mood = random.Random(seed)

    def answer(_path: str) -> int:
        if mood.random() < SLOW:
            threading.Event().wait(mood.uniform(0.0, SLOWEST_S))
        return 500 if mood.random() < REFUSED else 200

    return answer


def experiment(kills: int, seed: int) -> Result:
    """Run the whole experiment in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as name, Receiver(moody(seed)) as receiver:
        return Crashes(Path(name), receiver, seed=seed).run(kills)


def main() -> int:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the document alone")
    options = parser.parse_args()
    result = experiment(options.kills, options.seed)
    print(json.dumps({**asdict(result), "ok": result.ok}))
    if not options.json:
        for name, value in asdict(result).items():
            print(f"{name:28} {value}")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
