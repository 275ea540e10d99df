"""A report while its lines come in, and the kills that lines have named so far."""

from dataclasses import field
from enum import Enum

from leakguard.core.frozen import dataclass
from leakguard.core.oomlog.lines import Line
from leakguard.core.oomlog.patterns import Named
from leakguard.core.oomlog.report import (
    Domain,
    Kill,
    Memory,
    OomReport,
    Sizes,
    TaskRow,
    Wording,
)
from leakguard.core.oomlog.table import parse_row

STALE_S = 30.0
STALE_LINES = 5000
AT_ONCE_S = 2.0
MAX_ROWS = 65_536
_PAGE_SIZES_KB = (4, 8, 16, 64)


class By(Enum):
    """The kind of line that names a victim; each kind names one victim once in a report."""

    SELECTED = "selected"
    CONSTRAINT = "constraint"
    KILLED = "killed"
    SHARES = "shares"


@dataclass(slots=True, kw_only=True)
class KillDraft:
    """A kill while its lines come in."""

    pid: int
    name: str
    seen: set[By] = field(default_factory=set)
    uid: int | None = None
    loose_uid: int | None = None
    """From the end of a line, where a cut cannot be seen: believed last."""
    score: int | None = None
    scope: str | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    time: str | None = None
    boot_s: float | None = None
    task_memcg: str | None = None
    selected: "KillDraft | None" = None
    group: bool = False
    chosen: bool = True
    reaped: bool = False

    def take(self, named: Named, by: By, line: Line) -> None:
        """Add what one more line says; the "Killed" line says when, and its name is exact."""
        if by is By.KILLED or self.time is None:
            self.time, self.boot_s = line.time, line.boot_s
        self.seen.add(by)
        if by is By.KILLED or self.scope is None:
            self.scope = named.scope or self.scope
        self.score = named.score if self.score is None else self.score
        self.uid = named.uid if self.uid is None else self.uid
        self.numbers = named.numbers | self.numbers


@dataclass(slots=True)
class Draft:
    """One report: facts as they were printed, rows as text until somebody died."""

    line_no: int
    boot_s: float | None = None
    headed: bool = False
    invoker: str | None = None
    invoker_pid: int | None = None
    gfp_mask: str | None = None
    order: int | None = None
    kernel: str | None = None
    constraint: str | None = None
    oom_memcg: str | None = None
    task_memcg: str | None = None
    facts: dict[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    rows: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    gaps: bool = False
    child_words: str | None = None
    old_adj: bool = False
    old_capitals: bool = False
    uid_in_cpu: bool = False
    group: bool = False
    panic: bool = False
    kills: dict[int, KillDraft] = field(default_factory=dict)
    """By pid, in the order in which they were named."""

    def touch(self, line: Line, line_no: int) -> None:
        """Note that a line belonged to this report."""
        self.line_no = line_no
        if line.boot_s is not None:
            self.boot_s = line.boot_s

    def is_stale(self, line: Line, line_no: int) -> bool:
        """Tell whether a line comes too late, or from another boot, to belong here."""
        if line.boot_s is not None and self.boot_s is not None:
            return not -1.0 <= line.boot_s - self.boot_s <= STALE_S
        return line_no - self.line_no > STALE_LINES

    def is_at_once(self, line: Line) -> bool:
        """Tell whether a line comes right behind the last one of this report."""
        if line.boot_s is None or self.boot_s is None:
            return True
        return line.boot_s - self.boot_s <= AT_ONCE_S

    def add_row(self, text: str, pid: int) -> None:
        """Keep a row of the table."""
        if len(self.rows) >= MAX_ROWS:
            self.gaps = True
            return
        self.rows.append(text)
        self.pids.add(pid)

    def kill(self, pid: int) -> KillDraft | None:
        """Give the kill of that pid, None when no line has named it."""
        return self.kills.get(pid)

    def waits_for_child(self, kill: KillDraft) -> bool:
        """Tell whether a kill was announced "or sacrifice child" and nobody died yet."""
        return By.SELECTED in kill.seen and By.KILLED not in kill.seen

    def report(self) -> OomReport:
        """Give what was understood."""
        tasks = self._tasks()
        page_kb = self._page_kb(tasks or ())
        rows = {row.pid: row for row in tasks or ()}
        kills = tuple(self._kill(kill, rows.get(kill.pid)) for kill in self.kills.values())
        return OomReport(
            kills=kills,
            invoker=self.invoker,
            invoker_pid=self.invoker_pid,
            gfp_mask=self.gfp_mask,
            order=self.order,
            constraint=self.constraint,
            domain=self._domain(),
            oom_memcg=self.oom_memcg,
            tasks=tasks,
            table_gaps=self.gaps,
            memory=Memory(**self.facts),
            page_kb=page_kb,
            wording=self._wording(),
            panic=self.panic,
        )

    def _tasks(self) -> tuple[TaskRow, ...] | None:
        if not self.columns or not self.kills:
            return None
        parsed = (parse_row(text, self.columns) for text in self.rows)
        return tuple(row for row in parsed if row is not None)

    def _wording(self) -> Wording:
        return Wording(
            kernel=self.kernel,
            columns=self.columns,
            child_words=self.child_words,
            old_adj=self.old_adj,
            old_capitals=self.old_capitals,
            uid_in_kill=any("oom_score_adj" in kill.numbers for kill in self.kills.values()),
            uid_in_cpu=self.uid_in_cpu,
        )

    def _page_kb(self, tasks: tuple[TaskRow, ...]) -> int:
        """Tell the page size from a victim that is printed in kB and in pages; else 4 kB."""
        rows = {row.pid: row.total_vm_pages for row in tasks}
        for kill in self.kills.values():
            pages, kb = rows.get(kill.pid), kill.numbers.get("total_vm_kb")
            if pages and kb and kb % pages == 0 and kb // pages in _PAGE_SIZES_KB:
                return kb // pages
        return 4

    def _domain(self) -> Domain | None:
        words = " ".join(kill.scope or "" for kill in self.kills.values())
        if self.oom_memcg is not None or "cgroup" in words:
            return Domain.MEMCG  # 5.0 to 5.2 say CONSTRAINT_NONE even then
        if self.constraint == "CONSTRAINT_CPUSET" or "cpuset" in words:
            return Domain.CPUSET
        if self.constraint == "CONSTRAINT_MEMORY_POLICY" or "MPOL" in words:
            return Domain.MEMPOLICY
        return Domain.HOST if words.strip() or self.constraint is not None else None

    def _kill(self, kill: KillDraft, row: TaskRow | None) -> Kill:
        numbers = dict(kill.numbers)
        adj = numbers.pop("oom_score_adj", None)
        if row is not None and row.pgtables_bytes == numbers.get("pgtables_kb", -1):
            numbers["pgtables_kb"] //= 1024  # early 5.4 printed bytes and called them kB
        if adj is None and row is not None:
            adj = row.oom_score_adj
        uids = (kill.uid, None if row is None else row.uid, kill.loose_uid)
        chosen_by = kill.selected or kill
        return Kill(
            pid=kill.pid,
            name=kill.name,
            uid=next((uid for uid in uids if uid is not None), None),
            sizes=Sizes(**numbers),
            oom_score_adj=adj,
            score=chosen_by.score,
            scope=kill.scope,
            time=kill.time,
            boot_s=kill.boot_s,
            confirmed=bool(kill.seen & {By.KILLED, By.SHARES}),
            group_kill=kill.group,
            shared_memory=By.SHARES in kill.seen,
            chosen=kill.chosen,
            selected_pid=chosen_by.pid if kill.chosen else None,
            selected_name=chosen_by.name if kill.chosen else None,
            task_memcg=self._cgroup(kill),
            reaped=kill.reaped,
        )

    def _cgroup(self, kill: KillDraft) -> str | None:
        """Give the cgroup that was printed for the chosen process; for the others none is."""
        if not kill.chosen:
            return kill.task_memcg
        of_parent = None if kill.selected is None else kill.selected.task_memcg
        return kill.task_memcg or of_parent or self.task_memcg
