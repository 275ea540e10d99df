"""Theil-Sen slope over binned medians, believed when a Mann-Kendall test and its size say so.

Modest on purpose. Two windows are judged, the recent samples as they came and the medians of
whole minutes. A window shows growth when the rank test is significant (z >= 3), the rise is
larger than noise and than a floor, and the last third still grows at half the pace of the whole
(a warm-up and a filling cache slow down, a leak does not). What is young is `warming_up`, with
a provisional slope: a rank test alone alarms on 95 % of healthy series, so only a near
exhaustion may act on it.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from leakguard.core.instant import Instant
from leakguard.core.series import Series, median
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import MIB, Seconds, format_bytes, format_duration, format_rate
from leakguard.plugins import doc

BINS = 40
MIN_POINTS = 8
RISE_FLOOR_BYTES = 2 * MIB
RISE_FLOOR_SHARE = 0.02
SLOWING = 0.5
MAD_TO_SIGMA = 1.4826
Z90 = 1.6448536269514722


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How sure the detector has to be."""

    significance: float = field(
        default=3.0, metadata=doc("z score of the Mann-Kendall test that counts as growth")
    )
    young: Seconds = field(
        default=Seconds(120.0),
        metadata=doc("a series shorter than this is warming up, whatever it does"),
    )


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
        floor = max(RISE_FLOOR_BYTES, RISE_FLOOR_SHARE * self.level, 2 * self.noise)
        return self.rise >= floor and self.late_slope >= SLOWING * self.slope


class TheilSenDetector:
    """Judges a series by its recent samples and by its minutes."""

    def __init__(self, options: Options, _context: object = None) -> None:
        """Take the options; the context of a detector is empty."""
        self._options = options

    def fit(self, series: Series, now: Instant) -> Trend:
        """Give verdict and slope of `series`; `now` is not needed beyond its samples."""
        del now
        span = series.span_s()
        young, sure = span < self._options.young, self._options.significance
        recent = fit_window(series.recent.times, series.recent.values)
        if recent is not None and recent.z >= sure and recent.growing:
            return self._growing(recent, span, young=young)
        minutes = fit_window(series.minutes.times, series.minutes.values, least_z=sure)
        if minutes is not None and minutes.z >= sure and minutes.growing:
            return self._growing(minutes, span, young=young)
        if recent is None:
            return Trend(
                verdict=Verdict.WARMING_UP if len(series) else Verdict.UNKNOWN,
                reason=f"{len(series)} of {MIN_POINTS} samples needed",
                points=len(series),
                window_s=span,
            )
        return self._quiet(recent, span, young=young)

    def _growing(self, fitted: Fit, span: float, *, young: bool) -> Trend:
        reason = (
            f"grows {format_rate(fitted.slope)} over {format_duration(fitted.window_s)} "
            f"(+{format_bytes(fitted.rise)}, z = {fitted.z:.1f})"
        )
        if young:
            reason = f"only {format_duration(span)} seen; {reason}"
        return Trend(
            verdict=Verdict.WARMING_UP if young else Verdict.LEAKING,
            reason=reason,
            slope_bytes_per_s=fitted.slope,
            error_bytes_per_s=fitted.error,
            noise_bytes=fitted.noise,
            window_s=fitted.window_s,
            points=fitted.points,
        )

    def _quiet(self, fitted: Fit, span: float, *, young: bool) -> Trend:
        if fitted.z >= self._options.significance and fitted.rise >= RISE_FLOOR_BYTES:
            reason = f"growth slows down: {format_rate(fitted.late_slope)} lately"
        else:
            reason = f"no growth beyond noise over {format_duration(fitted.window_s)}"
        return Trend(
            verdict=Verdict.WARMING_UP if young else Verdict.STABLE,
            reason=f"only {format_duration(span)} seen; {reason}" if young else reason,
            noise_bytes=fitted.noise,
            window_s=fitted.window_s,
            points=fitted.points,
        )


def fit_window(
    times: Sequence[float], values: Sequence[float], least_z: float = -math.inf
) -> Fit | None:
    """Fit one window; None when it has too few points, or a z score below `least_z`."""
    if len(times) < MIN_POINTS:
        return None
    if max(values) - min(values) < RISE_FLOOR_BYTES:  # flat: nothing to be fitted, and cheap
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
