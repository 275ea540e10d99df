"""The model agrees with the kernel's own loop, written down once more, for any numbers."""

import math
from dataclasses import dataclass

from hypothesis import given, strategies as st

from leakguard.core.badness import (
    Candidate,
    Era,
    choose,
    oom_adj_to_score_adj,
    points,
    score_adj_to_oom_adj,
)
from leakguard.core.headroom import Headroom
from leakguard.core.victims import Domain, DomainKind, Growth, KillerRules, predict

LOWEST = -(1 << 63)

SIZES = st.one_of(st.integers(0, 40), st.integers(0, 1 << 22))
ADJUSTMENTS = st.one_of(
    st.sampled_from([-1000, -999, -998, 0, 0, 0, 1000]), st.integers(-1000, 1000)
)
TOTALS = st.integers(0, 1 << 24)


@st.composite
def crowds(draw: st.DrawFn) -> list[Candidate]:
    """Draw processes; some are children of others."""
    count = draw(st.integers(0, 8))
    return [
        Candidate(
            pid=pid,
            rss_pages=draw(SIZES),
            swap_pages=draw(SIZES),
            pagetable_pages=draw(st.integers(0, 5000)),
            oom_score_adj=draw(ADJUSTMENTS),
            total_vm_pages=draw(SIZES),
            parent=draw(st.one_of(st.none(), st.integers(1, count))),
            privileged=draw(st.booleans()),
            oom_adj=draw(st.integers(-17, 15)),
            nice=draw(st.integers(-20, 19)),
            cpu_s=draw(st.floats(0, 1e7)),
            run_s=draw(st.floats(0, 1e8)),
            raw_io=draw(st.booleans()),
        )
        for pid in range(1, count + 1)
    ]


@dataclass
class Loop:
    """select_bad_process and oom_kill_process, as plain loops over the table of eras."""

    era: Era
    total: int

    def score(self, task: Candidate) -> int:
        """Give the points; LOWEST for whoever cannot be chosen."""
        if self.era is Era.LEGACY:
            return LOWEST if task.oom_adj == -17 else self.legacy(task)
        if task.oom_score_adj == -1000:
            return LOWEST
        size = task.rss_pages + task.swap_pages + task.pagetable_pages
        adj = task.oom_score_adj
        if self.era is Era.PER_MILLE:
            total = self.total if self.total > 0 else 1
            share = size * 1000 // total + adj - (30 if task.privileged else 0)
            return sorted((1, share, 1000))[1]
        if self.era is Era.ABSOLUTE_ROOT and task.privileged:
            adj -= 30
        if self.era is Era.RELATIVE_ROOT and task.privileged:
            size = size - (size * 3) // 100
        size += (self.total // 1000) * adj
        return size if self.era is Era.SIGNED or size > 0 else 1

    @staticmethod
    def legacy(task: Candidate) -> int:
        """Give the points of 2.6; no children are counted here."""
        size = task.total_vm_pages
        cpu = math.isqrt(int(task.cpu_s / 8.192))
        size = size // cpu if cpu else size
        run = math.isqrt(math.isqrt(int(task.run_s) // 1024))
        size = size // run if run else size
        size = size * 2 if task.nice > 0 else size
        size = size // 4 if task.privileged else size
        size = size // 4 if task.raw_io else size
        if task.oom_adj > 0:
            return (size or 1) * (1 << task.oom_adj)
        return size // (1 << -task.oom_adj)

    def select(self, tasks: list[Candidate]) -> Candidate | None:
        """Scan once."""
        chosen, most = None, LOWEST
        later_wins = self.era in {Era.LAST_WINS, Era.SIGNED}
        for task in tasks:
            score = self.score(task)
            if score == LOWEST:
                continue
            if chosen is None or score > most or (score == most and later_wins):
                chosen, most = task, score
        return chosen

    def kill(self, tasks: list[Candidate]) -> Candidate | None:
        """Scan, and look for a child to kill instead."""
        chosen = self.select(tasks)
        if chosen is None or self.era in {Era.FIRST_WINS, Era.LAST_WINS, Era.SIGNED}:
            return chosen
        victim, most = chosen, 0
        for task in tasks:
            if task.parent != chosen.pid or task.pid == chosen.pid or self.score(task) == LOWEST:
                continue
            if self.era is Era.LEGACY:
                return task
            if self.score(task) > most:
                victim, most = task, self.score(task)
        return victim


@given(tasks=crowds(), total=TOTALS, era=st.sampled_from(Era))
def test_the_same_victim_and_the_same_second(tasks: list[Candidate], total: int, era: Era) -> None:
    """In every era, with ties, negative points, children and protected processes."""
    loop, choice = Loop(era, total), choose(tasks, total, era)
    assert choice.victim == loop.kill(tasks)
    rest = [task for task in tasks if task != choice.victim]
    assert choice.runner_up == loop.kill(rest)


@given(tasks=crowds(), total=TOTALS, era=st.sampled_from(Era))
def test_the_same_points_and_the_same_order(tasks: list[Candidate], total: int, era: Era) -> None:
    """Ranked worst first, nobody lost, nobody twice."""
    loop = Loop(era, total)
    can = [task for task in tasks if loop.score(task) != LOWEST]
    ranked = choose(tasks, total, era).ranked
    assert {one.candidate.pid: one.points for one in ranked} == {
        task.pid: loop.score(task) for task in can
    }
    order = []
    while can:
        worst = loop.select(can)
        assert worst is not None
        order.append(worst.pid)
        can.remove(worst)
    assert [one.candidate.pid for one in ranked] == order


@given(oom_adj=st.integers(-17, 15))
def test_the_old_adjustment_loses_one_step_at_most(oom_adj: int) -> None:
    """Written and read back it is the same, or one nearer to 0."""
    back = score_adj_to_oom_adj(oom_adj_to_score_adj(oom_adj))
    assert abs(oom_adj) - abs(back) in {0, 1}
    assert back * oom_adj >= 0


@given(score=st.integers(-1000, 1000))
def test_every_new_adjustment_has_an_old_one(score: int) -> None:
    """Within the range of the old file."""
    assert -17 <= score_adj_to_oom_adj(score) <= 15


@given(
    tasks=crowds(),
    total=TOTALS,
    era=st.sampled_from(Era),
    error=st.integers(0, 3000),
    mapped=st.integers(0, 10_000),
    slopes=st.dictionaries(st.integers(1, 8), st.floats(-1e6, 1e6)),
    ends=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(sorted).map(tuple),
)
def test_certain_is_only_who_is_far_ahead(
    tasks: list[Candidate],
    total: int,
    era: Era,
    error: int,
    mapped: int,
    slopes: dict[int, float],
    ends: tuple[float, float],
) -> None:
    """A certain victim has nobody within the error behind it, and a doubt always has its reason."""
    domain = Domain(
        kind=DomainKind.MEMCG,
        limit_bytes=1,
        usage_bytes=1,
        headroom=Headroom(low_bytes=0, high_bytes=0),
        total_pages=total,
        mapped_file_pages=mapped,
    )
    growth = {pid: Growth(slope_bytes_per_s=slope) for pid, slope in slopes.items()}
    rules = KillerRules(era=era, counter_error_pages=error)
    prediction = predict(domain, tasks, rules, growth=growth, within_s=ends)
    assert prediction.certain or prediction.why_uncertain
    assert prediction.victim is None or prediction.victim in tasks
    if prediction.certain and prediction.gap_points is not None:
        assert prediction.gap_points > prediction.error_points


@given(task=crowds().filter(bool).map(lambda tasks: tasks[0]), total=TOTALS, more=SIZES)
def test_more_memory_never_helps(task: Candidate, total: int, more: int) -> None:
    """Points never fall with size, in any era but the legacy one, which looks at other sizes."""
    for era in set(Era) - {Era.LEGACY}:
        before = points(task, total, era)
        larger = Candidate(
            pid=task.pid,
            rss_pages=task.rss_pages + more,
            swap_pages=task.swap_pages,
            pagetable_pages=task.pagetable_pages,
            oom_score_adj=task.oom_score_adj,
            privileged=task.privileged,
        )
        after = points(larger, total, era)
        assert (before is None) == (after is None)
        assert before is None or after is None or after >= before
