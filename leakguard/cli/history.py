"""`leakguard history`: what happened, newest last."""

from typing import Any

import click

from leakguard.cli._client import Client
from leakguard.cli._options import json_option, socket_option
from leakguard.cli._output import GAP, emit_line, local_time, paint, talk

EPILOG = """\b
Examples:
  leakguard history
  leakguard history worker --limit 200
  leakguard history --json | jq 'select(.event == "RestartFailed")'
"""
PAGE = 500
_STYLES = {"warning": "yellow", "critical": "red"}

Plain = dict[str, Any]  # a JSON object is untyped


@click.command("history", epilog=EPILOG)
@click.argument("service", metavar="[SERVICE]", default="")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many events, counted from the newest.",
)
@json_option("Print one JSON object a line.")
@socket_option
def command(service: str, limit: int, as_json: bool, socket_path: str | None) -> None:  # noqa: FBT001  click calls it by name
    """List what happened, newest last."""
    events = _fetch(Client(socket_path), service, limit)
    if not events and not as_json:
        talk("leakguard: nothing has happened yet")
    for event in reversed(events):
        if as_json:
            emit_line(event)
        else:
            print(_line(event))


def _fetch(client: Client, service: str, limit: int) -> list[Plain]:
    """Give the newest `limit` events, newest first, page by page."""
    events: list[Plain] = []
    before = ""
    while len(events) < limit:
        page = client.get(
            "/api/v1/events",
            service=service,
            limit=min(PAGE, limit - len(events)),
            before=before,
        )
        events += page["events"]
        before = page["before"] or ""
        if not before:
            break
    return events


def _line(event: Plain) -> str:
    kind = paint(f"{event['event']:<19}", _STYLES.get(event["severity"], ""))
    cells = (local_time(event["at"]), f"{event['service'] or 'leakguard':<12}", kind)
    return GAP.join((*cells, event["message"]))
