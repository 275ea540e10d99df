"""Our badness over a printed table: when it answers, and why it may differ."""

from dataclasses import replace

import pytest

from leakguard.core.badness import Era
from leakguard.core.oomlog.parse import read_reports
from leakguard.core.oomlog.record import records
from leakguard.core.oomlog.replay import Verdict, judge, total_pages
from leakguard.core.oomlog.report import OomReport
from leakguard.testing.kernel_log import FORMATS, KernelFormat, OomEvent, Task, killed_line, render

BIG = Task(pid=500, name="big", uid=1000, anon=9_000)
SMALL = Task(pid=600, name="small", uid=1000, anon=3_000)
HOST = OomEvent(tasks=(BIG, SMALL), victim=0, invoker=SMALL, ram_pages=60_000, reserved_pages=1_000)
CGROUP = replace(HOST, memcg="/pods", task_memcg="/pods/one", limit_kb=98_304)


def kernel(start: str) -> KernelFormat:
    """Give the format of a version."""
    return next(one for one in FORMATS if one.version.startswith(start))


NEW, EL7, EL6, OLD = kernel("6.1.1"), kernel("3.10"), kernel("2.6.32"), kernel("2.6.30")


def report(event: OomEvent, of: KernelFormat = NEW, **changed: str) -> OomReport:
    """Render and read one report; words in it may be changed for others."""
    lines = render(event, of)
    for old, new in changed.items():
        lines = [line.replace(old, new) for line in lines]
    return next(one for one in read_reports(lines) if one.kills)


def verdict(event: OomEvent, of: KernelFormat = NEW) -> Verdict:
    """Judge a rendered report."""
    return judge(report(event, of))


def test_the_larger_one() -> None:
    """Nothing else differs."""
    assert verdict(HOST).agrees is True
    assert verdict(replace(HOST, victim=1)).agrees is False


def test_host_total() -> None:
    """RAM less what is reserved, and swap."""
    assert total_pages(report(replace(HOST, swap_kb=4_000))) == (60_000, True)


def test_cgroup_total() -> None:
    """The limit; memory+swap with the same limit leaves no room for swap."""
    assert total_pages(report(CGROUP)) == (24_576, True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("memory+swap: usage 98304kB, limit 106496kB, failcnt 0", (24_576, False)),
        ("memory+swap: usage 1kB, limit 9007199254740988kB, failcnt 0", (24_576, False)),
        ("swap: usage 0kB, limit 0kB, failcnt 0", (24_576, True)),
        ("swap: usage 0kB, limit 8192kB, failcnt 0", (24_576, False)),
    ],
)
def test_cgroup_total_with_room_for_swap(line: str, expected: tuple[int, bool]) -> None:
    """How much swap the host has is not printed in the report of a cgroup."""
    lines = [line if old.startswith("memory+swap") else old for old in render(CGROUP, NEW)]
    assert total_pages(next(read_reports(lines))) == expected


def test_cgroup_total_with_the_hosts_swap() -> None:
    """Old kernels print it there too."""
    room = "memory+swap: usage 98304kB, limit 106496kB, failcnt 0"
    lines = [room if old.startswith("memory+swap") else old for old in render(CGROUP, NEW)]
    lines.insert(2, "Total swap = 4000kB")
    assert total_pages(next(read_reports(lines))) == (25_576, True)


def test_the_adjustment_is_weighed_by_the_total() -> None:
    """24 pages a thousandth: +300 is 7200 pages."""
    adjusted = replace(CGROUP, tasks=(BIG, replace(SMALL, adj=300)), victim=1)
    assert verdict(adjusted).agrees is True
    assert verdict(replace(adjusted, tasks=(BIG, replace(SMALL, adj=200)))).agrees is False


def test_without_a_total_equal_adjustments_are_enough() -> None:
    """It weighs them all alike; unequal ones are not judged."""
    table = [line for line in render(CGROUP, NEW) if "limit" not in line]
    equal = judge(next(read_reports(table)))
    assert (equal.agrees, equal.total_pages) == (True, None)
    other = replace(CGROUP, tasks=(BIG, replace(SMALL, adj=300)))
    table = [line for line in render(other, NEW) if "limit" not in line]
    unequal = judge(next(read_reports(table)))
    assert unequal.agrees is None
    assert unequal.why == "the size of the memory that ran out was not printed"


def test_never_chosen() -> None:
    """Init and whoever has -1000 are passed over."""
    init = replace(BIG, pid=1, anon=90_000)
    exempt = replace(BIG, pid=2, anon=90_000, adj=-1000)
    assert verdict(replace(HOST, tasks=(BIG, init, exempt, SMALL))).agrees is True


def test_no_table() -> None:
    """`vm.oom_dump_tasks=0`."""
    found = judge(next(read_reports([killed_line(HOST, NEW, BIG)])))
    assert (found.agrees, found.why) == (None, "no task table was printed")


def test_the_victim_is_not_in_the_table() -> None:
    """Rows were lost: no answer."""
    lines = [line for line in render(HOST, NEW) if not line.startswith("[    500]")]
    found = judge(next(read_reports(lines)))
    assert (found.agrees, found.why) == (None, "rows of the task table are missing")


def test_ties() -> None:
    """The first of equals before 5.3, the last from then on."""
    twins = replace(HOST, tasks=(BIG, replace(BIG, pid=501)))
    assert [verdict(twins, one).agrees for one in (EL7, NEW)] == [True, False]
    assert [verdict(replace(twins, victim=1), one).agrees for one in (EL7, NEW)] == [False, True]


@pytest.mark.parametrize(
    ("event", "of", "why"),
    [
        (
            replace(HOST, victim=1),
            NEW,
            "the kernel may have passed over big, which was dying already",
        ),
        (
            replace(HOST, tasks=(BIG, replace(BIG, pid=501, anon=8_950)), victim=1),
            NEW,
            "a near tie, 50 pages apart: sizes move between choice and print",
        ),
        (
            replace(HOST, tasks=(BIG, replace(BIG, pid=501, uid=0, anon=9_500)), victim=1),
            EL7,
            "root's bonus goes by capability, and the table prints only the uid",
        ),
        (
            replace(HOST, victim=1),
            EL6,
            "this kernel counts swap, which its table does not print; 101 points apart",
        ),
        (
            replace(HOST, tasks=(replace(BIG, total_vm=5_000), SMALL), victim=1),
            OLD,
            "this kernel also counts children, CPU time, age and nice, which it does not print",
        ),
        (
            replace(HOST, tasks=(BIG, replace(SMALL, adj=-1000)), victim=1),
            NEW,
            "our model holds the chosen process for one that cannot be chosen",
        ),
    ],
)
def test_reasons_for_another_answer(event: OomEvent, of: KernelFormat, why: str) -> None:
    """Each known cause is said."""
    found = verdict(event, of)
    assert (found.agrees, found.why) == (False, why)


def test_an_inexact_total_is_a_reason() -> None:
    """A cpuset's total is that of its nodes, which is not printed."""
    event = replace(HOST, tasks=(BIG, replace(SMALL, adj=50)), victim=1)
    found = judge(report(event, NEW, CONSTRAINT_NONE="CONSTRAINT_CPUSET"))
    assert found.agrees is False
    assert found.why == "not all of the total that weighs oom_score_adj was printed"


def test_the_allocating_task() -> None:
    """`vm.oom_kill_allocating_task`: the one who asked dies, whatever its score."""
    event = replace(HOST, victim=1, invoker=SMALL)
    words = {"Out of memory:": "Out of memory (oom_kill_allocating_task):"}
    found = judge(report(event, NEW, **words))
    assert (found.agrees, found.victim and found.victim.pid) == (True, 600)


def test_the_allocating_task_is_not_known() -> None:
    """A header is missing: no answer."""
    words = {"Out of memory:": "Out of memory (oom_kill_allocating_task):", "Comm": "comm"}
    found = judge(report(HOST, NEW, **words))
    assert (found.agrees, found.why) == (None, "the allocating process is not in the table")


def test_rhel8_is_read_by_its_format() -> None:
    """Its "4.18" has no word of children: the last of equals dies, as in 5.4."""
    assert verdict(HOST, kernel("4.18")).era is Era.LAST_WINS


def test_record_has_every_promised_field() -> None:
    """The names of `--json` are a contract; null is what was not printed."""
    (record,) = records(report(CGROUP))
    promised = {
        "pid", "name", "uid", "constraint", "oom_memcg", "task_memcg", "total_vm_kb",
        "anon_rss_kb", "file_rss_kb", "shmem_rss_kb", "pgtables_kb", "oom_score_adj", "score",
        "invoker", "tasks", "model_victim", "model_agrees", "time", "boot_s", "scope",
        "kernel_era", "gfp_mask", "order", "group_kill",
    }  # fmt: skip
    assert promised - record.keys() == set()
    assert (record["score"], record["time"], record["model_victim"]) == (None, None, 500)


def test_record_of_a_row_has_the_kernels_columns() -> None:
    """No column is made up."""
    (record,) = records(report(HOST, EL7))
    assert record["tasks"][0] == {
        "pid": 500,
        "name": "big",
        "uid": 1000,
        "tgid": 500,
        "total_vm_pages": 1000,
        "rss_pages": 9010,
        "nr_ptes": 5,
        "swapents_pages": 0,
        "oom_score_adj": 0,
    }


def test_records_of_a_group() -> None:
    """Table and verdict stand with the chosen one; its group died with it."""
    group = "Tasks in /pods/one are going to be killed due to memory.oom.group set"
    lines = [*render(CGROUP, NEW), group, killed_line(CGROUP, NEW, SMALL)]
    chosen, member = records(next(read_reports(lines)))
    assert (chosen["model_agrees"], len(chosen["tasks"])) == (True, 2)
    assert (member["model_agrees"], member["tasks"], member["group_kill"]) == (None, None, True)
    assert (member["oom_memcg"], member["model_why"]) == ("/pods", "died with the chosen process")
