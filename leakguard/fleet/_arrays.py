"""Order statistics and bases for rows of values, as the online form works them out one by one."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from leakguard.core import fitting

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
"""What a pyramid keeps: buckets do not need more digits."""
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


class Basis:
    """Orthonormal polynomials on 0, 1, ... n - 1, as arrays."""

    __slots__ = ("first", "first_scale", "middle", "second", "second_mean", "second_scale")

    def __init__(self, n: int) -> None:
        """Take those of the online form."""
        known = fitting.basis(n)
        self.first, self.second = np.array(known.first), np.array(known.second)
        self.first_scale, self.second_scale = known.first_scale, known.second_scale
        self.middle, self.second_mean = known.middle, known.second_mean


@lru_cache(maxsize=128)
def basis(n: int) -> Basis:
    """Give the polynomials for `n` >= 3 values."""
    return Basis(n)


def dots(a: Floats, b: Floats) -> Floats:
    """Give the scalar product of each row with the same row."""
    product: Floats = np.einsum("ij,ij->i", a, b)
    return product


def medians(rows: Floats) -> Floats:
    """Give the median of each row."""
    half, odd = divmod(rows.shape[1], 2)
    if odd:
        return np.partition(rows, half, axis=1)[:, half]
    parted = np.partition(rows, (half - 1, half), axis=1)
    return (parted[:, half - 1] + parted[:, half]) / 2


def quantiles(rows: Floats, share: float) -> Floats:
    """Give a quantile of each row, between its neighbours."""
    place = share * (rows.shape[1] - 1)
    at = int(place)
    above = min(at + 1, rows.shape[1] - 1)
    parted = np.partition(rows, (at, above), axis=1)
    found: Floats = parted[:, at] + (parted[:, above] - parted[:, at]) * (place - at)
    return found


def present(rows: Floats | Singles) -> Ints:
    """Count what is not missing in each row."""
    missing: Ints = np.count_nonzero(np.isnan(rows), axis=1)
    there: Ints = rows.shape[1] - missing
    return there


def quantile_of_some(ordered: Floats, counts: Ints, share: float) -> Floats:
    """Give a quantile of the first `counts` values, at least one, of each row in order."""
    place = share * (counts - 1)
    at = place.astype(np.intp)
    lines = np.arange(len(ordered))
    below, above = ordered[lines, at], ordered[lines, np.minimum(at + 1, counts - 1)]
    return below + (above - below) * (place - at)


def smooth(rows: Floats) -> Floats:
    """Give running medians of three; the ends stay."""
    a, b, c = rows[:, :-2], rows[:, 1:-1], rows[:, 2:]
    smoothed = rows.copy()
    smoothed[:, 1:-1] = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return smoothed


def autocorrelations(residuals: Floats, counts: Ints | int) -> Floats:
    """Give the AR(1) coefficient of rows of residuals, corrected for its bias, in [-0.5, 1].

    A row may have only its last `counts` values, with zeros before.
    """
    power = dots(residuals[:, :-1], residuals[:, :-1])
    cross = dots(residuals[:, :-1], residuals[:, 1:])
    rho = np.divide(cross, power, out=np.zeros_like(power), where=power > fitting.TINY)
    corrected: Floats = (counts * rho + 2) / (np.maximum(counts, 5) - 4)
    return corrected.clip(-0.5, 1.0)
