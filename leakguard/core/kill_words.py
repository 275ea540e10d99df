"""Kills in plain words: who, how big, where, and what had run out."""

from leakguard.core.kills import KillCause, Killer, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.units import format_bytes

LISTED = 5


def victim_words(kill: NamedKill) -> str:
    """Name the victim: `postgres (pid 812, 1.20 GiB anonymous, oom_score_adj 200)`."""
    pid = [f"pid {kill.pid}"] if kill.pid is not None else []
    facts = [*pid, *_sizes(kill)]
    return f"{kill.name} ({', '.join(facts)})" if facts else kill.name


def _sizes(kill: NamedKill) -> list[str]:
    facts = []
    if kill.anon_bytes is not None:
        facts.append(f"{format_bytes(kill.anon_bytes)} anonymous")
    if kill.rss_bytes is not None:
        facts.append(f"{format_bytes(kill.rss_bytes)} resident")
    if kill.shmem_bytes:
        facts.append(f"{format_bytes(kill.shmem_bytes)} shared")
    if kill.oom_score_adj is not None:
        facts.append(f"oom_score_adj {kill.oom_score_adj}")
    return facts


def domain_words(kill: NamedKill) -> str:
    """Say what ran out, as a log tells it."""
    match kill.scope:
        case Domain.MEMCG:
            where = f"cgroup {kill.oom_memcg}" if kill.oom_memcg else "a cgroup"
            return limit_words(where, kill.limit_bytes)
        case Domain.HOST:
            ram = f" ({format_bytes(kill.limit_bytes)} of RAM)" if kill.limit_bytes else ""
            return f"the host ran out of memory{ram}"
        case Domain.CPUSET | Domain.MEMPOLICY:
            return "the memory nodes that it may use ran out"
        case None:
            return "memory ran out"


def guess_words(path: str, limit_bytes: int | None, cause: KillCause) -> str:
    """Say what ran out, as counters and limits tell it."""
    if cause is KillCause.HOST:
        return "the host ran out of memory"
    if not path:
        return "which limit was hit is not known"
    return limit_words(f"cgroup {path}", limit_bytes)


def limit_words(where: str, limit_bytes: int | None) -> str:
    """Say that a cgroup was full."""
    size = f" of {format_bytes(limit_bytes)}" if limit_bytes else ""
    return f"{where} reached its limit{size}"


def named_words(kill: NamedKill, service: str, sharing: tuple[str, ...]) -> str:
    """Tell of a kill that the kernel's log names."""
    group = " with its whole cgroup" if kill.group_kill and kill.chosen else ""
    whose = f", a process of {service}" if service else ""
    told = f"the kernel killed {victim_words(kill)}{group}{whose}: {domain_words(kill)}"
    if not sharing:
        return told
    return f"{told}; {listed(sharing)} {'shares' if len(sharing) == 1 else 'share'} it"


def unnamed_words(count: int, place: str, ran_out: str, why: str) -> str:
    """Tell of kills that only a counter shows."""
    where = f"in cgroup {place}" if place else "in no cgroup that is watched"
    reason = why or "the kernel's log names nobody"
    return f"the kernel killed {processes(count)} {where}: {ran_out} ({reason})"


def summed_words(count: int, names: tuple[str, ...], place: str) -> str:
    """Tell of kills that were gathered for a while."""
    who = f": {listed(names)}" if names else ""
    return f"the kernel killed {processes(count, 'more ')} in {place}{who}"


def killer_words(kill: NamedKill, *, root: bool) -> str:
    """Say what killed a service, from a kill that a log names."""
    whom = f"its process {victim_words(kill)}"
    if root:
        whom = f"it ({', '.join([kill.name, *_sizes(kill)])})"
    if kill.killer is not Killer.KERNEL:
        return f"{kill.killer.value} killed {whom} because memory was short"
    return f"the kernel killed {whom}: {domain_words(kill)}"


def processes(count: int, more: str = "") -> str:
    """Count processes."""
    return f"{count} {more}process{'' if count == 1 else 'es'}"


def listed(names: tuple[str, ...]) -> str:
    """Give some names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
