"""Whom the kernel takes when a memory domain is used up: now, or where the trends lead.

Until then file-backed pages melt away (27,292 pages became 1,700 in a measured case), so they do
not count; anonymous memory, shmem and page tables stay. What one domain's candidates look like then
is put through `badness.choose`. The one who grows (the leaker) is often not the one who dies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from leakguard.core import badness
from leakguard.core.badness import Candidate, Choice, Era, Outcome, Scored
from leakguard.core.frozen import dataclass
from leakguard.core.headroom import Headroom

HOT_PAGES: Final = 256
"""File pages that a running process keeps under pressure, at most: its hot code."""
Z_SURE: Final = 2.0
"""Standard errors of a slope that a certain prediction allows for."""


class DomainKind(StrEnum):
    """What can run out of memory."""

    HOST = "host"
    MEMCG = "memcg"


class End(StrEnum):
    """What happens when a domain is used up."""

    KILL = "kill"
    """The OOM killer takes a process, or a whole cgroup."""
    ALLOCATOR = "allocator"
    """It kills whoever asks for memory then: `vm.oom_kill_allocating_task`."""
    PANIC = "panic"
    """The machine stops: `vm.panic_on_oom`."""
    HANG = "hang"
    """Whoever asks for memory waits: `memory.oom_control` of v1 with `oom_kill_disable 1`."""
    ENOMEM = "enomem"
    """Allocations fail at CommitLimit: `vm.overcommit_memory=2`."""
    THROTTLED = "throttled"
    """Whoever asks for memory is slowed down, for ever: `memory.high` of v2 without a limit."""


NOBODY_DIES: Final = frozenset({End.HANG, End.ENOMEM, End.THROTTLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A memory domain: the host, or a cgroup with a limit."""

    kind: DomainKind
    path: str = "/"
    """As /proc/PID/cgroup names it."""
    version: int | None = None
    """Of the cgroup: 1 or 2."""
    limit_bytes: int
    """RAM, or the limit; `memory.high` of a cgroup that has nothing else."""
    usage_bytes: int
    headroom: Headroom
    total_pages: int
    mapped_file_pages: int = 0
    """File pages of the domain that are in somebody's resident size: the most that can melt."""
    end: End = End.KILL
    end_reason: str = ""
    """The setting that makes the end something else than a kill."""
    left_out_bytes: int = 0
    """What is held by who will not be there then, as the command that looks: no part of the use."""
    throttled_from_bytes: int | None = None
    """`memory.high`, when nothing ends it earlier: from there on it slows down, nobody dies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillerRules:
    """How this kernel counts and chooses."""

    era: Era = Era.SIGNED
    counter_error_pages: int = 0
    """How far a process's count, as the kernel will use it, may be from what was read."""
    page_bytes: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The trend of one process, with the standard error of its slope."""

    slope_bytes_per_s: float
    error_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Who dies when the domain is used up."""

    outcome: Outcome
    victim: Candidate | None = None
    """None where nobody can be named."""
    runner_up: Candidate | None = None
    """Dies instead when the prediction is wrong by a little, and often right after the victim."""
    kills: tuple[int, ...] = ()
    """All who die, the victim first."""
    certain: bool = False
    why_uncertain: str = ""
    gap_points: int | None = None
    """How far the victim is ahead of who comes next, in the unit of the era."""
    error_points: int = 0
    """What the gap must exceed to be certain."""
    leaker: int | None = None
    """Who grows fastest, None when nobody is known to grow."""
    ranked: tuple[Scored, ...] = ()
    """Everybody who can be chosen, with the points of the end of the domain, worst first."""


def predict(
    domain: Domain,
    candidates: Sequence[Candidate],
    rules: KillerRules,
    *,
    growth: Mapping[int, Growth] | None = None,
    within_s: tuple[float, float] = (0.0, 0.0),
    other_rss: Mapping[int, int] | None = None,
) -> Prediction:
    """Predict who dies; `candidates` come in the order of the kernel's scan.

    Args:
        growth: trends by pid; who is not in there does not grow.
        within_s: earliest and latest time at which the domain is used up, from now.
        other_rss: resident pages by pid from the other source, where there are two.
    """
    case = _Case(candidates=candidates, domain=domain, rules=rules, growth=growth or {})
    middle = sum(within_s) / 2
    choice = case.choose(middle)
    if domain.end in NOBODY_DIES:
        choice = Choice(outcome=Outcome.NOBODY, ranked=choice.ranked)
    prediction = Prediction(
        outcome=choice.outcome,
        victim=choice.victim,
        runner_up=choice.runner_up,
        kills=tuple(candidate.pid for candidate in choice.kills),
        leaker=leaker(case.growth),
        ranked=choice.ranked,
    )
    if choice.victim is None:
        return replace(prediction, why_uncertain=domain.end_reason or _NOBODY[choice.outcome])
    prediction = _compare(prediction, choice, case, middle)
    return _confirm(prediction, _other_looks(case, within_s, other_rss))


def _other_looks(
    case: "_Case", within_s: tuple[float, float], other_rss: Mapping[int, int] | None
) -> dict[str, Choice]:
    """Choose again where the same candidates can be looked at differently; by what is different."""
    middle = sum(within_s) / 2
    others = {
        f"if the domain is used up {when}": case.choose(at_s)
        for when, at_s in zip(("early", "late"), within_s, strict=True)
        if at_s != middle
    }
    if other_rss:
        others["by the exact counters"] = case.choose(middle, other_rss)
    return others


def leaker(growth: Mapping[int, Growth]) -> int | None:
    """Give who grows fastest."""
    pid = max(growth, key=lambda one: growth[one].slope_bytes_per_s, default=None)
    return pid if pid is not None and growth[pid].slope_bytes_per_s > 0 else None


def melting_pages(candidate: Candidate, domain: Domain) -> int:
    """Give the file pages of a process that will be gone; those charged elsewhere stay."""
    return min(candidate.file_pages, candidate.rss_pages, domain.mapped_file_pages)


_NOBODY: Final = {
    Outcome.ALLOCATOR: "whoever asks for memory at that moment is killed, "
    "or the usual victim where that one cannot be",
    Outcome.PANIC: "the machine stops instead",
    Outcome.NOBODY: "there is nobody to kill",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What stays the same while the candidates are looked at in several ways."""

    candidates: Sequence[Candidate]
    domain: Domain
    rules: KillerRules
    growth: Mapping[int, Growth]

    def choose(self, after_s: float, other_rss: Mapping[int, int] | None = None) -> Choice:
        """Choose among the candidates as they are when the domain is used up."""
        return badness.choose(
            self.candidates,
            self.domain.total_pages,
            self.rules.era,
            panic=self.domain.end is End.PANIC,
            allocating_task=self.domain.end is End.ALLOCATOR,
            changes={one.pid: self._change(one, after_s, other_rss) for one in self.candidates},
        )

    def error_points(self, pair: tuple[Scored, Scored], after_s: float) -> int:
        """Give how far apart two must be to tell who is ahead, in the unit of the era."""
        if self.rules.era is Era.LEGACY:  # address space is counted exactly
            return 0
        file_pages = max(scored.candidate.file_pages for scored in pair)
        hot = min(HOT_PAGES, file_pages, self.domain.mapped_file_pages)
        trends = [self.growth.get(scored.candidate.pid) for scored in pair]
        slope_error = math.hypot(*(trend.error_bytes_per_s for trend in trends if trend))
        grown = int(Z_SURE * slope_error * after_s / self.rules.page_bytes)
        pages = self.rules.counter_error_pages + hot + grown
        if self.rules.era is Era.PER_MILLE:
            return 1 + pages * 1000 // max(1, self.domain.total_pages)
        return pages

    def _change(
        self, candidate: Candidate, after_s: float, other_rss: Mapping[int, int] | None
    ) -> int:
        """Give the pages that a process gains until then; negative when it melts more."""
        trend = self.growth.get(candidate.pid)
        change = int(trend.slope_bytes_per_s * after_s / self.rules.page_bytes) if trend else 0
        if self.rules.era is Era.LEGACY:  # counts address space, which does not melt
            return change
        if other_rss:
            change += other_rss.get(candidate.pid, candidate.rss_pages) - candidate.rss_pages
        return max(change - melting_pages(candidate, self.domain), -candidate.rss_pages)


def _compare(prediction: Prediction, choice: Choice, case: _Case, after_s: float) -> Prediction:
    """Tell how far the victim is ahead, and whether that is more than can be known."""
    pair = _closest(choice)
    if pair is None:
        return replace(prediction, certain=True)
    gap, error = pair[0].points - pair[1].points, case.error_points(pair, after_s)
    prediction = replace(prediction, gap_points=gap, error_points=error)
    if gap > error:
        return replace(prediction, certain=True)
    names = " and ".join(_words(scored.candidate) for scored in pair)
    return replace(
        prediction,
        why_uncertain=f"{names} are {gap} points apart, and that is known to ±{error} only",
    )


def _closest(choice: Choice) -> tuple[Scored, Scored] | None:
    """Give the closest two whose order decides who is named, the one ahead first."""
    dead = {candidate.pid for candidate in choice.kills}
    first = choice.ranked[0]
    victim = next(one for one in choice.ranked if choice.kills[0].pid == one.candidate.pid)
    others = [one for one in choice.ranked[1:] if one.candidate.pid not in dead]
    if first is victim:
        return (first, others[0]) if others else None
    siblings = [one for one in others if one.candidate.parent == first.candidate.pid]
    strangers = [one for one in others if one.candidate.parent != first.candidate.pid]
    pairs = [(first, one) for one in strangers[:1]]
    pairs += [(victim, one) for one in siblings[:1] if one.points <= victim.points]
    return min(pairs, key=lambda pair: pair[0].points - pair[1].points, default=None)


def _confirm(prediction: Prediction, others: Mapping[str, Choice]) -> Prediction:
    """Take the certainty back when another look at the same candidates names another one."""
    if not prediction.certain or prediction.victim is None:
        return prediction
    for why, choice in others.items():
        if choice.victim and choice.victim.pid != prediction.victim.pid:
            reason = f"it would be {_words(choice.victim)} {why}"
            return replace(prediction, certain=False, why_uncertain=reason)
    return prediction


def _words(candidate: Candidate) -> str:
    return f"{candidate.name or 'process'} ({candidate.pid})"
