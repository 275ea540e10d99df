"""The report of `doctor` for a person: what would happen, why, and what surprises."""

import textwrap
from collections.abc import Iterator

from leakguard.cli._output import GAP, NARROWEST, count, paint
from leakguard.cli._table import terminal_width
from leakguard.core.findings import Finding, by_severity, title, trend_gap
from leakguard.core.findings.causes import reached
from leakguard.core.findings.facts import Case, DomainFacts
from leakguard.core.severity import Severity
from leakguard.core.units import format_bytes
from leakguard.core.victims import DomainKind
from leakguard.runtime.doctor.diagnosis import Diagnosis, DomainDiagnosis

WIDTH = 88
_SHOWN_DOMAINS = 8
_SHOWN_OTHERS = 3
"""Cgroups where nothing is guarded and no cause is seen: the fullest."""
_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_FAR_S = 1e12
_LEAKS = frozenset(("leak", "may_leak"))


def lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Give the report, line by line."""
    case = diagnosis.case
    yield from _heading("When memory runs out")
    shown, more = _chosen(diagnosis)
    for domain in shown:
        yield paint(title(domain.facts, case), "cyan")
        yield from _fold(domain.text)
    if more:
        yield f"and {count(more, 'more cgroup')} with a limit: --json has them all"
    yield ""
    yield from _heading("Cause")
    yield from _causes(diagnosis)
    yield ""
    yield from _heading("What surprises here")
    for finding in diagnosis.findings:
        yield from _finding(finding)
    yield ""
    for note in diagnosis.notes:
        yield from _fold(f"note: {note}", indent="")
    yield _verdict(diagnosis)


def _chosen(diagnosis: Diagnosis) -> tuple[list[DomainDiagnosis], int]:
    """Give the host and the cgroups that matter most, and the number of the others."""
    host = [one for one in diagnosis.domains if one.facts.domain.kind is DomainKind.HOST]
    groups = [one for one in diagnosis.domains if one.facts.domain.kind is DomainKind.MEMCG]
    guarded = {key for service in diagnosis.case.services for key in service.domains}
    inhabited = [one for one in groups if one.facts.processes or one.facts.key in guarded]
    inhabited.sort(key=lambda one: (one.facts.key not in guarded, _left(one.facts)))
    ours = [one for one in inhabited if one.facts.key in guarded or one.causes]
    others = [one for one in inhabited if one not in ours]
    shown = [*ours[:_SHOWN_DOMAINS], *others[:_SHOWN_OTHERS]]
    return [*host, *shown], len(groups) - len(shown)


def _left(facts: DomainFacts) -> float:
    return facts.domain.headroom.low_bytes / max(1, facts.held.capacity_bytes)


def _causes(diagnosis: Diagnosis) -> Iterator[str]:
    found = by_severity(_each_once(diagnosis))
    for cause in found:
        yield from _finding(cause)
    host = next((d.facts for d in diagnosis.domains if d.facts.key == "host"), None)
    if not found and host is not None:
        yield from _fold(_calm(host, diagnosis.case))


def _each_once(diagnosis: Diagnosis) -> Iterator[Finding]:
    """Give every cause; a leak only for the domain that it fills first."""
    first: dict[str, tuple[float, str]] = {}
    for one in diagnosis.domains:
        for service in diagnosis.case.services:
            if (service.leaks or service.may_leak) and one.facts.key in service.domains:
                early, _ = reached(one.facts, service)
                at = (_FAR_S if early is None else early, one.facts.key)
                first[service.name] = min(first.get(service.name, at), at)
    for one in diagnosis.domains:
        for cause in one.causes:
            if cause.key not in _LEAKS or first[cause.about][1] == one.facts.key:
                yield cause


def _calm(host: DomainFacts, case: Case) -> str:
    free = format_bytes(host.domain.headroom.low_bytes)
    share = 100 * host.domain.headroom.low_bytes / max(1, host.held.capacity_bytes)
    gap = trend_gap(host, case.services)
    doubt = f" But {gap}." if gap else ""
    biggest = ", ".join(f"{one.name} {format_bytes(one.size_bytes)}" for one in host.tenants[:4])
    return (
        f"None is seen: no limited cgroup is nearly full, {free} ({share:.0f} %) of the host are "
        f"left, and nothing guarded is known to leak.{doubt} The biggest: {biggest}."
    )


def _finding(finding: Finding) -> Iterator[str]:
    word = f"{finding.severity.value:<8}"
    first, *rest = _folded(finding.what, " " * (len(word) + len(GAP)))
    yield f"{paint(word, _COLOURS[finding.severity])}{GAP}{paint(first.strip(), 'bold')}"
    yield from rest
    indent = " " * (len(word) + len(GAP))
    yield from _folded(finding.why, indent)
    yield from _folded(f"fix: {finding.fix}", indent, below=f"{indent}     ")


def _verdict(diagnosis: Diagnosis) -> str:
    found = [*diagnosis.findings, *_each_once(diagnosis)]
    numbers = {s: sum(one.severity is s for one in found) for s in Severity}
    text = ", ".join(
        (
            f"{numbers[Severity.CRITICAL]} critical",
            count(numbers[Severity.WARNING], "warning"),
            count(numbers[Severity.INFO], "hint"),
        )
    )
    return paint(text, "red" if numbers[Severity.CRITICAL] else "bold")


def _heading(text: str) -> Iterator[str]:
    yield paint(text, "bold")


def _fold(text: str, indent: str = GAP) -> Iterator[str]:
    yield from _folded(text, indent)


def _folded(text: str, indent: str, below: str = "") -> list[str]:
    width = max(NARROWEST, min(WIDTH, terminal_width() or WIDTH))
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=below or indent,
        break_on_hyphens=False,
        break_long_words=False,
    ) or [""]
