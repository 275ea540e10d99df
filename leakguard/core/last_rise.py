"""The last seconds before a limit: a leak that one more rise like its latest would take over it.

A forecast is about the path of a leak, and says little of the moment at which its own noise reaches
the limit: minutes before, the path still has minutes to go, and no chance of an end within the
lead is ever above the accepted one. What is left is to look at the memory itself: when the room is
no more than what the service was just seen to rise within the time that a restart needs, it may be
gone before the next look. That is an exhaustion, whatever the forecast says. Without the verdict of
a leak it counts only where the kernel has killed before, and only seconds before: a heap may come
as near at every turn, and a start may fill half of a limit.
"""

from leakguard.core import propose
from leakguard.core.facts import limit_words
from leakguard.core.policy import Proposal, ServiceRules, Trigger
from leakguard.core.series import Ring
from leakguard.core.state import ServiceState
from leakguard.core.trend import Verdict
from leakguard.core.units import format_bytes, format_duration

AHEAD_S = 15.0
"""Rises are compared over the lead, and over this at most: a burst is not drawn out."""
LATELY_S = 120.0
LEAST_POINTS = 3


def by_last_rise(service: ServiceState, rules: ServiceRules) -> Proposal | None:
    """Propose when a leak has no more room than its latest rises took."""
    facts = service.assessment
    if facts is None:
        return None
    sure = facts.trend.verdict is Verdict.LEAKING
    if not sure and not service.record.oom_kills:
        return None
    ahead = min(propose.lead_now_s(service, rules, sure=sure), AHEAD_S)
    rise = latest_rise(service.series.recent, ahead)
    for end in facts.forecasts:
        room = end.room
        if room.headroom_bytes > rise or not propose.concerns(service, rules, end):
            continue
        words = f"it rose by {format_bytes(int(rise))} within {format_duration(ahead)} lately"
        return Proposal(
            trigger=Trigger.EXHAUSTION,
            reason=f"{limit_words(room)} ({format_bytes(room.limit_bytes)}) has "
            f"{format_bytes(room.headroom_bytes)} left, and {words}",
        )
    return None


def latest_rise(recent: Ring, ahead_s: float) -> float:
    """Give the most that the newest samples rose within `ahead_s`, in bytes; 0 without a rise.

    Where samples are further apart, a share of the rise between two; where all of them lie
    closer together, their whole rise drawn out to it.
    """
    times, values = recent.times, recent.values
    if len(times) < LEAST_POINTS:
        return 0.0
    first = next(
        (i for i in range(len(times)) if times[-1] - times[i] <= LATELY_S),
        len(times) - LEAST_POINTS,
    )
    first = min(first, len(times) - LEAST_POINTS)
    span = times[-1] - times[first]
    most = 0.0 if span <= 0 else (values[-1] - values[first]) * ahead_s / max(span, 1e-9)
    begin = first
    for i in range(first + 1, len(times)):
        while begin < i - 1 and times[i] - times[begin] > ahead_s:
            begin += 1
        gap = times[i] - times[begin]
        low = min(values[begin:i])
        most = max(most, (values[i] - low) * min(1.0, ahead_s / max(gap, 1e-9)))
    return max(0.0, most)
