"""How soon a crossed threshold is acted on, at the default settings, seen by a 10 ms observer.

    python -m tests.bench.detection [--runs 20] [--side-by-side 4] [--json]

Every run is a daemon of its own with `mode: act`, `measure: rss`, `threshold: {above: 200MiB}`
and nothing else set, against a leak of 4 MB/s; half the leakers are its children, half are found
by a pidfile and ended by signals. The observer reads `/proc/PID/statm` every 10 ms. The restart
has begun when the leaker gets its TERM: it notes the moment and its own resident memory. Exit code
1 when a run is later than 1 s or 4 MiB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.workloads.guarded import Daemon, kill, started_at, until

MIB = 1024**2
ABOVE_BYTES = 200 * MIB
OBSERVE_S = 0.01
LATE_S = 1.0
LATE_BYTES = 4 * MIB
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
RESPAWN = Path(__file__).resolve().parent.parent / "workloads" / "respawn.py"

LEAKER = """
import os, signal, sys, time
folder = sys.argv[1]
page = os.sysconf("SC_PAGE_SIZE")
fd = os.open("/proc/self/statm", os.O_RDONLY)
def on_term(*_):
    at = time.monotonic()
    rss = int(os.pread(fd, 200, 0).split()[1]) * page
    with open(f"{folder}/term.new", "w") as file:
        file.write(f"{os.getpid()} {at} {rss}")
    os.rename(f"{folder}/term.new", f"{folder}/term")
    os._exit(0)
signal.signal(signal.SIGTERM, on_term)
with open(f"{folder}/pid.new", "w") as file:
    file.write(str(os.getpid()))
os.rename(f"{folder}/pid.new", f"{folder}/pid")
began, kept, grown = time.monotonic(), [], 0
while True:
    due = int((time.monotonic() - began) * 4e6) - grown
    while due > 0:
        kept.append(b"x" * 32768)
        due -= 32768
        grown += 32768
    time.sleep(0.005)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One crossing and what followed."""

    target: str
    late_s: float
    late_mib: float
    """Resident memory at the first signal, beyond the threshold."""
    crossed_s: float
    """From the leaker's start to the crossing."""

    @property
    def ok(self) -> bool:
        """Whether it was in time."""
        return self.late_s <= LATE_S and self.late_mib * MIB <= LATE_BYTES


def measure(target: str) -> Run:
    """Do one run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "leaker.py").write_text(LEAKER, "utf-8")
        with leaking(target, folder):
            return observe(target, folder)


@contextmanager
def leaking(target: str, folder: Path) -> Iterator[None]:
    """Have a leaker and its guard, and end both."""
    command = [sys.executable, "-S", "-E", str(folder / "leaker.py"), str(folder)]
    manager = None
    if target == "pidfile":
        manager = subprocess.Popen([sys.executable, str(RESPAWN), "0.1", *command])
        until((folder / "pid").exists)
    try:
        with Daemon(folder, config(target, folder, command), extra=("--log-level", "warning")):
            yield
    finally:
        if manager is not None:
            manager.terminate()
            manager.wait()


def config(target: str, folder: Path, command: list[str]) -> dict[str, Any]:
    """Give a configuration that leaves everything else at its default."""
    chosen: dict[str, Any] = {"child": {"argv": command}}
    restart: dict[str, Any] = {"threshold": {"above": "200MiB"}}
    if target == "pidfile":
        chosen = {"pidfile": str(folder / "pid")}
        restart["driver"] = {"signal": {"respawned_by": "the bench"}}
    service = {"target": chosen, "mode": "act", "measure": "rss", "restart": restart}
    return {"services": {"leaker": service}}


def observe(target: str, folder: Path) -> Run:
    """Watch the first leaker until it is told to end."""
    until((folder / "pid").exists, limit_s=20.0)
    pid = int((folder / "pid").read_text("ascii"))
    started = started_at(pid)
    began, pause, crossed = time.monotonic(), threading.Event(), 0.0
    fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY)
    try:
        while not (folder / "term").exists():
            now = time.monotonic()
            if now - began > 120.0:
                kill(pid, started)
                raise AssertionError("the leaker was never told to end")
            try:
                resident = int(os.pread(fd, 200, 0).split()[1]) * PAGE_BYTES
            except ProcessLookupError:
                resident = 0
            if not crossed and resident > ABOVE_BYTES:
                crossed = now
            pause.wait(OBSERVE_S)
    finally:
        os.close(fd)
    _, at, rss = (folder / "term").read_text("ascii").split()
    # Restarted before the observer saw the crossing: 10 ms are its own resolution.
    late = float(at) - (crossed or float(at))
    return Run(
        target,
        round(late, 3),
        round((int(rss) - ABOVE_BYTES) / MIB, 2),
        round((crossed or float(at)) - began, 1),
    )


def main() -> int:
    """Run them and print each and the worst."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--side-by-side", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="the document alone")
    options = parser.parse_args()
    targets = ["child" if i % 2 == 0 else "pidfile" for i in range(options.runs)]
    with ThreadPoolExecutor(options.side_by_side) as pool:
        runs = list(pool.map(measure, targets))
    ok = all(run.ok for run in runs)
    document = {
        "runs": [asdict(run) for run in runs],
        "side_by_side": options.side_by_side,
        "load": round(os.getloadavg()[0], 2),
        "worst_s": max(run.late_s for run in runs),
        "worst_mib": max(run.late_mib for run in runs),
        "ok": ok,
    }
    print(json.dumps(document))
    if not options.json:
        for run in runs:
            print(f"{run.target:8} {run.late_s:6.3f} s {run.late_mib:6.2f} MiB")
        print(f"worst    {document['worst_s']:6.3f} s {document['worst_mib']:6.2f} MiB")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
