"""One thing that a person should know about this machine, with its reason and its fix."""

from collections.abc import Iterable, Mapping
from dataclasses import field

from leakguard.core.frozen import dataclass
from leakguard.core.severity import Severity

Evidence = Mapping[str, int | float | str | bool | None]
"""The numbers behind a finding; their names carry their unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is so, why it matters here, and what to do. `key` is stable, for scripts."""

    key: str
    severity: Severity
    what: str
    why: str
    fix: str
    """A command or a line of configuration; where nothing is wrong, what to bear in mind."""
    about: str = ""
    """The service, unit, cgroup or program that it is about; empty: the machine."""
    evidence: Evidence = field(default_factory=dict)


def processes(number: int) -> str:
    """Count processes: `1 process`, `3 processes`."""
    return f"{number} process" if number == 1 else f"{number} processes"


def listed(names: Iterable[str], most: int = 4) -> str:
    """Name the first few: `a, b and 3 more`."""
    known = list(names)
    if len(known) <= most:
        return " and ".join(filter(None, (", ".join(known[:-1]), *known[-1:])))
    return f"{', '.join(known[:most])} and {len(known) - most} more"


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put the loudest first; equals stay in the order of the rules."""
    return tuple(sorted(findings, key=lambda finding: -finding.severity.rank))


def worst(findings: Iterable[Finding]) -> Severity | None:
    """Give the loudest severity, None when nothing was found."""
    found = [finding.severity for finding in findings]
    return max(found, key=lambda severity: severity.rank, default=None)
