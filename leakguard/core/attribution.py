"""Whom a kill concerns: the service of the victim, the domain that ran out, those who share it."""

from collections.abc import Iterator, Mapping
from enum import IntEnum

from leakguard.core.facts import HOST as HOST_DOMAIN
from leakguard.core.instant import Instant
from leakguard.core.kill_book import HOST, SeenKill, is_within, path_of
from leakguard.core.kills import KillCause, Killer, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.sample import Incarnation, Sample
from leakguard.core.state import Death, DomainState, ServiceState

Services = Mapping[str, ServiceState]
Domains = Mapping[str, DomainState]

_ROOTS = frozenset({"", "/"})
"""No cgroup of its own: what happens anywhere below says nothing of the service."""
BORN_SLACK_S = 2.0
"""Start times are known to a clock tick, and boot time is read twice."""
BEFORE_S = 1.0
"""A service may be sampled once more after another of its processes was killed."""
AFTER_S = 3.0
"""A death may be noticed before its count is."""
SHORT_S = 15.0
"""A domain that was at its limit this long before a kill may be the one that ran out."""


class Weight(IntEnum):
    """How well a kill explains the death of a service."""

    NOTHING = 0
    COUNTED = 1
    """A counter says that somebody was killed where it ran."""
    MEMBER = 2
    """Another process of it was killed."""
    ROOT = 3


def owner_of(kill: NamedKill, services: Services, now: Instant) -> tuple[str, bool]:
    """Give the service of the victim ("": none that is guarded), and whether it was its root."""
    for name, run, last in _runs(services):
        if _is_root(kill, run, last, now):
            return name, True
    if kill.member_of in services:
        return kill.member_of, False
    if kill.task_memcg is None:
        return "", False
    for name, service in services.items():
        for last in (service.last, *(death.last for death in service.record.dying)):
            if last is not None and last.alone and is_within(kill.task_memcg, home_of(last)):
                return name, False
    return "", False


def is_root(kill: NamedKill, death: Death, now: Instant) -> bool:
    """Tell whether a log names the very process whose death this is."""
    if kill.killer is Killer.SYSTEMD_OOMD and kill.pid is None:  # it kills whole cgroups
        home = home_of(death.last) if death.last is not None else ""
        return bool(home and kill.task_memcg) and is_within(home, kill.task_memcg or "/")
    return _is_root(kill, death.incarnation, death.last, now)


def home_of(sample: Sample) -> str:
    """Give the path of the cgroup that a service is charged to; empty when it is not known."""
    return path_of(sample.cgroup)


def place_of(key: str, domains: Domains) -> str:
    """Give the path of the cgroup that counted; empty for the host."""
    return domains[key].path if key in domains else path_of(key)


def cause_of(kill: NamedKill, last: Sample | None) -> KillCause:
    """Say whose memory ran out, as seen from a service that was last sampled there."""
    if kill.scope is None:
        return KillCause.UNKNOWN
    if kill.scope is not Domain.MEMCG:
        return KillCause.HOST
    if kill.oom_memcg is None:
        return KillCause.UNKNOWN
    home = home_of(last) if last is not None else ""
    for place in (home, kill.task_memcg):
        cause = limit_cause(kill.oom_memcg, place)
        if cause is not KillCause.UNKNOWN:
            return cause
    return KillCause.UNKNOWN


def limit_cause(limited: str, home: str | None) -> KillCause:
    """Tell a limit of a service's own cgroup from one above it, by their paths."""
    if not home:
        return KillCause.UNKNOWN
    if is_within(limited, home):
        return KillCause.OWN_LIMIT
    return KillCause.ANCESTOR_LIMIT if is_within(home, limited) else KillCause.UNKNOWN


def sharing(domain_path: str, services: Services, domains: Domains) -> tuple[str, ...]:
    """Give the services that a limited cgroup holds."""
    return tuple(
        name
        for name, service in services.items()
        if service.last is not None
        and any(key in domains and domains[key].path == domain_path for key in service.last.domains)
    )


def inside(key: str, services: Services, domains: Domains) -> tuple[str, ...]:
    """Give the services in whose cgroup, or in whose domain, an unnamed kill was counted."""
    place = place_of(key, domains)
    return tuple(
        name
        for name, service in services.items()
        if key != HOST
        and service.last is not None
        and (
            key in service.last.domains
            or key == service.last.cgroup
            or (home_of(service.last) not in _ROOTS and is_within(place, home_of(service.last)))
        )
    )


def ran_out(key: str, domains: Domains, now: Instant) -> str | None:
    """Guess the domain behind a kill without a name: its key, HOST_DOMAIN; None when not clear.

    Of v2 cgroups one inside the other the inner one: what is hit there shows further out too.
    """
    host = domains.get(HOST_DOMAIN)
    host_short = host is not None and _was_short(host, now)
    if key == HOST:
        return HOST_DOMAIN if host_short else None
    place = place_of(key, domains)
    above = [k for k, d in domains.items() if k != HOST_DOMAIN and is_within(place, d.path)]
    short = [k for k in above if _was_short(domains[k], now)]
    if len(short) > 1 and any(k.startswith("v1:") for k in short):
        return None
    if short and not host_short:
        return max(short, key=lambda k: len(domains[k].path))
    if not short and host_short:
        return HOST_DOMAIN
    return above[0] if len(above) == 1 and not short else None


def explains(seen: SeenKill, name: str, death: Death, now: Instant) -> Weight:
    """Weigh a kill that was told as the reason of a death."""
    if not seen.count:
        return Weight.NOTHING
    if seen.kill is not None and is_root(seen.kill, death, now):
        return Weight.ROOT
    if seen.service != name or seen.root:  # a root of the next run is no reason for this death
        return Weight.NOTHING
    alive = death.last.at.boot_s if death.last is not None else death.noticed.boot_s
    if not alive - BEFORE_S <= seen.boot_s <= death.noticed.boot_s + AFTER_S:
        return Weight.NOTHING
    return Weight.COUNTED if seen.kill is None else Weight.MEMBER


def _runs(services: Services) -> Iterator[tuple[str, Incarnation, Sample | None]]:
    for name, service in services.items():
        for death in service.record.dying:
            yield name, death.incarnation, death.last
        if service.record.incarnation is not None:
            yield name, service.record.incarnation, service.last


def _is_root(kill: NamedKill, run: Incarnation, last: Sample | None, now: Instant) -> bool:
    if kill.foreign or kill.pid != run.pid or run.boot_id != now.boot_id:
        return False
    if kill.boot_s is None or last is None or last.incarnation != run:
        return True
    return kill.boot_s >= last.at.boot_s - last.age_s - BORN_SLACK_S


def _was_short(domain: DomainState, now: Instant) -> bool:
    return domain.short_boot_s is not None and now.boot_s - domain.short_boot_s <= SHORT_S
