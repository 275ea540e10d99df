"""`leakguard status`: one line for each service."""

import difflib
import shutil
import sys
from typing import Any

import click

from leakguard.cli import _words
from leakguard.cli._client import Client
from leakguard.cli._options import json_option, socket_option
from leakguard.cli._output import GAP, UNKNOWN, emit_json, paint, table, talk
from leakguard.core.errors import DaemonError

EPILOG = """\b
Examples:
  leakguard status
  leakguard status worker --json
"""
HEADER = (
    "SERVICE", "MODE", "PHASE", "VERDICT", "MEMORY", "LIMIT", "SLOPE", "LIMIT REACHED",
    "RESTARTS LEFT", "LAST DECISION",
)  # fmt: skip
_LOUD = {"leaking": "yellow", "missing": "red", "breaker_open": "red", "unreadable": "yellow"}

Plain = dict[str, Any]  # a JSON object is untyped


@click.command("status", epilog=EPILOG)
@click.argument("services", nargs=-1, metavar="[SERVICE]…")
@json_option()
@socket_option
def command(services: tuple[str, ...], as_json: bool, socket_path: str | None) -> None:  # noqa: FBT001  click calls it by name
    """Show every service: memory, limit, time to limit, decision."""
    document = Client(socket_path).get("/api/v1/status")
    document["services"] = _chosen(document["services"], services)
    if as_json:
        emit_json(document)
        return
    for problem in _problems(document):
        talk(f"leakguard: {problem}")
    print(_draw(document["services"]))


def _chosen(known: list[Plain], wanted: tuple[str, ...]) -> list[Plain]:
    """Keep the named services; `worker` also names `worker:1` and its like."""
    if not wanted:
        return known
    names = [service["name"] for service in known]
    for name in wanted:
        if all(name not in (n, n.partition(":")[0]) for n in names):
            close = difflib.get_close_matches(name, names, n=1)
            hint = f": did you mean {close[0]}?" if close else f" (there are: {', '.join(names)})"
            raise DaemonError(f"no service {name!r}{hint}")
    return [s for s in known if {s["name"], s["name"].partition(":")[0]} & set(wanted)]


def _problems(document: Plain) -> list[str]:
    problems = []
    if not document["ready"]:
        problems.append(f"not ready: {document['not_ready_because'] or 'not known why'}")
    if document["store"] != "ok":
        problems.append(f"state file: {document['store']}")
    if not document["config_ok"]:
        problems.append("the last reload was refused; the configuration before it is in force")
    return problems


def _draw(services: list[Plain]) -> str:
    if not services:
        return "no service is guarded yet"
    rows = [_row(service) for service in services]
    text = table(HEADER, rows)
    if sys.stdout.isatty():
        text = _fit(text, rows, shutil.get_terminal_size().columns)
    header, *lines = text.split("\n")
    return "\n".join([paint(header, "bold"), *(_tint(line, rows) for line in lines)])


def _fit(text: str, rows: list[tuple[str, ...]], columns: int) -> str:
    """On a narrow terminal, put each decision on a line of its own."""
    if max(map(len, text.split("\n"))) <= columns:
        return text
    header, *lines = table(HEADER[:-1], [row[:-1] for row in rows]).split("\n")
    both = [f"{line}\n{GAP}{row[-1]}" for line, row in zip(lines, rows, strict=True)]
    return "\n".join([header, *both])


def _tint(line: str, rows: list[tuple[str, ...]]) -> str:
    words = {word for row in rows for word in row[2:4] if word in _LOUD}
    for word in sorted(words):
        line = line.replace(f"{GAP}{word} ", f"{GAP}{paint(word, _LOUD[word])} ")
    return line


def _row(service: Plain) -> tuple[str, ...]:
    return (
        service["name"],
        service["mode"],
        service["phase"],
        service["verdict"],
        _words.memory(service),
        _words.limit(service),
        _words.slope(service),
        _words.full_at(service),
        str(service["restarts_left"]),
        service["paused"] or service["last_decision"] or UNKNOWN,
    )
