"""`leakguard backtest`: what a configuration would have come to on recorded memory."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from leakguard.cli._options import Duration, json_option
from leakguard.cli._output import Exit, emit_json

if TYPE_CHECKING:
    from leakguard.cli._backtest_sources import Gathered
    from leakguard.core.policy import WindowRule
    from leakguard.runtime.backtest.compare import Comparison, Progress
    from leakguard.runtime.backtest.outcome import Kill, PolicyOutcome

EPILOG = """\b
Examples:
  leakguard backtest worker.csv.gz --limit 512MiB -c A.yaml -c B.yaml
  leakguard backtest --state /var/lib/leakguard/state.db --last 14d
  leakguard backtest --prometheus http://prom:9090 --query 'app_rss_bytes' --limit 1GiB
"""


@click.command("backtest", epilog=EPILOG)
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("-c", "--config", "configs", metavar="FILE", multiple=True,
              help="A policy; again for more.  [default: leakguard's own]")  # fmt: skip
@click.option("--unit", type=click.Choice(["bytes", "MiB", "percent"]), default="bytes",
              show_default=True, help="What values are.")  # fmt: skip
@click.option("--limit", metavar="SIZE", help="What kills; with percent: what 100 is.")
@click.option("--limits", metavar="FILE", help="CSV of series_id,limit in that unit.")
@click.option("--state", metavar="PATH", help="Read the daemon's state file instead.")
@click.option("--prometheus", metavar="URL", help="Ask a Prometheus server instead.")
@click.option("--query", metavar="PROMQL", help="What to ask it.")
@click.option("--start", metavar="TIME", help="Its range from (ISO); of a CSV, time 0.")
@click.option("--end", metavar="TIME", help="Its range to.  [default: now, of 14 days]")
@click.option("--step", metavar="DURATION", type=Duration(), default="1m", show_default=True,
              help="Its resolution.")  # fmt: skip
@click.option("--last", metavar="DURATION", type=Duration(), help="Only the newest part.")
@click.option("--series", "names", metavar="NAME", multiple=True, help="Only these series.")
@click.option("--window", "windows", metavar="WINDOW", multiple=True,
              help="A cheap time, such as '0 2 * * * 2h'.")  # fmt: skip
@click.option("--downtime", metavar="DURATION", type=Duration(), default="5s",
              show_default=True, help="Of a restart.")  # fmt: skip
@click.option("--horizon", metavar="DURATION", type=Duration(), default="24h",
              show_default=True, help="Needless: limit beyond this.")  # fmt: skip
@click.option("--recorded", type=click.Choice(["keep", "drop", "none"]), default="keep",
              show_default=True, help="Restarts by others in it.")  # fmt: skip
@json_option()
def command(**options: Any) -> int:  # click passes what is declared above
    """Replay recorded memory through detector and policy, and count.

    FILE is CSV of series_id,t_seconds,value or t_seconds,value, packed or not; - is stdin. Says
    how many restarts there would have been, OOM kills, and restarts that were needless.
    """
    from leakguard.cli._backtest_config import candidates
    from leakguard.cli._backtest_sources import Asked, gather
    from leakguard.runtime.backtest.assumptions import assumptions
    from leakguard.runtime.backtest.compare import Comparison
    from leakguard.runtime.backtest.lives import Recorded
    from leakguard.runtime.backtest.play import Terms
    from leakguard.runtime.clock import SystemClock

    tested = candidates(options["configs"])
    terms = Terms(
        downtime_s=options["downtime"],
        horizon_s=options["horizon"],
        windows=_windows(options["windows"]),
    )
    asked = Asked(**{name: options[name] for name in Asked.__dataclass_fields__})
    gathered = gather(asked, SystemClock().now().wall_s)
    comparison = Comparison(
        recordings=gathered.recordings,
        candidates=tested,
        terms=terms,
        recorded=Recorded(options["recorded"]),
    )
    with _progress(comparison) as progress:
        outcomes = comparison.run(progress)
    alone, assumed = comparison.left_alone(), assumptions(comparison, gathered.notes)
    if options["as_json"]:
        from leakguard.cli._backtest_json import document

        emit_json(document(outcomes, alone, assumed))
    else:
        _print(gathered, outcomes, alone, assumed)
    return Exit.OK


def _windows(texts: Sequence[str]) -> "tuple[WindowRule, ...]":
    """Read the windows, in the time zone of the machine, as schedules are."""
    if not texts:
        return ()
    from leakguard.config.environment import local_timezone
    from leakguard.config.fields import is_timezone
    from leakguard.runtime.backtest.moments import parse_window

    zone = local_timezone(os.environ)
    return tuple(parse_window(text, zone if is_timezone(zone) else "UTC") for text in texts)


@contextmanager
def _progress(comparison: "Comparison") -> "Iterator[Progress]":
    """Show how far it is, on a terminal; else nothing."""
    if not sys.stderr.isatty():
        yield lambda _samples: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        total = len(comparison.candidates) * sum(len(one) for one in comparison.recordings)
        task = bar.add_task("playing", total=total)
        yield lambda samples: bar.advance(task, samples)


def _print(
    gathered: "Gathered",
    outcomes: "Sequence[PolicyOutcome]",
    alone: "Sequence[Kill]",
    assumed: Sequence[str],
) -> None:
    from leakguard.cli._backtest_text import Shown, lines

    recordings = gathered.recordings
    shown = Shown(
        policies=outcomes,
        alone=alone,
        assumptions=assumed,
        span_s=max(one.span_s + one.spacing_s for one in recordings),
        began_wall_s=min(one.times[0] + one.wall_offset_s for one in recordings),
        dated=gathered.dated,
    )
    for line in lines(shown):
        print(line)
