"""`leakguard replay`: run a recording through the same engine and print the decisions."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from leakguard.cli._output import Exit, count, emit_line, talk
from leakguard.core.errors import UsageError
from leakguard.core.plan import Plan

if TYPE_CHECKING:
    from leakguard.runtime.replay import ReplayedTick

EPILOG = """\b
Examples:
  leakguard replay today.jsonl
  leakguard replay today.jsonl -c other.yaml
"""


@click.command("replay", epilog=EPILOG)
@click.argument("recording", metavar="FILE", type=click.File(encoding="utf-8", errors="replace"))
@click.option("-c", "--config", "path", metavar="FILE", help="Decide by this configuration.")
@click.option("--json", "as_json", is_flag=True, help="The same: decisions are always JSON lines.")
def command(recording: TextIO, path: str | None, as_json: bool) -> int:  # noqa: FBT001  click calls it by name
    """Print the decisions of a recording, one line of JSON each.

    Without --config the recorded rules are used, and decisions that differ from the recorded
    ones are reported: exit code 1. A file that is no recording: exit code 2.
    """
    from leakguard.runtime.replay import replay

    del as_json
    plan = _plan(path)
    ticks = differing = decisions = 0
    for tick in _of_file(replay(recording, plan), recording.name):
        ticks += 1
        decisions += len(tick.decisions)
        differing += plan is None and tick.decisions != tick.recorded
        for decision in tick.decisions:
            emit_line(decision)
    talk(f"{count(ticks, 'tick')}, {count(decisions, 'decision')}")
    if differing:
        talk(f"leakguard: {count(differing, 'tick')} decided otherwise than recorded")
    return Exit.FAILED if differing else Exit.OK


def _of_file(ticks: Iterator["ReplayedTick"], name: str) -> Iterator["ReplayedTick"]:
    """Name the file in what is wrong with it."""
    try:
        yield from ticks
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def _plan(path: str | None) -> Plan | None:
    if path is None:
        return None
    from leakguard.config import load

    return load(path, environ=os.environ, cwd=Path.cwd()).plan
