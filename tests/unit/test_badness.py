"""Whom the kernel takes, era by era, by the figures of real kernels."""

from typing import Any

import pytest

from leakguard.core.badness import (
    Candidate,
    Choice,
    Era,
    Outcome,
    WhyNot,
    choose,
    era_of_release,
    oom_adj_to_score_adj,
    points,
    score_adj_to_oom_adj,
    why_not,
)

TOTAL = 1_000_000
MODERN = (Era.FIRST_WINS, Era.LAST_WINS, Era.SIGNED)


def one(pid: int, pages: int = 0, **more: Any) -> Candidate:
    """Make a candidate."""
    return Candidate(pid=pid, rss_pages=pages, **more)


def pids(choice: Choice) -> tuple[int | None, int | None]:
    """Give victim and runner-up."""
    victim, second = choice.victim, choice.runner_up
    return victim.pid if victim else None, second.pid if second else None


@pytest.mark.parametrize("era", [era for era in Era if era not in {Era.LEGACY, Era.PER_MILLE}])
def test_pages_of_all_kinds_count(era: Era) -> None:
    """Resident pages, swap and page tables are added up."""
    assert points(one(1, 6000, swap_pages=30, pagetable_pages=6029), TOTAL, era) == 12059


def test_adjustment_is_divided_before_it_is_multiplied() -> None:
    """adj * (T // 1000): 200 in a group of 32768 pages is 6400, not 6553."""
    assert points(one(1, 100, oom_score_adj=200), 32768, Era.SIGNED) == 6500


def test_thousandths_are_whole_and_bounded() -> None:
    """2.6.36 to 3.4: integers from 1 to 1000, root 30 less."""
    candidates = [
        one(1, 1999),
        one(2, 900),
        one(3, 31_000, privileged=True),
        one(4, 600_000, oom_score_adj=500),
    ]
    assert [points(c, TOTAL, Era.PER_MILLE) for c in candidates] == [1, 1, 1, 1000]
    assert points(one(5, 100), 0, Era.PER_MILLE) == 1000


def test_bonus_of_root_by_era() -> None:
    """30 thousandths of the total, then 3 % of its own size, then none."""
    root = one(1, 200_000, privileged=True)
    eras = (Era.ABSOLUTE_ROOT, Era.RELATIVE_ROOT, Era.PLAIN_CHILDREN, Era.SIGNED)
    assert [points(root, TOTAL, era) for era in eras] == [170_000, 194_000, 200_000, 200_000]


@pytest.mark.parametrize("era", [era for era in Era if era not in {Era.LEGACY, Era.SIGNED}])
def test_points_were_at_least_one(era: Era) -> None:
    """Before 5.9 a protected process still had a point."""
    assert points(one(1, 10, oom_score_adj=-999), TOTAL, era) == 1


def test_negative_points_are_ordered() -> None:
    """Since 5.9 -998 dies before -999; before, the order of the scan decided."""
    low, high = one(1, 10, oom_score_adj=-999), one(2, 10, oom_score_adj=-998)
    assert points(high, TOTAL, Era.SIGNED) == 10 - 998_000
    assert pids(choose([high, low], TOTAL, Era.SIGNED)) == (2, 1)
    assert pids(choose([high, low], TOTAL, Era.LAST_WINS)) == (1, 2)
    assert pids(choose([low, high], TOTAL, Era.FIRST_WINS)) == (1, 2)


@pytest.mark.parametrize("era", list(Era))
def test_of_equals(era: Era) -> None:
    """The first scanned until 5.2, the last from 5.3 on."""
    equals = [one(pid, 5000, total_vm_pages=9000) for pid in (7, 8, 9)]
    wanted = (9, 8) if era in {Era.LAST_WINS, Era.SIGNED} else (7, 8)
    assert pids(choose(equals, TOTAL, era)) == wanted


@pytest.mark.parametrize("era", list(Era))
def test_the_protected_are_never_chosen(era: Era) -> None:
    """-1000, in legacy times -17, and whoever is said to be out of reach."""
    safe = one(1, 9000, oom_score_adj=-1000, oom_adj=-17)
    init = one(2, 9000, why_not=WhyNot.INIT)
    assert [why_not(c, era) for c in (safe, init)] == [WhyNot.ADJ_MIN, WhyNot.INIT]
    assert choose([safe, init], TOTAL, era) == Choice(outcome=Outcome.NOBODY)
    assert pids(choose([safe, init, one(3, 1)], TOTAL, era)) == (3, None)


@pytest.mark.parametrize("era", list(Era))
def test_a_child_dies_for_its_parent_before_5_1(era: Era) -> None:
    """The worst child with a memory of its own; in legacy times the first born."""
    parent = one(10, 9000, total_vm_pages=9000)
    children = [
        one(11, 1000, parent=10, total_vm_pages=1000),
        one(12, 3000, parent=10, total_vm_pages=3000),
        one(13, 8000, parent=10, total_vm_pages=8000, shares_mm_with=10),
    ]
    wanted = {Era.LEGACY: 11, **dict.fromkeys(MODERN, 10)}.get(era, 12)
    assert pids(choose([parent, *children], TOTAL, era))[0] == wanted


def test_a_protected_child_lives() -> None:
    """Then the next one dies, and in the end the parent itself."""
    parent = one(10, 9000)
    safe = one(11, 100, parent=10, oom_score_adj=-1000)
    assert pids(choose([parent, safe], TOTAL, Era.PLAIN_CHILDREN)) == (10, None)
    other = one(12, 1, parent=10)
    assert pids(choose([parent, safe, other], TOTAL, Era.PLAIN_CHILDREN)) == (12, 10)


def test_who_shares_the_memory_dies_too() -> None:
    """CLONE_VM: one is named, both die; a vfork child is no candidate and dies with its parent."""
    owner, sharer = one(1, 9000), one(2, 8999, shares_mm_with=1)
    child = one(3, 9000, shares_mm_with=1, why_not=WhyNot.VFORK)
    choice = choose([owner, sharer, child, one(4, 10)], TOTAL, Era.SIGNED)
    assert (pids(choice), [dead.pid for dead in choice.kills]) == ((1, 4), [1, 2, 3])


def test_a_group_dies_as_a_whole() -> None:
    """`memory.oom.group`: all but those with -1000; the runner-up is of another group."""
    group = [one(pid, 100 * pid, group="/web") for pid in (1, 2, 3)]
    safe = one(4, 50, group="/web", oom_score_adj=-1000)
    choice = choose([*group, safe, one(5, 10)], TOTAL, Era.SIGNED)
    assert (choice.outcome, pids(choice)) == (Outcome.GROUP, (3, 5))
    assert [dead.pid for dead in choice.kills] == [3, 1, 2]


def test_the_allocating_task_dies() -> None:
    """Whoever it is; where that is known it is named, unless it is protected."""
    candidates = [one(1, 9000), one(2, 10), one(3, 10, oom_score_adj=-1000)]
    unknown = choose(candidates, TOTAL, Era.SIGNED, allocating_task=True)
    known = choose(candidates, TOTAL, Era.SIGNED, allocating_task=True, allocator=2)
    protected = choose(candidates, TOTAL, Era.SIGNED, allocating_task=True, allocator=3)
    assert (unknown.outcome, pids(unknown)) == (Outcome.ALLOCATOR, (None, None))
    assert (known.outcome, pids(known)) == (Outcome.ALLOCATOR, (2, None))
    assert (protected.outcome, pids(protected)) == (Outcome.KILL, (1, 2))


def test_panic_kills_nobody() -> None:
    """`vm.panic_on_oom` comes before all else."""
    choice = choose([one(1, 9000)], TOTAL, Era.SIGNED, panic=True, allocating_task=True)
    assert (choice.outcome, choice.victim, len(choice.ranked)) == (Outcome.PANIC, None, 1)


@pytest.mark.parametrize("era", list(Era))
def test_swapoff_goes_first(era: Era) -> None:
    """A process in swapoff is taken, however small."""
    small = one(1, 1, goes_first=True, total_vm_pages=1)
    assert pids(choose([one(2, 9000, total_vm_pages=9000), small], TOTAL, era))[0] == 1


LEGACY: list[tuple[dict[str, Any], int]] = [
    ({}, 100_000),
    ({"children_vm_pages": (1000, 301)}, 100_652),  # 1000/2 + 1 + 301/2 + 1
    ({"cpu_s": 73.0}, 50_000),  # 8 units of 8.192 s: the root is 2
    ({"cpu_s": 8.0}, 100_000),  # 0 units: not divided
    ({"run_s": 16 * 1024 + 5}, 50_000),  # 16 units: the root of the root is 2
    ({"run_s": 15 * 1024}, 100_000),
    ({"nice": 5}, 200_000),
    ({"nice": -5}, 100_000),
    ({"privileged": True}, 25_000),
    ({"privileged": True, "raw_io": True}, 6_250),
    ({"other_cpuset": True}, 12_500),
    ({"oom_adj": 3}, 800_000),
    ({"oom_adj": -3}, 12_500),
    ({"oom_adj": -16}, 1),
    ({"nice": 1, "privileged": True, "oom_adj": 1}, 100_000),
]


@pytest.mark.parametrize(("more", "wanted"), LEGACY)
def test_legacy_points(more: dict[str, Any], wanted: int) -> None:
    """Address space, half of each child's, roots of ages, root and raw I/O, shifts."""
    assert points(one(1, 5, total_vm_pages=100_000, **more), TOTAL, Era.LEGACY) == wanted


def test_legacy_shifts_up_from_one() -> None:
    """A size of nothing becomes 1 before it is shifted up; down it may become 0 and counts."""
    assert points(one(1, oom_adj=15), TOTAL, Era.LEGACY) == 32768
    tiny = one(2, total_vm_pages=3, oom_adj=-16)
    assert (points(tiny, TOTAL, Era.LEGACY), pids(choose([tiny], TOTAL, Era.LEGACY))) == (
        0,
        (2, None),
    )


@pytest.mark.parametrize(
    ("oom_adj", "score_adj", "back"),
    [(-17, -1000, -17), (-16, -941, -15), (0, 0, 0), (8, 470, 7), (14, 823, 13), (15, 1000, 15)],
)
def test_both_adjustments_are_converted_as_the_kernel_does(
    oom_adj: int, score_adj: int, back: int
) -> None:
    """Truncated towards zero both ways, so that 8 reads back as 7."""
    assert oom_adj_to_score_adj(oom_adj) == score_adj
    assert score_adj_to_oom_adj(score_adj) == back


@pytest.mark.parametrize(
    ("release", "era"),
    [
        ("2.6.20", Era.LEGACY),
        ("2.6.35.4", Era.LEGACY),
        ("2.6.36", Era.PER_MILLE),
        ("2.6.32-754.el6.x86_64", Era.PER_MILLE),
        ("3.4.113", Era.PER_MILLE),
        ("3.10.0-1160.el7.x86_64", Era.ABSOLUTE_ROOT),
        ("3.14", Era.RELATIVE_ROOT),
        ("4.16.18", Era.RELATIVE_ROOT),
        ("4.19.0-25-amd64", Era.PLAIN_CHILDREN),
        ("5.0.0-rc1", Era.PLAIN_CHILDREN),
        ("5.2.21", Era.FIRST_WINS),
        ("4.18.0-553.el8_10.x86_64", Era.LAST_WINS),
        ("5.4.0-150-generic", Era.LAST_WINS),
        ("6.1.0-18-amd64", Era.SIGNED),
        ("7.0", Era.SIGNED),
        ("unknown", None),
    ],
)
def test_eras_by_release(release: str, era: Era | None) -> None:
    """The table of eras, and the distributions whose kernel is newer than its number."""
    assert era_of_release(release) is era


def test_the_old_file_never_shows_more_than_15() -> None:
    """As a running kernel showed: 942 to 999 would be 16."""
    assert [score_adj_to_oom_adj(score) for score in (823, 941, 942, 999)] == [13, 15, 15, 15]
