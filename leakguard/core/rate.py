"""Restarts that are frequent are told in one alert with their number, not one by one."""

from collections import Counter

from leakguard.core.events import EventKind
from leakguard.core.guards import restarts_today
from leakguard.core.severity import Severity
from leakguard.core.tick import Tick
from leakguard.core.units import counted


def follow(tick: Tick, name: str) -> None:
    """Tell when they become frequent, whenever there are twice as many, and when they are rare."""
    record = tick.service(name).record
    today, singly = restarts_today(record, tick.now), tick.alert_rules.restarts_singly
    if len(today) > singly and len(today) >= 2 * record.rate_told:
        tick.amend(name, rate_told=len(today))
        reasons = Counter(restart.reason for restart in today)
        why = ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common())
        tick.event(
            EventKind.RESTARTS_BECAME_FREQUENT,
            name,
            Severity.WARNING,
            f"{counted(len(today), 'restart')} of {name} within a day: {why}; you are told again "
            "when there are twice as many",
            restarts=len(today),
        )
    elif record.rate_told and len(today) <= singly:
        tick.amend(name, rate_told=0)
        tick.event(
            EventKind.RESTARTS_BECAME_RARE,
            name,
            Severity.INFO,
            f"{counted(len(today), 'restart')} of {name} within a day",
            restarts=len(today),
        )
