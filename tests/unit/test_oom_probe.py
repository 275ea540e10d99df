"""How this kernel counts and chooses, found by what it shows of itself."""

from pathlib import Path

import pytest

from leakguard.core.badness import Era
from leakguard.core.errors import ReadingError
from leakguard.core.headroom import Zram
from leakguard.core.units import KIB
from leakguard.linux import oom_probe
from leakguard.linux.oom_probe import OomSettings, RssSource, probe_kernel, probe_settings
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.testing.files import ProcFiles

SIGNED, OLD = "666", "0"


class Kernel:
    """A /proc and a /sys of files."""

    def __init__(self, folder: Path) -> None:
        self.files = ProcFiles(folder / "proc")
        self.proc = ProcFs(str(self.files.root))
        self.sys = folder / "sys"

    def write_sys(self, name: str, text: str) -> None:
        """Write a file below /sys."""
        path = self.sys / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def shows(self, release: str, adj: str | None, score: str | None) -> None:
        """Write what a kernel shows of itself; None: it has no such file."""
        self.files.write("sys/kernel/osrelease", f"{release}\n")
        for name, value in (("oom_score_adj", adj), ("oom_score", score)):
            path = self.files.root / "2" / name
            path.unlink(missing_ok=True)
            if value is not None:
                path.write_text(f"{value}\n")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Give a machine of files."""
    return Kernel(tmp_path)


@pytest.mark.parametrize(
    ("release", "adj", "score", "era"),
    [
        ("6.1.0-18-amd64", "0", "667", Era.SIGNED),
        ("5.10.0", "500", "1000", Era.SIGNED),
        ("5.10.0", "1000", "1333", Era.SIGNED),
        ("5.10.0", "-500", "334", Era.SIGNED),
        ("5.4.0", "0", "3", Era.LAST_WINS),
        ("5.4.0", "500", "503", Era.LAST_WINS),
        ("4.18.0-553.el8_10.x86_64", "0", "667", Era.SIGNED),  # it came with the rest
        ("4.18.0-80.el8.x86_64", "0", "2", Era.LAST_WINS),
        ("5.15.0-vendor", "0", "1", Era.LAST_WINS),  # it was taken out
        ("4.19.0", "0", "1", Era.PLAIN_CHILDREN),
        ("3.10.0", "0", "1", Era.ABSOLUTE_ROOT),
        ("2.6.32-754.el6", "0", "1", Era.PER_MILLE),
        ("2.6.32-5-amd64", "0", "1", Era.PER_MILLE),  # a backport: it has the new file
        ("2.6.32-5-amd64", None, "3512", Era.LEGACY),
        ("6.1.0", "-1000", "0", Era.SIGNED),  # a protected process shows nothing
        ("5.4.0", "-1000", "0", Era.LAST_WINS),
        ("6.1.0", None, None, Era.SIGNED),  # hidden from us
        ("6.1.0", "garbage", "0", Era.LEGACY),
        ("strange", "0", "667", Era.SIGNED),
    ],
)
def test_eras_by_features(
    kernel: Kernel, release: str, adj: str | None, score: str | None, era: Era
) -> None:
    """The scale of our own score and the files that there are overrule the number."""
    kernel.shows(release, adj, score)
    assert probe_kernel(kernel.proc, str(kernel.sys)).rules.era is era


@pytest.mark.parametrize(
    ("release", "cpus", "source", "error"),
    [
        ("6.1.0", "0-63", RssSource.STAT, 64 * 3),
        ("6.2.0", "0-1", RssSource.STAT, 2 * 31 * 3),
        ("6.18.44", "0-63", RssSource.STAT, 64 * 127 * 3),
        ("6.19.0", "0-3,8", RssSource.STAT, 5 * 31 * 3),
        ("7.0.0", "0-63", RssSource.STATUS, 0),
    ],
)
def test_counters_by_version(
    kernel: Kernel, release: str, cpus: str, source: RssSource, error: int
) -> None:
    """Which number the killer uses, and how far it may drift, for all CPUs that are online."""
    kernel.shows(release, "0", SIGNED)
    kernel.write_sys("devices/system/cpu/online", f"{cpus}\n")
    found = probe_kernel(kernel.proc, str(kernel.sys))
    assert (found.rss_source, found.rules.counter_error_pages) == (source, error)


def test_swap_brings_a_fourth_counter(kernel: Kernel) -> None:
    """Pages in swap are counted per CPU too."""
    kernel.shows("6.12.0", "0", SIGNED)
    kernel.files.write("meminfo", "MemTotal: 100 kB\nSwapTotal: 50 kB\n")
    assert probe_kernel(kernel.proc, str(kernel.sys)).rules.counter_error_pages == 31 * 4


def test_without_a_proc_nothing_is_known(tmp_path: Path) -> None:
    """It says so."""
    with pytest.raises(ReadingError, match=r"is .* a mounted proc"):
        probe_kernel(ProcFs(str(tmp_path)), str(tmp_path))


def test_settings(kernel: Kernel) -> None:
    """They are read as they are."""
    for name, value in {
        "panic_on_oom": 2,
        "oom_kill_allocating_task": 1,
        "overcommit_memory": 2,
        "swappiness": 0,
        "admin_reserve_kbytes": 8192,
        "user_reserve_kbytes": 131072,
    }.items():
        kernel.files.write(f"sys/vm/{name}", f"{value}\n")
    assert probe_settings(kernel.proc) == OomSettings(
        panic_on_oom=2,
        kill_allocating_task=True,
        overcommit_memory=2,
        swappiness=0,
        commit_reserve_bytes=139264 * KIB,
    )


def test_missing_settings_are_off(kernel: Kernel) -> None:
    """An old kernel, or a container that hides them."""
    assert probe_settings(kernel.proc) == OomSettings()


def test_min_watermarks_are_added_up(kernel: Kernel) -> None:
    """Of all zones; other lines that begin with min are left out."""
    zones = "Node 0, zone {}\n  pages free 3840\n      boost 0\n      min   {}\n      low 9\n"
    kernel.files.write("zoneinfo", zones.format("DMA", 28) + zones.format("Normal", 5636))
    assert oom_probe.min_watermark_bytes(kernel.proc) == 5664 * PAGE_BYTES


def test_arc(kernel: Kernel) -> None:
    """What the ZFS cache holds above its least size."""
    kernel.files.write("spl/kstat/zfs/arcstats", "1 2 3\nname type data\nsize 4 900\nc_min 4 300\n")
    assert oom_probe.arc_bytes(kernel.proc) == 600


def test_zram_that_is_swap(kernel: Kernel) -> None:
    """Its free space, and what the stored pages cost; other swap, and other zram, is left out."""
    kernel.files.write(
        "swaps",
        "Filename\tType\tSize\tUsed\tPriority\n"
        "/dev/zram0   partition\t1000\t400\t100\n"
        "/swap\\040file file\t5000\t0\t-2\n",
    )
    kernel.write_sys("block/zram0/mm_stat", " 409600 100000 122880 204800 122880 0 0 0 0\n")
    kernel.write_sys("block/zram1/mm_stat", "1 1 1 1 1 1 1\n")
    assert oom_probe.zram_swap(kernel.proc, str(kernel.sys)) == (
        Zram(free_bytes=600 * KIB, stored_bytes=409600, cost_bytes=122880, limit_bytes=204800),
    )


def test_zram_without_figures(kernel: Kernel) -> None:
    """A kernel that does not show them leaves the ratio open."""
    kernel.files.write("swaps", "/dev/zram0 partition 1000 0 100\n")
    assert oom_probe.zram_swap(kernel.proc, str(kernel.sys)) == (Zram(free_bytes=1000 * KIB),)


@pytest.mark.parametrize(
    ("online", "cpus"), [(b"0-3", 4), (b"0", 1), (b"0,2-3,8-15", 11), (b"", 1), (b"x", 1)]
)
def test_cpus_are_counted(online: bytes, cpus: int) -> None:
    """At least one is there."""
    assert oom_probe.count_cpus(online) == cpus


def test_the_kernel_that_runs_here() -> None:
    """Its formula is today's, and its counters have a known error."""
    found = probe_kernel(ProcFs())
    assert found.rules.era in Era
    assert found.rules.page_bytes == PAGE_BYTES
