"""Bytes, durations and secrets: plain values inside, people's units at the edge."""

import re
from typing import NewType

from leakguard.core.errors import UnitError
from leakguard.core.frozen import dataclass

Bytes = NewType("Bytes", int)
"""A size in bytes. Written with a unit (`900MiB`) wherever a person writes it."""

Seconds = NewType("Seconds", float)
"""A duration in seconds. Written with a unit (`20m`, `2h30m`) wherever a person writes it."""

KIB = 1024
MIB = 1024**2
GIB = 1024**3

_SIZE_UNITS = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "K": KIB,
    "M": MIB,
    "G": GIB,
    "T": 1024**4,
    "KIB": KIB,
    "MIB": MIB,
    "GIB": GIB,
    "TIB": 1024**4,
}
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)\s*")
_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*")
_DURATION_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d|w)\s*")


class Secret:
    """A text that is never printed: `repr` and `str` are masked, `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold `text`."""
        self._text = text

    def reveal(self) -> str:
        """Give the text itself, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        """Show that there is a secret and nothing of it."""
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Compare by text, so that a reload can see a change."""
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        """Hash by text."""
        return hash(self._text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A size that is either absolute or a share of the effective limit; exactly one is set."""

    size_bytes: int | None = None
    share: float | None = None

    def resolve(self, limit_bytes: int | None) -> int | None:
        """Give the size in bytes, or None when it is a share and no limit is known."""
        if self.size_bytes is not None:
            return self.size_bytes
        if self.share is None or limit_bytes is None:
            return None
        return int(self.share * limit_bytes)

    def __str__(self) -> str:
        """Print it the way a person writes it."""
        if self.size_bytes is not None:
            return format_bytes(self.size_bytes)
        return f"{100 * (self.share or 0):g}%"


def parse_bytes(text: str) -> Bytes:
    """Read a size such as `900MiB`, `1.5G` or `64kB`; a bare number is refused."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UnitError(f"{text!r} is not a size: write a number and a unit, such as 900MiB")
    number, unit = match.groups()
    factor = _SIZE_UNITS.get(unit.upper())
    if factor is None:
        raise UnitError(f"{unit!r} in {text!r} is not a unit of size: use KiB, MiB, GiB or TiB")
    return Bytes(int(float(number) * factor))


def parse_share(text: str) -> float:
    """Read a percentage such as `80%` as a share between 0 and 1."""
    match = _PERCENT.fullmatch(text)
    share = float(match.group(1)) / 100 if match else -1.0
    if not 0 <= share <= 1:
        raise UnitError(f"{text!r} is not a percentage: write a number from 0 to 100 and %")
    return share


def parse_amount(text: str) -> Amount:
    """Read a size (`900MiB`) or a share of the effective limit (`80%`)."""
    if text.rstrip().endswith("%"):
        return Amount(share=parse_share(text))
    return Amount(size_bytes=parse_bytes(text))


def parse_duration(text: str) -> Seconds:
    """Read a duration such as `20m`, `2h30m` or `1.5s`; a bare number is refused."""
    rest, total, seen = text.strip(), 0.0, False
    while rest:
        match = _DURATION_PART.match(rest)
        if match is None:
            break
        total += float(match.group(1)) * _DURATION_UNITS[match.group(2)]
        rest, seen = rest[match.end() :], True
    if rest or not seen:
        raise UnitError(f"{text!r} is not a duration: write a number and a unit, such as 20m")
    return Seconds(total)


def format_bytes(size: float) -> str:
    """Print a size in binary units with three significant figures: `812 MiB`."""
    sign, size = ("-" if size < 0 else ""), abs(size)
    for unit, factor in (("TiB", 1024**4), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor * 0.9995:
            return f"{sign}{_figures(size / factor)} {unit}"
    return f"{sign}{size:.0f} B"


def format_rate(bytes_per_s: float) -> str:
    """Print a slope in the unit of time that gives a readable number: `21 MiB/h`."""
    if abs(bytes_per_s) >= 256 * KIB:
        return f"{format_bytes(bytes_per_s)}/s"
    if abs(bytes_per_s) * 3600 >= MIB:
        return f"{format_bytes(bytes_per_s * 3600)}/h"
    return f"{format_bytes(bytes_per_s * 86400)}/d"


def counted(number: int, noun: str) -> str:
    """Give a number with its noun: `1 restart`, `4 restarts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_duration(seconds: float) -> str:
    """Print a duration in its two largest units: `2h 30m`, `1.5s`, `850ms`."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}s"
    whole, parts = round(seconds), []
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, factor)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _figures(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class SizeWords:
    """How sizes are put into words: as bytes, or in a unit of one's own of so many bytes."""

    unit: str = ""
    unit_bytes: float = 0.0
    """Zero: bytes, in the prefix that fits."""

    def size(self, size: float) -> str:
        """Print a size."""
        if not self.unit_bytes:
            return format_bytes(size)
        return f"{size / self.unit_bytes:.3g}{self.unit}"

    def rate(self, bytes_per_s: float) -> str:
        """Print a slope."""
        if not self.unit_bytes:
            return format_rate(bytes_per_s)
        for name, seconds in (("s", 1), ("h", 3600)):
            if abs(bytes_per_s) * seconds >= self.unit_bytes:
                return f"{self.size(bytes_per_s * seconds)}/{name}"
        return f"{self.size(bytes_per_s * 86400)}/d"


BYTES = SizeWords()
PERCENT = SizeWords("%", float(MIB))
PLAIN = SizeWords("", float(MIB))
