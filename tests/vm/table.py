"""The table of kills, as people read it."""

from collections.abc import Iterable

from tests.vm.judge import MIB, Kill

HEAD = (
    "case", "domain", "leaker", "next now", "runner-up", "certain", "foretold", "sure",
    "killed", "right", "foretold MiB", "taken MiB", "inside", "counted",
)  # fmt: skip


def table(kills: Iterable[Kill]) -> str:
    """Lay out one line per kill."""
    rows = [HEAD, *(_row(kill) for kill in kills)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _row(kill: Kill) -> tuple[str, ...]:
    said = kill.forecast
    killed = "+".join(kill.name(pid) for pid in kill.victims)
    counted = " ".join(f"{name}={count}" for name, count in kill.record["counted"].items())
    head = (kill.case, kill.kind, kill.name(kill.leaker))
    if said is None:
        taken = f"{kill.taken_bytes / MIB:.1f}"
        return (*head, "?", "?", "?", "?", "?", killed, "?", "?", taken, "?", counted)
    return (
        *head,
        kill.name(said.next_victim),
        kill.name(said.runner_up),
        _yes(said.certain),
        kill.name(said.victim),
        _yes(said.sure),
        killed,
        _yes(kill.right),
        f"{said.low_bytes / MIB:.1f}-{said.high_bytes / MIB:.1f}",
        f"{kill.taken_bytes / MIB:.1f}",
        _yes(kill.inside),
        counted,
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
