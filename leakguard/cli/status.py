"""`leakguard status`: one line for each service."""

import difflib
import textwrap
from collections.abc import Callable
from typing import Any

import click

from leakguard.cli import _words
from leakguard.cli._client import Client
from leakguard.cli._options import json_option, socket_option
from leakguard.cli._output import GAP, NARROWEST, UNKNOWN, emit_json, paint, talk
from leakguard.cli._table import Column, drawn, fitted, terminal_width, width_of
from leakguard.core.errors import DaemonError

EPILOG = """\b
Examples:
  leakguard status
  leakguard status worker --json
"""
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
    width = terminal_width()
    columns, said = _columns(services), [_decision(service) for service in services]
    last = Column(header="LAST DECISION", cells=said)
    if width is None or width_of([*columns, last]) <= width:
        header, *lines = drawn([*columns, last])
        return "\n".join([paint(header, "bold"), *(_tint(line, services) for line in lines)])
    header, *lines = drawn(fitted(columns, width))
    both = (
        f"{_tint(line, services)}{_below(text, width)}"
        for line, text in zip(lines, said, strict=True)
    )
    return "\n".join([paint(header, "bold"), *both])


def _columns(services: list[Plain]) -> list[Column]:
    """Give all columns but the last, and what a narrow terminal can do without."""
    left = Column(
        header="RESTARTS LEFT",
        cells=_cells(services, lambda s: str(s["restarts_left"])),
        short_header="LEFT",
        shrinks=1,
        goes=1,
    )
    return [*_states(services), *_sizes(services), *_victims(services), left]


def _cells(services: list[Plain], of: Callable[[Plain], str]) -> list[str]:
    return [of(service) for service in services]


def _states(services: list[Plain]) -> list[Column]:
    return [
        Column(header="SERVICE", cells=_cells(services, lambda s: str(s["name"]))),
        Column(header="MODE", cells=_cells(services, lambda s: str(s["mode"])), goes=3),
        Column(header="PHASE", cells=_cells(services, lambda s: str(s["phase"]))),
        Column(header="VERDICT", cells=_cells(services, lambda s: str(s["verdict"])), goes=5),
    ]


def _sizes(services: list[Plain]) -> list[Column]:
    """Give what it uses, where that ends, and when."""
    return [
        Column(
            header="MEMORY",
            cells=_cells(services, _words.memory),
            short=_cells(services, _words.bare_memory),
            shrinks=3,
            goes=7,
        ),
        Column(
            header="LIMIT",
            cells=_cells(services, _words.limit),
            short=_cells(services, _words.bare_limit),
            shrinks=2,
            goes=4,
        ),
        Column(header="SLOPE", cells=_cells(services, _words.slope), goes=2),
        Column(
            header="LIMIT REACHED",
            cells=_cells(services, _words.full_at),
            short=_cells(services, _words.about_full_at),
            shrinks=4,
            goes=6,
        ),
    ]


def _victims(services: list[Plain]) -> list[Column]:
    """Give the column of those whom the kernel would kill, where that is known of anybody."""
    shown = [_words.victim(service) for service in services]
    known = any(cell != UNKNOWN for cell in shown)
    return [Column(header="KERNEL WOULD KILL", cells=shown, goes=1)] if known else []


def _decision(service: Plain) -> str:
    return str(service["paused"] or service["last_decision"] or UNKNOWN)


def _below(text: str, width: int) -> str:
    """Put a decision below its service, in lines of their own."""
    if text == UNKNOWN:
        return ""
    filled = textwrap.fill(
        text, max(width, NARROWEST), initial_indent=GAP, subsequent_indent=GAP,
        break_on_hyphens=False,
    )  # fmt: skip
    return f"\n{filled}"


def _tint(line: str, services: list[Plain]) -> str:
    words = {service[name] for service in services for name in ("phase", "verdict")}
    for word in sorted(words & set(_LOUD)):
        line = line.replace(f"{GAP}{word} ", f"{GAP}{paint(word, _LOUD[word])} ")
    return line
