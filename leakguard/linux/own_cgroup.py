"""A memory cgroup that leakguard makes for itself, with a hard limit, and takes away again."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path

from leakguard.core.errors import LeakguardError
from leakguard.linux.cgroupfs import CgroupFs

V1 = 1
REMOVE_TRIES = 100
REMOVE_EVERY_S = 0.05


class CgroupRefused(LeakguardError):  # noqa: N818  what happened, in one word
    """A cgroup cannot be made, limited or removed here."""


class OwnCgroup:
    """A memory cgroup, version 1 or 2; `kind` names it for people."""

    def __init__(self, parent: Path, name: str, limit_bytes: int) -> None:
        """Make the group and set its limit, swap included.

        Raises:
            CgroupRefused: the group cannot be made or does not limit memory.
        """
        self.limit_bytes = limit_bytes
        self.directory = parent / name
        try:
            self.directory.mkdir()
        except OSError as error:
            raise CgroupRefused(f"cannot make a cgroup in {parent}: {error.strerror}") from error
        try:
            self.kind = self._cap(limit_bytes)
        except OSError as error:
            self.directory.rmdir()
            raise CgroupRefused(f"cannot limit memory in {parent}: {error.strerror}") from error

    @classmethod
    def at(cls, directory: Path) -> "OwnCgroup":
        """Take over a group that was made before."""
        group = cls.__new__(cls)
        group.directory, group.limit_bytes, group.kind = directory, 0, "cgroup"
        return group

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
                self.directory.rmdir()
            if not self.directory.exists():
                return
            wait.wait(REMOVE_EVERY_S)
        raise CgroupRefused(f"cannot remove {self.directory}: remove it by `rmdir` later")

    def _cap(self, limit_bytes: int) -> str:
        if self._is_v2():
            self._write("memory.max", limit_bytes)
            self._write("memory.swap.max", 0, needed=False)
            return "cgroup v2"
        self._write("memory.limit_in_bytes", limit_bytes)
        self._write("memory.memsw.limit_in_bytes", limit_bytes, needed=False)
        return "cgroup v1"

    def _is_v2(self) -> bool:
        return (self.directory / "memory.max").exists()

    def _write(self, name: str, value: int, *, needed: bool = True) -> None:
        path = self.directory / name
        if needed or path.exists():
            with path.open("r+", encoding="ascii") as file:  # never creates: no such file, no cap
                file.write(str(value))

    def _read(self, name: str) -> str:
        try:
            return (self.directory / name).read_text("ascii")
        except OSError:
            return ""


def kill_all(pids: Iterable[int]) -> None:
    """Send KILL to each; one that is gone is no problem."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def usual_parents(cgroups: CgroupFs, pid: int) -> tuple[Path, ...]:
    """Give where process `pid` may make a cgroup: below its own (v1) or beside it (v2), or on top.

    Version 2 refuses to limit below a cgroup that holds processes itself.
    """
    own = cgroups.memory_dir(pid)
    if own is None:
        return ()
    here, top = Path(own.directory), Path(own.top)
    near = here if own.version == V1 or here == top else here.parent
    return (near,) if near == top else (near, top)


def remove(directory: Path) -> None:
    """Take a cgroup away that an `OwnCgroup` made, by whatever process; gone is good."""
    OwnCgroup.at(directory).remove()
