"""A hard cap on memory for one service: a memory cgroup of our own, else RLIMIT_AS.

A leak on purpose must never reach the rest of the machine, so there is no third choice.
"""

import contextlib
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from leakguard.core.errors import LeakguardError
from leakguard.linux.procfs import PAGE_BYTES

REMOVE_TRIES = 100
REMOVE_EVERY_S = 0.05


class CageError(LeakguardError):
    """A cgroup cannot be made here."""


class Cage(ABC):
    """What holds the service; `kind` names it for people."""

    kind: str
    directory: Path | None = None
    """The cgroup to join, None where there is none."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes

    @abstractmethod
    def used_bytes(self, pid: int | None) -> int:
        """Measure what counts against the cap now."""

    @abstractmethod
    def oom_kills(self) -> int:
        """Count the kernel's kills in this cage."""

    @abstractmethod
    def remove(self) -> None:
        """Kill whatever is left inside, by pid, and take the cage away."""


class RlimitCage(Cage):
    """No cgroup: the service caps its own address space, and the kernel never kills."""

    kind = "RLIMIT_AS, an address space limit"

    def used_bytes(self, pid: int | None) -> int:
        """Give the resident memory of `pid`."""
        try:
            return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def oom_kills(self) -> int:
        """There are none: allocations fail instead."""
        return 0

    def remove(self) -> None:
        """Nothing was made."""


class CgroupCage(Cage):
    """A memory cgroup under `parent`, version 1 or 2, made here and removed by `remove`."""

    def __init__(self, parent: Path, name: str, limit_bytes: int) -> None:
        """Make the group and set its limit, swap included.

        Raises:
            CageError: the group cannot be made or does not limit memory.
        """
        super().__init__(limit_bytes)
        self.directory = self._directory = parent / name
        try:
            self._directory.mkdir()
        except OSError as error:
            raise CageError(f"cannot make a cgroup in {parent}: {error.strerror}") from error
        try:
            self.kind = self._cap(limit_bytes)
        except OSError as error:
            self._directory.rmdir()
            raise CageError(f"cannot limit memory in {parent}: {error.strerror}") from error

    def used_bytes(self, pid: int | None) -> int:
        """Give the charge of the whole group."""
        name = "memory.current" if self._is_v2() else "memory.usage_in_bytes"
        return int(self._read(name) or 0)

    def oom_kills(self) -> int:
        """Read the group's own counter of kernel kills."""
        name = "memory.events" if self._is_v2() else "memory.oom_control"
        words = dict(line.split() for line in self._read(name).splitlines())
        return int(words.get("oom_kill", 0))

    def pids(self) -> tuple[int, ...]:
        """List the processes inside."""
        return tuple(int(pid) for pid in self._read("cgroup.procs").split())

    def remove(self) -> None:
        """Kill by pid until the group is empty, then remove it."""
        wait = threading.Event()
        for _ in range(REMOVE_TRIES):
            kill_all(self.pids())
            with contextlib.suppress(OSError):  # EBUSY until the last page is given back
                self._directory.rmdir()
            if not self._directory.exists():
                return
            wait.wait(REMOVE_EVERY_S)
        raise CageError(f"cannot remove {self._directory}: remove it by `rmdir` later")

    def _cap(self, limit_bytes: int) -> str:
        if self._is_v2():
            self._write("memory.max", limit_bytes)
            self._write("memory.swap.max", 0, needed=False)
            return "cgroup v2"
        self._write("memory.limit_in_bytes", limit_bytes)
        self._write("memory.memsw.limit_in_bytes", limit_bytes, needed=False)
        return "cgroup v1"

    def _is_v2(self) -> bool:
        return (self._directory / "memory.max").exists()

    def _write(self, name: str, value: int, *, needed: bool = True) -> None:
        path = self._directory / name
        if needed or path.exists():
            with path.open("r+", encoding="ascii") as file:  # never creates: no such file, no cap
                file.write(str(value))

    def _read(self, name: str) -> str:
        try:
            return (self._directory / name).read_text("ascii")
        except OSError:
            return ""


def make_cage(parents: Iterable[Path], name: str, limit_bytes: int) -> Cage:
    """Make a cgroup in the first of `parents` that allows it, else fall back to RLIMIT_AS."""
    for parent in parents:
        with contextlib.suppress(CageError):
            return CgroupCage(parent, name, limit_bytes)
    return RlimitCage(limit_bytes)


def kill_all(pids: Iterable[int]) -> None:
    """Send KILL to each; one that is gone is no problem."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
