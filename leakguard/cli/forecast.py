"""`leakguard forecast`: what the guard would have said of a recorded series, instant by instant."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import click

from leakguard.cli._options import Duration, json_option
from leakguard.cli._output import UNKNOWN, Exit, table
from leakguard.cli._series_file import STDIN, UNITS, read_limit, read_limits, read_series
from leakguard.core.errors import UsageError
from leakguard.core.units import BYTES, MIB, PERCENT, PLAIN, SizeWords, format_duration
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.runtime.outlook import Judgement, Outlook

EPILOG = """\b
Examples:
  leakguard forecast memory.csv --unit bytes --limit 512MiB
  leakguard forecast series.csv.gz --limits limits.csv --every 5m --json > forecasts.jsonl
  collect-rss | leakguard forecast - --unit MiB --limit 2GiB --json
"""
FULL_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become bytes inside, and bytes become words and values again.

    No rule knows an absolute size, so that a unit without a name may stand for any.
    """

    words: SizeWords
    inside: float
    shown: float


SCALES = {
    None: Scale(PLAIN, MIB, MIB),
    "percent": Scale(PERCENT, MIB, MIB),
    "bytes": Scale(BYTES, 1.0, 1.0),
    "MiB": Scale(BYTES, 1.0, MIB),
}


@click.command("forecast", epilog=EPILOG)
@click.argument("file", metavar="FILE")
@click.option("--limit", metavar="SIZE", help="Where every series ends.")
@click.option("--limits", metavar="FILE", help="CSV of series_id,limit, in the unit of the values.")
@click.option("--unit", type=click.Choice(tuple(UNITS)), default=None, help="What a value is.")
@click.option(
    "--every",
    type=Duration(),
    metavar="DURATION",
    default="5m",
    show_default=True,
    help="Longest time between two judgements.",
)
@json_option("Print one JSON object per judgement.")
def command(  # noqa: PLR0917  click calls it by name
    file: str,
    limit: str | None,
    limits: str | None,
    unit: str | None,
    every: float,
    as_json: bool,  # noqa: FBT001  as above
) -> int:
    """Judge recorded series as the guard would have, using only what came before.

    FILE is CSV, plain or packed, with the columns series_id,t_seconds,value, or t_seconds,value
    for one series; - is standard input. Every 12 samples, and at least every DURATION, there is a
    verdict, a slope, and the time until the limit as p05, p50 and p95.
    """
    if every <= 0:
        raise UsageError("--every must be longer than nothing, such as 5m")
    general = FULL_PERCENT if unit == "percent" else None
    if limit:
        general = read_limit(limit, unit)
    own = read_limits(limits, unit) if limits else {}
    scale = SCALES[unit]
    say = _lines(scale.shown, live=file == STDIN) if as_json else None
    last: dict[str, Judgement] = {}
    outlooks: dict[str, Outlook] = {}
    for name, t_s, value in read_series(file, unit):
        outlook = outlooks.get(name)
        if outlook is None:
            ends = own.get(name, general)
            detector = EnvelopeDetector(Options(), scale.words)
            top = None if ends is None else ends * scale.inside
            outlook = outlooks[name] = Outlook(name, detector, top, every)
        judged = outlook.add(t_s, value * scale.inside)
        if judged is None:
            continue
        if say is not None:
            say(judged)
        else:
            _follow(last.get(name), judged)
            last[name] = judged
    if say is None:
        _sum_up(outlooks, last, scale.words)
    return Exit.OK


def _lines(unit_bytes: float, *, live: bool) -> Callable[[Judgement], None]:
    """Give what prints a judgement as a line; a pipe gets it at once."""
    write, encode = sys.stdout.write, json.JSONEncoder(ensure_ascii=False).encode

    def say(judged: Judgement) -> None:
        write(f"{encode(judged.to_plain(unit_bytes))}\n")
        if live:
            sys.stdout.flush()

    return say


def _follow(before: Judgement | None, judged: Judgement) -> None:
    """Tell of a change of the verdict."""
    verdict = judged.trend.verdict
    if before is None or before.trend.verdict is not verdict:
        at = format_duration(judged.t_s)
        print(f"{judged.series}  {at}: {verdict.replace('_', ' ')}: {judged.trend.reason}")


def _sum_up(outlooks: dict[str, Outlook], last: dict[str, Judgement], words: SizeWords) -> None:
    """Print how each series stands at its end."""
    rows = []
    for name in outlooks:
        judged = last.get(name)
        if judged is None:
            rows.append([name, UNKNOWN, UNKNOWN, UNKNOWN, "too few samples"])
            continue
        slope = judged.trend.slope_bytes_per_s
        rows.append(
            [
                name,
                words.size(judged.value_bytes),
                UNKNOWN if slope is None else words.rate(slope),
                _when(judged),
                judged.trend.verdict.replace("_", " "),
            ]
        )
    if rows:
        print()
        print(table(["SERIES", "VALUE", "SLOPE", "LIMIT IN", "VERDICT"], rows))


def _when(judged: Judgement) -> str:
    times = judged.foreseen.quantiles() if judged.foreseen is not None else None
    if times is None or times.p05_s is None:
        return UNKNOWN
    late = "later" if times.p95_s is None else format_duration(times.p95_s)
    return f"{format_duration(times.p05_s)} to {late}"
