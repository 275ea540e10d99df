"""What a scan of the whole host for OOM victims costs, beside a C program that reads the same.

    python -m tests.bench.scan [--json]

Exit code 1 when it is more than 2.5 times that. `two stages` is what a forecast asks for: the first
two must be right. `in full` is what `leakguard victims --json` asks for: everybody is read whole.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.oom_machine import DomainReport, OomMachine
from leakguard.linux.procfs import ProcFs
from tests.bench import machine
from tests.bench.budgets import Row, table

PROCESSES = (350, 2000)
ROUNDS = 21
MOST_RATIO = 2.5
KINDS = {"two stages": 2, "in full": None}


def measure(folder: Path) -> Iterator[Row]:
    """Measure both kinds of scan at both numbers of processes."""
    for count in PROCESSES:
        here = sum(1 for path in Path("/proc").iterdir() if path.name.isdigit())
        with machine.crowd(folder, max(1, count - here)):
            for kind, top in KINDS.items():
                yield _row(folder, kind, top)


def _row(folder: Path, kind: str, top: int | None) -> Row:
    """Measure in turns with the floor, so that both see the same machine."""
    proc = ProcFs()
    cgroups = CgroupFs(proc)
    oom = OomMachine(proc, cgroups)
    report = oom.look_at(None, top=top)
    whole = [str(one.pid) for one in report.candidates if one.total_vm_pages]
    floors, times = [], []
    for _ in range(3):
        floors.append(_floor(folder, whole))
        times.append(statistics.median(_cost(oom, top) for _ in range(ROUNDS)))
    cgroups.close()
    seen = report.left_out + len(whole)
    return Row(
        what=f"scan of {seen} processes, {kind} ({len(whole)} read whole)",
        measured=min(times),
        unit="ms",
        floor=min(floors),
        most_ratio=MOST_RATIO,
    )


def _cost(oom: OomMachine, top: int | None) -> float:
    began = time.process_time()
    _used(oom.look_at(None, top=top))
    return (time.process_time() - began) * 1e3


def _used(report: DomainReport) -> None:
    if report.prediction.victim is None:
        raise RuntimeError("nobody was found")


def _floor(folder: Path, whole: list[str]) -> float:
    command = [str(machine.compiled("scan_floor", folder)), str(ROUNDS), *whole]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(said.stdout) / 1e3


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = list(measure(Path(name)))
    ok = all(row.ok for row in rows)
    if options.json:
        print(json.dumps({"ok": ok, "rows": [row.plain() for row in rows]}, indent=1))
    else:
        print(table(rows))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
