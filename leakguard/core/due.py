"""Scheduled restarts stay due while what holds them ends by itself: none is lost in a queue."""

from leakguard.core import propose
from leakguard.core.events import EventKind
from leakguard.core.inbox import ScheduleDue
from leakguard.core.policy import Proposal
from leakguard.core.severity import Severity
from leakguard.core.state import Due
from leakguard.core.tick import Tick


def note(tick: Tick, request: ScheduleDue) -> None:
    """Make a restart of every service of the entry due; the moment itself is dealt with."""
    owner = tick.rules_of(request.service)
    for name in [n for n in tick.services if request.service in {n, n.partition(":")[0]}]:
        rules = tick.rules_of(name)
        if rules and owner and rules.policy.schedules != owner.policy.schedules:
            continue  # it has times of its own
        answer = (
            propose.by_schedule(request, tick.service(name), rules, tick.now) if rules else None
        )
        if answer is None:
            continue
        fired = {**tick.service(name).record.fired, request.cron: request.due_wall_s}
        tick.amend(name, fired=fired)
        if isinstance(answer, Proposal):
            due = Due(cron=request.cron, due_wall_s=request.due_wall_s, since=tick.now)
            tick.amend(name, due=due)
        else:
            _skip(tick, name, answer)


def propose_due(
    tick: Tick, proposals: dict[str, list[Proposal]], looked_at: frozenset[str]
) -> None:
    """Propose what is due of the services that were looked at or asked about."""
    for name in [n for n, s in tick.services.items() if s.record.due is not None]:
        rules = tick.rules_of(name)
        if rules is None or looked_at.isdisjoint({name, name.partition(":")[0]}):
            continue
        answer = propose.by_due(tick.service(name), rules, tick.now)
        if isinstance(answer, Proposal):
            proposals.setdefault(name, []).append(answer)
        elif answer is not None:
            tick.amend(name, due=None)
            _skip(tick, name, answer)


def _skip(tick: Tick, name: str, why: str) -> None:
    tick.event(EventKind.RESTART_SKIPPED, name, Severity.INFO, why, trigger="schedule")
