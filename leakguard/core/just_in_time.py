"""The last cheap moment: which window, schedule or quiet hour a leak can still wait for.

The forecast gives the latest moment at which a restart comes early enough with all but the
accepted risk. Before it, a scheduled restart is waited for; else the last window that ends by
then; else, unless the next window comes in time more likely than not, the quietest half hour of
the day before it, as the service's own CPU time and memory churn have it; else the moment itself.
A latest moment that falls into a blackout moves to before that blackout, since nobody may act in
it.

A hard threshold restarts at once wherever it is crossed, so its crossing is foreseen like a limit.
Each look plans afresh: a window that seemed early enough and then is not is made up for by the
next one, by the quiet hour, or by the forecast's own trigger, which knows nothing of windows.
"""

import math

from leakguard.core import propose
from leakguard.core.activity import QUIET_SHARE, SLOT_S, slot_of
from leakguard.core.calendar import Span, next_after, span_at, without
from leakguard.core.facts import threshold_bytes
from leakguard.core.forecast import HORIZON_S, Forecast, LimitKind, Room, forecast
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant, rfc3339
from leakguard.core.policy import Proposal, ServiceRules, Trigger
from leakguard.core.state import ServiceState
from leakguard.core.trend import Verdict
from leakguard.core.units import format_duration
from leakguard.core.waiting import PlanKind, Waiting

DAY_S = 86400.0
BLACKOUT_MARGIN_S = 120.0
"""At least so long before a blackout a restart begins that cannot wait for its end."""
LEAST_QUIET_S = 60.0
EVEN = 0.5


@dataclass(frozen=True, slots=True)
class _Ends:
    """Every end that is foreseen, and how early one must act."""

    found: tuple[Forecast, ...]
    lead_s: float
    now_wall_s: float

    def sure(self, wall_s: float) -> float:
        """Give the chance that all lasts until a moment, and a restart then."""
        within = wall_s - self.now_wall_s + self.lead_s
        return 1.0 - max(end.probability_within(within) for end in self.found)

    def latest(self, risk: float) -> float:
        """Give the moment (wall clock) up to which the risk is accepted; inf when it is far."""
        safe_s = min(end.time_at(risk) for end in self.found) - self.lead_s
        return math.inf if safe_s > HORIZON_S else self.now_wall_s + max(0.0, safe_s)


def wait_for(service: ServiceState, rules: ServiceRules, now: Instant) -> Waiting | None:
    """Say what the restart of a leaking service waits for; None when no end is in sight."""
    rule, found = rules.policy.forecast, _ends(service, rules)
    if rule is None or not found:
        return None
    ends = _Ends(found, propose.lead_s(service, rules), now.wall_s)
    latest = ends.latest(rule.risk)
    if math.isinf(latest):
        return None
    calendar = service.calendar
    dark = () if rules.guards.blackouts_yield else calendar.blackouts
    margin = max(BLACKOUT_MARGIN_S, ends.lead_s)
    deadline, before = _out_of(dark, latest, margin)
    windows = without(calendar.windows, calendar.blackouts)
    quiet = rule.quiet and not _may_last(ends, next_after(windows, now.wall_s))
    kind, span = (
        _scheduled(calendar.schedules, now.wall_s, deadline)
        or _window(windows, now.wall_s, deadline)
        or (_quiet(service, now.wall_s, deadline) if quiet else None)
        or _at_last(deadline, before)
    )
    return Waiting(what=kind, span=span, sure=ends.sure(max(span.end_wall_s, now.wall_s)))


def _may_last(ends: _Ends, window: Span | None) -> bool:
    """Tell whether the next window comes in time more likely than not: worth to wait at a risk."""
    return window is not None and ends.sure(window.end_wall_s) > EVEN


def propose_now(service: ServiceState, now: Instant) -> Proposal | None:
    """Propose when the moment that was waited for has come."""
    waiting = service.waiting
    if waiting is None or not waiting.is_due(now.wall_s):
        return None
    facts = service.assessment
    near = facts.nearest if facts is not None else None
    what = propose.end_in_words(near) if near is not None else "it leaks"
    return Proposal(trigger=Trigger.FORECAST, reason=f"{what}; {_reason(waiting)}")


def in_words(waiting: Waiting, now: Instant) -> str:
    """Say what is waited for: `waits for Tue 24 Nov 03:00-04:00, 97% sure to last`."""
    sure = f"{_percent(waiting.sure)} sure to last"
    match waiting.what:
        case PlanKind.SCHEDULE:
            return f"waits for its schedule ({waiting.span.words}), {sure}"
        case _ if waiting.span.holds(now.wall_s):
            return f"is due now: {_reason(waiting)}"
        case PlanKind.WINDOW:
            return f"waits for the window {waiting.span.words}, {sure}"
        case PlanKind.QUIET:
            return f"waits for its quietest time before the end ({_moment(waiting)}), {sure}"
        case PlanKind.BLACKOUT:
            return f"waits until just before the blackout at {waiting.span.words}, {sure}"
        case PlanKind.EDGE:
            left = format_duration(max(0.0, waiting.span.begin_wall_s - now.wall_s))
            return f"waits for nothing cheaper: the accepted risk is reached in {left}"


def _reason(waiting: Waiting) -> str:
    match waiting.what:
        case PlanKind.WINDOW:
            return f"this window ({waiting.span.words}) is the last that comes early enough"
        case PlanKind.QUIET:
            return f"this is its quietest time before the end ({_moment(waiting)})"
        case _:
            return f"it would not outlast the blackout that begins at {waiting.span.words}"


def _moment(waiting: Waiting) -> str:
    return rfc3339(waiting.span.begin_wall_s)


def _percent(share: float) -> str:
    return f"{min(99.9, 100 * share):.3g}%" if share > 0.99 else f"{100 * share:.0f}%"


def _ends(service: ServiceState, rules: ServiceRules) -> tuple[Forecast, ...]:
    """Give the ends of a leak that concern the rule, a threshold that is going to be crossed too.

    A verdict is needed: nothing is restarted early for growth that may be a start.
    """
    facts = service.assessment
    if facts is None or facts.trend.verdict is not Verdict.LEAKING:
        return ()
    found = [end for end in facts.forecasts if propose.concerns(service, rules, end)]
    above = threshold_bytes(service, rules)
    if above is not None and service.sample is not None:
        room = Room(
            kind=LimitKind.CONFIGURED,
            limit_bytes=above,
            headroom_bytes=above - service.sample.value_bytes,
        )
        found.append(forecast(room, facts.trend, facts.edges))
    return tuple(end for end in found if end.median_s is not None)


def _out_of(blackouts: tuple[Span, ...], moment: float, margin: float) -> tuple[float, Span | None]:
    """Move a moment to before the blackouts that hold it; gives the first of these too."""
    before = None
    while (dark := span_at(blackouts, moment)) is not None:
        moment, before = dark.begin_wall_s - margin, dark
    return moment, before


def _scheduled(
    schedules: tuple[Span, ...], now_s: float, deadline: float
) -> tuple[PlanKind, Span] | None:
    """Give the next scheduled restart that comes early enough: it happens in any case."""
    coming = next_after(schedules, now_s)
    if coming is None or coming.begin_wall_s > deadline:
        return None
    return PlanKind.SCHEDULE, coming


def _window(
    windows: tuple[Span, ...], now_s: float, deadline: float
) -> tuple[PlanKind, Span] | None:
    """Give the last window that ends by the deadline; else the one that is open, or begins."""
    coming = [span for span in windows if span.begin_wall_s > now_s]
    whole = [span for span in coming if span.end_wall_s <= deadline]
    chosen = whole[-1] if whole else span_at(windows, now_s)
    if chosen is None:
        begun = [span for span in coming if span.begin_wall_s < deadline]
        chosen = begun[-1] if begun else None
    return (PlanKind.WINDOW, chosen) if chosen is not None else None


def _quiet(service: ServiceState, now_s: float, deadline: float) -> tuple[PlanKind, Span] | None:
    """Give the quietest half hour of the day before the deadline, where one is known."""
    busy = service.record.activity.business()
    if busy is None or deadline <= now_s:
        return None
    first = max(now_s, deadline - DAY_S)
    slots = []
    begin = first - first % SLOT_S
    while begin < deadline:
        slots.append(Span(begin_wall_s=max(begin, first), end_wall_s=min(begin + SLOT_S, deadline)))
        begin += SLOT_S
    free = [
        span
        for span in without(slots, service.calendar.blackouts)
        if span.end_wall_s - span.begin_wall_s >= LEAST_QUIET_S
    ]
    best = min(free, key=lambda s: (busy[slot_of(s.begin_wall_s)], -s.begin_wall_s), default=None)
    if best is None or busy[slot_of(best.begin_wall_s)] > QUIET_SHARE:
        return None
    return PlanKind.QUIET, best


def _at_last(deadline: float, before: Span | None) -> tuple[PlanKind, Span]:
    if before is None:
        return PlanKind.EDGE, Span(begin_wall_s=deadline, end_wall_s=deadline)
    span = Span(begin_wall_s=deadline, end_wall_s=before.begin_wall_s, words=before.words)
    return PlanKind.BLACKOUT, span
