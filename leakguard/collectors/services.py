"""One Sample of one service: sizes summed over its tree, or taken from its own cgroup.

`auto` is what a restart gives back: anonymous + shmem + swap. The cgroup's own counters say it
best, but only for a cgroup that holds the whole service, nothing else, and not leakguard; in all
other cases the processes of the tree are added up. Anonymous pages that a forked child still
shares with its parent count in both there; `pss` divides them.
"""

from collections.abc import Iterable

from leakguard.collectors.members import Members, Watch
from leakguard.collectors.split import Split, read_split
from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.sample import Incarnation, Location, Measure, Sample
from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs, UsageParts
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.linux.statm import StatmReader

_SPLIT_EVERY_S = 30.0
_SPLIT_EACH_S = 0.03
_SPLIT_PAUSE_S = 0.01
"""For each process of the tree: a split of many processes is not repeated at once, and one of
more than a thousand, whose `statm` does not move, less often."""
_JUMP_BYTES = MIB
_JUMP_SHARE = 64
_FORGET_S = 900.0
_NEGLIGIBLE_BYTES = MIB
_MOUNTS_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The cgroups above a service, by their keys, as `Sample` holds them."""

    domains: tuple[str, ...] = ()
    cgroup: str = ""
    throttles: tuple[str, ...] = ()


NOWHERE = Place()


@dataclass(slots=True, eq=False, repr=False)
class _Parts:
    """What the memory of a service consists of, in bytes; None where the kernel does not say."""

    anon: int
    file: int
    shmem: int | None
    swap: int | None
    tmpfs: int | None
    """Of the cgroup's shmem the files that outlive the service."""
    mounts: int
    """What is used on their mounts."""

    @property
    def auto(self) -> int:
        return self.anon + (self.shmem or 0) + (self.swap or 0)


@dataclass(slots=True)
class _Totals:
    """Sums of `statm` over the living members, in bytes."""

    rss: int = 0
    anon: int = 0
    shared: int = 0
    address_space: int = 0
    processes: int = 0


class ServiceCollector:
    """Reads samples; keeps a descriptor per process and the last split per service."""

    def __init__(self, proc: ProcFs, cgroups: CgroupFs) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._statm = StatmReader(proc)
        self._members = Members(proc, cgroups)
        self._watches: dict[str, Watch] = {}
        self._pruned_boot_s = 0.0

    def read(
        self,
        service: str,
        location: Location,
        measure: Measure,
        now: Instant,
        place: Place = NOWHERE,
    ) -> Sample:
        """Measure a service where it was located; `place` goes into the sample as it is.

        Raises:
            ProcessGone: its root process ended, or its pid is used by another one now.
            ReadingError: it runs, but the measure cannot be read.
        """
        watch = self._watch(service, location, now)
        totals = self._sum(watch)
        parts, root = self._parts(watch, measure, totals, now), location.root
        return Sample(
            service=service,
            at=now,
            incarnation=root,
            measure=measure,
            value_bytes=self._value(measure, watch, totals, parts),
            rss_bytes=totals.rss,
            anon_bytes=parts.anon,
            file_bytes=parts.file,
            shmem_bytes=parts.shmem,
            swap_bytes=parts.swap,
            processes=totals.processes,
            age_s=self._proc.age_s(root.start_ticks, now.boot_s),
            domains=place.domains,
            address_space_bytes=totals.address_space,
            address_limit_bytes=watch.address_limit,
            cgroup=place.cgroup,
            alone=watch.own_cgroup is not None,
            tmpfs_bytes=parts.tmpfs,
            mounts_bytes=parts.mounts,
            throttles=place.throttles,
            cpu_s=watch.split.cpu_s if watch.split is not None else None,
        )

    def members(self, service: str) -> tuple[int, ...]:
        """Give the processes of a service, as they were last listed; none when it was not read."""
        watch = self._watches.get(service)
        return tuple(watch.members) if watch is not None else ()

    def owner_of(self, pid: int) -> str:
        """Give the service that had a process when it was last looked at; empty when none did."""
        for service, watch in self._watches.items():
            if pid in watch.members or pid in watch.ended:
                return service
        return ""

    def keep(self, services: Iterable[str]) -> None:
        """Forget all services but these, and close what was open for them."""
        for service in self._watches.keys() - set(services):
            self._forget(service)

    def close(self) -> None:
        """Close every descriptor."""
        self._watches.clear()
        self._statm.close()

    def _watch(self, service: str, location: Location, now: Instant) -> Watch:
        watch = self._watches.get(service)
        if watch is None or (watch.location is not location and watch.location != location):
            self._forget(service)
            watch = self._watches[service] = Watch(location)
        watch.read_boot_s = now.boot_s
        for pid in self._members.refresh(watch, now.boot_s):
            self._statm.forget(pid)
        if abs(now.boot_s - self._pruned_boot_s) > _FORGET_S:
            self._pruned_boot_s = now.boot_s
            self._prune(now.boot_s)
        return watch

    def _sum(self, watch: Watch) -> _Totals:
        rss, shared, gone = 0, 0, []
        sizes: dict[int, tuple[int, int, int]] = {}
        read = self._statm.read
        for pid, (parent, start_ticks) in watch.members.items():
            try:
                size = read(pid, start_ticks)
            except ProcessGone:
                if pid == watch.location.root.pid:
                    raise
                gone.append(pid)
                continue
            if sizes.get(parent) == size:
                continue  # between vfork and exec a child shows its parent's memory as its own
            sizes[pid] = size
            rss += size[1]
            shared += size[2]
        totals = _Totals(
            rss=rss,
            anon=rss - shared,
            shared=shared,
            address_space=sizes[watch.location.root.pid][0],
            processes=len(watch.members) - len(gone),
        )
        for pid in gone:
            watch.ended[pid] = watch.members.pop(pid)[1]
        watch.split_due |= bool(gone)
        return totals

    def _parts(self, watch: Watch, measure: Measure, totals: _Totals, now: Instant) -> _Parts:
        """Take the parts from the service's own cgroup, or from its processes."""
        split = self._split(watch, totals, now)
        own = self._own_cgroup(watch, measure, totals)
        tmpfs, mounts = self._tmpfs(watch, self._charged_shmem(watch, measure, own), now)
        return _Parts(
            anon=totals.anon if own is None else own.anon,
            file=max(0, totals.shared - split.mapped_shmem_bytes),
            shmem=split.shmem_bytes if own is None else own.shmem,
            swap=split.swap_bytes if own is None else own.swap,
            tmpfs=tmpfs,
            mounts=mounts,
        )

    def _charged_shmem(self, watch: Watch, measure: Measure, own: UsageParts | None) -> int | None:
        """Give the shmem of the cgroup that the measure is about, None where it is about none."""
        if own is not None:
            return own.shmem
        if measure is not Measure.CGROUP:
            return None
        watch.charged = watch.charged or self._charged(watch)
        return self._cgroups.usage_parts(watch.charged).shmem

    def _tmpfs(self, watch: Watch, charged: int | None, now: Instant) -> tuple[int | None, int]:
        """Bound what lies in files that outlive the service; and what is used on their mounts.

        What processes map goes with them, as a rule; and it is on no mount, if it is a memfd.
        """
        mapped = watch.split.shmem_bytes if watch.split is not None else None
        if charged is None or mapped is None:
            return None, 0
        unmapped = max(0, charged - mapped)
        if unmapped <= _NEGLIGIBLE_BYTES:
            return 0, 0
        from leakguard.linux.tmpfs import lasting_mounts, used_bytes  # few services have such files

        if not 0 <= now.boot_s - watch.mounts_boot_s < _MOUNTS_EVERY_S:
            watch.mounts = lasting_mounts(self._proc, watch.location.root.pid)
            watch.mounts_boot_s = now.boot_s
        if watch.mounts is None:
            return None, 0
        used = used_bytes(watch.mounts)
        return min(unmapped, used), used

    def _split(self, watch: Watch, totals: _Totals, now: Instant) -> Split:
        """Give the last split, read anew when old, or when `statm` shows that it moved."""
        split, age_s = watch.split, now.boot_s - watch.split_boot_s
        watch.split_anon = max(watch.split_anon, totals.anon)
        moved = (
            watch.split_due
            or _jumped(totals.shared - watch.split_shared, watch.split_shared)
            or _jumped(min(0, totals.anon - watch.split_anon), watch.split_anon)  # swapped out?
        )
        at_rest = max(_SPLIT_EVERY_S, _SPLIT_EACH_S * totals.processes)
        fresh = 0 <= age_s < (_SPLIT_PAUSE_S * totals.processes if moved else at_rest)
        if split is not None and fresh:
            return split
        split = read_split(self._proc, watch.members)
        watch.split, watch.split_boot_s, watch.split_due = split, now.boot_s, False
        watch.split_anon, watch.split_shared, watch.charged = totals.anon, totals.shared, None
        watch.address_limit = self._proc.address_space_limit(watch.location.root.pid)
        return split

    def _own_cgroup(self, watch: Watch, measure: Measure, totals: _Totals) -> UsageParts | None:
        """Read the cgroup's own split where the service is all that is in it."""
        if measure is not Measure.AUTO or watch.own_cgroup is None:
            return None
        try:
            parts = self._cgroups.usage_parts(watch.own_cgroup)
        except ReadingError:
            watch.own_cgroup = None
            return None
        if len(watch.members) == 1 and parts.anon < totals.anon * 3 // 4 - 4 * MIB:
            return None  # the process grew elsewhere and was moved in: its pages are charged there
        return parts

    def _value(self, measure: Measure, watch: Watch, totals: _Totals, parts: _Parts) -> int:
        if measure is Measure.AUTO:
            return parts.auto
        if measure is Measure.RSS:
            return totals.rss
        if measure is Measure.CGROUP:
            watch.charged = watch.charged or self._charged(watch)
            return self._cgroups.used(watch.charged)
        both = self._walk(watch)
        return both[0] if measure is Measure.PSS else both[1]

    def _walk(self, watch: Watch) -> tuple[int, int]:
        """Sum PSS and USS over the members."""
        pss = uss = 0
        for pid in watch.members:
            try:
                one = self._proc.smaps_rollup(pid)
            except ProcessGone:
                if pid == watch.location.root.pid:
                    raise
                continue
            pss, uss = pss + one[0], uss + one[1]
        return pss, uss

    def _charged(self, watch: Watch) -> CgroupDir:
        """Find the cgroup that `measure: cgroup` is about."""
        group = self._members.cgroup(watch)
        if group is None:
            raise ReadingError(
                f"the memory cgroup of {_name(watch.location)} cannot be seen from here: "
                "mount the host's cgroup tree read-only, or use `measure: auto`"
            )
        if group.path == "/" and group.complete:
            raise ReadingError(
                f"{_name(watch.location)} has no memory cgroup of its own (it is in the root "
                "cgroup): use `measure: auto`"
            )
        return group

    def _forget(self, service: str) -> None:
        watch = self._watches.pop(service, None)
        for pid in watch.members if watch else ():
            self._statm.forget(pid)

    def _prune(self, boot_s: float) -> None:
        recent = [s for s, w in self._watches.items() if abs(boot_s - w.read_boot_s) <= _FORGET_S]
        self.keep(recent)


def _jumped(change: int, reference: int) -> bool:
    return abs(change) > max(_JUMP_BYTES, reference // _JUMP_SHARE)


def _name(location: Location) -> str:
    root: Incarnation = location.root
    return f"{location.name or 'the service'} (pid {root.pid})"
