"""Many series at one moment, from samples at a steady pace, as a metrics server has them.

What comes out is what `core.series` makes of the same samples one by one; only the middle of the
first bucket of a life may differ. A series with holes changes its pace, so it is left to that code,
which takes some microseconds a sample: ask the server for steps no finer than it has samples.
"""

import numpy as np

from leakguard.core.errors import UsageError
from leakguard.core.lives import Life
from leakguard.core.pyramid import WIDTHS_S
from leakguard.core.series import Series
from leakguard.detectors.envelope import SAMPLED
from leakguard.fleet._arrays import Floats, Ints, Singles
from leakguard.fleet._buckets import Grid, gone, newest, strips
from leakguard.fleet._lives import may_end, present_life
from leakguard.fleet.fleet import Buckets, Fleet, gather, side_by_side

WORKED_ON = 500_000
"""Samples that are worked on at a time, to bound the memory."""


def condense(samples: Floats, period_s: float, start_s: float = 0.0) -> Fleet:
    """Make the buckets of many series from [series, sample] in bytes, NaN where one is missing.

    Args:
        samples: the newest in the last column; a series may begin later or end earlier.
        period_s: seconds from one column to the next.
        start_s: time of the first column; buckets begin at whole multiples of their widths on
            its clock.

    Raises:
        UsageError: there is no column, or the period is not above zero.
    """
    if samples.ndim != 2 or not samples.shape[1] or period_s <= 0:
        raise UsageError(
            f"samples: {samples.shape} every {period_s} s: give [series, sample] with at least one "
            "column, and a period above zero"
        )
    grid = Grid(start_s=start_s, period_s=period_s)
    size = max(WORKED_ON // max(samples.shape[1], 1), 1)
    return side_by_side([
        _condense(np.array(samples[first : first + size], np.float64), grid)
        for first in range(0, max(len(samples), 1), size)
    ])  # fmt: skip


def _condense(samples: Floats, grid: Grid) -> Fleet:
    """Make the buckets of some series; `samples` is used up."""
    known = ~np.isnan(samples)
    count, rows = samples.shape[1], np.arange(len(samples))
    begin, last = known.argmax(axis=1), count - 1 - known[:, ::-1].argmax(axis=1)
    holed = known.any(axis=1) & (np.count_nonzero(known, axis=1) <= last - begin)
    value, now_s = samples[rows, last], grid.at(last)
    pushed, lives = last.copy(), dict[int, tuple[Life, ...]]()
    for row in np.flatnonzero(may_end(samples) & ~holed).tolist():
        found = present_life(samples[row], grid)
        begin[row], pushed[row] = found.begin, last[row] - found.held
        if found.lives:
            lives[row] = found.lives
    one_by_one = [_series(samples[row], grid) for row in np.flatnonzero(holed)]
    places = np.arange(count)
    samples[(places < begin[:, None]) | (places > pushed[:, None])] = np.nan
    levels, tops = _levels(samples.astype(np.float32), grid, pushed, now_s)
    fleet = Fleet(
        levels=levels,
        value=value,
        age_s=np.where(np.isnan(value), 0.0, now_s - grid.at(begin)),
        gap_s=np.full(len(samples), grid.period_s),
        gone_low=tops[0],
        gone_high=tops[1],
        lives=lives,
    )
    if one_by_one:
        fleet.put(np.flatnonzero(holed), gather(one_by_one))
    return fleet


def _series(samples: Floats, grid: Grid) -> Series:
    """Give a series its samples one by one."""
    series, places = Series(), np.flatnonzero(~np.isnan(samples))
    for boot_s, value in zip(grid.at(places).tolist(), samples[places].tolist(), strict=True):
        series.append(boot_s, value)
    return series


def _levels(
    samples: Singles, grid: Grid, pushed: Ints, now_s: Floats
) -> tuple[dict[int, Buckets], tuple[Floats, Floats]]:
    levels, tops = dict[int, Buckets](), (np.empty(0), np.empty(0))
    until = grid.at(pushed)
    for index, strip in strips(samples, grid):
        width = WIDTHS_S[index]
        closing = (until // width).astype(np.intp)
        tops = gone(strip, closing)  # those of the coarsest level count
        if width >= SAMPLED * grid.period_s:
            closed = newest(strip, closing)
            until_s = now_s - (closed.last + 1) * width
            levels[index] = Buckets(
                low=closed.low, mid=closed.mid, high=closed.high, until_s=until_s
            )
    return levels, tops
