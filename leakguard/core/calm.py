"""Since when nothing has wanted a restart of a service for its memory."""

from collections.abc import Iterable
from dataclasses import replace

from leakguard.core.policy import Proposal, Trigger
from leakguard.core.tick import Tick

NOT_CURED = frozenset({Trigger.RESPAWN, Trigger.THRESHOLD, Trigger.EXHAUSTION, Trigger.FORECAST})
"""Triggers that show that the last restart was no cure; the others only say what time it is."""


def watch(tick: Tick, name: str, proposals: Iterable[Proposal]) -> None:
    """Note it while an open breaker or a finding of futility waits for it to be long enough."""
    service = tick.service(name)
    if not service.record.breaker_open and service.record.futility is None:
        if service.calm_since is not None:
            tick.put(replace(service, calm_since=None))
    elif service.calm_since is None or any(p.trigger in NOT_CURED for p in proposals):
        tick.put(replace(service, calm_since=tick.now))


def calm_for_s(tick: Tick, name: str) -> float:
    """Give for how long nothing has; nothing counts while the service does not run."""
    service = tick.service(name)
    if service.calm_since is None or service.sample is None:
        return 0.0
    return tick.now.since(service.calm_since)
