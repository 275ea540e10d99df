"""Whatever a log has become, no kill is invented, none named twice, and nothing crashes."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, strategies as st

from leakguard.core.oomlog.lines import take_apart
from leakguard.core.oomlog.parse import read_reports
from leakguard.core.oomlog.record import records
from leakguard.core.oomlog.report import Kill
from leakguard.testing.kernel_log import (
    FORMATS,
    KernelFormat,
    OomEvent,
    Task,
    dmesg,
    journal,
    kmsg,
    render,
    syslog,
)

Wrap = Callable[[list[str]], list[str]]
DATA = Path(__file__).parents[1] / "data"
RECORDED = (DATA / "oom-6.18-memcg.kmsg.txt").read_text(encoding="utf-8")
LETTERS = st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\x85\xa0")
NAMES = st.text(st.one_of(LETTERS, st.sampled_from(" ()[]:,=")), min_size=1, max_size=15).filter(
    lambda name: name == name.strip() and "#012" not in name and not name.endswith("#015")
)
PAGES = st.integers(0, 10**12)
TASKS = st.builds(
    Task,
    pid=st.integers(2, 4_194_303),
    name=NAMES,
    uid=st.integers(0, 2**32 - 1),
    total_vm=PAGES,
    anon=PAGES,
    file=PAGES,
    shmem=PAGES,
    tables=st.integers(0, 10**6),
    swap=PAGES,
    adj=st.integers(-1000, 1000),
)
PATHS = st.text(st.sampled_from("abc/-_.,=: @"), max_size=30).map(lambda text: f"/{text.strip()}x")
TABLES = st.lists(TASKS, min_size=1, max_size=6, unique_by=lambda task: task.pid).map(tuple)
FORMAT = st.sampled_from(FORMATS)
WRAPS = st.sampled_from((dmesg, kmsg, syslog, journal, list))


@st.composite
def events(draw: st.DrawFn) -> OomEvent:
    """Draw any call of the OOM killer."""
    tasks = draw(TABLES)
    return OomEvent(
        tasks=tasks,
        victim=draw(st.integers(0, len(tasks) - 1)),
        invoker=draw(TASKS),
        memcg=draw(st.none() | PATHS),
        task_memcg=draw(PATHS),
        limit_kb=draw(st.integers(0, 2**53)),
        ram_pages=draw(st.integers(100_000, 10**10)),
        swap_kb=draw(st.integers(0, 10**9)),
        order=draw(st.integers(-1, 10)),
    )


def kills(lines: list[str]) -> list[Kill]:
    """Give every kill; every record can be made of it."""
    reports = list(read_reports(lines))
    assert sum(1 for report in reports for _ in records(report)) == sum(
        len(report.kills) for report in reports
    )
    return [kill for report in reports for kill in report.kills]


def who(lines: list[str]) -> Counter[int]:
    """Count the kills of each pid."""
    return Counter(kill.pid for kill in kills(lines))


def is_plain(event: OomEvent) -> bool:
    """Tell whether no name or path looks like a wrapping, or like the end of another field."""
    texts = [event.task_memcg, event.memcg or "", event.invoker.name]
    texts += [task.name for task in event.tasks]
    return not any(word in text for text in texts for word in ("task", "memcg", "killed as"))


@given(event=events().filter(is_plain), kernel=FORMAT, wrap=st.sampled_from((dmesg, kmsg, syslog)))
def test_what_is_written_is_read(event: OomEvent, kernel: KernelFormat, wrap: Wrap) -> None:
    """Report for report, in every kernel's words: who, where, how big, and the table."""
    lines = wrap(
        [line.replace("\\", "\\x5c") if wrap is kmsg else line for line in render(event, kernel)]
    )
    (report,) = read_reports(lines)
    (kill,) = report.kills
    task = event.killed
    assert (kill.pid, kill.name, kill.confirmed) == (task.pid, task.name, True)
    if kill.sizes.total_vm_kb is not None:
        assert kill.sizes.total_vm_kb == task.total_vm * 4
        assert (kill.sizes.anon_rss_kb, kill.sizes.file_rss_kb) == (task.anon * 4, task.file * 4)
    if kernel.constraint or kernel.task_in:
        assert report.oom_memcg == event.memcg
    if kernel.constraint:
        assert kill.task_memcg == event.task_memcg
    if kernel.columns:
        assert [(row.pid, row.name, row.uid, row.rss_pages) for row in report.tasks or ()] == [
            (one.pid, one.name, one.uid, one.rss) for one in event.tasks
        ]
    assert (report.order, report.invoker_pid) == (event.order, event.invoker.pid)


@given(event=events(), kernel=FORMAT, wrap=WRAPS, data=st.data())
def test_cut_at_any_byte(
    event: OomEvent, kernel: KernelFormat, wrap: Wrap, data: st.DataObject
) -> None:
    """The beginning or the end of the log is missing: the one kill is named at most once."""
    text = "\n".join(wrap(render(event, kernel)))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    found = who(text[start:end].split("\n"))
    assert found in (Counter(), Counter([event.killed.pid]))


@given(start=st.integers(0, len(RECORDED)), end=st.integers(0, len(RECORDED)))
def test_cut_recorded(start: int, end: int) -> None:
    """The same with a report of a real kernel."""
    assert who(RECORDED[start:end].split("\n")) in (Counter(), Counter([16547]))


@given(event=events(), kernel=FORMAT, wrap=WRAPS, data=st.data())
def test_any_lines_missing(
    event: OomEvent, kernel: KernelFormat, wrap: Wrap, data: st.DataObject
) -> None:
    """Grep, rate limits and full buffers take lines: a kill line that is left is one record."""
    lines = wrap(render(event, kernel))
    kept = data.draw(st.lists(st.booleans(), min_size=len(lines), max_size=len(lines)))
    left = [line for line, keep in zip(lines, kept, strict=True) if keep]
    expected = Counter([event.killed.pid]) if kept[-1] else None
    found = who(left)
    assert found == expected or (
        expected is None and found in (Counter(), Counter([event.killed.pid]))
    )


@given(
    one=events(), two=events(), kernel=FORMAT, wrap=WRAPS, seed=st.randoms(use_true_random=False)
)
def test_shuffled(
    one: OomEvent, two: OomEvent, kernel: KernelFormat, wrap: Wrap, seed: random.Random
) -> None:
    """In any order of lines: nobody but the two who died, and not more records than kill lines."""
    lines = [*wrap(render(one, kernel)), *wrap(render(two, kernel))]
    seed.shuffle(lines)
    found = who(lines)
    assert set(found) == {one.killed.pid, two.killed.pid}
    assert sum(found.values()) <= sum("ill" in line for line in lines)


@given(one=events(), two=events(), kernel=FORMAT, data=st.data())
def test_interleaved_hosts(
    one: OomEvent, two: OomEvent, kernel: KernelFormat, data: st.DataObject
) -> None:
    """Lines of two hosts, mixed in any way, are read as each host's own."""
    first, second = syslog(render(one, kernel), host="a"), syslog(render(two, kernel), host="b")
    mixed = _merge(first, second, data)
    alone = [report for lines in (first, second) for report in read_reports(lines)]
    together = list(read_reports(mixed))
    assert sorted(map(repr, together)) == sorted(map(repr, alone))


@given(one=events(), two=events(), kernel=FORMAT, data=st.data())
def test_interleaved_without_prefixes(
    one: OomEvent, two: OomEvent, kernel: KernelFormat, data: st.DataObject
) -> None:
    """Nothing parts the two: still both are named, once each, and nobody else."""
    expected = Counter({one.killed.pid: 1}) + Counter({two.killed.pid: 1})
    mixed = _merge(dmesg(render(one, kernel)), dmesg(render(two, kernel)), data)
    found = who(mixed)
    assert set(found) == set(expected)
    assert sum(found.values()) <= 2


def _merge(first: list[str], second: list[str], data: st.DataObject) -> list[str]:
    """Mix two logs, each in its own order."""
    from_first = data.draw(st.permutations([True] * len(first) + [False] * len(second)))
    left, right = iter(first), iter(second)
    return [next(left) if pick else next(right) for pick in from_first]


WORDS = r"""
Out of memory: |Killed process |Kill process |(x) |total-vm:4kB| score 5 or sacrifice child
oom-kill:constraint=CONSTRAINT_NONE,|oom_memcg=/a,|task_memcg=/b,|task=x,|,pid=7|,uid=0|x invoked |
oom-killer: gfp_mask=0x1, |order=0, |[ pid ]   uid  tgid total_vm      rss swapents name|#012|
[  7] 1 2 3 4 5 6 x|[ 1.000000] |3,1,2,-;|\xff|{|"MESSAGE":|> |kernel: |memory.oom.group set|
Tasks in | are going to be killed due to |memory: usage 4kB, limit 4kB| pages RAM|CPU: 1 PID: 7 |
oom_reaper: reaped process 7 (x), now anon-rss:|: OOM victim 7 (x) is already exiting|
"""
FRAGMENTS = st.sampled_from([*WORDS.split("|"), "\n", "\r", "\0", "\x1b[1m", "|", "9" * 5000])


@given(parts=st.lists(st.one_of(FRAGMENTS, st.text(max_size=10)), max_size=60))
def test_any_text(parts: list[str]) -> None:
    """No text crashes the parser, and no pid comes out that is not in it."""
    text = "".join(parts)
    for line in text.split("\n"):
        take_apart(line)
    for pid in who(text.split("\n")):
        assert str(pid) in text
