"""`leakguard notify`: try the channels, and look at what still waits in the outbox."""

import os
import secrets
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from leakguard.cli._client import Client, NobodyAnswers
from leakguard.cli._options import json_option, socket_option
from leakguard.cli._output import UNKNOWN, Exit, cut, emit_json, local_time, paint, talk
from leakguard.cli._table import Column, drawn, fitted, terminal_width
from leakguard.core.alerts import Alert, AlertStatus
from leakguard.core.errors import (
    ConfigError,
    DaemonError,
    LeakguardError,
    NotifyError,
    StoreError,
    UsageError,
)
from leakguard.core.events import EventKind, Severity
from leakguard.core.instant import Clock
from leakguard.core.plan import ChannelPlan, Plan
from leakguard.core.units import MIB
from leakguard.runtime.delivery_lines import WAITING, plain_delivery

TEST_EPILOG = """\b
Examples:
  leakguard notify test --dry-run
  leakguard notify test --channel ops -c config.yaml
"""
OUTBOX_EPILOG = """\b
Examples:
  leakguard notify outbox
  leakguard notify outbox --state /var/lib/leakguard/state.db --json
"""
MOST = 500
NO_CONFIGURATION = "no configuration: "
"""How the message begins when there is no file and no variable."""

Plain = dict[str, Any]  # a JSON object is untyped


@click.group("notify")
def command() -> None:
    """Send or show a test alert on every channel; list what still waits to be sent."""


@command.command("test", epilog=TEST_EPILOG)
@click.option("-c", "--config", "path", metavar="FILE", help="Configuration file.")
@click.option("--channel", metavar="NAME", help="Only this channel.")
@click.option("--dry-run", is_flag=True, help="Print the exact request and send nothing.")
@json_option("Print one JSON document.")
def test(path: str | None, channel: str | None, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001  click calls it by name
    """Send a sample alert to every channel and tell what the receivers answer."""
    from leakguard.runtime.clock import SystemClock

    plan, clock = _plan(path), SystemClock()
    alert = sample_alert(plan.host, clock)
    results = [_try(chosen, alert, clock, dry_run) for chosen in _chosen(plan, channel)]
    if as_json:
        emit_json({"alert": alert.id, "dry_run": dry_run, "channels": results})
    else:
        for result in results:
            _print(result)
    if not all(result["ok"] for result in results):
        click.get_current_context().exit(Exit.FAILED)


@command.command("outbox", epilog=OUTBOX_EPILOG)
@click.option("-c", "--config", "path", metavar="FILE", help="Configuration that names the file.")
@click.option("--state", metavar="PATH", help="The state file itself.")
@json_option("Print one JSON document.")
@socket_option
def outbox(path: str | None, state: str | None, as_json: bool, socket_path: str | None) -> None:  # noqa: FBT001  click calls it by name
    """List alerts that wait to be sent, and those that were given up.

    The daemon is asked. Without one, and with --config or --state, the state file is read.
    """
    if path or state:
        waiting = _of_file(state or _plan(path).state.path)
    else:
        waiting = _of_daemon(socket_path)
    if as_json:
        emit_json({"deliveries": waiting})
    elif not waiting:
        talk("leakguard: nothing waits to be sent")
    else:
        print("\n".join(drawn(fitted(_columns(waiting), terminal_width()))))


def sample_alert(host: str, clock: Clock) -> Alert:
    """Make an alert that says what it is, with the shape of a real one."""
    now = clock.now().wall_s
    return Alert(
        id=f"test-{secrets.token_hex(6)}",
        key=f"leakguard/{host}/example/test",
        status=AlertStatus.NOTICE,
        severity=Severity.WARNING,
        kind=EventKind.LEAK_SUSPECTED,
        service="example",
        host=host,
        title=f"test alert from leakguard on {host}",
        summary="This is a test: nothing is wrong. A real alert looks like this one.",
        wall_s=now,
        facts=(("Memory", "454 MiB (rss)"), ("Limit", "1.00 GiB"), ("Trend", "21.0 MiB/h")),
        details={
            "test": True,
            "value_bytes": 454 * MIB,
            "limit_bytes": 1024 * MIB,
            "slope_bytes_per_s": 21 * MIB / 3600,
        },
    )


def _plan(path: str | None) -> Plan:
    from leakguard.config import load

    loaded = load(path, environ=os.environ, cwd=Path.cwd())
    for warning in loaded.warnings:
        talk(f"leakguard: {warning}")
    return loaded.plan


def _chosen(plan: Plan, channel: str | None) -> tuple[ChannelPlan, ...]:
    names = ", ".join(chosen.name for chosen in plan.channels)
    if not names:
        raise UsageError("the configuration has no channels: add one under alerts.channels")
    chosen = tuple(c for c in plan.channels if channel in (None, c.name))
    if not chosen:
        raise UsageError(f"no channel named {channel!r} (there are: {names})")
    return chosen


def _try(channel: ChannelPlan, alert: Alert, clock: Clock, dry_run: bool) -> Plain:  # noqa: FBT001  an option of the command
    from leakguard import plugins
    from leakguard.notifiers.base import Notifier, NotifierContext

    result: Plain = {"channel": channel.name, "notifier": channel.notifier.key, "ok": True}
    context = NotifierContext(channel=channel.name, clock=clock)
    try:
        plugin = plugins.load("notifiers", channel.notifier.key)
        notifier: Notifier = plugin.make(dict(channel.notifier.options), context)
        if dry_run:
            return result | {"request": notifier.preview(alert)}
        return result | {"answer": notifier.send(alert)}
    except NotifyError as error:
        return result | {"ok": False, "answer": str(error), "permanent": error.permanent}
    except (LeakguardError, ValueError) as error:
        return result | {"ok": False, "answer": str(error), "permanent": True}


def _print(result: Plain) -> None:
    name = paint(result["channel"], "bold")
    if "request" in result:
        print(f"{name} ({result['notifier']}) would be sent:\n\n{result['request']}\n")
    elif result["ok"]:
        print(
            f"{name} ({result['notifier']}): {paint('sent', 'green')}, answer: {result['answer']}"
        )
    else:
        print(f"{name} ({result['notifier']}): {paint('failed', 'red')}: {result['answer']}")


def _of_daemon(socket_path: str | None) -> list[Plain]:
    """Ask the daemon; where none can tell, read the file that the configuration names."""
    try:
        status, document = Client(socket_path).ask("GET", f"/api/v1/deliveries?limit={MOST}")
    except NobodyAnswers as error:
        if socket_path:
            raise
        return _of_file(_usual_file(str(error)))
    if status == HTTPStatus.NOT_FOUND:
        return _of_file(
            _usual_file("the daemon that answers has no page /api/v1/deliveries: restart it")
        )
    if status != HTTPStatus.OK:
        raise DaemonError(str(document.get("error", f"the daemon answered {status}")))
    return list(document["deliveries"])


def _usual_file(why: str) -> str:
    """Give the state file of the configuration; without one, say `why` the daemon did not tell."""
    try:
        return _plan(None).state.path
    except ConfigError as error:
        if error.problems[0].startswith(NO_CONFIGURATION):
            raise DaemonError(f"{why}, or name the state file by --state PATH") from error
        raise


def _of_file(path: str) -> list[Plain]:
    from leakguard.runtime.clock import SystemClock
    from leakguard.store.sqlite import SqliteStore

    if not path:
        raise UsageError("state is kept in memory only (state.path is empty): there is no file")
    if not Path(path).exists():
        raise StoreError(f"there is no state file {path}: name it by --state")
    store = SqliteStore(path, SystemClock(), read_only=True)
    try:
        return [plain_delivery(delivery) for delivery in store.deliveries(WAITING, MOST)]
    finally:
        store.close()


def _columns(waiting: list[Plain]) -> list[Column]:
    """Give the table's columns, and what a narrow terminal can do without."""

    def cells(of: Callable[[Plain], str]) -> list[str]:
        return [of(delivery) for delivery in waiting]

    answers = cells(lambda d: d["answer"] or UNKNOWN)
    titles = cells(lambda d: str(d["title"]))
    return [
        Column(header="AT", cells=cells(lambda d: local_time(d["created_at"])), goes=2),
        Column(header="CHANNEL", cells=cells(lambda d: str(d["channel"]))),
        Column(header="STATE", cells=cells(lambda d: str(d["state"]))),
        Column(header="TRIES", cells=cells(lambda d: str(d["attempts"])), goes=1),
        Column(
            header="NEXT",
            cells=cells(lambda d: local_time(d["next_try_at"]) if d["next_try_at"] else UNKNOWN),
            goes=3,
        ),
        Column(header="ALERT", cells=titles, short=[cut(t) for t in titles], shrinks=2, goes=4),
        Column(header="LAST ANSWER", cells=answers, short=[cut(a) for a in answers], shrinks=1),
    ]
