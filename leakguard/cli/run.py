"""`leakguard run`: read the configuration, then become the lean daemon."""

import os
import sys
from pathlib import Path

import click

from leakguard.cli._options import check_writable
from leakguard.cli._output import talk
from leakguard.core.plan import Plan

EPILOG = """\b
Examples:
  leakguard run -c config.yaml
  leakguard run -c config.yaml --json
  leakguard run --record today.jsonl
"""
LEVELS = ("debug", "info", "warning", "error")


@click.command("run", epilog=EPILOG)
@click.option("-c", "--config", "path", metavar="FILE", help="Configuration file.")
@click.option("--socket", "socket_path", metavar="PATH", help="Serve the control socket here.")
@click.option("--json", "as_json", is_flag=True, help="Print each event on stdout, one a line.")
@click.option(
    "--record", metavar="FILE", help="Write every tick's inputs to FILE, for `leakguard replay`."
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="How much goes to stderr.",
)
@click.option("--compile-to", "compile_to", type=int, hidden=True)
def command(  # noqa: PLR0917  click calls it by name
    path: str | None,
    socket_path: str | None,
    as_json: bool,  # noqa: FBT001  click calls it by name
    record: str | None,
    log_level: str,
    compile_to: int | None,
) -> None:
    """Guard the services of a configuration file.

    Without --config: $LEAKGUARD_CONFIG, the user's and the system's configuration, or the
    environment alone. SIGHUP reads the configuration anew; SIGTERM ends the guard.
    """
    from leakguard.config import load
    from leakguard.runtime.handover import Launch, Options, become_daemon, write_plan

    loaded = load(path, environ=os.environ, cwd=Path.cwd())
    for warning in loaded.warnings:
        talk(f"leakguard: {warning}")
    plan = _with_socket(loaded.plan, socket_path)
    if record is not None:
        check_writable(record)
    options = Options(
        events_to="stdout" if as_json else "",
        log_level=log_level,
        record=str(Path(record).resolve()) if record else "",
        reload=_reload_argv(path, socket_path),
    )
    launch = Launch(plan=plan, options=options)
    if compile_to is not None:
        write_plan(compile_to, launch)
        return
    become_daemon(launch)


def _with_socket(plan: Plan, socket_path: str | None) -> Plan:
    """Choose the control socket: the option, the configuration, or the usual place."""
    from dataclasses import replace

    from leakguard.cli._socket import default_socket

    chosen = socket_path or plan.socket_path
    chosen = chosen or default_socket(os.environ, root=os.geteuid() == 0)
    if not chosen:
        talk("leakguard: no place for the control socket: give --socket PATH, or set socket")
    return replace(plan, socket_path=chosen)


def _reload_argv(path: str | None, socket_path: str | None) -> tuple[str, ...]:
    argv = [sys.executable, "-m", "leakguard", "run"]
    if path is not None:
        argv += ["-c", str(Path(path).resolve())]
    if socket_path is not None:
        argv += ["--socket", socket_path]
    return (*argv, "--compile-to")
