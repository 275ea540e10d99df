"""Every kernel's wording, from 2.6.18 to 7.0, and our own recorded reports."""

from dataclasses import replace
from pathlib import Path

import pytest

from leakguard.core.badness import Era
from leakguard.core.oomlog.parse import read_reports
from leakguard.core.oomlog.replay import judge
from leakguard.core.oomlog.report import Domain, Kill, OomReport, Sizes
from leakguard.testing.kernel_log import (
    FORMATS,
    KernelFormat,
    Killed,
    OomEvent,
    Task,
    dmesg,
    killed_line,
    kmsg,
    render,
    selected_line,
)

DATA = Path(__file__).parents[1] / "data"
WORKER = Task(pid=16547, name="Web Content", uid=1000, total_vm=8061, anon=5632, file=1652, swap=7)
SMALL = Task(pid=390, name="systemd-journal", anon=40)
HOST = OomEvent(
    tasks=(SMALL, WORKER), victim=1, invoker=SMALL, ram_pages=60_000, reserved_pages=1000
)
CGROUP = OomEvent(
    tasks=(SMALL, WORKER), victim=1, invoker=SMALL, memcg="/pods", task_memcg="/pods/one"
)
ERAS = {
    "2.6.18": Era.LEGACY,
    "2.6.30": Era.LEGACY,
    "2.6.34": Era.LEGACY,
    "2.6.32-642.11.1.el6.x86_64": Era.PER_MILLE,
    "3.2.0-4-amd64": Era.PER_MILLE,
    "3.10.0-514.6.1.el7.x86_64": Era.ABSOLUTE_ROOT,
    "3.16.0-4-amd64": Era.RELATIVE_ROOT,
    "4.4.0-62-generic": Era.RELATIVE_ROOT,
    "4.9.0-3-amd64": Era.RELATIVE_ROOT,
    "4.16.0-1-amd64": Era.RELATIVE_ROOT,
    "4.19.0-5-amd64": Era.PLAIN_CHILDREN,
    "5.0.0-13-generic": Era.PLAIN_CHILDREN,
    "5.1.0-rc7": Era.FIRST_WINS,
    "4.18.0-372.73.1.el8_6.x86_64": Era.LAST_WINS,
    "5.4.0-26-generic": Era.LAST_WINS,
    "6.1.1-arch1-1": Era.SIGNED,
    "6.8.0-rc1": Era.SIGNED,
    "7.0.0-1": Era.SIGNED,
}
each_kernel = pytest.mark.parametrize("kernel", FORMATS, ids=lambda kernel: kernel.version)


def only(lines: list[str]) -> tuple[OomReport, Kill]:
    """Give the one report and the one kill that the lines name."""
    reports = [report for report in read_reports(lines) if report.kills]
    assert [len(report.kills) for report in reports] == [1]
    return reports[0], reports[0].kills[0]


def sizes(task: Task, style: Killed) -> Sizes:
    """Give the sizes that a kernel prints of a task."""
    if style in {Killed.BARE, Killed.SCOPED_BARE}:
        return Sizes()
    new = style is Killed.SCOPED_UID
    shmem = style in {Killed.SHMEM, Killed.SCOPED_SHMEM, Killed.SCOPED_UID}
    return Sizes(
        total_vm_kb=task.total_vm * 4,
        anon_rss_kb=task.anon * 4,
        file_rss_kb=task.file * 4,
        shmem_rss_kb=task.shmem * 4 if shmem else None,
        pgtables_kb=task.tables * 4 if new else None,
    )


@each_kernel
def test_who_died_and_how_big_it_was(kernel: KernelFormat) -> None:
    """Pid, name and every size that this kernel prints."""
    _, kill = only(render(HOST, kernel))
    assert (kill.pid, kill.name, kill.confirmed) == (16547, "Web Content", True)
    assert kill.sizes == sizes(WORKER, kernel.killed)


@each_kernel
def test_the_announcement_and_the_kill_are_one_record(kernel: KernelFormat) -> None:
    """The score stands in one line, the sizes in another."""
    _, kill = only(dmesg(render(HOST, kernel)))
    assert kill.score == (651 if kernel.selected else None)
    assert kill.boot_s == pytest.approx(2048, abs=0.001)


@each_kernel
def test_who_asked(kernel: KernelFormat) -> None:
    """The invoking task, its pid, what it asked for, and the version."""
    report, _ = only(render(HOST, kernel))
    asked = report.invoker, report.invoker_pid, report.order, report.wording.kernel
    assert asked == ("systemd-journal", 390, 0, kernel.version)


@each_kernel
def test_the_domain(kernel: KernelFormat) -> None:
    """A cgroup is named by the line that this kernel has for it."""
    report, kill = only(render(CGROUP, kernel))
    assert report.domain is Domain.MEMCG
    assert report.oom_memcg == "/pods"
    assert kill.task_memcg == ("/pods/one" if kernel.task_in or kernel.constraint else None)


@each_kernel
def test_host_domain(kernel: KernelFormat) -> None:
    """Without a cgroup it was the host."""
    report, _ = only(render(HOST, kernel))
    assert (report.domain, report.oom_memcg) == (Domain.HOST, None)


@each_kernel
def test_the_task_table(kernel: KernelFormat) -> None:
    """Rows by the names of their columns; none where the kernel prints no table."""
    report, _ = only(render(HOST, kernel))
    if not kernel.columns:
        assert report.tasks is None
        return
    rows = report.tasks or ()
    assert [(row.pid, row.name, row.uid) for row in rows] == [
        (390, "systemd-journal", 0),
        (16547, "Web Content", 1000),
    ]
    assert [row.rss_pages for row in rows] == [SMALL.rss, WORKER.rss]
    assert rows[1].swapents_pages == (7 if "swapents" in kernel.columns else None)
    assert rows[1].rss_anon_pages == (5632 if "rss_anon" in kernel.columns else None)
    assert rows[1].pgtables_bytes == (5 * 4096 if "pgtables_bytes" in kernel.columns else None)


@each_kernel
def test_the_era_is_told_from_the_format(kernel: KernelFormat) -> None:
    """The formula follows from the wording, also where the version number lies."""
    report, _ = only(render(HOST, kernel))
    assert judge(report).era is ERAS[kernel.version]


@pytest.mark.parametrize(
    "kernel", [k for k in FORMATS if k.columns], ids=lambda kernel: kernel.version
)
@pytest.mark.parametrize("event", [HOST, CGROUP], ids=["host", "cgroup"])
def test_the_model_names_the_same_victim(kernel: KernelFormat, event: OomEvent) -> None:
    """Replayed over the printed table."""
    report, _ = only(render(event, kernel))
    verdict = judge(report)
    assert (verdict.agrees, verdict.why) == (True, None)
    assert verdict.victim is not None
    assert verdict.victim.pid == 16547


@pytest.mark.parametrize(
    "kernel", [k for k in FORMATS if k.selected], ids=lambda kernel: kernel.version
)
def test_a_child_that_dies_for_its_parent(kernel: KernelFormat) -> None:
    """One record, of the child; the model is held against the parent, whom badness chose."""
    child = Task(pid=17000, name="child", uid=1000, anon=30)
    event = replace(HOST, tasks=(SMALL, WORKER, child))
    lines = [*render(event, kernel)[:-1], killed_line(event, kernel, child)]
    report, kill = only(lines)
    assert (kill.pid, kill.name, kill.score) == (17000, "child", 651)
    assert (kill.selected_pid, kill.selected_name) == (16547, "Web Content")
    if kernel.columns:
        assert judge(report).agrees is True


@pytest.mark.parametrize(
    "kernel", [k for k in FORMATS if k.selected], ids=lambda kernel: kernel.version
)
def test_an_announcement_alone_is_a_kill_not_confirmed(kernel: KernelFormat) -> None:
    """The rest of the log is missing, or the process was never killed: one record says so."""
    _, kill = only([selected_line(HOST, kernel, WORKER)])
    assert (kill.pid, kill.name, kill.confirmed) == (16547, "Web Content", False)


@pytest.mark.parametrize("kind", ["kmsg", "dmesg"])
def test_recorded_report(kind: str) -> None:
    """A real kill on 6.18, as /dev/kmsg and as dmesg give it."""
    text = (DATA / f"oom-6.18-memcg.{kind}.txt").read_text(encoding="utf-8")
    report, kill = only(text.splitlines())
    assert (kill.pid, kill.name, kill.uid, kill.oom_score_adj) == (16547, "python3", 0, 300)
    assert kill.sizes == Sizes(
        total_vm_kb=32244, anon_rss_kb=22528, file_rss_kb=6608, shmem_rss_kb=0, pgtables_kb=100
    )
    assert (report.oom_memcg, kill.task_memcg, kill.boot_s) == ("/oomres", "/oomres", 2048.038554)
    assert [row.pid for row in report.tasks or ()] == [16544, 16547, 16548]
    assert judge(report).agrees is True


def test_the_same_report_reads_the_same_however_it_is_wrapped() -> None:
    """The wrapping adds times, and nothing else changes."""
    plain = render(CGROUP, FORMATS[-1])
    records = next(read_reports(kmsg(plain)))
    assert records == next(read_reports(dmesg(plain)))
