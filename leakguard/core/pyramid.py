"""A pyramid of rings: lowest, middle and highest value of buckets of a second to a day.

Each level keeps the last 48 buckets, so the windows reach from 48 seconds to 48 days. Minima and
maxima merge exactly; a coarser middle is the median of finer ones. Values are kept as single
floats: 24 bits are 64 bytes in a GiB. All levels lie in one array, without room to spare: one
array each would take a fifth more, and there may be hundreds of series.
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
_LEVELS = range(len(WIDTHS_S))
_RATIOS = tuple(round(wide / fine) for fine, wide in pairwise(WIDTHS_S))
_NONE = -1
"""Stands for the number of a bucket where there is none."""


def median(ordered: Sequence[float]) -> float:
    """Give the median of values in order.

    The standard library's brings fractions, decimals and random numbers along: half a MiB, and
    four times the time.
    """
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class Level:
    """The last buckets of one width, oldest first, without holes: a view of a pyramid."""

    __slots__ = ("_index", "_pyramid", "width_s")

    def __init__(self, pyramid: "Pyramid", index: int) -> None:
        """Look at one level of `pyramid`."""
        self._pyramid, self._index = pyramid, index
        self.width_s = WIDTHS_S[index]

    def __len__(self) -> int:
        """Count the buckets."""
        return self._pyramid.count(self._index)

    @property
    def last(self) -> int | None:
        """Number of the newest bucket, counted from the boot."""
        return self._pyramid.last(self._index)

    @property
    def lows(self) -> "array[float]":
        """Lowest values, oldest first."""
        return self._pyramid.column(self._index, 0)

    @property
    def mids(self) -> "array[float]":
        """Middle values, oldest first."""
        return self._pyramid.column(self._index, 1)

    @property
    def highs(self) -> "array[float]":
        """Highest values, oldest first."""
        return self._pyramid.column(self._index, 2)


class Pyramid:
    """Levels of ever wider buckets over one life of a series."""

    __slots__ = (
        "_buckets", "_counts", "_entry", "_lasts", "_number", "_opened", "_parts", "_sizes",
        "_values", "_when_s", "gone_high", "gone_low",
    )  # fmt: skip

    def __init__(self) -> None:
        """Start empty."""
        self._buckets = array("f")
        """Low, mid and high of every closed bucket: level by level, oldest first."""
        self._counts = bytearray(len(WIDTHS_S))
        """Closed buckets of each level."""
        self._lasts = array("q", [_NONE] * len(WIDTHS_S))
        """Number of the newest closed bucket of each level."""
        self._opened = array("q", [_NONE] * len(WIDTHS_S))
        """Number of the bucket of each level that is being filled."""
        self._parts = array("f")
        """Lowest and highest value of each such bucket, then its finer middles; level by level."""
        self._sizes = bytearray(len(WIDTHS_S))
        """How many of these values each level has."""
        self._entry = 0
        """The finest level whose buckets a sample each can fill, at the pace of the samples."""
        self._values: list[float] = []
        self._number: int | None = None
        """The bucket of that level that is being filled, with its values."""
        self._when_s: float | None = None
        self.gone_low = -math.inf
        """Highest of the lowest values that have left the coarsest level."""
        self.gone_high = -math.inf

    @property
    def levels(self) -> tuple[Level, ...]:
        """Look at all levels, the finest first."""
        return tuple(Level(self, index) for index in _LEVELS)

    def level(self, index: int) -> Level:
        """Look at one level."""
        return Level(self, index)

    def count(self, index: int) -> int:
        """Count the closed buckets of a level."""
        return self._counts[index]

    def last(self, index: int) -> int | None:
        """Give the number of the newest closed bucket of a level, counted from the boot."""
        number = self._lasts[index]
        return None if number == _NONE else number

    def column(self, index: int, which: int) -> "array[float]":
        """Give the lowest (0), middle (1) or highest (2) values of a level, oldest first."""
        first = 3 * sum(self._counts[:index])
        return self._buckets[first + which : first + 3 * self._counts[index] : 3]

    def push(self, boot_s: float, value: float) -> None:
        """Add one sample."""
        entry = self._entry_of(boot_s)
        number = int(boot_s // WIDTHS_S[entry])
        if number != self._number or entry != self._entry:
            if self._number is None:
                self._close_fed(boot_s)
            else:
                self._end_bucket(boot_s)
            self._entry, self._number, self._values = entry, number, []
        self._values.append(value)

    def _end_bucket(self, boot_s: float) -> None:
        """Take the samples of the bucket that is over."""
        index, number, values = self._entry, self._number or 0, self._values
        values.sort()
        bucket = values[0], median(values), values[-1]
        if self._opened[index] == _NONE and number != boot_s // WIDTHS_S[index]:
            self._hand_on(index, number, bucket)  # as nearly always: it is not in parts
        else:
            self._fill(index, number, bucket)
        self._close_ended(boot_s)

    def _entry_of(self, boot_s: float) -> int:
        """Find the level to enter by: buckets that no sample falls into are not worth bridging."""
        gap_s = boot_s - self._when_s if self._when_s is not None else 0.0
        self._when_s = boot_s
        if gap_s * FILLED <= WIDTHS_S[self._entry]:
            finer = self._entry - 1
            if finer < 0 or gap_s * FILLED > WIDTHS_S[finer]:
                return self._entry
        return next((i for i, w in enumerate(WIDTHS_S) if gap_s * FILLED <= w), len(WIDTHS_S) - 1)

    def _close_ended(self, boot_s: float) -> None:
        """Close every bucket that has ended, the finest first: the next one builds on it."""
        for index in _LEVELS:
            number = self._opened[index]
            if number == _NONE:
                continue
            if number == boot_s // WIDTHS_S[index]:
                return  # and so do all that are wider
            self._close(index)

    def _close_fed(self, boot_s: float) -> None:
        """Close what was fed and has ended: a wider bucket may be older than a finer one there."""
        for index in _LEVELS:
            if self._opened[index] not in (_NONE, boot_s // WIDTHS_S[index]):
                self._close(index)

    def feed(self, boot_s: float, width_s: float, bucket: tuple[float, float, float]) -> None:
        """Add what was condensed before, as (low, mid, high) of `width_s` from `boot_s` on."""
        index = next((i for i, w in enumerate(WIDTHS_S) if w >= width_s), len(WIDTHS_S) - 1)
        number = int((boot_s + width_s / 2) // WIDTHS_S[index])
        self._fill(index, number, bucket)

    def _fill(self, index: int, number: int, part: tuple[float, float, float]) -> None:
        """Add a part to the bucket of a level that is being filled."""
        if self._opened[index] != number:
            if self._opened[index] != _NONE:
                self._close(index)
            self._opened[index] = number
        low, mid, high = part
        parts, size = self._parts, self._sizes[index]
        first = sum(self._sizes[:index])
        if not size:
            parts[first:first] = array("f", (low, high, mid))
            self._sizes[index] = 3
            return
        parts[first], parts[first + 1] = min(parts[first], low), max(parts[first + 1], high)
        parts.insert(first + size, mid)
        self._sizes[index] = size + 1

    def _close(self, index: int) -> None:
        """Close the bucket of a level that is being filled, and hand it on."""
        number = self._opened[index]
        first = sum(self._sizes[:index])
        low, high, *mids = self._parts[first : first + self._sizes[index]]
        del self._parts[first : first + self._sizes[index]]
        self._opened[index], self._sizes[index] = _NONE, 0
        mids.sort()
        self._hand_on(index, number, (low, median(mids), high))

    def _hand_on(self, index: int, number: int, bucket: tuple[float, float, float]) -> None:
        """Add a closed bucket to its level, and to the bucket of the next one."""
        gone = self.put(index, number, bucket)
        if index + 1 < len(WIDTHS_S):
            self._fill(index + 1, number // _RATIOS[index], bucket)
        elif gone is not None:
            self.gone_low = max(self.gone_low, gone[0])
            self.gone_high = max(self.gone_high, gone[1])

    def put(
        self, index: int, number: int, bucket: tuple[float, float, float]
    ) -> tuple[float, float] | None:
        """Add a closed bucket; give the highest floor and ceiling of those that it pushes out."""
        last = self._lasts[index]
        if number <= last:
            return None
        first, count = 3 * sum(self._counts[:index]), self._counts[index]
        end = first + 3 * count
        self._lasts[index] = number
        if number == last + 1 and count == BUCKETS:  # as nearly always
            oldest = self._buckets[first], self._buckets[first + 2]
            self._buckets[first:end] = self._buckets[first + 3 : end] + array("f", bucket)
            return oldest
        missing = 0 if last == _NONE else number - last - 1
        held = self._buckets[first:end] if missing < BUCKETS else array("f")
        held += _bridge(held[-3:], bucket, missing) + array("f", bucket)
        over = max(len(held) - 3 * BUCKETS, 0)
        gone = (max(held[0:over:3]), max(held[2:over:3])) if over else None
        self._buckets = self._buckets[:first] + held[over:] + self._buckets[end:]
        self._counts[index] = (len(held) - over) // 3
        return gone

    def to_plain(self) -> dict[str, Any]:
        """Give everything as JSON-ready data, for recordings."""
        gone = [None if math.isinf(g) else g for g in (self.gone_low, self.gone_high)]
        return {
            "open": [self._entry, self._when_s, self._number, list(self._values)],
            "gone": gone,
            "counts": list(self._counts),
            "buckets": list(self._buckets),
            "lasts": list(self._lasts),
            "opened": list(self._opened),
            "sizes": list(self._sizes),
            "parts": list(self._parts),
        }

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> "Pyramid":
        """Read back what `to_plain` gave."""
        pyramid = cls()
        pyramid._entry, pyramid._when_s, pyramid._number, values = data["open"]
        pyramid._values = list(values)
        low, high = data["gone"]
        pyramid.gone_low = -math.inf if low is None else low
        pyramid.gone_high = -math.inf if high is None else high
        pyramid._counts, pyramid._buckets = bytearray(data["counts"]), array("f", data["buckets"])
        pyramid._lasts, pyramid._opened = array("q", data["lasts"]), array("q", data["opened"])
        pyramid._sizes, pyramid._parts = bytearray(data["sizes"]), array("f", data["parts"])
        return pyramid


def _bridge(
    before: Sequence[float], after: tuple[float, float, float], missing: int
) -> "array[float]":
    """Give the buckets that lie on a straight line from one to another."""
    made = array("f")
    for step in range(1, missing + 1 if len(before) else 0):
        share = step / (missing + 1)
        made.extend(b + share * (a - b) for b, a in zip(before, after, strict=True))
    return made
