"""What a tick costs, and whether ten thousand of them leave anything behind.

The real parts of a daemon run on a clock that is moved by hand, ten seconds a tick: processes,
SQLite, both channels and the web server are real. Moving services have series with trends, so
that every fit is due and none is short.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import linear_regression
from typing import Any

from tests.bench import machine, setting
from tests.bench.budgets import Row
from tests.workloads.guarded import Receiver

COUNT = 20
TICKS = 10_000
FILL_TICKS = 6_000
"""A simulated day of 17 hours: by then every series, cache and window has its full length."""
SHORT = 1_000

TICK_MS = 10.0
GROWTH_MIB = 0.25
"""Over ten thousand ticks: the resolution of the line through what `VmRSS` says."""


def measure(folder: Path) -> Iterator[Row]:
    """Run services at rest for a while, moving ones for long."""
    rest = _probe(folder / "rest", SHORT, moving=False)
    long = _probe(folder / "moving", FILL_TICKS + TICKS, moving=True)
    yield Row(
        what="one tick, 20 services at rest, median CPU",
        measured=rest["tick_ms"],
        unit="ms",
        most=TICK_MS,
        floor=rest["floor_ms"],
    )
    yield Row(
        what="one tick, 20 moving services, median CPU",
        measured=long["tick_ms"],
        unit="ms",
        most=TICK_MS,
        floor=long["floor_ms"],
    )
    yield Row(what="the same, of a hundred the slowest", measured=long["slow_ms"], unit="ms")
    yield from _slopes(long["seen"])


def _slopes(seen: list[list[float]]) -> Iterator[Row]:
    """Judge the last ten thousand ticks."""
    late = [row for row in seen if row[0] >= FILL_TICKS]
    ticks, rss, threads, descriptors, blocks = zip(*late, strict=True)
    slope = linear_regression(ticks, rss).slope * TICKS
    objects = linear_regression(ticks, blocks).slope * TICKS / blocks[0] * 100
    yield Row(what="RSS after all ticks (with the probe)", measured=rss[-1], unit="MiB")
    yield Row(what="RSS, growth in 10,000 ticks", measured=slope, unit="MiB", most=GROWTH_MIB)
    yield Row(what="live memory blocks, growth in 10,000 ticks", measured=objects, unit="%")
    for name, found in (("threads", threads), ("descriptors", descriptors)):
        yield Row(
            what=f"{name}, growth in 10,000 ticks",
            measured=found[-1] - found[0],
            unit=name,
            most=0,
        )


def _probe(folder: Path, ticks: int, *, moving: bool) -> dict[str, Any]:
    folder.mkdir()
    with machine.crowd(folder, COUNT, moving=moving) as (_, pids), Receiver() as receiver:
        fd = setting.plan_fd(setting.daemon(folder, pids, receiver.url))
        command = [sys.executable, "-m", "tests.bench.ticks_probe", str(fd), str(ticks)]
        done = subprocess.run(command, pass_fds=(fd,), check=True, stdout=subprocess.PIPE)
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures
