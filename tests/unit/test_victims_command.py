"""What `leakguard victims` prints, for people and for programs."""

import json
import os
from typing import Any

import pytest

from leakguard.cli import _victims_json, _victims_text
from leakguard.cli.main import main
from leakguard.core.badness import Candidate, Era, WhyNot
from leakguard.core.headroom import Headroom
from leakguard.core.units import GIB, MIB
from leakguard.core.victims import Domain, DomainKind, End, KillerRules, predict
from leakguard.linux.oom_machine import DomainReport
from leakguard.linux.oom_probe import OomKernel, RssSource

RULES = KillerRules(counter_error_pages=186)
KERNEL = OomKernel(release="6.12.0", rules=RULES, rss_source=RssSource.STAT, cpus=2)
KEYS = {
    "kind", "path", "limit_bytes", "usage_bytes", "headroom_bytes", "total_pages", "next_victim",
    "runner_up", "certain", "candidates",
}  # fmt: skip
CANDIDATE_KEYS = {
    "pid", "name", "badness_pages", "oom_score_adj", "rss_pages", "swap_pages", "pagetable_pages",
    "eligible", "why_not",
}  # fmt: skip

Capture = pytest.CaptureFixture[str]


def report(*candidates: Candidate, rules: KillerRules = RULES, **more: Any) -> DomainReport:
    """Report a group of 128 MiB."""
    facts: dict[str, Any] = {
        "kind": DomainKind.MEMCG,
        "path": "/web",
        "version": 2,
        "limit_bytes": 128 * MIB,
        "usage_bytes": 64 * MIB,
        "headroom": Headroom(low_bytes=64 * MIB, high_bytes=66 * MIB),
        "total_pages": 32768,
    }
    domain = Domain(**facts | more)
    return DomainReport(
        domain=domain, prediction=predict(domain, candidates, rules), candidates=candidates
    )


def one(pid: int, pages: int, **more: Any) -> Candidate:
    """Make a candidate."""
    return Candidate(pid=pid, name=f"p{pid}", rss_pages=pages, **more)


def plain(*reports: DomainReport) -> dict[str, Any]:
    """Give the document as a program reads it."""
    document: dict[str, Any] = json.loads(json.dumps(_victims_json.document(reports, KERNEL)))
    return document


def text(*reports: DomainReport, rules: KillerRules = RULES, top: int = 10) -> list[str]:
    """Give what a person reads."""
    return list(_victims_text.lines(reports, rules, top))


def test_document() -> None:
    """The fixed keys, and candidates in the order in which they would die, the safe ones last."""
    safe = one(9, 50, oom_score_adj=-1000)
    document = plain(
        report(one(1, 0, why_not=WhyNot.INIT), safe, one(2, 90, swap_pages=4), one(3, 900))
    )
    (domain,) = document["domains"]
    assert domain.keys() >= KEYS
    assert (domain["kind"], domain["path"], domain["next_victim"], domain["runner_up"]) == (
        "memcg",
        "/web",
        3,
        2,
    )
    assert domain["headroom_bytes"] == {"low": 64 * MIB, "high": 66 * MIB}
    assert [one["pid"] for one in domain["candidates"]] == [3, 2, 1, 9]
    assert all(one.keys() >= CANDIDATE_KEYS for one in domain["candidates"])
    assert [one["badness_pages"] for one in domain["candidates"]] == [900, 94, None, None]
    assert [one["why_not"] for one in domain["candidates"]] == [
        None,
        None,
        "init",
        "oom_score_adj is -1000",
    ]
    assert document["kernel"]["era"] == "signed"


def test_document_of_an_end_without_a_kill() -> None:
    """Its own key says so, and nobody is named."""
    (domain,) = plain(report(one(1, 5), end=End.HANG, end_reason="it waits"))["domains"]
    assert (domain["end"], domain["end_reason"], domain["next_victim"]) == (
        "hang",
        "it waits",
        None,
    )
    assert [one["pid"] for one in domain["candidates"]] == [1]


def test_document_of_a_group_kill() -> None:
    """Who dies with the victim is listed."""
    members = [one(pid, 100 * pid, group="/web") for pid in (1, 2, 3)]
    (domain,) = plain(report(*members, one(4, 10)))["domains"]
    assert (domain["outcome"], domain["next_victim"]) == ("group", 3)
    assert (domain["dies_with_it"], domain["runner_up"]) == ([1, 2], 4)


def test_text_of_a_group() -> None:
    """A heading, the headroom, the victim, and a table that marks both."""
    heading, room, victim, header, first, second, rest = text(
        report(one(1, 10_000, oom_score_adj=3), one(2, 900), one(3, 800)), top=2
    )
    assert heading == "cgroup /web: 128 MiB limit, 64.0 MiB in use"
    assert room == "headroom: 64.0 MiB to 66.0 MiB until it is used up"
    assert victim == "victim at these sizes: p1 (1), certain; then p2 (2)"
    assert header.split("  ")[1:3] == ["PID", "NAME"]
    assert " ".join(first.split()) == "1 p1 10096 3 39.1 MiB 0 B 0 B 0 B victim"
    assert (second.split()[0], second.split()[-1]) == ("2", "runner-up")
    assert rest == "  and 1 process more"


def test_text_of_what_is_not_certain() -> None:
    """With the reason."""
    words = " ".join(text(report(one(1, 1000), one(2, 990)))[2:4])
    assert "not certain: p1 (1) and p2 (2) are 10 points apart" in words


def test_text_of_the_host() -> None:
    """It is named as such."""
    lines = text(report(one(1, 5), kind=DomainKind.HOST, limit_bytes=4 * GIB))
    assert lines[0] == "host: 4.00 GiB RAM, 64.0 MiB in use"


def test_text_of_other_ends() -> None:
    """Nobody is named who does not die."""
    hang = text(report(one(1, 5), end=End.HANG, end_reason="it waits"))
    promise = text(report(one(1, 5), end=End.ENOMEM, end_reason="no"))
    panic = text(report(one(1, 5), end=End.PANIC, end_reason="vm.panic_on_oom=1"))
    assert hang[2] == "victim: nobody; it waits"
    assert promise[1] == "headroom: 64.0 MiB to 66.0 MiB until allocations fail"
    assert panic[2] == "victim: vm.panic_on_oom=1"


def test_text_of_throttling() -> None:
    """`memory.high` comes before the limit."""
    lines = text(report(one(1, 5), throttled_from_bytes=80 * MIB))
    assert lines[1].endswith("; throttled from 80.0 MiB on (memory.high)")


def test_text_of_what_the_command_holds() -> None:
    """It will not be there then, so it is counted as free, and that is said."""
    lines = text(report(one(1, 5), left_out_bytes=12 * MIB))
    assert lines[1] == (
        "headroom: 64.0 MiB to 66.0 MiB until it is used up, "
        "the 12.0 MiB of this command counted in"
    )


def test_text_of_an_allocator_that_cannot_be_killed() -> None:
    """The choice is then the usual one."""
    lines = text(report(one(1, 5), one(2, 50), end=End.ALLOCATOR, end_reason="whoever asks"))
    assert lines[2] == "victim: whoever asks; the usual one is p2 (2)"


def test_text_of_memory_high_without_a_limit() -> None:
    """It ends in being slowed down, and is named as what it is."""
    lines = text(
        report(one(1, 5), end=End.THROTTLED, end_reason="for ever", throttled_from_bytes=128 * MIB)
    )
    assert lines[0] == "cgroup /web: 128 MiB memory.high, 64.0 MiB in use"
    assert lines[1] == "headroom: 64.0 MiB to 66.0 MiB until it is throttled"
    assert lines[2] == "victim: nobody; for ever"


def test_text_of_those_who_die_together() -> None:
    """How many, and why."""
    group = [one(1, 500, group="/web"), one(2, 400, group="/web")]
    assert "1 more with it: memory.oom.group of /web" in " ".join(text(report(*group)))
    sharers = [one(1, 500), one(2, 400, shares_mm_with=1)]
    lines = text(report(*sharers))
    assert "1 more with it: they share its memory" in " ".join(lines)
    assert lines[-1].endswith("dies with it")


def test_text_of_an_empty_group() -> None:
    """There is no table."""
    assert text(report())[2:] == ["victim: there is nobody to kill"]


def test_text_of_old_kernels() -> None:
    """Their points are no pages."""
    rules = KillerRules(era=Era.PER_MILLE)
    lines = text(report(one(1, 500), rules=rules), rules=rules)
    assert "BADNESS (THOUSANDTHS)" in lines[3]


def test_several_domains_are_told_apart() -> None:
    """By an empty line."""
    assert "" in text(report(one(1, 5)), report(one(1, 5)))


def test_this_machine_in_words(capsys: Capture) -> None:
    """It needs neither a daemon nor a configuration."""
    assert main(["victims", "--top", "3"]) == 0
    assert capsys.readouterr().out.startswith("host: ")


def test_this_machine_in_json(capsys: Capture) -> None:
    """Every process is in it, with the kernel's own figures, and this command is not."""
    assert main(["victims", "--json"]) == 0
    (host, *_) = json.loads(capsys.readouterr().out)["domains"]
    unit = host["total_pages"] // 1000
    pids = {candidate["pid"] for candidate in host["candidates"]}
    assert host["kind"] == "host"
    assert os.getppid() in pids
    assert os.getpid() not in pids
    for candidate in host["candidates"]:
        if candidate["eligible"]:
            sizes = (candidate[f"{name}_pages"] for name in ("rss", "swap", "pagetable"))
            assert candidate["badness_pages"] == sum(sizes) + candidate["oom_score_adj"] * unit


def test_a_cgroup_that_is_not_there(capsys: Capture) -> None:
    """One line says where it was looked for."""
    assert main(["victims", "--cgroup", "/no/such/group"]) == 1
    assert "no memory cgroup" in capsys.readouterr().err


def test_a_cgroup_without_a_limit(capsys: Capture) -> None:
    """Its domain is the nearest above, or the host; the line of /proc/PID/cgroup is understood."""
    assert main(["victims", "--cgroup", "4:memory:/", "--top", "1"]) == 0
    assert "cgroup / has no memory limit, nor any above it" in capsys.readouterr().err
