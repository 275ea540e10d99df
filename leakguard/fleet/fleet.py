"""What is known of many series at one moment: their buckets, newest values, ages and lives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from leakguard.core.errors import UsageError
from leakguard.core.lives import Life
from leakguard.core.pyramid import BUCKETS, WIDTHS_S, Level, Pyramid, median
from leakguard.core.series import Series
from leakguard.detectors.envelope import SAMPLED
from leakguard.fleet._arrays import Floats, Ints

GAPS = 24
"""Gaps of the newest samples that tell how far apart they usually are."""

PER_SERIES = ("value", "age_s", "gap_s", "gone_low", "gone_high")
"""What a fleet has one number a series of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """One level of every series as [series, buckets]: newest last, NaN where there is none yet."""

    low: NDArray[np.float32]
    mid: NDArray[np.float32]
    high: NDArray[np.float32]
    until_s: Floats
    """Seconds from the end of the newest bucket to the newest sample, [series]."""

    def __post_init__(self) -> None:
        if self.low.shape[1] > BUCKETS or not self.low.shape == self.mid.shape == self.high.shape:
            shapes = self.low.shape, self.mid.shape, self.high.shape
            raise UsageError(
                f"buckets: low, mid and high are {shapes}: give three of one shape, "
                f"with the newest {BUCKETS} buckets at most"
            )

    def part(self, rows: slice) -> "Buckets":
        """Give some of the series."""
        return Buckets(
            low=self.low[rows], mid=self.mid[rows], high=self.high[rows], until_s=self.until_s[rows]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Series side by side. Sizes in bytes."""

    levels: Mapping[int, Buckets]
    """By place in `WIDTHS_S`; only those whose buckets at least one sample each fills."""
    value: Floats
    """The newest sample, NaN for a series without one: [series], as all that follows."""
    age_s: Floats
    """How long the present life has been going on."""
    gap_s: Floats
    """The usual time between two samples."""
    gone_low: Floats
    """The highest floor of this life that no level holds any more; minus infinity without one."""
    gone_high: Floats
    lives: dict[int, tuple[Life, ...]] = field(default_factory=dict)
    """Earlier lives, oldest first, of the series that had any."""

    def __len__(self) -> int:
        """Count the series."""
        return len(self.value)

    def put(self, rows: Ints, other: "Fleet") -> None:
        """Take series of another fleet in place of these rows, at the levels that are here."""
        for index, level in self.levels.items():
            theirs = other.levels.get(index)
            for each in fields(Buckets):
                values = getattr(theirs, each.name) if theirs is not None else np.nan
                getattr(level, each.name)[rows] = values
        for name in PER_SERIES:
            getattr(self, name)[rows] = getattr(other, name)
        for row in rows.tolist():
            self.lives.pop(row, None)
        self.lives.update({int(rows[at]): lives for at, lives in other.lives.items()})

    def parts(self, size: int) -> Iterator["Fleet"]:
        """Give so many series at a time."""
        for first in range(0, len(self), size):
            rows = slice(first, min(first + size, len(self)))
            yield Fleet(
                levels={index: level.part(rows) for index, level in self.levels.items()},
                **{name: getattr(self, name)[rows] for name in PER_SERIES},
                lives={
                    row - rows.start: lives
                    for row, lives in self.lives.items()
                    if rows.start <= row < rows.stop
                },
            )


def side_by_side(parts: Sequence[Fleet]) -> Fleet:
    """Put the series of several fleets with the same levels into one; at least one fleet."""
    offsets = accumulate((len(part) for part in parts), initial=0)
    return Fleet(
        levels={
            index: Buckets(**{
                each.name: np.concatenate([getattr(p.levels[index], each.name) for p in parts])
                for each in fields(Buckets)
            })
            for index in parts[0].levels
        },
        **{
            name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_SERIES
        },
        lives={
            offset + row: lives
            for offset, part in zip(offsets, parts, strict=False)
            for row, lives in part.lives.items()
        },
    )  # fmt: skip


def gather(series: Sequence[Series]) -> Fleet:
    """Lay the series of daemons side by side, as they stand."""
    last = [one.last() or (np.nan, np.nan) for one in series]
    gaps = [_usual_gap_s(one) for one in series]
    levels, empty = {}, Pyramid()
    for index, width_s in enumerate(WIDTHS_S):
        found = [
            (one.pyramid if width_s >= SAMPLED * gap else empty).level(index)
            for one, gap in zip(series, gaps, strict=True)
        ]
        if any(len(level) for level in found):
            levels[index] = _bucketed(found, [at for at, _ in last])
    return Fleet(
        levels=levels,
        value=np.array([value for _, value in last]),
        age_s=np.array([one.span_s() for one in series]),
        gap_s=np.array(gaps),
        gone_low=np.array([one.pyramid.gone_low for one in series]),
        gone_high=np.array([one.pyramid.gone_high for one in series]),
        lives={row: one.lives for row, one in enumerate(series) if one.lives},
    )


def _usual_gap_s(series: Series) -> float:
    gaps = sorted(b - a for a, b in pairwise(series.recent.times[-GAPS:]))
    return median(gaps) if gaps else 0.0


def _bucketed(levels: Sequence[Level], now_s: Sequence[float]) -> Buckets:
    low, mid, high = (np.full((len(levels), BUCKETS), np.nan, np.float32) for _ in range(3))
    until = np.full(len(levels), np.nan)
    for row, (level, at) in enumerate(zip(levels, now_s, strict=True)):
        count = len(level)
        if level.last is not None and count:
            low[row, -count:], mid[row, -count:] = level.lows, level.mids
            high[row, -count:] = level.highs
            until[row] = at - (level.last + 1) * level.width_s
    return Buckets(low=low, mid=mid, high=high, until_s=until)
