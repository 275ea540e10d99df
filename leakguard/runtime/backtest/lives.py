"""Lives of a recorded service: where each began and ended, its warm-up, its floor and its slope."""

from bisect import bisect_right
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise

from leakguard.core.frozen import dataclass
from leakguard.runtime.backtest.recording import Recording

FALL_SHARE = 0.5
"""A run that holds less than this of what the one before held began anew."""
NEAR_SHARE = 0.98
"""A run that ended within this share of its limit, at the pace it had, was killed for memory."""
KILLED_SHARE = 0.8
"""After a kill less than this is left; a smaller fall from the limit is no kill."""
LATELY_SHARE = 0.75
"""A restart gives back a quarter even of the least that was used lately."""
LATELY_S = 86_400.0
PACE_POINTS = 6
"""The pace at the end of a life is that of its last samples."""
WARM_LONGEST_S = 6 * 3600.0
WARM_LEAST_POINTS = 8
WARM_BEND = 0.1
"""A start-up bends the curve by this share of the rise above the straight line."""


class Recorded(StrEnum):
    """What restarts that the recording shows, and that no limit explains, mean for the model."""

    KEEP = "keep"
    """They would have come all the same: deployments, people."""
    DROP = "drop"
    """They were made because of the memory, and would not have come."""
    NONE = "none"
    """They are none: the service gave memory back and ran on."""


class Ending(StrEnum):
    """How a recorded life ended."""

    KILLED = "killed"
    """It reached its limit."""
    RESTARTED = "restarted"
    """By others, and it would have been in any case."""
    DROPPED = "dropped"
    """By a policy, or so that the model leaves it out."""
    OPEN = "open"
    """The recording ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Samples `first` to `last` of a recording, and what is known of them. Sizes in bytes."""

    first: int
    last: int
    born_s: float
    end_s: float
    ending: Ending
    warm_s: float
    """How long it started up; 0 when that does not show."""
    floor: float
    """The least it used once it was warm."""
    slope: float
    """Its mean growth a second once it was warm, not below zero."""
    pace: float
    """Its growth a second at the end, not below zero."""

    @property
    def settled_s(self) -> float:
        """When it was warm."""
        return self.born_s + self.warm_s


def cut(recording: Recording, recorded: Recorded = Recorded.KEEP) -> tuple[Life, ...]:
    """Cut a recording where a run is known to begin, and where most of the memory is gone."""
    bounds = [0, *_begins(recording, recorded), len(recording)]
    return tuple(_life(recording, first, end - 1, recorded) for first, end in pairwise(bounds))


def _begins(recording: Recording, recorded: Recorded) -> Iterator[int]:
    first = 0
    for i in range(1, len(recording)):
        if i in recording.starts or _is_fall(recording, first, i, recorded):
            first = i
            yield i


def _is_fall(recording: Recording, first: int, i: int, recorded: Recorded) -> bool:
    """Tell whether the service that sample `i` shows is another than the one before.

    A recorder that averages shows a restart as two steps, so the two samples before count. After a
    job that used much for a while the service is back where it was just before; after a restart
    it is below all that it used lately.
    """
    if recording.runs_known:
        return False
    values = recording.values
    before = max(values[max(first, i - 2) : i])
    if values[i] < FALL_SHARE * before and values[i] < LATELY_SHARE * _lately(recording, first, i):
        return recorded is not Recorded.NONE or _at_limit(recording, first, i - 1)
    return values[i] < KILLED_SHARE * before and _at_limit(recording, first, i - 1)


def _lately(recording: Recording, first: int, i: int) -> float:
    """Give the least that was used in the last third of a life, of a day at most."""
    begin = bisect_right(recording.times, recording.times[i] - LATELY_S, first, i)
    return min(recording.values[min(max(begin, i - max(1, (i - first) // 3)), i - 1) : i])


def _at_limit(recording: Recording, first: int, last: int) -> bool:
    """Tell whether a life that ended at sample `last` had reached its limit before the next."""
    limit, after = recording.limit_bytes, min(last + 1, len(recording) - 1)
    if limit is None:
        return False
    reached = max(recording.values[max(first, last - 1) : last + 1])
    gap = recording.times[after] - recording.times[last]
    return reached + _pace(recording, first, last) * gap >= NEAR_SHARE * limit


def _pace(recording: Recording, first: int, last: int) -> float:
    begin = max(first, last - PACE_POINTS)
    if begin == last:
        return 0.0
    rise = recording.values[last] - recording.values[begin]
    return max(0.0, rise / (recording.times[last] - recording.times[begin]))


def _life(recording: Recording, first: int, last: int, recorded: Recorded) -> Life:
    times, values = recording.times, recording.values
    warm_s = _warm_up_s(recording, first, last)
    settled = times[first] + warm_s
    level = recording.at(settled, first, last)
    lasted = times[last] - settled
    return Life(
        first=first,
        last=last,
        born_s=times[first],
        end_s=times[last],
        ending=_ending(recording, first, last, recorded),
        warm_s=warm_s,
        floor=recording.lowest(settled, times[last], first, last),
        slope=max(0.0, (values[last] - level) / lasted) if lasted > 0 else 0.0,
        pace=_pace(recording, first, last),
    )


def _ending(recording: Recording, first: int, last: int, recorded: Recorded) -> Ending:
    if last == len(recording) - 1:
        return Ending.OPEN
    if _at_limit(recording, first, last):
        return Ending.KILLED
    dropped = recorded is Recorded.DROP or last + 1 in recording.ours
    return Ending.DROPPED if dropped else Ending.RESTARTED


def _warm_up_s(recording: Recording, first: int, last: int) -> float:
    """Give how long a service started up: up to the knee of its floor, where it has one.

    The floor at an age is what it never went below later in the same hours, so that a heap that
    fills and is collected has none of its peaks in it. A straight leak has no knee.
    """
    times = recording.times
    horizon = times[first] + min(WARM_LONGEST_S, (times[last] - times[first]) / 2)
    end = bisect_right(times, horizon, first, last + 1)
    if end - first < WARM_LEAST_POINTS:
        return 0.0
    floors = list(recording.values[first:end])
    for i in range(len(floors) - 2, -1, -1):
        floors[i] = min(floors[i], floors[i + 1])
    rise, lasted = floors[-1] - floors[0], times[end - 1] - times[first]
    if rise <= 0:
        return 0.0
    bends = [
        floor - floors[0] - rise * (t - times[first]) / lasted
        for t, floor in zip(times[first:end], floors, strict=True)
    ]
    bend = max(bends)
    if bend < WARM_BEND * rise:
        return 0.0
    return times[first + bends.index(bend)] - times[first]
