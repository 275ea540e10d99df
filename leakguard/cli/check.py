"""`leakguard check`: is the configuration right, and what would it do on this machine?"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from leakguard.cli._client import Client
from leakguard.cli._options import json_option
from leakguard.cli._output import GAP, UNKNOWN, Exit, complain, emit_json, paint, talk
from leakguard.cli._socket import default_socket
from leakguard.core.codec import to_plain
from leakguard.core.errors import ConfigError, LeakguardError
from leakguard.core.plan import Plan
from leakguard.core.units import format_bytes
from leakguard.runtime.check_report import (
    CheckReport,
    LimitReport,
    MatchReport,
    ServiceReport,
)
from leakguard.runtime.self_check import check, this_machine

EPILOG = """\b
Examples:
  leakguard check
  leakguard check -c config.yaml --json
  leakguard check -c config.yaml --no-machine     (in CI)

Exit codes: 0 all is well, 1 this machine has problems, 78 the configuration is wrong.
"""
WIDTH = 13
ASK_S = 2.0


@click.command("check", epilog=EPILOG)
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    help="The configuration file.  [default: $LEAKGUARD_CONFIG, then the usual places]",
)
@click.option("--no-machine", is_flag=True, help="Check the configuration alone.")
@json_option()
def command(path: str | None, no_machine: bool, as_json: bool) -> int:  # noqa: FBT001  click calls it by name
    """Check a configuration, and what it matches and would do on this machine.

    Nothing is started, stopped or written. Run it as the user that runs leakguard.
    """
    from leakguard.config import load
    from leakguard.runtime.clock import SystemClock

    try:
        loaded = load(path, environ=os.environ, cwd=Path.cwd())
    except ConfigError as error:
        if as_json:
            emit_json({"ok": False, "config": {"ok": False, "problems": list(error.problems)}})
            return Exit.CONFIG
        return complain(error)
    clock = SystemClock()
    plan = replace(loaded.plan, socket_path=_socket(loaded.plan))
    machine = None if no_machine else this_machine(plan, clock)
    pid = None if no_machine else _daemon_pid(plan.socket_path)
    report = check(plan, clock.now(), machine, daemon_pid=pid)
    if as_json:
        emit_json(document(report, loaded.warnings))
    else:
        for warning in loaded.warnings:
            talk(f"leakguard: warning: {warning}")
        print("\n".join(lines(report)))
    return Exit.OK if report.ok else Exit.FAILED


def _socket(plan: Plan) -> str:
    """Give where `leakguard run` would serve the control socket."""
    return plan.socket_path or default_socket(os.environ, root=os.geteuid() == 0)


def _daemon_pid(socket_path: str) -> int | None:
    """Ask the daemon that serves a socket for its pid; None when no leakguard answers."""
    if not socket_path:
        return None
    try:
        pid = Client(socket_path, timeout_s=ASK_S).get("/api/v1/status").get("pid")
    except LeakguardError:
        return None
    return pid if isinstance(pid, int) else None


def document(report: CheckReport, warnings: tuple[str, ...]) -> dict[str, object]:
    """Give the report as `--json` prints it. Sizes in bytes, durations in seconds."""
    config = {"ok": True, "problems": [], "warnings": list(warnings)}
    return {"ok": report.ok, "config": config, **to_plain(report)}


def lines(report: CheckReport) -> Iterator[str]:
    """Give the report as text, one paragraph a service."""
    yield f"configuration: {', '.join(report.sources) or 'from the environment alone'}"
    for service in report.services:
        yield ""
        yield from _service(service, machine=report.machine)
    yield ""
    channels = ", ".join(report.channels) or "none: nobody is told but the log"
    yield f"channels: {channels}"
    yield f"state:    {report.state or 'in memory only'}"
    yield f"socket:   {report.socket or 'none'}"
    yield f"http:     {report.http or 'off'}"
    for note in report.notes:
        yield f"note: {note}"
    for problem in report.problems:
        yield f"{paint('problem', 'red')}: {problem}"
    yield _verdict(report)


def _verdict(report: CheckReport) -> str:
    count = len(report.problems) + sum(len(service.problems) for service in report.services)
    if count:
        return paint(f"{count} problem{'s' if count > 1 else ''} on this machine", "red")
    where = "and this machine" if report.machine else "(this machine was not looked at)"
    return paint(f"ok: the configuration {where}", "green")


def _service(service: ServiceReport, *, machine: bool) -> Iterator[str]:
    yield f"{paint(service.name, 'bold')} ({service.where}), mode {service.mode}"
    if machine:
        yield from _here(service)
    yield from (_row("restarted on", trigger) for trigger in service.triggers)
    yield from (_row("held back by", guard) for guard in service.guards)
    yield from (_row("before it", errand) for errand in service.before)
    yield from (_row("after it", errand) for errand in service.after)
    for schedule in service.schedules:
        yield _row("schedule", f"{schedule.words} ({schedule.timezone})")
        yield from (_row("", moment.text) for moment in schedule.next)
        yield from (_row("", note) for note in schedule.notes)
    yield from (_row("window", window) for window in service.windows)
    yield from (_row("blackout", blackout) for blackout in service.blackouts)
    yield from (_row("note", note) for note in service.notes)
    for problem in service.problems:
        yield f"{GAP}{paint('problem'.ljust(WIDTH), 'red')}{problem}"


def _here(service: ServiceReport) -> Iterator[str]:
    if service.target:
        yield _row("target", service.target)
    for match in service.matches:
        yield from _match(match, service.measure)
    if not service.matches:
        yield _row("matches", service.unmatched)
    yield _row("restart by", f"{service.driver}: {service.restart}".strip(": ") or "nobody")
    if service.driver:
        yield _row("started by", service.who_starts or "not known")


def _match(match: MatchReport, measure: str) -> Iterator[str]:
    processes = match.processes or 1
    tree = f", {processes} processes" if processes > 1 else ""
    yield _row("matches", f"{match.service}: pid {match.pid} {match.name}{tree}".rstrip())
    pss = f", PSS {format_bytes(match.pss_bytes)}" if match.pss_bytes is not None else ""
    value = UNKNOWN if match.value_bytes is None else format_bytes(match.value_bytes)
    yield _row("memory", f"{value} ({measure}){pss}")
    if match.effective_limit_bytes is None:
        yield _row("limit", "none is known")
        return
    limit = format_bytes(match.effective_limit_bytes)
    yield _row("limit", f"{limit} ({match.effective_source})")
    for room in match.limits:
        yield _row("", _limit(room))


def _limit(room: LimitReport) -> str:
    name = f"{room.source} {room.path}".strip()
    left = format_bytes(room.headroom_bytes)
    return f"{name}: {format_bytes(room.limit_bytes)}, {left} left"


def _row(name: str, text: str) -> str:
    return f"{GAP}{name:<{WIDTH}}{text}"
