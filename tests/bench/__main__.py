"""Measure the daemon against its budgets: `python -m tests.bench [NAME…] [--json] [--long]`.

Exit code 1 when a budget is missed. CPU time, memory and ratios can be trusted on a busy machine;
wall times of a few milliseconds cannot.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import resting
from tests.bench.budgets import Row, table

BENCHES = ("resting", "sampling", "ticks", "starting")


def main() -> int:
    """Run the benches that were asked for and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--long", action="store_true", help="sample up to 4,000 processes")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no bench named {', '.join(sorted(unknown))} (there are: {BENCHES})")
    os.environ["LG_BENCH_LONG"] = "1" if options.long else ""
    with tempfile.TemporaryDirectory() as name:
        _as_installed(Path(name))
        resting.warm(Path(name))
        rows = [row for bench in options.names or BENCHES for row in _run(bench, Path(name))]
    ok = all(row.ok for row in rows)
    if options.json:
        document = {"load": os.getloadavg()[0], "ok": ok, "rows": [row.plain() for row in rows]}
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        print(table(rows))
    return 0 if ok else 1


def _run(bench: str, folder: Path) -> Iterator[Row]:
    sys.stderr.write(f"{bench} ...\n")
    yield from importlib.import_module(f"tests.bench.{bench}").measure(folder)


def _as_installed(folder: Path) -> None:
    """Have compiled modules, as `pip install` leaves them, without writing into the checkout."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")


if __name__ == "__main__":
    sys.exit(main())
