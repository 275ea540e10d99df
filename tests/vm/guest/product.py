"""Leakguard at work on cgroup v2 under systemd: the demo, `exec --cgroup`, and `run`."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.vm.guest import kernel
from tests.vm.guest.lab import Lab

LEAKGUARD = (sys.executable, "-m", "leakguard")
LEAK = (sys.executable, "/lab/tests/workloads/leak.py")
USER, UID = "lab", 1000
COMMAND_S = 60.0
DEMO_S = 150.0
EXEC_S = 90.0
WATCH_S = 60.0
POLL_S = 0.5
SAID_CHARACTERS = 8000
# Not below the lab: its unit hands adj -1000 down, and a demo that cannot be killed shows nothing.
IN_A_SERVICE = (
    *("systemd-run", "--quiet", "--wait", "--pipe", "--collect"),
    *("-p", "OOMPolicy=continue"),
)


def play_all(lab: Lab) -> None:
    """Play each and report it."""
    for scenario in (demo_as_root, demo_as_user, exec_in_cgroup, run_beside_a_unit):
        before = kernel.kernel_kills()
        lab.log.lines()
        began = time.monotonic()
        fields = scenario()
        lab.channel.send(
            "product",
            case=scenario.__name__,
            kernel_kills=kernel.kernel_kills() - before,
            lasted_s=round(time.monotonic() - began, 1),
            log=lab.log.lines(),
            **fields,
        )


def demo_as_root() -> dict[str, Any]:
    """Root makes the cgroups beside the demo's own service."""
    return _demo([*IN_A_SERVICE, *LEAKGUARD, "demo", "--json"])


def demo_as_user() -> dict[str, Any]:
    """A user owns no cgroup, until the user's systemd gives a scope."""
    manager = f"user@{UID}.service"
    subprocess.run(["systemctl", "start", manager], check=True, timeout=COMMAND_S)
    runtime = f"XDG_RUNTIME_DIR=/run/user/{UID}"
    argv = [*IN_A_SERVICE, "--uid", USER, f"--setenv={runtime}", *LEAKGUARD, "demo", "--json"]
    try:
        return _demo(argv)
    finally:
        subprocess.run(["systemctl", "stop", manager], check=True, timeout=COMMAND_S)


def _demo(argv: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=DEMO_S)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = None
    left = [str(path) for path in Path("/sys/fs/cgroup").rglob("leakguard-demo-*")]
    said = done.stderr[-SAID_CHARACTERS:]
    return {"code": done.returncode, "document": document, "said": said, "left": left}


def exec_in_cgroup() -> dict[str, Any]:
    """A leak of 4 MiB/s in a real cgroup of 96 MiB is restarted twice, and never killed."""
    options = ["--limit", "96MiB", "--cgroup", "--grace", "1s", "--json", "--name", "leaky"]
    command = [*LEAK, "--rate", "4MiB", "--to", "400MiB"]
    argv = [*IN_A_SERVICE, "--unit=lab-exec", *LEAKGUARD, "exec", *options, "--", *command]
    events: list[dict[str, Any]] = []
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as client:
        assert client.stderr is not None
        for line in _lines(client.stderr.fileno(), EXEC_S):
            events.append(_parsed(line))
            if sum(event.get("event") == "RestartSucceeded" for event in events) == 2:
                break
        limits = _limits("leakguard-leaky-*")
        subprocess.run(["systemctl", "stop", "lab-exec"], check=True, timeout=COMMAND_S)
        events += [_parsed(line) for line in _lines(client.stderr.fileno(), COMMAND_S)]
        client.wait(COMMAND_S)
    return {"events": events, "limits": limits, "left": _limits("leakguard-leaky-*")}


def run_beside_a_unit() -> dict[str, Any]:
    """`run` sees use and limit of a unit with MemoryMax, and the kernel's kill at the end."""
    folder = Path("/run/leakguard")
    folder.mkdir(mode=0o700)
    configuration = {
        "services": {"leaky": {"target": {"cgroup": "/system.slice/leaky.service"}}},
        "http": {"listen": "off"},
        "state": {"path": str(folder / "state.db")},
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps(configuration), "utf-8")  # JSON is YAML as well
    unit = ["--unit=leaky", "-p", "MemoryMax=96M", "-p", "MemorySwapMax=0", "-p", "Restart=no"]
    leak = [*LEAK, "--start", "40MiB", "--delay", "8", "--rate", "8MiB", "--to", "200MiB"]
    start = ["systemd-run", "--quiet", "--collect", *unit, *leak]
    subprocess.run(start, check=True, timeout=COMMAND_S)
    argv = [*LEAKGUARD, "run", "-c", str(config), "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guard:
        kills = kernel.kernel_kills()
        status = _status_with_sample()
        _wait_for_kill(kills, WATCH_S)
        select.select([], [], [], 5.0)  # one more tick sees what happened
        guard.send_signal(signal.SIGTERM)
        out, said = guard.communicate(timeout=COMMAND_S)
    events = [_parsed(line) for line in out.decode().splitlines()]
    talk = said.decode()[-SAID_CHARACTERS:]
    return {"status": status, "events": events, "said": talk, "code": guard.returncode}


def _status_with_sample() -> dict[str, Any] | None:
    """Ask until the service was sampled; give its status."""
    until = time.monotonic() + COMMAND_S
    while time.monotonic() < until:
        done = subprocess.run(
            [*LEAKGUARD, "status", "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        if done.returncode == 0:
            services = json.loads(done.stdout)["services"]
            if services and services[0]["value_bytes"]:
                return dict(services[0])
        select.select([], [], [], POLL_S)
    return None


def _wait_for_kill(kills: int, within_s: float) -> None:
    until = time.monotonic() + within_s
    while kernel.kernel_kills() == kills and time.monotonic() < until:
        select.select([], [], [], POLL_S)


def _lines(fd: int, within_s: float) -> Iterator[str]:
    """Read lines until the end of the pipe or of the time."""
    until, kept = time.monotonic() + within_s, b""
    while (left := until - time.monotonic()) > 0 and select.select([fd], [], [], left)[0]:
        data = os.read(fd, 65536)
        if not data:
            return
        *whole, kept = (kept + data).split(b"\n")
        yield from (line.decode() for line in whole)


def _parsed(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {"text": line}
    return event if isinstance(event, dict) else {"text": line}


def _limits(pattern: str) -> dict[str, str]:
    """Give the limit of every group with such a name."""
    places = Path("/sys/fs/cgroup").rglob(f"{pattern}/memory.max")
    return {str(path.parent): path.read_text("ascii").strip() for path in places}
