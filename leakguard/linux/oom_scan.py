"""Read from /proc what the OOM killer looks at, in two stages.

Stage one reads `stat` and `oom_score_adj` of every process: 9 µs each. Stage two reads `status`,
for 10 µs more, only of those whose upper bound can still beat the worst so far. The bound counts
what stage one does not show: page tables, one per 2 MiB of address space, and all used swap.
"""

import heapq
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import field, replace
from typing import Final

from leakguard.core import badness
from leakguard.core.badness import CHILD_DIES, Candidate, Era, WhyNot
from leakguard.core.errors import PermissionRefused, ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.victims import HOT_PAGES, Domain, melting_pages
from leakguard.linux.oom_probe import OomKernel, RssSource
from leakguard.linux.oom_process import Row, confirmed, read_candidate, read_row, with_legacy
from leakguard.linux.procfs import PAGE_BYTES, ProcFs

_TABLE_PAGES: Final = PAGE_BYTES // 8
"""Pages of address space that one page table covers."""
_SPARE_TABLES: Final = 256
"""Tables of a process beyond one per 2 MiB: the upper levels, and the ends of its mappings."""
_INIT: Final = 1
_KTHREADD: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What stage two made of the members of one domain."""

    candidates: tuple[Candidate, ...]
    """Read in full, in the order of the kernel's scan."""
    other_rss: dict[int, int] = field(default_factory=dict)
    """Resident pages by the other counter, of those that differ."""
    left_out: int = 0
    """Processes that cannot come close to the first ones, or ended meanwhile."""


class OomScan:
    """Reads the processes of one /proc."""

    def __init__(self, proc: ProcFs, kernel: OomKernel) -> None:
        self._root = proc.root
        self._era = kernel.rules.era
        self._exact = kernel.rss_source is RssSource.STATUS
        self._margin = 2 * kernel.rules.counter_error_pages + HOT_PAGES + _SPARE_TABLES
        self._read: dict[int, tuple[Candidate | None, int]] = {}
        self.unreadable: set[int] = set()
        """Processes that are there and must not be read."""

    def census(self) -> dict[int, Row]:
        """Run stage one over every process that can be seen.

        Raises:
            ReadingError: there is no proc to read.
            PermissionRefused: it must not be listed.
        """
        try:
            names = os.listdir(self._root)
        except PermissionError as error:
            raise PermissionRefused(f"cannot list {self._root}: run as root") from error
        except OSError as error:
            raise ReadingError(f"cannot list {self._root}: {error.strerror}") from error
        self.forget()
        return self.rows(int(name) for name in names if name.isdigit())

    def forget(self) -> None:
        """Read everything anew from here on."""
        self._read.clear()
        self.unreadable.clear()

    def rows(self, pids: Iterable[int]) -> dict[int, Row]:
        """Run stage one over some processes; those that ended meanwhile are left out."""
        rows = {}
        for pid in pids:
            row = self._row(pid)
            if row is not None:
                rows[pid] = row
        return rows

    def look(
        self,
        rows: Sequence[Row],
        domain: Domain,
        *,
        top: int | None = 2,
        swap_used_pages: int = 0,
        always: Collection[int] = (),
    ) -> Looked:
        """Run stage two over the members of a domain, which come in the order of the scan.

        Args:
            top: how many of the first must be right; None reads every process in full.
            swap_used_pages: on the whole host; what one process can have at most.
            always: pids that are read in full whatever their bound, because they grow.
        """
        if self._era in CHILD_DIES:
            top = None  # a parent's rank may kill any of its children
        slack, best = swap_used_pages + self._margin, _Best(top)
        read: dict[int, Candidate] = {}
        other_rss: dict[int, int] = {}
        everybody = [(0, at) for at in range(len(rows))]
        bounds = everybody if top is None else _bounds(rows, domain.total_pages, self._era)
        for bound, at in bounds:
            row = rows[at]
            if bound + slack < best.least and row.pid not in always:
                continue
            if row.pid not in self._read:  # a process is in several domains, and is read once
                self._read[row.pid] = self._in_full(row, rows)
            candidate, other = self._weigh(row, domain, best)
            if candidate is None:
                continue
            if other not in (0, candidate.rss_pages):
                other_rss[row.pid] = other
            read[at] = candidate
        return Looked(
            candidates=tuple(read[at] for at in sorted(read)),
            other_rss=other_rss,
            left_out=sum(1 for at, row in enumerate(rows) if row.vsize_pages and at not in read),
        )

    def _weigh(self, row: Row, domain: Domain, best: "_Best") -> tuple[Candidate | None, int]:
        """Let a process compete; whoever may be among the first is looked at once more."""
        candidate, other = self._read[row.pid]
        value = badness.points(candidate, domain.total_pages, self._era) if candidate else None
        if candidate is None or value is None:
            return candidate, other
        value -= melting_pages(candidate, domain)
        if value >= best.least:
            candidate = self._confirmed(candidate, row)
            self._read[row.pid] = candidate, other
            best.add(value, candidate)
        return candidate, other

    def _row(self, pid: int) -> Row | None:
        try:
            return read_row(self._root, pid)
        except PermissionError:
            self.unreadable.add(pid)
        except (OSError, ValueError):  # it ended meanwhile
            pass
        return None

    def _in_full(self, row: Row, rows: Sequence[Row]) -> tuple[Candidate | None, int]:
        try:
            candidate, other = read_candidate(self._root, row, exact=self._exact)
            if self._era is Era.LEGACY and candidate.why_not is None:
                candidate = with_legacy(self._root, candidate, row, rows)
        except PermissionError:
            self.unreadable.add(row.pid)
            return None, 0
        except (OSError, ValueError, IndexError):  # it ended meanwhile
            return None, 0
        if row.pid == _INIT and self._sees_kernel_threads():
            candidate = replace(candidate, why_not=WhyNot.INIT)
        return candidate, other

    def _sees_kernel_threads(self) -> bool:
        """Tell the machine's init from a container's: kernel threads are beside that one only."""
        row = self._row(_KTHREADD)
        return row is not None and row.kernel_thread

    def _confirmed(self, candidate: Candidate, row: Row) -> Candidate:
        if self._era is not Era.SIGNED:
            return candidate
        return confirmed(self._root, candidate, row)


class _Best:
    """The points of the first `top` that can be chosen; of all when it is None."""

    def __init__(self, top: int | None) -> None:
        self._top = top
        self._heap: list[int] = []
        self.least: float = float("-inf")
        """What the last of them has; until there are enough, anybody comes in."""

    def add(self, value: int, candidate: Candidate) -> None:
        if self._top is None or candidate.why_not is not None:
            return
        heapq.heappush(self._heap, value)
        if len(self._heap) > self._top:
            heapq.heappop(self._heap)
        if len(self._heap) == self._top:
            self.least = self._heap[0]


def _bounds(rows: Sequence[Row], total_pages: int, era: Era) -> list[tuple[int, int]]:
    """Give the upper bound and the place of every row that has memory, the largest first."""
    unit = total_pages // 1000
    floor = -sys.maxsize if era is Era.SIGNED else 1
    bounds = [
        (
            max(floor, row.rss_pages + row.vsize_pages // _TABLE_PAGES + row.oom_score_adj * unit),
            at,
        )
        for at, row in enumerate(rows)
        if row.vsize_pages
    ]
    bounds.sort(reverse=True)
    return bounds
