"""The budget of all services together: however many of them seem to leak, leakguard stays calm.

The breaker bounds the restarts of one service. Where something is wrong with the machine, or with
what leakguard makes of it, every service may want one, and each is within its own bounds. The
budget counts what leakguard decided by itself, of all services: thresholds, forecasts, ends of the
memory, age and schedules. Restarts by people and the start of a child that ended do not count, and
are not held.
"""

from leakguard.core.alerts import TOPICS
from leakguard.core.events import EventKind
from leakguard.core.guards import Guard, Veto
from leakguard.core.instant import Instant
from leakguard.core.policy import Budget, Proposal, Trigger
from leakguard.core.severity import Severity
from leakguard.core.tick import Tick
from leakguard.core.units import counted, format_duration

COUNTS = frozenset(Trigger) - {Trigger.MANUAL, Trigger.RESPAWN}
_REASONS = frozenset(trigger.value for trigger in COUNTS)
_TOPIC = TOPICS[EventKind.RESTART_BUDGET_SPENT].name


def reason(tick: Tick, proposal: Proposal) -> str:
    """Say why the budget holds a restart back; empty when it does not."""
    return _spent(tick) if proposal.trigger in COUNTS else ""


def hear(tick: Tick, name: str, proposal: Proposal, vetoes: tuple[Veto, ...]) -> None:
    """Tell people, once, when it is spent and alone holds a restart back."""
    why = reason(tick, proposal)
    if not why or _TOPIC in tick.own.problems or {v.guard for v in vetoes} != {Guard.BREAKER.value}:
        return
    tick.event(
        EventKind.RESTART_BUDGET_SPENT,
        "",
        Severity.CRITICAL,
        f"{why}; {name} wants one because {proposal.reason}. What makes so many services want "
        "restarts at once? Until then they are only watched, and `leakguard restart` works",
        restarts=len(_counted(tick)),
        wanted_by=name,
        trigger=proposal.trigger.value,
    )


def follow(tick: Tick) -> None:
    """Say when it allows restarts again, at the end of a tick."""
    if _TOPIC in tick.own.problems and not _spent(tick):
        tick.event(
            EventKind.RESTART_BUDGET_FREE,
            "",
            Severity.INFO,
            "the budget of all services allows restarts again",
        )


def _budget(tick: Tick) -> Budget | None:
    """Give what holds for all of them: every service has the same."""
    return next((rules.guards.budget for rules in tick.rules.values()), None)


def _spent(tick: Tick) -> str:
    budget, counting = _budget(tick), _counted(tick)
    if budget is None or len(counting) < budget.max_restarts:
        return ""
    free = budget.per_s - tick.now.since(counting[-budget.max_restarts])
    return (
        f"{counted(len(counting), 'restart')} of all services within "
        f"{format_duration(budget.per_s)}, the next one is allowed in {format_duration(free)}"
    )


def _counted(tick: Tick) -> list[Instant]:
    """Give when restarts were decided that still count, the oldest first."""
    budget = _budget(tick)
    if budget is None:
        return []
    made = (
        restart.at
        for service in tick.services.values()
        for restart in service.record.restarts
        if restart.reason in _REASONS and tick.now.since(restart.at) < budget.per_s
    )
    return sorted(made, key=tick.now.since, reverse=True)
