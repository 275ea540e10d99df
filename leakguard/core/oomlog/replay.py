"""Our badness over a printed task table: would it have named the process that the kernel chose?

Known reasons for another answer, each given in `Verdict.why`:
- rows of the table are missing, or the chosen process is not in it: no answer is given;
- the total that weighs `oom_score_adj` is not printed in full (host's swap in a cgroup without a
  swap limit; the nodes of a cpuset), and the adjustments differ;
- 2.6.36 to 3.4 print no swap and no page tables, which their formula counts;
- before 2.6.36 the formula also counts children, CPU time, age and nice, which nobody printed;
- root's bonus goes by CAP_SYS_ADMIN, and the table prints the uid only;
- sizes moved between choice and print, and the two processes are nearly equal;
- the kernel passed over a process that was already dying.
"""

from collections.abc import Sequence
from dataclasses import replace

from leakguard.core.badness import Candidate, Choice, Era, WhyNot, choose, points
from leakguard.core.frozen import dataclass
from leakguard.core.oomlog.era import era_of
from leakguard.core.oomlog.report import Domain, Kill, OomReport, TaskRow

_NEAR_PAGES = 512
_NEAR_SHARE = 0.01
_ROOT_ERAS = frozenset({Era.PER_MILLE, Era.ABSOLUTE_ROOT, Era.RELATIVE_ROOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What our model says about one report."""

    era: Era | None = None
    total_pages: int | None = None
    victim: TaskRow | None = None
    agrees: bool | None = None
    """None: not enough was printed for an answer."""
    why: str | None = None
    """Why there is no answer, or why it may be another one than the kernel's."""


def judge(report: OomReport) -> Verdict:
    """Replay the choice of a report and compare it with the kernel's."""
    era = era_of(report)
    chosen = next((kill for kill in report.kills if kill.chosen), None)
    if chosen is None:
        return Verdict(era=era, why="the line that names the chosen process is missing")
    if report.tasks is None or era is None:
        return Verdict(era=era, why="no task table was printed")
    row = _row_of(report.tasks, chosen.selected_pid)
    if row is None or report.table_gaps:
        return Verdict(era=era, why="rows of the task table are missing")
    candidates = tuple(_candidate(one, era, report.page_kb) for one in report.tasks)
    total, is_exact = total_pages(report)
    weighs = _total_weighs(candidates, era)
    if total is None and weighs:
        return Verdict(era=era, why="the size of the memory that ran out was not printed")
    choice = _choose(report, chosen, candidates, total or 0, era)
    if choice is None or choice.victim is None:
        return Verdict(era=era, total_pages=total, why="the allocating process is not in the table")
    victim = _row_of(report.tasks, choice.victim.pid)
    agrees = victim == row
    why = (
        None
        if agrees
        else _why(candidates, row, choice, total or 0, era, exact=is_exact or not weighs)
    )
    return Verdict(era=era, total_pages=total, victim=victim, agrees=agrees, why=why)


def total_pages(report: OomReport) -> tuple[int | None, bool]:
    """Give the kernel's totalpages as far as it was printed, and whether that is all of it."""
    memory, page_kb = report.memory, report.page_kb
    swap = None if memory.swap_total_kb is None else memory.swap_total_kb // page_kb
    if report.domain is Domain.MEMCG:
        if memory.limit_kb is None:
            return None, False
        limit = memory.limit_kb // page_kb
        ceiling = memory.swap_limit_kb
        if memory.memsw_limit_kb is not None:
            ceiling = max(0, memory.memsw_limit_kb - memory.limit_kb)
        room = 0 if ceiling is None else ceiling // page_kb
        return limit + min(room, swap or 0), room == 0 or swap is not None
    if memory.ram_pages is None or memory.reserved_pages is None or swap is None:
        return None, False
    total = memory.ram_pages - memory.reserved_pages + swap
    return total, report.domain is Domain.HOST


def _candidate(row: TaskRow, era: Era, page_kb: int) -> Candidate:
    tables = (row.nr_ptes or 0) + (row.nr_pmds or 0) + (row.nr_puds or 0)
    if row.pgtables_bytes is not None:
        tables = row.pgtables_bytes // (page_kb * 1024)
    return Candidate(
        pid=row.pid,
        name=row.name,
        rss_pages=row.rss_pages,
        swap_pages=row.swapents_pages or 0,
        pagetable_pages=tables,
        oom_score_adj=row.oom_score_adj or 0,
        total_vm_pages=row.total_vm_pages,
        privileged=row.uid == 0,
        oom_adj=(row.oom_adj or 0) if era is Era.LEGACY else 0,
        why_not=WhyNot.INIT if row.pid == 1 else None,
    )


def _row_of(tasks: Sequence[TaskRow], pid: int | None) -> TaskRow | None:
    """Find a process by its pid, or by that of the thread that the kernel printed for it."""
    by_pid = next((row for row in tasks if row.pid == pid), None)
    return by_pid or next((row for row in tasks if row.tgid == pid), None)


def _total_weighs(candidates: Sequence[Candidate], era: Era) -> bool:
    """Tell whether the choice can depend on the total: it weighs the adjustments."""
    if era is Era.LEGACY:
        return False
    weights = {
        (one.oom_score_adj, era is Era.ABSOLUTE_ROOT and one.privileged)
        for one in candidates
        if points(one, 0, era) is not None
    }
    return era is Era.PER_MILLE or len(weights) > 1


def _choose(
    report: OomReport, chosen: Kill, candidates: Sequence[Candidate], total: int, era: Era
) -> Choice | None:
    if "oom_kill_allocating_task" not in (chosen.scope or ""):
        return choose(candidates, total, era)
    asks = _row_of(report.tasks or (), report.invoker_pid)
    if asks is None:
        return None
    return choose(candidates, total, era, allocating_task=True, allocator=asks.pid)


def _why(
    candidates: Sequence[Candidate],
    row: TaskRow,
    choice: Choice,
    total: int,
    era: Era,
    *,
    exact: bool,
) -> str:
    """Say the likeliest reason for another answer than the kernel's."""
    if era is Era.LEGACY:
        return "this kernel also counts children, CPU time, age and nice, which it does not print"
    if not exact:
        return "not all of the total that weighs oom_score_adj was printed"
    unprivileged = [replace(one, privileged=False) for one in candidates]
    if era in _ROOT_ERAS and _names(choose(unprivileged, total, era), row):
        return "root's bonus goes by capability, and the table prints only the uid"
    by_pid = {scored.candidate.pid: scored.points for scored in choice.ranked}
    theirs = by_pid.get(row.pid)
    if theirs is None or choice.victim is None:
        return "our model holds the chosen process for one that cannot be chosen"
    gap = by_pid[choice.victim.pid] - theirs
    if era is Era.PER_MILLE:
        return f"this kernel counts swap, which its table does not print; {gap} points apart"
    if gap <= max(_NEAR_PAGES, _NEAR_SHARE * abs(theirs)):
        return f"a near tie, {gap} pages apart: sizes move between choice and print"
    return f"the kernel may have passed over {choice.victim.name}, which was dying already"


def _names(choice: Choice, row: TaskRow) -> bool:
    return choice.victim is not None and choice.victim.pid == row.pid
