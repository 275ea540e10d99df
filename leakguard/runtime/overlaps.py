"""Which processes several entries match, and what becomes of that, in words for `check`."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from leakguard.runtime.check_report import MatchReport, ServiceReport

LEFT_OUT = "nothing that has no entry of its own"


def tell_overlaps(services: Iterable[ServiceReport]) -> tuple[ServiceReport, ...]:
    """Leave out of patterns what has an entry of its own, and say what is guarded twice."""
    found = tuple(services)
    owners = {m.pid: one.name for one in found for m in one.matches if not _is_slot(one, m)}
    found = tuple(_without(one, owners) for one in found)
    return tuple(
        replace(one, notes=(*one.notes, *dict.fromkeys(_twins(one, found)))) for one in found
    )


def _without(service: ServiceReport, owners: dict[int, str]) -> ServiceReport:
    """Take those matches away that another entry has all to itself."""
    gone = [m for m in service.matches if _is_slot(service, m) and m.pid in owners]
    left = tuple(m for m in service.matches if m not in gone)
    notes = (f"pid {m.pid} ({m.name}) has an entry of its own: {owners[m.pid]}" for m in gone)
    return replace(
        service,
        matches=left,
        unmatched=LEFT_OUT if gone and not left else service.unmatched,
        notes=(*service.notes, *notes),
    )


def _twins(service: ServiceReport, services: tuple[ServiceReport, ...]) -> Iterator[str]:
    for match in service.matches:
        for other in services:
            if other.name != service.name and match.pid in {m.pid for m in other.matches}:
                yield (
                    f"pid {match.pid} ({match.name}) is guarded as {other.name} too: a restart of "
                    "one is a restart of both, so keep one of them"
                )


def _is_slot(service: ServiceReport, match: MatchReport) -> bool:
    """Whether the entry is one service for each match."""
    return match.service != service.name
