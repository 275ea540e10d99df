"""One snapshot: the services that are due, the cgroups above them, the host."""

import logging
from collections.abc import Iterable
from dataclasses import field

from leakguard.collectors.domains import DomainCollector
from leakguard.collectors.host import HostCollector
from leakguard.collectors.services import Place, ServiceCollector
from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.kills import NamedKill
from leakguard.core.sample import (
    Absent,
    DomainSample,
    HostSample,
    Reading,
    Snapshot,
    ThrottleSample,
    Unreadable,
)
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.runtime.kill_watch import KillWatch
from leakguard.runtime.roots import Roots
from leakguard.runtime.roster import Roster

log = logging.getLogger("leakguard.collect")

COUNT_EVERY_S = 600.0
"""Counters are read this often even when nothing rose, so that those in use are not forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one look gave; `dropped` are services that are no longer guarded."""

    snapshot: Snapshot
    dropped: tuple[str, ...] = ()
    kills: tuple[NamedKill, ...] = ()
    """Processes that a log newly names as killed for memory."""
    no_names: str = ""
    """Why no log can be read."""


@dataclass(slots=True, kw_only=True)
class _Around:
    """What one look finds above the services: each of them adds the cgroups that hold it."""

    host: HostSample | None
    domains: dict[str, DomainSample] = field(default_factory=dict)
    throttles: dict[str, ThrottleSample] = field(default_factory=dict)

    @property
    def swap_free_bytes(self) -> int:
        return self.host.swap_free_bytes if self.host is not None else 0


class Collector:
    """Reads what is due. Never raises for a service: a failure is a reading of its own."""

    def __init__(
        self, roster: Roster, proc: ProcFs, cgroups: CgroupFs, kills: KillWatch | None = None
    ) -> None:
        """Read the services of `roster`; without `kills`, kills have no names."""
        self.roster = roster
        self._kills = kills or KillWatch()
        self._services = ServiceCollector(proc, cgroups)
        self._domains = DomainCollector(cgroups)
        self._host = HostCollector(proc)
        self._roots = Roots(proc)
        self._host_kills: int | None = None
        self._counted_boot_s = 0.0

    def collect(self, due: Iterable[str], now: Instant) -> Collected:
        """Read every service in `due` that is (still) guarded, and what is above it."""
        dropped = self._scan(now)
        news = self._kills.take(now, self._services.owner_of)  # first: what it names is counted
        around = _Around(host=self._read_host())
        guarded = set(self.roster.names())
        readings = tuple(self._read(name, now, around) for name in due if name in guarded)
        counts = self._count_kills(now, around)
        snapshot = Snapshot(
            at=now,
            readings=readings,
            domains=around.domains,
            throttles=around.throttles,
            host=around.host,
            kill_counts=counts,
            still_running=self._roots.still_running(readings),
        )
        return Collected(
            snapshot=snapshot, dropped=dropped, kills=news.kills, no_names=news.no_names
        )

    def close(self) -> None:
        """Let go of the descriptors that were kept."""
        self._services.close()

    def _count_kills(self, now: Instant, around: _Around) -> dict[str, int]:
        """Count in every cgroup, and look at every limit, when the host's one counter has risen.

        The host counts all kills, those in cgroups too, so at rest it alone is read.
        """
        host = around.host
        before, shown = self._host_kills, host.oom_kills if host is not None else None
        self._host_kills = before if shown is None else shown
        risen = before is not None and shown is not None and shown > before
        due = now.boot_s - self._counted_boot_s >= COUNT_EVERY_S
        if not (risen or due or self._domains.is_new):
            return {}
        self._counted_boot_s = now.boot_s
        if risen:
            everywhere = self._domains.read_all(around.swap_free_bytes, now)
            around.domains = everywhere | around.domains
        return self._domains.kill_counts()

    def _scan(self, now: Instant) -> tuple[str, ...]:
        try:
            return self.roster.scan(now)
        except Exception:  # an outside target may raise anything
            log.exception("new matches could not be looked for")
            return ()

    def members(self, service: str) -> tuple[int, ...]:
        """Give the processes of a service, as they were last listed."""
        return self._services.members(service)

    def directories(self) -> frozenset[CgroupDir]:
        """Give the limited cgroups that were read."""
        return self._domains.directories()

    def _read(self, name: str, now: Instant, around: _Around) -> Reading:
        """Read one service; what a target or a reader did not expect is a failed reading too."""
        try:
            return self._look(name, now, around)
        except Exception as error:
            log.exception("service=%s could not be read", name)
            return Unreadable(service=name, at=now, reason=f"{type(error).__name__}: {error}")

    def _look(self, name: str, now: Instant, around: _Around) -> Reading:
        try:
            return self._sample(name, now, around, again=False)
        except ProcessGone:
            self.roster.forget(name)
        except TargetError as error:
            return self._absent(name, now, error)
        except ReadingError as error:
            return Unreadable(service=name, at=now, reason=str(error))
        try:
            return self._sample(name, now, around, again=True)
        except TargetError as error:
            return self._absent(name, now, error)
        except ProcessGone as error:
            return self._absent(name, now, TargetError(str(error)))
        except ReadingError as error:
            return Unreadable(service=name, at=now, reason=str(error))

    def _sample(self, name: str, now: Instant, around: _Around, *, again: bool) -> Reading:
        location = self.roster.where(name, now, again=again)
        rules = self.roster.entry(name).plan.rules
        keys, found = self._domains.read(location, around.swap_free_bytes, now)
        throttles = self._domains.throttles(location)
        around.domains.update({key: found[key] for key in found if key not in around.domains})
        around.throttles.update(throttles)
        home = self._domains.home(location)
        place = Place(domains=keys, cgroup=home, throttles=tuple(throttles))
        return self._services.read(name, location, rules.measure, now, place)

    def _absent(self, name: str, now: Instant, error: TargetError) -> Absent:
        code = self.roster.entry(name).target.exit_code()
        reason = str(error) if code is None else f"{name} ended with code {code}"
        return Absent(
            service=name,
            at=now,
            reason=reason,
            ambiguous=error.ambiguous,
            exit_code=code,
            taken_away=error.taken_away,
        )

    def _read_host(self) -> HostSample | None:
        try:
            return self._host.read()
        except ReadingError:
            return None
