"""Act 2: the same service under `leakguard run`, which restarts it before its memory runs out."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from leakguard.cli._demo.patient import Patient
from leakguard.cli._demo.receiver import SLACK_PATH, WEBHOOK_PATH
from leakguard.cli._demo.result import ActResult
from leakguard.cli._demo.stage import THRESHOLD, Act, Stage
from leakguard.core.errors import LeakguardError
from leakguard.core.instant import Clock
from leakguard.core.units import format_bytes
from leakguard.linux.spawn import ChildSpec, Launch

SERVICE = "leaky-web"
LONGEST_S = 50.0
ENOUGH_RESTARTS = 3
AFTER_LAST_S = 3.0
STOP_WITHIN_S = 6.0
LOG_LINES = 20
UNTOLD = {"DaemonStarted", "DaemonStopped", "ServiceStarted", "ThresholdCleared"}
STYLES = {"info": "", "warning": "yellow", "critical": "bold red"}


class GuardError(LeakguardError):
    """`leakguard run` did not do its part."""


def configuration(stage: Stage, patient: Patient, folder: Path) -> dict[str, Any]:
    """Give the configuration of the guard, as a person would write it into a YAML file."""
    child: dict[str, Any] = {"argv": patient.argv()}
    service: dict[str, Any] = {
        "mode": "act",
        "target": {"child": child},
        "restart": {
            "forecast": {"risk": "5%", "lead": "2s"},
            "threshold": {"above": f"{THRESHOLD:.0%}"},
            "grace": "5s",
            "max_restarts": {"count": 20, "per": "1h"},
        },
    }
    if patient.cage.directory is None:
        service["limit"] = f"{patient.cage.limit_bytes}B"
    else:
        child["cgroup"] = str(patient.cage.directory)
    slack, secret = _secret_files(stage, folder)
    return {
        "services": {SERVICE: service},
        "alerts": {
            "channels": {
                "ops": {"slack": {"webhook_url_file": str(slack)}},
                "hook": {
                    "webhook": {
                        "url": stage.receiver_url + WEBHOOK_PATH,
                        "secret_file": str(secret),
                    }
                },
            },
            "routes": [
                {"severity": "warning", "to": ["ops"]},
                {"severity": "info", "to": ["hook"]},
            ],
        },
        "http": {"listen": "off"},
        "state": {"path": str(folder / "state.db")},
    }


def _secret_files(stage: Stage, folder: Path) -> tuple[Path, Path]:
    slack, secret = folder / "slack-url", folder / "hook-secret"
    for path, text in ((slack, stage.receiver_url + SLACK_PATH), (secret, stage.receiver.secret)):
        path.touch(mode=0o600)
        path.write_text(text, "utf-8")
    return slack, secret


@dataclass(slots=True, kw_only=True)
class Guard:
    """A running `leakguard run --json`: its events arrive in a queue, its log is kept in part."""

    clock: Clock
    config: Path
    socket: Path
    events: "queue.SimpleQueue[dict[str, Any]]" = field(default_factory=queue.SimpleQueue)
    log: "deque[str]" = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    _process: subprocess.Popen[bytes] | None = None
    _reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the daemon; it cannot outlive this program."""
        argv = (sys.executable, "-m", "leakguard", "run", "-c", str(self.config), "--json")
        env = {"LEAKGUARD_SOCKET": str(self.socket)}
        read_fd, write_fd = os.pipe()
        try:
            launch = Launch(ChildSpec(argv=argv, env=env, die_with_parent=True), output=write_fd)
        finally:
            os.close(write_fd)
        self._process = launch.popen
        self._reader = threading.Thread(target=self._read, args=(read_fd,), daemon=True)
        self._reader.start()
        launch.confirm(self.clock)

    def check(self) -> None:
        """Raise GuardError when the daemon has ended although nobody asked it to."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            said = "\n".join(self.log) or "(it said nothing)"
            raise GuardError(f"`leakguard run` ended with exit code {code}:\n{said}")

    def stop(self) -> None:
        """Ask the daemon to end, which ends its child too; KILL when that takes too long."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_WITHIN_S)
        if self._reader is not None:
            self._reader.join(STOP_WITHIN_S)

    def _read(self, fd: int) -> None:
        with open(fd, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                event = _event(line)
                if event is None:
                    self.log.append(line.rstrip())
                else:
                    self.events.put(event)


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def play(stage: Stage) -> ActResult:
    """Play the act until enough restarts were seen, or its time is over."""
    with stage.cage("guarded") as cage:
        patient = stage.patient(cage, "guarded")
        folder = stage.folder
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(configuration(stage, patient, folder)), "utf-8")
        guard = Guard(clock=stage.clock, config=config, socket=folder / "leakguard.sock")
        _introduce(stage, patient)
        act = Act.begin(stage, "Act 2, guarded", patient)
        try:
            guard.start()
            act.open_doors(guard.check)
            _watch(act, guard)
            kills, deaths, lasted_s = cage.oom_kills(), _deaths(patient), act.elapsed_s()
            act.load.stop()
        finally:
            act.load.stop()
            guard.stop()
            act.open_post()
            stage.show.clear()
        return ActResult(
            guarded=True,
            oom_kills=kills,
            crashes=deaths - kills,
            restarts=act.restarts,
            respawns=deaths,
            tally=act.tally(),
            limit_bytes=cage.limit_bytes,
            peak_bytes=act.peak_bytes,
            history=tuple(act.history),
            lasted_s=lasted_s,
        )


def _introduce(stage: Stage, patient: Patient) -> None:
    limit = format_bytes(patient.cage.limit_bytes)
    stage.show.title(
        "Act 2 of 2: leakguard watches",
        f"The same service with the same limit of {limit}. `leakguard run` starts it, forecasts "
        f"when its memory runs out, and restarts it at {THRESHOLD:.0%} or when the forecast says "
        "so: it asks the service to stop, lets it finish what it has in hand, and starts it again.",
        "Alerts go to a Slack channel and to a signed webhook, both played by a local receiver.",
    )


def _watch(act: Act, guard: Guard) -> None:
    until_s = LONGEST_S
    while act.elapsed_s() < until_s:
        act.turn()
        guard.check()
        while not guard.events.empty():
            event = guard.events.get()
            _tell(act, event)
            act.restarts += event["event"] == "RestartSucceeded"
        if act.restarts >= ENOUGH_RESTARTS and until_s == LONGEST_S:
            until_s = min(LONGEST_S, act.elapsed_s() + AFTER_LAST_S)


def _tell(act: Act, event: dict[str, Any]) -> None:
    if event["event"] in UNTOLD:
        return
    style = STYLES.get(str(event.get("severity")), "")
    style = "bold green" if event["event"] == "RestartSucceeded" else style
    act.note(f"leakguard {event['event']}: {event.get('message', '')}", style)


def _deaths(patient: Patient) -> int:
    """Count the processes that ended without having been asked to."""
    notes = patient.notes()
    asked = {note["pid"] for note in notes if note["what"] == "stopping"}
    started = [note["pid"] for note in notes if note["what"] == "started"]
    return sum(pid not in asked for pid in started[:-1])
