"""`leakguard oom-log`: whom the kernel killed, from any kernel log, one record a kill."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from leakguard.cli._kernel_log import KMSG, STDIN, file_lines, journal_lines
from leakguard.cli._options import json_option
from leakguard.cli._output import UNKNOWN, Exit, complain, emit_line, paint, talk
from leakguard.core.errors import LeakguardError, UsageError
from leakguard.core.oomlog.parse import OomLogParser
from leakguard.core.oomlog.record import records
from leakguard.core.units import KIB, format_bytes

EPILOG = """\b
Examples:
  leakguard oom-log                        # the kernel's ring buffer, else the journal
  leakguard oom-log /var/log/kern.log*
  dmesg -T | leakguard oom-log --json | jq 'select(.model_agrees == false)'
"""
_JOURNAL = "journal"
_NAMES = {STDIN: "standard input", _JOURNAL: "the journal"}

Plain = dict[str, Any]  # a JSON object is untyped


@click.command("oom-log", epilog=EPILOG)
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--journal", is_flag=True, help="Read the kernel's lines of this boot from journald.")
@json_option("Print one JSON object a line.")
def command(files: tuple[str, ...], journal: bool, as_json: bool) -> int:  # noqa: FBT001  click calls it by name
    """Tell whom the kernel's OOM killer took, one record a kill.

    FILE is any kernel log of Linux 2.6 to 7.x: dmesg, syslog, journalctl, /dev/kmsg, packed or
    not; - is standard input. Where the task table was printed, our model is run over it.
    """
    if journal and files:
        raise UsageError("--journal reads the journal: leave out the files")
    code, count = Exit.OK, 0
    sources = (_JOURNAL,) if journal else files or _usual()
    for source in sources:
        try:
            count += _show(source, as_json=as_json)
        except LeakguardError as error:
            code = complain(error)
    if not count and code is Exit.OK:
        places = ", ".join(_NAMES.get(source, source) for source in sources)
        talk(f"leakguard: no kernel OOM kill in {places}")
    return code


def _usual() -> tuple[str, ...]:
    """Choose where to read when nothing was said: a pipe, the ring buffer, else the journal."""
    if not sys.stdin.isatty():
        return (STDIN,)
    try:
        Path(KMSG).open("rb").close()
    except OSError:
        return (_JOURNAL,)
    return (KMSG,)


def _show(source: str, *, as_json: bool) -> int:
    """Print the kills of one log and give their number."""
    parser, count, nameless = OomLogParser(), 0, 0
    lines = journal_lines() if source == _JOURNAL else file_lines(source)
    for report in _reports(parser, lines):
        nameless += not report.kills
        for record in records(report):
            count += 1
            if as_json:
                emit_line({"source": source, **record})
            else:
                print(_block(record))
    place = _NAMES.get(source, source)
    if nameless:
        talk(
            f"leakguard: {place}: OOM reports that name no victim (cut off, or a panic): {nameless}"
        )
    for pid, name in parser.orphans:
        talk(f"leakguard: {place}: {name} ({pid}) was reaped; the line of its kill is not here")
    return count


def _reports(parser: OomLogParser, lines: Iterator[str]) -> Iterator[Any]:
    for line in lines:
        yield from parser.feed(line)
    yield from parser.flush()


def _block(kill: Plain) -> str:
    """Describe one kill in a few lines."""
    time = kill["time"] or "at an unknown time"
    head = paint(f"{kill['name']} ({kill['pid']})", "bold")
    rows = (("domain", _domain(kill)), ("sizes", _sizes(kill)), ("asked", _asked(kill)))
    lines = [f"{time}  {head} {_how(kill)}"]
    lines += [f"  {label:<8}{text}" for label, text in (*rows, ("model", _model(kill)))]
    return "\n".join(lines)


def _how(kill: Plain) -> str:
    """Say how it died: chosen, in another's place, or along with another."""
    if kill["shared_memory"]:
        return "killed: it shared the victim's memory"
    if kill["selected_pid"] not in {None, kill["pid"]}:
        return f"killed in place of its parent {kill['selected_name']} ({kill['selected_pid']})"
    if kill["selected_pid"] is None:
        return "killed with its cgroup (memory.oom.group)"
    if not kill["confirmed"]:
        return "chosen; the log has no line that says it died"
    return "killed, and its whole cgroup (memory.oom.group)" if kill["group_kill"] else "killed"


def _domain(kill: Plain) -> str:
    words = f' ("{kill["scope"]}")' if kill["scope"] else ""
    if kill["oom_memcg"] is None:
        return f"{kill['domain'] or UNKNOWN}{words}"
    inner = kill["task_memcg"]
    where = f", killed in {inner}" if inner not in {None, kill["oom_memcg"]} else ""
    return f"cgroup {kill['oom_memcg']}{where}{words}"


def _sizes(kill: Plain) -> str:
    """Give what was printed, in readable units."""
    names = (
        ("anon_rss_kb", "anon"),
        ("file_rss_kb", "file"),
        ("shmem_rss_kb", "shmem"),
        ("pgtables_kb", "page tables"),
        ("total_vm_kb", "address space"),
    )
    parts = [f"{label} {format_bytes(kill[key] * KIB)}" for key, label in names if kill[key]]
    for key, label in (("uid", "uid"), ("oom_score_adj", "oom_score_adj"), ("score", "score")):
        parts += [f"{label} {kill[key]}"] if kill[key] is not None else []
    return ", ".join(parts) or UNKNOWN


def _asked(kill: Plain) -> str:
    """Say who asked for memory when it ran out."""
    if kill["invoker"] is None:
        return UNKNOWN
    pid = f" ({kill['invoker_pid']})" if kill["invoker_pid"] is not None else ""
    by_hand = ", by SysRq" if kill["order"] == -1 else f", order {kill['order']}"
    return f"{kill['invoker']}{pid}{by_hand if kill['order'] is not None else ''}"


def _model(kill: Plain) -> str:
    """Say whether our model names the same process, and if not, why."""
    if kill["model_agrees"] is None:
        return f"not asked: {kill['model_why']}"
    tasks = f"{len(kill['tasks'])} tasks, era {kill['kernel_era']}"
    if kill["model_agrees"]:
        return f"{paint('agrees', 'green')} ({tasks})"
    other = f"{kill['model_victim_name']} ({kill['model_victim']})"
    return f"{paint('names ' + other, 'yellow')} ({tasks}): {kill['model_why']}"
