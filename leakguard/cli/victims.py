"""`leakguard victims`: whom the kernel would kill, domain by domain."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from threading import Event

import click

from leakguard.cli import _victims_json, _victims_text
from leakguard.cli._options import json_option
from leakguard.cli._output import Exit, emit_json, emit_line, talk
from leakguard.core.errors import PermissionRefused
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.oom_machine import DomainReport, OomMachine
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.clock import SystemClock

EPILOG = """\b
Examples:
  leakguard victims
  leakguard victims --cgroup /system.slice/web.service
  leakguard victims --json | jq '.domains[] | {path, next_victim, certain}'
"""
EVERY_S = 1.0
_LINE = re.compile(r"\d+:[^:]*:(/.*)")


@click.command("victims", epilog=EPILOG)
@click.option(
    "--cgroup",
    "path",
    metavar="PATH",
    help="Put this domain first: a directory, or a path as in /proc/PID/cgroup.",
)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many candidates of each domain; --json holds all.",
)
@click.option("--watch", is_flag=True, help="Look again every second.")
@json_option("Print one JSON document, with --watch one a line.")
def command(path: str | None, top: int, watch: bool, as_json: bool) -> int:  # noqa: FBT001  click calls it by name
    """Tell whom the kernel would kill in every memory domain, and what is left until then.

    Domains are the host and every cgroup with a memory limit. It needs neither a daemon nor a
    configuration.
    """
    proc = ProcFs()
    cgroups = CgroupFs(proc)
    machine = OomMachine(proc, cgroups)
    first = None if path is None else _domain_of(machine, cgroups, path)
    look = partial(
        machine.look,
        first,
        top=None if as_json else max(2, top),
        leave_out={proc.self_pid()},
    )
    clock, told = SystemClock(), False
    for reports in _looks(look, watch=watch):
        told = told or _tell_hidden(reports)
        if as_json:
            document = _victims_json.document(reports, machine.kernel)
            (emit_line if watch else emit_json)({"at": clock.now().rfc3339(), **document})
        else:
            _show(list(_victims_text.lines(reports, machine.kernel.rules, top)), watch=watch)
    return Exit.OK


def _looks(
    look: Callable[[], Iterator[DomainReport]], *, watch: bool
) -> Iterator[tuple[DomainReport, ...]]:
    pause = Event()
    yield tuple(look())
    while watch and not pause.wait(EVERY_S):
        yield tuple(look())


def _domain_of(machine: OomMachine, cgroups: CgroupFs, path: str) -> CgroupDir | None:
    """Find the domain of a cgroup: itself, or the nearest above it that has a limit."""
    line = _LINE.fullmatch(path)
    group = cgroups.directory(line.group(1) if line else path)
    limited = machine.nearest_limited(group)
    if limited is None:
        talk(f"leakguard: cgroup {group.path} has no memory limit, nor any above it: see the host")
    elif limited.path != group.path:
        talk(f"leakguard: cgroup {group.path} has no memory limit of its own: see {limited.path}")
    return limited


def _tell_hidden(reports: tuple[DomainReport, ...]) -> bool:
    """Say it in one line when there are processes that must not be read.

    Raises:
        PermissionRefused: no process at all can be read.
    """
    hidden = max(report.hidden for report in reports)
    if hidden and not any(report.candidates for report in reports):
        raise PermissionRefused(f"none of {hidden} processes can be read: run as root")
    if hidden:
        talk(f"leakguard: {hidden} processes cannot be read, and may be victims: run as root")
    return hidden > 0


def _show(lines: list[str], *, watch: bool) -> None:
    if watch and sys.stdout.isatty():
        lines = lines[: shutil.get_terminal_size().lines - 1]
        click.clear()
    elif watch:
        lines.append("")
    print("\n".join(lines), flush=True)
