"""OOM reports written the way each kernel writes them, from values: the parser's counterpart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

_PAGE_KB = 4


class Selected(StrEnum):
    """How the choice is announced; later kernels do not announce it."""

    AND_CHILDREN = "and children"
    OR_A_CHILD = "or a child"
    SACRIFICE = "or sacrifice child"
    NOT = ""


class Killed(StrEnum):
    """What the line of the kill says besides pid and name."""

    SCOPED_BARE = "scoped_bare"
    BARE = "bare"
    VSZ = "vsz"
    UID_FIRST = "uid_first"
    SIZES = "sizes"
    SHMEM = "shmem"
    SCOPED_SHMEM = "scoped_shmem"
    SCOPED_UID = "scoped_uid"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFormat:
    """The wording of one range of kernels."""

    version: str
    adj: str
    columns: str
    selected: Selected
    killed: Killed
    task_in: bool = False
    constraint: bool = False
    states_line: bool = False
    wide_pid: bool = False
    uid_in_cpu: bool = False


_OLD = "uid tgid total_vm rss cpu oom_adj name"
_PER_MILLE = "uid tgid total_vm rss cpu oom_adj oom_score_adj name"
_PTES = "uid tgid total_vm rss nr_ptes swapents oom_score_adj name"
_PMDS = "uid tgid total_vm rss nr_ptes nr_pmds swapents oom_score_adj name"
_BYTES = "uid tgid total_vm rss pgtables_bytes swapents oom_score_adj name"
_SPLIT = (
    "uid tgid total_vm rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name"
)


def _format(  # noqa: PLR0913  one row of the table below
    version: str,
    columns: str,
    selected: Selected,
    killed: Killed,
    *,
    adj: str = "oom_score_adj={adj}",
    task_in: bool = True,
    constraint: bool = False,
    states_line: bool = False,
    wide_pid: bool = False,
    uid_in_cpu: bool = False,
) -> KernelFormat:
    return KernelFormat(
        version=version,
        adj=adj,
        columns=columns,
        selected=selected,
        killed=killed,
        task_in=task_in,
        constraint=constraint,
        states_line=states_line,
        wide_pid=wide_pid,
        uid_in_cpu=uid_in_cpu,
    )


def _recent(
    version: str, columns: str, killed: Killed, *, uid_in_cpu: bool = False
) -> KernelFormat:
    return _format(
        version,
        columns,
        Selected.NOT,
        killed,
        task_in=False,
        constraint=True,
        states_line=True,
        wide_pid=True,
        uid_in_cpu=uid_in_cpu,
    )


FORMATS: tuple[KernelFormat, ...] = (
    _format(
        "2.6.18", "", Selected.AND_CHILDREN, Killed.SCOPED_BARE, adj="oomkilladj=0", task_in=False
    ),
    _format("2.6.30", _OLD, Selected.OR_A_CHILD, Killed.BARE, adj="oomkilladj=0"),
    _format("2.6.34", _OLD, Selected.OR_A_CHILD, Killed.VSZ, adj="oom_adj=0"),
    _format(
        "2.6.32-642.11.1.el6.x86_64",
        _PER_MILLE,
        Selected.SACRIFICE,
        Killed.UID_FIRST,
        adj="oom_adj=0, oom_score_adj={adj}",
    ),
    _format(
        "3.2.0-4-amd64",
        _PER_MILLE,
        Selected.SACRIFICE,
        Killed.SIZES,
        adj="oom_adj=0, oom_score_adj={adj}",
    ),
    _format("3.10.0-514.6.1.el7.x86_64", _PTES, Selected.SACRIFICE, Killed.SIZES),
    _format("3.16.0-4-amd64", _PTES, Selected.SACRIFICE, Killed.SIZES),
    _format("4.4.0-62-generic", _PMDS, Selected.SACRIFICE, Killed.SIZES),
    _format("4.9.0-3-amd64", _PMDS, Selected.SACRIFICE, Killed.SHMEM),
    _format("4.16.0-1-amd64", _BYTES, Selected.SACRIFICE, Killed.SHMEM, wide_pid=True),
    _format(
        "4.19.0-5-amd64",
        _BYTES,
        Selected.SACRIFICE,
        Killed.SHMEM,
        states_line=True,
        wide_pid=True,
    ),
    _format(
        "5.0.0-13-generic",
        _BYTES,
        Selected.SACRIFICE,
        Killed.SHMEM,
        task_in=False,
        constraint=True,
        states_line=True,
        wide_pid=True,
    ),
    _recent("5.1.0-rc7", _BYTES, Killed.SCOPED_SHMEM),
    _recent("4.18.0-372.73.1.el8_6.x86_64", _BYTES, Killed.SCOPED_UID),
    _recent("5.4.0-26-generic", _BYTES, Killed.SCOPED_UID),
    _recent("6.1.1-arch1-1", _BYTES, Killed.SCOPED_UID),
    _recent("6.8.0-rc1", _SPLIT, Killed.SCOPED_UID),
    _recent("7.0.0-1", _SPLIT, Killed.SCOPED_UID, uid_in_cpu=True),
)
"""One for each change of wording, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A process in the table; sizes in pages."""

    pid: int
    name: str
    uid: int = 0
    total_vm: int = 1000
    anon: int = 100
    file: int = 10
    shmem: int = 0
    tables: int = 5
    swap: int = 0
    adj: int = 0

    @property
    def rss(self) -> int:
        """Everything resident."""
        return self.anon + self.file + self.shmem


@dataclass(frozen=True, slots=True, kw_only=True)
class OomEvent:
    """One call of the OOM killer, as the kernel would know it."""

    tasks: tuple[Task, ...]
    victim: int
    """Index in `tasks`."""
    invoker: Task
    memcg: str | None = None
    task_memcg: str = "/"
    limit_kb: int = 98304
    ram_pages: int = 4_115_400
    reserved_pages: int = 97_082
    swap_kb: int = 0
    score: int = 651
    order: int = 0

    @property
    def killed(self) -> Task:
        """The process that dies."""
        return self.tasks[self.victim]

    @property
    def scope(self) -> str:
        """The words before the kill."""
        return "Out of memory" if self.memcg is None else "Memory cgroup out of memory"


def render(event: OomEvent, kernel: KernelFormat) -> list[str]:
    """Give the report as the kernel's own lines, nothing put round them."""
    return [
        *_head(event, kernel),
        *(_host_memory(event) if event.memcg is None else _memcg(event, kernel)),
        *(_table(event, kernel) if kernel.columns else ()),
        *_end(event, kernel),
    ]


def _head(event: OomEvent, kernel: KernelFormat) -> list[str]:
    task, old = event.invoker, kernel.version.startswith("2.6")
    mask = "0xcc0(GFP_KERNEL)" if kernel.constraint else "0x201da"
    adj = kernel.adj.format(adj=task.adj)
    uid = f"UID: {task.uid} " if kernel.uid_in_cpu else ""
    words = f"{task.name} Not tainted {kernel.version} #1"
    cpu = f"Pid: {task.pid}, comm: {words}" if old else f"CPU: 1 {uid}PID: {task.pid} Comm: {words}"
    return [
        f"{task.name} invoked oom-killer: gfp_mask={mask}, order={event.order}, {adj}",
        cpu,
        "Call Trace:",
        " <TASK>",
        " dump_header+0x43/0x1c0",
        " [<ffffffff811318a2>] ? oom_kill_process+0x82/0x2a0",
        " </TASK>",
    ]


def _host_memory(event: OomEvent) -> list[str]:
    return [
        "Mem-Info:",
        "active_anon:1413442 inactive_anon:1509191 isolated_anon:0",
        "Node 0 DMA free:13312kB boost:0kB min:64kB low:80kB high:96kB",
        "lowmem_reserve[]: 0 3191 15659 15659 15659",
        "44659 total pagecache pages",
        "Free swap  = 84kB",
        f"Total swap = {event.swap_kb}kB",
        f"{event.ram_pages} pages RAM",
        f"{event.reserved_pages} pages reserved",
    ]


def _memcg(event: OomEvent, kernel: KernelFormat) -> list[str]:
    limit = event.limit_kb
    where = f"Task in {event.task_memcg} killed as a result of limit of {event.memcg}"
    return [
        *([where] if kernel.task_in else ()),
        f"memory: usage {limit}kB, limit {limit}kB, failcnt 102",
        f"memory+swap: usage {limit}kB, limit {limit}kB, failcnt 0",
        "kmem: usage 500kB, limit 9007199254740988kB, failcnt 0",
        f"Memory cgroup stats for {event.memcg}:",
    ]


def _table(event: OomEvent, kernel: KernelFormat) -> list[str]:
    columns = kernel.columns.split()
    pid = "[  pid  ]" if kernel.wide_pid else "[ pid ]"
    lines = ["Tasks state (memory values in pages):"] if kernel.states_line else []
    lines.append(f"{pid}   uid  tgid " + " ".join(f"{c:>8}" for c in columns[2:]))
    width = 7 if kernel.wide_pid else 5
    for task in event.tasks:
        cells = " ".join(f"{_cell(task, column):>8}" for column in columns[:-1])
        lines.append(f"[{task.pid:>{width}}] {cells} {task.name}")
    return lines


def _cell(task: Task, column: str) -> int:
    return {
        "uid": task.uid,
        "tgid": task.pid,
        "total_vm": task.total_vm,
        "rss": task.rss,
        "rss_anon": task.anon,
        "rss_file": task.file,
        "rss_shmem": task.shmem,
        "cpu": 1,
        "nr_ptes": task.tables,
        "nr_pmds": 0,
        "pgtables_bytes": task.tables * _PAGE_KB * 1024,
        "swapents": task.swap,
        "oom_adj": 0,
        "oom_score_adj": task.adj,
    }[column]


def _end(event: OomEvent, kernel: KernelFormat) -> list[str]:
    task, lines = event.killed, []
    if kernel.constraint:
        kind = "CONSTRAINT_NONE" if event.memcg is None else "CONSTRAINT_MEMCG"
        domain = "global_oom" if event.memcg is None else f"oom_memcg={event.memcg}"
        lines.append(
            f"oom-kill:constraint={kind},nodemask=(null),cpuset=/,mems_allowed=0,{domain},"
            f"task_memcg={event.task_memcg},task={task.name},pid={task.pid},uid={task.uid}"
        )
    if kernel.selected is not Selected.NOT:
        lines.append(selected_line(event, kernel, task))
    return [*lines, killed_line(event, kernel, task)]


def selected_line(event: OomEvent, kernel: KernelFormat, task: Task) -> str:
    """Give the line that announces whom badness chose."""
    small = kernel.selected is Selected.OR_A_CHILD
    scope = event.scope
    if kernel.selected is Selected.AND_CHILDREN:
        scope = "Out of Memory"
    verb, stop = ("kill" if small else "Kill"), "." if kernel.killed is Killed.SCOPED_BARE else ""
    return (
        f"{scope}: {verb} process {task.pid} ({task.name}) score {event.score} "
        f"{kernel.selected.value}{stop}"
    )


def killed_line(event: OomEvent, kernel: KernelFormat, task: Task) -> str:
    """Give the line that names who died."""
    style = kernel.killed
    scope = f"{event.scope}: " if style.startswith("scoped") else ""
    uid = f", UID {task.uid}," if style is Killed.UID_FIRST else ""
    line = f"{scope}Killed process {task.pid}{uid} ({task.name})"
    if style in {Killed.SCOPED_BARE, Killed.BARE}:
        return f"{line}." if style is Killed.SCOPED_BARE else line
    word = "vsz" if style is Killed.VSZ else "total-vm"
    line += f" {word}:{task.total_vm * _PAGE_KB}kB, anon-rss:{task.anon * _PAGE_KB}kB"
    line += f", file-rss:{task.file * _PAGE_KB}kB"
    if style in {Killed.SHMEM, Killed.SCOPED_SHMEM, Killed.SCOPED_UID}:
        line += f", shmem-rss:{task.shmem * _PAGE_KB}kB"
    if style is Killed.SCOPED_UID:
        line += f", UID:{task.uid} pgtables:{task.tables * _PAGE_KB}kB oom_score_adj:{task.adj}"
    return line


def dmesg(lines: Iterable[str], *, since_s: float = 2048.0) -> list[str]:
    """Put seconds since boot before each line, as dmesg does."""
    return [f"[{since_s + i / 1e6:12.6f}] {line}" for i, line in enumerate(lines)]


def kmsg(lines: Iterable[str], *, since_s: float = 2048.0, seq: int = 9000) -> list[str]:
    """Write the lines as records of /dev/kmsg."""
    start = int(since_s * 1e6)
    return [f"6,{seq + i},{start + i},-;{line}" for i, line in enumerate(lines)]


def syslog(lines: Iterable[str], *, host: str = "host", time: str = "Jun 20 12:47:43") -> list[str]:
    """Write the lines as a syslog daemon does."""
    return [f"{time} {host} kernel: {line}" for line in lines]


def journal(lines: Iterable[str], *, host: str = "host", since_s: float = 2048.0) -> list[str]:
    """Write the lines as `journalctl -k -o short-monotonic` does."""
    return [f"[{since_s + i / 1e6:.6f}] {host} kernel: {line}" for i, line in enumerate(lines)]


def wrapped(lines: Sequence[str], *, width: int = 76) -> list[str]:
    """Break long lines at spaces, as a mail program does."""
    broken: list[str] = []
    for line in lines:
        rest = line
        while len(rest) > width and " " in rest[1:width].lstrip():
            at = rest.rindex(" ", 1, width)
            broken.append(rest[:at])
            rest = rest[at + 1 :]
        broken.append(rest)
    return broken
