"""One kill as plain data: the line that `leakguard oom-log --json` prints. Null: not printed."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from leakguard.core.oomlog.replay import Verdict, judge
from leakguard.core.oomlog.report import Kill, OomReport, TaskRow


def records(report: OomReport) -> Iterator[dict[str, Any]]:
    """Give a record for each kill of a report, in the order of the log."""
    verdict = judge(report)
    for kill in report.kills:
        yield _record(report, kill, verdict)


def _record(report: OomReport, kill: Kill, verdict: Verdict) -> dict[str, Any]:
    """Table and verdict belong to whom badness chose, not to those who died along with it."""
    shown = verdict if kill.chosen else Verdict(era=verdict.era, why="died with the chosen process")
    tasks = report.tasks if kill.chosen else None
    return {
        "time": kill.time,
        "boot_s": kill.boot_s,
        "pid": kill.pid,
        "name": kill.name,
        "uid": kill.uid,
        "scope": kill.scope,
        "domain": None if report.domain is None else report.domain.value,
        "constraint": report.constraint,
        "oom_memcg": report.oom_memcg,
        "task_memcg": kill.task_memcg,
        **dataclasses.asdict(kill.sizes),
        "oom_score_adj": kill.oom_score_adj,
        "score": kill.score,
        "selected_pid": kill.selected_pid,
        "selected_name": kill.selected_name,
        "confirmed": kill.confirmed,
        "group_kill": kill.group_kill,
        "shared_memory": kill.shared_memory,
        "reaped": kill.reaped,
        "invoker": report.invoker,
        "invoker_pid": report.invoker_pid,
        "gfp_mask": report.gfp_mask,
        "order": report.order,
        "kernel": report.wording.kernel,
        "kernel_era": None if verdict.era is None else verdict.era.value,
        "total_pages": shown.total_pages,
        "model_victim": None if shown.victim is None else shown.victim.pid,
        "model_victim_name": None if shown.victim is None else shown.victim.name,
        "model_agrees": shown.agrees,
        "model_why": shown.why,
        "tasks": None if tasks is None else [_task(row) for row in tasks],
    }


def _task(row: TaskRow) -> dict[str, Any]:
    """Give a row with the columns that its kernel prints."""
    return {key: value for key, value in dataclasses.asdict(row).items() if value is not None}
