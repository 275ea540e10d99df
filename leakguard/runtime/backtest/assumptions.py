"""What a back-test takes for granted, in sentences: printed with every result."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from leakguard.core.policy import Mode
from leakguard.core.units import counted, format_bytes, format_duration
from leakguard.runtime.backtest.compare import Comparison
from leakguard.runtime.backtest.fitting import PATIENCE_S
from leakguard.runtime.backtest.lives import Ending, Life, cut
from leakguard.runtime.backtest.policies import Candidate, limit_of
from leakguard.runtime.backtest.recording import Recording

MOST_NAMED = 8
"""So many series are described one by one."""


def assumptions(comparison: Comparison, given: Iterable[str] = ()) -> tuple[str, ...]:
    """Give them all; `given` are those of whoever read the recordings, and come last."""
    return (
        *_model(comparison),
        *_needless(comparison),
        *_policies(comparison),
        *_series(comparison),
        *given,
    )


def _model(comparison: Comparison) -> Iterator[str]:
    downtime = format_duration(comparison.terms.downtime_s)
    yield (
        "a restart that the recording does not have: the service starts as the recorded life "
        "began, start-up included, and then uses what was recorded at the same time less what the "
        "restart gave back; it never uses less than the recorded service did once warm"
    )
    yield (
        f"a restart takes {downtime}; memory that reaches the limit is an OOM kill, and the "
        f"service runs anew {downtime} later"
    )
    yield (
        "the guard sees the memory at the recorded times and knows nothing from before; near the "
        "limit it samples at its own pace, on the straight line between two recorded samples; far "
        f"from it slopes are fitted anew every {format_duration(PATIENCE_S)}, over every sample"
    )


def _needless(comparison: Comparison) -> Iterator[str]:
    horizon = format_duration(comparison.terms.horizon_s)
    yield (
        "a restart is needless when without it the limit would not have been reached before the "
        "next cheap moment (a schedule of the policy, the beginning of a window), or, where the "
        f"policy has none, within {horizon}; where the recording ends before that, it is not "
        "counted"
    )
    if comparison.terms.windows:
        named = ", ".join(
            f"{w.cron} for {format_duration(w.length_s)} ({w.timezone})"
            for w in comparison.terms.windows
        )
        yield f"in a window: while one of {named} is open, or by a schedule of the policy"
    else:
        yield "in a window: by a schedule of the policy; --window names other cheap times"


def _policies(comparison: Comparison) -> Iterator[str]:
    for candidate in comparison.candidates:
        rules = {
            id(rule): rule
            for rule in (candidate.rule_of(one.name) for one in comparison.recordings)
        }
        if any(rule.rules.mode is Mode.OBSERVE for rule in rules.values()):
            yield f"{candidate.config}: mode observe is played as act"
        yield from _chosen(candidate, comparison.recordings)


def _chosen(candidate: Candidate, recordings: tuple[Recording, ...]) -> Iterator[str]:
    """Say which entry was used for series that have none of their own name."""
    if not candidate.services:
        return
    others: dict[str, list[str]] = {}
    for one in recordings:
        rule = candidate.rule_of(one.name)
        if rule.source not in (one.name, one.name.partition(":")[0]):
            others.setdefault(rule.source, []).append(one.name)
    for source, names in others.items():
        entry = source if source == candidate.fallback.source else f"services.{source}"
        yield f"{candidate.config}: {_some(names)} by {entry}, since no service has that name"


def _series(comparison: Comparison) -> Iterator[str]:
    limits = {one.name: _limits(comparison, one) for one in comparison.recordings}
    without = [name for name, known in limits.items() if None in known]
    if without:
        yield (
            f"{_some(without)}: no limit is known, so no kill, no forecast and no share of a "
            "limit, and what is needless cannot be said: give --limit"
        )
    for one in comparison.recordings[:MOST_NAMED]:
        sizes = sorted(v for v in limits[one.name] if v is not None)
        if one.limit_bytes is None and sizes:
            known = " or ".join(format_bytes(v) for v in sizes)
            yield f"{one.name}: the limit of the configuration ({known}) kills"
        largest = replace(one, limit_bytes=sizes[-1] if sizes else None)
        yield _lives(largest, cut(largest, comparison.recorded))
    left = len(comparison.recordings) - MOST_NAMED
    if left > 0:
        yield f"{left} more series are read in the same way"


def _limits(comparison: Comparison, one: Recording) -> set[int | None]:
    return {limit_of(one, c.rule_of(one.name).rules) for c in comparison.candidates}


def _lives(one: Recording, lives: tuple[Life, ...]) -> str:
    """Describe how a series was cut."""
    killed = sum(life.ending is Ending.KILLED for life in lives)
    others = sum(life.ending is Ending.RESTARTED for life in lives)
    dropped = sum(life.ending is Ending.DROPPED for life in lives)
    ends = [f"{counted(killed, 'kill')} at the limit"] if killed else []
    ends += [f"{counted(others, 'restart')} by others, which happen all the same"] if others else []
    ends += [f"{counted(dropped, 'restart')} that are left out"] if dropped else []
    warm = max(life.warm_s for life in lives)
    start_up = f"starts up for at most {format_duration(warm)}" if warm else "shows no start-up"
    shows = f"the recording shows {' and '.join(ends)}" if ends else "the recording is one life"
    every = format_duration(one.spacing_s)
    return f"{one.name}: a sample every {every}; {shows}; the service {start_up}"


def _some(names: list[str]) -> str:
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
