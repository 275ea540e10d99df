"""Tell kills: whom each concerns, how loudly, and what is gathered for a while."""

from collections.abc import Mapping
from dataclasses import replace

from leakguard.core import kill_book
from leakguard.core.attribution import (
    Domains,
    cause_of,
    home_of,
    inside,
    limit_cause,
    owner_of,
    place_of,
    ran_out,
    sharing,
)
from leakguard.core.events import EventKind
from leakguard.core.facts import HOST as HOST_DOMAIN
from leakguard.core.kill_book import HOST, Hush, KillBook, Rise, SeenKill, is_within
from leakguard.core.kill_words import guess_words, named_words, summed_words, unnamed_words
from leakguard.core.kills import KillCause, Killer, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.sample import Sample
from leakguard.core.severity import Severity
from leakguard.core.tick import Tick

HUSH_S = 60.0
"""Kills that concern no guarded service are told once in this time and place."""
NAMES = 32
ELSEWHERE = "cgroups that hold no guarded service"
MACHINE = "the host"


def without_known(
    tick: Tick, book: KillBook, kills: tuple[NamedKill, ...]
) -> tuple[KillBook, tuple[NamedKill, ...]]:
    """Leave out what is known already; a late name is given to the kill that was told without.

    Each that is left stands for a count, and is owed one.
    """
    fresh: list[NamedKill] = []
    for kill in kills:
        if not kill_book.is_news(book, kill) or any(kill.is_same(known) for known in fresh):
            continue
        unnamed = kill_book.told_unnamed(book, kill)
        if unnamed is None:
            fresh.append(kill)
            book = kill_book.owe(book, (kill,), tick.now)
        else:
            service, root = owner_of(kill, tick.services, tick.now)
            book = kill_book.name_late(book, unnamed, kill, service, root=root)
    return book, tuple(fresh)


class Teller:
    """Tells the kills of one tick."""

    def __init__(self, tick: Tick, domains: Domains, hushed: dict[str, Hush]) -> None:
        self._tick = tick
        self._domains = domains
        self.hushed = hushed

    def named(self, kills: tuple[NamedKill, ...]) -> list[SeenKill]:
        """Tell the kills that a log names; a daemon's are only evidence for a death to come."""
        owners = [owner_of(kill, self._tick.services, self._tick.now) for kill in kills]
        rooted = {name for name, root in owners if root}
        return [
            self._named(kill, name, root=root, rooted=name in rooted)
            for kill, (name, root) in zip(kills, owners, strict=True)
        ]

    def _named(self, kill: NamedKill, name: str, *, root: bool, rooted: bool) -> SeenKill:
        path = kill.oom_memcg or ""
        seen = SeenKill(
            at=self._tick.now,
            key=HOST,
            kill=kill,
            service=name,
            root=root,
            cause=cause_of(kill, self._last(name)),
            path=path,
            limit_bytes=kill.limit_bytes,
        )
        if kill.killer is not Killer.KERNEL:
            return seen
        neighbours = sharing(path, self._tick.services, self._domains) if path else ()
        self._count(kill, name, neighbours)
        beside = tuple(n for n in neighbours if n != name)
        severity = self._severity(kill, name, rooted=rooted, shared=bool(neighbours))
        message = named_words(kill, name, () if name else beside)
        if name or not self._is_hushed(kill, path, severity, shared=bool(neighbours)):
            about = name or (beside[0] if len(beside) == 1 else "")
            self._event(severity, about, message, _details(seen))
        return replace(seen, paged=severity is Severity.CRITICAL)

    def _severity(self, kill: NamedKill, name: str, *, rooted: bool, shared: bool) -> Severity:
        if name:
            flies = self._tick.service(name).record.flight is not None
            told_elsewhere = (rooted and not flies) or not kill.chosen
            return Severity.INFO if told_elsewhere else Severity.CRITICAL
        whole_host = kill.scope not in {Domain.MEMCG, None}
        return Severity.WARNING if shared or whole_host else Severity.INFO

    def _is_hushed(self, kill: NamedKill, path: str, severity: Severity, *, shared: bool) -> bool:
        place = f"cgroup {path}" if shared else ELSEWHERE
        if severity is Severity.WARNING and not shared:
            place = MACHINE
        return self._hush(place, severity, 1, (kill.name,))

    def unnamed(self, rise: Rise, why: str) -> SeenKill:
        """Tell kills that only a counter shows."""
        tick, domains = self._tick, self._domains
        place = place_of(rise.key, domains) if rise.key != HOST else ""
        within = inside(rise.key, tick.services, domains)
        owner = self._owner(place, within)
        emptied = ran_out(rise.key, domains, tick.now)
        limit = domains[emptied] if emptied not in {None, HOST_DOMAIN} else None
        path = limit.path if limit is not None else ""
        concerned = {owner} - {""} or set(within)
        if limit is not None:
            concerned |= set(sharing(path, tick.services, domains))
        for name in sorted(concerned):
            self._add(name, self._guess(name, emptied, place), rise.count)
        seen = SeenKill(
            at=rise.since,
            key=rise.key,
            count=rise.count,
            service=owner,
            cause=self._guess(owner, emptied, place),
            path=path,
            limit_bytes=limit.limit_bytes if limit is not None else None,
        )
        return self._tell_unnamed(seen, place, within, why)

    def _tell_unnamed(
        self, seen: SeenKill, place: str, within: tuple[str, ...], why: str
    ) -> SeenKill:
        service = seen.service or (within[0] if len(within) == 1 else "")
        severity = Severity.WARNING if within else Severity.INFO
        if service:
            state = self._tick.service(service)
            gone = bool(state.record.dying or state.absent_since) and state.record.flight is None
            severity = Severity.INFO if seen.service and gone else Severity.CRITICAL
        emptied = guess_words(seen.path, seen.limit_bytes, seen.cause)
        message = unnamed_words(seen.count, place, emptied, why)
        if within or not self._hush(ELSEWHERE, severity, seen.count, ()):
            details = _details(seen) | {"cgroup": place or None}
            self._event(severity, service, message, details)
        return replace(seen, paged=severity is Severity.CRITICAL)

    def _owner(self, place: str, within: tuple[str, ...]) -> str:
        """Give the service that has a cgroup to itself, or the only one there that is dying."""
        for name in within:
            last = self._last(name)
            if last is not None and last.alone and is_within(place, home_of(last)):
                return name
        services = self._tick.services
        dying = [n for n in within if services[n].record.dying or services[n].absent_since]
        return dying[0] if len(dying) == 1 else ""

    def _guess(self, name: str, emptied: str | None, place: str) -> KillCause:
        if emptied is None:
            return KillCause.UNKNOWN
        if emptied == HOST_DOMAIN:
            return KillCause.HOST
        last = self._last(name)
        home = home_of(last) if last is not None else ""
        return limit_cause(self._domains[emptied].path, home or place)

    def _count(self, kill: NamedKill, owner: str, neighbours: tuple[str, ...]) -> None:
        for name in sorted({owner, *neighbours} - {""}):
            self._add(name, cause_of(kill, self._last(name)), 1)

    def _add(self, name: str, cause: KillCause, count: int) -> None:
        record = self._tick.service(name).record
        causes = dict(record.oom_causes)
        causes[cause.value] = causes.get(cause.value, 0) + count
        self._tick.amend(name, oom_kills=record.oom_kills + count, oom_causes=causes)

    def _hush(self, place: str, severity: Severity, count: int, names: tuple[str, ...]) -> bool:
        """Gather what happens again in a place; False for the first time in a while."""
        known = self.hushed.get(place)
        if known is None or self._tick.now.since(known.told) >= HUSH_S:
            self.break_silence(place)
            self.hushed[place] = Hush(told=self._tick.now, severity=severity)
            return False
        gathered = (*known.names, *(n for n in names if n not in known.names))[:NAMES]
        self.hushed[place] = replace(known, count=known.count + count, names=gathered)
        return True

    def break_silence(self, only: str = "", *, at_once: bool = False) -> None:
        """Tell what was gathered, once its time has come."""
        for place, hush in list(self.hushed.items()):
            over = at_once or self._tick.now.since(hush.told) >= HUSH_S
            if only not in {"", place} or not over:
                continue
            del self.hushed[place]
            if hush.count:
                message = summed_words(hush.count, hush.names, place)
                self._event(hush.severity, "", message, {"kills": hush.count})
                self.hushed[place] = Hush(told=self._tick.now, severity=hush.severity)

    def _event(
        self, severity: Severity, service: str, message: str, details: Mapping[str, object]
    ) -> None:
        self._tick.event(EventKind.OOM_KILL_OBSERVED, service, severity, message, **details)  # type: ignore[arg-type]  # details hold plain values

    def _last(self, name: str) -> Sample | None:
        service = self._tick.services.get(name)
        return service.last if service is not None else None


def _details(seen: SeenKill) -> dict[str, object]:
    """Give the numbers of a kill; what is not known is left out."""
    details: dict[str, object] = {
        "kills": seen.count,
        "cause": seen.cause.value,
        "limit_cgroup": seen.path or None,
        "limit_bytes": seen.limit_bytes,
    }
    kill = seen.kill
    if kill is None:
        return details
    return details | {
        "pid": kill.pid,
        "name": kill.name,
        "uid": kill.uid,
        "scope": kill.scope.value if kill.scope is not None else None,
        "cgroup": kill.task_memcg,
        "anon_bytes": kill.anon_bytes,
        "file_bytes": kill.file_bytes,
        "shmem_bytes": kill.shmem_bytes,
        "pgtables_bytes": kill.pgtables_bytes,
        "oom_score_adj": kill.oom_score_adj,
        "group_kill": kill.group_kill or None,
    }
