"""What a case consists of: who holds memory, who leaks, and whose limit is hit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process with a fixed amount of memory, in MiB; `group` is a path below the case's group.

    `shmem` is mapped from a tmpfs file named `share`, by all who name it; `sparse` counts single
    pages, each with a page table of its own; `kids` are children with `kid_mib` each.
    """

    name: str
    group: str = ""
    adj: int = 0
    anon: float = 0
    huge: int = 0
    shmem: int = 0
    share: str = "share"
    file: int = 0
    sparse: int = 0
    kids: int = 0
    kid_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """The process that grows, by `kind` of memory, from `start` MiB."""

    name: str = "leaker"
    kind: str = "anon"
    group: str = ""
    adj: int = 0
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to run out of memory.

    `limits` are cgroup files by group; `limited` is the group whose limit is hit, None the host.
    The prediction is taken when `gap_mib` are left. `expect`: all who must die, where known.
    """

    name: str
    holders: tuple[Holder, ...] = ()
    leak: Leak = Leak()
    limits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    limited: str | None = None
    settings: Mapping[str, int] = field(default_factory=dict)
    gap_mib: int = 64
    expect: frozenset[str] | None = None

    def groups(self) -> set[str]:
        """Name the groups that somebody lives in."""
        return {self.leak.group, *(holder.group for holder in self.holders)}
