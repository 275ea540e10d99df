"""How many series a second the batch form judges, in how much memory, and how often it agrees.

    python -m tests.bench.fleet_batch [--series 100000] [--samples 2016] [--period 300]
        [--agree 20] [--seed 1] [--json]

The series are noise, random walks and daily cycles about a level, and one in twenty leaks. They
are made a part at a time, as a metrics server would be asked for them, and kept as buckets. For the
agreement, `--agree` series of each family of `leakguard.testing.shapes` are judged at many
moments by the online form, too. Times are CPU seconds of one process.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from random import Random

import numpy as np
from numpy.typing import NDArray

from leakguard.core.series import Series
from leakguard.core.units import GIB, MIB
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.fleet.batch import VERDICTS, judge
from leakguard.fleet.fleet import Fleet, gather, side_by_side
from leakguard.fleet.samples import condense
from leakguard.testing.clock import FakeClock
from leakguard.testing.shapes import FAMILIES, make

AT_A_TIME = 2_000
LEAKS = 0.05
MOMENTS = 12
EVERY = 5
"""Samples of the families are a minute apart; every fifth is taken."""

Floats = NDArray[np.float64]


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet_batch", description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=2016, help="of each series")
    parser.add_argument("--period", type=float, default=300.0, help="seconds between two")
    parser.add_argument("--agree", type=int, default=20, help="series of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    found = {**_speed(asked), **_agreement(asked.agree, asked.seed)}
    if asked.json:
        print(json.dumps({"load": os.getloadavg()[0], **found}, indent=1))
    else:
        print("\n".join(f"{name:44} {value:>12,}" for name, value in found.items()))
    return 0


def _speed(asked: argparse.Namespace) -> dict[str, float]:
    rng = np.random.default_rng(asked.seed)
    before, parts, condensing = _most_bytes(), list[Fleet](), 0.0
    for first in range(0, asked.series, AT_A_TIME):
        count = min(AT_A_TIME, asked.series - first)
        samples = _samples(rng, count, asked.samples, asked.period)
        began = time.process_time()
        parts.append(condense(samples, asked.period))
        condensing += time.process_time() - began
    fleet = side_by_side(parts)
    began = time.process_time()
    judged = judge(fleet, np.full(len(fleet), float(GIB)))
    judging = time.process_time() - began
    return {
        "series": len(fleet),
        "series/s, samples to buckets": round(len(fleet) / condensing),
        "million samples/s, samples to buckets": round(
            len(fleet) * asked.samples / condensing / 1e6, 1
        ),
        "series/s, buckets to verdicts": round(len(fleet) / judging),
        "bytes of buckets a series": _bytes(fleet) // len(fleet),
        "most memory, MiB more than before": (_most_bytes() - before) // MIB,
        **{
            f"verdict {verdict}": int(np.count_nonzero(judged.verdicts == place))
            for place, verdict in enumerate(VERDICTS)
        },
    }


def _samples(rng: np.random.Generator, count: int, length: int, period_s: float) -> Floats:
    """Draw shares of a GiB: noise that wanders, some days, some leaks."""
    shares = rng.uniform(0.1, 0.6, (count, 1)) + rng.normal(0, 0.005, (count, length))
    shares += rng.normal(0, 0.0004, (count, length)).cumsum(axis=1)
    times = np.arange(length) * period_s
    phase, daily = rng.uniform(0, 2 * np.pi, (count, 1)), rng.random((count, 1)) < 0.4
    shares += 0.05 * daily * np.sin(2 * np.pi * times / 86400 + phase)
    leaks = rng.random((count, 1)) < LEAKS
    shares += leaks * rng.uniform(0.1, 0.5, (count, 1)) * np.linspace(0, 1, length)
    return np.maximum(shares, 0.01) * GIB


def _agreement(per_family: int, seed: int) -> dict[str, float]:
    """Judge series of each family at many moments, both ways."""
    shapes = [make(family, i, seed) for family in FAMILIES for i in range(per_family)]
    values = [shape.values[::EVERY] for shape in shapes]
    moments = sorted(Random(seed).sample(range(10, 2000), MOMENTS))
    pairs, alike, buckets_alike = 0, 0, 0
    spent = {"online": 0.0}
    all_series = [Series() for _ in shapes]
    for known, moment in zip([0, *moments], moments, strict=False):
        going_on = [row for row, own in enumerate(values) if len(own) >= moment]
        for row in going_on:
            for column in range(known, moment):
                all_series[row].append(column * 300.0, values[row][column])
        series = [all_series[row] for row in going_on]
        limits = np.array([shapes[row].limit_bytes for row in going_on])
        samples = np.array([values[row][:moment] for row in going_on])
        online = list(_online(series, limits, spent))
        batch, of_buckets = judge(condense(samples, 300.0), limits), judge(gather(series), limits)
        pairs += len(online)
        alike += sum(batch.verdict(at) == one for at, one in enumerate(online))
        buckets_alike += sum(of_buckets.verdict(at) == one for at, one in enumerate(online))
    return {
        "verdicts compared": pairs,
        "agreement, from samples": round(alike / pairs, 5),
        "agreement, from the daemon's buckets": round(buckets_alike / pairs, 5),
        "series/s, online form": round(pairs / spent["online"]),
    }


def _online(series: list[Series], limits: Floats, spent: dict[str, float]) -> Iterator[str]:
    detector, now = EnvelopeDetector(Options()), FakeClock().now()
    for one, limit in zip(series, limits.tolist(), strict=True):
        one.memo = {}
        last = one.last()
        began = time.process_time()
        verdict = detector.fit(one, now, limit - (last[1] if last else 0.0)).verdict
        spent["online"] += time.process_time() - began
        yield verdict


def _bytes(fleet: Fleet) -> int:
    levels = fleet.levels.values()
    return sum(each.low.nbytes + each.mid.nbytes + each.high.nbytes for each in levels)


def _most_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
