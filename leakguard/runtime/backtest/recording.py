"""What was measured of one service: times and sizes, and when it is known to have begun anew."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import field, replace
from itertools import pairwise
from statistics import median

from leakguard.core.errors import UsageError
from leakguard.core.frozen import dataclass

UNIX_FROM_S = 1e9
"""Times beyond this are Unix time: 2001 and later. What begins at 0 counts its own seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One series, oldest first. Sizes in bytes, times in seconds by the recording's own clock."""

    name: str
    times: "array[float]"
    values: "array[float]"
    wall_offset_s: float = 0.0
    """What is added to a time to give Unix time."""
    limit_bytes: int | None = None
    """What kills the service when it is reached; None: not known."""
    starts: frozenset[int] = field(default_factory=frozenset)
    """Places of samples that are known to be the first of a new run."""
    runs_known: bool = False
    """Every new run is in `starts`: a fall of the memory is none."""
    ours: frozenset[int] = field(default_factory=frozenset)
    """Those of `starts` that a restart by a policy of leakguard gave: another one has its own."""

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.times)

    @property
    def span_s(self) -> float:
        """Seconds from the first sample to the last."""
        return self.times[-1] - self.times[0]

    @property
    def spacing_s(self) -> float:
        """The usual time between two samples."""
        gaps = [b - a for a, b in pairwise(self.times)]
        return median(gaps) if gaps else 0.0

    def at(self, t: float, first: int, last: int) -> float:
        """Give the size at `t` on the straight lines between the samples `first` to `last`."""
        i = bisect_right(self.times, t, first, last + 1) - 1
        if i < first:
            return self.values[first]
        if i >= last:
            return self.values[last]
        share = (t - self.times[i]) / (self.times[i + 1] - self.times[i])
        return self.values[i] + share * (self.values[i + 1] - self.values[i])

    def lowest(self, begin_s: float, end_s: float, first: int, last: int) -> float:
        """Give the least size from `begin_s` to `end_s`, within the samples `first` to `last`."""
        low = bisect_right(self.times, begin_s, first, last + 1)
        high = bisect_right(self.times, end_s, first, last + 1)
        edges = (self.at(begin_s, first, last), self.at(end_s, first, last))
        return min(*edges, *self.values[low:high])

    def last_of(self, seconds: float) -> "Recording":
        """Give the newest part of it."""
        skip = bisect_right(self.times, self.times[-1] - seconds)
        if skip and self.times[skip - 1] >= self.times[-1] - seconds:
            skip -= 1
        return replace(
            self,
            times=self.times[skip:],
            values=self.values[skip:],
            starts=frozenset(i - skip for i in self.starts if i > skip),
            ours=frozenset(i - skip for i in self.ours if i > skip),
        )


@dataclass(slots=True, kw_only=True)
class Builder:
    """Takes samples one by one; what is not above zero is no memory of a running service."""

    name: str
    times: "array[float]" = field(default_factory=lambda: array("d"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    starts: set[int] = field(default_factory=set)
    ours: set[int] = field(default_factory=set)
    _gone: bool = False

    def add(self, t: float, value: float, *, starts: bool = False) -> None:
        """Add a sample; a second one at the same time is left out.

        Raises:
            UsageError: the time goes back.
        """
        if self.times and t <= self.times[-1]:
            if t == self.times[-1]:
                return
            raise UsageError(
                f"series {self.name}: the time goes back from {self.times[-1]:.14g} to {t:.14g}: "
                "sort its samples by time"
            )
        if value <= 0:
            self._gone = True
            return
        if self.times and (self._gone or starts):
            self.starts.add(len(self.times))
        self._gone = False
        self.times.append(t)
        self.values.append(value)

    def recording(
        self, *, limit_bytes: int | None = None, start_wall_s: float = 0.0, runs_known: bool = False
    ) -> Recording:
        """Give what was taken; `start_wall_s` is the Unix time of 0 where times are not Unix."""
        unix = bool(self.times) and self.times[0] >= UNIX_FROM_S
        return Recording(
            name=self.name,
            times=self.times,
            values=self.values,
            wall_offset_s=0.0 if unix else start_wall_s,
            limit_bytes=limit_bytes,
            starts=frozenset(self.starts),
            ours=frozenset(self.ours),
            runs_known=runs_known,
        )


def samples(recordings: Iterable[Recording]) -> int:
    """Count the samples of all."""
    return sum(len(one) for one in recordings)
