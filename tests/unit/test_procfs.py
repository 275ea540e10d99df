"""Reading /proc: a tree of files stands for the kernel."""

import os
from pathlib import Path

import pytest

from leakguard.core.errors import ReadingError
from leakguard.core.sample import Incarnation
from leakguard.core.units import KIB, MIB
from leakguard.linux.procfs import TICKS_PER_S, ProcessGone, ProcFs
from leakguard.linux.proctext import (
    MemoryStatus,
    parse_address_space_limit,
    parse_cgroup,
    parse_oom_kills,
    parse_pressure,
    parse_shared_objects,
    parse_smaps,
    parse_stat,
    parse_status,
)
from leakguard.testing.files import BOOT_ID, ProcFiles


@pytest.fixture
def files(tmp_path: Path) -> ProcFiles:
    """Give a /proc with init (1) and leakguard (2)."""
    return ProcFiles(tmp_path)


@pytest.fixture
def proc(files: ProcFiles) -> ProcFs:
    """Give the reader of that /proc."""
    return ProcFs(str(files.root))


@pytest.mark.parametrize("name", ["app", "a b", "x) S 1 (y", "((", "))", ") R 7 7"])
def test_a_name_may_hold_anything(files: ProcFiles, proc: ProcFs, name: str) -> None:
    """Fields are counted from the last closing parenthesis."""
    files.add(7, name, parent=3, start=55)
    stat = proc.stat(7)
    assert (stat.name, stat.state, stat.ppid, stat.start_ticks) == (name, "S", 3, 55)


def test_kernel_threads_are_told_apart(files: ProcFiles, proc: ProcFs) -> None:
    """The flag PF_KTHREAD says it, not the name."""
    files.add(7, "kworker/0:1", flags=0x00200000)
    files.add(8, "kworker/0:1")
    assert [proc.stat(pid).kernel_thread for pid in (7, 8)] == [True, False]


def test_a_broken_stat_is_a_reading_error() -> None:
    """Whatever does not parse is unknown."""
    with pytest.raises(ReadingError, match="not as expected"):
        parse_stat(b"12 (cut S 1")


def test_an_incarnation_is_pid_and_start(files: ProcFiles, proc: ProcFs) -> None:
    """The boot id belongs to it."""
    files.add(7, start=55)
    assert proc.incarnation(7) == Incarnation(boot_id=BOOT_ID, pid=7, start_ticks=55)


def test_running_means_the_very_same_process(files: ProcFiles, proc: ProcFs) -> None:
    """Another start time, another boot, a zombie and an end are all "not running"."""
    files.add(7, start=55)
    files.add(8, start=55, state="Z")
    own = proc.incarnation(7)
    asked = [
        own,
        Incarnation(boot_id=BOOT_ID, pid=7, start_ticks=56),
        Incarnation(boot_id="another", pid=7, start_ticks=55),
        proc.incarnation(8),
        Incarnation(boot_id=BOOT_ID, pid=9, start_ticks=55),
    ]
    assert [proc.is_running(one) for one in asked] == [True, False, False, False, False]


def test_a_vanished_process_is_gone(proc: ProcFs) -> None:
    """Every reader of one process says so in the same way."""
    readers = (
        proc.stat,
        proc.cmdline,
        proc.memory_status,
        proc.smaps_rollup,
        proc.cgroup_of,
        proc.address_space_limit,
        proc.shared_objects,
        proc.tree,
        proc.uid,
        proc.username,
    )
    for reader in readers:
        with pytest.raises(ProcessGone):
            reader(4711)


def test_a_refused_file_names_the_fix(files: ProcFiles, proc: ProcFs) -> None:
    """Permission is no absence: the message names file and fix."""
    if os.geteuid() == 0:
        files.add(7)
        (files.root / "7" / "smaps_rollup").mkdir()  # root is refused nothing but this
        with pytest.raises(ReadingError, match=r"cannot read .*/7/smaps_rollup"):
            proc.smaps_rollup(7)
        return
    files.write("7/smaps_rollup", "")
    (files.root / "7" / "smaps_rollup").chmod(0)
    with pytest.raises(ReadingError, match="CAP_SYS_PTRACE"):
        proc.smaps_rollup(7)


def test_arguments_are_split_at_zero_bytes(files: ProcFiles, proc: ProcFs) -> None:
    """Empty arguments in the middle stay; a kernel thread has none."""
    files.add(7)
    files.write("7/cmdline", b"a\0\0b c\0")
    files.write("1/cmdline", b"")
    assert (proc.cmdline(7), proc.cmdline(1)) == (("a", "", "b c"), ())


def test_a_tree_begins_with_its_root(files: ProcFiles, proc: ProcFs) -> None:
    """Descendants follow, others do not."""
    files.add(10)
    files.add(11, parent=10)
    files.add(12, parent=11)
    files.add(13, parent=1)
    assert proc.tree(10) == (10, 11, 12)
    assert proc.tree(10, {10: 1, 11: 10, 14: 11}) == (10, 11, 14)


def test_a_circle_of_parents_ends(proc: ProcFs) -> None:
    """A table read while pids change may hold a circle."""
    assert proc.tree(10, {10: 11, 11: 10}) == (10, 11)


def test_ancestors_go_up_to_init(files: ProcFiles, proc: ProcFs) -> None:
    """Nearest first."""
    files.add(10)
    files.add(11, parent=10)
    assert (proc.ancestors(11), proc.ancestors(1)) == ((10, 1), ())


def test_memory_is_split(files: ProcFiles, proc: ProcFs) -> None:
    """Sizes come in bytes."""
    files.add(7, anon=4 * MIB, file=2 * MIB, shmem=MIB, swap=3 * MIB)
    expected = MemoryStatus(
        anon=4 * MIB, file=2 * MIB, shmem=MIB, swap=3 * MIB, page_tables=64 * KIB
    )
    assert proc.memory_status(7) == expected


def test_what_is_not_printed_is_not_known() -> None:
    """Before Linux 4.5 there is no split: None, never zero."""
    assert parse_status(b"Name:\tx\nVmRSS:\t8 kB\n") == MemoryStatus()


def test_a_name_cannot_forge_a_size() -> None:
    """The kernel escapes the line break in a name; only line starts count."""
    assert parse_status(b"Name:\tx\\nRssAnon: 9 kB\nRssAnon:\t1 kB\n").anon == KIB


def test_pss_and_uss() -> None:
    """USS is all that is private, of every mapping."""
    data = b"Rss: 9 kB\nPss: 4 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 2 kB\nPss: 1 kB\n"
    assert parse_smaps(data) == (5 * KIB, 3 * KIB)


def test_old_kernels_have_no_rollup(files: ProcFiles, proc: ProcFs) -> None:
    """The whole of smaps is summed then."""
    files.add(7)
    files.write("7/smaps", "Pss: 4 kB\nPrivate_Dirty: 2 kB\nPss: 4 kB\n")
    assert proc.smaps_rollup(7) == (8 * KIB, 2 * KIB)


def test_address_space_limit() -> None:
    """The soft limit counts."""
    line = b"Max address space          %s            unlimited            bytes     \n"
    limits = [parse_address_space_limit(line % word) for word in (b"1048576", b"unlimited")]
    assert limits == [MIB, None]


def test_cgroup_paths() -> None:
    """Controllers that share a hierarchy share the path, which may hold a colon; v2 is ``""``."""
    data = b"4:memory:/a:b\n2:cpu,cpuacct:/c\n1:name=systemd:/d\n0::/e\nrubbish\n"
    assert parse_cgroup(data) == {
        "memory": "/a:b",
        "cpu": "/c",
        "cpuacct": "/c",
        "name=systemd": "/d",
        "": "/e",
    }


def test_shared_objects_are_shmem_only() -> None:
    """Libraries and files on disk join nobody."""
    data = (
        b"7f00-7f01 rw-s 00000000 00:01 17 /dev/zero (deleted)\n"
        b"7f01-7f02 rw-s 00000000 00:19 18 /dev/shm/pool\n"
        b"7f02-7f03 r--s 00000000 fe:01 19 /usr/lib/gconv-modules.cache\n"
        b"7f03-7f04 rw-p 00000000 00:00 0 [heap]\n"
        b"7f04-7f05 rw-p 00000000 00:00 0\n"
    )
    assert parse_shared_objects(data) == {b"00:01:17", b"00:19:18"}


def test_pressure() -> None:
    """`full` may be missing; without `some` there is no pressure to speak of."""
    some = b"some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n"
    full = b"full avg10=0.25 avg60=0.00 avg300=0.00 total=9\n"
    answers = [parse_pressure(data) for data in (some + full, some, b"")]
    assert answers == [(1.5, 0.25), (1.5, 0.0), None]


def test_the_machine_s_counters(files: ProcFiles, proc: ProcFs) -> None:
    """What this kernel lacks is None."""
    before = (proc.pressure(), proc.oom_kill_count())
    files.write("pressure/memory", "some avg10=2.00 avg60=0.00\n")
    files.write("vmstat", "nr_free_pages 1\noom_kill 3\nballoon 0\n")
    assert (before, proc.pressure(), proc.oom_kill_count()) == ((None, None), (2.0, 0.0), 3)
    assert parse_oom_kills(b"oom_kill_x 3\n") is None


def test_meminfo_is_in_bytes(proc: ProcFs) -> None:
    """The kernel prints kB and means KiB."""
    assert proc.meminfo()["MemTotal"] == 16 * 1024 * MIB


def test_no_proc_at_all_says_so(tmp_path: Path) -> None:
    """The message names file and cause."""
    with pytest.raises(ReadingError, match=r"empty/meminfo: .*is .*empty a mounted proc\?"):
        ProcFs(str(tmp_path / "empty")).meminfo()


def test_age_counts_from_the_start() -> None:
    """Ticks and boot time share their origin; a skewed clock gives no negative age."""
    ages = [ProcFs().age_s(5 * TICKS_PER_S, boot_s) for boot_s in (12.5, 1.0)]
    assert ages == [7.5, 0.0]


def test_namespaces_are_told_apart(proc: ProcFs, tmp_path: Path) -> None:
    """A /proc in which we have another number is not ours to send signals by."""
    assert (proc.same_namespace(), proc.self_pid()) == (False, 2)
    assert ProcFs().same_namespace()
    assert ProcFs(str(tmp_path / "none")).self_pid() == os.getpid()


def test_users(files: ProcFiles, proc: ProcFs) -> None:
    """The real user counts; a number without a name stays a number."""
    files.add(7)
    files.write("7/status", "Name:\tapp\nUid:\t987654\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
    assert (proc.uid(7), proc.username(7)) == (987654, "987654")
