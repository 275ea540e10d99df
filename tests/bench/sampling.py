"""What one sample costs, beside a C program that reads the same files: by layer and by number.

The layers: `StatmReader` (one size), `ServiceCollector` with all processes in the tree of one
service, the same with a service per process, and a whole `Collector.collect` of these with what
is above and around them. Time is simulated at one sample a second, so slower looks (process
table, shmem and swap, who is in the cgroup) are in it with the share they have.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench import machine
from tests.bench.budgets import Row

COUNTS = (10, 200, 2000)
LONG = (4000,)
READS = 120_000
"""Reads of each layer, at least 60 rounds."""

MOST_RATIO = 2.0
MANY = 10_000
MANY_PERCENT = 3.0

JUDGED = "a process of a tree"
LAYERS = {
    "statm": "one statm",
    "tree": JUDGED,
    "services": "a service of one process",
    "collect": "a service, with limits above it",
}


def measure(folder: Path) -> Iterator[Row]:
    """Measure every layer at every number."""
    counts = COUNTS + (LONG if os.environ.get("LG_BENCH_LONG") else ())
    figures = {}
    for count in counts:
        with machine.crowd(folder, count) as (parent, pids):
            figures[count] = _figures(folder, parent, pids)
    for layer, title in LAYERS.items():
        for count in counts:
            yield Row(
                what=f"sampling {title}, N = {count}",
                measured=figures[count][layer],
                unit="µs",
                floor=figures[count]["floor"],
                most_ratio=MOST_RATIO if layer == "statm" else None,
            )
    few, many = counts[1], counts[-1]
    for layer in ("tree", "services", "collect"):
        slope = (figures[many][layer] * many - figures[few][layer] * few) / (many - few)
        yield Row(
            what=f"{MANY} × {LAYERS[layer]} at 1 Hz, from the slope {few} to {many}",
            measured=slope * MANY / 1e6 * 100,
            unit="% of a core",
            most=MANY_PERCENT if layer == "tree" else None,
        )


def _figures(folder: Path, parent: int, pids: list[int]) -> dict[str, float]:
    """Give microseconds per process of every layer, and of the floor before and after them."""
    rounds = max(60, READS // len(pids) // 10)
    floors = [_floor(folder, pids, rounds)]
    probe = [sys.executable, "-m", "tests.bench.sampling_probe", str(parent), str(rounds)]
    figures: dict[str, float] = json.loads(_output(probe, pids))
    floors.append(_floor(folder, pids, rounds))
    return {**figures, "floor": sum(floors) / len(floors)}


def _floor(folder: Path, pids: list[int], rounds: int) -> float:
    return float(_output([str(machine.compiled("floor", folder)), str(rounds * 10)], pids))


def _output(command: list[str], pids: list[int]) -> str:
    text = " ".join(map(str, pids))
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout
