"""The last seconds of a guard: people are answered, alerts go out, no reader holds it."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.alerts import AlertRules, Route
from leakguard.core.plan import ChannelPlan, HttpPlan, Plan, PluginSpec, ServicePlan, StatePlan
from leakguard.core.policy import Mode, Policy, Respawn, RestartRules, ServiceRules
from leakguard.core.severity import Severity
from leakguard.runtime.handover import MODULE, Launch, Options, memory_file
from tests.workloads.guarded import Daemon, Receiver, json_lines, seconds, started_at, until

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
SMALL_PIPE = 4096
LIMIT_S = 30.0


def child(argv: list[str], **restart: Any) -> dict[str, Any]:
    """Give a guarded child."""
    return {
        "target": {"child": {"argv": argv}},
        "mode": "act",
        "measure": "rss",
        "restart": restart,
    }


def ask(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask a daemon over its socket."""
    socket = str(daemon.folder / "control.sock")
    argv = [sys.executable, "-m", "leakguard", *words, "--socket", socket]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def test_a_request_while_the_guard_ends_is_answered(tmp_path: Path) -> None:
    """At once, and with the reason: the guard may wait long for a restart that is under way."""
    script = "trap 'echo t >> term' TERM; while :; do sleep 0.05; done"
    stop = {"child": {"stop": [{"signal": "TERM", "wait": "20s"}, {"signal": "KILL"}]}}
    service = child(["/bin/sh", "-c", script], driver=stop)
    service["target"]["child"]["cwd"] = str(tmp_path)
    with Daemon(tmp_path, {"services": {"stubborn": service}}) as daemon:
        daemon.wait_for("ServiceStarted")
        assert ask(daemon, "restart", "stubborn", "--no-wait").returncode == 0
        until((tmp_path / "term").exists, what="the restart has begun")
        os.kill(daemon.pid, signal.SIGTERM)
        answers = until(lambda: refused(daemon), what="it answers that it ends")
        assert answers == "leakguard: the guard is ending: nothing was done\n"
        assert daemon.stop(limit_s=LIMIT_S) == 0


def refused(daemon: Daemon) -> str:
    """Ask for a pause; gives the refusal, and nothing while it is still granted."""
    answer = ask(daemon, "pause", "stubborn")
    return answer.stderr if answer.returncode else ""


def test_a_child_that_a_reload_removes_is_ended(tmp_path: Path) -> None:
    """By its own stop sequence, and the event names it; nobody else would ever end it."""
    script = f"trap 'echo bye > {tmp_path}/bye; exit 0' TERM; while :; do sleep 0.05; done"
    stays = child(["sleep", "99"])
    config = {"services": {"goes": child(["/bin/sh", "-c", script]), "stays": stays}}
    with Daemon(tmp_path, config) as daemon:
        started = [daemon.wait_for("ServiceStarted", name) for name in ("goes", "stays")]
        assert len(started) == 2
        pid = until(lambda: pid_of(daemon, "goes"))
        daemon.write_config({"services": {"stays": stays}})
        os.kill(daemon.pid, signal.SIGHUP)
        reloaded = daemon.wait_for("ConfigReloaded")["message"]
        assert reloaded.endswith(f"; ends what is no longer in it: goes (pid {pid})"), reloaded
        until(lambda: started_at(pid) is None)
        assert (tmp_path / "bye").read_text() == "bye\n"
        assert until(lambda: pid_of(daemon, "stays")) > 0


def pid_of(daemon: Daemon, service: str) -> int:
    """Give the process of a service as the daemon sees it; 0 while it sees none."""
    asked = ask(daemon, "status", "--json")
    services = json.loads(asked.stdout)["services"] if asked.returncode == 0 else []
    return next((int(s.get("pid") or 0) for s in services if s["name"] == service), 0)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_stops_reading_does_not_stop_the_guard(tmp_path: Path, stream: str) -> None:
    """As `leakguard run | less`: restarts go on, and TERM ends it in time."""
    life = tmp_path / "life"
    argv = [sys.executable, "-S", "-E", str(WORKLOADS / "logged.py"), str(life)]
    limits = {"threshold": {"above": "30MiB"}, "max_restarts": {"count": 1000, "per": "1h"}}
    daemon = Daemon(tmp_path, {})
    daemon.write_config({"services": {"leaky": child(argv, **limits, grace="1s")}})
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
    with (tmp_path / "other").open("wb") as other:
        daemon.process = subprocess.Popen(
            [sys.executable, "-m", "leakguard", "run", "-c", str(daemon.config_file), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=writer if stream == "stdout" else other,
            stderr=writer if stream == "stderr" else other,
        )
    os.close(writer)
    try:
        until(lambda: life.exists() and life.read_text("ascii").count("start ") > 12, LIMIT_S)
        began = seconds()
        assert daemon.stop(limit_s=LIMIT_S) == 0
        assert seconds() - began < 5.0
    finally:
        daemon.stop(limit_s=LIMIT_S)
        os.close(reader)


# ---- the last alerts of a guard that keeps no state


def run_alone(script: str, url: str) -> tuple[subprocess.Popen[str], int]:
    """Start a guard of one command without a state file, as `exec` does, with one channel."""
    rules = ServiceRules(
        name="alone",
        mode=Mode.ACT,
        policy=Policy(forecast=None),
        restart=RestartRules(driver="child", starts=True, respawn=Respawn.NEVER),
    )
    target = PluginSpec(key="child", options={"argv": ["/bin/sh", "-c", script]})
    plan = Plan(
        host="h",
        services=(ServicePlan(rules=rules, target=target, driver=PluginSpec(key="child")),),
        channels=(
            ChannelPlan(name="hook", notifier=PluginSpec(key="webhook", options={"url": url})),
        ),
        alerts=AlertRules(
            host="h", channels=("hook",), routes=(Route(severity=Severity.INFO, to=("hook",)),)
        ),
        http=HttpPlan(listen=""),
        state=StatePlan(path=""),
    )
    options = Options(events_to="stderr", log_level="off", alone="alone")
    fd = memory_file(Launch(plan=plan, options=options))
    argv = [sys.executable, "-m", MODULE, str(fd)]
    process = subprocess.Popen(argv, pass_fds=(fd,), stderr=subprocess.PIPE, text=True)
    return process, fd


def ended(process: subprocess.Popen[str], fd: int) -> tuple[int, list[dict[str, Any]]]:
    """Wait for the end; gives the code and the events."""
    try:
        _, said = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        os.close(fd)
    return process.returncode, json_lines(said)


def hold(gate: threading.Event) -> Callable[[str], int]:
    """Answer only when the gate is open."""

    def answer(_path: str) -> int:
        gate.wait(LIMIT_S)
        return 200

    return answer


def test_the_last_alert_reaches_a_slow_channel() -> None:
    """It came while the channel was busy with the first one; the guard waits a moment for both."""
    with Receiver(hold(gate := threading.Event())) as receiver:
        process, fd = run_alone("sleep 0.3; exit 3", f"{receiver.url}/hook")
        until(lambda: receiver.begun)
        threading.Timer(0.5, gate.set).start()
        code, events = ended(process, fd)
        told = [r.body["type"] for r in receiver.accepted("/hook")]
    assert (code, events[-1]["event"]) == (3, "DaemonStopped")
    assert told[-1] == "leakguard.DaemonStopped.v1"


def test_what_could_not_be_delivered_is_said() -> None:
    """The end does not wait for ever, and nothing is lost in silence."""
    with Receiver(hold(gate := threading.Event())) as receiver:
        process, fd = run_alone("exit 3", f"{receiver.url}/hook")
        code, events = ended(process, fd)
        gate.set()
    last = events[-1]
    assert (code, last["event"], last["channel"]) == (3, "DeliveryFailed", "hook")
    assert last["message"].endswith("could not be delivered before the end, and never will be")
