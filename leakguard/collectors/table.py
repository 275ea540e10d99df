"""Who descends from whom: a table of all processes, renewed for 0.5 µs each instead of 8.

Parents are read once, when a pid first appears, and again when the parent is gone. Everything is
read afresh once a minute, in case a pid was used again between two looks.
"""

from leakguard.core.errors import ReadingError
from leakguard.linux.procfs import ProcFs

_EVERY_S = 2.0
_AFRESH_S = 60.0
_NEVER = float("-inf")


class ProcessTable:
    """Parents and start times of every process, as of at most two seconds ago."""

    def __init__(self, proc: ProcFs) -> None:
        self._proc = proc
        self._pids: tuple[int, ...] = ()
        self._rows: dict[int, tuple[int, int]] = {}
        self._children: dict[int, list[int]] = {}
        self._looked_boot_s = self._changed_boot_s = _NEVER
        self._afresh_boot_s = _NEVER

    def refresh(self, boot_s: float, *, must: bool = False) -> None:
        """Bring the table up to date when it is old, or at once when it `must` be."""
        if not must and 0 <= boot_s - self._looked_boot_s < _EVERY_S:
            return
        afresh = not 0 <= boot_s - self._afresh_boot_s < _AFRESH_S
        self._looked_boot_s = boot_s
        pids = self._proc.pids()
        if pids == self._pids and not afresh:
            return
        self._pids, self._changed_boot_s = pids, boot_s
        if afresh:
            self._afresh_boot_s = boot_s
            self._rows = {}
        self._rows = self._look(pids)
        children: dict[int, list[int]] = {}
        for pid, (parent, _) in self._rows.items():
            children.setdefault(parent, []).append(pid)
        self._children = children

    @property
    def looked_boot_s(self) -> float:
        """When the table was last brought up to date."""
        return self._looked_boot_s

    @property
    def changed_boot_s(self) -> float:
        """When a look last found other processes than before, or read all of them afresh."""
        return self._changed_boot_s

    def row(self, pid: int) -> tuple[int, int]:
        """Give a process's parent and start time."""
        found = self._rows.get(pid)
        return self._read(pid) if found is None else found

    def tree(self, root_pid: int) -> dict[int, tuple[int, int]]:
        """Give pid → (parent, start time) of a process and its descendants, the root first."""
        found = {root_pid: self.row(root_pid)}
        waiting = [root_pid]
        for pid in waiting:
            for child in self._children.get(pid, ()):
                if child not in found:
                    found[child] = self._rows[child]
                    waiting.append(child)
        return found

    def _look(self, pids: tuple[int, ...]) -> dict[int, tuple[int, int]]:
        alive = set(pids)
        rows = {}
        for pid in pids:
            row = self._rows.get(pid)
            if row is not None and (row[0] in alive or row[0] == 0):
                rows[pid] = row
                continue
            try:
                rows[pid] = self._read(pid)
            except ReadingError:  # it vanished while the list was walked
                continue
        return rows

    def _read(self, pid: int) -> tuple[int, int]:
        stat = self._proc.stat(pid)
        return stat.ppid, stat.start_ticks
