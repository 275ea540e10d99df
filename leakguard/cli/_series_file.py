"""Recorded series and their limits from CSV: a file, packed or not, or standard input."""

import math
from collections.abc import Iterator

from leakguard.cli._kernel_log import STDIN, file_lines
from leakguard.core.errors import UnitError, UsageError
from leakguard.core.units import MIB, parse_bytes

UNITS = ("bytes", "MiB", "percent")
FACTORS = {"": float(MIB), "bytes": 1.0, "MiB": float(MIB), "percent": float(MIB)}
"""What a value is taken times to be in bytes. No rule knows an absolute size, so that a unit
without a name may stand for any: single bytes would be too coarse."""
COLUMNS = ("series_id,t_seconds,value", "t_seconds,value")
ONLY = "series"
"""Name of the one series of a file that names none."""


def read_series(path: str, unit: str = "") -> Iterator[tuple[str, float, float]]:
    """Give (series, seconds, value) line by line; values are in bytes, by `FACTORS`.

    A value that is empty or `nan` is a gap, and left out.

    Raises:
        UsageError: a line is not what the columns say; it names file, line and fix.
    """
    factor, place = FACTORS[unit], "standard input" if path == STDIN else path
    lines = iter(file_lines(path))
    header = next(lines, "").strip()
    if not header:
        raise UsageError(f"{place}: is empty: it should begin with the line {COLUMNS[0]}")
    named = header == COLUMNS[0]
    if not named and header != COLUMNS[1]:
        raise UsageError(
            f"{place}:1: the columns are {header[:60]!r}: they should be {COLUMNS[0]}, "
            f"or {COLUMNS[1]} for one series"
        )
    width = 3 if named else 2
    for number, line in enumerate(lines, 2):
        cells = line.rstrip("\r\n").rsplit(",", 2) if named else line.rstrip("\r\n").split(",")
        if cells == [""]:
            continue
        try:
            t, text = float(cells[-2]), cells[-1].strip()
            value = float(text) if text else math.nan
        except (ValueError, IndexError):
            t = math.nan
        if len(cells) != width or not math.isfinite(t) or math.isinf(value):
            raise UsageError(
                f"{place}:{number}: {line.strip()[:60]!r} is not {COLUMNS[0 if named else 1]}: "
                "seconds and value are plain numbers"
            )
        if value == value:  # noqa: PLR0124  not nan, at the price of a comparison
            yield (cells[0] if named else ONLY), t, value * factor


def read_limits(path: str, unit: str) -> dict[str, float]:
    """Give the limit of each series, in bytes by `FACTORS`."""
    found: dict[str, float] = {}
    for number, line in enumerate(file_lines(path), 1):
        cells = line.strip().rsplit(",", 1)
        if cells == [""] or (number == 1 and cells == ["series_id", "limit"]):
            continue
        try:
            found[cells[0]] = float(cells[1]) * FACTORS[unit]
        except (ValueError, IndexError):
            raise UsageError(
                f"{path}:{number}: {line.strip()[:60]!r} is not series_id,limit: "
                "the limit is a plain number in the unit of the values"
            ) from None
    return found


def read_limit(text: str, unit: str) -> float:
    """Read one limit for all: a size with its unit, a percentage, or a plain number; in bytes."""
    if unit in {"bytes", "MiB"}:
        return float(parse_bytes(text))
    try:
        number = float(text.removesuffix("%") if unit == "percent" else text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        hint = "" if unit else "; say --unit bytes or MiB to give it as a size"
        raise UnitError(f"--limit {text!r}: without a size's unit it is a plain number{hint}")
    return number * FACTORS[unit]
