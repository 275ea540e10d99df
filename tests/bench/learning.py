"""How the band of a service learns over its lives: `python -m tests.bench.learning [--seeds N]`.

Services of three kinds leak to their limit twelve times each. At 50 % and 80 % of each life the
true time is held against the band as it is without learning and as it was learned, and a table is
printed in Markdown. `--write` puts it into a page, between its two marks. It takes two minutes.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from leakguard.core.calibration import UNPROMISED, UNTRIED, learned
from leakguard.core.forecast import PRIOR, Edges, join
from leakguard.core.instant import Instant
from leakguard.core.lives import Life
from leakguard.core.series import Series
from leakguard.core.units import MIB
from leakguard.detectors.envelope import EnvelopeDetector, Options
from tests.bench.scores import number, table

BEGIN, END = "<!-- learning -->", "<!-- end of learning -->"
LIVES = 12
LIMIT, BASE = 512.0 * MIB, 100.0 * MIB
EVERY_S, JUDGED = 60.0, 5
DAY_S = 86400.0
WAYS = (0.5, 0.8)
STAGES = {"life 1": range(1), "lives 2 to 6": range(1, 6), "lives 7 to 12": range(6, LIVES)}
Points = list[tuple[float, float]]


def steps(rng: Random) -> Iterator[float]:
    """Give memory that grows by few large steps at any time."""
    held, ahead_s = BASE, rng.expovariate(1 / 9000.0)
    while True:
        ahead_s -= EVERY_S
        while ahead_s < 0:
            held += rng.expovariate(1 / (30 * MIB))
            ahead_s += rng.expovariate(1 / 9000.0)
        yield held + rng.gauss(0, MIB)


def noisy(rng: Random) -> Iterator[float]:
    """Give memory that grows evenly under noise that wanders."""
    noise = 0.0
    for i in itertools.count(1):
        noise = 0.98 * noise + rng.gauss(0, 8 * MIB)
        yield BASE + 412 * MIB * i * EVERY_S / DAY_S + noise


def speeding(rng: Random) -> Iterator[float]:
    """Give memory that grows ever faster."""
    for i in itertools.count(1):
        yield BASE + 400 * MIB * (i * EVERY_S / DAY_S) ** 2.2 + rng.gauss(0, 2 * MIB)


KINDS = {"in steps": steps, "under noise": noisy, "speeding up": speeding}


@dataclass(frozen=True, slots=True)
class Asked:
    """The band at one moment of one life."""

    life: int
    true_s: float
    median_s: float
    sigma: float
    edges: Edges
    scores: int

    def band(self, edges: Edges) -> tuple[float, float]:
        """Give p05 and p95."""
        early, late = -edges.early * self.sigma, edges.late * self.sigma
        return self.median_s * math.exp(early), self.median_s * math.exp(late)


def service(kind: str, seed: int) -> list[Asked]:
    """Let one service leak to its limit, again and again."""
    rng, outcomes, lives = Random(f"{kind} {seed}"), UNTRIED, tuple[Life, ...]()
    found = list[Asked]()
    for life in range(LIVES):
        points = list(until_limit(KINDS[kind](rng)))
        series, promises, end_s = Series(lives), UNPROMISED, points[-1][0]
        asked, detector = [way * end_s for way in WAYS], EnvelopeDetector(Options())
        for i, (at_s, value) in enumerate(points):
            series.append(at_s, value)
            promises, came = promises.held_to(at_s, value)
            outcomes = outcomes.add(came)
            due = bool(asked) and at_s >= asked[0]
            if i % JUDGED and not due:
                continue
            now = Instant(wall_s=at_s, boot_s=at_s, boot_id="")
            trend, edges = detector.fit(series, now, LIMIT - value), learned(outcomes)
            promises = promises.made(trend, LIMIT - value, edges)
            if due:
                asked.pop(0)
                median_s, sigma = join(max(LIMIT - value, 1.0), trend)
                if not math.isinf(median_s):
                    scores = len(outcomes)
                    found.append(Asked(life, end_s - at_s, median_s, sigma, edges, scores))
        outcomes, lives = outcomes.add(promises.ended(end_s, killed=True)), series.ended()
    return found


def until_limit(values: Iterator[float]) -> Iterator[tuple[float, float]]:
    """Give times and values up to the first that reaches the limit."""
    for i, value in enumerate(values):
        yield i * EVERY_S, value
        if value >= LIMIT:
            return


def row(kind: str, stage: str, asked: Sequence[Asked]) -> tuple[str, ...]:
    """Give one line of the table."""
    plain = [(a.true_s, *a.band(PRIOR)) for a in asked]
    taught = [(a.true_s, *a.band(a.edges)) for a in asked]
    return (
        kind,
        stage,
        f"{sum(a.scores for a in asked) / len(asked):.0f}",
        _change(*(_share(low <= true <= high for true, low, high in b) for b in (plain, taught))),
        _change(*(_share(true < low for true, low, _ in b) for b in (plain, taught))),
        _change(*(median((high - low) / true for true, low, high in b) for b in (plain, taught))),
    )


def _share(found: Iterator[bool]) -> float:
    known = list(found)
    return sum(known) / len(known)


def _change(before: float, after: float) -> str:
    return f"{number(before)} → {number(after)}"


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.learning")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="services a kind (20)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page")
    options = parser.parse_args()
    rows = []
    with ProcessPoolExecutor() as pool:
        for kind in KINDS:
            made = pool.map(service, itertools.repeat(kind), range(options.seeds))
            asked = [one for found in made for one in found]
            rows += [
                row(kind, stage, [a for a in asked if a.life in lives])
                for stage, lives in STAGES.items()
            ]
    header = ("leak", "asked in", "scores", "in [p05, p95]", "before p05", "width")
    text = table(header, rows)
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        options.write.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
