"""A pyramid of rings: lowest, middle and highest value of buckets of a second to a day.

Each level keeps the last 48 buckets, so the windows reach from 48 seconds to 48 days, in about
6 kB. Minima and maxima merge exactly; a coarser middle is the median of finer ones. Values are
kept as single floats: 24 bits are 64 bytes in a GiB.
"""

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

WIDTHS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 1200.0, 4800.0, 14400.0, 86400.0)
"""Seconds of a bucket, by level; each a whole multiple of the one before."""
BUCKETS = 48
"""Buckets that a level keeps."""
FILLED = 0.8
"""A level is filled by samples that come at most a little more than its width apart."""
_RATIOS = tuple(round(wide / fine) for fine, wide in pairwise(WIDTHS_S))


def median(ordered: Sequence[float]) -> float:
    """Give the median of values in order.

    The standard library's brings fractions, decimals and random numbers along: half a MiB, and
    four times the time.
    """
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class Level:
    """The last buckets of one width, oldest first, without holes: short ones are bridged."""

    __slots__ = ("_data", "last", "number", "parts", "width_s")

    def __init__(self, width_s: float) -> None:
        """Start empty."""
        self.width_s = width_s
        self._data = array("f")
        self.last: int | None = None
        """Number of the newest bucket, counted from the boot."""
        self.number: int | None = None
        """Number of the bucket that is being filled."""
        self.parts = array("f")
        """Low, mid and high of the finer buckets that are in it so far."""

    def __len__(self) -> int:
        """Count the buckets."""
        return len(self._data) // 3

    @property
    def lows(self) -> "array[float]":
        """Lowest values, oldest first."""
        return self._data[0::3]

    @property
    def mids(self) -> "array[float]":
        """Middle values, oldest first."""
        return self._data[1::3]

    @property
    def highs(self) -> "array[float]":
        """Highest values, oldest first."""
        return self._data[2::3]

    def put(self, number: int, low: float, mid: float, high: float) -> tuple[float, float] | None:
        """Add a closed bucket; give lowest and highest value of the one that it pushes out."""
        if self.last is not None and number <= self.last:
            return None
        missing = 0 if self.last is None else number - self.last - 1
        if missing >= BUCKETS:
            del self._data[:]
        elif missing:
            self._bridge(missing, (low, mid, high))
        self._data.extend((low, mid, high))
        self.last = number
        gone = None
        while len(self._data) > 3 * BUCKETS:
            gone = (self._data[0], self._data[2])
            del self._data[:3]
        return gone

    def _bridge(self, missing: int, after: tuple[float, float, float]) -> None:
        before = self._data[-3:]
        for step in range(1, missing + 1):
            share = step / (missing + 1)
            self._data.extend(b + share * (a - b) for b, a in zip(before, after, strict=True))

    def to_plain(self) -> list[Any]:
        """Give everything as JSON-ready data."""
        return [self.last, list(self._data), self.number, list(self.parts)]

    def read_plain(self, data: Sequence[Any]) -> None:
        """Take what `to_plain` gave."""
        self.last, self._data = data[0], array("f", data[1])
        self.number, self.parts = data[2], array("f", data[3])


class Pyramid:
    """Levels of ever wider buckets over one life of a series."""

    __slots__ = ("_entry", "_last_s", "_number", "_values", "gone_high", "gone_low", "levels")

    def __init__(self) -> None:
        """Start empty."""
        self.levels = tuple(Level(width_s) for width_s in WIDTHS_S)
        self._entry = 0
        """The finest level whose buckets a sample each can fill, at the pace of the samples."""
        self._values: list[float] = []
        self._number: int | None = None
        """The bucket of that level that is being filled, with its values."""
        self._last_s: float | None = None
        self.gone_low = -math.inf
        """Highest of the lowest values that have left the coarsest level."""
        self.gone_high = -math.inf

    def push(self, boot_s: float, value: float) -> None:
        """Add one sample."""
        entry = self._entry_of(boot_s)
        number = int(boot_s // WIDTHS_S[entry])
        if number != self._number or entry != self._entry:
            if self._number is not None:
                values = sorted(self._values)
                self._fill(self._entry, self._number, (values[0], median(values), values[-1]))
                self._flush_until(boot_s)
            self._entry, self._number, self._values = entry, number, []
        self._values.append(value)

    def _flush_until(self, boot_s: float) -> None:
        """Close every bucket that has ended, the finest first: the next one builds on it."""
        for index, level in enumerate(self.levels):
            if level.number is not None and level.number != boot_s // level.width_s:
                self._flush(index)

    def _entry_of(self, boot_s: float) -> int:
        """Find the level to enter by: buckets that no sample falls into are not worth bridging."""
        gap_s = boot_s - self._last_s if self._last_s is not None else 0.0
        self._last_s = boot_s
        if gap_s * FILLED <= WIDTHS_S[self._entry]:
            finer = self._entry - 1
            if finer < 0 or gap_s * FILLED > WIDTHS_S[finer]:
                return self._entry
        return next((i for i, w in enumerate(WIDTHS_S) if gap_s * FILLED <= w), len(WIDTHS_S) - 1)

    def feed(self, boot_s: float, width_s: float, bucket: tuple[float, float, float]) -> None:
        """Add what was condensed before, as (low, mid, high) of `width_s` from `boot_s` on."""
        level = next((i for i, w in enumerate(WIDTHS_S) if w >= width_s), len(WIDTHS_S) - 1)
        number = int((boot_s + width_s / 2) // WIDTHS_S[level])
        self._fill(level, number, bucket)

    def _fill(self, index: int, number: int, part: tuple[float, float, float]) -> None:
        """Add a part to the bucket of a level that is being filled."""
        level = self.levels[index]
        if level.number is not None and level.number != number:
            self._flush(index)
        level.number = number
        level.parts.extend(part)

    def _flush(self, index: int) -> None:
        """Close the bucket of a level that is being filled, and hand it on."""
        level = self.levels[index]
        if level.number is None:
            return
        number, parts = level.number, level.parts
        mid = median(sorted(parts[1::3]))
        bucket = min(parts[0::3]), mid, max(parts[2::3])
        level.number, level.parts = None, array("f")
        gone = level.put(number, *bucket)
        if index + 1 < len(WIDTHS_S):
            self._fill(index + 1, number // _RATIOS[index], bucket)
        elif gone is not None:
            self.gone_low = max(self.gone_low, gone[0])
            self.gone_high = max(self.gone_high, gone[1])

    def to_plain(self) -> dict[str, Any]:
        """Give everything as JSON-ready data, for recordings."""
        gone = [None if math.isinf(g) else g for g in (self.gone_low, self.gone_high)]
        levels = [level.to_plain() for level in self.levels]
        opened = [self._entry, self._last_s, self._number, list(self._values)]
        return {"open": opened, "gone": gone, "levels": levels}

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> "Pyramid":
        """Read back what `to_plain` gave."""
        pyramid = cls()
        pyramid._entry, pyramid._last_s, pyramid._number, values = data["open"]
        pyramid._values = list(values)
        low, high = data["gone"]
        pyramid.gone_low = -math.inf if low is None else low
        pyramid.gone_high = -math.inf if high is None else high
        for level, plain in zip(pyramid.levels, data["levels"], strict=True):
            level.read_plain(plain)
        return pyramid
