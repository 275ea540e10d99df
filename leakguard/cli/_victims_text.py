"""What `leakguard victims` says to a person: a heading and a table for each domain."""

import textwrap
from collections.abc import Iterator

from leakguard.cli._output import CELL, GAP, NARROWEST, UNKNOWN, cut, paint
from leakguard.cli._table import Column, drawn, fitted, terminal_width
from leakguard.core.badness import Candidate, Era, points
from leakguard.core.units import format_bytes
from leakguard.core.victims import NOBODY_DIES, Domain, DomainKind, End, KillerRules, Prediction
from leakguard.linux.oom_machine import DomainReport

WIDTH = 96
_UNITS = {Era.LEGACY: "POINTS", Era.PER_MILLE: "THOUSANDTHS"}

_UNTIL = {End.ENOMEM: "until allocations fail", End.THROTTLED: "until it is throttled"}


def lines(reports: tuple[DomainReport, ...], rules: KillerRules, top: int) -> Iterator[str]:
    """Give the whole answer, one paragraph a domain."""
    for number, report in enumerate(reports):
        if number:
            yield ""
        yield paint(_title(report.domain), "bold")
        yield from _folded(_headroom(report.domain))
        yield from _folded(_next(report))
        yield from _table(report, rules, top)


def _title(domain: Domain) -> str:
    name = "host" if domain.kind is DomainKind.HOST else f"cgroup {domain.path}"
    limit = "RAM" if domain.kind is DomainKind.HOST else "limit"
    if domain.end is End.THROTTLED:
        limit = "memory.high"
    return (
        f"{name}: {format_bytes(domain.limit_bytes)} {limit}, "
        f"{format_bytes(domain.usage_bytes)} in use"
    )


def _headroom(domain: Domain) -> str:
    room = domain.headroom
    low, high = format_bytes(room.low_bytes), format_bytes(room.high_bytes)
    span = high if low == high else f"{low} to {high}"
    what = _UNTIL.get(domain.end, "until it is used up")
    throttled = ""
    if domain.throttled_from_bytes is not None and domain.end is not End.THROTTLED:
        throttled = f"; throttled from {format_bytes(domain.throttled_from_bytes)} on (memory.high)"
    own = domain.left_out_bytes
    counted = f", the {format_bytes(own)} of this command counted in" if own else ""
    return f"headroom: {span} {what}{counted}{throttled}"


def _next(report: DomainReport) -> str:
    domain, prediction = report.domain, report.prediction
    if domain.end in NOBODY_DIES:
        return f"victim: nobody; {domain.end_reason}"
    if prediction.victim is None:
        usual = prediction.ranked[0].candidate if prediction.ranked else None
        also = f"; the usual one is {_name(usual)}" if usual and domain.end is End.ALLOCATOR else ""
        return f"victim: {prediction.why_uncertain}{also}"
    sure = "certain" if prediction.certain else f"not certain: {prediction.why_uncertain}"
    said = f"victim at these sizes: {_name(prediction.victim)}, {sure}"
    if len(prediction.kills) > 1:
        group = prediction.victim.group
        why = f"memory.oom.group of {group}" if group else "they share its memory"
        said += f"; {len(prediction.kills) - 1} more with it: {why}"
    if prediction.runner_up is not None:
        said += f"; then {_name(prediction.runner_up)}"
    return said


def _name(candidate: Candidate) -> str:
    return f"{candidate.name} ({candidate.pid})"


def _table(report: DomainReport, rules: KillerRules, top: int) -> Iterator[str]:
    by_pid = {candidate.pid: candidate for candidate in report.candidates}
    shown = [by_pid[scored.candidate.pid] for scored in report.prediction.ranked[:top]]
    if shown:
        columns = fitted(_columns(shown, report, rules), _width())
        header, *rows = drawn(columns)
        yield f"{GAP}{paint(header, 'dim')}"
        for candidate, row in zip(shown, rows, strict=True):
            victim = _is(candidate, report.prediction.victim)
            yield f"{GAP}{paint(row, 'red') if victim else row}"
    yield from _rest(report, len(shown))


def _width() -> int | None:
    width = terminal_width()
    return None if width is None else width - len(GAP)


def _columns(shown: list[Candidate], report: DomainReport, rules: KillerRules) -> list[Column]:
    total, page = report.domain.total_pages, rules.page_bytes
    unit = _UNITS.get(rules.era, "PAGES")
    badness = [points(one, total, rules.era) for one in shown]
    return [
        Column(header="PID", cells=_right([str(one.pid) for one in shown], "PID")),
        Column(
            header="NAME",
            cells=[one.name for one in shown],
            short=[cut(one.name, CELL // 2) for one in shown],
            shrinks=1,
        ),
        _figures(f"BADNESS ({unit})", [str(value) for value in badness], short="BADNESS"),
        _figures("OOM_SCORE_ADJ", [str(one.oom_score_adj) for one in shown], short="ADJ"),
        _figures("RSS", [format_bytes(one.rss_pages * page) for one in shown], goes=4),
        _figures("FILE", [format_bytes(one.file_pages * page) for one in shown], goes=1),
        _figures("SWAP", [format_bytes(one.swap_pages * page) for one in shown], goes=2),
        _figures(
            "PAGE TABLES", [format_bytes(one.pagetable_pages * page) for one in shown], goes=3
        ),
        Column(header="", cells=[_role(one, report.prediction) for one in shown]),
    ]


def _figures(header: str, cells: list[str], *, goes: int = 0, short: str = "") -> Column:
    """Give a column of numbers, which are read from the right."""
    width = len(max((header, *cells), key=len))
    narrow = len(max((short, *cells), key=len))
    return Column(
        header=header.rjust(width),
        cells=_right(cells, header),
        short_header=short.rjust(narrow) if short else "",
        short=_right(cells, short) if short else (),
        shrinks=2 if short else 0,
        goes=goes,
    )


def _right(cells: list[str], header: str) -> list[str]:
    width = len(max((header, *cells), key=len))
    return [cell.rjust(width) for cell in cells]


def _role(candidate: Candidate, prediction: Prediction) -> str:
    if _is(candidate, prediction.victim):
        return "victim"
    if candidate.pid in prediction.kills:
        return "dies with it"
    return "runner-up" if _is(candidate, prediction.runner_up) else ""


def _is(candidate: Candidate, other: Candidate | None) -> bool:
    return other is not None and candidate.pid == other.pid


def _rest(report: DomainReport, shown: int) -> Iterator[str]:
    """Count who is not in the table: the small ones, and the protected."""
    others = report.left_out + len(report.prediction.ranked) - shown - report.protected
    if others > 0:
        yield f"{GAP}and {others} {'process' if others == 1 else 'processes'} more"
    if report.protected:
        yield f"{GAP}never chosen, with oom_score_adj -1000: {report.protected}"


def _folded(text: str) -> list[str]:
    width = max(NARROWEST, min(WIDTH, terminal_width() or WIDTH))
    return textwrap.wrap(text, width, subsequent_indent=GAP) or [UNKNOWN]
