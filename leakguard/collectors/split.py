"""The slow split: shmem, swap and CPU time of a tree, from /proc; each shared page once.

Anonymous memory is exact in every sample (`statm` resident less shared). Shmem and swap are not
in `statm`, so they are read from `status`, which costs ten times as much, at a slower pace,
and CPU time with them.

Shmem is resident in every process that maps it. Processes that map a common object (the segment
of a master, a memfd) form a group, and a group counts as much as its largest process: right for
workers on one segment, too little where the members of a group also hold segments of their own.
Processes that share nothing are added up. Where the maps may not be seen, all are one group.
"""

from collections.abc import Iterable

from leakguard.core.frozen import dataclass
from leakguard.core.units import MIB
from leakguard.linux.procfs import TICKS_PER_S, ProcessGone, ProcFs

_NEGLIGIBLE_BYTES = MIB
_MOST_MAPS = 64
"""In larger trees of processes with shmem, all are taken as one group: maps are dear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Shmem and swap of a set of processes, in bytes; None where the kernel does not say."""

    shmem_bytes: int | None
    """Each shared object once."""
    mapped_shmem_bytes: int
    """As `statm` has it: once per process that maps it."""
    swap_bytes: int | None
    cpu_s: float | None = None
    """CPU time of those that live."""


def read_split(proc: ProcFs, pids: Iterable[int]) -> Split:
    """Read the split of these processes; those that vanish meanwhile are left out."""
    shmem: dict[int, int] = {}
    swap: list[int] = []
    known, ticks = False, 0
    for pid in pids:
        try:
            status = proc.memory_status(pid)
            ticks += proc.stat(pid).cpu_ticks
        except ProcessGone:
            continue
        if status.shmem is not None:
            known = True
            shmem[pid] = status.shmem
        if status.swap is not None:
            swap.append(status.swap)
    return Split(
        shmem_bytes=_count_once(proc, shmem) if known else None,
        mapped_shmem_bytes=sum(shmem.values()),
        swap_bytes=sum(swap) if swap else None,
        cpu_s=ticks / TICKS_PER_S,
    )


def _count_once(proc: ProcFs, shmem: dict[int, int]) -> int:
    large = {pid: size for pid, size in shmem.items() if size > _NEGLIGIBLE_BYTES}
    if len(large) < 2:
        return max(shmem.values(), default=0)
    if len(large) > _MOST_MAPS:
        return max(large.values())
    return sum(max(large[pid] for pid in group) for group in _groups(proc, list(large)))


def _groups(proc: ProcFs, pids: list[int]) -> list[set[int]]:
    """Put processes that map a common object together."""
    groups: list[tuple[set[int], set[bytes]]] = []
    for pid in pids:
        try:
            objects = proc.shared_objects(pid)
        except ProcessGone:
            objects = frozenset()
        if objects is None:
            return [set(pids)]
        members, seen = {pid}, set(objects)
        apart = []
        for group, theirs in groups:
            if theirs & objects:
                members |= group
                seen |= theirs
            else:
                apart.append((group, theirs))
        groups = [*apart, (members, seen)]
    return [members for members, _ in groups]
