"""The verdicts of the envelope detector for many series at once: [series × buckets] in numpy.

The same windows, questions and confirmations as `detectors.envelope`, worked out for thousands of
series together; sums are added up in another order, so that the last bits may differ. Two things
are few, and left to the daemon's own code, series by series: how earlier lives count, and the
joint time of a series that is otherwise clear. Whether a window spoke of a leak one closing ago is
worked out from its other buckets, as the daemon does after a restart.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from leakguard.core.errors import UsageError
from leakguard.core.forecast import join
from leakguard.core.pyramid import WIDTHS_S
from leakguard.core.trend import Trend, Verdict
from leakguard.detectors._evidence import LEAST, Demands, Objection
from leakguard.detectors.envelope import GROWS_Z, SLACK, Options
from leakguard.fleet._arrays import Flags, Floats, Ints
from leakguard.fleet._paths import Paths, follow
from leakguard.fleet._windows import (
    CLEAR,
    FAR,
    OBJECTIONS,
    Asked,
    object_to,
    recall,
    weigh,
)
from leakguard.fleet.fleet import Fleet

T = TypeVar("T", bound=np.generic)
PART = 1024
"""Series that are worked on at a time: their arrays stay in the processor's cache."""
VERDICTS = tuple(Verdict)
CONFIRMED = 2
"""Windows that speak of a leak at once, or closings in a row of one."""
NONE = -1
"""In place of an objection: there is none, or no window."""


def _places(*objections: Objection) -> tuple[int, ...]:
    return tuple(OBJECTIONS.index(each) for each in objections)


LEAKING, WARMING_UP, STABLE, UNKNOWN = (
    VERDICTS.index(each)
    for each in (Verdict.LEAKING, Verdict.WARMING_UP, Verdict.STABLE, Verdict.UNKNOWN)
)
NOTHING = (NONE, *_places(Objection.FLAT, Objection.NOISE))
"""A window that does not grow."""
KNOWN = _places(Objection.KNOWN_FLOOR, Objection.KNOWN_CEILING, Objection.GIVES_BACK)
"""Growth that the series may have lived with before."""
SLOWING = OBJECTIONS.index(Objection.SLOWING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One verdict a series, with the window that speaks loudest for or against it."""

    verdicts: NDArray[np.int8]
    """Places in `VERDICTS`."""
    objections: NDArray[np.int8]
    """Places in `OBJECTIONS`; minus one for a leak, and where no window has buckets enough."""
    slope_bytes_per_s: Floats
    """Of that window's floor."""
    z: Floats
    window_s: Floats
    left_s: Floats
    """Of a leak: seconds until the limit, as its paths foresee; NaN without a path."""

    def verdict(self, row: int) -> Verdict:
        """Give the verdict on one series."""
        return VERDICTS[int(self.verdicts[row])]

    def objection(self, row: int) -> Objection | None:
        """Give why a series is no leak, or not yet one; None for a leak, or too little data."""
        return OBJECTIONS[place] if (place := int(self.objections[row])) != NONE else None

    def leaking(self) -> Ints:
        """List the series that leak, the one with the least time left first."""
        rows = np.flatnonzero(self.verdicts == LEAKING)
        return rows[np.argsort(self.left_s[rows], kind="stable")]


def judge(fleet: Fleet, limits: Floats, options: Options | None = None) -> Judgement:
    """Judge every series; `limits` in bytes, [series], NaN where none is known.

    Raises:
        UsageError: there are more or fewer limits than series.
    """
    if limits.shape != fleet.value.shape:
        raise UsageError(f"limits: {limits.shape} for {len(fleet)} series: give one each")
    options = options or Options()
    demands = Demands(
        z=options.significance,
        reach=options.reach,
        young_reach=options.young_reach,
        settled_s=options.settled,
    )
    tops = np.where(np.isnan(limits), 2 * fleet.value, np.fmax(limits, fleet.value))
    parts = [
        _Part(part, tops[first * PART : (first + 1) * PART], demands).judge(options.young)
        for first, part in enumerate(fleet.parts(PART))
    ]
    names = list(Judgement.__dataclass_fields__)
    return Judgement(**{
        name: np.concatenate([getattr(part, name) for part in parts] or [np.empty(0)])
        for name in names
    })  # fmt: skip


class _Part:
    """Some series: the evidence of their levels, and what follows. Arrays are [level, series]."""

    def __init__(self, fleet: Fleet, limits: Floats, demands: Demands) -> None:
        """Weigh every window of every level."""
        self._fleet, self._demands, self._levels = fleet, demands, sorted(fleet.levels)
        past = recall(fleet, limits, demands)
        self._asked = Asked(limit=limits, age_s=fleet.age_s, past=past, demands=demands)
        shape = len(self._levels), len(fleet)
        self._objections = np.full(shape, NONE)
        self._slope, self._z, self._window_s, self._over = np.zeros((4, *shape))
        for at, index in enumerate(self._levels):
            found, width = weigh(fleet, index, past, demands), WIDTHS_S[index]
            objections = object_to(found, width, self._asked)
            self._objections[at] = np.where(found.points < LEAST, NONE, objections)
            self._slope[at], self._z[at] = found.slope, found.z
            self._window_s[at] = found.points * width
            self._over[at] = np.minimum(found.over_floor, found.over_ceiling)

    def judge(self, young_s: float) -> Judgement:
        """Give the verdicts."""
        fleet, objections = self._fleet, self._objections
        clear, possible = objections == CLEAR, (objections != NONE).any(axis=0)
        leaking, left_s = self._leaking(clear)
        objections = np.where(clear & ~leaking, FAR, objections)
        grows = ~np.isin(objections, NOTHING)
        growing = ~leaking & grows.any(axis=0)
        loudest = self._loudest(np.where(leaking, clear, grows))
        objection = _at(objections, loudest, NONE)
        verdicts = np.full(len(fleet), STABLE, np.int8)
        verdicts[growing] = self._unsure(objection, loudest)[growing]
        verdicts[self._strong(np.flatnonzero(possible & ~leaking & ~growing))] = UNKNOWN
        verdicts[leaking] = np.where(fleet.age_s[leaking] < young_s, WARMING_UP, LEAKING)
        verdicts[~possible] = WARMING_UP
        verdicts[np.isnan(fleet.value)] = UNKNOWN
        return Judgement(
            verdicts=verdicts,
            objections=np.where(leaking, NONE, objection).astype(np.int8),
            slope_bytes_per_s=_at(self._slope, loudest, 0.0),
            z=_at(self._z, loudest, 0.0),
            window_s=_at(self._window_s, loudest, 0.0),
            left_s=left_s,
        )

    def _leaking(self, clear: Flags) -> tuple[Flags, Floats]:
        """Tell which series leak, and how much time the paths of those leave, in seconds."""
        leaking = np.count_nonzero(clear, axis=0) >= CONFIRMED
        for at, index in enumerate(self._levels):
            rows = np.flatnonzero(clear[at] & ~leaking)
            if len(rows):
                asked = self._asked
                before = weigh(self._fleet, index, asked.past, self._demands, rows)
                stood = object_to(before, WIDTHS_S[index], asked)[rows] == CLEAR
                leaking[rows[stood]] = True
        rows = np.flatnonzero(leaking)
        left_s = np.full(len(self._fleet), np.nan)
        paths = follow(self._fleet, rows, peaks=True) if len(rows) else None
        if paths is not None:
            left_s[rows] = [self._join(paths, int(row)) for row in rows]
            widest = np.where(clear, self._window_s, 0.0).max(axis=0, initial=0.0)
            leaking &= ~(left_s > SLACK * self._asked.reach_s(widest))
        left_s[~leaking] = np.nan
        return leaking, left_s

    def _join(self, paths: Paths, row: int) -> float:
        """Give the joint time of the paths of one series; NaN without a path."""
        first, last = np.searchsorted(paths.row, (row, row + 1))
        if first == last:
            return np.nan
        value = float(self._fleet.value[row])
        trend = Trend(
            verdict=Verdict.LEAKING,
            reason="",
            value_bytes=value,
            life_s=float(self._fleet.age_s[row]),
            growths=tuple(paths.growth(at) for at in range(first, last)),
        )
        return join(float(self._asked.limit[row]) - value, trend)[0]

    def _loudest(self, heard: Flags) -> Ints:
        """Give the level with the highest score of those; where there is none, the widest."""
        score = np.where(heard, self._z, -np.inf)
        window_s = np.where(self._objections == NONE, 0.0, self._window_s)
        score = np.where(heard.any(axis=0), score, window_s)
        return score.argmax(axis=0) if len(score) else np.zeros(len(self._fleet), np.intp)

    def _unsure(self, objection: Ints, loudest: Ints) -> Ints:
        """Growth that is no leak: a warm-up, something known, or too early to tell."""
        settled = self._fleet.age_s >= self._demands.settled_s
        seen = np.isin(objection, KNOWN)
        known = seen & (_at(self._over, loudest, 0.0) <= 0)
        early = np.where(seen, UNKNOWN, WARMING_UP)
        return np.where(settled, np.where(known | (objection == SLOWING), STABLE, UNKNOWN), early)

    def _strong(self, rows: Ints) -> Ints:
        """List those series with a path that is worth a forecast."""
        paths = follow(self._fleet, rows, peaks=False) if len(rows) else None
        if paths is None:
            return rows[:0]
        return paths.row[(paths.z >= GROWS_Z) & (paths.rise > 2 * paths.noise)]


def _at(numbers: NDArray[T], level: Ints, other: float) -> NDArray[T]:
    """Give the numbers of one level of each series."""
    if not len(numbers):
        return np.full(len(level), other, numbers.dtype)
    return numbers[level, np.arange(len(level))]
