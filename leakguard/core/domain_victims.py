"""Whom the kernel would kill, domain by domain: what the API serves. Imported when it is asked."""

from collections.abc import Iterator

from leakguard.core.facts import HOST
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.sample import HostSample
from leakguard.core.state import DomainState, Expected, State
from leakguard.core.victim_status import VictimStatus, victim_status


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainVictim:
    """The last look at one memory domain. Times in RFC 3339."""

    kind: str
    """`host` or `memcg`."""
    path: str
    version: int | None
    """Of the cgroup."""
    limit_bytes: int | None
    oom: VictimStatus
    kills: int
    """How many would die."""
    fresh: bool
    """The look is not older than a quarter of an hour."""
    ends_early: str | None = None
    """When the domain is going to end: the 5 % quantile; None when nothing is foreseen."""
    ends_late: str | None = None
    """The 95 % quantile; None: beyond the horizon."""


def victims_by_domain(
    state: State, host: HostSample | None, now: Instant
) -> tuple[DomainVictim, ...]:
    """Give the last look at every domain that was looked at, the host first."""
    known = sorted(state.domains.items(), key=lambda item: (item[0] != HOST, item[1].path))
    return tuple(_looks(known, host, now))


def _looks(
    known: list[tuple[str, DomainState]], host: HostSample | None, now: Instant
) -> Iterator[DomainVictim]:
    for key, domain in known:
        told = domain.foretold
        if told is None:
            continue
        is_host = key == HOST
        whole = host.total_bytes if host is not None else None
        early, late = _ends(domain.expected, now)
        yield DomainVictim(
            kind="host" if is_host else "memcg",  # as `DomainKind`, which nobody else needs here
            path="/" if is_host else domain.path,
            version=None if is_host else 1 if key.startswith("v1:") else 2,
            limit_bytes=whole if is_host else domain.limit_bytes,
            oom=victim_status(told),
            kills=told.kills,
            fresh=told.is_fresh(now),
            ends_early=early,
            ends_late=late,
        )


def _ends(expected: Expected | None, now: Instant) -> tuple[str | None, str | None]:
    if expected is None:
        return None, None
    late = expected.late_boot_s
    early = now.plus(expected.early_boot_s - now.boot_s).rfc3339()
    return early, None if late is None else now.plus(late - now.boot_s).rfc3339()
