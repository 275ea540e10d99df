"""What makes real logs hard to read: one test a pitfall."""

from collections.abc import Callable

import pytest

from leakguard.core.oomlog.parse import OomLogParser, read_reports
from leakguard.core.oomlog.report import SYSRQ_ORDER, Domain, Kill, OomReport
from leakguard.testing.kernel_log import (
    FORMATS,
    KernelFormat,
    OomEvent,
    Task,
    dmesg,
    journal,
    killed_line,
    kmsg,
    render,
    selected_line,
    syslog,
    wrapped,
)

NEW = FORMATS[-1]
PLAIN_NEW = next(one for one in FORMATS if one.version.startswith("6.1.1"))
EL7 = next(one for one in FORMATS if ".el7" in one.version)
EL6 = next(one for one in FORMATS if ".el6" in one.version)
WORKER = Task(pid=16547, name="worker", uid=1000, total_vm=8061, anon=5632, file=1652)
OTHER = Task(pid=390, name="other", anon=40)
HOST = OomEvent(
    tasks=(OTHER, WORKER), victim=1, invoker=OTHER, ram_pages=60_000, reserved_pages=1000
)
CGROUP = OomEvent(
    tasks=(OTHER, WORKER), victim=1, invoker=OTHER, memcg="/pods", task_memcg="/pods/one"
)
SECOND = OomEvent(
    tasks=(OTHER, Task(pid=7000, name="second", anon=9000)),
    victim=1,
    invoker=WORKER,
    memcg="/second",
    task_memcg="/second/x",
)


def kills(lines: list[str]) -> list[Kill]:
    """Give every kill that the lines name."""
    return [kill for report in read_reports(lines) for kill in report.kills]


def who(lines: list[str]) -> list[tuple[int, str]]:
    """Give pid and name of every kill."""
    return [(kill.pid, kill.name) for kill in kills(lines)]


def only(lines: list[str]) -> tuple[OomReport, Kill]:
    """Give the one report that names somebody, and its one kill."""
    reports = [report for report in read_reports(lines) if report.kills]
    assert [len(report.kills) for report in reports] == [1]
    return reports[0], reports[0].kills[0]


def named(name: str) -> OomEvent:
    """Give a kill of a process of that name."""
    return OomEvent(tasks=(OTHER, Task(pid=16547, name=name, anon=5632)), victim=1, invoker=OTHER)


@pytest.mark.parametrize("kernel", FORMATS, ids=lambda kernel: kernel.version)
@pytest.mark.parametrize(
    "name",
    [
        "kworker/0:2",
        "(sd-pam)",
        "Web Content",
        "a) b",
        ") x (",
        "a: b",
        "x,pid=1,uid=0",
        "1234",
        "[0]",
    ],
)
def test_names(name: str, kernel: KernelFormat) -> None:
    """A name may hold spaces, colons and parentheses; in the table too."""
    report, kill = only(dmesg(render(named(name), kernel)))
    assert kill.name == name
    if report.tasks is not None:
        assert [row.name for row in report.tasks] == ["other", name]


def test_no_name_at_all() -> None:
    """A process may have an empty name."""
    report, kill = only(dmesg(render(named(""), NEW)))
    assert kill.name == ""
    assert [row.name for row in report.tasks or ()] == ["other", ""]


@pytest.mark.parametrize("wrap", [dmesg, syslog])
def test_newline_in_a_name(wrap: Callable[[list[str]], list[str]]) -> None:
    """The log breaks the line in the middle of the name."""
    broken = [part for line in render(named("a\nb"), PLAIN_NEW) for part in line.split("\n")]
    assert who(wrap(broken)) == [(16547, "a\nb")]


def test_overflowing_columns() -> None:
    """A uid of ten digits and sizes of eleven push the columns; only white space parts them."""
    wide = Task(pid=4_194_303, name="wide", uid=1001240000, total_vm=99_999_999_999, anon=9_000)
    report, kill = only(render(OomEvent(tasks=(OTHER, wide), victim=1, invoker=OTHER), NEW))
    assert kill.uid == 1001240000
    row = (report.tasks or ())[1]
    assert (row.uid, row.total_vm_pages, row.rss_anon_pages) == (1001240000, 99_999_999_999, 9_000)


@pytest.mark.parametrize(
    "stamp",
    ["Mi Mär 13 11:16:48 2024", "mer. mars 13 11:16:48 2024", "五 12月 30 00:46:32 2022"],
)
def test_localised_dates(stamp: str) -> None:
    """`dmesg -T` writes days and months in the reader's language."""
    report, kill = only([f"[{stamp}] {line}" for line in render(CGROUP, NEW)])
    assert (kill.pid, kill.time, kill.boot_s) == (16547, stamp, None)
    assert len(report.tasks or ()) == 2


def test_localised_months_of_syslog() -> None:
    """And so do some syslog daemons; latin-1 bytes come as escapes."""
    lines = [line.replace("Jun", "M\\xe4r") for line in syslog(render(CGROUP, NEW))]
    _, kill = only(lines)
    assert (kill.pid, kill.time) == (16547, "M\\xe4r 20 12:47:43")


def test_caller_ids_part_two_reports() -> None:
    """With `[T12]` two reports whose lines alternate are read as two."""
    one = [line.replace("] ", "][ T9185] ", 1) for line in dmesg(render(CGROUP, NEW))]
    two = [line.replace("] ", "][ T9186] ", 1) for line in dmesg(render(SECOND, NEW))]
    reports = [r for r in read_reports(_alternate(one, two)) if r.kills]
    assert [(r.oom_memcg, r.kills[0].pid, r.invoker) for r in reports] == [
        ("/pods", 16547, "other"),
        ("/second", 7000, "worker"),
    ]
    assert [[row.pid for row in r.tasks or ()] for r in reports] == [[390, 16547], [390, 7000]]


def test_hosts_part_two_reports() -> None:
    """A log collector mixes the lines of its hosts."""
    one, two = syslog(render(CGROUP, NEW), host="a"), syslog(render(SECOND, NEW), host="b")
    reports = [r for r in read_reports(_alternate(one, two)) if r.kills]
    assert [(r.oom_memcg, r.kills[0].pid) for r in reports] == [("/pods", 16547), ("/second", 7000)]


def test_two_reports_that_nothing_parts() -> None:
    """Both kills are named once; tables that cannot be told apart are not judged."""
    lines = _alternate(dmesg(render(CGROUP, NEW)), dmesg(render(SECOND, NEW)))
    assert sorted(who(lines)) == [(7000, "second"), (16547, "worker")]


def _alternate(one: list[str], two: list[str]) -> list[str]:
    return [line for pair in zip(one, two, strict=True) for line in pair]


def test_syslog_newlines() -> None:
    """Rsyslog writes `#012` for a newline: several lines come as one record."""
    lines = render(HOST, EL7)
    at = next(i for i, line in enumerate(lines) if "pages RAM" in line)
    joined = [*lines[: at - 1], "#012".join(lines[at - 1 : at + 2]), *lines[at + 2 :]]
    report, _ = only(syslog(joined))
    assert (report.memory.ram_pages, report.memory.reserved_pages) == (60_000, 1000)


@pytest.mark.parametrize("kernel", [EL6, EL7, PLAIN_NEW], ids=lambda kernel: kernel.version)
@pytest.mark.parametrize("event", [HOST, CGROUP], ids=["host", "cgroup"])
@pytest.mark.parametrize("quote", ["", "> "])
def test_wrapped_by_a_mailer(kernel: KernelFormat, event: OomEvent, quote: str) -> None:
    """Lines broken at spaces, quoted or not, are read as if whole."""
    whole = dmesg(render(event, kernel))
    broken = [quote + line for line in wrapped(whole)]
    assert len(broken) > len(whole)
    assert only(broken) == only(whole)


def test_wrapped_without_times() -> None:
    """A pasted report has no times that tell a line from the rest of one."""
    whole = render(CGROUP, PLAIN_NEW)
    assert only(wrapped(whole)) == only(whole)


def test_rows_only_after_grep() -> None:
    """`dmesg | grep mysqld` leaves a header and rows, and nobody who died."""
    lines = [line for line in dmesg(render(HOST, EL7)) if "Kill" not in line]
    assert who(lines) == []


@pytest.mark.parametrize("kernel", FORMATS, ids=lambda kernel: kernel.version)
def test_kill_line_alone(kernel: KernelFormat) -> None:
    """Ring buffers and rate limits leave the last line only."""
    report, kill = only(dmesg([killed_line(HOST, kernel, WORKER)]))
    assert (kill.pid, kill.name, report.invoker) == (16547, "worker", None)
    assert report.tasks is None


def test_constraint_line_alone() -> None:
    """The last line is cut off: who, in which cgroup, and that nothing confirms it."""
    report, kill = only(dmesg(render(CGROUP, NEW)[:-1]))
    assert (kill.pid, kill.name, kill.uid, kill.confirmed) == (16547, "worker", 1000, False)
    assert (report.oom_memcg, kill.task_memcg) == ("/pods", "/pods/one")


def test_rate_limited_kills_do_not_inherit_a_report() -> None:
    """What follows a finished report without a header has no invoker and no table."""
    lines = [*render(CGROUP, NEW), "out_of_memory: 3 callbacks suppressed"]
    lines += [killed_line(HOST, NEW, Task(pid=7, name="late"))]
    reports = list(read_reports(dmesg(lines)))
    assert [(r.invoker, [kill.pid for kill in r.kills]) for r in reports] == [
        ("other", [16547]),
        (None, [7]),
    ]
    assert (reports[1].tasks, reports[1].domain) == (None, Domain.HOST)


def test_a_cut_report_gives_nothing_to_the_next() -> None:
    """A header whose report was cut names nobody; the next one has its own invoker and table."""
    lines = dmesg([*render(SECOND, NEW)[:6], *render(CGROUP, NEW)])
    report, kill = only(lines)
    assert (report.invoker, kill.pid, report.oom_memcg) == ("other", 16547, "/pods")


def test_a_report_long_ago_is_not_this_ones() -> None:
    """An hour later a line is no part of a report that was cut."""
    early = dmesg(render(HOST, NEW)[:-2], since_s=100)
    late = dmesg([killed_line(HOST, NEW, WORKER)], since_s=3700)
    report, _ = only([*early, *late])
    assert (report.invoker, report.tasks) == (None, None)


def test_other_lines_between_rows() -> None:
    """Some kernels print lists of CPUs, and anybody may print anything, inside the table."""
    lines = render(HOST, EL6)
    at = next(i for i, line in enumerate(lines) if line.startswith("[  390]"))
    noise = ["[ 0 ] 0 1 2 3 4 5 6 7 8 9", "CPU    0: hi:    0, btch:   1 usd:   0", "eth0: up"]
    report, _ = only([*lines[: at + 1], *noise, *lines[at + 1 :]])
    assert [row.pid for row in report.tasks or ()] == [390, 16547]


def test_lost_records_are_noticed() -> None:
    """A gap in the numbers of /dev/kmsg inside the table: it is not the whole table."""
    records = kmsg(render(CGROUP, NEW))
    table = next(i for i, line in enumerate(records) if "total_vm" in line)
    report, kill = only([*records[: table + 1], *records[table + 2 :]])
    assert (report.table_gaps, kill.pid) == (True, 16547)


def test_a_group_dies_and_the_chosen_one_is_named_twice() -> None:
    """`memory.oom.group`: each member is one record, the chosen one too."""
    member = Task(pid=16550, name="member", anon=30)
    lines = [
        *render(CGROUP, NEW),
        "Tasks in /pods/one are going to be killed due to memory.oom.group set",
        killed_line(CGROUP, NEW, WORKER),
        killed_line(CGROUP, NEW, member),
        "oom_reaper: reaped process 16547 (worker), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
    ]
    found = kills(dmesg(lines))
    assert [(k.pid, k.group_kill, k.chosen, k.reaped) for k in found] == [
        (16547, True, True, True),
        (16550, True, False, False),
    ]


def test_sharers_of_the_memory_die_too() -> None:
    """`Kill process … sharing same memory` names one more victim, with no sizes."""
    lines = [*render(HOST, EL7), "Kill process 16600 (twin) sharing same memory"]
    found = kills(dmesg(lines))
    assert [(k.pid, k.name, k.shared_memory, k.chosen) for k in found] == [
        (16547, "worker", False, True),
        (16600, "twin", True, False),
    ]


def test_a_victim_that_was_dying_already_is_not_killed() -> None:
    """The choice is taken back by the next line."""
    spared = "Memory cgroup out of memory: OOM victim 16547 (worker) is already exiting. Skip"
    assert who(dmesg([*render(CGROUP, NEW)[:-1], spared])) == []


def test_the_same_process_twice() -> None:
    """A process that does not die is chosen again: two reports, two records."""
    lines = [*dmesg(render(HOST, EL7)), *dmesg(render(HOST, EL7), since_s=2050)]
    assert who(lines) == [(16547, "worker"), (16547, "worker")]


def test_announced_again_and_again() -> None:
    """2.6.30 with a process that it may not kill: one record for each report."""
    kernel = FORMATS[1]
    once = [*render(CGROUP, kernel)[:-2], selected_line(CGROUP, kernel, WORKER)]
    assert [k.confirmed for k in kills([*dmesg(once), *dmesg(once, since_s=2049)])] == [
        False,
        False,
    ]


@pytest.mark.parametrize("mask", ["(null)", "0", "0-1", "0,2-3"])
def test_nodemask_in_the_header(mask: str) -> None:
    """4.6 to 4.19 print the nodes before the order, with two spaces."""
    head = f"a b invoked oom-killer: gfp_mask=0x14200ca(GFP_USER), nodemask={mask},  order=2, "
    report, _ = only([f"{head}oom_score_adj=0", killed_line(HOST, NEW, WORKER)])
    assert (report.invoker, report.gfp_mask, report.order) == ("a b", "0x14200ca(GFP_USER)", 2)


def test_sysrq() -> None:
    """`order=-1`: a person asked for it."""
    event = OomEvent(tasks=(OTHER, WORKER), victim=1, invoker=OTHER, order=-1)
    report, _ = only(render(event, NEW))
    assert report.order == SYSRQ_ORDER


@pytest.mark.parametrize(
    ("scope", "domain"),
    [
        ("Out of memory", Domain.HOST),
        ("Memory cgroup out of memory", Domain.MEMCG),
        ("Out of memory (oom_kill_allocating_task)", Domain.HOST),
        ("No available memory (MPOL_BIND)", Domain.MEMPOLICY),
        ("No available memory in cpuset", Domain.CPUSET),
    ],
)
def test_words_before_a_kill(scope: str, domain: Domain) -> None:
    """Each says whose memory ran out."""
    report, kill = only([f"{scope}: Killed process 5 (x) total-vm:4kB, anon-rss:4kB"])
    assert (kill.scope, report.domain) == (scope, domain)


def test_constraint_none_bug() -> None:
    """5.0 to 5.2 print CONSTRAINT_NONE for a cgroup too: `oom_memcg=` decides."""
    lines = [line.replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE") for line in render(CGROUP, NEW)]
    report, _ = only(lines)
    assert (report.constraint, report.domain) == ("CONSTRAINT_NONE", Domain.MEMCG)


def test_bytes_called_kilobytes() -> None:
    """Early 5.4 printed the page tables in bytes: the table's own column shows it."""
    lines = render(HOST, PLAIN_NEW)
    lines[-1] = lines[-1].replace("pgtables:20kB", "pgtables:20480kB")
    _, kill = only(lines)
    assert kill.sizes.pgtables_kb == 20


def test_64k_pages() -> None:
    """The page size follows from a victim that is printed in pages and in kB."""
    lines = render(HOST, PLAIN_NEW)
    lines[-1] = lines[-1].replace(f"total-vm:{8061 * 4}kB", f"total-vm:{8061 * 64}kB")
    report, _ = only(lines)
    assert report.page_kb == 64


@pytest.mark.parametrize(
    "text",
    [
        'sending SIGTERM to process 16547 uid 1000 "worker": oom_score 900, VmRSS 22 MiB',
        "systemd-oomd: Killed /user.slice/app.scope due to memory pressure for /user.slice",
        "foo.service: A process of this unit has been killed by the OOM killer.",
        "lowmemorykiller: Killing 'worker' (16547), adj 900,",
        "Killed process group 7",
        "Out of memory and no killable processes...",
        "app: Killed process 12 (x) because it was tired",
        'he wrote "Out of memory: Killed process 12 (x) total-vm:4kB"',
        "Out of memory: Killed processor 12 (x)",
        "kill process 12 (x)",
    ],
)
def test_not_kills_of_the_kernel(text: str) -> None:
    """User-space killers, quotations and other words name no kernel kill."""
    assert who([text, f"[ 12.000001] {text}", f"Jun 20 12:47:43 host app[1]: {text}"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled",
        "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
        "Kernel panic - not syncing: System is deadlocked on memory",
        "Kernel panic - not syncing: out of memory. panic_on_oom is selected",
    ],
)
def test_panic(text: str) -> None:
    """A machine that stops kills nobody; the report says so."""
    head = [line for line in render(HOST, NEW) if "ill" not in line or "invoked" in line]
    reports = list(read_reports([*head, text]))
    assert [(r.panic, r.kills) for r in reports] == [(True, ())]


def test_a_cut_number_is_not_a_pid() -> None:
    """`Killed process 165` may have been 16547."""
    line = killed_line(HOST, NEW, WORKER)
    for end in range(line.index("(worker)")):
        assert who([line[:end]]) == []


def test_a_cut_size_is_not_printed() -> None:
    """A number counts only with its unit behind it."""
    line = killed_line(HOST, NEW, WORKER)
    _, kill = only([line[: line.index("anon-rss:") + len("anon-rss:22")]])
    assert (kill.sizes.total_vm_kb, kill.sizes.anon_rss_kb) == (8061 * 4, None)


def test_reaper_alone_is_remembered_and_no_kill() -> None:
    """The line of the kill is in another file: it is named as an orphan."""
    parser = OomLogParser()
    parser.feed("oom_reaper: reaped process 7 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB")
    assert parser.flush() == []
    assert list(parser.orphans) == [(7, "x")]


def test_reaper_much_later() -> None:
    """It speaks when the report is long finished: no orphan."""
    parser = OomLogParser()
    for line in dmesg(render(CGROUP, NEW)):
        parser.feed(line)
    parser.flush()
    parser.feed("oom_reaper: reaped process 16547 (worker), now anon-rss:0kB, file-rss:0kB")
    assert list(parser.orphans) == []


def test_user_lines_between_are_left_out() -> None:
    """In /var/log/messages other programs go on talking."""
    lines = syslog(render(CGROUP, NEW))
    talk = "Jun 20 12:47:43 host app[3]: Out of memory: Killed process 1 (init) total-vm:4kB"
    mixed = [part for line in lines for part in (line, talk)]
    assert only(mixed) == only(lines)


def test_journal_of_two_hosts_and_a_reboot() -> None:
    """Time that goes back is another boot: what was open before belongs to nobody after it."""
    before = journal(render(HOST, NEW)[:-2], since_s=5000)
    after = journal([killed_line(HOST, NEW, WORKER)], since_s=12)
    report, _ = only([*before, *after])
    assert report.invoker is None


def test_a_late_line_makes_no_second_record() -> None:
    """A reader that does not wait may have given the record out before the last line came."""
    parser, lines = OomLogParser(), dmesg(render(CGROUP, NEW))
    for line in lines[:-1]:
        parser.feed(line)
    assert [kill.pid for report in parser.flush() for kill in report.kills] == [16547]
    parser.feed(lines[-1])
    assert [kill.pid for report in parser.flush() for kill in report.kills] == []


def test_a_group_that_dies_after_the_record_was_given_out() -> None:
    """The chosen one is named again then, and makes no second record; a member makes its own."""
    parser = OomLogParser()
    for line in dmesg(render(CGROUP, NEW)):
        parser.feed(line)
    parser.flush()
    rest = [
        "Tasks in /pods/one are going to be killed due to memory.oom.group set",
        killed_line(CGROUP, NEW, WORKER),
        killed_line(CGROUP, NEW, Task(pid=16550, name="member")),
    ]
    for line in dmesg(rest, since_s=2048.1):
        parser.feed(line)
    assert [kill.pid for report in parser.flush() for kill in report.kills] == [16550]


def test_the_first_line_is_cut() -> None:
    """A log that begins in the middle of a line's host name is of one voice all the same."""
    lines = journal(render(HOST, EL7)[-2:])
    assert who([lines[0][20:], lines[1]]) == [(16547, "worker")]


def test_another_kill_is_no_child() -> None:
    """A kill with a scope of its own does not take the place of one that was announced."""
    lines = [selected_line(HOST, EL7, WORKER), killed_line(SECOND, NEW, SECOND.killed)]
    assert who(dmesg(lines)) == [(16547, "worker"), (7000, "second")]


def test_bare_kill_lines_keep_to_themselves() -> None:
    """A complete line without a prefix is not the rest of another host's line."""
    bare = render(HOST, EL7)[-2:]
    other = syslog(["eth0: memory allocation of oom"], host="b")
    assert who([*other, bare[0], *other, bare[1]]) == [(16547, "worker")]


def test_memory_is_bounded() -> None:
    """Reports are given out as later ones come; nothing is kept for ever."""
    parser, given = OomLogParser(), 0
    for i in range(200):
        event = OomEvent(
            tasks=(OTHER, Task(pid=1000 + i, name="x", anon=99)), victim=1, invoker=OTHER
        )
        for line in dmesg(render(event, NEW), since_s=100 + 10 * i):
            given += len(parser.feed(line))
        assert given >= i - 16
    assert given + len(parser.flush()) == 200


def test_many_voices_are_bounded() -> None:
    """A thousand hosts: each kill is named, the oldest voices are finished first."""
    lines = [
        line
        for i in range(1000)
        for line in syslog([killed_line(HOST, NEW, Task(pid=i + 2, name="x"))], host=f"h{i}")
    ]
    assert [pid for pid, _ in who(lines)] == list(range(2, 1002))
