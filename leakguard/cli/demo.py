"""`leakguard demo`: the same leaking service twice, first left alone, then guarded."""

import json
import os
import sys
from collections.abc import Sequence

import click

from leakguard.cli._demo.play import play
from leakguard.cli._demo.receiver import Delivery
from leakguard.cli._demo.scope import scope_argv
from leakguard.cli._demo.show import Show
from leakguard.cli._output import Exit, emit_json, talk

EPILOG = """\b
Exit codes: 0 the guarded service lived, 1 it was killed or the demo failed, 130 Ctrl-C.

\b
Examples:
  leakguard demo
  leakguard demo --json
"""


@click.command(name="demo", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON document.")
@click.option("--payloads", is_flag=True, help="Print every alert in full at the end.")
@click.option("--scoped", is_flag=True, hidden=True)
def command(*, as_json: bool, payloads: bool, scoped: bool) -> int:
    """Watch a leak being caught, in about 90 seconds.

    A small web service leaks in a memory cgroup of its own. In act 1 nobody watches and the kernel
    kills it. In act 2 leakguard restarts it in time. Nothing else on the machine is in danger.
    """
    if not scoped and os.geteuid() != 0:
        _enter_scope()
    show = Show(sys.stderr if as_json else sys.stdout)
    try:
        result, deliveries = play(show, scoped=scoped)
    except KeyboardInterrupt:
        talk("leakguard: stopped; everything is cleaned up")
        return Exit.INTERRUPTED
    show.finish(result)
    if payloads:
        _print_payloads(show, deliveries)
    if as_json:
        emit_json(result.to_plain())
    return Exit.FAILED if result.failed else Exit.OK


def _enter_scope() -> None:
    """Go on inside a scope that may hold cgroups, where systemd gives one to this user."""
    argv = scope_argv([sys.executable, "-m", "leakguard", *sys.argv[1:], "--scoped"])
    if argv is not None:
        os.execvp(argv[0], argv)  # noqa: S606  becoming the same command elsewhere is the purpose


def _print_payloads(show: Show, deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        text = json.dumps(delivery.payload, indent=2, ensure_ascii=False)
        show.console.print(f"\n{delivery.channel}:\n{text}", markup=False)
