"""What the OOM killer looks at, read from trees of files, and what it would do with it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.badness import Candidate, Era, WhyNot
from leakguard.core.errors import PermissionRefused, ReadingError
from leakguard.core.headroom import Headroom
from leakguard.core.units import KIB, MIB
from leakguard.core.victims import Domain, DomainKind, Growth, KillerRules
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.oom_machine import DomainReport, OomMachine
from leakguard.linux.oom_probe import OomKernel, RssSource
from leakguard.linux.oom_process import read_status
from leakguard.linux.oom_scan import Looked, OomScan
from leakguard.linux.procfs import ProcFs
from leakguard.testing.files import CgroupFiles, ProcFiles

KTHREAD = 0x00200000
HOST = Domain(
    kind=DomainKind.HOST,
    limit_bytes=1 << 34,
    usage_bytes=1 << 33,
    headroom=Headroom(low_bytes=0, high_bytes=0),
    total_pages=1_000_000,
)


def a_kernel(
    era: Era = Era.SIGNED, source: RssSource = RssSource.STAT, error: int = 0
) -> OomKernel:
    """Make a kernel."""
    rules = KillerRules(era=era, counter_error_pages=error)
    return OomKernel(release="6.12.0", rules=rules, rss_source=source, cpus=2)


@pytest.fixture
def files(tmp_path: Path) -> ProcFiles:
    """Give a /proc with init (1), leakguard (2) and nobody else."""
    return ProcFiles(tmp_path / "proc")


def scan(files: ProcFiles, kernel: OomKernel | None = None) -> OomScan:
    """Make a scan of that /proc."""
    return OomScan(ProcFs(str(files.root)), kernel or a_kernel())


def look(files: ProcFiles, kernel: OomKernel | None = None, **more: Any) -> Looked:
    """Look at everybody."""
    one = scan(files, kernel)
    return one.look(sorted(one.census().values()), HOST, **more)


def by_pid(looked: Looked) -> dict[int, Candidate]:
    """Index the candidates."""
    return {candidate.pid: candidate for candidate in looked.candidates}


def test_a_process_is_read_whole(files: ProcFiles) -> None:
    """Sizes in pages, name, parent and adjustment."""
    files.add(
        7,
        "my (odd) app",
        parent=2,
        anon=40 * MIB,
        file=8 * MIB,
        shmem=4 * MIB,
        swap=2 * MIB,
        tables=MIB,
    )
    files.adjust(7, 300)
    assert by_pid(look(files, top=None))[7] == Candidate(
        pid=7,
        name="my (odd) app",
        rss_pages=52 * 256,
        swap_pages=2 * 256,
        pagetable_pages=256,
        oom_score_adj=300,
        total_vm_pages=4 * 52 * 256,
        file_pages=8 * 256,
        parent=2,
    )


def test_the_killers_counter_is_used(files: ProcFiles) -> None:
    """Field 24 before 7.0, VmRSS from then on; the other one is kept beside it."""
    files.add(7, anon=40 * MIB)
    files.size(7, anon=41 * MIB)  # rewrites status and statm, and leaves stat
    fast, exact = look(files, top=None), look(files, a_kernel(source=RssSource.STATUS), top=None)
    assert (by_pid(fast)[7].rss_pages, fast.other_rss[7]) == (40 * 256, 41 * 256)
    assert (by_pid(exact)[7].rss_pages, exact.other_rss[7]) == (41 * 256, 40 * 256)


def test_tables_of_old_kernels(files: ProcFiles) -> None:
    """Before 4.15 the middle level has a line of its own."""
    files.write("7/status", "Name:\tx\nVmRSS:\t40 kB\nVmPTE:\t64 kB\nVmPMD:\t12 kB\n")
    files.add(7)
    files.write("7/status", "Name:\tx\nVmRSS:\t40 kB\nVmPTE:\t64 kB\nVmPMD:\t12 kB\n")
    assert by_pid(look(files, top=None))[7].pagetable_pages == 19


def test_a_status_that_does_not_fit_is_read_again(files: ProcFiles) -> None:
    """A process in very many groups prints them before its sizes."""
    groups = " ".join(str(number) for number in range(100_000, 102_000))
    files.write("7/status", f"Name:\tx\nGroups:\t{groups}\nVmRSS:\t40 kB\nVmPTE:\t64 kB\n")
    assert read_status(str(files.root), 7).endswith(b"VmPTE:\t64 kB\n")


def test_the_order_of_the_scan_is_that_of_the_starts(files: ProcFiles) -> None:
    """Within a tick by pid: a pid may be used again by a younger process."""
    files.add(9, start=500)
    files.add(5, start=900)
    files.add(8, start=500)
    assert [one.pid for one in look(files, top=None).candidates] == [1, 2, 8, 9, 5]


def test_who_cannot_be_chosen(files: ProcFiles) -> None:
    """Kernel threads, zombies, and init where kernel threads show that it is the real one."""
    files.add(2, "kthreadd", parent=0, flags=KTHREAD, anon=0)
    files.add(3, "kworker", parent=2, flags=KTHREAD, anon=0)
    files.add(8, "zombie", state="Z", anon=0)
    reasons = {pid: one.why_not for pid, one in by_pid(look(files, top=None)).items()}
    assert reasons == {
        1: WhyNot.INIT,
        2: WhyNot.KERNEL_THREAD,
        3: WhyNot.KERNEL_THREAD,
        8: WhyNot.NO_MEMORY,
    }


def test_the_init_of_a_container_can_be_chosen(files: ProcFiles) -> None:
    """There are no kernel threads in its namespace."""
    assert by_pid(look(files, top=None))[1].why_not is None


def test_the_score_says_who_cannot_be_chosen(files: ProcFiles) -> None:
    """0 since 5.9: a vfork child has its parent's address space, anybody else is being freed."""
    files.add(7, "parent", anon=30 * MIB)
    files.add(8, "child", parent=7, anon=30 * MIB)
    files.add(9, "dying", anon=50 * MIB)
    for pid in (8, 9):
        files.write(f"{pid}/oom_score", "0\n")
    found = by_pid(look(files))
    assert (found[8].why_not, found[8].shares_mm_with) == (WhyNot.VFORK, 7)
    assert (found[9].why_not, found[7].why_not) == (WhyNot.REAPED, None)


def test_a_score_of_0_says_nothing_of_the_nearly_protected(files: ProcFiles) -> None:
    """At -999 it is rounded to 0; before 5.9 most small processes had 0."""
    files.add(7, anon=30 * MIB)
    files.adjust(7, -999)
    files.write("7/oom_score", "0\n")
    files.add(8, anon=40 * MIB)
    files.write("8/oom_score", "0\n")
    old = look(files, a_kernel(Era.LAST_WINS), top=None)
    assert (by_pid(look(files, top=None))[7].why_not, by_pid(old)[8].why_not) == (None, None)


def test_only_who_can_win_is_read_whole(files: ProcFiles) -> None:
    """The first two are right; the small ones are counted."""
    for pid in range(10, 60):
        files.add(pid, anon=MIB)
    files.add(60, anon=300 * MIB)
    files.add(61, anon=200 * MIB)
    looked = look(files)
    assert ([one.pid for one in looked.candidates], looked.left_out) == ([60, 61], 52)


def test_whoever_may_hide_its_size_is_read_whole(files: ProcFiles) -> None:
    """Page tables by address space, swap by what the host has swapped out, and the adjustment."""
    files.add(60, anon=30 * MIB)
    files.add(61, anon=29 * MIB)
    files.add(10, "tables", anon=MIB, tables=40 * MIB)
    stat = (files.root / "10" / "stat").read_text().split()
    stat[22] = str(80 << 30)
    files.write("10/stat", " ".join(stat) + "\n")
    files.add(11, "swapped", anon=MIB, swap=50 * MIB)
    files.add(12, "adjusted", anon=MIB)
    files.adjust(12, 20)
    files.add(13, "small", anon=MIB)
    found = by_pid(look(files, swap_used_pages=60 * 256))
    assert {10, 11, 12, 60} <= found.keys()
    assert 13 in found  # with that much in swap, nobody can be left out
    assert by_pid(look(files)).keys() == {10, 12}


def test_whoever_grows_is_read_whole(files: ProcFiles) -> None:
    """However small it is now."""
    for pid, size in ((60, 300), (61, 200), (7, 1)):
        files.add(pid, anon=size * MIB)
    assert by_pid(look(files, always={7})).keys() == {7, 60, 61}


def test_the_protected_need_no_second_look(files: ProcFiles) -> None:
    """-1000 puts them behind all others."""
    files.add(60, anon=900 * MIB)
    files.adjust(60, -1000)
    for pid in (61, 62):
        files.add(pid, anon=100 * MIB)
    assert by_pid(look(files)).keys() == {61, 62}


def test_the_ineligible_make_no_room(files: ProcFiles) -> None:
    """A dying giant does not keep the next two from being found."""
    files.add(60, anon=900 * MIB)
    files.write("60/oom_score", "0\n")
    for pid, size in ((61, 100), (62, 90), (63, 10)):
        files.add(pid, anon=size * MIB)
    assert by_pid(look(files)).keys() == {60, 61, 62}


def test_children_may_be_named_before_5_1(files: ProcFiles) -> None:
    """So everybody is read."""
    files.add(60, anon=900 * MIB)
    files.add(61, parent=60, anon=MIB)
    assert 61 in by_pid(look(files, a_kernel(Era.PLAIN_CHILDREN)))


def test_points_of_1_are_equal_before_5_9(files: ProcFiles) -> None:
    """Where everybody is at the floor, the order of the scan decides: all are read."""
    for pid in (1, 2):
        files.end(pid)
    for pid, adj in ((60, -999), (61, -500), (62, -700)):
        files.add(pid, anon=MIB)
        files.adjust(pid, adj)
    assert by_pid(look(files, a_kernel(Era.LAST_WINS))).keys() == {60, 61, 62}


def test_legacy_looks_at_ages(files: ProcFiles) -> None:
    """CPU time, age, nice, users, rights, the old adjustment, and the children's sizes."""
    files.write("uptime", "5000.00 1.0\n")
    files.add(7, start=100_000, anon=MIB)
    files.add(8, parent=7, anon=2 * MIB)
    fields = (files.root / "7" / "stat").read_text().split()
    fields[13], fields[14], fields[18] = "700", "300", "5"
    files.write("7/stat", " ".join(fields) + "\n")
    status = "Uid:\t1000\t0\t0\t0\nVmRSS:\t1024 kB\nCapEff:\t0000000000020000\n"
    files.write("7/status", f"Name:\tx\n{status}")
    files.write("7/oom_adj", "-3\n")
    found = by_pid(look(files, a_kernel(Era.LEGACY)))[7]
    assert (found.oom_adj, found.nice, found.cpu_s, found.run_s) == (-3, 5, 10.0, 4000.0)
    assert (found.privileged, found.raw_io, found.children_vm_pages) == (True, True, (2048,))


def test_root_is_known_by_its_rights(files: ProcFiles) -> None:
    """CAP_SYS_ADMIN: bit 21."""
    files.add(7)
    status = (files.root / "7" / "status").read_text()
    files.write("7/status", f"{status}CapEff:\t0000000000200000\n")
    assert by_pid(look(files, top=None))[7].privileged


def test_what_ends_meanwhile_is_left_out(files: ProcFiles) -> None:
    """In the first stage and in the second."""
    files.add(7)
    one = scan(files)
    rows = sorted(one.census().values())
    files.end(7)
    files.write("8/stat", "")
    files.write("9/stat", "9 (x) S 1 2\n")
    assert 7 not in by_pid(one.look(rows, HOST, top=None))
    assert scan(files).census().keys() == {1, 2}


def test_no_proc_at_all(tmp_path: Path) -> None:
    """It is said so."""
    with pytest.raises(ReadingError, match="cannot list"):
        OomScan(ProcFs(str(tmp_path / "none")), a_kernel()).census()


class Machine:
    """A /proc and a cgroup tree of files, and the reports on it."""

    def __init__(self, folder: Path, version: int) -> None:
        self.version = version
        self.proc = ProcFiles(folder / "proc")
        self.proc.write("sys/kernel/osrelease", "6.12.0\n")
        self.proc.write("meminfo", "MemTotal: 4000000 kB\nMemFree: 1000000 kB\n")
        self.proc.add(2, "kthreadd", parent=0, flags=KTHREAD, anon=0)
        self.groups = CgroupFiles(folder / "cgroup", version)
        self.fs = ProcFs(str(self.proc.root))
        self.cgroups = CgroupFs(self.fs, str(self.groups.root))

    def machine(self) -> OomMachine:
        """Probe it."""
        return OomMachine(self.fs, self.cgroups, str(self.proc.root / "sys"))

    def reports(self, first: str = "", **more: Any) -> dict[str, DomainReport]:
        """Look at every domain."""
        group = self.cgroups.directory(first) if first else None
        reports = self.machine().look(group, **more)
        return {f"{one.domain.kind} {one.domain.path}": one for one in reports}

    def at(self, path: str, **more: Any) -> DomainReport:
        """Look at one group."""
        return self.machine().look_at(self.cgroups.directory(path), **more)


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Give a machine of either version, with a group of three processes and one outside."""
    made = Machine(tmp_path, request.param)
    for pid, size in ((10, 30), (11, 20), (12, 10), (13, 60)):
        made.proc.add(pid, f"p{pid}", anon=size * MIB)
    made.groups.add("/a", limit=128 * MIB, usage=64 * MIB, procs=[12])
    made.groups.add("/a/b", procs=[10, 11])
    return made


@pytest.fixture
def v2(tmp_path: Path) -> Machine:
    """Give a machine with cgroup version 2."""
    return Machine(tmp_path, 2)


def named(report: DomainReport) -> tuple[int | None, int | None, bool]:
    """Give victim, runner-up and certainty."""
    first, second = report.prediction.victim, report.prediction.runner_up
    pids = [candidate.pid if candidate else None for candidate in (first, second)]
    return pids[0], pids[1], report.prediction.certain


def test_each_domain_has_its_own_victim(machine: Machine) -> None:
    """That of the group is in its subtree; that of the host is anybody."""
    reports = machine.reports()
    assert list(reports) == ["host /", "memcg /a"]
    assert named(reports["memcg /a"]) == (10, 11, True)
    assert named(reports["host /"]) == (13, 10, True)


def test_the_asked_domain_comes_first(machine: Machine) -> None:
    """And only once."""
    assert list(machine.reports("/a")) == ["memcg /a", "host /"]


def test_one_domain_alone(machine: Machine) -> None:
    """Only its members are read."""
    report = machine.at("/a", top=None)
    assert (named(report), [one.pid for one in report.candidates]) == ((10, 11, True), [12, 10, 11])
    assert machine.machine().look_at(None).domain.kind is DomainKind.HOST


def test_whoever_will_not_be_there_is_left_out(machine: Machine) -> None:
    """A command that only looks is gone when the memory is."""
    assert named(machine.reports(leave_out={13})["host /"]) == (10, 11, True)


def test_what_whoever_leaves_holds_is_free(machine: Machine) -> None:
    """Where it is, and nowhere else; under overcommit 2 it is what was promised to it."""
    before, after = machine.reports(), machine.reports(leave_out={13, 12})
    tables = 64 * KIB
    for name, size in (("host /", 70 * MIB + 2 * tables), ("memcg /a", 10 * MIB + tables)):
        was, now = before[name].domain, after[name].domain
        assert now.left_out_bytes == size
        surely = 0 if name == "host /" else size  # MemAvailable promises a little too much
        assert now.headroom.low_bytes - was.headroom.low_bytes == surely
        assert now.headroom.high_bytes - was.headroom.high_bytes == size
        assert was.usage_bytes - now.usage_bytes == size
    machine.proc.write("sys/vm/overcommit_memory", "2\n")
    machine.proc.write("13/status", "RssAnon: 10240 kB\nVmData: 30720 kB\nVmStk: 1024 kB\n")
    assert machine.reports(leave_out={13})["host /"].domain.left_out_bytes == 31 * MIB


def test_equals_die_in_the_order_of_the_scan(machine: Machine) -> None:
    """v2 prints the order of attachment; v1 sorts by pid, and the starts are the better guess."""
    machine.proc.add(10, anon=20 * MIB, start=300)
    machine.proc.add(11, anon=20 * MIB, start=200)
    machine.groups.add("/a/b", procs=[10, 11])
    order = [one.pid for one in machine.at("/a", top=None).candidates]
    assert order == ([12, 11, 10] if machine.version == 1 else [12, 10, 11])


def test_growth_decides_at_the_end(machine: Machine) -> None:
    """The small one that leaks is the victim by then."""
    growth = {12: Growth(slope_bytes_per_s=float(MIB))}
    report = machine.at("/a", growth=growth, within_s=(60.0, 64.0))
    assert (named(report), report.prediction.leaker) == ((12, 10, True), 12)


def test_the_nearest_limit_is_the_domain(machine: Machine) -> None:
    """Of a group without one, that of its parent; the root has none."""
    one = machine.machine()
    for path, wanted in (("/a", "/a"), ("/a/b", "/a"), ("/", None)):
        found = one.nearest_limited(machine.cgroups.directory(path))
        assert (found.path if found else None) == wanted


def test_hidden_processes_take_the_certainty(machine: Machine) -> None:
    """A process of another pid namespace prints as 0."""
    machine.groups.add("/a/b", procs=[10, 11, 0, 0])
    report = machine.at("/a")
    assert (named(report), report.hidden) == ((10, 11, False), 2)
    assert report.prediction.why_uncertain == "2 of its processes cannot be read"


def test_the_host_seen_from_a_container_is_not_certain(machine: Machine) -> None:
    """Without kernel threads in sight there are processes that cannot be seen."""
    machine.proc.end(2)
    prediction = machine.reports()["host /"].prediction
    assert (prediction.certain, prediction.why_uncertain) == (
        False,
        "processes outside of this pid namespace cannot be seen",
    )


def test_the_protected_are_counted(machine: Machine) -> None:
    """People want to know that they are safe."""
    machine.proc.add(12, anon=90 * MIB)
    machine.proc.adjust(12, -1000)
    report = machine.at("/a")
    assert (named(report), report.protected) == ((10, 11, True), 1)


@pytest.mark.parametrize(
    ("flagged", "memcg_dies", "host_dies"),
    [
        ("/a", [10, 11, 12], [10, 11, 12]),
        ("/a/b", [10, 11], [10, 11]),
        ("/", [10], [10, 11, 12, 13]),  # above the domain it does not matter
    ],
)
def test_groups_that_die_as_a_whole(
    v2: Machine, flagged: str, memcg_dies: list[int], host_dies: list[int]
) -> None:
    """The highest with `memory.oom.group` within the domain."""
    for pid, size in ((10, 90), (11, 20), (12, 10), (13, 60)):
        v2.proc.add(pid, f"p{pid}", anon=size * MIB)
    v2.groups.add("/top", limit=None)
    v2.groups.add("/top/a", limit=128 * MIB, usage=64 * MIB, procs=[12])
    v2.groups.add("/top/a/b", procs=[10, 11])
    v2.groups.add("/top/z", procs=[13])
    v2.groups.write(f"/top{flagged}", "memory.oom.group", "1\n")
    reports = v2.reports(top=None)
    assert sorted(reports["memcg /top/a"].prediction.kills) == memcg_dies
    assert sorted(reports["host /"].prediction.kills) == host_dies


def test_an_empty_group(machine: Machine) -> None:
    """It has a headroom and nobody in it."""
    machine.groups.add("/empty", limit=MIB)
    report = machine.reports()["memcg /empty"]
    assert (report.candidates, report.prediction.victim) == ((), None)


def test_a_group_that_is_gone(machine: Machine) -> None:
    """It is a reading error."""
    group = replace(machine.cgroups.directory("/a"), directory="/nowhere", path="/nowhere")
    with pytest.raises(ReadingError, match="cgroup /nowhere"):
        machine.machine().look_at(group)


@contextmanager
def without_rights() -> Iterator[None]:
    """Be a user who may not read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_must_not_be_read_is_counted() -> None:
    """And when nothing may be read, that is a lack of rights."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        machine = Machine(Path(name), 2)
        machine.proc.add(10, anon=10 * MIB)
        machine.proc.add(11, anon=10 * MIB)
        machine.groups.add("/a", limit=MIB, procs=[10, 11])
        one, group = machine.machine(), machine.cgroups.directory("/a")
        (machine.proc.root / "10" / "stat").chmod(0)
        (machine.proc.root / "11" / "status").chmod(0)
        with without_rights():
            report = one.look_at(group)
        assert (report.hidden, report.candidates) == (2, ())
        machine.proc.root.chmod(0o311)
        with without_rights(), pytest.raises(PermissionRefused, match="run as root"):
            one.look_at(None)
