"""What the OOM killer would do on this machine now, domain by domain."""

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from leakguard.core.badness import ADJ_MIN, Candidate
from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.headroom import Headroom
from leakguard.core.victims import Domain, End, Growth, Prediction, predict
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.oom_domains import (
    FoundDomain,
    MemoryDomains,
    has_group_kill,
    has_high,
    is_limited,
    walk,
)
from leakguard.linux.oom_probe import OomKernel, probe_kernel, read_bytes
from leakguard.linux.oom_process import Row
from leakguard.linux.oom_scan import OomScan
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.linux.proctext import MemoryStatus

_KTHREADD = 2
_MOST_GROUPS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainReport:
    """One domain, its candidates and who dies in it."""

    domain: Domain
    prediction: Prediction
    candidates: tuple[Candidate, ...]
    """Those that were read in full, in the order of the kernel's scan."""
    left_out: int = 0
    """Processes that cannot come close to the first ones, and were not read in full."""
    hidden: int = 0
    """Processes that are there and cannot be read, at least."""
    protected: int = 0
    """Processes with an oom_score_adj of -1000."""


class OomMachine:
    """Looks at the domains of one machine. For one thread; keeps files of cgroups open."""

    def __init__(self, proc: ProcFs, cgroups: CgroupFs, sys_root: str = "/sys") -> None:
        """Probe the kernel once.

        Raises:
            ReadingError: there is no proc to read.
        """
        self.kernel: OomKernel = probe_kernel(proc, sys_root)
        self.domains = MemoryDomains(proc, cgroups, self.kernel, sys_root)
        self._proc = proc
        self._cgroups = cgroups
        self._scan = OomScan(proc, self.kernel)
        self._rows: dict[int, Row] = {}
        self._leaving: dict[int, MemoryStatus] = {}

    def look(
        self,
        first: CgroupDir | None = None,
        *,
        top: int | None = 2,
        growth: Mapping[int, Growth] | None = None,
        within_s: tuple[float, float] = (0.0, 0.0),
        leave_out: Collection[int] = (),
    ) -> Iterator[DomainReport]:
        """Report every domain: `first`, then the host, then the other limited cgroups.

        Args:
            first: a limited cgroup.
            top: how many candidates of each must be right; None reads every process in full.
            growth: trends by pid.
            within_s: earliest and latest time at which the domain is used up, from now.
            leave_out: pids that will not be there then, as that of a command which only looks. What
                they hold counts as free.

        Raises:
            ReadingError: nothing can be read at all, or `first` is gone.
        """
        self._rows = self._scan.census()
        self._leaving = dict(self._sizes(pid for pid in leave_out if self._rows.pop(pid, None)))
        found = [] if first is None else [self.domains.cgroup(first)]
        found.append(self.domains.host())
        found.extend(one for one in self.domains.limited() if first is None or one.cgroup != first)
        for one in found:
            yield self._report(one, top, growth or {}, within_s)

    def look_at(
        self,
        cgroup: CgroupDir | None,
        *,
        top: int | None = 2,
        growth: Mapping[int, Growth] | None = None,
        within_s: tuple[float, float] = (0.0, 0.0),
    ) -> DomainReport:
        """Report one domain alone: a limited cgroup, of which only its members are read, or None.

        Raises:
            ReadingError: it cannot be read.
        """
        if cgroup is None:
            self._rows, self._leaving = self._scan.census(), {}
            return self._report(self.domains.host(), top, growth or {}, within_s)
        found = self.domains.cgroup(cgroup)
        self._scan.forget()
        self._leaving = {}
        self._rows = self._scan.rows(pid for _, pids in members(cgroup) for pid in pids if pid)
        return self._report(found, top, growth or {}, within_s)

    def nearest_limited(self, cgroup: CgroupDir) -> CgroupDir | None:
        """Give the group itself or its nearest ancestor that has a limit, or `memory.high`."""
        above = self._cgroups.ancestors(cgroup)
        return next((one for one in above if is_limited(one) or has_high(one)), None)

    def _report(
        self,
        found: FoundDomain,
        top: int | None,
        growth: Mapping[int, Growth],
        within_s: tuple[float, float],
    ) -> DomainReport:
        rows, pids = self._members(found.cgroup)
        found = self._without_leaving(found, pids)
        groups = self._group_kills(found.cgroup)
        looked = self._scan.look(
            rows,
            found.domain,
            top=None if groups else top,  # the small ones of a group die too
            swap_used_pages=self._swap_used_pages(),
            always=growth,
        )
        candidates = tuple(
            replace(one, group=groups[one.pid]) if one.pid in groups else one
            for one in looked.candidates
        )
        prediction = predict(
            found.domain,
            candidates,
            self.kernel.rules,
            growth=growth,
            within_s=within_s,
            other_rss=looked.other_rss,
        )
        # One of a hidden pid namespace is listed as 0.
        hidden = pids.count(0) + len(self._scan.unreadable.intersection(pids))
        return DomainReport(
            domain=found.domain,
            prediction=self._doubted(prediction, found, hidden),
            candidates=candidates,
            left_out=looked.left_out,
            hidden=hidden,
            protected=sum(row.oom_score_adj == ADJ_MIN for row in rows),
        )

    def _sizes(self, pids: Iterable[int]) -> Iterator[tuple[int, MemoryStatus]]:
        for pid in pids:
            with contextlib.suppress(ReadingError):
                yield pid, self._proc.memory_status(pid)

    def _without_leaving(self, found: FoundDomain, pids: Collection[int]) -> FoundDomain:
        """Count as free what is held by who will not be there.

        Of the host only the high bound gains: MemAvailable promises a little too much, and 10 of 32
        kills came 5 to 9 MiB before a low bound that was raised by the 12 MiB of the command.
        """
        here = [s for pid, s in self._leaving.items() if found.cgroup is None or pid in pids]
        if not here:
            return found
        domain, held = found.domain, sum(size.own for size in here)
        more = sum(size.promised or 0 for size in here) if domain.end is End.ENOMEM else held
        sure = more if found.cgroup is not None or domain.end is End.ENOMEM else 0
        room = Headroom(
            low_bytes=domain.headroom.low_bytes + sure, high_bytes=domain.headroom.high_bytes + more
        )
        usage = max(0, domain.usage_bytes - held)
        left = replace(domain, usage_bytes=usage, headroom=room, left_out_bytes=more)
        return replace(found, domain=left)

    def _members(self, cgroup: CgroupDir | None) -> tuple[list[Row], list[int]]:
        """List the processes of a domain in the order of the scan, and all pids that are in it."""
        if cgroup is None:
            return sorted(self._rows.values()), [*self._rows, *self._scan.unreadable]
        rows: list[Row] = []
        everybody: list[int] = []
        for _, pids in members(cgroup):
            here = [self._rows[pid] for pid in pids if pid in self._rows]
            # v1 sorts the list by pid; by start is nearer to the order in which they came in.
            rows.extend(sorted(here) if cgroup.version == 1 else here)
            everybody.extend(pids)
        return rows, everybody

    def _group_kills(self, cgroup: CgroupDir | None) -> dict[int, str]:
        """Map processes to the highest group in the domain that dies as a whole."""
        groups: dict[int, str] = {}
        inside = ""
        for group in self.domains.groups(version=2) if cgroup is None else _below(cgroup):
            if inside and group.directory.startswith(f"{inside}/"):
                continue
            inside = ""
            if has_group_kill(group):
                inside = group.directory
                groups.update((pid, group.path) for _, pids in members(group) for pid in pids)
        return groups

    def _doubted(self, prediction: Prediction, found: FoundDomain, hidden: int) -> Prediction:
        """Take the certainty back where not everybody can be seen."""
        if not prediction.certain:
            return prediction
        if hidden:
            reason = f"{hidden} of its processes cannot be read"
        elif found.cgroup is None and not self._sees_all():
            reason = "processes outside of this pid namespace cannot be seen"
        else:
            return prediction
        return replace(prediction, certain=False, why_uncertain=reason)

    def _sees_all(self) -> bool:
        kthreadd = self._rows.get(_KTHREADD)
        return kthreadd is not None and kthreadd.kernel_thread

    def _swap_used_pages(self) -> int:
        try:
            info = self._proc.meminfo()
        except ReadingError:
            return 0
        return max(0, info.get("SwapTotal", 0) - info.get("SwapFree", 0)) // PAGE_BYTES


def members(cgroup: CgroupDir) -> Iterator[tuple[str, list[int]]]:
    """Give each group of a subtree with its processes; one of a hidden pid namespace is 0."""
    for directory in walk(cgroup.directory, _MOST_GROUPS):
        words = read_bytes(f"{directory}/cgroup.procs").split()
        yield directory, [int(word) for word in words if word.isdigit() and len(word) <= 10]


def _below(cgroup: CgroupDir) -> Iterable[CgroupDir]:
    if cgroup.version == 1:  # knows no group kill
        return
    for directory in walk(cgroup.directory, _MOST_GROUPS):
        inside = directory.removeprefix(cgroup.directory)
        yield replace(cgroup, path=os.path.normpath(f"{cgroup.path}/{inside}"), directory=directory)
