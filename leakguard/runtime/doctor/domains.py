"""One memory domain as `doctor` sees it: what it holds, who lives in it, whom it takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from leakguard.core.badness import Candidate
from leakguard.core.errors import LeakguardError, ReadingError
from leakguard.core.findings.facts import (
    DomainFacts,
    GuardFacts,
    Held,
    MachineFacts,
    ServiceFacts,
    Tenant,
    UnitFacts,
    domain_key,
)
from leakguard.core.victims import Domain, DomainKind, End, Growth, Prediction, predict
from leakguard.linux import oom_probe
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.oom_machine import DomainReport, OomMachine
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.linux.systemd_units import SystemdUnits
from leakguard.runtime.doctor.processes import Processes
from leakguard.runtime.doctor.watched import Watched


class DomainReader:
    """Turns the reports of the OOM model into facts."""

    def __init__(
        self,
        proc: ProcFs,
        cgroups: CgroupFs,
        oom: OomMachine,
        units: SystemdUnits,
        processes: Processes,
        *,
        machine: MachineFacts,
        sys_root: str,
    ) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._machine = machine
        self._sys_root = sys_root
        self._rules = oom.kernel.rules
        self._units = units
        self._processes = processes
        self._groups = {group.key: group for group in oom.domains.groups()}

    def read(
        self,
        report: DomainReport,
        services: Sequence[ServiceFacts],
        watched: Sequence[Watched],
        guard: GuardFacts | None,
    ) -> DomainFacts:
        """Complete one report."""
        domain = report.domain
        key = domain_key(domain.version, domain.path)
        group = self._groups.get(key)
        here = [service for service in services if key in service.domains]
        alive = [one for one in report.candidates if one.total_vm_pages]
        prediction = self._predicted(report, here)
        by_pid = {one.pid: one for one in report.candidates}
        killed = tuple(by_pid[pid] for pid in prediction.kills if pid in by_pid)
        names = {pid: one.facts.name for one in watched for pid in one.pids}
        return DomainFacts(
            domain=domain,
            prediction=prediction,
            held=self._held(domain, group),
            directory=group.directory if group is not None else "",
            tenants=self._tenants(alive, here, names),
            processes=len(alive),
            hidden=report.hidden,
            killed=killed,
            group_kill=killed[0].group if killed else "",
            victim_service=names.get(killed[0].pid, "") if killed else "",
            victim_unit=self._unit(killed[0].pid) if killed else None,
            guard_inside=guard is not None and self._is_inside(guard.pid, key),
        )

    def _held(self, domain: Domain, group: CgroupDir | None) -> Held:
        """Give what a domain holds and cannot drop, and what it can hold."""
        info = self._proc.meminfo()
        if domain.end is End.ENOMEM:
            limit = info.get("CommitLimit", 0)
            promised = max(0, info.get("Committed_AS", 0) - domain.left_out_bytes)
            return Held(used_bytes=promised, capacity_bytes=limit, fast_bytes=limit)
        disk_swap = max(0, info.get("SwapTotal", 0) - self._machine.swap.zram_bytes)
        if group is None:
            return self._held_by_host(domain, info, disk_swap)
        capacity = domain.total_pages * PAGE_BYTES
        fast = domain.limit_bytes if disk_swap else capacity
        try:
            swapped = self._cgroups.usage_parts(group).swap
            used = max(0, self._cgroups.used(group) - domain.left_out_bytes)
        except ReadingError:  # removed meanwhile
            used, swapped = domain.usage_bytes, 0
        return Held(used_bytes=used + swapped, capacity_bytes=capacity, fast_bytes=fast)

    def _held_by_host(self, domain: Domain, info: Mapping[str, int], disk_swap: int) -> Held:
        """Count swapped pages as held, and neither a ZFS cache nor what zram takes for them."""
        arc = oom_probe.arc_bytes(self._proc)
        zram = sum(device.cost_bytes for device in oom_probe.zram_swap(self._proc, self._sys_root))
        swapped = max(0, info.get("SwapTotal", 0) - info.get("SwapFree", 0))
        available = info.get("MemAvailable", info.get("MemFree", 0))
        used = info.get("MemTotal", 0) - available + swapped - arc - zram
        used = max(0, used - domain.left_out_bytes)
        capacity = used + domain.headroom.low_bytes + arc
        return Held(
            used_bytes=used, capacity_bytes=capacity, fast_bytes=max(0, capacity - disk_swap)
        )

    def _predicted(self, report: DomainReport, here: Iterable[ServiceFacts]) -> Prediction:
        """Project to the end of the domain where a daemon knows who grows."""
        growth = dict(_growth(service) for service in here if service.leaks and service.processes)
        slope = sum(trend.slope_bytes_per_s for trend in growth.values())
        if slope <= 0:
            return report.prediction
        room = report.domain.headroom
        later = predict(
            report.domain,
            report.candidates,
            self._rules,
            growth=growth,
            within_s=(room.low_bytes / slope, room.high_bytes / slope),
        )
        return self._doubted(later, report)

    def _doubted(self, prediction: Prediction, report: DomainReport) -> Prediction:
        """Keep the doubt of a report of which not every process could be read."""
        blind = report.domain.kind is DomainKind.HOST and not self._machine.sees_all
        if not prediction.certain or not (report.hidden or blind):
            return prediction
        return replace(prediction, certain=False, why_uncertain=report.prediction.why_uncertain)

    def _tenants(
        self,
        alive: Sequence[Candidate],
        here: Iterable[ServiceFacts],
        names: Mapping[int, str],
    ) -> tuple[Tenant, ...]:
        """List guarded services, and all other processes by their name, the largest first."""
        found = [
            Tenant(
                name=service.name,
                size_bytes=service.size_bytes or 0,
                processes=max(1, len(service.processes)),
                guarded=True,
            )
            for service in here
        ]
        others: dict[str, list[Candidate]] = {}
        for candidate in alive:
            if candidate.pid not in names:
                others.setdefault(candidate.name, []).append(candidate)
        found.extend(self._together(name, many) for name, many in others.items())
        found.sort(key=lambda tenant: tenant.size_bytes, reverse=True)
        return tuple(found)

    def _together(self, name: str, many: Sequence[Candidate]) -> Tenant:
        """Add up processes of one name; shared memory counts once, as they share it mostly."""
        sizes = [self._processes.size(one.pid) for one in many]
        own, shared = sum(size[0] for size in sizes), max(size[1] for size in sizes)
        return Tenant(name=name, size_bytes=own + shared, processes=len(many))

    def _unit(self, pid: int) -> UnitFacts | None:
        try:
            units = self._units.of(self._proc.cgroup_of(pid))
        except LeakguardError:
            return None
        return next((unit for unit in units if not unit.name.endswith(".slice")), None)

    def _is_inside(self, pid: int, key: str) -> bool:
        try:
            own = self._cgroups.memory_dir(pid)
        except LeakguardError:
            return False
        return own is not None and key in {group.key for group in self._cgroups.ancestors(own)}


def _growth(service: ServiceFacts) -> tuple[int, Growth]:
    """Lay a service's slope on its largest process."""
    largest = max(service.processes, key=lambda one: one.size_bytes)
    return largest.pid, Growth(slope_bytes_per_s=service.slope_bytes_per_s or 0.0)
