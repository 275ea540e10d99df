"""`leakguard exec` and its leaking command in one small memory cgroup: the kernel must never kill.

    python -m tests.bench.exec_oom [--runs 20] [--rate 4|12] [--side-by-side 4] [--json]

Needs root and the memory controller of cgroup version 1. Each run has a cgroup of 256 MiB of its
own, that also holds the guard, and is ended by TERM after its second restart has succeeded. Exit
code 1 when the kernel killed, when a run had less than two restarts, or did not end as it should.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.workloads.guarded import Event, json_lines, until

MIB = 1024**2
LIMIT_MIB = 256
ROOT = Path("/sys/fs/cgroup/memory")
RESTARTS = 2
ENDED_BY_TERM = 128 + signal.SIGTERM

LEAK = """
import sys, time
rate, began, grown, kept = float(sys.argv[1]) * 1e6, time.monotonic(), 0, []
while True:
    due = int((time.monotonic() - began) * rate) - grown
    while due > 0:
        kept.append(b"x" * 32768)
        due -= 32768
        grown += 32768
    time.sleep(0.005)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One `exec` and what the kernel counted."""

    rate_mb_s: float
    oom_kills: int
    failcnt: int
    most_mib: float
    restarts: int
    failed: int
    exit_code: int
    took_s: float
    talk: str
    """What was on stderr and was no event."""

    @property
    def ok(self) -> bool:
        """Whether it went as it should."""
        clean = self.exit_code == ENDED_BY_TERM and not self.talk
        return self.oom_kills == 0 and self.restarts >= 2 and not self.failed and clean


@contextmanager
def memory_cgroup(limit_mib: int, name: str) -> Iterator[Path]:
    """Have a cgroup of that limit; its processes are gone at the end."""
    path = ROOT / f"leakguard-bench-{os.getpid()}-{name}"
    path.mkdir()
    try:
        (path / "memory.limit_in_bytes").write_text(str(limit_mib * MIB), "ascii")
        yield path
    finally:
        until(lambda: not members(path) or end(path), limit_s=20.0, what=f"{path} is empty")
        path.rmdir()


def members(path: Path) -> list[int]:
    """Give the processes in a cgroup."""
    return [int(pid) for pid in (path / "cgroup.procs").read_text("ascii").split()]


def end(path: Path) -> bool:
    """Kill what is left in a cgroup of ours; says that it has to be looked at again."""
    for pid in members(path):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return False


def measure(rate_mb_s: float, name: str, restarts: int = RESTARTS, limit_s: float = 300.0) -> Run:
    """Do one run."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        memory_cgroup(LIMIT_MIB, name) as cgroup,
    ):
        said = Path(folder) / "stderr"
        process = start(rate_mb_s, cgroup, said)
        try:
            until(lambda: over(process, said, restarts), limit_s, what=f"{restarts} restarts")
        finally:
            code = finish(process)
        text = said.read_text("utf-8")
        talk = "\n".join(line for line in text.splitlines() if not line.startswith("{"))
        events = json_lines("".join(x for x in text.splitlines(True) if x.startswith("{")))
        control = dict(x.split() for x in (cgroup / "memory.oom_control").read_text().splitlines())
        return Run(
            rate_mb_s=rate_mb_s,
            oom_kills=int(control["oom_kill"]),
            failcnt=int((cgroup / "memory.failcnt").read_text()),
            most_mib=round(int((cgroup / "memory.max_usage_in_bytes").read_text()) / MIB, 1),
            restarts=count(events, "RestartSucceeded"),
            failed=count(events, "RestartFailed") + count(events, "RestartAbandoned"),
            exit_code=code,
            took_s=round(time.monotonic() - began, 1),
            talk=talk,
        )


def start(rate_mb_s: float, cgroup: Path, said: Path) -> subprocess.Popen[bytes]:
    """Start `leakguard exec` inside the cgroup."""
    command = [sys.executable, "-c", LEAK, str(rate_mb_s)]
    guard = [sys.executable, "-m", "leakguard", "exec", "--limit", f"{LIMIT_MIB}MiB", "--json"]
    join = f'echo $$ > {cgroup}/cgroup.procs && exec "$@"'
    with said.open("wb") as err:
        return subprocess.Popen(
            ["/bin/sh", "-c", join, "sh", *guard, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
        )


def over(process: subprocess.Popen[bytes], said: Path, restarts: int) -> bool:
    """Tell whether there were enough restarts, or the guard has ended."""
    if process.poll() is not None:
        return True
    return said.read_text("utf-8", errors="replace").count('"RestartSucceeded"') >= restarts


def finish(process: subprocess.Popen[bytes]) -> int:
    """End the guard by TERM and give its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(30.0)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def count(events: list[Event], kind: str) -> int:
    """Count events of a kind."""
    return sum(event["event"] == kind for event in events)


def main() -> int:
    """Run them and print each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=4.0, help="MB a second")
    parser.add_argument("--side-by-side", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="the document alone")
    options = parser.parse_args()
    if os.geteuid() != 0 or not (ROOT / "memory.oom_control").exists():
        print(f"needs root and the memory controller of cgroup version 1 at {ROOT}")
        return 1
    with ThreadPoolExecutor(options.side_by_side) as pool:
        names = [str(i) for i in range(options.runs)]
        runs = list(pool.map(measure, [options.rate] * options.runs, names))
    ok = all(run.ok for run in runs)
    print(json.dumps({"runs": [asdict(run) for run in runs], "ok": ok}))
    if not options.json:
        print("rate  kills  failcnt  most MiB  restarts  failed  exit  seconds")
        for r in runs:
            print(
                f"{r.rate_mb_s:4.0f} {r.oom_kills:6} {r.failcnt:8} {r.most_mib:9} {r.restarts:9}"
                f" {r.failed:7} {r.exit_code:5} {r.took_s:8}"
            )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
