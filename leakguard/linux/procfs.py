"""Read /proc: identity, trees, memory of processes and of the machine. The root is an argument."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from leakguard.core.errors import ReadingError
from leakguard.core.sample import Incarnation
from leakguard.linux import proctext
from leakguard.linux.proctext import MemoryStatus, ProcStat

if TYPE_CHECKING:
    import psutil

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_NOT_RUNNING = frozenset("ZXx")
_MAX_DEPTH = 4096


class ProcessGone(ReadingError):  # noqa: N818  it is what happened, not a fault
    """The process that was asked about does not run any more."""


class ProcFs:
    """A /proc tree. A process that vanished is `ProcessGone`, anything else `ReadingError`."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = root.rstrip("/") or "/"
        self._boot_id = ""

    def boot_id(self) -> str:
        """Give the kernel's name for this boot."""
        if not self._boot_id:
            data = self._read_host("sys/kernel/random/boot_id")
            self._boot_id = proctext.text(data).strip()
        return self._boot_id

    def stat(self, pid: int) -> ProcStat:
        """Read who the process is: name, parent, start, state."""
        return proctext.parse_stat(self.read(pid, "stat"))

    def incarnation(self, pid: int) -> Incarnation:
        """Name this run of the process: pid and start time."""
        return Incarnation(boot_id=self.boot_id(), pid=pid, start_ticks=self.stat(pid).start_ticks)

    def is_running(self, incarnation: Incarnation) -> bool:
        """Tell whether this very run is still there; a zombie is not."""
        if incarnation.boot_id != self.boot_id():
            return False
        try:
            stat = self.stat(incarnation.pid)
        except ProcessGone:
            return False
        return stat.start_ticks == incarnation.start_ticks and stat.state not in _NOT_RUNNING

    def cmdline(self, pid: int) -> tuple[str, ...]:
        """Give the argument vector; empty for kernel threads and zombies."""
        data = self.read(pid, "cmdline").rstrip(b"\0")
        return tuple(proctext.text(part) for part in data.split(b"\0")) if data else ()

    def uid(self, pid: int) -> int:
        """Give the number of the real user."""
        return int(self._process(pid).uids().real)

    def username(self, pid: int) -> str:
        """Give the name of the real user, or the number where it has no name."""
        return self._process(pid).username()

    def pids(self) -> tuple[int, ...]:
        """List the processes that can be seen, ascending."""
        try:
            return tuple(sorted(int(name) for name in os.listdir(self.root) if name.isdigit()))
        except OSError as error:
            raise ReadingError(f"cannot list {self.root}: {error.strerror}") from error

    def parents(self) -> dict[int, int]:
        """Give pid → parent's pid for every process that can be seen; costs 8 µs each."""
        parents = {}
        for pid in self.pids():
            try:
                parents[pid] = self.stat(pid).ppid
            except ReadingError:  # it vanished while the list was walked
                continue
        return parents

    def tree(self, root_pid: int, parents: Mapping[int, int] | None = None) -> tuple[int, ...]:
        """List a process and all that descend from it, the root first."""
        parents = self.parents() if parents is None else parents
        if root_pid not in parents:
            raise ProcessGone(f"process {root_pid} is gone")
        return descendants(root_pid, parents)

    def ancestors(self, pid: int) -> tuple[int, ...]:
        """List parent, grandparent and so on, nearest first."""
        found: list[int] = []
        while len(found) < _MAX_DEPTH:
            try:
                pid = self.stat(pid).ppid
            except ProcessGone:
                break
            if pid == 0 or pid in found:
                break
            found.append(pid)
        return tuple(found)

    def memory_status(self, pid: int) -> MemoryStatus:
        """Read the split into anon, file, shmem, swap and page tables (12 to 30 µs)."""
        return proctext.parse_status(self.read(pid, "status"))

    def smaps_rollup(self, pid: int) -> tuple[int, int]:
        """Give PSS and USS in bytes; 24 ms per GB, and the process waits meanwhile."""
        try:
            data = self.read(pid, "smaps_rollup")
        except ProcessGone:
            if not os.path.exists(f"{self.root}/{pid}/smaps"):
                raise
            data = self.read(pid, "smaps")  # before Linux 4.14
        if not data:
            raise ProcessGone(f"process {pid} has no memory of its own: it ended")
        return proctext.parse_smaps(data)

    def shared_objects(self, pid: int) -> frozenset[bytes] | None:
        """Name the shmem objects that a process maps, None when that may not be seen."""
        try:
            return proctext.parse_shared_objects(self.read(pid, "maps"))
        except ProcessGone:
            raise
        except ReadingError:
            return None

    def address_space_limit(self, pid: int) -> int | None:
        """Give RLIMIT_AS in bytes, None when unlimited."""
        return proctext.parse_address_space_limit(self.read(pid, "limits"))

    def cgroup_of(self, pid: int) -> dict[str, str]:
        """Give controller → cgroup path; the key of cgroup v2 is the empty string."""
        return proctext.parse_cgroup(self.read(pid, "cgroup"))

    def self_pid(self) -> int:
        """Give leakguard's own pid as this /proc numbers it."""
        try:
            return int(os.readlink(f"{self.root}/self"))
        except (OSError, ValueError):
            return os.getpid()

    def same_namespace(self) -> bool:
        """Tell whether the pids of this /proc are the ones that signals of ours would reach."""
        try:
            return os.readlink(f"{self.root}/self") == str(os.getpid())
        except OSError:
            return False

    def meminfo(self) -> dict[str, int]:
        """Give /proc/meminfo as name → bytes."""
        return proctext.parse_meminfo(self._read_host("meminfo"))

    def vm_setting(self, name: str) -> int | None:
        """Give a number of /proc/sys/vm, None where this kernel has none."""
        try:
            return int(self._read_host(f"sys/vm/{name}"))
        except (ReadingError, ValueError):
            return None

    def oom_kill_count(self) -> int | None:
        """Count the kernel's OOM kills since boot, None before Linux 4.13."""
        try:
            return proctext.parse_oom_kills(self._read_host("vmstat"))
        except ReadingError:
            return None

    def pressure(self) -> tuple[float, float] | None:
        """Give memory pressure (some, full: avg10), None where PSI is missing or off."""
        try:
            return proctext.parse_pressure(self._read_host("pressure/memory"))
        except ReadingError:
            return None

    def age_s(self, start_ticks: int, boot_s: float) -> float:
        """Give the seconds since a start, at `boot_s` seconds since boot."""
        return max(0.0, boot_s - start_ticks / TICKS_PER_S)

    def read(self, pid: int, name: str) -> bytes:
        """Read one file of a process whole."""
        path = f"{self.root}/{pid}/{name}"
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read() or b""
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError) as error:
            raise ProcessGone(f"process {pid} is gone") from error
        except PermissionError as error:
            raise ReadingError(
                f"cannot read {path}: permission denied; run leakguard as the same user, "
                "or give it CAP_SYS_PTRACE"
            ) from error
        except OSError as error:
            raise ReadingError(f"cannot read {path}: {error.strerror}") from error

    def _process(self, pid: int) -> "psutil.Process":
        import psutil  # 1 MiB, and few ask for users

        psutil.PROCFS_PATH = self.root
        try:
            process = psutil.Process(pid)
            process.uids()
        except psutil.NoSuchProcess as error:
            raise ProcessGone(f"process {pid} is gone") from error
        except psutil.AccessDenied as error:
            raise ReadingError(f"cannot see the user of process {pid}: run as root") from error
        return process

    def _read_host(self, name: str) -> bytes:
        path = f"{self.root}/{name}"
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read() or b""
        except OSError as error:
            raise ReadingError(
                f"cannot read {path}: {error.strerror}; is {self.root} a mounted proc?"
            ) from error


def descendants(root_pid: int, parents: Mapping[int, int]) -> tuple[int, ...]:
    """List a pid and all that descend from it in `parents` (pid → parent), the root first."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found, seen = [root_pid], {root_pid}
    for pid in found:
        new = [child for child in children.get(pid, ()) if child not in seen]
        found.extend(new)
        seen.update(new)
    return tuple(found)
