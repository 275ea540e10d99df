"""A channel that answers by a script and keeps what it was sent."""

import threading
from collections.abc import Iterable

from leakguard.core.alerts import Alert, AlertStatus
from leakguard.core.errors import NotifyError
from leakguard.core.events import EventKind, Severity
from leakguard.notifiers.base import Notifier


class FakeNotifier(Notifier):
    """Fails with each error of `script` in turn, then takes everything."""

    def __init__(self, script: Iterable[Exception | None] = (), spacing_s: float = 0.0) -> None:
        """Take the script; None in it is a success."""
        self.script = list(script)
        self.spacing_s = spacing_s
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.gate: threading.Event | None = None
        """When set, `send` waits for it: a receiver that hangs."""

    def send(self, alert: Alert) -> str:
        """Take the alert or fail, as the script says."""
        self.asked.append(alert.id)
        if self.gate is not None:
            self.gate.wait(30)
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        self.sent.append(alert.id)
        return "200 ok"

    def preview(self, alert: Alert) -> str:
        """Show the id."""
        return alert.id


def down(times: int = 1_000) -> list[Exception | None]:
    """Give a script of a receiver that is down for a while."""
    return [NotifyError("500 internal error") for _ in range(times)]


def alert(
    alert_id: str = "i-1",
    *,
    channels: tuple[str, ...] = ("ops",),
    service: str = "worker",
    wall_s: float = 1_795_000_000.0,
    summary: str = "worker leaks 21.0 MiB/h",
) -> Alert:
    """Make an alert."""
    return Alert(
        id=alert_id,
        key=f"leakguard/host-1/{service}/leak",
        status=AlertStatus.FIRING,
        severity=Severity.WARNING,
        kind=EventKind.LEAK_SUSPECTED,
        service=service,
        host="host-1",
        title=f"{service} is leaking on host-1",
        summary=summary,
        wall_s=wall_s,
        facts=(("Memory", "454 MiB (rss)"), ("Trend", "21.0 MiB/h")),
        details={"value_bytes": 476_053_504, "slope_bytes_per_s": 6116.7},
        channels=channels,
    )
