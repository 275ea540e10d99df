"""One process as the OOM killer sees it: a row of stage one, and the whole candidate."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from leakguard.core.badness import Candidate, WhyNot
from leakguard.core.units import KIB
from leakguard.linux.procfs import PAGE_BYTES, TICKS_PER_S
from leakguard.linux.proctext import text

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC
_PAGE_KIB: Final = PAGE_BYTES // KIB
_KERNEL_THREAD: Final = 0x00200000
_SCORE_TELLS_ABOVE: Final = -998
"""Below that a score of 0 is only a rounded one."""
_STATUS_BYTES: Final = 4096
_LONG_STATUS_BYTES: Final = 1 << 20
"""A process in very many groups prints them before its sizes."""
_CAP_SYS_ADMIN: Final = 1 << 21
_CAP_SYS_RAWIO: Final = 1 << 17


class Row(NamedTuple):
    """What stage one reads of a process.

    Sorted, rows are in the order of the kernel's task list: by start, within a tick by pid.
    """

    start_ticks: int
    pid: int
    parent: int
    vsize_pages: int
    """0 for kernel threads and zombies."""
    rss_pages: int
    """Field 24."""
    oom_score_adj: int
    kernel_thread: bool
    data: bytes

    @property
    def name(self) -> str:
        """Give the name; kept as bytes until somebody asks."""
        return text(self.data[self.data.find(b"(") + 1 : self.data.rfind(b")")])


def read_row(root: str, pid: int) -> Row:
    """Read `stat` and `oom_score_adj`.

    Raises:
        OSError: the process ended, or must not be seen.
        ValueError: what is there is no stat line.
    """
    path = f"{root}/{pid}"
    data = _read(f"{path}/stat", 1024)
    fields = data[data.rindex(b")") + 2 :].split(b" ", 22)
    if len(fields) < 22:
        raise ValueError(f"{path}/stat is not as expected")
    vsize, adj, thread = int(fields[20]) // PAGE_BYTES, 0, False
    if vsize:
        adj = _optional_number(f"{path}/oom_score_adj")
    else:
        thread = bool(int(fields[6]) & _KERNEL_THREAD)
    return Row(int(fields[19]), pid, int(fields[1]), vsize, int(fields[21]), adj, thread, data)


def read_candidate(root: str, row: Row, *, exact: bool) -> tuple[Candidate, int]:
    """Read `status`; gives the candidate, and its resident pages by the other counter.

    Args:
        exact: the killer uses VmRSS, and not field 24.

    Raises:
        OSError: the process ended, or must not be seen.
    """
    if not row.vsize_pages:
        return _without_memory(row), 0
    status = read_status(root, row.pid)
    rss = _pages(status, b"\nVmRSS:")
    if rss is None:  # it ended meanwhile
        return _without_memory(row), 0
    used, other = (rss, row.rss_pages) if exact else (row.rss_pages, rss)
    candidate = Candidate(
        pid=row.pid,
        name=row.name,
        rss_pages=used,
        swap_pages=_pages(status, b"\nVmSwap:") or 0,
        pagetable_pages=(_pages(status, b"\nVmPTE:") or 0) + (_pages(status, b"\nVmPMD:") or 0),
        oom_score_adj=row.oom_score_adj,
        total_vm_pages=row.vsize_pages,
        file_pages=_pages(status, b"\nRssFile:") or 0,
        parent=row.parent,
        privileged=bool(_capabilities(status) & _CAP_SYS_ADMIN),
    )
    return candidate, other


def read_status(root: str, pid: int) -> bytes:
    """Read /proc/PID/status whole."""
    status = _read(f"{root}/{pid}/status", _STATUS_BYTES)
    if len(status) == _STATUS_BYTES and b"\nVmPTE:" not in status:
        return _read(f"{root}/{pid}/status", _LONG_STATUS_BYTES)
    return status


def confirmed(root: str, candidate: Candidate, row: Row) -> Candidate:
    """Ask the kernel whether it can be chosen: since 5.9 a score of 0 says that it cannot."""
    if candidate.why_not is not None or row.oom_score_adj <= _SCORE_TELLS_ABOVE:
        return candidate
    try:
        if _read(f"{root}/{row.pid}/oom_score", 32).strip() != b"0":
            return candidate
        parent = read_row(root, row.parent)
    except (OSError, ValueError):
        return candidate
    if parent.vsize_pages == row.vsize_pages:
        return replace(candidate, why_not=WhyNot.VFORK, shares_mm_with=parent.pid)
    return replace(candidate, why_not=WhyNot.REAPED)


def with_legacy(root: str, candidate: Candidate, row: Row, rows: Sequence[Row]) -> Candidate:
    """Add what the formula of before 2.6.36 looks at.

    Raises:
        OSError: the process ended.
    """
    fields = row.data[row.data.rindex(b")") + 2 :].split()
    status = read_status(root, row.pid)
    users = status.partition(b"\nUid:")[2].split(None, 2)[:2]
    uptime_s = float(_read(f"{root}/uptime", 64).split()[0])
    return replace(
        candidate,
        oom_adj=_optional_number(f"{root}/{row.pid}/oom_adj"),
        nice=int(fields[16]),
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        run_s=max(0.0, uptime_s - row.start_ticks / TICKS_PER_S),
        privileged=candidate.privileged or b"0" in users,
        raw_io=bool(_capabilities(status) & _CAP_SYS_RAWIO),
        children_vm_pages=tuple(
            other.vsize_pages for other in rows if other.parent == row.pid and other.vsize_pages
        ),
    )


def _without_memory(row: Row) -> Candidate:
    reason = WhyNot.KERNEL_THREAD if row.kernel_thread else WhyNot.NO_MEMORY
    return Candidate(pid=row.pid, name=row.name, parent=row.parent, why_not=reason)


def _optional_number(path: str) -> int:
    """Read a number, 0 where this kernel has no such file."""
    try:
        return int(_read(path, 32))
    except FileNotFoundError:
        return 0


def _read(path: str, most: int) -> bytes:
    descriptor = os.open(path, _OPEN)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def _pages(status: bytes, key: bytes) -> int | None:
    """Find a line `Key: N kB` and give it in pages, None when it is not there."""
    start = status.find(key)
    if start < 0:
        return None
    end = status.find(b" kB", start)
    digits = status[start + len(key) : end].strip()
    return int(digits) // _PAGE_KIB if digits.isdigit() and len(digits) <= 18 else None


def _capabilities(status: bytes) -> int:
    digits = status.partition(b"\nCapEff:\t")[2][:16]
    try:
        return int(digits, 16)
    except ValueError:
        return 0
