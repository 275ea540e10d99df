"""What the windows of one level say for and against a leak, for many series at once.

The numbers and questions are those of `detectors._evidence`, row by row.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from leakguard.core.pyramid import WIDTHS_S
from leakguard.detectors._evidence import (
    CEILING,
    DAY_BUCKET_S,
    DAY_S,
    LATE,
    LEAST,
    MOST_LATE,
    Demands,
    Objection,
    repeated,
)
from leakguard.fleet._arrays import (
    Flags,
    Floats,
    Ints,
    medians,
    present,
    quantile_of_some,
    quantiles,
    smooth,
)
from leakguard.fleet._lines import fit_lines
from leakguard.fleet.fleet import Fleet

OBJECTIONS = tuple(Objection)
CLEAR = len(OBJECTIONS)
"""Says in place of an objection that there is none."""
FLAT, FAR = OBJECTIONS.index(Objection.FLAT), OBJECTIONS.index(Objection.FAR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What earlier lives of each series tell, for the limits that it has now."""

    low: Floats
    """The highest floor that it has lived with."""
    high: Floats
    again: Flags
    """Whether an earlier life grew into much of its room until it was cut short."""
    reach_s: Floats
    """How far ahead a window may look for that."""


def recall(fleet: Fleet, limits: Floats, demands: Demands) -> Past:
    """Look through the earlier lives of each series."""
    low, high = fleet.gone_low.copy(), fleet.gone_high.copy()
    again, reach = np.zeros(len(fleet), np.bool_), np.zeros(len(fleet))
    for row, lives in fleet.lives.items():
        low[row] = max(low[row], *(life.top_low_bytes for life in lives))
        high[row] = max(high[row], *(life.top_high_bytes for life in lives))
        spans = [life.span_s for life in repeated(lives, float(limits[row]), demands)]
        if spans:
            again[row], reach[row] = True, demands.again_reach * max(spans)
    return Past(low=low, high=high, again=again, reach_s=reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The windows of one level in numbers, [series], as `detectors._evidence.Evidence`."""

    points: Ints
    slope: Floats
    z: Floats
    end: Floats
    rise: Floats
    noise: Floats
    late: Floats
    back: Floats
    over_floor: Floats
    over_ceiling: Floats
    peaks: Floats

    @classmethod
    def empty(cls, points: Ints) -> "Evidence":
        """Give windows that say nothing."""
        names = [each.name for each in fields(cls) if each.name != "points"]
        return cls(points=points, **{name: np.zeros(len(points)) for name in names})

    def put(self, rows: Ints, numbers: dict[str, Floats]) -> None:
        """Note numbers of some rows."""
        for name, values in numbers.items():
            getattr(self, name)[rows] = values


def weigh(
    fleet: Fleet, index: int, past: Past, demands: Demands, rows: Ints | None = None
) -> Evidence:
    """Work out the numbers of each window of a level; with `rows` of those one bucket earlier."""
    level = fleet.levels[index]
    counts = present(level.low)
    earlier = 0 if rows is None else 1
    found = Evidence.empty(counts - earlier)
    chosen = np.arange(len(fleet)) if rows is None else rows
    width = level.low.shape[1]
    for n in np.unique(found.points[chosen]):
        if n >= LEAST:
            some = chosen[found.points[chosen] == n]
            span = slice(width - earlier - n, width - earlier)
            lows = level.low[some, span].astype(np.float64)
            _weigh(fleet, _Group(index, some, lows, span), past, demands, found)
    return found


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one level whose windows have as many buckets."""

    index: int
    rows: Ints
    lows: Floats
    span: slice


def _weigh(fleet: Fleet, group: _Group, past: Past, demands: Demands, found: Evidence) -> None:
    n, width = group.lows.shape[1], WIDTHS_S[group.index]
    few = max(n // 6, 2)
    up = medians(group.lows[:, -few:]) > medians(group.lows[:, :few])
    rows = group.rows[up]
    floor = smooth(group.lows[up])
    lines = fit_lines(floor, round(DAY_S / width) if width >= DAY_BUCKET_S else 0)
    rise = lines.slope * (n - 1)
    found.put(rows, {
        "slope": lines.slope / width, "z": lines.z, "end": lines.end, "rise": rise,
        "noise": lines.noise, "late": np.ones(len(rows)),
    })  # fmt: skip
    sure = (lines.slope > 0) & (lines.z >= demands.z) & (rise >= lines.noise)
    if not sure.any():
        return
    rows, floor, flat = rows[sure], floor[sure], lines.flat[sure]
    slope, rise, noise, end = lines.slope[sure], rise[sure], lines.noise[sure], lines.end[sure]
    highs = fleet.levels[group.index].high[rows, group.span].astype(np.float64)
    third = max(n // LATE, 4)
    old_floor, old_ceiling = _older(fleet, group.index, n, rows, past)
    ceiling = np.maximum(quantiles(highs[:, :-third], CEILING), old_ceiling)
    above = highs - end[:, None] - slope[:, None] * np.arange(1 - n, 1)
    drawdown = (np.maximum.accumulate(flat, axis=1) - flat).max(axis=1)
    found.put(rows, {
        "late": _theil_sen(floor[:, -third:]) / slope,
        "back": np.maximum(drawdown - 3 * noise, 0.0) / rise,
        "over_floor": (medians(flat[:, -few:]) - old_floor) / rise,
        "over_ceiling": (quantiles(highs[:, -third:], CEILING) - ceiling) / rise,
        "peaks": np.maximum(quantiles(above, 0.9), 0.0),
    })  # fmt: skip


def _theil_sen(values: Floats) -> Floats:
    """Give the median of all slopes between two values of a row, a step."""
    i, j = np.triu_indices(values.shape[1], 1)
    return medians((values[:, j] - values[:, i]) / (j - i))


def _older(fleet: Fleet, index: int, count: int, rows: Ints, past: Past) -> tuple[Floats, Floats]:
    """Give the highest floor and the highest ceiling before a window, in this life and others."""
    floor, ceiling = past.low[rows], past.high[rows]
    for coarser, level in fleet.levels.items():
        within = math.ceil(count * WIDTHS_S[index] / WIDTHS_S[coarser])
        if coarser <= index or within >= level.low.shape[1]:
            continue
        floor = np.fmax(floor, np.fmax.reduce(level.low[rows, :-within], axis=1))
        highs = np.sort(level.high[rows, :-within].astype(np.float64), axis=1)
        counts = present(highs)
        some = counts > 0
        ceiling[some] = np.maximum(
            ceiling[some], quantile_of_some(highs[some], counts[some], CEILING)
        )
    return floor, ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the questions need beside the evidence, [series]."""

    limit: Floats
    age_s: Floats
    past: Past
    demands: Demands

    def reach_s(self, window_s: Floats) -> Floats:
        """Give how far ahead windows of these lengths may look."""
        demands, past = self.demands, self.past
        far = (self.age_s >= demands.settled_s) | past.again
        times = np.where(far, demands.reach, demands.young_reach)
        return np.minimum(np.maximum(times * window_s, past.reach_s), demands.longest_s)


def object_to(found: Evidence, width_s: float, asked: Asked) -> Ints:
    """Give the first objection to each window as its place in `OBJECTIONS`, or `CLEAR`."""
    demands, again = asked.demands, asked.past.again
    window_s: Floats = found.points * np.float64(width_s)
    stands: dict[Objection, Flags] = {
        Objection.FLAT: found.slope <= 0,
        Objection.NOISE: (found.z < demands.z) | (found.rise < found.noise),
        Objection.SMALL: found.rise < demands.size * asked.limit,
        Objection.SLOWING: found.late < np.where(again, demands.again_late, demands.late),
        Objection.GIVES_BACK: found.back > demands.back,
        Objection.KNOWN_FLOOR: (found.over_floor < demands.over_floor) & ~again,
        Objection.KNOWN_CEILING: (found.over_ceiling < demands.over_ceiling) & ~again,
        Objection.FAR: _time_s(found, asked.limit) > asked.reach_s(window_s),
    }
    asked_first = [stands[objection] for objection in OBJECTIONS]
    return np.select(asked_first, list(range(CLEAR)), CLEAR)


def _time_s(found: Evidence, limit: Floats) -> Floats:
    """Seconds until the peaks reach the limit at the slope of late, from the window's end."""
    speed = found.slope * np.minimum(found.late, MOST_LATE)
    room = np.maximum(limit - found.end - found.peaks, 0.0)
    times: Floats = np.divide(room, speed, out=np.full(len(room), np.inf), where=speed > 0)
    return times
