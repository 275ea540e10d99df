"""The paths that the windows of many series foresee, as `detectors.envelope` follows them.

A path's shape is fitted for all series at once. Joining the paths of one series is left to
`core.forecast.join`: only the few series that are otherwise clear come that far.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from leakguard.core.pyramid import WIDTHS_S
from leakguard.core.trend import PEAK_SHARES, Growth
from leakguard.detectors._growth import DAY_S
from leakguard.detectors.envelope import MOST_PATHS, PATH_LEAST, PATHS
from leakguard.fleet._arrays import Floats, Ints, medians, present, quantile_of_some
from leakguard.fleet._shapes import Shapes, fit_shapes
from leakguard.fleet.fleet import Fleet

LEAST_UNREST = 3
"""Windows side by side that tell how much rises change, and buckets that one needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Paths of several series, [path], as `core.trend.Growth`; times from the newest sample on."""

    row: Ints
    """Which series it is of."""
    at_s: Floats
    window_s: Floats
    bucket_s: Floats
    points: Ints
    level: Floats
    slope: Floats
    bend: Floats
    z: Floats
    noise: Floats
    rise: Floats
    unrest: Floats
    """NaN where there is no past."""
    peaks: Floats
    """[path, share]; [path, 0] where they were not asked for."""
    season: Floats
    seasonal: Ints

    def some(self, chosen: Ints) -> "Paths":
        """Give some of the paths."""
        return Paths(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    def growth(self, at: int) -> Growth:
        """Give one path as the forecast takes it, at the boot time 0 of the newest sample."""
        a, b, c, d = self.season[at].tolist()
        unrest = float(self.unrest[at])
        return Growth(
            at_boot_s=float(self.at_s[at]),
            window_s=float(self.window_s[at]),
            bucket_s=float(self.bucket_s[at]),
            points=int(self.points[at]),
            level_bytes=float(self.level[at]),
            slope_bytes_per_s=float(self.slope[at]),
            bend_bytes_per_s2=float(self.bend[at]),
            z=float(self.z[at]),
            noise_bytes=float(self.noise[at]),
            rise_bytes=float(self.rise[at]),
            unrest_bytes=None if math.isnan(unrest) else unrest,
            peaks_bytes=tuple(self.peaks[at].tolist()),
            season_bytes=(a, b, c, d) if self.seasonal[at] else None,
        )


def follow(fleet: Fleet, rows: Ints, *, peaks: bool) -> Paths | None:
    """Give the paths of some series, of each the least doubtful ones, in order; None: no path."""
    found = [
        paths
        for index in fleet.levels
        for count in PATHS
        for paths in _of_level(fleet, index, count, rows, peaks=peaks)
    ]
    if not found:
        return None
    joined = Paths(**{
        each.name: np.concatenate([getattr(paths, each.name) for paths in found])
        for each in fields(Paths)
    })  # fmt: skip
    order = np.lexsort((_doubts(joined), joined.row))
    row = joined.row[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    return joined.some(order[rank < MOST_PATHS])


def _doubts(paths: Paths) -> Floats:
    """Give what speaks against each path, whatever the limit."""
    rise = np.maximum(paths.rise, 1e-9)
    score = np.full(len(rise), 100.0)
    np.divide(1.0, paths.z**2, out=score, where=paths.z > 0.1)
    unrest = np.nan_to_num(paths.unrest)
    doubts: Floats = 0.4 * score + 0.6 * (unrest / rise) ** 2 + 0.46 * (paths.noise / rise) ** 2
    return doubts


def _of_level(fleet: Fleet, index: int, count: int, rows: Ints, *, peaks: bool) -> list[Paths]:
    level, found = fleet.levels[index], list[Paths]()
    counts = present(level.mid[rows])
    for n in np.unique(counts):
        if n < PATH_LEAST or (n < count and count != PATHS[0]):
            continue
        if count == PATHS[0] and n in PATHS[1:]:
            continue  # the same window as a shorter one
        size, some = min(count, int(n)), rows[counts == n]
        mids, few = level.mid[some, -size:].astype(np.float64), max(size // 6, 2)
        up = medians(mids[:, -few:]) > medians(mids[:, :few])
        if up.any():
            found.append(_fit(fleet, index, some[up], mids[up], peaks=peaks))
    return found


def _fit(fleet: Fleet, index: int, rows: Ints, mids: Floats, *, peaks: bool) -> Paths:
    """Follow one window of some series."""
    width, n = WIDTHS_S[index], mids.shape[1]
    base = mids[:, -1]
    shapes = fit_shapes(mids - base[:, None], width)
    span = n - 1 - shapes.start
    rise = shapes.slope * span - shapes.bend * span * span
    level = fleet.levels[index]
    spread = np.maximum(1 - fleet.gap_s[rows] / width, 0.0)
    tops = np.empty((len(rows), 0))
    if peaks:
        highs = level.high[rows, -n:].astype(np.float64) - base[:, None]
        tops = _peaks(highs, shapes, spread, width)
    every = Paths(
        row=rows,
        at_s=-level.until_s[rows] - width * (1 - spread / 2),
        window_s=span * width,
        bucket_s=np.full(len(rows), width),
        points=span + 1,
        level=base + shapes.end,
        slope=shapes.slope / width,
        bend=shapes.bend / width / width,
        z=shapes.slope / np.maximum(shapes.error * shapes.deviation, 1e-12),
        noise=shapes.noise,
        rise=rise,
        unrest=_unrest(fleet, (n - 1) * width, rows),
        peaks=tops,
        season=shapes.season,
        seasonal=shapes.seasonal,
    )
    return every.some(np.flatnonzero(((shapes.slope > 0) | (shapes.bend > 0)) & (rise > 0)))


def _peaks(highs: Floats, shapes: Shapes, spread: Floats, width: float) -> Floats:
    """Give how far the highest values lie above the path at the last sample of their buckets."""
    n = highs.shape[1]
    steps = np.arange(1.0 - n, 1.0) + spread[:, None] / 2
    over = np.maximum(highs - shapes.at(steps, 2 * math.pi * width / DAY_S), 0.0)
    over[np.arange(n) < shapes.start[:, None]] = np.nan
    over.sort(axis=1)
    counts = n - shapes.start
    shares = [quantile_of_some(over, counts, share) for share in PEAK_SHARES]
    return np.stack(shares, axis=1)


def _unrest(fleet: Fleet, window_s: float, rows: Ints) -> Floats:
    """Give how much the rise of windows of this length has changed from one to the next."""
    found, most = np.full(len(rows), np.nan), np.zeros(len(rows), np.intp)
    for index in sorted(fleet.levels, reverse=True):
        mid = fleet.levels[index].mid
        size = round(window_s / WIDTHS_S[index])
        windows = mid.shape[1] // max(size, 1)
        if size < LEAST_UNREST or windows < LEAST_UNREST:
            continue
        mids = mid[rows, -windows * size :].astype(np.float64)
        means = mids.reshape(len(rows), windows, size).mean(axis=2)
        bends = means[:, :-2] - 2 * means[:, 1:-1] + means[:, 2:]
        counts = present(bends)
        better = counts > most
        squares = np.nansum(bends[better] ** 2, axis=1)
        found[better] = np.sqrt(squares / counts[better])
        most[better] = counts[better]
    return found
