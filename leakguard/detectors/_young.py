"""The slope of a series that is too young for windows of buckets: Theil-Sen on its newest samples.

Provisional on purpose: a rank test alone alarms on 95 % of healthy series, so the verdict is
`warming_up`, and only a near exhaustion may act on it.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from leakguard.core.frozen import dataclass
from leakguard.core.pyramid import median
from leakguard.core.series import Series
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import BYTES, SizeWords, format_duration

BINS = 40
MIN_POINTS = 8
SURE_Z = 3.0
RISE_FLOOR_SHARE = 0.02
SLOWING = 0.5
MAD_TO_SIGMA = 1.4826
Z90 = 1.6448536269514722


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A line through one window. Sizes in bytes, slopes in bytes a second."""

    slope: float
    error: float
    noise: float
    z: float
    rise: float
    late_slope: float
    level: float
    window_s: float
    points: int

    @property
    def growing(self) -> bool:
        """Whether the rise is more than noise and a floor, and does not slow down."""
        floor = max(RISE_FLOOR_SHARE * self.level, 2 * self.noise)
        return self.rise >= floor and self.late_slope >= SLOWING * self.slope


def fit_young(series: Series, words: SizeWords = BYTES) -> Trend:
    """Give the slope of the newest samples, where a rank test and its size speak for growth."""
    span, last = series.span_s(), series.last() or (0.0, 0.0)
    recent = fit_window(series.recent.times, series.recent.values)
    if recent is None:
        return Trend(
            verdict=Verdict.WARMING_UP,
            reason=f"{len(series)} of {MIN_POINTS} samples needed",
            points=len(series),
            window_s=span,
        )
    seen = f"only {format_duration(span)} seen"
    grows = recent.z >= SURE_Z and recent.growing
    reason = f"no growth beyond noise over {format_duration(recent.window_s)}"
    if grows:
        reason = (
            f"grows {words.rate(recent.slope)} over {format_duration(recent.window_s)} "
            f"(+{words.size(recent.rise)}, z = {recent.z:.1f})"
        )
    elif recent.z >= SURE_Z and recent.rise >= RISE_FLOOR_SHARE * recent.level:
        reason = f"growth slows down: {words.rate(recent.late_slope)} lately"
    return Trend(
        verdict=Verdict.WARMING_UP,
        reason=f"{seen}; {reason}",
        slope_bytes_per_s=recent.slope if grows else None,
        error_bytes_per_s=recent.error if grows else 0.0,
        noise_bytes=recent.noise,
        window_s=recent.window_s,
        points=recent.points,
        value_bytes=last[1],
        at_boot_s=last[0],
    )


def fit_window(
    times: Sequence[float], values: Sequence[float], least_z: float = -math.inf
) -> Fit | None:
    """Fit one window; None when it has too few points, or a z score below `least_z`."""
    if len(times) < MIN_POINTS:
        return None
    if max(values) - min(values) < RISE_FLOOR_SHARE * abs(values[-1]):  # flat, and cheap
        level = float(values[-1])
        return Fit(
            slope=0.0, error=0.0, noise=0.0, z=0.0, rise=0.0, late_slope=0.0, level=level,
            window_s=times[-1] - times[0], points=len(times),
        )  # fmt: skip
    xs, ys = binned_medians(times, values, BINS)
    if len(xs) < MIN_POINTS:
        xs, ys = list(times[-BINS:]), list(values[-BINS:])
    z = mann_kendall_z(ys)
    if z < least_z:  # a third of the cost of a fit
        return None
    slope, error = theil_sen(xs, ys)
    noise = _noise(xs, ys, slope)
    third = max(4, len(xs) // 3)
    window_s = xs[-1] - xs[0]
    return Fit(
        slope=slope, error=error, noise=noise, z=z, rise=slope * window_s,
        late_slope=theil_sen(xs[-third:], ys[-third:])[0], level=float(values[-1]),
        window_s=window_s, points=len(times),
    )  # fmt: skip


def binned_medians(
    times: Sequence[float], values: Sequence[float], bins: int
) -> tuple[list[float], list[float]]:
    """Give the median time and value of each of at most `bins` equal slices of time."""
    if len(times) <= bins:
        return list(times), list(values)
    first, width = times[0], (times[-1] - times[0]) / bins or 1.0
    xs, ys, begin = list[float](), list[float](), 0
    for number in range(1, bins + 1):
        end = bisect_left(times, first + number * width, begin) if number < bins else len(times)
        if end > begin:
            xs.append(median(times[begin:end]))
            ys.append(median(sorted(values[begin:end])))
            begin = end
    return xs, ys


def theil_sen(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Give the median of all pairwise slopes and its standard error (Sen's rank interval)."""
    n, points = len(xs), list(zip(xs, ys, strict=True))
    slopes = [
        (y2 - y1) / (x2 - x1)
        for i, (x1, y1) in enumerate(points, 1)
        for x2, y2 in points[i:]
        if x2 > x1
    ]
    if not slopes:
        return 0.0, 0.0
    slopes.sort()
    half_width = Z90 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18) / 2
    low = max(0, round(len(slopes) / 2 - half_width))
    high = min(len(slopes) - 1, round(len(slopes) / 2 + half_width))
    return median(slopes), (slopes[high] - slopes[low]) / (2 * Z90)


def mann_kendall_z(ys: Sequence[float]) -> float:
    """Give the z score of Mann and Kendall's rank test for a rise (ties count as nothing)."""
    n, score, seen = len(ys), 0, list[float]()
    for y in ys:
        below, not_above = bisect_left(seen, y), bisect_right(seen, y)
        score += below - (len(seen) - not_above)
        seen.insert(below, y)
    spread = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return 0.0 if score == 0 else (score - math.copysign(1, score)) / spread


def _noise(xs: Sequence[float], ys: Sequence[float], slope: float) -> float:
    residuals = [y - slope * x for x, y in zip(xs, ys, strict=True)]
    middle = median(sorted(residuals))
    return MAD_TO_SIGMA * median(sorted(abs(r - middle) for r in residuals))
