"""Where a guarded service lives: its processes, units, cgroup, and the domains above it."""

import re
from collections.abc import Sequence
from dataclasses import replace

from leakguard.core.errors import LeakguardError
from leakguard.core.findings.facts import GroupKill, ServiceFacts, UnitFacts, domain_key
from leakguard.core.victims import Domain
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.oom_domains import has_group_kill
from leakguard.linux.procfs import ProcFs
from leakguard.linux.systemd_units import SystemdUnits
from leakguard.runtime.doctor.processes import Processes
from leakguard.runtime.doctor.watched import Watched

_CONTAINER = re.compile(r"[0-9a-f]{64}")
_SHORT_ID = 12


class ServiceReader:
    """Completes what is known of services."""

    def __init__(
        self, proc: ProcFs, cgroups: CgroupFs, units: SystemdUnits, processes: Processes
    ) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._units = units
        self._processes = processes

    def read(
        self, watched: Sequence[Watched], domains: Sequence[Domain]
    ) -> tuple[ServiceFacts, ...]:
        """Complete them all; one that is not seen keeps what a daemon told."""
        names = {pid: one.facts.name for one in watched for pid in one.pids}
        keys = {domain_key(domain.version, domain.path): domain.path for domain in domains}
        return tuple(self._complete(one, names, keys) for one in watched)

    def _complete(self, one: Watched, names: dict[int, str], keys: dict[str, str]) -> ServiceFacts:
        chain = self._chain(one)
        processes = self._processes.all_facts(one.pids)
        if not chain:
            by_path = [key for key, path in keys.items() if path in one.facts.reached_s]
            return replace(one.facts, processes=processes, domains=("host", *by_path))
        container = _CONTAINER.search(chain[0].path)
        inside = [group.key for group in chain if group.key in keys]
        return replace(
            one.facts,
            processes=processes,
            cgroup=chain[0].path,
            container=container.group()[:_SHORT_ID] if container else "",
            units=self._units_of(one),
            group_kill=self._group_kill(chain, names),
            domains=("host", *inside),
        )

    def _chain(self, one: Watched) -> tuple[CgroupDir, ...]:
        """Give the cgroup of its first process and those above it."""
        try:
            own = self._cgroups.memory_dir(one.pids[0]) if one.pids else None
            return tuple(self._cgroups.ancestors(own)) if own is not None else ()
        except LeakguardError:  # it ended meanwhile
            return ()

    def _units_of(self, one: Watched) -> tuple[UnitFacts, ...]:
        try:
            return self._units.of(self._proc.cgroup_of(one.pids[0]))
        except LeakguardError:
            return ()

    def _group_kill(self, chain: Sequence[CgroupDir], names: dict[int, str]) -> GroupKill | None:
        """Find the highest group above it that dies as a whole."""
        highest = next((group for group in reversed(chain) if has_group_kill(group)), None)
        if highest is None:
            return None
        try:
            pids = self._cgroups.procs(highest)
        except LeakguardError:
            pids = ()
        others = (names.get(pid) or self._name(pid) for pid in pids)
        return GroupKill(
            path=highest.path,
            directory=highest.directory,
            names=tuple(dict.fromkeys(filter(None, others))),
        )

    def _name(self, pid: int) -> str:
        facts = self._processes.facts(pid)
        return facts.name if facts is not None else ""
