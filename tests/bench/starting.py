"""How long people and probes wait: start, `status` and `health`, beside a bare Python."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from tests.bench import machine, setting
from tests.bench.budgets import Row
from tests.workloads.guarded import Daemon, Receiver, until

TIMES = 11
COUNT = 20

FIRST_SAMPLE_S = 1.0
STATUS_S = 0.15
HEALTH_S = 0.1


def measure(folder: Path) -> Iterator[Row]:
    """Start a daemon again and again, then ask the last one."""
    with machine.crowd(folder, COUNT) as (_, pids), Receiver() as receiver:
        made = setting.daemon(folder / "starting", pids, receiver.url)
        first = median(_first_sample_s(made) for _ in range(TIMES))
        with made:
            path = made.folder / "control.sock"
            until(lambda: setting.sampled(path) == COUNT)
            command = [str(Path(sys.executable).with_name("leakguard"))]
            bare, status, health = _medians(
                [sys.executable, "-c", "pass"],
                [*command, "status", "--socket", str(path)],
                [*command, "health", "--socket", str(path)],
            )
    yield Row(
        what="start to first sample", measured=first, unit="s", most=FIRST_SAMPLE_S, floor=bare
    )
    yield Row(what="leakguard status", measured=status, unit="s", most=STATUS_S, floor=bare)
    yield Row(what="leakguard health", measured=health, unit="s", most=HEALTH_S, floor=bare)


def _first_sample_s(made: Daemon) -> float:
    """Start and stop once; gives the time until every service was sampled."""
    began = time.monotonic()
    with made:
        until(lambda: setting.sampled(made.folder / "control.sock") == COUNT)
        return time.monotonic() - began


def _medians(*commands: Sequence[str]) -> list[float]:
    """Run the commands by turns, so that a busy moment meets all of them alike."""
    took: list[list[float]] = [[] for _ in commands]
    for _ in range(TIMES):
        for times, command in zip(took, commands, strict=True):
            began = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.monotonic() - began)
    return [median(times) for times in took]
