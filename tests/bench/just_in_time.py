"""Four weeks of restarts under five policies: `python -m tests.bench.just_in_time [--seed N] …`.

    [--per N] [--days N] [--step SECONDS] [--series FILE.csv] [--json]

Draws leaks that live from two to twelve days (leakguard/testing/shapes.py), lets each be killed at
its limit and begin anew for `--days`, and beside them services that do not leak; then plays the
real engine over them with a clock of its own, and restarts that act (leakguard/runtime/backtest).
Leaks under noise of 8 % of their limit are counted apart: most of their ends are peaks, which
nobody can foresee for hours. `--series` adds recorded leaks, read as `leakguard forecast` reads
them: each is played slower or faster so that a life takes two to six days, its limit is the most
that it used (what begins above four fifths of that is left out), and it is repeated. Two windows a
day are cheap, 02:00 to 04:00 and 13:00 to 14:00; a leak that lives for less than two days would not
meet enough of them.

Exit code 1 unless just in time had no kill at all, and on the leaks that are drawn without that
noise, and on recorded ones, 60 % fewer restarts than cron every six hours, and 95 % of them in
windows. With the defaults it takes about ten minutes of two processors.
"""

import argparse
import itertools
import json
import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from leakguard.cli._series_file import read_series
from leakguard.core.policy import (
    ForecastRule,
    Policy,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
    WindowRule,
)
from leakguard.core.units import MIB, Amount
from leakguard.runtime.backtest.lives import cut
from leakguard.runtime.backtest.moments import Moments
from leakguard.runtime.backtest.outcome import SeriesOutcome
from leakguard.runtime.backtest.play import Play, Terms
from leakguard.runtime.backtest.policies import Rule
from leakguard.runtime.backtest.recording import Recording
from leakguard.testing.shapes import BENIGN, DAY_S, HOUR_S, LEAKS, Shape, make

LEAST_POINTS = 12
MOST_AT_FIRST = 0.8
NOISY = "leak, noise 8 %"
LIMIT_BYTES = 512 * MIB
MONDAY_S = 20_782 * DAY_S
"""The day on which the simulation begins, in Unix time."""
NOT_DRAWN = {"leak, fast", "leak, restarted", "young and warm"}
"""Lives of minutes meet no window, the second is restarted already, the third is a start."""
LIVES_DAYS = (2.0, 6.0)
WINDOWS = (
    WindowRule(cron="0 2 * * *", length_s=2 * HOUR_S),
    WindowRule(cron="0 13 * * *", length_s=HOUR_S),
)
POLICIES = {
    "just in time": Policy(windows=WINDOWS, threshold=ThresholdRule(above=Amount(share=0.95))),
    "forecast alone": Policy(forecast=ForecastRule(quiet=False)),
    "cron every 6 h": Policy(forecast=None, schedules=(ScheduleRule(cron="0 */6 * * *"),)),
    "threshold 80 %": Policy(forecast=None, threshold=ThresholdRule(above=Amount(share=0.8))),
    "max_age 1 d": Policy(forecast=None, max_age_s=DAY_S),
}
OURS, CRON = "just in time", "cron every 6 h"


class Kind(StrEnum):
    """What is counted apart."""

    LEAK = "leaks"
    RECORDED = "recorded leaks"
    NOISY = "leaks under noise of 8 %"
    BENIGN = "services that do not leak"


JUDGED = (Kind.LEAK, Kind.RECORDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One series of four weeks."""

    kind: Kind
    recording: Recording


@dataclass(slots=True, kw_only=True)
class Sum:
    """What came of one policy over many series."""

    policy: str
    kills: int = 0
    restarts: int = 0
    outside: int = 0
    needless: int = 0

    def add(self, outcome: SeriesOutcome) -> None:
        """Count one series."""
        moments = Moments(windows=WINDOWS)
        self.kills += len(outcome.kills)
        self.restarts += len(outcome.restarts)
        self.outside += sum(not moments.in_window(r.wall_s) for r in outcome.restarts)
        self.needless += sum(r.needless is True for r in outcome.restarts)

    def plain(self) -> dict[str, object]:
        """Give the sums as JSON has them."""
        return {
            "policy": self.policy,
            "oom_kills": self.kills,
            "restarts": self.restarts,
            "outside_windows": self.outside,
            "needless": self.needless,
        }


def main() -> int:
    """Draw, play, and print a table for each kind."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.just_in_time", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another draw (1)")
    parser.add_argument("--per", type=int, default=2, metavar="N", help="series a family (2)")
    parser.add_argument("--days", type=int, default=28, metavar="N", help="how long (28)")
    parser.add_argument(
        "--step", type=float, default=300.0, metavar="SECONDS", help="between samples (300)"
    )
    parser.add_argument("--series", metavar="FILE.csv", help="recorded leaks, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    cases = [*drawn(options.seed, options.per, options.days, options.step)]
    if options.series:
        cases += recorded(options.series, options.days, options.step)
    found = play(cases)
    if options.json:
        document = {kind.value: plain(sums) for kind, sums in found.items()}
        print(json.dumps({"days": options.days, **document}, indent=1, ensure_ascii=False))
    else:
        for kind, sums in found.items():
            count = sum(case.kind is kind for case in cases)
            print(f"{count} {kind}, {options.days} days:\n\n{table(sums)}\n")
    return 0 if holds(found) else 1


def holds(found: dict[Kind, dict[str, Sum]]) -> bool:
    """Tell whether just in time kept what is asked of it."""
    ours = [sums[OURS] for kind, sums in found.items() if kind in JUDGED]
    cron = sum(sums[CRON].restarts for kind, sums in found.items() if kind in JUDGED)
    restarts = sum(one.restarts for one in ours)
    outside = sum(one.outside for one in ours)
    kills = sum(sums[OURS].kills for sums in found.values())
    return kills == 0 and restarts <= 0.4 * cron and outside <= 0.05 * restarts


def plain(sums: dict[str, Sum]) -> list[dict[str, object]]:
    """Give all sums as JSON has them."""
    return [one.plain() for one in sums.values()]


def table(sums: dict[str, Sum]) -> str:
    """Print sums in Markdown."""
    lines = [
        "| policy | OOM kills | restarts | outside windows | needless |",
        "|---|---|---|---|---|",
    ]
    for one in sums.values():
        share = f" ({100 * one.outside / one.restarts:.0f} %)" if one.restarts else ""
        lines.append(
            f"| {one.policy} | {one.kills} | {one.restarts} | {one.outside}{share} "
            f"| {one.needless} |"
        )
    return "\n".join(lines)


def drawn(seed: int, per: int, days: int, step_s: float) -> Iterator[Case]:
    """Draw the series of every family."""
    for family, number in itertools.product({**LEAKS, **BENIGN}, range(per)):
        if family in NOT_DRAWN:
            continue
        lives = (
            [share / shape.limit_bytes for share in shape.values[:: int(step_s / 60)]]
            for shape in (make(family, number * 1000 + i, seed) for i in itertools.count())
            if _meets_windows(shape)
        )
        shares, starts = chained(lives, int(days * DAY_S / step_s))
        kind = Kind.LEAK if family in LEAKS else Kind.BENIGN
        kind = Kind.NOISY if family == NOISY else kind
        yield _case(kind, f"{family} {number}", shares, step_s, starts=starts)


def _meets_windows(shape: Shape) -> bool:
    """Tell whether a leak lives for so long that two windows a day can be waited for."""
    if shape.onset_s is None or shape.end_s is None:
        return shape.onset_s is None
    return shape.end_s - shape.onset_s >= LIVES_DAYS[0] * DAY_S


def chained(lives: Iterable[list[float]], count: int) -> tuple[list[float], list[int]]:
    """Put lives one behind the other; gives `count` points, and where each life begins."""
    shares, starts = list[float](), list[int]()
    for life in lives:
        if len(life) < LEAST_POINTS:
            continue
        starts.append(len(shares))
        shares += life
        if len(shares) >= count:
            break
    return shares[:count], [i for i in starts if 0 < i < count]


def recorded(path: str, days: int, step_s: float) -> Iterator[Case]:
    """Read recorded leaks; each life is stretched to some days, and repeated."""
    series: dict[str, list[tuple[float, float]]] = {}
    for name, t, value in read_series(path, None):
        series.setdefault(name, []).append((t, value))
    for name, points in series.items():
        life_s = Random(name).uniform(*LIVES_DAYS) * DAY_S
        life = _stretched(points, int(life_s / step_s))
        top = max(life)
        if life[0] > MOST_AT_FIRST * top:
            continue
        lives = itertools.repeat([value / top for value in life])
        shares, _ = chained(lives, int(days * DAY_S / step_s))
        yield _case(Kind.RECORDED, name, shares, step_s)


def _stretched(points: list[tuple[float, float]], steps: int) -> list[float]:
    """Give medians of so many equal steps, up to the highest point."""
    last = max(range(len(points)), key=lambda i: points[i][1])
    begin, end = points[0][0], points[last][0]
    bins = dict[int, list[float]]()
    for t, value in points[: last + 1]:
        bins.setdefault(int((t - begin) / (end - begin) * (steps - 1)), []).append(value)
    values, held = list[float](), points[0][1]
    for i in range(steps):
        found = sorted(bins.get(i, [held]))
        held = found[len(found) // 2]
        values.append(held)
    return values


def _case(
    kind: Kind, name: str, shares: list[float], step_s: float, *, starts: Iterable[int] = ()
) -> Case:
    """Give a series as a recording; a leak begins anew when it is killed, others when told."""
    recording = Recording(
        name=name,
        times=array("d", (i * step_s for i in range(len(shares)))),
        values=array("d", (max(1.0, share * LIMIT_BYTES) for share in shares)),
        wall_offset_s=MONDAY_S,
        limit_bytes=LIMIT_BYTES,
        starts=frozenset(starts) if kind is Kind.BENIGN else frozenset(),
    )
    return Case(kind=kind, recording=recording)


def play(cases: list[Case]) -> dict[Kind, dict[str, Sum]]:
    """Play every series under every policy, on all processors."""
    kinds = [kind for kind in Kind if any(case.kind is kind for case in cases)]
    sums = {kind: {name: Sum(policy=name) for name in POLICIES} for kind in kinds}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        tasks = list(itertools.product(cases, POLICIES))
        for (case, name), outcome in zip(tasks, pool.map(_play, tasks), strict=True):
            sums[case.kind][name].add(outcome)
    return sums


def _play(task: tuple[Case, str]) -> SeriesOutcome:
    case, policy = task
    rules = replace(ServiceRules(name=case.recording.name), policy=POLICIES[policy])
    rule = Rule(rules=rules)
    lives = cut(case.recording)
    return Play(case.recording, lives, rules, rule.make_detector(), Terms(windows=WINDOWS)).run()


if __name__ == "__main__":
    sys.exit(main())
