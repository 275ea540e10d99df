"""Score detector and forecast on generated series: `python -m tests.bench.scores`.

    [--seed N] [--per N] [--json] [--dir DIR] [--write FILE]

Draws `--per` series of each family from `--seed` (leakguard/testing/shapes.py), runs the code that
runs live over them (leakguard/runtime/outlook.py) beside two rules that people use today, and
prints tables in Markdown. `--dir` also writes series.csv.gz, limits.csv and truth.csv, for other
tools; `--write` puts the tables into a page, between its two marks. It sets no bar: exit code 0.
The whole takes about five minutes of one processor.
"""

import argparse
import csv
import datetime as dt
import gzip
import itertools
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from leakguard.testing.shapes import BENIGN, FAMILIES, LEAKS, make
from tests.bench.rules import RULES
from tests.bench.scoring import WAYS, Forecasts, Outcome, Score, judge, score

OURS = "leakguard"
BEGIN, END = "<!-- scores -->", "<!-- end of scores -->"
ALL_COLUMNS = (
    "rule", "recall", "precision", "F1", "benign series alarmed", "alarms a benign week", "lead",
)  # fmt: skip
TIME_COLUMNS = ("way", "foreseen", "error of p50", "in [p05, p95]", "not before p05", "width")


def main() -> int:
    """Draw, run, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.scores", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another draw (1)")
    parser.add_argument("--per", type=int, default=30, metavar="N", help="series a family (30)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="write the series there, too")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this page")
    options = parser.parse_args()
    if options.dir is not None:
        emit(options.dir, options.seed, options.per)
    outcomes = run(options.seed, options.per)
    if options.json:
        print(json.dumps(document(outcomes, options.seed, options.per), ensure_ascii=False))
        return 0
    today = dt.datetime.now(dt.UTC).date()
    text = f"Seed {options.seed}, {options.per} series a family, {today}.\n\n{report(outcomes)}"
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        options.write.write_text(between(page, text), encoding="utf-8")
    return 0


def between(page: str, text: str) -> str:
    """Put a text between the marks of a page."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"the page has no {BEGIN} … {END}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def run(seed: int, per: int) -> list[Outcome]:
    """Score every rule on every series, on all processors."""
    tasks = list(itertools.product(FAMILIES, range(per), (seed,)))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return [o for made in pool.map(_one, tasks, chunksize=2) for o in made]


def _one(task: tuple[str, int, int]) -> list[Outcome]:
    shape = make(*task)
    return [judge(shape, name, rule(shape)) for name, rule in RULES.items()]


def emit(folder: Path, seed: int, per: int) -> None:
    """Write the series for other tools: values, limits, and the truth apart from them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        gzip.open(folder / "series.csv.gz", "wt", compresslevel=1, encoding="utf-8") as series,
        (folder / "limits.csv").open("w", encoding="utf-8") as limits,
        (folder / "truth.csv").open("w", encoding="utf-8", newline="") as truth,
    ):
        known = csv.writer(truth, lineterminator="\n")
        series.write("series_id,t_seconds,value\n")
        limits.write("series_id,limit\n")
        known.writerow(("series_id", "family", "onset_s", "end_s"))
        for family, number in itertools.product(FAMILIES, range(per)):
            shape = make(family, number, seed)
            name = shape.name.replace(",", "").replace(" ", "_")
            known.writerow((name, family, shape.onset_s, shape.end_s))
            limits.write(f"{name},{shape.limit_bytes:.0f}\n")
            points = zip(shape.times, shape.values, strict=True)
            series.writelines(f"{name},{t:.0f},{value:.0f}\n" for t, value in points)


def document(outcomes: Sequence[Outcome], seed: int, per: int) -> dict[str, object]:
    """Give every score, by rule, in all and by family."""
    rules = {}
    for rule in RULES:
        own = [o for o in outcomes if o.rule == rule]
        families = {name: score(o for o in own if o.family == name).plain() for name in FAMILIES}
        rules[rule] = {"all": score(own).plain(), "families": families}
    return {"seed": seed, "per": per, "ways": list(WAYS), "rules": rules}


def report(outcomes: Sequence[Outcome]) -> str:
    """Give the tables: in all, the times, and by family."""
    in_all = {rule: score(o for o in outcomes if o.rule == rule) for rule in RULES}
    rows = [(rule, *alarm_cells(made)) for rule, made in in_all.items()]
    parts = [table(ALL_COLUMNS, rows), "Times:"]
    timed = [(rule, made) for rule, made in in_all.items() if rule != "line 6 h, 24 h ahead"]
    rows = [(name.removesuffix(", 4 h ahead"), *cells) for name, cells in _timed(timed)]
    parts += [table(("rule", *TIME_COLUMNS), rows), "Alarms by family, found or alarmed:"]
    parts += [_by_family(outcomes), "Times of leakguard by family:"]
    ours = [
        (name, score(o for o in outcomes if o.rule == OURS and o.family == name)) for name in LEAKS
    ]
    rows = [(name, *cells) for name, cells in _timed(ours)]
    parts += [table(("family", *TIME_COLUMNS), rows)]
    return "\n\n".join(parts)


def _timed(scores: Iterable[tuple[str, Score]]) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (name, (percent(at), *time_cells(way)))
        for name, made in scores
        for at, way in zip(WAYS, made.ways, strict=True)
        if way.foreseen
    ]


def alarm_cells(made: Score) -> tuple[str, ...]:
    """Give the cells of how right the alarms were."""
    return (
        number(made.recall), number(made.precision), number(made.f1),
        f"{made.alarmed} of {made.benign}", number(made.per_week), percent(made.lead),
    )  # fmt: skip


def time_cells(way: Forecasts) -> tuple[str, ...]:
    """Give the cells of how good the times were."""
    return (
        f"{way.foreseen} of {way.leaks}", percent(way.error), number(way.covered),
        number(way.safe), number(way.width),
    )  # fmt: skip


def _by_family(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for family in FAMILIES:
        scores = [
            score(o for o in outcomes if o.rule == rule and o.family == family) for rule in RULES
        ]
        cells = [
            f"{s.found} of {s.leaks}" if s.leaks else f"{s.alarmed} of {s.benign}" for s in scores
        ]
        ours = scores[0]
        side = "leak" if family in LEAKS else "benign"
        side_cell = percent(ours.lead) if family in LEAKS else number(ours.per_week)
        rows.append((family, side, *cells, side_cell))
    assert {*LEAKS, *BENIGN} == {row[0] for row in rows}
    return table(("family", "kind", *RULES, "our lead, or alarms a week"), rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None) -> str:
    """Write a share or a ratio."""
    return "-" if value is None else "∞" if math.isinf(value) else f"{value:.2f}"


def percent(value: float | None) -> str:
    """Write a share as a percentage."""
    return "-" if value is None else f"{value * 100:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
