"""Real OOM kills in small memory cgroups: is it the process that was predicted, and at that point?

    python -m tests.bench.oom_kills [--runs 60] [--seed N] [--json]

Needs root and a memory cgroup that can be written. Each run is one random case: resting workers of
one kind, and one that grows until the kernel kills. The prediction is that of the last look before
the kill. The headroom is that of the first look, against what was really taken. Exit code 1 when a
certain prediction was wrong, when fewer than 95 % of all were right, or when a headroom was more
than 1 % off. `--seed` runs the same cases again.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from leakguard.linux.procfs import PAGE_BYTES
from tests.workloads.oom_group import Member, Stage, cold_file

MIB = 1 << 20
RIGHT_SHARE = 0.95
HEADROOM_ERROR = 0.01
FILE_MIB = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run."""

    kind: str
    limit_mib: int
    predicted: int | None
    killed: tuple[int, ...]
    certain: bool
    right: bool
    gap_points: int | None
    error_points: int
    trigger_died: bool
    by_oom_score: int | None
    """Whom `/proc/PID/oom_score` names: the rule of earlyoom and others."""
    low_mib: float
    high_mib: float
    taken_mib: float
    headroom_error: float
    processes: int

    @property
    def headroom_ok(self) -> bool:
        """Whether what was taken lies within the bounds, or 1 % beyond."""
        return abs(self.headroom_error) <= HEADROOM_ERROR


class Setting:
    """What a case is made from: a stage, random numbers, and a file that is not in memory."""

    def __init__(self, stage: Stage, numbers: random.Random, file: Path, shm: Path) -> None:
        self.stage, self.numbers, self.file, self.shm = stage, numbers, file, shm
        self.pages = stage.limit_bytes // PAGE_BYTES

    def share(self, low: float, high: float) -> int:
        """Give a random share of the limit, in pages."""
        return int(self.pages * self.numbers.uniform(low, high))

    def resting(self, pages: int, adj: int = 0, group: Path | None = None) -> Member:
        """Start a worker that holds that much."""
        member = self.stage.start(adj, group)
        member.do(f"anon {pages}")
        return member

    def trigger(self, adj: int = 0, group: Path | None = None) -> Member:
        """Start the worker that will grow."""
        return self.stage.start(adj, group)


Kind = Callable[[Setting], Member]
"""Starts the resting workers, and gives the one that grows."""


def sizes(setting: Setting) -> Member:
    """Rest at different sizes."""
    for _ in range(setting.numbers.randint(1, 3)):
        setting.resting(setting.share(0.05, 0.25))
    return setting.trigger()


def adjusted(setting: Setting) -> Member:
    """Rest with an oom_score_adj of 0 to 1000 each."""
    for _ in range(setting.numbers.randint(2, 3)):
        adj = setting.numbers.choice((0, setting.numbers.randint(1, 1000)))
        setting.resting(setting.share(0.05, 0.2), adj)
    return setting.trigger(setting.numbers.choice((0, 0, setting.numbers.randint(1, 1000))))


def shmem(setting: Setting) -> Member:
    """Map the same tmpfs file in two processes: it counts in both, and is charged once."""
    with setting.shm.open("wb") as file:
        file.truncate(setting.share(0.15, 0.3) * PAGE_BYTES)
    for _ in range(2):
        setting.stage.start().do(f"shared {setting.shm}")
    setting.resting(setting.share(0.1, 0.35))
    return setting.trigger()


def cache(setting: Setting) -> Member:
    """Fill the page cache: nobody's size, and dropped."""
    setting.resting(setting.share(0.1, 0.3)).do(f"cache {setting.file}")
    setting.resting(setting.share(0.1, 0.3))
    return setting.trigger()


def mapped(setting: Setting) -> Member:
    """Map a file: large in the table of sizes, gone at the end."""
    setting.resting(setting.share(0.0, 0.1)).do(f"map {setting.file}")
    setting.resting(setting.share(0.15, 0.4))
    return setting.trigger()


def tables(setting: Setting) -> Member:
    """Take page tables, as many as pages."""
    setting.stage.start().do(f"sparse {setting.share(0.1, 0.2)}")
    setting.resting(setting.share(0.2, 0.4))
    return setting.trigger()


def children(setting: Setting) -> Member:
    """Have children: no longer killed instead of their parent."""
    parent = setting.resting(setting.share(0.1, 0.25))
    parent.do(f"fork {setting.numbers.randint(2, 3)} {setting.share(0.02, 0.1)}")
    setting.resting(setting.share(0.05, 0.2))
    return setting.trigger()


def siblings(setting: Setting) -> Member:
    """Live in groups side by side; the limit is that of the parent."""
    left, right = setting.stage.child("left"), setting.stage.child("right")
    setting.resting(setting.share(0.2, 0.35), group=left)
    setting.resting(setting.share(0.05, 0.2), group=right)
    return setting.trigger(group=right)


def threads(setting: Setting) -> Member:
    """Have threads: one process counts once."""
    setting.resting(setting.share(0.2, 0.3)).do(f"threads {setting.numbers.randint(5, 20)}")
    setting.resting(setting.share(0.2, 0.3))
    return setting.trigger()


def near_tie(setting: Setting) -> Member:
    """Rest at sizes that differ by a few pages."""
    pages = setting.share(0.25, 0.32)
    for _ in range(setting.numbers.randint(2, 3)):
        setting.resting(pages + setting.numbers.randint(-20, 20))
    return setting.trigger()


def scaled(setting: Setting) -> Member:
    """Have an adjustment that is small here, and huge by the scale of the whole host."""
    setting.resting(setting.share(0.4, 0.45))
    setting.resting(setting.share(0.1, 0.15), setting.numbers.randint(80, 120))
    return setting.trigger()


KINDS: Sequence[Kind] = (
    sizes, adjusted, shmem, cache, mapped, tables, children, siblings, threads, near_tie, scaled,
)  # fmt: skip


def measure(kind: Kind, numbers: random.Random, folder: Path) -> Result:
    """Run one case of a kind."""
    limit = numbers.choice((96, 128, 160)) * MIB
    shm = Path("/dev/shm") / f"leakguard-bench-{os.getpid()}"
    with cold_file(folder / "file", FILE_MIB * MIB) as file, Stage(limit, "oom-kills") as stage:
        try:
            trigger = kind(Setting(stage, numbers, file, shm))
            kill = stage.grow_until_killed(trigger)
        finally:
            shm.unlink(missing_ok=True)
    room = kill.first.domain.headroom
    return Result(
        kind=kind.__name__,
        limit_mib=limit // MIB,
        predicted=kill.predicted,
        killed=kill.victims,
        certain=kill.last.prediction.certain,
        right=kill.right,
        gap_points=kill.last.prediction.gap_points,
        error_points=kill.last.prediction.error_points,
        trigger_died=trigger.pid in kill.victims,
        by_oom_score=kill.by_oom_score,
        low_mib=round(room.low_bytes / MIB, 2),
        high_mib=round(room.high_bytes / MIB, 2),
        taken_mib=round(kill.grown_bytes / MIB, 2),
        headroom_error=round(kill.headroom_error, 5),
        processes=len(kill.last.candidates),
    )


def verdict(results: Sequence[Result]) -> list[str]:
    """Say what is not as it should be; nothing when all is well."""
    problems = []
    if wrong := [result for result in results if result.certain and not result.right]:
        problems.append(f"{len(wrong)} certain predictions were wrong")
    share = sum(result.right for result in results) / len(results)
    if share < RIGHT_SHARE:
        problems.append(f"only {share:.1%} were right")
    if off := [result for result in results if not result.headroom_ok]:
        problems.append(f"{len(off)} headrooms were more than 1 % off")
    return problems


def line(result: Result) -> str:
    """Give one run as a line of the table."""
    gap = "-" if result.gap_points is None else str(result.gap_points)
    other = "same" if result.by_oom_score == result.killed[0] else "another"
    return (
        f"{result.kind:10} {result.limit_mib:5} {result.processes:3} {gap:>7} "
        f"{result.error_points:5}  {'certain' if result.certain else 'uncertain':9} "
        f"{'right' if result.right else 'WRONG':5} {len(result.killed):3}  {other:8}"
        f"{result.low_mib:8.2f} {result.high_mib:8.2f} {result.taken_mib:8.2f} "
        f"{result.headroom_error:+8.2%}"
    )


HEADER = (
    f"{'kind':10} {'limit':>5} {'n':>3} {'gap':>7} {'error':>5}  {'':9} {'':5} {'die':>3}  "
    f"{'score':8}{'low':>8} {'high':>8} {'taken':>8} {'off':>8}"
)


def summary(results: Sequence[Result]) -> str:
    """Count what was right."""
    certain = [result for result in results if result.certain]
    by_score = sum(result.by_oom_score == result.killed[0] for result in results)
    return (
        f"certain: {sum(r.right for r in certain)} of {len(certain)} right; "
        f"all: {sum(r.right for r in results)} of {len(results)}; "
        f"by /proc/PID/oom_score: {by_score} of {len(results)}; "
        f"headroom within 1 %: {sum(r.headroom_ok for r in results)} of {len(results)}, "
        f"worst {max(abs(r.headroom_error) for r in results):.2%}"
    )


def side_by_side(folder: Path) -> str:
    """Show one case in which the rule of other tools names another one than the kernel."""
    numbers = random.Random(22)
    shm = folder / "none"
    with cold_file(folder / "file", MIB) as file, Stage(128 * MIB, "side-by-side") as stage:
        trigger = scaled(Setting(stage, numbers, file, shm))
        large, adjusted_one = stage.members[:2]
        names = {large.pid: "large", adjusted_one.pid: "adjusted", trigger.pid: "trigger"}
        command = [sys.executable, "-m", "leakguard", "victims", "--json"]
        said = subprocess.run(
            [*command, "--cgroup", str(stage.group.directory)], stdout=subprocess.PIPE, check=True
        )
        ours = json.loads(said.stdout)["domains"][0]["next_victim"]
        kill = stage.grow_until_killed(trigger)
    return (
        f"side by side: leakguard victims names {names[ours]}, highest oom_score (earlyoom's rule) "
        f"{names[kill.by_oom_score or 0]}, the kernel killed {names[kill.victims[0]]}"
    )


def main() -> int:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None, help="[default: a new one]")
    parser.add_argument("--json", action="store_true", help="the document alone")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    numbers = random.Random(seed)
    results = []
    with tempfile.TemporaryDirectory() as name:
        if not options.json:
            print(f"seed {seed}\n{HEADER}")
        for number in range(options.runs):
            results.append(measure(KINDS[number % len(KINDS)], numbers, Path(name)))
            if not options.json:
                print(line(results[-1]), flush=True)
        shown = side_by_side(Path(name))
    problems = verdict(results)
    if options.json:
        document = {"seed": seed, "ok": not problems, "runs": [asdict(r) for r in results]}
        print(json.dumps(document, indent=1))
    else:
        print("\n".join([summary(results), shown, *problems]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
