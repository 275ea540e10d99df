"""Whether a restart helped, and since when nothing has wanted one for the service's memory."""

from collections.abc import Iterable
from dataclasses import replace

from leakguard.core.policy import Proposal, ServiceRules, Trigger
from leakguard.core.propose import lead_s
from leakguard.core.state import ServiceState
from leakguard.core.tick import Tick

NOT_CURED = frozenset({Trigger.RESPAWN, Trigger.THRESHOLD, Trigger.EXHAUSTION, Trigger.FORECAST})
"""Triggers that show that the last restart was no cure; the others only say what time it is."""


LEADS = 3.0
SLACK_S = 60.0
"""A forecast is near within so many leads, and the time between samples."""


def is_back(service: ServiceState, rules: ServiceRules, trigger: Trigger) -> bool:
    """Tell whether a service is where its last restart was to bring it away from.

    A leak that is restarted early, since this is its last cheap moment, is not.
    """
    if trigger is not Trigger.FORECAST:
        return trigger in NOT_CURED
    near = service.assessment.nearest if service.assessment is not None else None
    edge_s = near.early_edge_s() if near is not None else None
    return edge_s is None or edge_s <= LEADS * lead_s(service, rules) + SLACK_S


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
