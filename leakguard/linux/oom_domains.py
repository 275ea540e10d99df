"""Every memory domain of this machine: the host, and each cgroup with a limit that can be seen."""

import contextlib
import os
from collections.abc import Iterator

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.headroom import (
    HostFigures,
    MemcgFigures,
    commit_headroom,
    host_headroom,
    memcg_headroom,
)
from leakguard.core.sample import DomainSample
from leakguard.core.victims import Domain, DomainKind, End
from leakguard.linux import oom_probe
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.oom_probe import OomKernel, OomSettings, read_bytes, whole
from leakguard.linux.procfs import PAGE_BYTES, ProcFs

_LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
_UNLIMITED_V1 = 1 << 62
_CHARGED_AHEAD_PAGES = 64
"""What each CPU takes from a cgroup in advance; taken back before a kill."""
_CHARGED_AHEAD_GROUPS = 7
"""For so many cgroups each CPU holds such a stock (since 6.16; before that for one)."""
_PANIC_ON_ANY = 2
_NEVER_OVERCOMMIT = 2
MOST_GROUPS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDomain:
    """A domain, and the cgroup where it is one."""

    domain: Domain
    cgroup: CgroupDir | None = None


class MemoryDomains:
    """Reads the domains. Holds no state but open files of `cgroups`."""

    def __init__(
        self, proc: ProcFs, cgroups: CgroupFs, kernel: OomKernel, sys_root: str = "/sys"
    ) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._kernel = kernel
        self._sys_root = sys_root

    def host(self) -> FoundDomain:
        """Read the host.

        Raises:
            ReadingError: /proc/meminfo cannot be read.
        """
        settings = oom_probe.probe_settings(self._proc)
        figures = self._host_figures(settings)
        end, reason = _host_end(settings)
        return FoundDomain(
            domain=Domain(
                kind=DomainKind.HOST,
                limit_bytes=figures.total_bytes,
                usage_bytes=figures.total_bytes - figures.free_bytes,
                headroom=commit_headroom(figures) if end is End.ENOMEM else host_headroom(figures),
                total_pages=(figures.total_bytes + figures.swap_total_bytes) // PAGE_BYTES,
                mapped_file_pages=min(figures.mapped_bytes, figures.file_bytes) // PAGE_BYTES,
                end=end,
                end_reason=reason,
            )
        )

    def limited(self) -> Iterator[FoundDomain]:
        """Read every cgroup with a limit or `memory.high`, those above before those below."""
        for group in self.groups():
            if is_limited(group) or has_high(group):
                with contextlib.suppress(ReadingError):  # removed meanwhile
                    yield self.cgroup(group)

    def groups(self, version: int | None = None) -> Iterator[CgroupDir]:
        """Walk every memory cgroup that can be seen, in the order of the kernel's own walk."""
        for top in self._cgroups.tops():
            if version not in (None, top.version):
                continue
            for directory in walk(top.directory, MOST_GROUPS):
                inside = directory.removeprefix(top.directory)
                yield CgroupDir(
                    version=top.version,
                    path=f"{top.path.rstrip('/')}{inside}" or "/",
                    directory=directory,
                    top=top.top,
                    complete=top.complete,
                )

    def cgroup(self, group: CgroupDir) -> FoundDomain:
        """Read one cgroup that has a limit, or `memory.high`.

        Raises:
            ReadingError: it is gone, or has neither.
        """
        settings = oom_probe.probe_settings(self._proc)
        meminfo = self._proc.meminfo()
        sample = self._sizes(group, meminfo.get("SwapFree", 0))
        swappy = _swappiness(group, settings) > 0
        room = sample.swap_room_bytes if swappy else min(0, sample.swap_room_bytes)
        stat = _stat(group)
        figures = MemcgFigures(
            limit_bytes=sample.limit_bytes,
            usage_bytes=sample.usage_bytes,
            file_bytes=sample.reclaimable_bytes,
            unwritten_bytes=stat.get("dirty", 0) + stat.get("writeback", 0),
            slab_bytes=stat.get("slab_reclaimable", 0),
            swap_room_bytes=room,
            stock_bytes=self._kernel.cpus * _CHARGED_AHEAD_PAGES * PAGE_BYTES * _stocks(group),
        )
        swap = meminfo.get("SwapTotal", 0) if swappy else 0
        total = sample.limit_bytes + min(swap, _swap_beyond(group, sample.limit_bytes))
        end, reason = _memcg_end(group, settings)
        return FoundDomain(
            cgroup=group,
            domain=Domain(
                kind=DomainKind.MEMCG,
                path=group.path,
                version=group.version,
                limit_bytes=sample.limit_bytes,
                usage_bytes=sample.usage_bytes,
                headroom=memcg_headroom(figures),
                total_pages=max(1, total // PAGE_BYTES),
                mapped_file_pages=min(stat.get("mapped", 0), figures.file_bytes) // PAGE_BYTES,
                end=end,
                end_reason=reason,
                throttled_from_bytes=_throttled_from(group, sample.limit_bytes, end),
            ),
        )

    def _sizes(self, group: CgroupDir, swap_free: int) -> DomainSample:
        """Read its sizes; where it has `memory.high` alone, that stands for the limit."""
        high = None if is_limited(group) else self._cgroups.read_throttle(group, swap_free)
        if high is None:
            return self._cgroups.read_domain(group, swap_free)
        return DomainSample(
            path=high.path,
            version=group.version,
            limit_bytes=high.high_bytes,
            usage_bytes=high.usage_bytes,
            reclaimable_bytes=high.reclaimable_bytes,
            swap_room_bytes=high.swap_room_bytes,
        )

    def _host_figures(self, settings: OomSettings) -> HostFigures:
        info = self._proc.meminfo()
        if "MemTotal" not in info or "MemFree" not in info:
            raise ReadingError(f"{self._proc.root}/meminfo has no MemTotal and MemFree")
        zram = oom_probe.zram_swap(self._proc, self._sys_root)
        free = info["MemFree"]
        return HostFigures(
            total_bytes=info["MemTotal"],
            free_bytes=free,
            available_bytes=info.get("MemAvailable", free),
            file_bytes=info.get("Active(file)", 0) + info.get("Inactive(file)", 0),
            mapped_bytes=info.get("Mapped", 0),
            unwritten_bytes=info.get("Dirty", 0) + info.get("Writeback", 0),
            slab_bytes=info.get("SReclaimable", 0),
            min_watermark_bytes=oom_probe.min_watermark_bytes(self._proc),
            arc_bytes=oom_probe.arc_bytes(self._proc),
            swap_total_bytes=info.get("SwapTotal", 0),
            swap_free_bytes=max(0, info.get("SwapFree", 0) - sum(z.free_bytes for z in zram)),
            zram=zram,
            commit_limit_bytes=info.get("CommitLimit", 0),
            committed_bytes=info.get("Committed_AS", 0),
            commit_reserve_bytes=settings.commit_reserve_bytes,
        )


def walk(directory: str, most: int) -> Iterator[str]:
    """Walk a cgroup and those below it as the kernel does: parents first, the eldest child first.

    The inode number tells the age: kernfs counts it up.
    """
    waiting, seen = [directory], 0
    while waiting and seen < most:
        place = waiting.pop()
        seen += 1
        yield place
        try:
            with os.scandir(place) as entries:
                below = [e for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:  # removed meanwhile
            continue
        below.sort(key=lambda entry: entry.inode(), reverse=True)
        waiting.extend(entry.path for entry in below)


def is_limited(group: CgroupDir) -> bool:
    """Tell whether a group has a memory limit."""
    limit = _number(group, _LIMIT_FILES[group.version])
    return limit is not None and (group.version == 2 or limit < _UNLIMITED_V1)


def has_high(group: CgroupDir) -> bool:
    """Tell whether a group is slowed down from some size on."""
    return group.version == 2 and _number(group, "memory.high") is not None


def has_group_kill(group: CgroupDir) -> bool:
    """Tell whether all in the group die together."""
    return group.version == 2 and _number(group, "memory.oom.group") == 1


def _stocks(group: CgroupDir) -> int:
    return sum(1 for _ in walk(group.directory, _CHARGED_AHEAD_GROUPS))


def _number(group: CgroupDir, name: str) -> int | None:
    """Read a number; None for `max`, and for a file that is not there."""
    return whole(read_bytes(f"{group.directory}/{name}"))


def _stat(group: CgroupDir) -> dict[str, int]:
    """Read of memory.stat what `DomainSample` does not hold, under names of our own."""
    names = {
        b"total_mapped_file": "mapped",
        b"total_dirty": "dirty",
        b"total_writeback": "writeback",
    }
    if group.version == 2:
        names = {
            b"file_mapped": "mapped",
            b"file_dirty": "dirty",
            b"file_writeback": "writeback",
            b"slab_reclaimable": "slab_reclaimable",
        }
    words = read_bytes(f"{group.directory}/memory.stat").split()
    pairs = zip(words[::2], words[1::2], strict=False)
    return {names[k]: int(v) for k, v in pairs if k in names and v.isdigit() and len(v) <= 20}


def _swappiness(group: CgroupDir, settings: OomSettings) -> int:
    own = _number(group, "memory.swappiness") if group.version == 1 else None
    return settings.swappiness if own is None else own


def _swap_beyond(group: CgroupDir, limit: int) -> int:
    """Give how much swap the group itself may use, without looking at its ancestors."""
    if group.version == 2:
        most = _number(group, "memory.swap.max")
        return 1 << 62 if most is None else most
    both = _number(group, "memory.memsw.limit_in_bytes")
    return 1 << 62 if both is None else max(0, both - limit)


def _throttled_from(group: CgroupDir, limit: int, end: End) -> int | None:
    high = _number(group, "memory.high") if group.version == 2 else None
    return high if high is not None and (high < limit or end is End.THROTTLED) else None


def _host_end(settings: OomSettings) -> tuple[End, str]:
    if settings.overcommit_memory == _NEVER_OVERCOMMIT:
        return End.ENOMEM, "vm.overcommit_memory=2: allocations fail at CommitLimit"
    if settings.panic_on_oom:
        return End.PANIC, f"vm.panic_on_oom={settings.panic_on_oom}: the machine stops"
    if settings.kill_allocating_task:
        return End.ALLOCATOR, (
            "vm.oom_kill_allocating_task=1: whoever asks for memory is killed, "
            "or the usual victim where that one cannot be"
        )
    return End.KILL, ""


def _memcg_end(group: CgroupDir, settings: OomSettings) -> tuple[End, str]:
    if group.version == 1:
        words = read_bytes(f"{group.directory}/memory.oom_control").split()
        if dict(zip(words[::2], words[1::2], strict=False)).get(b"oom_kill_disable") == b"1":
            return End.HANG, "oom_kill_disable is 1: whoever asks for memory waits"
    elif not is_limited(group):
        return End.THROTTLED, "memory.high without memory.max: whoever asks is slowed down for ever"
    if settings.panic_on_oom >= _PANIC_ON_ANY:
        return End.PANIC, "vm.panic_on_oom=2: the machine stops"
    return End.KILL, ""
