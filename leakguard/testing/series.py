"""Series written as text: `100MiB+1MiBx60` is a start, a step and how often it is added.

Parts are joined by spaces: `100MiBx10 100MiB+5MiBx20 -` holds, climbs, and is absent once. `?` is
an unreadable sample. After promtool's notation for rule tests.
"""

import re

from leakguard.core.errors import UsageError
from leakguard.core.units import parse_bytes

_SIZE = r"[0-9.]+[A-Za-wyz]+"
_TIMES = r"(?:x(?P<n>[0-9]{1,6}))?"
_PART = re.compile(rf"(?P<start>{_SIZE})(?:(?P<sign>[+-])(?P<step>{_SIZE}))?{_TIMES}")
_MARK = re.compile(rf"(?P<mark>[-?]){_TIMES}")

Point = int | str
"""Bytes, or `-` (absent) or `?` (unreadable)."""


def parse_series(text: str) -> tuple[Point, ...]:
    """Read the notation; sizes in bytes, one item a tick."""
    points: list[Point] = []
    for part in text.split():
        mark = _MARK.fullmatch(part)
        if mark is not None:
            points += [mark["mark"]] * int(mark["n"] or 1)
            continue
        match = _PART.fullmatch(part)
        if match is None:
            raise UsageError(f"{part!r} is not a series: write 100MiB, 100MiBx5 or 100MiB+1MiBx60")
        start, times = parse_bytes(match["start"]), int(match["n"] or 0)
        step = parse_bytes(match["step"]) if match["step"] else 0
        step = -step if match["sign"] == "-" else step
        held = range(times) if match["step"] is None and times else range(times + 1)
        points += [start + step * i for i in held]
    return tuple(points)
