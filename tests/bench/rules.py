"""The rules that are scored: ours, by the code that runs live, and two that people use today."""

import math
from collections import deque
from collections.abc import Callable, Iterator

from leakguard.core.forecast import Z95
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.runtime.outlook import Outlook
from leakguard.testing.shapes import HOUR_S, Shape
from tests.bench.scoring import Said

EVERY_S = 300.0
THRESHOLD, HELD_S = 0.8, 300.0
WINDOW_S, LINE_HELD_S = 6 * HOUR_S, 900.0
LINE_EVERY_S = 60.0


def leakguard(shape: Shape) -> Iterator[Said]:
    """What `leakguard forecast` and the daemon say, at default options."""
    outlook = Outlook(shape.name, EnvelopeDetector(Options()), shape.limit_bytes, EVERY_S)
    for t_s, value in zip(shape.times, shape.values, strict=True):
        judged = outlook.add(t_s, value)
        if judged is None:
            continue
        times = judged.foreseen.quantiles() if judged.foreseen is not None else None
        if times is None:
            yield Said(t_s=t_s, alarm=judged.alarm)
            continue
        band = (_far(times.p05_s), _far(times.p95_s))
        yield Said(t_s=t_s, alarm=judged.alarm, p50_s=times.p50_s, band=band)


def _far(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def threshold(shape: Shape) -> Iterator[Said]:
    """Alarm at 80 % of the limit, held for five minutes."""
    held = Held(HELD_S)
    for t_s, value in zip(shape.times, shape.values, strict=True):
        yield Said(t_s=t_s, alarm=held.stands(t_s, over=value >= THRESHOLD * shape.limit_bytes))


def line(ahead_s: float) -> Callable[[Shape], Iterator[Said]]:
    """Alarm when a line through six hours is past the limit so far ahead, held for 15 minutes."""

    def rule(shape: Shape) -> Iterator[Said]:
        fit, held, last_s = SlidingLine(WINDOW_S), Held(LINE_HELD_S), -math.inf
        for t_s, value in zip(shape.times, shape.values, strict=True):
            fit.add(t_s, value / shape.limit_bytes)
            if t_s - last_s < LINE_EVERY_S:
                continue
            last_s = t_s
            level, slope, error = fit.now(t_s)
            alarm = held.stands(t_s, over=level + slope * ahead_s > 1)
            if slope <= 0:
                yield Said(t_s=t_s, alarm=alarm)
                continue
            room, low = max(1 - level, 0.0), slope - Z95 * error
            band = (room / (slope + Z95 * error), room / low if low > 0 else math.inf)
            yield Said(t_s=t_s, alarm=alarm, p50_s=room / slope, band=band)

    return rule


class Held:
    """Whether a condition has stood for long enough."""

    def __init__(self, for_s: float) -> None:
        """Begin with a condition that does not stand."""
        self._for_s = for_s
        self._since: float | None = None

    def stands(self, t_s: float, *, over: bool) -> bool:
        """Take the condition at one instant."""
        if not over:
            self._since = None
            return False
        if self._since is None:
            self._since = t_s
        return t_s - self._since >= self._for_s


class SlidingLine:
    """Least squares over the last seconds, in constant time a sample."""

    def __init__(self, window_s: float) -> None:
        """Start empty."""
        self._window_s = window_s
        self._points: deque[tuple[float, float]] = deque()
        self._sums = [0.0] * 5

    def add(self, t_s: float, value: float) -> None:
        """Take a sample, and let go of those that are too old."""
        self._points.append((t_s, value))
        self._count(t_s, value, 1)
        while self._points[0][0] < t_s - self._window_s:
            self._count(*self._points.popleft(), -1)

    def _count(self, t_s: float, value: float, sign: int) -> None:
        t = t_s / HOUR_S
        for i, term in enumerate((t, value, t * t, t * value, value * value)):
            self._sums[i] += sign * term

    def now(self, t_s: float) -> tuple[float, float, float]:
        """Give the line's level at a time, its slope a second, and the slope's standard error."""
        n, (t, v, tt, tv, vv) = len(self._points), self._sums
        spread = tt - t * t / n
        if n < 3 or spread <= 0:
            return v / n, 0.0, 0.0
        slope = (tv - t * v / n) / spread
        left = max(vv - v * v / n - slope * slope * spread, 0.0)
        level = v / n + slope * (t_s / HOUR_S - t / n)
        return level, slope / HOUR_S, math.sqrt(left / (n - 2) / spread) / HOUR_S


RULES: dict[str, Callable[[Shape], Iterator[Said]]] = {
    "leakguard": leakguard,
    "80 % for 5 min": threshold,
    "line 6 h, 4 h ahead": line(4 * HOUR_S),
    "line 6 h, 24 h ahead": line(24 * HOUR_S),
}
