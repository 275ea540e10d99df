"""Leakguard over the machine's own systemd: units, limits, loops and rights."""

import json
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from leakguard.core.errors import LeakguardError
from leakguard.core.plan import PluginSpec
from leakguard.drivers.base import DriverContext, MemoryLimits, RestartOrder
from leakguard.drivers.systemd import Options, SystemdDriver
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.clock import SystemClock
from tests.vm.guest import kernel, product
from tests.vm.guest.case import MIB
from tests.vm.guest.lab import Lab

UNITS = Path("/etc/systemd/system")
CONFIG = Path("/lab/config")
RULES = Path("/etc/polkit-1/rules.d")
COMMAND = Path("/usr/bin/leakguard")
ACCOUNT = "leakguard"
WAIT_S = 150.0
ASK_S = 30.0
SHOWN = ("MainPID", "NRestarts", "ActiveState", "InvocationID", "MemoryHigh", "MemoryMax")
LEAKS = "--start 8MiB --rate 4MiB --to 400MiB"
RESTS = "--start 8MiB --rate 1B --to 9MiB"
FULL = "--start 90MiB --rate 1B --to 91MiB"
RESTART = """
import sys
from tests.vm.guest.units import restart
print(restart(sys.argv[1]))
"""


def play_all(lab: Lab) -> None:
    """Play each and report it."""
    for scenario in (leak_is_restarted, pattern, loop, limits, rights):
        before, began = kernel.kernel_kills(), time.monotonic()
        lab.log.lines()
        fields = scenario()
        lab.channel.send(
            "unit",
            case=scenario.__name__,
            kernel_kills=kernel.kernel_kills() - before,
            lasted_s=round(time.monotonic() - began, 1),
            log=lab.log.lines(),
            **fields,
        )


def leak_is_restarted() -> dict[str, Any]:
    """A unit fills its MemoryMax twice; its neighbour has a MemoryMax of its own."""
    with _units({"leaky.service": LEAKS, "near.service": RESTS}, more="OOMScoreAdjust=123"):
        before = _show("leaky.service", "near.service")
        events, said = _guard({"leaky": _service("leaky.service")}, "RestartSucceeded", 2)
        after = _show("leaky.service", "near.service")
        pid = after["leaky.service"]["MainPID"]
        return {
            "before": before,
            "after": after,
            "events": events,
            "said": said,
            "adj": Path(f"/proc/{pid}/oom_score_adj").read_text("ascii").strip(),
            "cgroup": Path(f"/proc/{pid}/cgroup").read_text("ascii").strip(),
        }


def pattern() -> dict[str, Any]:
    """One entry, three instances: the one that leaks is restarted."""
    names = {"worker@a.service": LEAKS, "worker@b.service": RESTS, "worker@c.service": RESTS}
    with _units(names):
        before = _show(*names)
        guarded = {"worker": _service("worker@*.service")}
        events, said = _guard(guarded, "RestartSucceeded", 1)
        return {"before": before, "after": _show(*names), "events": events, "said": said}


def loop() -> dict[str, Any]:
    """A unit that starts at 94 % of its limit: no more than `max_restarts`."""
    service = _service("full.service")
    service["restart"] |= {
        "threshold": {"above": "80%"},
        "max_restarts": {"count": 2, "per": "1h"},
    }
    with _units({"full.service": FULL}):
        events, said = _guard({"full": service}, "RestartLimitHit", 1, linger_s=15.0)
        return {"after": _show("full.service"), "events": events, "said": said}


def limits() -> dict[str, Any]:
    """MemoryHigh and MemoryMax at run time reach the kernel, and end with a restart."""
    with _units({"bent.service": RESTS}):
        driver, found = _driver("bent.service"), []
        group = Path("/sys/fs/cgroup/system.slice/bent.service")

        def look() -> None:
            sizes = [(group / f"memory.{name}").read_text("ascii").strip() for name in _SIZES]
            found.append([*sizes, driver.limits().high_bytes, driver.limits().max_bytes])

        look()
        driver.bend(MemoryLimits(high_bytes=64 * MIB, max_bytes=128 * MIB))
        look()
        driver.restart(_order())
        look()
        return {"found": found}


_SIZES = ("high", "max")


def rights() -> dict[str, Any]:
    """The shipped unit and rule: an account that is not root restarts what is listed, alone."""
    subprocess.run(["useradd", "--system", ACCOUNT], check=True, timeout=ASK_S)
    without = _as_account("worker@a.service")
    RULES.mkdir(parents=True, exist_ok=True)
    rule = "50-leakguard.rules"
    (RULES / rule).write_text((CONFIG / "polkit" / rule).read_text("utf-8"), "utf-8")
    COMMAND.write_text('#!/bin/sh\nexec /usr/bin/python3 -m leakguard "$@"\n', "ascii")
    COMMAND.chmod(0o755)
    with _units({"worker.service": LEAKS, "other.service": RESTS}):
        time.sleep(1.0)  # polkitd reads its folder when that changes
        refused, allowed = _as_account("other.service"), _as_account("worker.service")
        by_command = _as_account("worker.service", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/none")
        folder = Path("/etc/leakguard")
        folder.mkdir(exist_ok=True)
        text = json.dumps({"services": {"worker": _service("worker.service")}})
        (folder / "config.yaml").write_text(text, "utf-8")
        shipped = (CONFIG / "systemd/leakguard.service").read_text("utf-8")
        (UNITS / "leakguard.service").write_text(shipped, "utf-8")
        before = _show("worker.service", "other.service")
        _systemctl("daemon-reload")
        _systemctl("start", "leakguard.service")
        journal = _journal("event=RestartSucceeded", WAIT_S)
        after = _show("worker.service", "other.service", "leakguard.service")
        _systemctl("stop", "leakguard.service")
    return {
        "without": without,
        "refused": refused,
        "allowed": allowed,
        "by_command": by_command,
        "before": before,
        "after": after,
        "journal": journal[-product.SAID_CHARACTERS :],
    }


def restart(unit: str) -> str:
    """Rehearse and restart a unit by our driver; give what came of it. Run as the account."""
    driver = _driver(unit)
    try:
        problems = driver.rehearse(None)
        driver.restart(_order())
    except LeakguardError as error:
        return f"refused: {error} | {'; '.join(problems)}"
    return f"done {'; '.join(problems)}"


def _as_account(unit: str, **environ: str) -> str:
    account = pwd.getpwnam(ACCOUNT)
    done = subprocess.run(
        [sys.executable, "-c", RESTART, unit],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * ASK_S,
    )
    return (done.stdout + done.stderr).strip()


def _driver(unit: str) -> SystemdDriver:
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


def _order() -> RestartOrder:
    return RestartOrder(incarnation=None, reason="lab", deadline_s=ASK_S, cancelled=Event())


def _service(unit: str) -> dict[str, Any]:
    return {
        "mode": "act",
        "target": {"systemd": unit},
        "sample_every": "500ms",
        "restart": {"grace": "1s"},
    }


@contextmanager
def _units(names: Mapping[str, str], more: str = "") -> Iterator[None]:
    """Run units with a MemoryMax of 96 MiB that systemd starts again whenever they end."""
    with ExitStack() as stack:
        for name, options in names.items():
            text = (
                f"[Service]\nExecStart=/usr/bin/python3 /lab/tests/workloads/leak.py {options}\n"
                f"Restart=always\nMemoryMax=96M\nMemorySwapMax=0\n{more}\n"
            )
            (UNITS / name).write_text(text, "ascii")
            stack.callback((UNITS / name).unlink)
        _systemctl("daemon-reload")
        _systemctl("start", *names)
        stack.callback(_systemctl, "stop", *names)
        yield


def _guard(
    services: Mapping[str, Any], kind: str, count: int, linger_s: float = 0.0
) -> tuple[list[dict[str, Any]], str]:
    """Run the daemon until it has told of so many events of a kind; give all, and its talk."""
    folder = Path("/run/lab-units")
    subprocess.run(["rm", "-rf", folder], check=True, timeout=ASK_S)
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
    events: list[dict[str, Any]] = []
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log) as guard,
    ):
        assert guard.stdout is not None
        for line in product.lines(guard.stdout.fileno(), WAIT_S):
            events.append(product.parsed(line))
            if sum(event.get("event") == kind for event in events) == count:
                break
        fd = guard.stdout.fileno()
        events += [product.parsed(line) for line in product.lines(fd, linger_s)]
        guard.send_signal(signal.SIGTERM)
        events += [product.parsed(line) for line in product.lines(fd, ASK_S)]
        guard.wait(ASK_S)
    return events, (folder / "log").read_text("utf-8")[-product.SAID_CHARACTERS :]


def _show(*names: str) -> dict[str, dict[str, str]]:
    found = {}
    for name in names:
        said = _systemctl("show", f"--property={','.join(SHOWN)}", name)
        found[name] = dict(line.partition("=")[::2] for line in said.splitlines())
    return found


def _systemctl(*words: str) -> str:
    done = subprocess.run(
        ["systemctl", *words], check=True, capture_output=True, text=True, timeout=ASK_S
    )
    return done.stdout


def _journal(wanted: str, within_s: float) -> str:
    """Read what leakguard's own unit said, until something is in it."""
    until, said = time.monotonic() + within_s, ""
    while wanted not in said and time.monotonic() < until:
        time.sleep(product.POLL_S)
        ask = ["journalctl", "--no-pager", "--output=cat", "--unit=leakguard.service"]
        done = subprocess.run(ask, check=True, capture_output=True, text=True, timeout=ASK_S)
        said = done.stdout
    return said
