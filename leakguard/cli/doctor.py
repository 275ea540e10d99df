"""`leakguard doctor`: what this machine would do when memory runs out, and why."""

import contextlib
import os
from pathlib import Path

import click

from leakguard.cli._client import Client, NobodyAnswers, Plain
from leakguard.cli._doctor_json import document
from leakguard.cli._doctor_text import lines
from leakguard.cli._options import json_option, socket_option
from leakguard.cli._output import Exit, emit_json
from leakguard.core.errors import LeakguardError, PermissionRefused, ReadingError
from leakguard.core.findings import worst
from leakguard.core.plan import Plan
from leakguard.core.severity import Severity
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import ProcFs
from leakguard.linux.systemd_units import SystemdUnits
from leakguard.runtime.doctor.diagnosis import Diagnosis, Us, diagnose
from leakguard.runtime.doctor.watched import Watched, from_plan, from_status, with_trends
from leakguard.runtime.handover import MODULE

EPILOG = """\b
Examples:
  leakguard doctor
  leakguard doctor -c config.yaml --json

Exit codes: 0 nothing critical, 1 a critical finding, 77 nothing could be read,
78 the configuration is wrong.
"""
ASK_S = 5.0
PROC = "/proc"
_NOT_RUNNING = frozenset(("missing", "unreadable", "starting"))


@click.command("doctor", epilog=EPILOG)
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    help="Look at the services of this configuration.  [default: those of the daemon]",
)
@json_option()
@socket_option
def command(path: str | None, as_json: bool, socket_path: str | None) -> int:  # noqa: FBT001  click calls it by name
    """Tell what this machine would do when memory runs out, why, and what surprises.

    It needs neither a daemon nor a configuration; a running daemon knows the trends.
    """
    notes: list[str] = []
    plan = _plan(path, notes) if path is not None else None
    status = _status(socket_path, plan, notes)
    try:
        diagnosis = _look(plan, status, notes)
    except ReadingError as error:
        raise PermissionRefused(f"nothing can be read here: {error}") from error
    if as_json:
        emit_json(document(diagnosis, status))
    else:
        print("\n".join(lines(diagnosis)))
    return Exit.FAILED if worst(diagnosis.everything()) is Severity.CRITICAL else Exit.OK


def _plan(path: str, notes: list[str]) -> Plan:
    from leakguard.config import load

    loaded = load(path, environ=os.environ, cwd=Path.cwd())
    notes += [f"configuration: {warning}" for warning in loaded.warnings]
    return loaded.plan


def _status(socket_path: str | None, plan: Plan | None, notes: list[str]) -> Plain | None:
    """Ask the daemon; None when there is none. One that was named must answer."""
    usual = plan.socket_path if plan and plan.socket_path else None
    try:
        return Client(socket_path or usual, timeout_s=ASK_S).get("/api/v1/status")
    except NobodyAnswers:
        if socket_path is not None:
            raise
        return None
    except LeakguardError as error:
        if socket_path is not None:
            raise
        notes.append(f"daemon: {error}")
        return None


def _look(plan: Plan | None, status: Plain | None, notes: list[str]) -> Diagnosis:
    proc = ProcFs(plan.proc_root if plan else PROC)
    cgroups = CgroupFs(proc, plan.cgroup_root if plan else "")
    daemon = int(status.get("pid") or 0) if status else 0
    visible = _is_leakguard(proc, daemon)
    if status is not None and not visible:
        notes.append(
            f"daemon: its pid {daemon} is not seen from here, so its numbers are used and its "
            "processes are not: run doctor where the daemon runs"
        )
    if visible:
        notes += _other_user(proc, daemon)
    told = from_status(status, proc, visible=visible) if status else ()
    notes += [f"{one['name']} is {one['phase']}" for one in _not_running(status)]
    watched = _watched(plan, told, notes)
    us = Us(pid=proc.self_pid(), daemon=daemon if visible else None)
    with contextlib.closing(cgroups):
        return diagnose(proc, cgroups, watched, us, SystemdUnits(), notes=notes)


def _other_user(proc: ProcFs, daemon: int) -> list[str]:
    """Say that rights were looked at as another user than the daemon's."""
    try:
        uid = Path(proc.root, str(daemon)).stat().st_uid
    except OSError:  # it ended meanwhile
        return []
    if uid == os.geteuid():
        return []
    return [f"looked as uid {os.geteuid()}; the daemon, uid {uid}, may read other things"]


def _not_running(status: Plain | None) -> list[Plain]:
    services: list[Plain] = status["services"] if status else []
    return [service for service in services if service.get("phase") in _NOT_RUNNING]


def _watched(plan: Plan | None, told: tuple[Watched, ...], notes: list[str]) -> tuple[Watched, ...]:
    if plan is None:
        return told
    from leakguard.runtime.clock import SystemClock
    from leakguard.runtime.self_check import this_machine

    clock = SystemClock()
    machine = this_machine(plan, clock)
    with contextlib.closing(machine.cgroups):
        return with_trends(from_plan(plan, machine, clock.now(), notes), told)


def _is_leakguard(proc: ProcFs, pid: int) -> bool:
    try:
        return MODULE in proc.cmdline(pid)
    except ReadingError:
        return False
