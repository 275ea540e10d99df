"""A table that is shortened, and gives up columns, until it fits the terminal."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from leakguard.cli._output import GAP, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. It is shortened as number `shrinks`, then left out as number `goes`; 0: never.

    `short`: its cells in fewer words, `short_header` likewise; empty: as they are.
    """

    header: str
    cells: Sequence[str]
    short: Sequence[str] = ()
    short_header: str = ""
    shrinks: int = 0
    goes: int = 0

    @property
    def width(self) -> int:
        """The width of the widest cell."""
        return max(map(len, (self.header, *self.cells)))

    def shortened(self) -> "Column":
        """Give it in fewer words."""
        header, cells = self.short_header or self.header, self.short or self.cells
        return replace(self, header=header, cells=cells)


def width_of(columns: Sequence[Column]) -> int:
    """Give the width of the table that these columns make."""
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def fitted(columns: Sequence[Column], width: int | None) -> list[Column]:
    """Give the columns as they fit into `width`; None: there is no end to the line."""
    kept = list(columns)
    shrinking = sorted((c for c in columns if c.shrinks), key=lambda column: column.shrinks)
    going = sorted((c for c in columns if c.goes), key=lambda column: column.goes)
    for wanted in shrinking:
        if width is not None and width_of(kept) > width:
            kept[kept.index(wanted)] = wanted.shortened()
    for wanted in going:
        if width is not None and width_of(kept) > width:
            kept = [column for column in kept if column.goes != wanted.goes]
    return kept


def drawn(columns: Sequence[Column]) -> list[str]:
    """Give the header and one line for each row."""
    rows = zip(*(column.cells for column in columns), strict=True)
    return table([column.header for column in columns], rows).split("\n")


def terminal_width() -> int | None:
    """Give how wide stdout is, None when it is no terminal: pipes and files get everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
