"""What doctor reads of kernel, settings and rights, from trees of files."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from leakguard.core.badness import Era
from leakguard.core.findings.facts import Controller, KillerFacts, MachineFacts, Psi
from leakguard.core.units import GIB
from leakguard.core.victims import KillerRules
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.killer_rules import rule_of
from leakguard.linux.machine_facts import guard_facts, machine_facts
from leakguard.linux.oom_probe import OomKernel, RssSource
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.testing.files import CgroupFiles, ProcFiles

KTHREADD = 2
US = 50
MEMINFO = """\
MemTotal:       8388608 kB
MemFree:        4194304 kB
MemAvailable:   6291456 kB
SwapTotal:      2097152 kB
SwapFree:       1048576 kB
CommitLimit:    6291456 kB
Committed_AS:   3145728 kB
"""
SWAPS = """\
Filename				Type		Size		Used		Priority
/dev/zram0                              partition	1048576		0		100
/dev/sda2                               partition	1048576		0		-2
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> ProcFiles:
    """Give a /proc with kernel threads, 8 GiB, and swap half on zram."""
    made = ProcFiles(tmp_path / "proc", self_pid=US)
    made.write("meminfo", MEMINFO)
    made.write("swaps", SWAPS)
    made.write("pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    made.add(KTHREADD, "kthreadd", parent=0, flags=0x00200000)
    return made


def read(folder: Path, *, version: int | None = 2, release: str = "6.1.0") -> MachineFacts:
    """Read the machine of a folder, with or without memory cgroups."""
    root = folder / "cgroup"
    root.mkdir(exist_ok=True)
    if version is not None:
        CgroupFiles(root, version)
    proc = ProcFs(str(folder / "proc"))
    kernel = OomKernel(
        release=release,
        cpus=4,
        rss_source=RssSource.STAT,
        rules=KillerRules(era=Era.SIGNED, counter_error_pages=10, page_bytes=PAGE_BYTES),
    )
    cgroups = CgroupFs(proc, str(root))
    return machine_facts(proc, cgroups, kernel, root=str(folder / "root"))


def test_sizes_and_settings(tmp_path: Path, files: ProcFiles) -> None:
    """meminfo, swaps and /proc/sys, in bytes and numbers."""
    for name, value in (
        ("vm/panic_on_oom", 2),
        ("kernel/panic", 10),
        ("vm/oom_kill_allocating_task", 1),
        ("vm/oom_dump_tasks", 0),
        ("vm/overcommit_memory", 2),
        ("vm/overcommit_ratio", 80),
        ("vm/swappiness", 0),
    ):
        files.write(f"sys/{name}", f"{value}\n")
    facts = read(tmp_path)
    assert (facts.total_bytes, facts.release, facts.cpus) == (8 * GIB, "6.1.0", 4)
    assert facts.swap.total_bytes == 2 * GIB
    assert facts.swap.used_bytes == facts.swap.zram_bytes == GIB
    assert (facts.commit.mode, facts.commit.ratio) == (2, 80)
    assert (facts.commit.limit_bytes, facts.commit.promised_bytes) == (6 * GIB, 3 * GIB)
    assert (facts.panic_on_oom, facts.panic_s, facts.swappiness) == (2, 10, 0)
    assert (facts.kill_allocating_task, facts.dump_tasks) == (True, False)
    assert facts.counter_error_bytes == 10 * PAGE_BYTES


def test_what_cannot_be_read_surprises_nobody(tmp_path: Path) -> None:
    """Without /proc/sys the kernel's defaults are assumed."""
    facts = read(tmp_path)
    assert (facts.panic_on_oom, facts.panic_s, facts.swappiness) == (0, 0, 60)
    assert (facts.kill_allocating_task, facts.dump_tasks, facts.commit.mode) == (False, True, 0)
    assert facts.sees_all is True
    assert facts.hidepid == 0
    assert facts.killers == ()


def test_a_negative_panic_time_boots_at_once(tmp_path: Path, files: ProcFiles) -> None:
    """kernel.panic may be below zero."""
    files.write("sys/kernel/panic", "-1\n")
    assert read(tmp_path).panic_s == -1


@pytest.mark.parametrize(
    ("there", "release", "psi"),
    [(True, "6.1.0", Psi.ON), (False, "6.1.0", Psi.OFF), (False, "4.19.0", Psi.MISSING)],
)
def test_memory_pressure(
    tmp_path: Path, files: ProcFiles, there: bool, release: str, psi: Psi
) -> None:
    """What is not there is off where the kernel could have it."""
    if not there:
        (files.root / "pressure" / "memory").unlink()
    assert read(tmp_path, release=release).psi is psi


def test_kernel_log(tmp_path: Path) -> None:
    """/dev/kmsg and the files of the journal are tried."""
    before = read(tmp_path)
    assert (before.kmsg_readable, before.journal_readable) == (False, False)
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    (root / "dev" / "kmsg").touch()
    journal = root / "run" / "log" / "journal" / "0123"
    journal.mkdir(parents=True)
    (journal / "system.journal").touch()
    after = read(tmp_path)
    assert (after.kmsg_readable, after.journal_readable) == (True, True)


@pytest.mark.parametrize("version", [1, 2])
def test_the_controller_is_on_where_it_is_mounted(
    tmp_path: Path, files: ProcFiles, version: int
) -> None:
    """Whatever the command line says."""
    files.write("cmdline", "cgroup_disable=memory\n")
    assert read(tmp_path, version=version).controller is Controller.ON


@pytest.mark.parametrize(
    ("cmdline", "table", "controller"),
    [
        ("quiet", "memory\t0\t1\t1\n", Controller.MISSING),
        ("quiet cgroup_disable=memory", "", Controller.DISABLED),
        ("cgroup_disable=cpu,memory quiet", "", Controller.DISABLED),
        ("cgroup_disable=memory cgroup_enable=memory", "", Controller.MISSING),
        ("quiet", "#subsys_name\nmemory\t0\t1\t0\n", Controller.DISABLED),
        ("my_cgroup_disable=memory", "", Controller.MISSING),
    ],
)
def test_why_the_controller_is_missing(
    tmp_path: Path, files: ProcFiles, cmdline: str, table: str, controller: Controller
) -> None:
    """The last word on the command line counts, and the kernel's own table."""
    files.write("cmdline", f"{cmdline}\n")
    files.write("cgroups", table)
    assert read(tmp_path, version=None).controller is controller


def test_a_raspberry_pi_is_known(tmp_path: Path, files: ProcFiles) -> None:
    """By its device tree."""
    files.write("device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert read(tmp_path).raspberry_pi is True


@pytest.mark.parametrize(
    ("options", "hidepid"),
    [("rw", 0), ("rw,hidepid=2", 2), ("rw,hidepid=invisible,gid=4", 2), ("rw,hidepid=odd", 0)],
)
def test_hidepid(tmp_path: Path, files: ProcFiles, options: str, hidepid: int) -> None:
    """Old kernels print a number, new ones a word."""
    files.write(
        f"{US}/mountinfo",
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"22 1 0:20 / /proc rw,nosuid shared:5 - proc proc {options}\n",
    )
    assert read(tmp_path).hidepid == hidepid


def test_a_container_has_no_kernel_threads(tmp_path: Path, files: ProcFiles) -> None:
    """Its pid 2 is a process like any other, or none."""
    files.end(KTHREADD)
    assert read(tmp_path).sees_all is False
    files.add(KTHREADD, "bash")
    assert read(tmp_path).sees_all is False


def test_killers_are_found_by_name(tmp_path: Path, files: ProcFiles) -> None:
    """With the rule that their command line gives."""
    files.add(300, "earlyoom", argv=("/usr/bin/earlyoom", "-m", "5,2"))
    files.write("300/comm", "earlyoom\n")
    files.add(301, "other")
    files.write("301/comm", "other\n")
    (killer,) = read(tmp_path).killers
    assert killer == KillerFacts(
        name="earlyoom",
        pid=300,
        rule="the highest oom_score, when available memory is below 5 % and free swap below 10 % "
        "(SIGTERM, then SIGKILL)",
    )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "below 10 % and free swap below 10 %"),
        (("-m5", "-s", "50,20"), "below 5 % and free swap below 50 %"),
        (("-m", "x"), "below 10 %"),
        (("-m",), "below 10 %"),
        (("--sort-by-rss",), "the largest resident size"),
    ],
)
def test_the_rule_of_earlyoom(argv: Sequence[str], words: str) -> None:
    """Options that cannot be read are taken as its defaults."""
    assert words in rule_of("earlyoom", ("earlyoom", *argv))


def test_the_rules_of_the_others() -> None:
    """nohang's desktop variant has nohang's."""
    assert "ManagedOOM" in rule_of("systemd-oomd", ())
    assert rule_of("nohang-desktop", ()) == rule_of("nohang", ())


def test_the_guard_itself(tmp_path: Path, files: ProcFiles) -> None:
    """Adjustment, cgroup, and the two rights that matter."""
    files.add(70, "leakguard", cgroups="0::/guard\n")
    files.write("70/oom_score_adj", "-900\n")
    files.write("70/status", "Name:\tleakguard\nCapPrm:\t0\nCapEff:\t0000000001080000\nX:\t0\n")
    root = tmp_path / "cgroup"
    root.mkdir()
    CgroupFiles(root, 2).add("/guard", procs=[70])
    proc = ProcFs(str(files.root))
    facts = guard_facts(proc, CgroupFs(proc, str(root)), 70, daemon=True)
    assert (facts.pid, facts.daemon, facts.oom_score_adj) == (70, True, -900)
    assert (facts.can_lower, facts.can_trace, facts.cgroup) == (True, True, "v2:/guard")


def test_a_guard_without_rights(tmp_path: Path, files: ProcFiles) -> None:
    """No capability, no readable adjustment, no cgroup."""
    files.write(f"{US}/status", f"Name:\tx\nCapEff:\t{0:016x}\n")
    proc = ProcFs(str(files.root))
    (tmp_path / "none").mkdir()
    facts = guard_facts(proc, CgroupFs(proc, str(tmp_path / "none")), US, daemon=False)
    assert (facts.can_lower, facts.can_trace, facts.oom_score_adj) == (False, False, 0)
    assert facts.cgroup == ""
