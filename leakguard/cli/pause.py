"""`leakguard pause`: take one service out of automatic restarts."""

import click

from leakguard.cli._options import Duration, json_option, reason_option, socket_option, who
from leakguard.cli._order import order
from leakguard.core.inbox import LONGEST_PAUSE_S

EPILOG = """\b
Examples:
  leakguard pause worker --for 2h --reason "load test"
  leakguard pause worker
"""


@click.command("pause", epilog=EPILOG)
@click.argument("service", metavar="SERVICE")
@click.option(
    "--for",
    "for_s",
    type=Duration(at_most_s=LONGEST_PAUSE_S),
    metavar="DURATION",
    help="How long, such as 2h; at most 366d.  [default: until `leakguard resume`]",
)
@reason_option
@json_option()
@socket_option
def command(
    service: str,
    for_s: float | None,
    reason: str,
    as_json: bool,  # noqa: FBT001  click calls it by name
    socket_path: str | None,
) -> int:
    """Take one service out of automatic restarts; it is still watched."""
    body = {"for_s": for_s, "reason": reason, "by": who()}
    return order(socket_path, service, "pause", body, as_json=as_json)
