"""`leakguard replay`: run a recording through the same engine and print the decisions."""

import os
from pathlib import Path
from typing import TextIO

import click

from leakguard.cli._output import Exit, emit_line, talk
from leakguard.core.plan import Plan

EPILOG = """\b
Examples:
  leakguard replay today.jsonl
  leakguard replay today.jsonl -c other.yaml
"""


@click.command("replay", epilog=EPILOG)
@click.argument("recording", metavar="FILE", type=click.File(encoding="utf-8", errors="replace"))
@click.option("-c", "--config", "path", metavar="FILE", help="Decide by this configuration.")
@click.option("--json", "as_json", is_flag=True, help="The same: decisions are always JSON lines.")
def command(recording: TextIO, path: str | None, as_json: bool) -> None:  # noqa: FBT001  click calls it by name
    """Print the decisions of a recording, one line of JSON each.

    Without --config the recorded rules are used, and decisions that differ from the recorded
    ones are reported: exit code 1.
    """
    from leakguard.runtime.replay import replay

    del as_json
    plan = _plan(path)
    ticks = differing = decisions = 0
    for tick in replay(recording, plan):
        ticks += 1
        decisions += len(tick.decisions)
        differing += plan is None and tick.decisions != tick.recorded
        for decision in tick.decisions:
            emit_line(decision)
    talk(f"{ticks} ticks, {decisions} decisions")
    if plan is None and differing:
        talk(f"leakguard: {differing} ticks were decided otherwise than recorded")
        raise SystemExit(Exit.FAILED)


def _plan(path: str | None) -> Plan | None:
    if path is None:
        return None
    from leakguard.config import load

    return load(path, environ=os.environ, cwd=Path.cwd()).plan
