"""Was a restart needless? What the memory would have done without it, until it could have waited.

A restart is needless when, had it not been done, the limit would not have been reached before the
next cheap moment (of the policy's schedules, or of the windows named), or within the horizon where
the policy has none. Where the recording ends before that, nothing is said.
"""

from leakguard.core.frozen import dataclass
from leakguard.runtime.backtest.memory import ServiceMemory
from leakguard.runtime.backtest.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one restart was needless; None: cannot be said. Times by the recording's clock."""

    needless: bool | None
    until_s: float
    reached_after_s: float | None = None


def judge(
    recording: Recording,
    memory: ServiceMemory,
    place: int,
    span: tuple[float, float],
) -> Verdict:
    """Let `memory`, now at sample `place`, go on alone; `span` is the restart and its deadline."""
    begin, until = span
    limit = recording.limit_bytes
    if limit is None:
        return Verdict(needless=None, until_s=until)
    alone = memory.fork()
    before = (recording.times[place], alone.value)
    for i in range(place + 1, len(recording)):
        t, value = recording.times[i], alone.step(i)
        if alone.died_s is not None and alone.died_s <= until:
            return _reached(alone.died_s - begin, until)
        if alone.began:  # others restarted it before it mattered
            return Verdict(needless=True, until_s=until)
        if value >= limit:
            full = crossing(before, (t, value), limit)
            if full <= until:
                return _reached(full - begin, until)
        if t >= until:
            return Verdict(needless=True, until_s=until)
        before = (t, value)
    return Verdict(needless=None, until_s=until)


def _reached(after_s: float, until: float) -> Verdict:
    return Verdict(needless=False, until_s=until, reached_after_s=max(0.0, after_s))


def crossing(before: tuple[float, float], after: tuple[float, float], limit: float) -> float:
    """Give when the straight line between two points reaches the limit."""
    (t0, low), (t1, high) = before, after
    return t0 if low >= limit else t0 + (t1 - t0) * (limit - low) / (high - low)
