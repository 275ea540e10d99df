"""The shipped unit and polkit rule: an account that is not root, in its sandbox, guards units."""

import http.client
import os
import shutil
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.vm.guest import kernel, rights, systemctl
from tests.vm.guest.systemctl import UNITS, wait_for
from tests.vm.guest.units import LEAKS, RESTS

SHIPPED = Path("/lab/config")
RULE = "50-leakguard.rules"
UNIT = "leakguard.service"
ACCOUNT, SOMEBODY = "leakguard", "lab"
WAIT_S = 120.0
LEAK_S = 200.0
WATCHDOG_S = 15
PERIODS = 3
SHOWN = (
    *("ActiveState", "SubState", "Result", "MainPID", "NRestarts", "ExecMainStatus"),
    *("User", "Type", "WatchdogUSec", "UnitFileState", "ActiveEnterTimestampMonotonic"),
)
CONFIGURATION = """\
services:
  worker:
    mode: act
    target: {systemd: worker.service}
    sample_every: 500ms
    detector: {envelope: {young: 8s, young_reach: 20}}
    restart: {grace: 1s, forecast: {lead: 15s, quiet: false}}
  other:                             # the rule does not list it
    mode: act
    target: {systemd: other.service}
    measure: pss                     # of another user's process: CAP_SYS_PTRACE
  victim:
    target: {systemd: victim.service}
    sample_every: 500ms
"""
BOTH = ("worker.service", "other.service")
VICTIM = {"victim.service": "--start 8MiB --rate 8MiB --to 400MiB"}


def play() -> dict[str, Any]:
    """Install it as its comments say, and look at each step of its life."""
    _install()
    with systemctl.installed(dict.fromkeys(BOTH, RESTS)):
        systemctl.run("start", *BOTH)
        found = {"unconfigured": _unconfigured(), "started": _started(), "asked": _asked()}
        found |= {"without": _without_the_rule(), "rule": _with_the_rule()}
        found |= {"leak": _leak(), "watched": _watched(), "kill": _kill(), "hang": _hang()}
        systemctl.run("stop", UNIT)
        return {**found, "stopped": _show(), "journal": systemctl.journal(UNIT)[-20000:]}


def _install() -> None:
    systemctl.tried("useradd", "--system", "--no-create-home", ACCOUNT)
    command = Path("/usr/bin/leakguard")
    command.write_text('#!/bin/sh\nexec /usr/bin/python3 -m leakguard "$@"\n', "ascii")
    command.chmod(0o755)
    shutil.copy(SHIPPED / "systemd" / UNIT, UNITS)
    faster = UNITS / f"{UNIT}.d" / "lab.conf"
    faster.parent.mkdir()
    faster.write_text(f"[Service]\nWatchdogSec={WATCHDOG_S}\n", "ascii")
    systemctl.run("daemon-reload")


def _unconfigured() -> dict[str, Any]:
    """Without a configuration it ends, and is not started again and again."""
    code, _ = systemctl.tried("systemctl", "start", UNIT)
    state = _show()
    systemctl.run("reset-failed", UNIT)
    return {"code": code, "state": state, "journal": systemctl.journal(UNIT)}


def _started() -> dict[str, Any]:
    config = Path("/etc/leakguard/config.yaml")  # its folder is ConfigurationDirectory=
    config.write_text(CONFIGURATION, "ascii")
    shutil.chown(config, "root", ACCOUNT)
    config.chmod(0o640)
    systemctl.run("enable", "--now", UNIT)
    state = _show()
    process = Path("/proc", state["MainPID"])
    lines = (process / "status").read_text("utf-8").splitlines()
    return {
        "state": state,
        "process": {
            key: value.strip() for key, _, value in (line.partition(":") for line in lines)
        },
        "oom_score_adj": (process / "oom_score_adj").read_text("ascii").strip(),
        "account": systemctl.tried("id", "--user", ACCOUNT)[1],
    }


def _asked() -> dict[str, Any]:
    """Ask it as root, as its own account and as somebody; and over loopback."""
    command = ("leakguard", "status", "--json")
    names = {"root": command, ACCOUNT: _as(ACCOUNT, *command), SOMEBODY: _as(SOMEBODY, *command)}
    wait_for(lambda: '"sampled_at": "' in systemctl.tried(*command)[1], WAIT_S)
    found: dict[str, Any] = {name: systemctl.tried(*argv) for name, argv in names.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", 9847, timeout=WAIT_S)) as asked:
        asked.request("GET", "/healthz")
        found["loopback"] = asked.getresponse().status
    found["doctor"] = systemctl.tried("leakguard", "doctor")[1]
    return found


def _without_the_rule() -> dict[str, Any]:
    _told("ServiceCannotAct", "worker")
    _told("ServiceCannotAct", "other")
    ways = (rights.BUS, rights.COMMAND)
    return {way: rights.ask_as(ACCOUNT, way, "worker.service") for way in ways}


def _with_the_rule() -> dict[str, Any]:
    rules = Path("/etc/polkit-1/rules.d")
    rules.mkdir(exist_ok=True)
    shutil.copy(SHIPPED / "polkit" / RULE, rules)
    noticed = _told("ServiceCanAct", "worker")
    before = systemctl.show(*BOTH)
    said = {way: rights.ask_as(ACCOUNT, way, *BOTH) for way in (rights.BUS, rights.COMMAND)}
    return {"noticed": noticed, **said, "before": before, "after": systemctl.show(*BOTH)}


def _leak() -> dict[str, Any]:
    """The worker gets a leak; leakguard restarts it through systemd before the kernel kills."""
    kills = kernel.kernel_kills()
    systemctl.write_unit("worker.service", LEAKS)
    systemctl.run("daemon-reload")
    systemctl.run("restart", "worker.service")
    before = systemctl.show(*BOTH)
    decided = "event=RestartDecided service=worker "
    wait_for(lambda: decided in systemctl.journal(UNIT), LEAK_S)
    done = _told("RestartSucceeded", "worker")
    found = {"kills": kernel.kernel_kills() - kills, "done": done, "before": before}
    found["after"] = systemctl.show(*BOTH)
    systemctl.run("stop", "worker.service")
    return found


def _watched() -> dict[str, Any]:
    """It has fed its watchdog for some periods."""
    since_s = float(_show()["ActiveEnterTimestampMonotonic"]) / 1e6
    wait_for(lambda: time.monotonic() - since_s > PERIODS * WATCHDOG_S, 2 * WAIT_S)
    return {"state": _show()}


def _kill() -> dict[str, Any]:
    """The kernel kills what is only observed: from the journal, the sandbox learns whom."""
    with systemctl.installed(VICTIM, dict.fromkeys(VICTIM, "Restart=no\nMemoryMax=48M")):
        systemctl.run("start", "victim.service")
        pid = systemctl.show("victim.service")["victim.service"]["MainPID"]
        return {"told": _told("ServiceDied", "victim"), "pid": pid}


def _hang() -> dict[str, Any]:
    """A guard that hangs is replaced by systemd, and goes on where it was."""
    before = _show()
    os.kill(int(before["MainPID"]), signal.SIGSTOP)
    wait_for(lambda: _show()["NRestarts"] == "1" and _show()["ActiveState"] == "active", WAIT_S)
    return {"before": before, "after": _show(), "status": systemctl.tried("leakguard", "status")}


def _told(kind: str, service: str) -> bool:
    """Wait until the unit's log has an event."""
    wanted = f"event={kind} service={service} "
    return wait_for(lambda: wanted in systemctl.journal(UNIT), WAIT_S)


def _show() -> systemctl.State:
    return systemctl.show(UNIT, shown=SHOWN)[UNIT]


def _as(account: str, *argv: str) -> tuple[str, ...]:
    return ("runuser", "-u", account, "--", *argv)
