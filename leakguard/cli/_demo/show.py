"""What the viewer sees: lines that stay and, in a terminal, a panel under them that moves."""

import textwrap
from dataclasses import dataclass
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from leakguard.cli._demo.result import DemoResult
from leakguard.core.trace import sparkline
from leakguard.core.units import format_bytes

PLAIN_EVERY_S = 5.0
BAR_CELLS = 40
TRACE_CELLS = 60
NARROW = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The state of one act at one moment; `history` is the memory in bytes, oldest first."""

    act: str
    elapsed_s: float
    used_bytes: int
    limit_bytes: int
    threshold: float
    history: tuple[int, ...]
    sent: int
    lost: int
    kills: int
    restarts: int
    alerts: int


class Show:
    """Writes to one stream; the panel appears only when that stream is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream, highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console.width = NARROW
        self._live: Live | None = None
        self._told_s = 0.0

    def __enter__(self) -> Self:
        """Open the panel, where there is a terminal to open it in."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the panel and leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def title(self, text: str, *lines: str) -> None:
        """Begin an act: what it shows, in plain words."""
        self._told_s = 0.0
        self.console.print()
        self.console.print(Text(text, style="bold"))
        for line in lines:
            self._say("  ", line)

    def note(self, elapsed_s: float, text: str, style: str = "") -> None:
        """Say what just happened."""
        self._say(f"{elapsed_s:6.1f} s  ", text, style)

    def _say(self, margin: str, text: str, style: str = "") -> None:
        width = max(20, self.console.width - len(margin) - 1)
        lines = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            head = margin if number == 0 else " " * len(margin)
            self.console.print(Text.assemble((head, "dim"), (line, style)), soft_wrap=True)

    def tick(self, picture: Picture) -> None:
        """Show the state: at once in the panel, or as a line every few seconds."""
        if self._live is not None:
            self._live.update(_panel(picture), refresh=True)
        elif picture.elapsed_s - self._told_s >= PLAIN_EVERY_S:
            self._told_s = picture.elapsed_s
            self.note(picture.elapsed_s, _line(picture))

    def clear(self) -> None:
        """Empty the panel between acts."""
        if self._live is not None:
            self._live.update(Text(""), refresh=True)

    def finish(self, result: DemoResult) -> None:
        """Print the table and what it means."""
        table = Table(title="What it came to", title_style="bold", title_justify="left")
        table.add_column("")
        for act in result.acts:
            table.add_column("guarded" if act.guarded else "unguarded", justify="right")
        for row in result.rows():
            table.add_row(*row)
        self.console.print()
        self.console.print(
            Text("Memory from start to end, the full block is the limit", style="bold")
        )
        for act in result.acts:
            name = "guarded" if act.guarded else "unguarded"
            self._say(f"  {name:10} ", sparkline(act.history, 0, act.limit_bytes, TRACE_CELLS))
        self.console.print()
        self.console.print(table)
        self.console.print(Text(result.verdict(), style="red" if result.failed else "green"))


def colour(share: float, threshold: float) -> str:
    """Give the colour of a memory share: green, yellow near the threshold, red above."""
    if share >= threshold:
        return "red"
    return "yellow" if share >= 0.75 * threshold else "green"


def _panel(picture: Picture) -> Group:
    share = min(1.0, picture.used_bytes / picture.limit_bytes)
    paint = colour(share, picture.threshold)
    filled = round(share * BAR_CELLS)
    bar = Text.assemble(
        ("memory   ", "dim"),
        ("█" * filled, paint),
        ("░" * (BAR_CELLS - filled), "dim"),
        (f" {100 * share:3.0f}%  ", paint),
        f"{format_bytes(picture.used_bytes)} of {format_bytes(picture.limit_bytes)}",
    )
    trace = Text.assemble(
        ("so far   ", "dim"), sparkline(picture.history, 0, picture.limit_bytes, TRACE_CELLS)
    )
    head = Text(f"{picture.act}, {picture.elapsed_s:.0f} s", style="bold cyan")
    return Group(Text(""), head, bar, trace, Text(_counts(picture)))


def _counts(picture: Picture) -> str:
    return (
        f"users    {picture.sent} requests sent, {picture.lost} lost    "
        f"kernel kills {picture.kills}    restarts {picture.restarts}    alerts {picture.alerts}"
    )


def _line(picture: Picture) -> str:
    share = 100 * picture.used_bytes / picture.limit_bytes
    return (
        f"memory {format_bytes(picture.used_bytes)} of {format_bytes(picture.limit_bytes)} "
        f"({share:.0f}%), {picture.sent} requests sent, {picture.lost} lost"
    )
