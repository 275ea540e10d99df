"""One snapshot: the services that are due, the cgroups above them, the host."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from leakguard.collectors.domains import DomainCollector
from leakguard.collectors.host import HostCollector
from leakguard.collectors.services import ServiceCollector
from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.instant import Instant
from leakguard.core.sample import Absent, DomainSample, HostSample, Reading, Snapshot, Unreadable
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.runtime.roster import Roster

log = logging.getLogger("leakguard.collect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one look gave; `dropped` are services that are no longer guarded."""

    snapshot: Snapshot
    dropped: tuple[str, ...] = ()


class Collector:
    """Reads what is due. Never raises for a service: a failure is a reading of its own."""

    def __init__(self, roster: Roster, proc: ProcFs, cgroups: CgroupFs) -> None:
        """Read the services of `roster`."""
        self.roster = roster
        self._services = ServiceCollector(proc, cgroups)
        self._domains = DomainCollector(cgroups)
        self._host = HostCollector(proc)

    def collect(self, due: Iterable[str], now: Instant) -> Collected:
        """Read every service in `due` that is (still) guarded, and what is above it."""
        dropped = self._scan(now)
        host = self._read_host()
        domains: dict[str, DomainSample] = {}
        guarded = set(self.roster.names())
        readings = tuple(self._read(name, now, host, domains) for name in due if name in guarded)
        snapshot = Snapshot(at=now, readings=readings, domains=domains, host=host)
        return Collected(snapshot=snapshot, dropped=dropped)

    def close(self) -> None:
        """Let go of the descriptors that were kept."""
        self._services.close()

    def _scan(self, now: Instant) -> tuple[str, ...]:
        try:
            return self.roster.scan(now)
        except Exception:  # an outside target may raise anything
            log.exception("new matches could not be looked for")
            return ()

    def directories(self) -> frozenset[CgroupDir]:
        """Give the limited cgroups that were read."""
        return self._domains.directories()

    def _read(
        self, name: str, now: Instant, host: HostSample | None, domains: dict[str, DomainSample]
    ) -> Reading:
        """Read one service; what a target or a reader did not expect is a failed reading too."""
        try:
            return self._look(name, now, host, domains)
        except Exception as error:
            log.exception("service=%s could not be read", name)
            return Unreadable(service=name, at=now, reason=f"{type(error).__name__}: {error}")

    def _look(
        self, name: str, now: Instant, host: HostSample | None, domains: dict[str, DomainSample]
    ) -> Reading:
        try:
            return self._sample(name, now, host, domains, again=False)
        except ProcessGone:
            self.roster.forget(name)
        except TargetError as error:
            return self._absent(name, now, error)
        except ReadingError as error:
            return Unreadable(service=name, at=now, reason=str(error))
        try:
            return self._sample(name, now, host, domains, again=True)
        except TargetError as error:
            return self._absent(name, now, error)
        except ProcessGone as error:
            return self._absent(name, now, TargetError(str(error)))
        except ReadingError as error:
            return Unreadable(service=name, at=now, reason=str(error))

    def _sample(
        self,
        name: str,
        now: Instant,
        host: HostSample | None,
        domains: dict[str, DomainSample],
        *,
        again: bool,
    ) -> Reading:
        location = self.roster.where(name, now, again=again)
        rules = self.roster.entry(name).plan.rules
        keys, found = self._domains.read(location, host.swap_free_bytes if host else 0, now)
        domains.update({key: found[key] for key in found if key not in domains})
        return self._services.read(name, location, rules.measure, now, keys)

    def _absent(self, name: str, now: Instant, error: TargetError) -> Absent:
        code = self.roster.entry(name).target.exit_code()
        reason = str(error) if code is None else f"{name} ended with code {code}"
        return Absent(
            service=name, at=now, reason=reason, ambiguous=error.ambiguous, exit_code=code
        )

    def _read_host(self) -> HostSample | None:
        try:
            return self._host.read()
        except ReadingError:
            return None
