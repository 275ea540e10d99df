"""`leakguard resume`: put a service back under guard."""

import click

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
    return order(socket_path, service, "resume", {"by": who()}, as_json=as_json)
