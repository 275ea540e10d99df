"""How this kernel's OOM killer counts and chooses: found by what the kernel shows of itself.

A version number alone lies (RHEL 8's 4.18 kills like 5.x), so where a feature can be seen it
overrules the number: a missing `oom_score_adj` is the legacy formula, and since 5.9 a process that
uses nothing has an `oom_score` of two thirds of a thousand instead of 0.

Which resident counter the killer uses cannot be seen from outside; it follows from the version.
Until 6.1 there is one counter. From 6.2 on the killer reads a per-CPU counter roughly, and field 24
of /proc/PID/stat is that very number (20 of 20 near-equal cases, the exact one 14 of 20). From 7.0
on it adds the counter up exactly, as /proc/PID/status shows it.
"""

import re
from enum import StrEnum
from typing import Final

from leakguard.core.badness import Era, era_of_release
from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.headroom import Zram
from leakguard.core.units import KIB
from leakguard.core.victims import KillerRules
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.linux.proctext import text

_PER_CPU_COUNTERS: Final = (6, 2)
_EXACT_COUNTERS: Final = (7, 0)
_THREAD_KEEPS_PAGES: Final = 64
"""Until 6.1 each thread holds up to that many page faults back."""
_RSS_COUNTERS: Final = 3
"""File, anonymous and shmem; the fourth, swap, moves only where there is swap."""
_MIN_WATERMARK = re.compile(rb"^\s+min\s+(\d{1,18})$", re.MULTILINE)
_ARC_LINE = re.compile(rb"^(size|c_min)\s+\d+\s+(\d{1,18})\s*$", re.MULTILINE)
_ZRAM_SWAP = re.compile(rb"^\S*/(zram\d+)\s+\S+\s+(\d{1,15})\s+(\d{1,15})\s", re.MULTILINE)
_WHOLE = re.compile(rb"\s*(-?\d{1,20})\s*")
_RANGE = re.compile(rb"(\d{1,6})(?:-(\d{1,6}))?")


class RssSource(StrEnum):
    """Where the resident size stands that the killer uses."""

    STAT = "stat"
    """Field 24 of /proc/PID/stat."""
    STATUS = "status"
    """VmRSS of /proc/PID/status: exact since 6.16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OomKernel:
    """What does not change while the kernel runs."""

    release: str
    rules: KillerRules
    rss_source: RssSource
    cpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OomSettings:
    """The `vm.` settings that decide how a lack of memory ends; each is read anew."""

    panic_on_oom: int = 0
    kill_allocating_task: bool = False
    overcommit_memory: int = 0
    swappiness: int = 60
    commit_reserve_bytes: int = 0


def probe_kernel(proc: ProcFs, sys_root: str = "/sys") -> OomKernel:
    """Find era and counters of the kernel that runs.

    Raises:
        ReadingError: there is no proc to read.
    """
    release = text(_host(proc, "sys/kernel/osrelease")).strip()
    cpus = count_cpus(read_bytes(f"{sys_root}/devices/system/cpu/online"))
    version = _version(release)
    return OomKernel(
        release=release,
        cpus=cpus,
        rss_source=RssSource.STATUS if version >= _EXACT_COUNTERS else RssSource.STAT,
        rules=KillerRules(
            era=_era(proc, release),
            counter_error_pages=counter_error_pages(version, cpus, swap=_has_swap(proc)),
            page_bytes=PAGE_BYTES,
        ),
    )


def probe_settings(proc: ProcFs) -> OomSettings:
    """Read the settings; one that this kernel does not have is off."""
    return OomSettings(
        panic_on_oom=_setting(proc, "panic_on_oom", 0),
        kill_allocating_task=_setting(proc, "oom_kill_allocating_task", 0) != 0,
        overcommit_memory=_setting(proc, "overcommit_memory", 0),
        swappiness=_setting(proc, "swappiness", 60),
        commit_reserve_bytes=KIB
        * (_setting(proc, "admin_reserve_kbytes", 0) + _setting(proc, "user_reserve_kbytes", 0)),
    )


def counter_error_pages(version: tuple[int, ...], cpus: int, *, swap: bool) -> int:
    """Bound how far a count may drift from what was read until the killer reads it."""
    counters = _RSS_COUNTERS + swap
    if version >= _EXACT_COUNTERS:
        return 0
    if version >= _PER_CPU_COUNTERS:
        return cpus * (max(32, 2 * cpus) - 1) * counters
    return _THREAD_KEEPS_PAGES * counters


def min_watermark_bytes(proc: ProcFs) -> int:
    """Sum the MIN watermarks of all zones, 0 where they cannot be read."""
    data = read_bytes(f"{proc.root}/zoneinfo")
    return PAGE_BYTES * sum(int(pages) for pages in _MIN_WATERMARK.findall(data))


def arc_bytes(proc: ProcFs) -> int:
    """Give what the ZFS cache can give back, 0 without ZFS."""
    data = read_bytes(f"{proc.root}/spl/kstat/zfs/arcstats")
    sizes = {name: int(size) for name, size in _ARC_LINE.findall(data)}
    return max(0, sizes.get(b"size", 0) - sizes.get(b"c_min", 0))


def zram_swap(proc: ProcFs, sys_root: str = "/sys") -> tuple[Zram, ...]:
    """List the zram devices that are used as swap."""
    devices = []
    for name, size_kib, used_kib in _ZRAM_SWAP.findall(read_bytes(f"{proc.root}/swaps")):
        figures = read_bytes(f"{sys_root}/block/{text(name)}/mm_stat").split()
        stored, _, cost, limit, *_ = [*(whole(figure) or 0 for figure in figures), 0, 0, 0, 0]
        free = max(0, int(size_kib) - int(used_kib)) * KIB
        devices.append(
            Zram(free_bytes=free, stored_bytes=stored, cost_bytes=cost, limit_bytes=limit)
        )
    return tuple(devices)


def count_cpus(online: bytes) -> int:
    """Count the processors of a list such as `0-3,8`, at least one."""
    spans = _RANGE.findall(online)
    return max(1, sum(int(last or first) - int(first) + 1 for first, last in spans))


def read_bytes(path: str) -> bytes:
    """Read a file whole; one that is not there, or not for us, is empty."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read() or b""
    except OSError:
        return b""


def whole(data: bytes) -> int | None:
    """Read a whole number, None when it is none, as `max`."""
    match = _WHOLE.fullmatch(data)
    return int(match.group(1)) if match else None


def _era(proc: ProcFs, release: str) -> Era:
    by_number = era_of_release(release) or Era.SIGNED
    adj = whole(read_bytes(f"{proc.root}/self/oom_score_adj"))
    score = whole(read_bytes(f"{proc.root}/self/oom_score"))
    if adj is None:
        return by_number if score is None else Era.LEGACY
    if by_number is Era.LEGACY:
        return Era.PER_MILLE
    signed = None if score is None else _is_signed(adj, score)
    if signed is None:
        return by_number
    if signed:
        return Era.SIGNED
    return Era.LAST_WINS if by_number is Era.SIGNED else by_number


def _is_signed(adj: int, score: int) -> bool | None:
    """Tell by our own score: (1000 + adj) * 2/3 and what we use, or adj and what we use.

    None where the two are too near to each other, as for a protected process.
    """
    new, old = (1000 + adj) * 2 // 3, max(0, adj)
    if abs(new - old) < 100:
        return None
    return abs(score - new) < abs(score - old)


def _version(release: str) -> tuple[int, ...]:
    numbers = re.match(r"(\d{1,3})\.(\d{1,4})", release)
    return tuple(map(int, numbers.groups())) if numbers else _PER_CPU_COUNTERS


def _has_swap(proc: ProcFs) -> bool:
    try:
        return proc.meminfo().get("SwapTotal", 0) > 0
    except ReadingError:
        return True


def _setting(proc: ProcFs, name: str, missing: int) -> int:
    value = proc.vm_setting(name)
    return missing if value is None else value


def _host(proc: ProcFs, name: str) -> bytes:
    data = read_bytes(f"{proc.root}/{name}")
    if not data:
        raise ReadingError(f"cannot read {proc.root}/{name}: is {proc.root} a mounted proc?")
    return data
