"""Processes that were killed for memory: who, by whom, in which domain; and what causes are."""

from dataclasses import replace
from enum import StrEnum

from leakguard.core.frozen import dataclass
from leakguard.core.oomlog.report import Domain, Kill, OomReport
from leakguard.core.units import KIB

SAME_KILL_S = 2.0
"""A pid is not used again and killed again within this; clocks of two logs differ by less."""


class Killer(StrEnum):
    """Who kills for memory."""

    KERNEL = "kernel"
    EARLYOOM = "earlyoom"
    SYSTEMD_OOMD = "systemd-oomd"
    NOHANG = "nohang"


class KillCause(StrEnum):
    """Whose memory had run out when the kernel killed, as seen from a service."""

    OWN_LIMIT = "own_limit"
    """The limit of the cgroup that holds the service, or of one below it."""
    ANCESTOR_LIMIT = "ancestor_limit"
    """The limit of a cgroup above that."""
    HOST = "host"
    UNKNOWN = "unknown"


class DeathCause(StrEnum):
    """Why a guarded service died."""

    CRASH = "crash"
    """It ended with an exit code or a signal that we know, and nobody killed it for memory."""
    OOM_OWN_LIMIT = "oom_own_limit"
    OOM_ANCESTOR_LIMIT = "oom_ancestor_limit"
    OOM_HOST = "oom_host"
    OOM = "oom"
    """The kernel killed it for memory; which limit was hit is not known."""
    USERSPACE_KILLER = "userspace_killer"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedKill:
    """One process (or, of `systemd-oomd`, one cgroup) that a log says was killed for memory."""

    pid: int | None
    name: str
    killer: Killer = Killer.KERNEL
    uid: int | None = None
    scope: Domain | None = None
    """Whose memory ran out."""
    oom_memcg: str | None = None
    """The cgroup whose limit was hit."""
    task_memcg: str | None = None
    """The cgroup of the victim."""
    limit_bytes: int | None = None
    total_vm_bytes: int | None = None
    rss_bytes: int | None = None
    """As a killer in user space prints it; the kernel prints the parts."""
    anon_bytes: int | None = None
    file_bytes: int | None = None
    shmem_bytes: int | None = None
    pgtables_bytes: int | None = None
    oom_score_adj: int | None = None
    boot_s: float | None = None
    """When, in seconds since boot."""
    group_kill: bool = False
    """Died with its whole cgroup (`memory.oom.group`)."""
    chosen: bool = True
    """Chosen by badness; False for those who died with it."""
    counted: bool = True
    """The kernel's counters count it; they do not count who shares the victim's memory."""
    foreign: bool = False
    """The pid is one of another pid namespace than the one we watch: it is never compared."""
    member_of: str = ""
    """The guarded service that had this process when it was last looked at."""

    def is_same(self, other: "NamedKill") -> bool:
        """Tell whether two records are of one kill: same victim, same moment."""
        if (self.pid, self.killer) != (other.pid, other.killer):
            return False
        if self.pid is None and self.task_memcg != other.task_memcg:
            return False
        if self.boot_s is None or other.boot_s is None:
            return True
        return abs(self.boot_s - other.boot_s) < SAME_KILL_S


def named_kills(report: OomReport, *, foreign: bool = False) -> tuple[NamedKill, ...]:
    """Give the kills of a kernel report, those that were only announced too."""
    return tuple(replace(_named(kill, report), foreign=foreign) for kill in report.kills)


def _named(kill: Kill, report: OomReport) -> NamedKill:
    sizes = kill.sizes
    return NamedKill(
        pid=kill.pid,
        name=kill.name,
        uid=kill.uid,
        scope=report.domain,
        oom_memcg=report.oom_memcg,
        task_memcg=kill.task_memcg,
        limit_bytes=_limit(report),
        total_vm_bytes=_bytes(sizes.total_vm_kb),
        anon_bytes=_bytes(sizes.anon_rss_kb),
        file_bytes=_bytes(sizes.file_rss_kb),
        shmem_bytes=_bytes(sizes.shmem_rss_kb),
        pgtables_bytes=_bytes(sizes.pgtables_kb),
        oom_score_adj=kill.oom_score_adj,
        boot_s=kill.boot_s,
        group_kill=kill.group_kill,
        chosen=kill.chosen,
        counted=not kill.shared_memory,
    )


def _limit(report: OomReport) -> int | None:
    memory = report.memory
    if report.domain is Domain.MEMCG:
        return _bytes(memory.limit_kb)
    return None if memory.ram_pages is None else memory.ram_pages * report.page_kb * KIB


def _bytes(kb: int | None) -> int | None:
    return None if kb is None else kb * KIB
