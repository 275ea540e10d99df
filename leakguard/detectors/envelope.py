"""A leak lifts floor and ceiling beyond all precedent, and does not slow down.

Every level of the series' pyramid is a window, from 48 seconds to 48 days. A window speaks of a
leak when it meets all demands (`_evidence`) at two closings of a bucket in a row, or when two
windows do so at once. The forecast joins the paths of all windows that grow (`_growth`), whatever
the verdict: a person wants to know when, before it is sure that it is a leak.
"""

import math
from dataclasses import field, replace
from itertools import pairwise

from leakguard.core.forecast import join
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.pyramid import WIDTHS_S, Pyramid, median
from leakguard.core.series import Series
from leakguard.core.trend import Growth, Trend, Verdict
from leakguard.core.units import BYTES, Seconds, SizeWords, format_duration
from leakguard.detectors._evidence import (
    LEAST,
    Demands,
    Evidence,
    Objection,
    object_to,
    reach_s,
    repeated,
    weigh,
    weigh_before,
)
from leakguard.detectors._growth import grow
from leakguard.detectors._young import fit_young
from leakguard.plugins import doc

SAMPLED = 0.95
"""A level is looked at when its buckets are at least this many times the usual gap of samples."""
PATH_LEAST = 10
PATHS = (48, 24)
"""Buckets of the windows whose paths are followed."""
MOST_PATHS = 8
SLACK = 1.1
"""The joint time may be this much later than a window may look ahead."""
MOST_Z = 999.0
"""An exact line has any; people need no more digits."""
GROWS_Z = 2.0
"""A path is worth a forecast from this score on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much a series has to show before it is called a leak."""

    significance: float = field(
        default=4.0,
        metadata=doc("z score of the slope of the floor, honest about noise that wanders"),
    )
    reach: float = field(
        default=2.0,
        metadata=doc("how many times its own length a window may look ahead to the limit"),
    )
    young_reach: float = field(
        default=1.0,
        metadata=doc("the same for a series that is younger than `settled`"),
    )
    young: Seconds = field(
        default=Seconds(60.0),
        metadata=doc("a series shorter than this is warming up, whatever it does"),
    )
    settled: Seconds = field(
        default=Seconds(36 * 3600.0),
        metadata=doc("a series shorter than this looks ahead by `young_reach` only"),
    )


class EnvelopeDetector:
    """Judges a series by all windows of its pyramid."""

    def __init__(self, options: Options, words: object = None) -> None:
        """Take the options; `words` puts sizes into words, as bytes if left out."""
        self._words = words if isinstance(words, SizeWords) else BYTES
        self._young_s = options.young
        self._demands = Demands(
            z=options.significance,
            reach=options.reach,
            young_reach=options.young_reach,
            settled_s=options.settled,
        )

    def fit(self, series: Series, now: Instant, room_bytes: float | None = None) -> Trend:
        """Give verdict and paths of `series`; `now` is not needed beyond its samples."""
        del now
        last = series.last()
        if last is None:
            return Trend(verdict=Verdict.UNKNOWN, reason="no sample yet")
        room = last[1] if room_bytes is None else max(room_bytes, 0.0)
        look = _Look(series, last[1] + room, self._demands, self._words)
        if not look.possible:
            return fit_young(series, self._words)
        trend = look.trend(last)
        if trend.verdict is Verdict.LEAKING and series.span_s() < self._young_s:
            seen = f"only {format_duration(series.span_s())} seen"
            return replace(trend, verdict=Verdict.WARMING_UP, reason=f"{seen}; {trend.reason}")
        return trend


class _Look:
    """One look at a series: the evidence of its levels, and what follows."""

    def __init__(self, series: Series, limit: float, demands: Demands, words: SizeWords) -> None:
        self._series, self._limit, self._demands = series, limit, demands
        self._gap_s = _usual_gap(series)
        self._levels = _usable(series, self._gap_s)
        self._age_s, self._words = series.span_s(), words
        self._again = repeated(series.lives, limit, demands)

    @property
    def possible(self) -> bool:
        """Whether any window has buckets enough."""
        return any(self._series.pyramid.count(i) >= LEAST for i in self._levels)

    def trend(self, last: tuple[float, float]) -> Trend:
        """Give the verdict with its reason and numbers."""
        weighed = [(i, self._evidence(i)) for i in self._levels]
        found = [(i, e, self._objection(e)) for i, e in weighed if e.points >= LEAST]
        clear = [(i, e) for i, e, objection in found if objection is None]
        growths = self._growths()
        leaking = len(clear) >= 2 or any(self._stood_before(i) for i, _ in clear)
        if leaking:
            best = max((e for _, e in clear), key=lambda e: e.z)
            told = self._told(Verdict.LEAKING, self._grows(best), best, growths, last)
            if self._reaches(told, max(clear, key=lambda pair: pair[1].window_s)[1]):
                return told
        growing = [(e, o) for _, e, o in found if o not in (None, Objection.FLAT, Objection.NOISE)]
        growing += [(e, Objection.FAR) for _, e in clear]
        if growing:
            best, objection = max(growing, key=lambda pair: pair[0].z)
            return self._told(
                self._unsure(best, objection), self._but(best, objection), best, growths, last
            )
        widest = max((e for _, e, _ in found), key=lambda e: e.window_s)
        strong = tuple(g for g in growths if g.z >= GROWS_Z and g.rise_bytes > 2 * g.noise_bytes)
        reason = f"no growth beyond noise over {format_duration(widest.window_s)}"
        verdict = Verdict.UNKNOWN if strong else Verdict.STABLE
        return self._told(verdict, reason, widest, strong, last)

    def _reaches(self, told: Trend, widest: Evidence) -> bool:
        """Tell whether the paths, bends and all, meet the limit as soon as the windows say."""
        if not told.growths:
            return True
        reach = reach_s(widest, self._age_s, self._again, self._demands)
        return join(self._limit - told.value_bytes, told)[0] <= SLACK * reach

    def _unsure(self, found: Evidence, objection: Objection) -> Verdict:
        """Growth that is no leak: a warm-up, something known, or too early to tell."""
        if objection in (Objection.KNOWN_FLOOR, Objection.KNOWN_CEILING, Objection.GIVES_BACK):
            known = found.over_floor <= 0 or found.over_ceiling <= 0
            grown_up = self._age_s >= self._demands.settled_s
            return Verdict.STABLE if known and grown_up else Verdict.UNKNOWN
        if self._age_s < self._demands.settled_s:
            return Verdict.WARMING_UP
        return Verdict.STABLE if objection is Objection.SLOWING else Verdict.UNKNOWN

    def _told(
        self,
        verdict: Verdict,
        reason: str,
        best: Evidence,
        growths: tuple[Growth, ...],
        last: tuple[float, float],
    ) -> Trend:
        slope: float | None = max(best.slope, 0.0)
        if not growths and verdict is not Verdict.LEAKING:
            slope = None
        elif growths and not slope:
            slope = max(g.slope_bytes_per_s for g in growths)
        return Trend(
            verdict=verdict,
            reason=reason,
            slope_bytes_per_s=slope,
            error_bytes_per_s=best.slope / best.z if best.z > 0 else 0.0,
            noise_bytes=best.noise,
            window_s=best.window_s,
            points=best.points,
            value_bytes=last[1],
            at_boot_s=last[0],
            life_s=self._age_s,
            growths=growths,
        )

    def _grows(self, best: Evidence) -> str:
        again = self._again
        before = f", as in {len(again)} earlier lives" if len(again) > 1 else ""
        before = ", as in the life before" if len(again) == 1 else before
        return f"{self._growth_words(best)}{before}"

    def _but(self, found: Evidence, objection: Objection) -> str:
        return f"{self._growth_words(found)}, {_BUTS[objection]}"

    def _growth_words(self, found: Evidence) -> str:
        return (
            f"grows {self._words.rate(found.slope)} over {format_duration(found.window_s)} "
            f"(+{self._words.size(found.rise)}, z = {min(found.z, MOST_Z):.1f})"
        )

    def _objection(self, found: Evidence) -> Objection | None:
        return object_to(found, self._limit, self._age_s, self._again, self._demands)

    def _evidence(self, index: int) -> Evidence:
        """Give the evidence of a level, worked out once per closed bucket."""
        memo, closed = self._series.memo, self._series.pyramid.last(index)
        known = memo.get(index)
        if known is None or known[0] != closed:
            made = weigh(self._series.pyramid, index, self._series.lives, self._demands)
            before = known[1].packed() if known is not None and closed == known[0] + 1 else None
            memo[index] = known = closed, made, before
        evidence: Evidence = known[1]
        return evidence

    def _stood_before(self, index: int) -> bool:
        """Tell whether the level spoke of a leak one bucket earlier, too."""
        before = self._series.memo[index][2]
        if before is not None:
            found = Evidence.unpacked(before)
        else:
            found = weigh_before(self._series.pyramid, index, self._series.lives, self._demands)
        return self._objection(found) is None

    def _growths(self) -> tuple[Growth, ...]:
        """List the paths of the windows that grow."""
        pyramid, memo = self._series.pyramid, self._series.memo
        found: list[Growth] = []
        for index in self._levels:
            closed, known = pyramid.last(index), memo.get((index,))
            if known is None or known[0] != closed:
                memo[(index,)] = known = (closed, tuple(_paths(pyramid, index, self._gap_s)))
            found += known[1]
        found.sort(key=_doubt)
        return tuple(found[:MOST_PATHS])


def _usual_gap(series: Series) -> float:
    times = series.recent.times[-LEAST * 2 :]
    gaps = sorted(b - a for a, b in pairwise(times))
    return median(gaps) if gaps else 0.0


def _usable(series: Series, gap_s: float) -> list[int]:
    """List the levels whose buckets are filled by at least one sample each."""
    count, least_s = series.pyramid.count, SAMPLED * gap_s
    return [i for i, width_s in enumerate(WIDTHS_S) if width_s >= least_s and count(i)]


def _paths(pyramid: Pyramid, index: int, gap_s: float) -> list[Growth]:
    level = pyramid.level(index)
    n, whole, found = len(level), level.mids, list[Growth]()
    for count in PATHS:
        if n < PATH_LEAST or (n < count and count != PATHS[0]):
            continue
        if count == PATHS[0] and n in PATHS[1:]:
            continue  # the same window as a shorter one
        size = min(count, n)
        mids, few = whole[-size:], max(size // 6, 2)
        if median(sorted(mids[-few:])) <= median(sorted(mids[:few])):
            continue
        growth = grow(level, size, _unrest(pyramid, index, (size - 1) * level.width_s), gap_s)
        if growth is not None and growth.rise_bytes > 0:
            found.append(growth)
    return found


def _unrest(pyramid: Pyramid, index: int, window_s: float) -> float | None:
    """Give how much the rise of windows of this length has changed from one to the next.

    Root mean square of the second differences of the means of such windows, side by side, at the
    wider level that holds the most of them: no other holds three.
    """
    best = 0, 0.0
    for wider in range(len(WIDTHS_S) - 1, index, -1):
        size = round(window_s / WIDTHS_S[wider])
        if size < 3 or pyramid.count(wider) < 3 * size:
            continue
        mids = pyramid.column(wider, 1)
        means = [sum(mids[end - size : end]) / size for end in range(len(mids), size - 1, -size)]
        bends = [a - 2 * b + c for a, b, c in zip(means, means[1:], means[2:], strict=False)]
        if len(bends) > best[0]:
            best = len(bends), math.sqrt(sum([b * b for b in bends]) / len(bends))
    return best[1] if best[0] else None


def _doubt(growth: Growth) -> float:
    """Give what speaks against a path, whatever the limit."""
    rise = max(growth.rise_bytes, 1e-9)
    unrest = growth.unrest_bytes or 0.0
    score = growth.z**-2 if growth.z > 0.1 else 100.0
    return 0.4 * score + 0.6 * (unrest / rise) ** 2 + 0.46 * (growth.noise_bytes / rise) ** 2


_BUTS = {
    Objection.SMALL: "which is little beside the limit",
    Objection.SLOWING: "but it slows down",
    Objection.GIVES_BACK: "but it gives much of it back",
    Objection.KNOWN_FLOOR: "but it has lived with as much before",
    Objection.KNOWN_CEILING: "but its peaks are no higher than before",
    Objection.FAR: "but the limit is further away than this can tell",
}
