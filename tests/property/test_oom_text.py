"""Whatever /proc and a cgroup print, a scan for victims ends with an answer or a ReadingError."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from leakguard.core.badness import Era, era_of_release
from leakguard.core.errors import ReadingError
from leakguard.core.units import MIB
from leakguard.core.victims import KillerRules
from leakguard.linux import oom_probe
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.oom_domains import MemoryDomains
from leakguard.linux.oom_machine import OomMachine
from leakguard.linux.oom_probe import OomKernel, RssSource
from leakguard.linux.oom_scan import OomScan
from leakguard.linux.procfs import ProcFs
from leakguard.testing.files import CgroupFiles, ProcFiles

NUMBERS = (b"0", b"-1", b"1_0", b"4096", b"9" * 30, b"9" * 5000)
WORDS = (
    b"VmRSS:",
    b"\nVmPTE:",
    b" kB",
    b"(",
    b")",
    b"\n",
    b"\t",
    b" ",
    b"max",
    b"Uid:",
    b"CapEff:\t",
)
TEXT = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from((*NUMBERS, *WORDS)), max_size=60).map(b"".join),
)
ONCE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
FILES = ("stat", "status", "oom_score_adj", "oom_score", "oom_adj")


@pytest.fixture
def proc(tmp_path: Path) -> ProcFiles:
    """Give a /proc with a process 7."""
    files = ProcFiles(tmp_path / "proc")
    files.write("sys/kernel/osrelease", "6.12.0\n")
    files.write("meminfo", "MemTotal: 4000000 kB\nMemFree: 1000000 kB\n")
    files.add(7, anon=9 * MIB)
    return files


@pytest.mark.parametrize("name", FILES)
@ONCE
@given(data=TEXT, era=st.sampled_from(Era))
def test_any_text_of_a_process(proc: ProcFiles, name: str, data: bytes, era: Era) -> None:
    """It is read, or left out; the others are still there."""
    proc.add(7, anon=9 * MIB)
    proc.write(f"7/{name}", data)
    fs = ProcFs(str(proc.root))
    kernel = OomKernel(
        release="6.12.0", rules=KillerRules(era=era), rss_source=RssSource.STAT, cpus=2
    )
    scan = OomScan(fs, kernel)
    domain = MemoryDomains(fs, CgroupFs(fs, str(proc.root)), kernel).host().domain
    rows = scan.census()
    looked = scan.look(sorted(rows.values()), domain, top=None)
    assert {1, 2} <= rows.keys()
    assert len(looked.candidates) >= (0 if era is Era.LEGACY else 2)


@pytest.mark.parametrize(
    "name", ["zoneinfo", "swaps", "spl/kstat/zfs/arcstats", "sys/vm/swappiness"]
)
@ONCE
@given(data=TEXT)
def test_any_text_of_the_machine(proc: ProcFiles, name: str, data: bytes) -> None:
    """Probes give what they find, and never raise."""
    proc.write("swaps", "/dev/zram0 partition 1000 0 100\n")
    proc.write("block/zram0/mm_stat", data)
    proc.write(name, data)
    fs = ProcFs(str(proc.root))
    assert oom_probe.min_watermark_bytes(fs) >= 0
    assert oom_probe.arc_bytes(fs) >= 0
    assert len(oom_probe.zram_swap(fs, str(proc.root))) >= 0
    assert oom_probe.probe_settings(fs).swappiness is not None
    assert oom_probe.count_cpus(data) >= 1


@pytest.mark.parametrize("name", ["oom_score_adj", "oom_score"])
@ONCE
@given(data=TEXT)
def test_any_text_of_ourselves(proc: ProcFiles, name: str, data: bytes) -> None:
    """The kernel always has an era."""
    proc.write(f"2/{name}", data)
    assert oom_probe.probe_kernel(ProcFs(str(proc.root)), str(proc.root)).rules.era in Era


@given(release=st.text(max_size=30))
def test_any_release(release: str) -> None:
    """It is an era, or unknown."""
    assert era_of_release(release) in {None, *Era}


@pytest.mark.parametrize("version", [1, 2])
@ONCE
@given(
    name=st.sampled_from(
        [
            "memory.max", "memory.limit_in_bytes", "memory.stat", "memory.current",
            "memory.usage_in_bytes", "memory.high", "memory.swap.max", "memory.oom_control",
            "memory.memsw.limit_in_bytes", "memory.swappiness", "memory.oom.group", "cgroup.procs",
        ]
    ),
    data=TEXT,
)  # fmt: skip
def test_any_text_of_a_group(
    proc: ProcFiles, tmp_path: Path, version: int, name: str, data: bytes
) -> None:
    """The other domains are still reported."""
    groups = CgroupFiles(tmp_path / f"cgroup{version}", version)
    groups.add("/a", limit=64 * MIB, usage=MIB, procs=[7])
    groups.write("/a", name, data.decode("latin-1"))
    fs = ProcFs(str(proc.root))
    machine = OomMachine(fs, CgroupFs(fs, str(groups.root)), str(tmp_path))
    try:
        reports = list(machine.look(top=None))
    except ReadingError as error:
        pytest.fail(f"{name}: {error}")
    assert reports[0].domain.path == "/"
