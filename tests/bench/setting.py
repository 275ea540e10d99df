"""The daemon that is measured: its configuration, and questions over its control socket."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.workloads.guarded import Daemon


def config(folder: Path, pids: Iterable[int], receiver: str) -> dict[str, Any]:
    """Guard each process by its pidfile: forecasts, signals, Slack, a webhook, web and metrics."""
    services = {}
    for number, pid in enumerate(pids):
        file = folder / f"{number}.pid"
        file.write_text(f"{pid}\n", "ascii")
        driver = {"signal": {"respawned_by": "the bench"}}
        services[f"service{number}"] = {
            "target": {"pidfile": str(file)},
            "restart": {"driver": driver, "threshold": {"above": "2GiB"}},
        }
    channels = {
        "ops": {"slack": {"webhook_url": f"{receiver}/slack"}},
        "hook": {"webhook": {"url": f"{receiver}/hook"}},
    }
    routes = [{"severity": "info", "to": list(channels)}]
    return {
        "services": services,
        "alerts": {"channels": channels, "routes": routes},
        "http": {"listen": "127.0.0.1:0"},
    }


def daemon(folder: Path, pids: Iterable[int], receiver: str) -> Daemon:
    """Give a daemon that is not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return Daemon(folder, config(folder, pids, receiver), extra=("--log-level", "warning"))


def plan_fd(made: Daemon) -> int:
    """Compile the configuration of a daemon into a memory file, as `run` does before its exec."""
    made.write_config(made.config)
    fd = os.memfd_create("bench-plan")
    command = [sys.executable, "-m", "leakguard", "run", "-c", str(made.config_file)]
    subprocess.run([*command, "--compile-to", str(fd)], pass_fds=(fd,), check=True)
    return fd


def ask(socket_path: Path, path: str) -> tuple[int, bytes]:
    """Ask the daemon; raises OSError when it does not answer."""
    connection = http.client.HTTPConnection("localhost", timeout=5.0)
    with contextlib.closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(socket_path))
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def sampled(socket_path: Path) -> int:
    """Count the services that were sampled; 0 while nobody answers."""
    try:
        status, body = ask(socket_path, "/api/v1/status")
    except OSError:
        return 0
    services = json.loads(body)["services"] if status == http.client.OK else []
    return sum(service["value_bytes"] is not None for service in services)
