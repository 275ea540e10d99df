"""Where lives end in samples at a steady pace: the same falls that `core.series` sees."""

from dataclasses import dataclass

import numpy as np

from leakguard.core.lives import RESTART_S, Life, is_restart, summarise
from leakguard.core.pyramid import BUCKETS, WIDTHS_S, Pyramid, median
from leakguard.core.series import (
    AGREE,
    CUT_LEAST,
    CUT_SHARE,
    FALL_SHARE,
    FALL_STEPS,
    LIVES,
    STEPS,
)
from leakguard.fleet._arrays import Flags, Floats, Ints
from leakguard.fleet._buckets import Grid, newest, strips

PUSHED = 200
"""A life of fewer samples is summed up sooner one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The life that a series is in."""

    begin: int
    """Place of its first sample."""
    held: int
    """Newest samples that have fallen; it is too early to say whether it ended there."""
    lives: tuple[Life, ...]
    """The earlier ones, oldest first."""


def may_end(samples: Floats) -> Flags:
    """Tell which series, [series, sample], have a fall that is worth a closer look."""
    if samples.shape[1] <= AGREE:
        return np.zeros(len(samples), np.bool_)
    lowest = _lowest_before(samples)
    fallen = samples[:, AGREE:].copy()
    for step in range(1, AGREE):
        fallen[:, :-step] = np.fmax(fallen[:, :-step], samples[:, AGREE + step :])
    found: Flags = np.any(lowest - fallen > CUT_LEAST * lowest, axis=1)
    return found


def _lowest_before(samples: Floats) -> Floats:
    """Give the lowest of the `AGREE` samples before each, from the first that has as many."""
    count = samples.shape[1] - AGREE
    lowest = samples[:, :count]
    for step in range(1, AGREE):
        lowest = np.minimum(lowest, samples[:, step : step + count])
    return lowest


def present_life(samples: Floats, grid: Grid) -> Present:
    """Find the life that one series is in, and the earlier ones; `samples` has no holes."""
    places = np.flatnonzero(~np.isnan(samples))
    return _Reader(samples, places, grid).read()


class _Reader:
    """Reads one series from fall to fall."""

    def __init__(self, samples: Floats, places: Ints, grid: Grid) -> None:
        self._samples, self._places, self._grid = samples, places, grid
        self._values = samples[places]
        self._times = grid.at(places)
        self._begin, self._lives = 0, tuple[Life, ...]()
        self._cut = float(self._times[0]), float(self._values[0])

    def read(self) -> Present:
        """Go through the falls."""
        count, after, held = len(self._values), 0, 0
        for at in self._falls():
            if at < after or at - self._begin <= AGREE:
                continue
            falls = self._held(at)
            after = at + len(falls) + 1
            if len(falls) == AGREE:
                after = at + AGREE
                self._end_rise(at, whole=all(falls))
            elif falls and at + len(falls) == count:
                held = len(falls)
        return Present(begin=int(self._places[self._begin]), held=held, lives=self._lives)

    def _falls(self) -> list[int]:
        """List the samples that lie well below those right before."""
        if len(self._values) <= AGREE:
            return []
        values = self._values[None, :]
        lowest = _lowest_before(values)
        places: list[int] = np.flatnonzero(
            (lowest - values[:, AGREE:] > CUT_LEAST * lowest)[0]
        ).tolist()
        return [AGREE + place for place in places]

    def _held(self, at: int) -> list[bool]:
        """Tell of the samples from `at` on, while they have fallen, whether most was given back."""
        before: list[float] = self._values[max(self._begin, at - STEPS) : at].tolist()
        lowest = min(before[-AGREE:])
        least = FALL_STEPS * median(sorted(np.abs(np.diff(before)).tolist()))
        found = list[bool]()
        for value in self._values[at : at + AGREE].tolist():
            drop = lowest - value
            most = value < FALL_SHARE * lowest
            cut = drop > CUT_SHARE * (lowest - self._cut[1])
            if drop <= CUT_LEAST * lowest or drop <= least or not (most or cut):
                break
            found.append(most)
        return found

    def _end_rise(self, at: int, *, whole: bool) -> None:
        """Begin a new life where the memory was given back, or where a restart shows."""
        until = float(self._times[at])
        if whole or until - self._cut[0] >= RESTART_S:
            life = summarise(self._pyramid(at), self._cut[0], until)
            if whole or is_restart(life):
                self._lives = (*self._lives, *([life] if life is not None else ()))[-LIVES:]
                self._begin = at
        self._cut = until, float(self._values[at : at + AGREE].min())

    def _pyramid(self, end: int) -> Pyramid:
        """Give the pyramid of the life up to a sample."""
        pyramid = Pyramid()
        if end - self._begin < PUSHED:
            for place in range(self._begin, end):
                pyramid.push(float(self._times[place]), float(self._values[place]))
            return pyramid
        first, last = int(self._places[self._begin]), int(self._places[end - 1])
        part = self._samples[None, first : last + 1].astype(np.float32)
        times = self._grid.at(np.array([first, last]))
        grid = Grid(start_s=float(times[0]), period_s=self._grid.period_s)
        for index, strip in strips(part, grid):
            closed = newest(strip, (times[1:] // WIDTHS_S[index]).astype(np.intp))
            first_number = int(closed.last[0]) + 1 - BUCKETS
            buckets = zip(closed.low[0], closed.mid[0], closed.high[0], strict=True)
            for number, bucket in enumerate(buckets, first_number):
                if not np.isnan(bucket[0]):
                    low, mid, high = map(float, bucket)
                    pyramid.put(index, number, (low, mid, high))
        return pyramid
