"""One measured figure beside its budget and its floor, and the table of them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

HEADER = ("WHAT", "MEASURED", "BUDGET", "FLOOR", "RATIO", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure. Without `most` and `most_ratio` it is only reported, and always ok.

    `floor` is what the same work costs at least, measured in the same run.
    """

    what: str
    measured: float
    unit: str
    most: float | None = None
    most_ratio: float | None = None
    floor: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the floor."""
        return self.measured / self.floor if self.floor else None

    @property
    def judged(self) -> bool:
        """Whether there is a budget."""
        return self.most is not None or self.most_ratio is not None

    @property
    def ok(self) -> bool:
        """Whether the budget is kept."""
        within = self.most is None or self.measured <= self.most
        ratio = self.ratio
        return within and (self.most_ratio is None or (ratio or 0.0) <= self.most_ratio)

    def plain(self) -> dict[str, Any]:
        """Give the row for JSON."""
        return {**asdict(self), "ratio": self.ratio, "ok": self.ok if self.judged else None}

    def cells(self) -> tuple[str, ...]:
        """Give the row for people."""
        budget = f"≤ {self.most:g} {self.unit}" if self.most is not None else ""
        if self.most_ratio is not None:
            budget = f"{budget}{' and ' if budget else ''}≤ {self.most_ratio:g} × floor"
        return (
            self.what,
            f"{_short(self.measured)} {self.unit}",
            budget or "-",
            f"{_short(self.floor)} {self.unit}" if self.floor is not None else "-",
            f"{self.ratio:.2f}" if self.ratio is not None else "-",
            ("ok" if self.ok else "MISSED") if self.judged else "",
        )


def table(rows: Iterable[Row]) -> str:
    """Lay the rows out under a header."""
    lines = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _short(number: float) -> str:
    if number == int(number):
        return str(int(number))
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.1f}"
