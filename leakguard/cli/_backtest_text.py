"""The result of a back-test for people: a sentence or a table, each restart, the assumptions."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leakguard.cli._output import UNKNOWN, count, local_time, paint, table
from leakguard.core.instant import rfc3339
from leakguard.core.units import format_bytes, format_duration
from leakguard.runtime.backtest.outcome import Kill, PolicyOutcome, Restart

WIDEST = 100
MOST_ROWS = 200
"""More restarts than this are not listed one by one; --json has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is shown, and how its times are to be read."""

    policies: Sequence[PolicyOutcome]
    alone: Sequence[Kill]
    assumptions: Sequence[str]
    span_s: float
    began_wall_s: float
    dated: bool
    """Times are of the calendar; else they are told from the beginning."""


def lines(shown: Shown) -> Iterator[str]:
    """Give the whole text."""
    if len(shown.policies) == 1:
        yield _sentence(shown, shown.policies[0])
    else:
        yield from _table(shown)
    for outcome in shown.policies:
        if outcome.restarts or outcome.kills:
            yield ""
            yield paint(outcome.config, "bold") if len(shown.policies) > 1 else "what happens when:"
            yield from _timeline(shown, outcome)
    yield ""
    yield "assumed:"
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    for text in shown.assumptions:
        yield from textwrap.wrap(
            text, width, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
        )


def _sentence(shown: Shown, outcome: PolicyOutcome) -> str:
    restarts, kills = count(len(outcome.restarts), "restart"), len(outcome.kills)
    inside = f" ({outcome.in_window} in a window)" if outcome.in_window else ""
    needless = count(outcome.needless, "needless restart")
    unsaid = f" and {outcome.undecided} that cannot be judged" if outcome.undecided else ""
    return (
        f"with {outcome.config} the recorded {format_duration(shown.span_s)} would have had "
        f"{restarts}{inside}, {count(kills, 'OOM kill')}, {needless}{unsaid}; "
        f"left alone: {count(len(shown.alone), 'OOM kill')}"
    )


def _table(shown: Shown) -> Iterator[str]:
    header = ("POLICY", "RESTARTS", "IN WINDOW", "OOM KILLS", "NEEDLESS", "BREAKER", "REASONS")
    rows = [
        (
            outcome.config,
            str(len(outcome.restarts)),
            str(outcome.in_window),
            str(len(outcome.kills)),
            _needless(outcome),
            "opened" if outcome.limit_hits else "closed",
            _reasons(outcome) or UNKNOWN,
        )
        for outcome in shown.policies
    ]
    alone = ("left alone", "0", UNKNOWN, str(len(shown.alone)), *[UNKNOWN] * 3)
    yield f"the recorded {format_duration(shown.span_s)} would have had:"
    yield table(header, [*rows, alone])


def _needless(outcome: PolicyOutcome) -> str:
    unsaid = f" (+{outcome.undecided}?)" if outcome.undecided else ""
    return f"{outcome.needless}{unsaid}"


def _reasons(outcome: PolicyOutcome) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in outcome.by_reason.items())


def _timeline(shown: Shown, outcome: PolicyOutcome) -> Iterator[str]:
    """List restarts and kills in the order of time."""
    rows = [(one.wall_s, _row(shown, one)) for one in outcome.restarts]
    rows += [(one.wall_s, _kill_row(shown, one)) for one in outcome.kills]
    ordered = [row for _, row in sorted(rows)]
    header = ("TIME", "SERIES", "WHAT", "WINDOW", "NEEDLESS", "MEMORY", "REASON")
    yield table(header, ordered[:MOST_ROWS])
    if len(ordered) > MOST_ROWS:
        yield f"… and {len(ordered) - MOST_ROWS} more: --json has them all"


def _row(shown: Shown, one: Restart) -> tuple[str, ...]:
    words = {True: "yes", False: "no", None: UNKNOWN}
    return (
        _when(shown, one.wall_s),
        one.series,
        one.trigger.value,
        words[one.in_window],
        words[one.needless],
        format_bytes(one.value_bytes),
        one.reason,
    )


def _kill_row(shown: Shown, one: Kill) -> tuple[str, ...]:
    return (_when(shown, one.wall_s), one.series, "OOM kill", *[UNKNOWN] * 4)


def _when(shown: Shown, wall_s: float) -> str:
    if shown.dated:
        return local_time(rfc3339(wall_s))
    return f"+{format_duration(wall_s - shown.began_wall_s)}"
