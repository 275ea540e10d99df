"""`leakguard resume`: put a service back under guard."""

from typing import Any

import click

from leakguard.cli._client import Client, service_path
from leakguard.cli._options import json_option, socket_option, who
from leakguard.cli._order import order

EPILOG = """\b
Examples:
  leakguard resume worker
"""


@click.command("resume", epilog=EPILOG)
@click.argument("service", metavar="SERVICE")
@json_option()
@socket_option
def command(service: str, as_json: bool, socket_path: str | None) -> int:  # noqa: FBT001  click calls it by name
    """Put a service back under guard: ends its pause and closes its breaker."""
    before = Client(socket_path).get(service_path(service))
    held = before["paused"] or before["futile"] or before["breaker"] != "closed"
    said = "" if held else needless(before)
    return order(socket_path, service, "resume", {"by": who()}, as_json=as_json, said=said)


def needless(before: dict[str, Any]) -> str:
    """Say of a service that was under guard what resuming it changed all the same."""
    said = "it was not paused and its breaker was not open"
    if before["restarts"]:
        return f"{said}; its restarts are counted from 0 again"
    return f"{said}: nothing to resume"
