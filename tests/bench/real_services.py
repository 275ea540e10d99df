"""Real services in limited cgroups: is every leak called one, no other, and the kill foreseen?

    python -m tests.bench.real_services record DIR [--seed N] [--only NAME] [--jobs N]
    python -m tests.bench.real_services score DIR [--predictions FILE] [--json]
    python -m tests.bench.real_services list [--seed N]

`record` needs root, a memory cgroup that can be written, and the runtimes of the services; it takes
three quarters of an hour. It leaves a NAME.csv.gz and a NAME.json for each service in DIR, and
begins no service again that is there already.
"""

import argparse
import json
import queue
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.bench.real_benign import benign
from tests.bench.real_leaks import leaks
from tests.bench.real_recorder import Service, build, problem_here, record
from tests.bench.real_score import (
    HEADER,
    add_up,
    foretell,
    judge,
    line,
    read_predictions,
    recordings,
    summary,
    write_series,
)

REMEDY = {
    "gcc": "apt install gcc libc6-dev",
    "gunicorn": "apt install gunicorn",
    "java": "apt install openjdk-17-jdk-headless",
    "javac": "apt install openjdk-17-jdk-headless",
    "node": "apt install nodejs",
    "redis-server": "apt install redis-server",
}
JOBS = 14


def catalogue(seed: int) -> tuple[Service, ...]:
    """Give every service, leaks first."""
    return (*leaks(seed), *benign(seed))


def chosen(services: Sequence[Service], only: Sequence[str]) -> tuple[Service, ...]:
    """Give those of these names, all without one; an unknown name ends the program."""
    known = {service.name for service in services}
    if unknown := set(only) - known:
        names = ", ".join(sorted(known))
        raise SystemExit(f"no service {', '.join(sorted(unknown))}; there are: {names}")
    return tuple(service for service in services if not only or service.name in only)


def lacking(services: Sequence[Service]) -> str:
    """Name the programs that are not installed, who needs them, and what to do; "" when none."""
    lines = []
    for program, remedy in REMEDY.items():
        users = [service.name for service in services if program in service.needs]
        if users and shutil.which(program) is None:
            lines.append(f"no {program} ({remedy}), needed by: {', '.join(users)}")
    return "\n".join(lines)


def record_all(services: Sequence[Service], seed: int, folder: Path, jobs: int) -> list[str]:
    """Record them, so many at a time; say what did not go as it should."""
    stop, problems, waiting = threading.Event(), list[str](), queue.SimpleQueue[Service]()
    for service in sorted(services, key=lambda one: one.leak):  # benign ones last the longest
        waiting.put(service)

    def one(built: Path) -> None:
        while not stop.is_set() and not waiting.empty():
            service = waiting.get()
            try:
                made = record(service, seed, built, folder / f"{service.name}.log", stop)
            except Exception as error:  # noqa: BLE001  one that fails must not end the others
                problems.append(f"{service.name}: {type(error).__name__}: {error}")
                continue
            if made.ended == "stopped":
                continue
            made.save(folder)
            print(f"{made.name:16} {made.ended:8} after {made.life_s:7.1f} s", flush=True)
            if made.ended != ("killed" if made.leak else "time"):
                problems.append(f"{made.name}: ended by {made.ended}, see {made.name}.log")

    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        build(tuple(services), Path(name))
        running = [pool.submit(one, Path(name)) for _ in range(jobs)]
        try:
            for each in running:
                each.result()
        except KeyboardInterrupt:
            problems.append("stopped; the same command goes on")
        finally:
            stop.set()
    return problems


def seed_for(folder: Path, asked: int | None) -> int:
    """Give the seed of what is recorded there, the one asked for, or a new one.

    Raises:
        SystemExit: another one was asked for: a set has one seed.
    """
    known = {json.loads(file.read_text("utf-8"))["seed"] for file in folder.glob("*.json")}
    if asked is not None and known - {asked}:
        raise SystemExit(f"{folder} holds recordings of seed {known.pop()}, not {asked}")
    if asked is not None:
        return asked
    return int(known.pop()) if known else random.SystemRandom().randrange(10**6)


def record_command(options: argparse.Namespace) -> int:
    """Record what is not recorded yet."""
    seed = seed_for(options.folder, options.seed)
    services = chosen(catalogue(seed), options.only)
    if problem := problem_here() or lacking(services):
        print(problem, file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    left = [one for one in services if not (options.folder / f"{one.name}.json").exists()]
    print(f"seed {seed}: {len(left)} to record, {len(services) - len(left)} there already")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    problems = record_all(left, seed, options.folder, options.jobs)
    print("\n".join(problems))
    return 1 if problems else 0


def score_command(options: argparse.Namespace) -> int:
    """Judge the forecasts of what was recorded."""
    recorded = recordings(options.folder)
    if not recorded:
        print(f"nothing is recorded in {options.folder}", file=sys.stderr)
        return 1
    series, limits = options.folder / "series.csv.gz", options.folder / "limits.csv"
    write_series(recorded, series, limits)
    predictions = options.predictions or options.folder / "predictions.jsonl"
    if options.predictions is None:
        foretell(series, limits, predictions)
    with predictions.open(encoding="utf-8") as lines:
        said = read_predictions(lines)
    judged = [judge(one, said) for one in recorded]
    judged.sort(key=lambda one: (not one.leak, one.name))
    totals = add_up(judged)
    problems = totals.problems()
    if options.json:
        document = {"totals": asdict(totals), "services": [one.plain() for one in judged],
                    "problems": problems, "ok": not problems}  # fmt: skip
        print(json.dumps(document, indent=1))
    else:
        print("\n".join([HEADER, *map(line, judged), summary(totals), *problems]))
    return 1 if problems else 0


def list_command(options: argparse.Namespace) -> int:
    """Print what there is to record."""
    for one in catalogue(options.seed or 0):
        kind = "leak" if one.leak else "benign"
        per_s = f"{one.load.per_s:4.1f}/s" if one.load else ""
        print(f"{one.name:16} {kind:6} {one.limit_mib:4} MiB {per_s:7} {one.shape}")
    return 0


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.real_services", description=(__doc__ or "").partition("\n")[0]
    )
    actions = parser.add_subparsers(required=True, metavar="record|score|list")
    making = actions.add_parser("record", help="run the services and record them")
    making.add_argument("folder", type=Path, metavar="DIR")
    making.add_argument("--seed", type=int, help="[default: that of DIR, else new]")
    making.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="again for more"
    )
    making.add_argument(
        "--jobs", type=int, default=JOBS, metavar="N", help="[default: %(default)s]"
    )
    making.set_defaults(run=record_command)
    scoring = actions.add_parser("score", help="judge `leakguard forecast` on what was recorded")
    scoring.add_argument("folder", type=Path, metavar="DIR")
    scoring.add_argument(
        "--predictions", type=Path, metavar="FILE", help="do not run it, read this"
    )
    scoring.add_argument("--json", action="store_true", help="print one JSON document")
    scoring.set_defaults(run=score_command)
    listing = actions.add_parser("list", help="print the services")
    listing.add_argument("--seed", type=int)
    listing.set_defaults(run=list_command)
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
