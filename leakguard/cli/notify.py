"""`leakguard notify`: try the channels, and look at what still waits in the outbox."""

import os
import secrets
from pathlib import Path
from typing import Any

import click

from leakguard.cli._options import json_option
from leakguard.cli._output import Exit, emit_json, local_time, paint, table, talk
from leakguard.core.alerts import Alert, AlertStatus
from leakguard.core.errors import LeakguardError, NotifyError, StoreError, UsageError
from leakguard.core.events import EventKind, Severity
from leakguard.core.instant import Clock, rfc3339
from leakguard.core.plan import ChannelPlan, Plan
from leakguard.core.units import MIB
from leakguard.store.base import Delivery, DeliveryState

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
def outbox(path: str | None, state: str | None, as_json: bool) -> None:  # noqa: FBT001  click calls it by name
    """List alerts that wait to be sent, and those that were given up."""
    waiting = _waiting(state or _plan(path).state.path)
    if as_json:
        emit_json({"deliveries": [_plain(delivery) for delivery in waiting]})
    elif not waiting:
        talk("leakguard: nothing waits to be sent")
    else:
        header = ("AT", "CHANNEL", "STATE", "TRIES", "NEXT", "ALERT", "LAST ANSWER")
        print(table(header, [_row(delivery) for delivery in waiting]))


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


def _waiting(path: str) -> list[Delivery]:
    from leakguard.runtime.clock import SystemClock
    from leakguard.store.sqlite import SqliteStore

    if not path:
        raise UsageError("state is kept in memory only (state.path is empty): there is no file")
    if not Path(path).exists():
        raise StoreError(f"there is no state file {path}: name it by --state")
    store = SqliteStore(path, SystemClock(), read_only=True)
    try:
        return store.deliveries([DeliveryState.PENDING, DeliveryState.GAVE_UP], MOST)
    finally:
        store.close()


def _plain(delivery: Delivery) -> Plain:
    pending = delivery.state is DeliveryState.PENDING
    return {
        "alert": delivery.alert.id,
        "channel": delivery.channel,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "created_at": rfc3339(delivery.created_wall_s),
        "next_try_at": rfc3339(delivery.next_try_wall_s) if pending else None,
        "answer": delivery.answer,
        "title": delivery.alert.title,
        "severity": delivery.alert.severity.value,
        "service": delivery.alert.service or None,
    }


def _row(delivery: Delivery) -> tuple[str, ...]:
    plain = _plain(delivery)
    following = local_time(plain["next_try_at"]) if plain["next_try_at"] else "-"
    return (
        local_time(plain["created_at"]),
        delivery.channel,
        delivery.state.value,
        str(delivery.attempts),
        following,
        delivery.alert.title,
        delivery.answer or "-",
    )
