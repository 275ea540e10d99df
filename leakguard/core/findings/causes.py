"""Why a memory domain runs out: a leak, or too many services for it; both may hold.

What a domain needs *steadily* is what it holds and cannot drop, less what leaks have added. A
leak's share is bounded by slope × age of its service, and by its size: a service that grew slower
at first has leaked less, so its steady size is then said too small, and the domain's need with it.
For a process that nobody watches, its size now counts as its steady size.
"""

from collections.abc import Iterable, Sequence

from leakguard.core.findings.facts import DomainFacts, ServiceFacts, Tenant
from leakguard.core.findings.finding import Finding, listed
from leakguard.core.frozen import dataclass
from leakguard.core.severity import Severity
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB, counted, format_bytes, format_duration, format_rate
from leakguard.core.victims import DomainKind, End

TIGHT_SHARE = 0.10
"""Less than this left beside the steady sizes is too little."""
WANTED_SHARE = 0.20
"""What is advised leaves this much."""
FULL_SHARE = 0.02
SOON_S = 3600.0
_JUDGED = frozenset((Verdict.STABLE, Verdict.LEAKING))
_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a domain needs when nothing leaks, in bytes; `left` may be below zero."""

    capacity: int
    steady: int
    leaked: int

    @property
    def left(self) -> int:
        """What is left beside the steady sizes."""
        return self.capacity - self.steady


def need_of(domain: DomainFacts, services: Iterable[ServiceFacts]) -> Need:
    """Take out of what a domain holds what leaks have added."""
    leaked = sum(service.leaked_bytes for service in services if domain.key in service.domains)
    leaked = min(leaked, domain.held.used_bytes)
    return Need(
        capacity=domain.held.capacity_bytes,
        steady=domain.held.used_bytes - leaked,
        leaked=leaked,
    )


def leaks(domain: DomainFacts, services: Sequence[ServiceFacts]) -> tuple[Finding, ...]:
    """Name every service that leaks into a domain, the fastest first."""
    leaking = [one for one in services if one.leaks and domain.key in one.domains]
    leaking.sort(key=lambda one: -(one.slope_bytes_per_s or 0.0))
    return tuple(_leak(domain, service) for service in leaking)


def too_many(domain: DomainFacts, services: Sequence[ServiceFacts]) -> Finding | None:
    """Say when what lives in a domain fills it without any leak."""
    need, limit = need_of(domain, services), domain.domain.limit_bytes
    over_ram = need.steady > domain.held.fast_bytes and need.left > 0
    if need.left >= TIGHT_SHARE * need.capacity and not over_ram:
        return None
    return Finding(
        key="too_many_services",
        severity=_how_loud(domain, services, need),
        what=f"{_crowd(domain)}: {_sum(need)}",
        why=_who_needs_it(domain, need) + _how_sure(domain, services, over_ram=over_ram),
        fix=_make_room(domain, need, limit),
        about=domain.key,
        evidence={
            "capacity_bytes": need.capacity,
            "steady_bytes": need.steady,
            "leaked_bytes": need.leaked,
            "left_bytes": need.left,
            "add_bytes": _lacking(need),
            "tenants": len(domain.tenants),
        },
    )


def causes(domain: DomainFacts, services: Sequence[ServiceFacts]) -> tuple[Finding, ...]:
    """Tell the causes apart; none when the domain has room and nobody is known to leak."""
    crowded = too_many(domain, services)
    young = tuple(
        _young(domain, one) for one in services if one.may_leak and domain.key in one.domains
    )
    return (*leaks(domain, services), *(() if crowded is None else (crowded,)), *young)


def trend_gap(domain: DomainFacts, services: Sequence[ServiceFacts]) -> str:
    """Say what is not known of the trends in a domain; empty when all is known."""
    inside = [one for one in services if domain.key in one.domains]
    if not any(one.trend_known for one in inside):
        return "sizes are those of now, and no trend is known"
    young = [one.name for one in inside if one.verdict not in _JUDGED]
    if young:
        return f"the trend of {listed(young)} is not known yet"
    if 2 * sum(one.size_bytes or 0 for one in inside) < domain.held.used_bytes:
        return "most of it is not guarded, so its trend is not known"
    return ""


def _leak(domain: DomainFacts, service: ServiceFacts) -> Finding:
    slope, size = service.slope_bytes_per_s or 0.0, service.size_bytes or 0
    early, late = reached(domain, service)
    soon = early is not None and early < SOON_S
    return Finding(
        key="leak",
        severity=Severity.CRITICAL if soon and service.held_by else Severity.WARNING,
        what=f"{service.name} leaks {format_rate(slope)}",
        why=f"It holds {format_bytes(size)}, of which its leak added "
        f"{format_bytes(service.leaked_bytes)} at most; alone it fills {domain.words} "
        f"{_when(early, late)}.",
        fix=_against(service),
        about=service.name,
        evidence={
            "domain": domain.key,
            "slope_bytes_per_s": slope,
            "size_bytes": size,
            "leaked_bytes": service.leaked_bytes,
            "steady_bytes": size - service.leaked_bytes,
            "age_s": service.age_s,
            "reached_early_s": early,
            "reached_late_s": late,
        },
    )


def _young(domain: DomainFacts, service: ServiceFacts) -> Finding:
    slope = service.slope_bytes_per_s or 0.0
    early, late = reached(domain, service)
    soon = early is not None and early < SOON_S
    return Finding(
        key="may_leak",
        severity=Severity.WARNING if soon else Severity.INFO,
        what=f"{service.name} grows by {format_rate(slope)} so far",
        why="It was not seen for long enough to tell a leak from a start-up. If it goes on, it "
        f"fills {domain.words} {_when(early, late)}.",
        fix="ask again later: `leakguard why` shows what is still missing",
        about=service.name,
        evidence={
            "domain": domain.key,
            "slope_bytes_per_s": slope,
            "size_bytes": service.size_bytes,
            "reached_early_s": early,
            "reached_late_s": late,
        },
    )


def reached(domain: DomainFacts, service: ServiceFacts) -> tuple[float | None, float | None]:
    """Give when a leak fills a domain: as the daemon foresees it, else headroom over slope."""
    if domain.place in service.reached_s:
        return service.reached_s[domain.place]
    slope, room = service.slope_bytes_per_s or 0.0, domain.domain.headroom
    if slope <= 0:
        return None, None
    return room.low_bytes / slope, room.high_bytes / slope


def _when(early: float | None, late: float | None) -> str:
    if early is None and late is None:
        return "in more than 30 days"
    if late is None:
        return f"in {format_duration(early or 0.0)} or more"
    return f"in {format_duration(early or 0.0)} to {format_duration(late)}"


def _against(service: ServiceFacts) -> str:
    if not service.held_by:
        return f"leakguard restarts it before that; look for the leak in {service.name} itself"
    return f"nobody restarts it in time, because {service.held_by}"


def _how_loud(domain: DomainFacts, services: Sequence[ServiceFacts], need: Need) -> Severity:
    """Critical is only what is known; a cgroup of others is a hint beside guarded ones."""
    inside = any(domain.key in one.domains for one in services)
    if services and not inside:
        return Severity.INFO
    full = need.left <= FULL_SHARE * need.capacity
    return Severity.CRITICAL if full and not trend_gap(domain, services) else Severity.WARNING


def _crowd(domain: DomainFacts) -> str:
    if len(domain.tenants) == 1:
        return f"{domain.words} is too small for {_name(domain.tenants[0])}"
    return f"too many services for {domain.words}"


def _sum(need: Need) -> str:
    share = 100 * need.steady / max(1, need.capacity)
    return (
        f"{format_bytes(need.steady)} of {format_bytes(need.capacity)} needed steadily "
        f"({share:.0f} %)"
    )


def _who_needs_it(domain: DomainFacts, need: Need) -> str:
    shown = [f"{_name(one)} {format_bytes(one.size_bytes)}" for one in domain.tenants[:_SHOWN]]
    rest = len(domain.tenants) - len(shown)
    more = [f"{counted(rest, 'other')}"] if rest > 0 else []
    left = (
        f"{format_bytes(need.left)} are left"
        if need.left >= 0
        else f"{format_bytes(-need.left)} are missing"
    )
    taken = f" (without the {format_bytes(need.leaked)} that leaks added)" if need.leaked else ""
    who = f" In it: {', '.join([*shown, *more])}." if shown else ""
    return f"{left} even if nothing leaks{taken}.{who}"


def _how_sure(domain: DomainFacts, services: Sequence[ServiceFacts], *, over_ram: bool) -> str:
    swap = " What does not fit into RAM lives in swap, which is slow." if over_ram else ""
    gap = trend_gap(domain, services)
    doubt = f" Not certain: {gap}, so a leak may be part of it." if gap else ""
    return f"{swap}{doubt}"


def _make_room(domain: DomainFacts, need: Need, limit: int) -> str:
    lacking, swap = _lacking(need), _lacking_swap(need)
    move = _to_move(domain.tenants, swap)
    moved = f", or move {move} elsewhere" if move else ""
    if domain.domain.end is End.ENOMEM:
        return f"raise vm.overcommit_ratio, or add {format_bytes(swap)} of swap{moved}"
    if domain.domain.kind is DomainKind.HOST:
        return f"add {format_bytes(lacking)} of RAM, or {format_bytes(swap)} of swap{moved}"
    if domain.domain.end is End.THROTTLED:
        return f"raise its memory.high by {format_bytes(lacking)}{moved}"
    return f"raise its limit by {format_bytes(lacking)}, to {format_bytes(limit + lacking)}{moved}"


def _lacking(need: Need) -> int:
    """Give what to add so that the wanted share of the larger capacity is left."""
    return _whole((need.steady - (1 - WANTED_SHARE) * need.capacity) / (1 - WANTED_SHARE))


def _lacking_swap(need: Need) -> int:
    return _whole(WANTED_SHARE * need.capacity - need.left)


def _whole(size: float) -> int:
    """Round up to whole MiB."""
    return max(0, -int(-size // MIB)) * MIB


def _to_move(tenants: Sequence[Tenant], size: int) -> str:
    """Name the smallest tenant whose going is enough, else the largest; nothing if it is alone."""
    if len(tenants) < 2:
        return ""
    enough = [one for one in tenants if one.size_bytes >= size]
    best = min(enough, key=lambda one: one.size_bytes) if enough else tenants[0]
    return f"{_name(best)} ({format_bytes(best.size_bytes)})"


def _name(tenant: Tenant) -> str:
    return (
        tenant.name
        if tenant.processes == 1 or tenant.guarded
        else (f"{tenant.name} ({tenant.processes} processes)")
    )
