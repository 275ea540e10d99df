"""What the kernel said about running out of memory: one report, its task table, its kills."""

from dataclasses import field
from enum import StrEnum

from leakguard.core.frozen import dataclass


class Domain(StrEnum):
    """Whose memory ran out."""

    HOST = "host"
    MEMCG = "memcg"
    CPUSET = "cpuset"
    MEMPOLICY = "mempolicy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One row of the task table; what its kernel has no column for is None."""

    pid: int
    name: str
    uid: int
    tgid: int
    total_vm_pages: int
    rss_pages: int
    rss_anon_pages: int | None = None
    rss_file_pages: int | None = None
    rss_shmem_pages: int | None = None
    cpu: int | None = None
    nr_ptes: int | None = None
    nr_pmds: int | None = None
    nr_puds: int | None = None
    pgtables_bytes: int | None = None
    swapents_pages: int | None = None
    oom_adj: int | None = None
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of a victim as its kill line prints them."""

    total_vm_kb: int | None = None
    anon_rss_kb: int | None = None
    file_rss_kb: int | None = None
    shmem_rss_kb: int | None = None
    pgtables_kb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One process that the kernel named as killed."""

    pid: int
    name: str
    uid: int | None = None
    sizes: Sizes = field(default_factory=Sizes)
    oom_score_adj: int | None = None
    score: int | None = None
    scope: str | None = None
    """The kernel's words before the kill: `Out of memory`, `Memory cgroup out of memory`."""
    time: str | None = None
    boot_s: float | None = None
    confirmed: bool = False
    """A line says "Killed"; else the process was chosen, and no line says that it was spared."""
    group_kill: bool = False
    """Died with its cgroup (`memory.oom.group`), the chosen one included."""
    shared_memory: bool = False
    """Died because it had the victim's memory (CLONE_VM)."""
    chosen: bool = True
    """Chosen by badness, or the child of the one chosen; False for those who died with it."""
    selected_pid: int | None = None
    selected_name: str | None = None
    """Whom badness chose; another than `pid` where a child died for its parent (before 5.1)."""
    task_memcg: str | None = None
    reaped: bool = False
    """The reaper said that it freed its memory; silence means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The sizes of the domain that ran out, as printed."""

    ram_pages: int | None = None
    reserved_pages: int | None = None
    swap_total_kb: int | None = None
    usage_kb: int | None = None
    limit_kb: int | None = None
    memsw_limit_kb: int | None = None
    swap_limit_kb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Features of the text that tell the kernels apart; version numbers lie (RHEL 8)."""

    kernel: str | None = None
    """Version printed beside "Not tainted"."""
    columns: tuple[str, ...] = ()
    child_words: str | None = None
    """`or sacrifice child`, `or a child`, `and children`, None when none was printed."""
    old_adj: bool = False
    """The header has `oom_adj=` or `oomkilladj=` and no `oom_score_adj=`."""
    old_capitals: bool = False
    """`Out of Memory:`, as before 2.6.24."""
    uid_in_kill: bool = False
    """The kill line ends with `UID:… pgtables:… oom_score_adj:…`: 5.4 and later."""
    uid_in_cpu: bool = False
    """`CPU: … UID: … PID: …`: 6.11 and later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OomReport:
    """One call of the OOM killer. `kills` is empty where the log names none (cut, panic)."""

    kills: tuple[Kill, ...] = ()
    invoker: str | None = None
    invoker_pid: int | None = None
    gfp_mask: str | None = None
    order: int | None = None
    constraint: str | None = None
    domain: Domain | None = None
    oom_memcg: str | None = None
    tasks: tuple[TaskRow, ...] | None = None
    table_gaps: bool = False
    """Rows of the table are known to be missing, or two reports are mixed in it."""
    memory: Memory = field(default_factory=Memory)
    page_kb: int = 4
    wording: Wording = field(default_factory=Wording)
    panic: bool = False


SYSRQ_ORDER = -1
"""`order=` of a kill that a person asked for by SysRq-f."""
