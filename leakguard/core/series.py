"""A bounded series of (time, value) of one life: the newest samples, and a pyramid of the rest.

At most 8 kB, after weeks of samples at every second. A life ends with its incarnation, or with a
fall that gives most of the memory back; what is known of earlier lives goes along as their
precedents.
"""

from array import array
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.frozen import dataclass
from leakguard.core.lives import Life, is_restart, summarise
from leakguard.core.pyramid import Pyramid, median

RECENT_POINTS = 48
LIVES = 6
"""Earlier lives that are remembered."""
FALL_SHARE = 0.6
"""A value below this share of the lowest of the newest ones gave most of the memory back."""
CUT_SHARE = 0.6
"""A value that takes back this share of the growth since the last cut may be a restart."""
CUT_LEAST = 0.1
FALL_STEPS = 4.0
"""A fall is more than this many usual steps between two samples."""
AGREE = 3
"""Samples in a row that must have fallen: one may be a slip."""
STEPS = 24


@dataclass(slots=True)
class Ring:
    """The last `size` points, oldest first."""

    size: int
    times: "array[float]"
    values: "array[float]"

    @classmethod
    def of(cls, size: int) -> "Ring":
        """Make an empty ring."""
        return cls(size, array("d"), array("d"))

    def append(self, t: float, value: float) -> None:
        """Add a point; the oldest is dropped when the size would be passed."""
        if len(self.times) >= self.size:
            del self.times[:1]
            del self.values[:1]
        self.times.append(t)
        self.values.append(value)


class Series:
    """Samples of one incarnation by boot time; a new incarnation starts a new series."""

    __slots__ = ("_cut", "_fallen", "born_s", "lives", "memo", "pyramid", "recent")

    def __init__(self, lives: Iterable[Life] = ()) -> None:
        """Start empty, with what is known of earlier lives, oldest first."""
        self.lives = tuple(lives)[-LIVES:]
        self._begin()

    def _begin(self) -> None:
        self.recent = Ring.of(RECENT_POINTS)
        self.pyramid = Pyramid()
        self.born_s: float | None = None
        self._cut: tuple[float, float] | None = None
        self._fallen: list[tuple[float, float, bool]] = []
        self.memo: dict[Any, Any] = {}
        """What a detector worked out of closed buckets, to be worked out again when it is lost."""

    def __len__(self) -> int:
        """Count the recent points."""
        return len(self.recent.times)

    def append(self, boot_s: float, value: float) -> None:
        """Add a sample; one that is not later than the last is ignored."""
        times = self.recent.times
        if times and boot_s <= times[-1]:
            return
        if self.born_s is None:
            self.born_s, self._cut = boot_s, (boot_s, value)
        fall = self._falls(value)
        self.recent.append(boot_s, value)
        if fall is None:
            for held_s, held, _ in self._fallen:
                self.pyramid.push(held_s, held)
            self._fallen = []
            self.pyramid.push(boot_s, value)
            return
        self._fallen.append((boot_s, value, fall))
        if len(self._fallen) >= AGREE:
            self._end_rise()

    def _falls(self, value: float) -> bool | None:
        """Tell whether most of the memory is given back (True) or of the growth (False)."""
        fallen, values = len(self._fallen), self.recent.values
        if not fallen and (not values or value >= (1 - CUT_LEAST) * values[-1]):
            return None  # as nearly always
        before = self.recent.values[-STEPS - fallen : len(self.recent.values) - fallen]
        if len(before) <= AGREE or self._cut is None:
            return None
        lowest = min(before[-AGREE:])
        drop = lowest - value
        if drop <= CUT_LEAST * lowest:
            return None
        steps = sorted(abs(b - a) for a, b in pairwise(before))
        if drop <= FALL_STEPS * median(steps):
            return None
        if value < FALL_SHARE * lowest:
            return True
        return False if drop > CUT_SHARE * (lowest - self._cut[1]) else None

    def _end_rise(self) -> None:
        """Begin a new life where the memory was given back, or where a restart shows."""
        held, (since_s, _) = self._fallen, self._cut or (0.0, 0.0)
        first_s = held[0][0]
        life = summarise(self.pyramid, since_s, first_s)
        if all(fall for _, _, fall in held) or is_restart(life):
            self.lives = (*self.lives, *([life] if life is not None else ()))[-LIVES:]
            self._begin()
            self.born_s = first_s
            for boot_s, value, _ in held:
                self.recent.append(boot_s, value)
        self._cut = first_s, min(value for _, value, _ in held)
        self._fallen = []
        for boot_s, value, _ in held:
            self.pyramid.push(boot_s, value)

    def ended(self) -> tuple[Life, ...]:
        """Give the precedents that the next incarnation has."""
        last = self.last()
        if last is None or self.born_s is None:
            return self.lives
        since = self._cut[0] if self._cut is not None else self.born_s
        life = summarise(self.pyramid, since, last[0], restarted=True)
        return (*self.lives, *([life] if life is not None else ()))[-LIVES:]

    def feed(self, boot_s: float, width_s: float, bucket: tuple[float, float, float]) -> None:
        """Take (low, mid, high) of a stretch of time that was condensed before the first sample."""
        if self.born_s is None:
            self.born_s, self._cut = boot_s, (boot_s, bucket[0])
        self.pyramid.feed(boot_s, width_s, bucket)

    def last(self) -> tuple[float, float] | None:
        """Give time and value of the newest sample."""
        if not self.recent.times:
            return None
        return self.recent.times[-1], self.recent.values[-1]

    def span_s(self) -> float:
        """Seconds from the first sample of this life to the newest."""
        if not self.recent.times or self.born_s is None:
            return 0.0
        return self.recent.times[-1] - self.born_s

    def to_plain(self) -> dict[str, Any]:
        """Give everything as JSON-ready data, for recordings."""
        return {
            "recent": [list(self.recent.times), list(self.recent.values)],
            "born": self.born_s,
            "cut": list(self._cut) if self._cut is not None else None,
            "fallen": [list(held) for held in self._fallen],
            "lives": to_plain(self.lives),
            "pyramid": self.pyramid.to_plain(),
        }

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> "Series":
        """Read back what `to_plain` gave."""
        series = cls(from_plain(tuple[Life, ...], data["lives"]))
        series.recent.times = array("d", data["recent"][0])
        series.recent.values = array("d", data["recent"][1])
        series.born_s = data["born"]
        series._cut = (data["cut"][0], data["cut"][1]) if data["cut"] is not None else None
        series._fallen = [(t, v, f) for t, v, f in data["fallen"]]
        series.pyramid = Pyramid.from_plain(data["pyramid"])
        return series
