"""`leakguard restart`: ask for a restart, wait, and say how it ended."""

import threading
from http import HTTPStatus
from typing import Any

import click

from leakguard.cli._client import Client, service_path
from leakguard.cli._options import Duration, json_option, reason_option, socket_option, who
from leakguard.cli._output import Exit, emit_json, talk

EPILOG = """\b
Examples:
  leakguard restart worker --reason "new release"
  leakguard restart worker --force --timeout 2m
  leakguard restart worker --dry-run
Exit codes: 0 restarted (or accepted, with --no-wait), 1 refused, failed or not known in time;
with --dry-run 0 would be restarted, 1 would be refused, or something would make it fail.
"""
POLL_S = 0.25
RECENT = 100
GOOD = frozenset({"RestartSucceeded", "ServiceStarted"})
BAD = frozenset({"RestartFailed", "RestartAbandoned", "RestartSkipped"})

Plain = dict[str, Any]  # a JSON object is untyped


@click.command("restart", epilog=EPILOG)
@click.argument("service", metavar="SERVICE")
@click.option("--force", is_flag=True, help="Also when it is paused or its breaker is open.")
@click.option("--dry-run", is_flag=True, help="Say what it would do now, and do nothing.")
@reason_option
@click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")
@click.option(
    "--timeout",
    type=Duration(),
    metavar="DURATION",
    default="5m",
    show_default=True,
    help="How long to wait for the outcome.",
)
@json_option()
@socket_option
def command(  # noqa: PLR0917  click calls it by name
    service: str,
    force: bool,  # noqa: FBT001  click calls it by name
    dry_run: bool,  # noqa: FBT001  click calls it by name
    reason: str,
    no_wait: bool,  # noqa: FBT001  click calls it by name
    timeout: float,
    as_json: bool,  # noqa: FBT001  click calls it by name
    socket_path: str | None,
) -> int:
    """Restart one service now and wait for the outcome."""
    client = Client(socket_path)
    body = {"force": force, "reason": reason, "by": who()}
    if dry_run:
        return _dry_run(client, service, body, as_json=as_json)
    status, reply = client.post(service_path(service, "restart"), body)
    accepted = status == HTTPStatus.OK
    outcome = None
    if accepted and not no_wait:
        if not as_json:
            talk(f"restarting {service} ({reply['action_id']})…")
        outcome = _wait(client, service, reply["action_id"], timeout)
    done = accepted and (no_wait or (outcome is not None and outcome["event"] in GOOD))
    if as_json:
        emit_json({**reply, "outcome": outcome})
    else:
        _report(service, reply, outcome, accepted=accepted, no_wait=no_wait, timeout=timeout)
    return Exit.OK if done else Exit.FAILED


def _dry_run(client: Client, service: str, body: Plain, *, as_json: bool) -> Exit:
    """Ask what a restart would do, and say it."""
    from leakguard.cli._dry_run_text import lines

    _, reply = client.post(service_path(service, "restart"), {**body, "dry_run": True})
    found = reply.get("dry_run")  # not there where a reload has just removed the service
    if as_json:
        emit_json(reply)
    elif found is None:
        talk(f"leakguard: {service} would not be restarted: {reply['message']}")
    else:
        print("\n".join(lines(service, reply)))
    return Exit.OK if reply["accepted"] and found and not found["problems"] else Exit.FAILED


def _wait(client: Client, service: str, action_id: str, timeout: float) -> Plain | None:
    """Look for the event that ends the action; None when it did not come in time."""
    pause = threading.Event()
    for _ in range(max(1, round(timeout / POLL_S))):
        events = client.get("/api/v1/events", service=service, limit=RECENT)["events"]
        for event in events:
            if event.get("action_id") == action_id and event["event"] in GOOD | BAD:
                return dict(event)
        pause.wait(POLL_S)
    return None


def _report(
    service: str,
    reply: Plain,
    outcome: Plain | None,
    *,
    accepted: bool,
    no_wait: bool,
    timeout: float,
) -> None:
    if not accepted:
        talk(f"leakguard: {service} is not restarted: {reply['message']}")
    elif no_wait:
        print(f"accepted: {reply['message']} ({reply['action_id']})")
    elif outcome is None:
        talk(
            f"leakguard: the outcome was not known after {timeout:g}s; "
            f"`leakguard history {service}` will show it"
        )
    elif outcome["event"] in GOOD:
        print(outcome["message"])
    else:
        talk(f"leakguard: {outcome['message']}")
