"""Samples of services, domains and the host, from trees of files."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from leakguard.collectors.domains import DomainCollector
from leakguard.collectors.host import HostCollector
from leakguard.collectors.services import Place, ServiceCollector
from leakguard.collectors.split import Split, read_split
from leakguard.collectors.table import ProcessTable
from leakguard.core.errors import ReadingError
from leakguard.core.sample import (
    HostSample,
    Incarnation,
    Location,
    Measure,
    Sample,
    Scope,
    ThrottleSample,
)
from leakguard.core.units import KIB, MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import TICKS_PER_S, ProcessGone, ProcFs
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import BOOT_ID, CgroupFiles, ProcFiles

SHM = b"7f00-7f01 rw-s 00000000 00:01 %d /dev/zero (deleted)\n"


class Bench:
    """A machine of files, a clock that stands, and the collectors on them."""

    def __init__(self, tmp_path: Path, version: int = 2) -> None:
        self.files = ProcFiles(tmp_path / "proc")
        self.groups = CgroupFiles(tmp_path / "cgroup", version)
        self.clock = FakeClock()
        self.proc = ProcFs(str(self.files.root))
        self.cgroups = CgroupFs(self.proc, str(self.groups.root))
        self.services = ServiceCollector(self.proc, self.cgroups)
        self.domains = DomainCollector(self.cgroups)

    def at(self, pid: int, *, scope: Scope = Scope.TREE, cgroup: str = "") -> Location:
        """Locate a service whose root started at tick 100."""
        root = Incarnation(boot_id=BOOT_ID, pid=pid, start_ticks=100)
        return Location(root=root, scope=scope, cgroup_path=cgroup, name="app")

    def sample(self, location: Location, measure: Measure = Measure.AUTO) -> Sample:
        """Read the service `app` now."""
        return self.services.read("app", location, measure, self.clock.now())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Give a machine with cgroup v2."""
    return Bench(tmp_path)


def test_one_process(bench: Bench) -> None:
    """Every field of a sample."""
    bench.files.add(10, anon=30 * MIB, file=6 * MIB, shmem=2 * MIB, swap=MIB)
    bench.files.write("10/limits", "Max address space 1073741824 unlimited bytes\n")
    location, now = bench.at(10), bench.clock.now()
    sample = bench.services.read("app", location, Measure.AUTO, now, Place(domains=("v2:/a",)))
    assert sample == Sample(
        service="app",
        at=now,
        incarnation=location.root,
        measure=Measure.AUTO,
        value_bytes=33 * MIB,
        rss_bytes=38 * MIB,
        anon_bytes=30 * MIB,
        file_bytes=6 * MIB,
        shmem_bytes=2 * MIB,
        swap_bytes=MIB,
        processes=1,
        age_s=now.boot_s - 100 / TICKS_PER_S,
        domains=("v2:/a",),
        address_space_bytes=152 * MIB,
        address_limit_bytes=1024 * MIB,
        cpu_s=0.0,
    )


def test_a_tree_is_summed(bench: Bench) -> None:
    """Descendants belong to the service, unless its scope is one process."""
    bench.files.add(10, anon=30 * MIB)
    bench.files.add(11, parent=10, anon=4 * MIB)
    bench.files.add(12, parent=11, anon=3 * MIB)
    tree = bench.sample(bench.at(10))
    alone = bench.sample(bench.at(10, scope=Scope.PROCESS))
    assert [(s.value_bytes // MIB, s.processes) for s in (tree, alone)] == [(37, 3), (30, 1)]


def test_members_come_and_go(bench: Bench) -> None:
    """A dead member is dropped at once, a new one is seen within two seconds."""
    bench.files.add(10, anon=30 * MIB)
    bench.files.add(11, parent=10, anon=4 * MIB)
    sizes = [bench.sample(bench.at(10)).value_bytes]
    bench.files.write("11/statm", "0 0 0 0 0 0 0\n")
    bench.files.add(12, parent=10, anon=5 * MIB)
    sizes.append(bench.sample(bench.at(10)).value_bytes)
    bench.clock.advance(2.0)
    sizes.append(bench.sample(bench.at(10)).value_bytes)
    assert [size // MIB for size in sizes] == [34, 30, 35]


def test_a_dead_root_is_gone(bench: Bench) -> None:
    """Whatever else is left of the tree."""
    bench.files.add(10)
    bench.files.add(11, parent=10)
    location = bench.at(10)
    bench.sample(location)
    bench.files.write("10/statm", "0 0 0 0 0 0 0\n")
    with pytest.raises(ProcessGone):
        bench.sample(location)


def test_a_pid_that_is_used_again_is_gone(bench: Bench) -> None:
    """The start time tells, for a tree as for one process."""
    bench.files.add(10, start=101)
    for scope in (Scope.TREE, Scope.PROCESS):
        with pytest.raises(ProcessGone, match="another"):
            bench.sample(bench.at(10, scope=scope))


def test_a_new_incarnation_starts_afresh(bench: Bench) -> None:
    """Nothing of the old one's split is carried over."""
    bench.files.add(10, anon=30 * MIB, swap=9 * MIB)
    bench.files.add(20, anon=2 * MIB)
    assert bench.sample(bench.at(10)).value_bytes == 39 * MIB
    assert bench.sample(bench.at(20)).value_bytes == 2 * MIB


def test_a_vfork_child_is_not_its_parent_once_more(bench: Bench) -> None:
    """Between vfork and exec it shows the parent's memory; counting it doubles the service."""
    bench.files.add(10, anon=300 * MIB, file=MIB)
    bench.files.add(11, parent=10, anon=300 * MIB, file=MIB)
    assert bench.sample(bench.at(10)).rss_bytes == 301 * MIB


def test_siblings_of_one_size_both_count(bench: Bench) -> None:
    """Only a child that equals its own parent is in doubt."""
    bench.files.add(10, anon=8 * MIB)
    for pid in (11, 12):
        bench.files.add(pid, parent=10, anon=3 * MIB)
    assert bench.sample(bench.at(10)).rss_bytes == 14 * MIB


def test_shmem_that_grows_is_seen_at_once(bench: Bench) -> None:
    """`statm` shows the jump; the split is read again then, and else every 30 seconds."""
    bench.files.add(10, anon=10 * MIB, file=5 * MIB, shmem=MIB, swap=0)
    values = [bench.sample(bench.at(10)).value_bytes]
    bench.clock.advance(1.0)
    bench.files.size(10, anon=10 * MIB, file=5 * MIB, shmem=MIB + 512 * KIB)
    values.append(bench.sample(bench.at(10)).value_bytes)  # too small to look again
    bench.clock.advance(1.0)
    bench.files.size(10, anon=10 * MIB, file=5 * MIB, shmem=9 * MIB)
    values.append(bench.sample(bench.at(10)).value_bytes)
    bench.clock.advance(30.0)
    bench.files.size(10, anon=10 * MIB, file=5 * MIB, shmem=9 * MIB + 512 * KIB)
    values.append(bench.sample(bench.at(10)).value_bytes)
    assert [value / MIB for value in values] == [11, 11, 19, 19.5]


def test_what_is_swapped_out_is_not_freed(bench: Bench) -> None:
    """A fall of anonymous memory makes it look at swap before it believes in freed memory."""
    bench.files.add(10, anon=50 * MIB)
    values = []
    for anon, swap in ((50, 0), (70, 0), (40, 30)):
        bench.files.size(10, anon=anon * MIB, swap=swap * MIB)
        values.append(bench.sample(bench.at(10)).value_bytes // MIB)
        bench.clock.advance(1.0)
    assert values == [50, 70, 70]


def test_shmem_counts_once_where_it_is_shared(bench: Bench) -> None:
    """Workers on one segment are a group; others add up; without sight of maps all are one."""
    for pid, size, inode in ((10, 40, 1), (11, 30, 1), (12, 20, 2)):
        bench.files.add(pid, shmem=size * MIB)
        bench.files.write(f"{pid}/maps", SHM % inode)
    seen = read_split(bench.proc, (10, 11, 12))
    (bench.files.root / "12/maps").unlink()
    (bench.files.root / "12/maps").mkdir()
    unseen = read_split(bench.proc, (10, 11, 12))
    assert seen == Split(shmem_bytes=60 * MIB, mapped_shmem_bytes=90 * MIB, swap_bytes=0, cpu_s=0.0)
    assert unseen.shmem_bytes == 40 * MIB


def test_a_process_that_joins_two_segments_joins_the_groups(bench: Bench) -> None:
    """Sharing is a chain."""
    for pid, lines in ((10, (1,)), (11, (2,)), (12, (1, 2))):
        bench.files.add(pid, shmem=10 * MIB)
        bench.files.write(f"{pid}/maps", b"".join(SHM % inode for inode in lines))
    assert read_split(bench.proc, (10, 11, 12, 4711)).shmem_bytes == 10 * MIB


def test_the_maps_of_many_processes_are_not_read(bench: Bench) -> None:
    """They are taken as one group: an estimate from below."""
    pids = range(100, 170)
    for pid in pids:
        bench.files.add(pid, shmem=pid * MIB)
    assert read_split(bench.proc, pids).shmem_bytes == 169 * MIB


def test_a_kernel_without_a_split(bench: Bench) -> None:
    """Before 4.5 shmem is not known: None in the sample."""
    bench.files.add(10, anon=10 * MIB)
    bench.files.write("10/status", "Name:\tapp\nVmSwap:\t1024 kB\n")
    sample = bench.sample(bench.at(10))
    assert (sample.value_bytes, sample.shmem_bytes, sample.swap_bytes) == (11 * MIB, None, MIB)


@pytest.mark.parametrize(
    ("measure", "value"),
    [(Measure.RSS, 44), (Measure.PSS, 25), (Measure.USS, 20), (Measure.CGROUP, 50)],
)
def test_the_other_measures(bench: Bench, measure: Measure, value: int) -> None:
    """Each is what its name says, summed over the tree or read from the cgroup."""
    bench.groups.add("/a", usage=60 * MIB, stat={"inactive_file": 10 * MIB})
    bench.files.add(10, anon=30 * MIB, file=10 * MIB, cgroups="0::/a\n")
    bench.files.add(11, parent=10, anon=4 * MIB)
    for pid, pss, uss in ((10, 22, 18), (11, 3, 2)):
        bench.files.write(
            f"{pid}/smaps_rollup", f"Pss: {pss * KIB} kB\nPrivate_Dirty: {uss * KIB} kB\n"
        )
    sample = bench.sample(bench.at(10), measure)
    assert (sample.measure, sample.value_bytes) == (measure, value * MIB)


def test_no_cgroup_of_its_own(bench: Bench) -> None:
    """`cgroup` in the root group would measure the machine; hidden groups cannot be measured."""
    bench.files.add(10)
    with pytest.raises(ReadingError, match="no memory cgroup of its own"):
        bench.sample(bench.at(10), Measure.CGROUP)
    bench.files.add(11, cgroups="0::/../hidden\n")
    with pytest.raises(ReadingError, match="cannot be seen"):
        bench.sample(bench.at(11), Measure.CGROUP)


def own_cgroup(bench: Bench, *, procs: tuple[int, ...], path: str = "/a") -> Location:
    """Put a tree of two into a cgroup that says 55 MiB where the processes say 44."""
    bench.groups.add(path, stat={"anon": 50 * MIB, "file": 9 * MIB, "shmem": 5 * MIB}, procs=procs)
    bench.files.add(10, anon=40 * MIB, cgroups=f"0::{path}\n")
    bench.files.add(11, parent=10, anon=4 * MIB, cgroups=f"0::{path}\n")
    return bench.at(10)


def test_a_cgroup_that_holds_just_the_service_is_measured(bench: Bench) -> None:
    """Its counters know shmem that nobody maps, and count what is shared once."""
    sample = bench.sample(own_cgroup(bench, procs=(10, 11)))
    assert (sample.value_bytes, sample.anon_bytes, sample.shmem_bytes) == (
        55 * MIB,
        50 * MIB,
        5 * MIB,
    )


@pytest.mark.parametrize("others", [(2,), (30,)], ids=["leakguard", "a stranger"])
def test_a_cgroup_with_others_in_it_is_not_measured(bench: Bench, others: tuple[int, ...]) -> None:
    """Neither leakguard's own memory nor a neighbour's is the service's."""
    bench.files.add(30)
    location = own_cgroup(bench, procs=(10, 11, *others))
    assert bench.sample(location).value_bytes == 44 * MIB


def test_a_tree_that_is_partly_elsewhere_is_summed(bench: Bench) -> None:
    """A cgroup without one of the members says too little."""
    assert bench.sample(own_cgroup(bench, procs=(10,))).value_bytes == 44 * MIB


def test_the_root_cgroup_is_nobody_s_own(bench: Bench) -> None:
    """Even when nothing else is listed in it."""
    assert bench.sample(own_cgroup(bench, procs=(10, 11), path="/")).value_bytes == 44 * MIB


def test_a_probe_in_the_container_does_not_change_the_measure(bench: Bench) -> None:
    """A stranger counts when it is still there at the second look."""
    location = own_cgroup(bench, procs=(10, 11))
    values = [bench.sample(location).value_bytes]
    bench.files.add(30)
    bench.groups.write("/a", "cgroup.procs", "10\n11\n30\n")
    for _ in range(2):
        bench.clock.advance(30.0)
        values.append(bench.sample(location).value_bytes)
    assert [value // MIB for value in values] == [55, 55, 44]


def test_a_child_born_since_the_last_look_is_no_stranger(bench: Bench) -> None:
    """It descends from a member."""
    location = own_cgroup(bench, procs=(10, 11, 12))
    bench.sample(replace(location, root=replace(location.root, pid=11)))  # the table is read
    bench.files.add(12, parent=11)
    assert bench.sample(location).value_bytes == 55 * MIB


def test_pages_charged_elsewhere_are_not_lost(bench: Bench) -> None:
    """A process that was moved in after it grew is summed: its cgroup knows next to nothing."""
    bench.groups.add("/a", stat={"anon": MIB}, procs=(10,))
    bench.files.add(10, anon=400 * MIB, cgroups="0::/a\n")
    assert bench.sample(bench.at(10)).value_bytes == 400 * MIB


def remove(bench: Bench, path: str) -> None:
    """Remove a cgroup, as the kernel does: with all its files."""
    folder = bench.groups.top / path.strip("/")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    bench.cgroups.close()  # a kept file of the kernel's would answer ENODEV


def test_a_cgroup_that_is_removed_gives_way_to_the_tree(bench: Bench) -> None:
    """The service was moved; its processes are still there."""
    location = own_cgroup(bench, procs=(10, 11))
    values = [bench.sample(location).value_bytes]
    remove(bench, "/a")
    values.append(bench.sample(location).value_bytes)
    assert [value // MIB for value in values] == [55, 44]


def test_a_domain_that_is_removed_is_found_again(bench: Bench) -> None:
    """A group of the same name, made anew, is read like the first."""
    bench.files.add(10, cgroups="0::/a\n")
    seen = []
    for limit in (64 * MIB, None, 32 * MIB):
        if limit is None:
            remove(bench, "/a")
        else:
            bench.groups.add("/a", limit=limit)
        _, found = bench.domains.read(bench.at(10))
        seen.append([domain.limit_bytes // MIB for domain in found.values()])
    assert seen == [[64], [], [32]]


def test_a_domain_that_vanishes_while_it_is_read(bench: Bench) -> None:
    """The limit was still there, the usage is not: left out, and resolved anew."""
    bench.groups.add("/a", limit=64 * MIB)
    bench.files.add(10, cgroups="0::/a\n")
    (bench.groups.top / "a/memory.current").unlink()
    assert bench.domains.read(bench.at(10)) == ((), {})


def test_a_worker_that_ends_under_a_dear_measure(bench: Bench) -> None:
    """PSS is read one after the other: who has ended meanwhile counts nothing."""
    bench.files.add(10)
    bench.files.add(11, parent=10)
    bench.files.write("10/smaps_rollup", "Pss: 1024 kB\n")
    assert bench.sample(bench.at(10), Measure.PSS).value_bytes == MIB


def test_a_root_that_ends_under_a_dear_measure(bench: Bench) -> None:
    """That is the end of the service."""
    bench.files.add(10)
    with pytest.raises(ProcessGone):
        bench.sample(bench.at(10), Measure.PSS)


def test_a_whole_cgroup(bench: Bench) -> None:
    """All processes in it and below are the service, also those that descend from nobody in it."""
    bench.groups.add("/a", stat={"anon": 50 * MIB}, procs=(10, 20))
    bench.groups.add("/a/b", procs=(21,))
    for pid in (10, 20, 21):
        bench.files.add(pid, anon=10 * MIB, cgroups="0::/a\n")
    location = bench.at(10, scope=Scope.CGROUP, cgroup=str(bench.groups.top / "a"))
    sample = bench.sample(location)
    assert (sample.processes, sample.rss_bytes, sample.value_bytes) == (3, 30 * MIB, 50 * MIB)


def table_of(place: Path) -> str:
    """Make a table of mounts that says tmpfs of a place."""
    number = place.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    return f"30 20 {device} / {place} rw shared:1 - tmpfs none rw\n"


@pytest.mark.parametrize(
    ("mapped_mib", "seen", "tmpfs_mib"),
    [(0, True, 40), (15, True, 25), (40, True, 0), (0, False, 0)],
    ids=["unmapped files", "partly mapped", "all mapped", "no mount that outlives it"],
)
@pytest.mark.parametrize("measure", [Measure.AUTO, Measure.CGROUP])
def test_files_of_tmpfs(
    tmp_path: Path, measure: Measure, mapped_mib: int, seen: bool, tmpfs_mib: int
) -> None:
    """Of the cgroup's shmem what no process maps, as far as lasting mounts can hold it."""
    bench = Bench(tmp_path)
    stat = {"anon": 50 * MIB, "file": 40 * MIB, "shmem": 40 * MIB}
    bench.groups.add("/a", stat=stat, usage=90 * MIB, procs=(10,))
    bench.files.add(10, anon=40 * MIB, shmem=mapped_mib * MIB, cgroups="0::/a\n")
    table = table_of(tmp_path) if seen else ""
    bench.files.write("10/mountinfo", table)
    bench.files.write("2/mountinfo", table)
    assert bench.sample(bench.at(10), measure).tmpfs_bytes == tmpfs_mib * MIB


def test_files_of_tmpfs_that_are_not_known(bench: Bench) -> None:
    """Without a cgroup they do not count in the measure; without a table nothing can be said."""
    bench.files.add(10)
    assert bench.sample(bench.at(10)).tmpfs_bytes is None
    location = own_cgroup(bench, procs=(10, 11))
    (bench.files.root / "10" / "mountinfo").unlink(missing_ok=True)
    assert bench.sample(location).tmpfs_bytes is None


def test_services_that_are_dropped_leave_no_descriptor(bench: Bench) -> None:
    """After a quarter of an hour without a reading, or when told to."""
    bench.files.add(10)
    bench.files.add(20)
    before = descriptors()
    for name, pid in (("a", 10), ("b", 20)):
        bench.services.read(name, bench.at(pid), Measure.RSS, bench.clock.now())
    both = descriptors() - before
    bench.services.keep(["a"])
    one = descriptors() - before
    bench.clock.advance(1000.0)
    bench.services.read("c", bench.at(20), Measure.RSS, bench.clock.now())
    after = descriptors() - before
    bench.services.close()
    assert (both, one, after, descriptors() - before) == (2, 1, 1, 0)


def descriptors() -> int:
    """Count the statm files that this process has open below a folder of tests."""
    return sum(
        path.readlink().name == "statm" for path in Path("/proc/self/fd").iterdir() if exists(path)
    )


def exists(path: Path) -> bool:
    """Tell whether a link in /proc/self/fd is still there."""
    try:
        path.readlink()
    except OSError:
        return False
    return True


def test_the_table_follows_births_deaths_and_new_parents(bench: Bench) -> None:
    """A child whose parent died belongs to whom it was given to."""
    table = ProcessTable(bench.proc)
    bench.files.add(10)
    bench.files.add(11, parent=10)
    bench.files.add(12, parent=11)
    table.refresh(100.0)
    trees = [list(table.tree(10))]
    bench.files.end(11)
    bench.files.add(12, parent=1)
    bench.files.add(13, parent=10)
    table.refresh(101.0)  # too early
    trees.append(list(table.tree(10)))
    table.refresh(102.0)
    trees.append(list(table.tree(10)))
    assert trees == [[10, 11, 12], [10, 11, 12], [10, 13]]


def test_the_table_is_read_afresh_once_a_minute(bench: Bench) -> None:
    """A pid that died and was used again between two looks is found out then."""
    table = ProcessTable(bench.proc)
    bench.files.add(10, start=5)
    table.refresh(100.0)
    bench.files.add(10, start=6)
    starts = []
    for boot_s in (102.0, 160.0):
        table.refresh(boot_s)
        starts.append(table.row(10)[1])
    assert starts == [5, 6]


def test_domains_are_listed_nearest_first(tmp_path: Path) -> None:
    """Only those with a limit, under the keys that a sample carries."""
    bench = Bench(tmp_path, version=1)
    bench.groups.add("/a", limit=90 * MIB, usage=40 * MIB)
    bench.groups.add("/a/b")
    bench.groups.add("/a/b/c", limit=60 * MIB, usage=30 * MIB)
    bench.files.add(10, cgroups="3:memory:/a/b/c\n0::/\n")
    keys, found = bench.domains.read(bench.at(10))
    assert keys == ("v1:/a/b/c", "v1:/a")
    assert [found[key].headroom_bytes // MIB for key in keys] == [30, 50]
    assert {group.path for group in bench.domains.directories()} == {"/a", "/a/b/c"}


def test_a_limit_that_is_set_later_counts_at_once(bench: Bench) -> None:
    """Limits of all ancestors are read each time; one that is lifted goes."""
    bench.groups.add("/a")
    bench.files.add(10, cgroups="0::/a\n")
    seen = []
    for limit in (None, 64 * MIB, None):
        bench.groups.add("/a", limit=limit)
        seen.append(bench.domains.read(bench.at(10))[0])
    assert seen == [(), ("v2:/a",), ()]


def test_a_service_that_moves_is_followed(bench: Bench) -> None:
    """Its /proc/PID/cgroup tells."""
    bench.groups.add("/a", limit=MIB)
    bench.groups.add("/b", limit=MIB)
    seen = []
    for path in ("/a", "/b", "/nowhere"):
        bench.files.add(10, cgroups=f"0::{path}\n")
        seen.append(bench.domains.read(bench.at(10))[0])
    assert seen == [("v2:/a",), ("v2:/b",), ()]


def test_a_shared_domain_is_read_once_a_tick(bench: Bench) -> None:
    """Two services of one moment see the same numbers; a new moment brings new ones."""
    bench.groups.add("/a", limit=64 * MIB, usage=10 * MIB)
    for pid in (10, 11):
        bench.files.add(pid, cgroups="0::/a\n")
    now, usages = bench.clock.now(), []
    usages.append(bench.domains.read(bench.at(10), 0, now)[1]["v2:/a"].usage_bytes)
    bench.groups.write("/a", "memory.current", f"{20 * MIB}\n")
    usages.append(bench.domains.read(bench.at(11), 0, now)[1]["v2:/a"].usage_bytes)
    later = bench.clock.advance(1.0)
    usages.append(bench.domains.read(bench.at(11), 0, later)[1]["v2:/a"].usage_bytes)
    assert [usage // MIB for usage in usages] == [10, 10, 20]


def test_a_domain_that_cannot_be_read_is_left_out(bench: Bench) -> None:
    """It is unknown: the service itself is still measured, and no number is invented."""
    bench.groups.add("/a", limit=64 * MIB)
    bench.groups.write("/a", "memory.current", "rubbish\n")
    bench.files.add(10, cgroups="0::/a\n")
    assert bench.domains.read(bench.at(10)) == ((), {})


def test_the_domains_of_a_whole_cgroup_begin_with_it(bench: Bench) -> None:
    """Its processes may be in groups below, whose limits bind only a part of it."""
    bench.groups.add("/a", limit=64 * MIB)
    bench.groups.add("/a/b", limit=MIB)
    bench.files.add(10, cgroups="0::/a/b\n")
    location = bench.at(10, scope=Scope.CGROUP, cgroup=str(bench.groups.top / "a"))
    assert bench.domains.read(location)[0] == ("v2:/a",)


def test_a_service_that_ended_has_no_domains(bench: Bench) -> None:
    """That is said, and not "no limits"."""
    with pytest.raises(ProcessGone):
        bench.domains.read(bench.at(10))


def test_hidden_ancestors_are_told(bench: Bench) -> None:
    """Limits are known only when the real root is seen."""
    bench.groups.add("/a")
    bench.files.add(10, cgroups="0::/a\n")
    bench.files.add(11, cgroups="0::/../x\n")
    assert [bench.domains.complete(bench.at(pid)) for pid in (10, 11)] == [True, False]


def test_services_that_are_gone_are_forgotten(bench: Bench) -> None:
    """No file of a removed cgroup stays open for ever."""
    bench.groups.add("/a", limit=MIB)
    bench.groups.add("/b", limit=MIB)
    bench.files.add(10, cgroups="0::/a\n")
    bench.files.add(11, cgroups="0::/b\n")
    bench.domains.read(bench.at(10))
    one = len(bench.cgroups.files)
    bench.domains.read(bench.at(11))
    for _ in range(2048):
        bench.domains.read(bench.at(11))
    assert len(bench.cgroups.files) == one


def test_the_host(bench: Bench) -> None:
    """Available memory, swap, pressure, kills."""
    bench.files.write(
        "meminfo",
        "MemTotal: 4096 kB\nMemAvailable: 2048 kB\nSwapTotal: 8 kB\nSwapFree: 4 kB\n",
    )
    bench.files.write("vmstat", "oom_kill 3\n")
    bench.files.write("pressure/memory", "some avg10=1.00 x\nfull avg10=0.50 x\n")
    assert HostCollector(bench.proc).read() == HostSample(
        total_bytes=4 * MIB,
        available_bytes=2 * MIB,
        swap_total_bytes=8 * KIB,
        swap_free_bytes=4 * KIB,
        psi_some_avg10=1.0,
        psi_full_avg10=0.5,
        oom_kills=3,
    )


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_commit_limit_counts_under_overcommit_2_alone(bench: Bench, mode: int) -> None:
    """In the other modes CommitLimit is printed too, and nothing holds to it."""
    bench.files.write(
        "meminfo",
        "MemTotal: 4096 kB\nMemAvailable: 2048 kB\nCommitLimit: 3072 kB\nCommitted_AS: 1024 kB\n",
    )
    bench.files.write("sys/vm/overcommit_memory", f"{mode}\n")
    bench.files.write("sys/vm/admin_reserve_kbytes", "64\n")
    bench.files.write("sys/vm/user_reserve_kbytes", "128\n")
    host = HostCollector(bench.proc).read()
    known = (3 * MIB, MIB, 64 * KIB, 128 * KIB) if mode == 2 else (None, None, 0, 0)
    assert (
        host.commit_limit_bytes,
        host.committed_bytes,
        host.admin_reserve_bytes,
        host.user_reserve_bytes,
    ) == known
    room = 2 * MIB - 64 * KIB
    expected = [room - MIB // 32, room - 128 * KIB] if mode == 2 else [None, None]
    assert [host.commit_room_bytes(size) for size in (MIB, 1024 * MIB)] == expected


def test_memory_high_is_read_with_and_without_a_limit(bench: Bench) -> None:
    """Of the service's cgroup and those above; one above the limit never matters."""
    bench.files.add(10, cgroups="0::/a/b/c\n")
    for path, limit, high in (
        ("/a", None, 300 * MIB),
        ("/a/b", 200 * MIB, 250 * MIB),
        ("/a/b/c", 200 * MIB, 150 * MIB),
    ):
        bench.groups.add(path, limit=limit, usage=100 * MIB, stat={"active_file": 10 * MIB})
        bench.groups.write(path, "memory.high", f"{high}\n")
    bench.groups.write("/a", "memory.events", "high 7\nmax 0\n")
    bench.groups.write("/a/b/c", "memory.events.local", "high 5\nmax 0\n")
    bench.domains.read(bench.at(10))
    found = bench.domains.throttles(bench.at(10))
    assert list(found) == ["v2:/a/b/c", "v2:/a"]
    assert found["v2:/a"] == ThrottleSample(
        path="/a", high_bytes=300 * MIB, usage_bytes=100 * MIB, reclaimable_bytes=10 * MIB,
        hits=7, limited=False,
    )  # fmt: skip
    inner = found["v2:/a/b/c"]
    assert (inner.hits, inner.limited, inner.headroom_bytes) == (5, True, 60 * MIB)


def test_memory_high_is_looked_up_now_and_then(bench: Bench) -> None:
    """One that is set later counts within seconds; one that is there is read in every tick."""
    bench.files.add(10, cgroups="0::/a\n")
    bench.groups.add("/a", limit=200 * MIB, usage=100 * MIB)
    location, seen = bench.at(10), []
    for after_s in (0.0, 1.0, 5.0, 1.0):
        bench.domains.read(location, now=bench.clock.advance(after_s))
        found = bench.domains.throttles(location)
        seen.append([one.usage_bytes // MIB for one in found.values()])
        bench.groups.write("/a", "memory.high", f"{150 * MIB}\n")
        if after_s == 5.0:
            bench.groups.write("/a", "memory.current", f"{120 * MIB}\n")
    assert seen == [[], [], [100], [120]]


def test_version_1_has_no_memory_high(tmp_path: Path) -> None:
    """Nothing is read for it."""
    bench = Bench(tmp_path, 1)
    bench.files.add(10, cgroups="4:memory:/a\n")
    bench.groups.add("/a", limit=200 * MIB)
    bench.domains.read(bench.at(10))
    assert bench.domains.throttles(bench.at(10)) == {}


def test_a_host_before_memavailable(bench: Bench) -> None:
    """Free memory and half of the cache that is no shmem: an estimate from below."""
    bench.files.write(
        "meminfo", "MemTotal: 4096 kB\nMemFree: 1024 kB\nCached: 1024 kB\nShmem: 512 kB\n"
    )
    assert HostCollector(bench.proc).read().available_bytes == 1280 * KIB


def test_a_host_that_does_not_say(bench: Bench) -> None:
    """Unknown is an error, never zero."""
    bench.files.write("meminfo", "nothing\n")
    with pytest.raises(ReadingError, match="MemAvailable"):
        HostCollector(bench.proc).read()
