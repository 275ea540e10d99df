"""Real leaks that nobody stops: does the kernel kill when and whom the daemon said it would?

    python -m tests.bench.oom_times [--runs 60] [--side-by-side 20] [--seed N]

Needs root and a memory cgroup that can be written. Each run is a cgroup of its own with a random
limit, a neighbour that rests at a random size and a guarded service that leaks at a random rate.
One daemon with `mode: observe` guards them all. What it first told (`ExhaustionPredicted`) is held
against the kernel's log: the time of the kill against the 5 % and 95 % quantiles, the victim
against the one that was named. Exit code 1 when fewer than 90 % of the kills came inside of the
interval, or a victim that was called certain lived.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.own_cgroup import usual_parents
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from tests.workloads.guarded import Daemon, Event, until
from tests.workloads.oom_group import Member, Stage

MIB = 1 << 20
INSIDE_SHARE = 0.90
YOUNG = "20s"
"""The verdict comes after this, so that a run takes a minute and not three."""
STEPS_PER_S = 20
LIMIT_S = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run. Times in seconds from when the exhaustion was told."""

    limit_mib: int
    rate_mib: float
    neighbour_mib: int
    early_s: float
    late_s: float
    killed_s: float
    named: int | None
    certain: bool
    victim: int
    leaker: int

    @property
    def inside(self) -> bool:
        """Whether the kill came inside of the interval."""
        return self.early_s <= self.killed_s <= self.late_s


@dataclass(slots=True)
class Run:
    """A leak in its cgroup; it goes on by itself until the kernel kills somebody."""

    stage: Stage
    name: str
    rate: float
    neighbour_bytes: int
    neighbour: Member
    leaker: Member

    def config(self) -> dict[str, Any]:
        """Give what the daemon is told of it."""
        return {"target": {"pid": self.leaker.pid}, "detector": {"envelope": {"young": YOUNG}}}

    def leak(self, stop: threading.Event) -> None:
        """Grow at the rate until somebody is killed."""
        step = max(1, round(self.rate / STEPS_PER_S / PAGE_BYTES))
        pause_s = step * PAGE_BYTES / self.rate
        while self.stage.kills() == 0 and not stop.wait(pause_s):
            self.leaker.send(f"grow {step}")
            if not self.leaker.answer():
                return


@contextlib.contextmanager
def runs(count: int, first: int, numbers: random.Random) -> Iterator[list[Run]]:
    """Make so many runs; nothing of them is left."""
    with contextlib.ExitStack() as stack:
        made = []
        for at in range(first, first + count):
            limit = numbers.randrange(96, 257) * MIB
            stage = stack.enter_context(Stage(limit, f"times{at}"))
            neighbour, leaker = stage.start(), stage.start()
            size = int(limit * numbers.uniform(0.05, 0.6))
            neighbour.do(f"anon {size // PAGE_BYTES}")
            leaker.do(f"reserve {2 * limit // PAGE_BYTES}")
            # Somewhere between 40 and 120 seconds to the end.
            rate = (limit - size) / numbers.uniform(40, 120)
            made.append(
                Run(
                    stage=stage, name=f"leak{at}", rate=rate, neighbour_bytes=size,
                    neighbour=neighbour, leaker=leaker,
                )
            )  # fmt: skip
        yield made


def measure(count: int, first: int, numbers: random.Random, folder: Path) -> list[Result]:
    """Let so many leaks end side by side."""
    with runs(count, first, numbers) as made:
        config = {"services": {run.name: run.config() for run in made}}
        stop = threading.Event()
        with Daemon(folder, config) as daemon:
            daemon.ready()
            leaks = [threading.Thread(target=run.leak, args=(stop,)) for run in made]
            for leak in leaks:
                leak.start()
            try:
                for leak in leaks:
                    leak.join(LIMIT_S)
                for run in made:
                    until(partial(_kill_of, daemon, run), 30.0, f"the kill of {run.name}")
            finally:
                stop.set()
            return [_result(daemon, run) for run in made]


def _kill_of(daemon: Daemon, run: Run) -> list[Event]:
    path = run.stage.cgroup.path
    return [e for e in daemon.events("OomKillObserved") if e.get("limit_cgroup") == path]


def _result(daemon: Daemon, run: Run) -> Result:
    told = daemon.events("ExhaustionPredicted", run.name)
    kill = _kill_of(daemon, run)[0]
    if not told:
        raise SystemExit(f"{run.name} ended before anything was foreseen of it")
    first = told[0]
    late = first.get("time_to_limit_p95_s")
    return Result(
        limit_mib=run.stage.limit_bytes // MIB,
        rate_mib=run.rate / MIB,
        neighbour_mib=run.neighbour_bytes // MIB,
        early_s=first["time_to_limit_p05_s"],
        late_s=float("inf") if late is None else late,
        killed_s=_when(kill) - _when(first),
        named=first.get("victim_pid"),
        certain=bool(first.get("victim_certain")),
        victim=kill["pid"],
        leaker=run.leaker.pid,
    )


def _when(event: Event) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()


def line(result: Result) -> str:
    """Give one run as a line of the table."""
    who = "the leaker" if result.victim == result.leaker else "its neighbour"
    named = "-" if result.named is None else "right" if result.named == result.victim else "WRONG"
    return (
        f"{result.limit_mib:5} {result.neighbour_mib:9} {result.rate_mib:6.2f} "
        f"{result.early_s:7.1f} {result.late_s:7.1f} {result.killed_s:7.1f}  "
        f"{'inside' if result.inside else 'OUTSIDE':8} {who:13} {named:6} "
        f"{'certain' if result.certain else 'uncertain'}"
    )


HEADER = (
    f"{'limit':>5} {'neighbour':>9} {'MiB/s':>6} {'p05 s':>7} {'p95 s':>7} {'kill s':>7}  "
    f"{'':8} {'who died':13} {'named':6}"
)


def verdict(results: Sequence[Result]) -> list[str]:
    """Say what is not as it should be; nothing when all is well."""
    problems = []
    inside = sum(result.inside for result in results)
    if inside < INSIDE_SHARE * len(results):
        problems.append(f"only {inside} of {len(results)} kills came inside of the interval")
    if wrong := [r for r in results if r.certain and r.named != r.victim]:
        problems.append(f"{len(wrong)} victims that were called certain lived")
    return problems


def summary(results: Sequence[Result]) -> str:
    """Count what was right."""
    named = [result for result in results if result.named is not None]
    certain = [result for result in named if result.certain]
    return (
        f"time inside of the interval: {sum(r.inside for r in results)} of {len(results)}; "
        f"victim right: {sum(r.named == r.victim for r in named)} of {len(named)}, of the certain "
        f"ones {sum(r.named == r.victim for r in certain)} of {len(certain)}; "
        f"the leaker was not the victim in {sum(r.victim != r.leaker for r in results)}"
    )


def main() -> int:
    """Run the leaks and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--side-by-side", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="[default: a new one]")
    options = parser.parse_args()
    if not usual_parents(CgroupFs(ProcFs()), 1):
        raise SystemExit("no memory cgroup can be made here")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    numbers, results = random.Random(seed), list[Result]()
    print(f"seed {seed}\n{HEADER}")
    with tempfile.TemporaryDirectory() as name:
        while len(results) < options.runs:
            count = min(options.side_by_side, options.runs - len(results))
            folder = Path(name) / str(len(results))
            folder.mkdir()
            found = measure(count, len(results), numbers, folder)
            results += found
            print("\n".join(line(result) for result in found), flush=True)
    problems = verdict(results)
    print("\n".join([summary(results), *problems]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
