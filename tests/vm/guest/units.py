"""Leakguard as root over the machine's own systemd: a leak, a pattern, a loop, limits."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from leakguard.core.plan import PluginSpec
from leakguard.drivers.base import DriverContext, MemoryLimits, RestartOrder
from leakguard.drivers.systemd import Options, SystemdDriver
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.clock import SystemClock
from tests.vm.guest import kernel, product, systemctl
from tests.vm.guest.case import MIB
from tests.vm.guest.systemctl import ASK_S, wait_for

WAIT_S = 200.0
LINGER_S = 10.0
LEAKS = "--start 8MiB --rate 2MiB --to 400MiB"
RESTS = "--start 8MiB --to 8MiB --delay 3600"
FULL = "--start 70MiB --to 70MiB --delay 3600"
MORE = {"leaky.service": "OOMScoreAdjust=123", "full.service": "MemoryMax=80M"}
LOUD = frozenset({"RestartLimitHit", "FutilityFound"})
PLACE = Path("/sys/fs/cgroup/system.slice")


class Daemon:
    """A daemon of ours whose events and talk go to files."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._process = process

    def events(self) -> list[dict[str, Any]]:
        """Give what it has told up to now."""
        lines = (self._folder / "events").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def count(self, kind: str, service: str = "") -> int:
        """Count its events of a kind."""
        told = [event for event in self.events() if event["event"] == kind]
        return sum(event.get("service") == service for event in told) if service else len(told)

    def said(self) -> str:
        """Give the end of its log."""
        return (self._folder / "log").read_text("utf-8")[-product.SAID_CHARACTERS :]

    def end(self) -> None:
        """Stop it as systemd would."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(ASK_S)


@contextmanager
def guard(services: Mapping[str, Any]) -> Iterator[Daemon]:
    """Run a daemon over these services, from when it has told that it runs."""
    folder = Path("/run/lab-units")
    folder.mkdir(mode=0o700)
    configuration = {
        "services": services,
        "http": {"listen": "off"},
        "state": {"path": str(folder / "state.db")},
        "socket": str(folder / "control.sock"),
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps(configuration), "utf-8")  # JSON is YAML as well
    argv = [*product.LEAKGUARD, "run", "-c", str(config), "--json"]
    with (
        (folder / "events").open("wb") as events,
        (folder / "log").open("wb") as log,
        subprocess.Popen(argv, stdout=events, stderr=log) as process,
    ):
        daemon = Daemon(folder, process)
        try:
            wait_for(lambda: daemon.count("DaemonStarted") == 1, ASK_S)
            yield daemon
        finally:
            process.kill()


def together() -> dict[str, Any]:
    """A leak and its neighbour, three instances of which one leaks, and one that starts full."""
    instances = {"worker@a.service": LEAKS, "worker@b.service": RESTS, "worker@c.service": RESTS}
    units = {"leaky.service": LEAKS, "near.service": RESTS, "full.service": FULL, **instances}
    full = service("full.service")
    rules = {"threshold": {"above": "80%"}, "max_restarts": {"count": 2, "per": "1h"}}
    full["restart"] |= rules
    guarded = {"leaky": service("leaky.service"), "worker": service("worker@*.service")}
    with systemctl.installed(units, MORE), guard({**guarded, "full": full}) as daemon:
        kills = kernel.kernel_kills()
        systemctl.run("start", *units)
        before = systemctl.show(*units)
        wait_for(lambda: _all_seen(daemon), WAIT_S)
        time.sleep(LINGER_S)  # what must not happen again would
        kills = kernel.kernel_kills() - kills
        daemon.end()
        found: dict[str, str] = {}
        wait_for(lambda: _look_at("leaky.service", found), ASK_S)
        return {
            "killed": kills,
            "full_bytes": int((PLACE / "full.service/memory.current").read_text("ascii")),
            "before": before,
            "after": systemctl.show(*units),
            "events": daemon.events(),
            "said": daemon.said(),
            **found,
        }


def _all_seen(daemon: Daemon) -> bool:
    return (
        daemon.count("RestartSucceeded", "leaky") >= 1
        and daemon.count("RestartSucceeded", "worker:worker@a.service") >= 1
        and any(daemon.count(kind, "full") for kind in LOUD)
    )


def _look_at(unit: str, found: dict[str, str]) -> bool:
    """Read where the main process of a unit is, and its score; False while it is replaced."""
    pid = systemctl.show(unit)[unit]["MainPID"]
    try:
        for name in ("oom_score_adj", "cgroup"):
            found[name] = Path(f"/proc/{pid}/{name}").read_text("ascii").strip()
    except OSError:
        return False
    return True


def limits() -> dict[str, Any]:
    """MemoryHigh and MemoryMax at run time reach the kernel; set back, and ended by a restart."""
    with systemctl.installed({"bent.service": RESTS}):
        systemctl.run("start", "bent.service")
        unit, found = driver("bent.service"), []

        def look() -> None:
            sizes = [PLACE / "bent.service" / f"memory.{name}" for name in ("high", "max")]
            said, now = unit.limits(), [size.read_text("ascii").strip() for size in sizes]
            found.append([*now, said.high_bytes, said.max_bytes])

        before, bent = unit.limits(), MemoryLimits(high_bytes=64 * MIB, max_bytes=128 * MIB)
        for change in (None, bent, before, bent):
            if change is not None:
                unit.bend(change)
            look()
        unit.restart(order())
        look()
        return {"found": found}


def service(unit: str) -> dict[str, Any]:
    """Give the settings of a service that is restarted."""
    return {
        "mode": "act",
        "target": {"systemd": unit},
        "sample_every": "500ms",
        "detector": {"envelope": {"young": "8s", "young_reach": 20}},
        "restart": {"grace": "1s", "forecast": {"lead": "15s", "quiet": False}},
    }


def driver(unit: str) -> SystemdDriver:
    """Give our driver for a unit."""
    clock, proc = SystemClock(), ProcFs()
    context = DriverContext(
        service="lab",
        proc=proc,
        children=Children(run_here, clock),
        clock=clock,
        locate=lambda: None,
        target=PluginSpec(key="systemd", options={"unit": unit}),
    )
    return SystemdDriver(Options(), context)


def order() -> RestartOrder:
    """Give the order to restart whatever runs."""
    return RestartOrder(incarnation=None, reason="lab", deadline_s=ASK_S, cancelled=Event())
