"""Every memory domain of a machine of files: limits, headroom, ends."""

from pathlib import Path
from typing import Any

import pytest

from leakguard.core.badness import Era
from leakguard.core.errors import ReadingError
from leakguard.core.headroom import Headroom
from leakguard.core.units import GIB, KIB, MIB
from leakguard.core.victims import Domain, DomainKind, End, KillerRules
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.oom_domains import MemoryDomains, has_group_kill, walk
from leakguard.linux.oom_probe import OomKernel, RssSource
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.testing.files import CgroupFiles, ProcFiles

KERNEL = OomKernel(
    release="6.12.0", rules=KillerRules(era=Era.SIGNED), rss_source=RssSource.STAT, cpus=2
)
STOCK = 2 * 64 * PAGE_BYTES
NO_LIMIT_V1 = 2**63 - PAGE_BYTES


class Machine:
    """A /proc and a cgroup tree of files, and what is read of them."""

    def __init__(self, folder: Path, version: int) -> None:
        self.version = version
        self.proc = ProcFiles(folder / "proc")
        self.groups = CgroupFiles(folder / "cgroup", version)
        fs = ProcFs(str(self.proc.root))
        self.cgroups = CgroupFs(fs, str(self.groups.root))
        self.domains = MemoryDomains(fs, self.cgroups, KERNEL, str(folder / "sys"))

    def meminfo(self, **kib: int) -> None:
        """Write /proc/meminfo; a name ends in _f for (file)."""
        lines = (f"{name.replace('_f', '(file)')}: {size} kB\n" for name, size in kib.items())
        self.proc.write("meminfo", "".join(lines))

    def setting(self, name: str, value: int) -> None:
        """Write a `vm.` setting."""
        self.proc.write(f"sys/vm/{name}", f"{value}\n")

    def group(self, path: str = "/a", **more: Any) -> Domain:
        """Write a group of 100 MiB, half of it used, and read it as a domain."""
        facts = {"limit": 100 * MIB, "usage": 50 * MIB, **more}
        self.groups.add(path, **facts)
        return self.domains.cgroup(self.cgroups.directory(path)).domain


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Give a machine of either version."""
    return Machine(tmp_path, request.param)


@pytest.fixture
def v1(tmp_path: Path) -> Machine:
    """Give a machine with cgroup version 1."""
    return Machine(tmp_path, 1)


@pytest.fixture
def v2(tmp_path: Path) -> Machine:
    """Give a machine with cgroup version 2."""
    return Machine(tmp_path, 2)


def test_a_plain_group(machine: Machine) -> None:
    """Its limit, use, headroom, and total pages without swap."""
    assert machine.group() == Domain(
        kind=DomainKind.MEMCG,
        path="/a",
        version=machine.version,
        limit_bytes=100 * MIB,
        usage_bytes=50 * MIB,
        headroom=Headroom(low_bytes=50 * MIB, high_bytes=50 * MIB + STOCK),
        total_pages=25_600,
    )


def test_files_of_a_group(machine: Machine) -> None:
    """Both lists count, what is unwritten is not sure, and what is mapped may melt."""
    names = {1: ("total_mapped_file", "total_dirty", "total_writeback"), 2: ()}[machine.version]
    mapped, dirty, writeback = names or ("file_mapped", "file_dirty", "file_writeback")
    domain = machine.group(
        stat={
            "active_file": 6 * MIB,
            "inactive_file": 14 * MIB,
            mapped: 9 * MIB,
            dirty: 2 * MIB,
            writeback: 1 * MIB,
        }
    )
    assert domain.headroom == Headroom(low_bytes=67 * MIB, high_bytes=70 * MIB + STOCK)
    assert domain.mapped_file_pages == 9 * MIB // PAGE_BYTES


def test_no_more_can_melt_than_is_on_the_lists(v2: Machine) -> None:
    """Locked and shared pages are mapped too, and stay."""
    domain = v2.group(stat={"active_file": 3 * MIB, "file_mapped": 9 * MIB})
    assert domain.mapped_file_pages == 3 * MIB // PAGE_BYTES


def test_slab_of_v2(v2: Machine) -> None:
    """Reclaimable slab widens the high bound."""
    domain = v2.group(stat={"slab_reclaimable": 4 * MIB})
    assert domain.headroom == Headroom(low_bytes=50 * MIB, high_bytes=54 * MIB + STOCK)


def test_every_group_below_has_a_stock(machine: Machine) -> None:
    """Each CPU holds pages for several groups, up to seven."""
    for name in "bcdefghi":
        machine.groups.add(f"/a/{name}")
    assert machine.group().headroom.high_bytes == 50 * MIB + 7 * STOCK


def test_swap_of_v2(v2: Machine) -> None:
    """Room is bounded by all ancestors; total pages look at the group alone."""
    v2.meminfo(MemTotal=GIB // KIB, SwapTotal=90 * MIB // KIB, SwapFree=60 * MIB // KIB)
    v2.groups.add("/a", limit=None)
    v2.groups.write("/a", "memory.swap.max", f"{20 * MIB}\n")
    v2.groups.write("/a", "memory.swap.current", f"{5 * MIB}\n")
    v2.groups.add("/a/b", limit=100 * MIB, usage=50 * MIB)
    v2.groups.write("/a/b", "memory.swap.max", f"{40 * MIB}\n")
    v2.groups.write("/a/b", "memory.swap.current", "0\n")
    domain = v2.domains.cgroup(v2.cgroups.directory("/a/b")).domain
    assert domain.headroom.low_bytes == 65 * MIB
    assert domain.total_pages == 140 * MIB // PAGE_BYTES


def test_unbounded_swap_of_v2(v2: Machine) -> None:
    """`max` means that of the host."""
    v2.meminfo(MemTotal=GIB // KIB, SwapTotal=90 * MIB // KIB, SwapFree=60 * MIB // KIB)
    v2.groups.write("/a", "memory.swap.max", "max\n")
    domain = v2.group()
    assert (domain.headroom.low_bytes, domain.total_pages) == (
        110 * MIB,
        190 * MIB // PAGE_BYTES,
    )


def test_memory_plus_swap_of_v1(v1: Machine) -> None:
    """A limit of 120 MiB on both leaves 20 MiB of swap."""
    v1.meminfo(MemTotal=GIB // KIB, SwapTotal=90 * MIB // KIB, SwapFree=60 * MIB // KIB)
    v1.groups.write("/a", "memory.memsw.limit_in_bytes", f"{120 * MIB}\n")
    v1.groups.write("/a", "memory.memsw.usage_in_bytes", f"{55 * MIB}\n")
    domain = v1.group()
    assert (domain.headroom.low_bytes, domain.total_pages) == (65 * MIB, 120 * MIB // PAGE_BYTES)


def test_memory_plus_swap_may_be_hit_first(v1: Machine) -> None:
    """With both limits equal and 30 MiB swapped out, 20 MiB are left and not 50."""
    v1.meminfo(MemTotal=GIB // KIB, SwapTotal=90 * MIB // KIB, SwapFree=60 * MIB // KIB)
    v1.groups.write("/a", "memory.memsw.limit_in_bytes", f"{100 * MIB}\n")
    v1.groups.write("/a", "memory.memsw.usage_in_bytes", f"{80 * MIB}\n")
    assert v1.group().headroom.low_bytes == 20 * MIB


def test_a_group_that_does_not_swap(machine: Machine) -> None:
    """A swappiness of 0 leaves swap out of headroom and total."""
    machine.meminfo(MemTotal=GIB // KIB, SwapTotal=90 * MIB // KIB, SwapFree=60 * MIB // KIB)
    if machine.version == 1:
        machine.groups.write("/a", "memory.swappiness", "0\n")
    else:
        machine.setting("swappiness", 0)
    domain = machine.group()
    assert (domain.headroom.low_bytes, domain.total_pages) == (50 * MIB, 25_600)


def test_memory_high_throttles(v2: Machine) -> None:
    """Below the limit it is told; above it never matters."""
    v2.groups.write("/a", "memory.high", f"{80 * MIB}\n")
    assert v2.group().throttled_from_bytes == 80 * MIB
    v2.groups.write("/b", "memory.high", f"{180 * MIB}\n")
    v2.groups.write("/c", "memory.high", "max\n")
    assert [v2.group(path).throttled_from_bytes for path in ("/b", "/c")] == [None, None]


def test_memory_high_without_a_limit_is_an_end(v2: Machine) -> None:
    """Nobody dies: whoever asks is slowed down for ever. Its limit is then `memory.high`."""
    v2.groups.write("/a", "memory.high", f"{80 * MIB}\n")
    found = v2.group(limit=None, stat={"active_file": 10 * MIB})
    assert (found.end, found.limit_bytes) == (End.THROTTLED, 80 * MIB)
    assert found.throttled_from_bytes == 80 * MIB
    assert found.headroom == Headroom(low_bytes=40 * MIB, high_bytes=40 * MIB + STOCK)
    assert [one.domain.path for one in v2.domains.limited()] == ["/a"]


def test_a_group_with_neither_limit_nor_high_is_no_domain(v2: Machine) -> None:
    """There is nothing that it could come to."""
    v2.groups.write("/a", "memory.high", "max\n")
    with pytest.raises(ReadingError, match="no memory limit"):
        v2.group(limit=None)
    assert list(v2.domains.limited()) == []


def test_a_group_that_hangs(v1: Machine) -> None:
    """With the OOM killer turned off nobody is killed."""
    v1.groups.add("/a", limit=100 * MIB)
    v1.groups.write("/a", "memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n")
    domain = v1.domains.cgroup(v1.cgroups.directory("/a")).domain
    assert (domain.end, "waits" in domain.end_reason) == (End.HANG, True)


@pytest.mark.parametrize(
    ("value", "host", "group"),
    [(0, End.KILL, End.KILL), (1, End.PANIC, End.KILL), (2, End.PANIC, End.PANIC)],
)
def test_panic(machine: Machine, value: int, host: End, group: End) -> None:
    """1 panics for the host only, 2 for cgroups as well."""
    machine.setting("panic_on_oom", value)
    machine.meminfo(MemTotal=1000, MemFree=500, MemAvailable=500)
    assert (machine.domains.host().domain.end, machine.group().end) == (host, group)


def test_the_allocating_task_dies_on_the_host_only(machine: Machine) -> None:
    """A cgroup's killer does not look at that setting."""
    machine.setting("oom_kill_allocating_task", 1)
    machine.meminfo(MemTotal=1000, MemFree=500, MemAvailable=500)
    ends = machine.domains.host().domain.end, machine.group().end
    assert ends == (End.ALLOCATOR, End.KILL)


def test_the_host(machine: Machine) -> None:
    """Total pages hold swap; the bounds are MemAvailable and all that can be freed."""
    machine.meminfo(
        MemTotal=100_000,
        MemFree=30_000,
        MemAvailable=45_000,
        Active_f=9_000,
        Inactive_f=11_000,
        Mapped=4_000,
        Dirty=500,
        SReclaimable=2_000,
        SwapTotal=20_000,
        SwapFree=15_000,
    )
    machine.proc.write("zoneinfo", "Node 0, zone DMA\n        min      50\n")
    assert machine.domains.host().domain == Domain(
        kind=DomainKind.HOST,
        limit_bytes=100_000 * KIB,
        usage_bytes=70_000 * KIB,
        headroom=Headroom(low_bytes=59_500 * KIB, high_bytes=(67_000 - 200) * KIB),
        total_pages=30_000,
        mapped_file_pages=1_000,
    )


def test_zram_of_the_host_is_no_disk(machine: Machine, tmp_path: Path) -> None:
    """Free zram counts by its ratio, the rest of the free swap whole."""
    machine.meminfo(
        MemTotal=100_000, MemFree=30_000, MemAvailable=30_000, SwapTotal=9_000, SwapFree=8_000
    )
    machine.proc.write(
        "swaps", "/dev/zram0 partition 5000 1000 100\n/dev/sda2 partition 4000 0 1\n"
    )
    figures = tmp_path / "sys" / "block" / "zram0" / "mm_stat"
    figures.parent.mkdir(parents=True)
    figures.write_text("1024000 200000 256000 0 256000 0 0 0 0\n")
    room = machine.domains.host().domain.headroom
    assert room == Headroom(low_bytes=37_000 * KIB, high_bytes=37_000 * KIB)


def test_promises_of_the_host(machine: Machine) -> None:
    """Overcommit 2: allocations fail at CommitLimit, which may be long before memory is used."""
    machine.setting("overcommit_memory", 2)
    machine.setting("admin_reserve_kbytes", 100)
    machine.meminfo(
        MemTotal=9_000, MemFree=8_000, MemAvailable=8_000, CommitLimit=4_500, Committed_AS=4_000
    )
    domain = machine.domains.host().domain
    assert (domain.end, domain.headroom) == (
        End.ENOMEM,
        Headroom(low_bytes=400 * KIB, high_bytes=500 * KIB),
    )


def test_all_limited_groups_are_found(machine: Machine) -> None:
    """Those above before those below; groups without a limit are no domains."""
    machine.meminfo(MemTotal=1000, MemFree=500)
    machine.groups.add("/a", limit=100 * MIB)
    machine.groups.add("/a/plain")
    machine.groups.add("/a/plain/c", limit=50 * MIB)
    machine.groups.add("/z", limit=60 * MIB)
    found = [one.domain.path for one in machine.domains.limited()]
    assert sorted(found) == ["/a", "/a/plain/c", "/z"]
    assert found.index("/a") < found.index("/a/plain/c")


def test_a_group_without_a_limit_is_no_domain(machine: Machine) -> None:
    """It is said so."""
    machine.groups.add("/a")
    with pytest.raises(ReadingError, match="no memory limit"):
        machine.domains.cgroup(machine.cgroups.directory("/a"))


def test_the_walk_is_the_kernels(tmp_path: Path) -> None:
    """Parents first, elder siblings first, whatever their names; inode numbers tell the age."""
    for name in ("z", "z/2", "z/1", "a", "a/x"):
        (tmp_path / name).mkdir()
    ages = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    walked = [Path(place) for place in walk(str(tmp_path), 99)]
    assert walked[0] == tmp_path
    assert [walked.index(p.parent) < walked.index(p) for p in walked[1:]] == [True] * 5
    for parent in (tmp_path, tmp_path / "z"):
        below = [ages[path] for path in walked if path.parent == parent]
        assert below == sorted(below)
    assert len(list(walk(str(tmp_path), 3))) == 3


def test_a_whole_group_dies_on_v2_only(machine: Machine) -> None:
    """`memory.oom.group` is a file of v2."""
    machine.groups.add("/a", limit=100 * MIB)
    machine.groups.write("/a", "memory.oom.group", "1\n")
    assert has_group_kill(machine.cgroups.directory("/a")) == (machine.version == 2)
