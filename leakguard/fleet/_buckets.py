"""Buckets of samples at a steady pace, level by level, with the edges that a pyramid has."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leakguard.core.pyramid import BUCKETS, FILLED, WIDTHS_S
from leakguard.fleet._arrays import Flags, Floats, Ints, Singles


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """When samples were taken: at `start_s`, and every `period_s` from then on."""

    start_s: float
    period_s: float

    def at(self, places: Ints) -> Floats:
        """Give the times of the samples at these places."""
        return self.start_s + places.astype(np.float64) * self.period_s

    def entry(self) -> int:
        """Give the finest level whose buckets a sample each can fill."""
        fit = (i for i, width in enumerate(WIDTHS_S) if self.period_s * FILLED <= width)
        return next(fit, len(WIDTHS_S) - 1)


@dataclass(frozen=True, slots=True)
class Strip:
    """All buckets of one level, [series, bucket], the first with the number `first`.

    NaN where no sample fell into a bucket.
    """

    first: int
    low: Singles
    mid: Singles
    high: Singles


@dataclass(frozen=True, slots=True)
class Closed:
    """The newest closed buckets of one level, [series, `BUCKETS`], as `fleet.Buckets` has them."""

    low: Singles
    mid: Singles
    high: Singles
    last: Ints
    """Number of the newest one."""


def strips(samples: Singles, grid: Grid) -> Iterator[tuple[int, Strip]]:
    """Sort samples [series, sample], NaN where one is missing, into the buckets of each level."""
    entry = grid.entry()
    strip = _first(samples, grid, WIDTHS_S[entry])
    yield entry, strip
    for index in range(entry + 1, len(WIDTHS_S)):
        strip = _coarser(strip, round(WIDTHS_S[index] / WIDTHS_S[index - 1]))
        yield index, strip


def _first(samples: Singles, grid: Grid, width_s: float) -> Strip:
    numbers = (grid.at(np.arange(samples.shape[1])) // width_s).astype(np.intp)
    first = int(numbers[0])
    places = numbers - first
    counts = np.bincount(places)
    if counts.max() == counts.min() == 1:
        return Strip(first, samples, samples, samples)
    nth = np.arange(len(places)) - np.searchsorted(places, places)
    spread = np.full((len(samples), len(counts), int(counts.max())), np.nan, np.float32)
    spread[:, places, nth] = samples
    return _condensed(first, spread, spread, spread)


def _coarser(strip: Strip, ratio: int) -> Strip:
    """Merge so many buckets into one."""
    before = strip.first % ratio
    rows, count = strip.low.shape
    after = -(before + count) % ratio
    merged = (before + count + after) // ratio
    parts = [
        np.pad(values, ((0, 0), (before, after)), constant_values=np.nan).reshape(
            rows, merged, ratio
        )
        for values in (strip.low, strip.mid, strip.high)
    ]
    return _condensed(strip.first // ratio, *parts)


def _condensed(first: int, low: Singles, mid: Singles, high: Singles) -> Strip:
    """Merge along the last axis, which is short: a turn of the loop each is faster."""
    lowest, highest = low[..., 0].copy(), high[..., 0].copy()
    for part in range(1, low.shape[2]):
        np.fmin(lowest, low[..., part], out=lowest)
        np.fmax(highest, high[..., part], out=highest)
    return Strip(first, lowest, _middle(mid), highest)


def _middle(parts: Singles) -> Singles:
    """Give the median of what is there along the last axis; NaN where nothing is."""
    ordered = np.sort(parts, axis=2)  # what is missing comes last
    counts = np.count_nonzero(~np.isnan(ordered), axis=2)[..., None]
    below = np.take_along_axis(ordered, np.maximum(counts - 1, 0) // 2, axis=2)
    above = np.take_along_axis(ordered, np.minimum(counts // 2, parts.shape[2] - 1), axis=2)
    return np.asarray((below + above)[..., 0] / 2, np.float32)


def newest(strip: Strip, closing: Ints) -> Closed:
    """Give the newest buckets before those with the numbers `closing`, [series]."""
    columns = closing[:, None] - strip.first + np.arange(-BUCKETS, 0)
    there = (columns >= 0) & (columns < strip.low.shape[1])
    columns = np.clip(columns, 0, strip.low.shape[1] - 1)
    low, mid, high = (
        np.where(there, np.take_along_axis(values, columns, axis=1), np.float32(np.nan))
        for values in (strip.low, strip.mid, strip.high)
    )
    closed = Closed(low, mid, high, closing - 1)
    for row in np.flatnonzero(_holed(strip, closing)):
        _bridge(strip, int(row), int(closing[row]), closed)
    return closed


def _inside(strip: Strip, closing: Ints) -> Flags:
    """Tell which buckets are there and closed."""
    numbers = strip.first + np.arange(strip.low.shape[1])
    return ~np.isnan(strip.low) & (numbers < closing[:, None])


def _holed(strip: Strip, closing: Ints) -> Flags:
    """Tell which series lack buckets between their first and their last closed one."""
    there = _inside(strip, closing)
    begun = strip.first + there.argmax(axis=1)
    holed: Flags = there.any(axis=1) & (np.count_nonzero(there, axis=1) < closing - begun)
    return holed


def _bridge(strip: Strip, row: int, closing: int, closed: Closed) -> None:
    """Bridge the holes of one series; one that is longer than a level begins it anew."""
    there = np.flatnonzero(~np.isnan(strip.low[row, : max(closing - strip.first, 0)]))
    breaks = np.flatnonzero(np.diff(there) > BUCKETS)
    there = there[breaks[-1] + 1 :] if len(breaks) else there
    columns = np.arange(max(there[-1] + 1 - BUCKETS, there[0]), there[-1] + 1)
    for to, values in (
        (closed.low, strip.low), (closed.mid, strip.mid), (closed.high, strip.high)
    ):  # fmt: skip
        to[row] = np.nan
        to[row, -len(columns) :] = np.interp(columns, there, values[row, there])
    closed.last[row] = strip.first + there[-1]


def gone(strip: Strip, closing: Ints) -> tuple[Floats, Floats]:
    """Give the highest floor and ceiling of buckets that are older than the newest ones."""
    older = _inside(strip, closing - BUCKETS)
    low, high = (
        np.where(older, values, -np.inf).max(axis=1, initial=-np.inf).astype(np.float64)
        for values in (strip.low, strip.high)
    )
    return low, high
