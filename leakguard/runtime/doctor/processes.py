"""Sizes and protection of processes, each read once."""

from collections.abc import Iterable

from leakguard.core.badness import Candidate
from leakguard.core.errors import ReadingError
from leakguard.core.findings.facts import ADJ_NEVER, ProcessFacts
from leakguard.linux.machine_facts import oom_score_adj
from leakguard.linux.procfs import ProcFs

Size = tuple[int, int]
"""Memory of its own (anonymous, swap, page tables), and shmem, which others may map too."""


class Processes:
    """Reads processes of one /proc and remembers them."""

    def __init__(self, proc: ProcFs, page_bytes: int) -> None:
        self._proc = proc
        self._page_bytes = page_bytes
        self._sizes: dict[int, Size] = {}

    def measure(self, candidates: Iterable[Candidate]) -> None:
        """Read what each process holds; one without memory of its own is left out."""
        for one in candidates:
            if one.total_vm_pages and one.pid not in self._sizes:
                self._sizes[one.pid] = self._read(one)

    def size(self, pid: int) -> Size:
        """Give what a process holds, in bytes; nothing where it was not measured."""
        return self._sizes.get(pid, (0, 0))

    def facts(self, pid: int) -> ProcessFacts | None:
        """Give a process; None when it ended."""
        try:
            stat = self._proc.stat(pid)
        except ReadingError:
            return None
        adj = oom_score_adj(self._proc, pid)
        own, shmem = self.size(pid)
        return ProcessFacts(
            pid=pid,
            name=stat.name,
            oom_score_adj=adj,
            size_bytes=own + shmem,
            parent=self._protected_parent(stat.ppid) if adj == ADJ_NEVER else "",
        )

    def all_facts(self, pids: Iterable[int]) -> tuple[ProcessFacts, ...]:
        """Give those that still run."""
        return tuple(facts for pid in pids if (facts := self.facts(pid)) is not None)

    def biggest(self, most: int) -> tuple[ProcessFacts, ...]:
        """Give the largest of those that were measured."""
        order = sorted(self._sizes, key=lambda pid: sum(self._sizes[pid]), reverse=True)
        return self.all_facts(order[:most])

    def _read(self, candidate: Candidate) -> Size:
        try:
            status = self._proc.memory_status(candidate.pid)
        except ReadingError:
            return 0, 0
        anon = status.anon
        if anon is None:  # before Linux 4.5: shmem cannot be told from file pages
            anon = (candidate.rss_pages - candidate.file_pages) * self._page_bytes
        return anon + (status.swap or 0) + (status.page_tables or 0), status.shmem or 0

    def _protected_parent(self, pid: int) -> str:
        try:
            stat = self._proc.stat(pid)
        except ReadingError:
            return ""
        return f"{stat.name} (pid {pid})" if oom_score_adj(self._proc, pid) == ADJ_NEVER else ""
