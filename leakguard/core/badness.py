"""Whom the kernel's OOM killer takes: its formula in every era from Linux 2.6 to today.

Sizes are in pages. `total_pages` is what the kernel calls totalpages: RAM + swap of the host, or
limit + usable swap of the cgroup that ran out. Points of two eras cannot be compared: `LEGACY`
counts address space, `PER_MILLE` thousandths of the total, all later ones pages.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from leakguard.core.eras import (
    ADJ_MIN,
    CHILD_DIES,
    FIRST_AMONG_EQUALS,
    OLD_ADJ_DISABLE,
    Era,
    era_of_release,
    oom_adj_to_score_adj,
    score_adj_to_oom_adj,
)
from leakguard.core.frozen import dataclass

__all__ = [
    "ADJ_MIN",
    "CHILD_DIES",
    "Candidate",
    "Choice",
    "Era",
    "Outcome",
    "Scored",
    "WhyNot",
    "choose",
    "era_of_release",
    "oom_adj_to_score_adj",
    "points",
    "rank",
    "score_adj_to_oom_adj",
    "used_pages",
    "why_not",
]

_ROOT_PER_MILLE = 30
_SWAPOFF_LEGACY = (1 << 64) - 1
_CPU_UNIT_S = 8.192
"""2^(SHIFT_HZ + 3) jiffies: 8.192 s at HZ=1000 and HZ=250, 10.24 s at HZ=100."""


class WhyNot(StrEnum):
    """Why the kernel never chooses a process; the values are for people and JSON."""

    INIT = "init"
    KERNEL_THREAD = "kernel thread"
    ADJ_MIN = "oom_score_adj is -1000"
    REAPED = "already killed, its memory is being freed"
    VFORK = "vfork child: its memory is its parent's"
    NO_MEMORY = "no memory of its own"
    OTHER_NODES = "its memory is on other nodes"
    UNREADABLE = "cannot be read"


class Outcome(StrEnum):
    """What the OOM killer does."""

    KILL = "kill"
    """It kills the victim, and whoever shares its memory."""
    GROUP = "group"
    """It kills the whole cgroup of the victim: `memory.oom.group`."""
    ALLOCATOR = "allocator"
    """It kills whoever asks for memory: `vm.oom_kill_allocating_task`."""
    PANIC = "panic"
    """The machine stops: `vm.panic_on_oom`."""
    NOBODY = "nobody"
    """Nothing can be killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One process as the OOM killer sees it. The last group of fields is read in `LEGACY` only."""

    pid: int
    name: str = ""
    rss_pages: int = 0
    swap_pages: int = 0
    pagetable_pages: int = 0
    oom_score_adj: int = 0
    total_vm_pages: int = 0
    file_pages: int = 0
    """The part of `rss_pages` that is backed by files, shmem left out."""
    parent: int | None = None
    shares_mm_with: int | None = None
    """Another process that has the very same memory (CLONE_VM): both die."""
    group: str = ""
    """Highest cgroup within the domain that has `memory.oom.group`, "" for none."""
    privileged: bool = False
    """Has CAP_SYS_ADMIN (legacy: or is root)."""
    goes_first: bool = False
    """Is in swapoff, or in KSM unmerge: taken before all others."""
    why_not: WhyNot | None = None

    oom_adj: int = 0
    """The setting of before 2.6.36, -17 to 15."""
    nice: int = 0
    cpu_s: float = 0.0
    run_s: float = 0.0
    """Seconds since it was started."""
    raw_io: bool = False
    """Has CAP_SYS_RAWIO."""
    other_cpuset: bool = False
    children_vm_pages: tuple[int, ...] = ()
    """Address space of each child that has a memory of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A candidate and its points."""

    candidate: Candidate
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the OOM killer would do with these candidates."""

    outcome: Outcome
    victim: Candidate | None = None
    """Whom it names; None when there is nobody, in a panic, and for an allocator not known."""
    runner_up: Candidate | None = None
    """Whom it names next, when victim and those who die with it are gone."""
    kills: tuple[Candidate, ...] = ()
    """All who die, the victim first."""
    ranked: tuple[Scored, ...] = ()
    """Everybody who can be chosen, worst first, equals in the order of the scan's preference."""


def why_not(candidate: Candidate, era: Era) -> WhyNot | None:
    """Say why the process cannot be chosen, None when it can."""
    if candidate.why_not is not None:
        return candidate.why_not
    if era is Era.LEGACY:
        return WhyNot.ADJ_MIN if candidate.oom_adj == OLD_ADJ_DISABLE else None
    return WhyNot.ADJ_MIN if candidate.oom_score_adj == ADJ_MIN else None


def points(candidate: Candidate, total_pages: int, era: Era, changed_pages: int = 0) -> int | None:
    """Give the badness of a process, None when it cannot be chosen.

    Args:
        changed_pages: by how much it is larger by then than it was read, or smaller.
    """
    if why_not(candidate, era) is not None:
        return None
    if era is Era.LEGACY:
        return _legacy(candidate, changed_pages)
    size, adj = max(0, used_pages(candidate) + changed_pages), candidate.oom_score_adj
    if era is Era.PER_MILLE:
        root = _ROOT_PER_MILLE if candidate.privileged else 0
        return min(1000, max(1, size * 1000 // max(1, total_pages) - root + adj))
    unit = total_pages // 1000
    if candidate.privileged and era is Era.ABSOLUTE_ROOT:
        adj -= _ROOT_PER_MILLE
    if candidate.privileged and era is Era.RELATIVE_ROOT:
        size -= size * 3 // 100
    total = size + adj * unit
    return total if era is Era.SIGNED else max(1, total)


def used_pages(candidate: Candidate) -> int:
    """Give what the formula counts before any adjustment: resident, swap and page tables."""
    return candidate.rss_pages + candidate.swap_pages + candidate.pagetable_pages


def choose(
    candidates: Iterable[Candidate],
    total_pages: int,
    era: Era,
    *,
    panic: bool = False,
    allocating_task: bool = False,
    allocator: int | None = None,
    changes: Mapping[int, int] | None = None,
) -> Choice:
    """Choose as the kernel does; `candidates` come in the order of its scan.

    Args:
        panic: `vm.panic_on_oom` holds for this domain.
        allocating_task: `vm.oom_kill_allocating_task` holds: on a host, never in a memory cgroup.
        allocator: pid of the process that asks for memory, where it is known.
        changes: pages by pid that a process is larger by then, or smaller.
    """
    everybody = tuple(candidates)
    ranked = rank(everybody, total_pages, era, changes)
    if panic:
        return Choice(outcome=Outcome.PANIC, ranked=ranked)
    asks = [one.candidate for one in ranked if one.candidate.pid == allocator]
    if allocating_task and allocator is None:
        return Choice(outcome=Outcome.ALLOCATOR, ranked=ranked)
    if allocating_task and asks:
        kills = _who_dies(asks[0], everybody, era)
        return Choice(outcome=Outcome.ALLOCATOR, victim=asks[0], kills=kills, ranked=ranked)
    victim = _name(everybody, ranked, era)
    if victim is None:
        return Choice(outcome=Outcome.NOBODY)
    kills = _who_dies(victim, everybody, era)
    dead = {candidate.pid for candidate in kills}
    return Choice(
        outcome=Outcome.GROUP if victim.group else Outcome.KILL,
        victim=victim,
        runner_up=_name(everybody, [one for one in ranked if one.candidate.pid not in dead], era),
        kills=kills,
        ranked=ranked,
    )


def rank(
    candidates: Iterable[Candidate],
    total_pages: int,
    era: Era,
    changes: Mapping[int, int] | None = None,
) -> tuple[Scored, ...]:
    """Order all who can be chosen, worst first; equals as the scan would take them."""
    changes = changes or {}
    scored = [
        Scored(candidate=one, points=value)
        for one in candidates
        if (value := points(one, total_pages, era, changes.get(one.pid, 0))) is not None
    ]
    if era not in FIRST_AMONG_EQUALS:
        scored.reverse()
    scored.sort(key=_first_then_points, reverse=True)  # sorting keeps the order of equals
    return tuple(scored)


def _first_then_points(scored: Scored) -> tuple[bool, int]:
    return scored.candidate.goes_first, scored.points


def _name(everybody: Iterable[Candidate], ranked: Sequence[Scored], era: Era) -> Candidate | None:
    """Give the worst, or where the era says so the child that dies instead of it."""
    if not ranked:
        return None
    worst = ranked[0].candidate
    if era not in CHILD_DIES:
        return worst
    alive = [one.candidate for one in ranked]
    if era is Era.LEGACY:  # the first born, whatever its points
        known = {candidate.pid for candidate in alive}
        alive = [candidate for candidate in everybody if candidate.pid in known]
    for child in alive:
        if child.parent == worst.pid != child.pid and _mm(child) != _mm(worst):
            return child
    return worst


def _who_dies(victim: Candidate, everybody: Iterable[Candidate], era: Era) -> tuple[Candidate, ...]:
    """List the victim, the rest of its `memory.oom.group`, and all who share a memory with them."""
    memory = {_mm(victim)} | {
        _mm(other)
        for other in everybody
        if victim.group and other.group == victim.group and why_not(other, era) is None
    }
    others = (other for other in everybody if other.pid != victim.pid and _mm(other) in memory)
    return (victim, *(other for other in others if other.why_not is not WhyNot.INIT))


def _mm(candidate: Candidate) -> int:
    """Name the memory of a process by the pid of the one that is said to own it."""
    return candidate.pid if candidate.shares_mm_with is None else candidate.shares_mm_with


def _legacy(candidate: Candidate, changed_pages: int) -> int:
    if candidate.goes_first:
        return _SWAPOFF_LEGACY
    value = max(0, candidate.total_vm_pages + changed_pages)
    value += sum(size // 2 + 1 for size in candidate.children_vm_pages)
    for root in (
        math.isqrt(int(candidate.cpu_s / _CPU_UNIT_S)),
        math.isqrt(math.isqrt(int(candidate.run_s) >> 10)),
    ):
        value //= root or 1
    if candidate.nice > 0:
        value *= 2
    if candidate.privileged:
        value //= 4
    if candidate.raw_io:
        value //= 4
    if candidate.other_cpuset:
        value //= 8
    if candidate.oom_adj > 0:
        return max(1, value) << candidate.oom_adj
    return value >> -candidate.oom_adj
