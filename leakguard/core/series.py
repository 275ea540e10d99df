"""A bounded series of (time, value): recent samples as they came, older ones as medians a minute.

16 bytes a point in two `array` columns; a full series holds 300 + 360 points, about 10.5 kB.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RECENT_POINTS = 300
BUCKET_S = 60.0
BUCKETS = 360
FALL_SHARE = 0.5


def median(ordered: Sequence[float]) -> float:
    """Give the median of values in order.

    The standard library's brings fractions, decimals and random numbers along: half a MiB, and
    four times the time.
    """
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


@dataclass(slots=True)
class Ring:
    """The last `size` points, oldest first. Appending is O(1) amortised."""

    size: int
    times: "array[float]"
    values: "array[float]"

    @classmethod
    def of(cls, size: int) -> "Ring":
        """Make an empty ring."""
        return cls(size, array("d"), array("d"))

    def append(self, t: float, value: float) -> None:
        """Add a point; the oldest quarter is dropped when twice the size would be passed."""
        if len(self.times) >= self.size + self.size // 4:
            drop = len(self.times) - self.size + 1
            del self.times[:drop]
            del self.values[:drop]
        self.times.append(t)
        self.values.append(value)


class Series:
    """Samples of one incarnation by boot time; a new incarnation starts a new series."""

    __slots__ = ("_open", "_open_bucket", "minutes", "recent")

    def __init__(self) -> None:
        """Start empty."""
        self.recent = Ring.of(RECENT_POINTS)
        self.minutes = Ring.of(BUCKETS)
        self._open: list[float] = []
        self._open_bucket: float | None = None

    def __len__(self) -> int:
        """Count the recent points."""
        return len(self.recent.times)

    def append(self, boot_s: float, value: float) -> None:
        """Add a sample; one that is not later than the last is ignored."""
        if self.recent.times and boot_s <= self.recent.times[-1]:
            return
        bucket = boot_s // BUCKET_S
        if self._open_bucket is not None and bucket != self._open_bucket:
            self._close()
        self._open_bucket = bucket
        self._open.append(value)
        self.recent.append(boot_s, value)

    def last(self) -> tuple[float, float] | None:
        """Give time and value of the newest sample."""
        if not self.recent.times:
            return None
        return self.recent.times[-1], self.recent.values[-1]

    def is_fall(self, value: float) -> bool:
        """Tell whether `value` would mean that most of the memory was given back.

        What comes after is a life of its own: no slope runs through the fall.
        """
        return bool(self.recent.values) and value < FALL_SHARE * self.recent.values[-1]

    def span_s(self) -> float:
        """Seconds from the oldest point kept to the newest."""
        if not self.recent.times:
            return 0.0
        first = self.minutes.times[0] if self.minutes.times else self.recent.times[0]
        return self.recent.times[-1] - min(first, self.recent.times[0])

    def _close(self) -> None:
        if self._open and self._open_bucket is not None:
            self.minutes.append((self._open_bucket + 0.5) * BUCKET_S, median(sorted(self._open)))
        self._open = []

    def to_plain(self) -> dict[str, Any]:
        """Give everything as JSON-ready data, for recordings."""
        return {
            "recent": [list(self.recent.times), list(self.recent.values)],
            "minutes": [list(self.minutes.times), list(self.minutes.values)],
            "open": [self._open_bucket, list(self._open)],
        }

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> "Series":
        """Read back what `to_plain` gave."""
        series = cls()
        for ring, name in ((series.recent, "recent"), (series.minutes, "minutes")):
            ring.times, ring.values = array("d", data[name][0]), array("d", data[name][1])
        series._open_bucket, series._open = data["open"][0], list(data["open"][1])
        return series
