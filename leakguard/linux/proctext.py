"""Parsers for the text files of /proc: bytes in, values out, ReadingError for anything else."""

import re

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.units import KIB

_PF_KTHREAD = 0x00200000
_NUMBERED = re.compile(rb"^([A-Za-z_()]+):\s+(\d{1,18}) kB", re.MULTILINE)
_MEMINFO = re.compile(rb"^([A-Za-z_()0-9]+):\s+(\d{1,18})( kB)?", re.MULTILINE)
_ADDRESS_SPACE = re.compile(rb"^Max address space\s+(\d{1,20}|unlimited)\s", re.MULTILINE)
_AVG10 = re.compile(rb"^(some|full) avg10=(\d{1,3}(?:\.\d{1,4})?)\s", re.MULTILINE)
_OOM_KILL = re.compile(rb"^oom_kill (\d{1,18})$", re.MULTILINE)
_SHM_NAMES = (b"/dev/zero (deleted)", b"/SYSV", b"/memfd:", b"/dev/shm/", b"/run/shm/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcStat:
    """One process as /proc/PID/stat shows it."""

    pid: int
    name: str
    state: str
    ppid: int
    start_ticks: int
    kernel_thread: bool
    vsize_bytes: int
    rss_pages: int
    """The kernel's fast counter: what its OOM killer ranks by on 6.2 to 6.19."""
    cpu_ticks: int
    """User and system time of all its threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatus:
    """The split of one process's memory, in bytes; None where this kernel does not print it."""

    anon: int | None = None
    file: int | None = None
    shmem: int | None = None
    swap: int | None = None
    page_tables: int | None = None
    promised: int | None = None
    """What counts in Committed_AS, nearly: data and stack in the address space."""

    @property
    def own(self) -> int:
        """What is given back for sure when it ends."""
        return (self.anon or 0) + (self.page_tables or 0)


def parse_stat(data: bytes) -> ProcStat:
    """Read /proc/PID/stat; the name may itself hold spaces and parentheses."""
    head, _, tail = data.rpartition(b")")
    number, _, name = head.partition(b"(")
    fields = tail.split()
    try:
        return ProcStat(
            pid=int(number),
            name=text(name),
            state=text(fields[0]),
            ppid=int(fields[1]),
            start_ticks=int(fields[19]),
            kernel_thread=bool(int(fields[6]) & _PF_KTHREAD),
            vsize_bytes=int(fields[20]),
            rss_pages=int(fields[21]),
            cpu_ticks=int(fields[11]) + int(fields[12]),
        )
    except (ValueError, IndexError) as error:
        raise ReadingError(f"/proc/PID/stat is not as expected: {data[:80]!r}") from error


def parse_status(data: bytes) -> MemoryStatus:
    """Read the memory lines of /proc/PID/status."""
    kib = {name: int(number) for name, number in _NUMBERED.findall(data)}

    def size(*names: bytes) -> int | None:
        found = [kib[name] for name in names if name in kib]
        return sum(found) * KIB if found else None

    return MemoryStatus(
        anon=size(b"RssAnon"),
        file=size(b"RssFile"),
        shmem=size(b"RssShmem"),
        swap=size(b"VmSwap"),
        page_tables=size(b"VmPTE", b"VmPMD"),
        promised=size(b"VmData", b"VmStk"),
    )


def parse_smaps(data: bytes) -> tuple[int, int]:
    """Sum PSS and USS in bytes over /proc/PID/smaps or smaps_rollup."""
    pss = uss = 0
    for name, number in _NUMBERED.findall(data):
        if name == b"Pss":
            pss += int(number)
        elif name.startswith(b"Private_"):
            uss += int(number)
    return pss * KIB, uss * KIB


def parse_address_space_limit(data: bytes) -> int | None:
    """Read the soft RLIMIT_AS from /proc/PID/limits, None when unlimited or not printed."""
    match = _ADDRESS_SPACE.search(data)
    if match is None or match.group(1) == b"unlimited":
        return None
    return int(match.group(1))


def parse_cgroup(data: bytes) -> dict[str, str]:
    """Read /proc/PID/cgroup: controller → path; the key of cgroup v2 is the empty string."""
    paths: dict[str, str] = {}
    for line in text(data).splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                paths[controller] = parts[2]
    return paths


def parse_meminfo(data: bytes) -> dict[str, int]:
    """Read /proc/meminfo: name → bytes (a plain count where no unit is printed)."""
    return {
        text(name): int(number) * (KIB if unit else 1)
        for name, number, unit in _MEMINFO.findall(data)
    }


def parse_pressure(data: bytes) -> tuple[float, float] | None:
    """Read `some` and `full` avg10 of /proc/pressure/memory, None when there is no such line."""
    found = dict(_AVG10.findall(data))
    if b"some" not in found:
        return None
    return float(found[b"some"]), float(found.get(b"full", b"0"))


def parse_oom_kills(data: bytes) -> int | None:
    """Read the counter `oom_kill` of /proc/vmstat, None where the kernel has none."""
    match = _OOM_KILL.search(data)
    return int(match.group(1)) if match else None


def parse_shared_objects(data: bytes) -> frozenset[bytes]:
    """Name the shmem objects (device and inode) that /proc/PID/maps shows."""
    objects = set()
    for line in data.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith(_SHM_NAMES):
            objects.add(fields[3] + b":" + fields[4])
    return frozenset(objects)


def text(data: bytes) -> str:
    """Decode what the kernel printed; bytes that are no UTF-8 must not stop a guard."""
    return data.decode("utf-8", "replace")
