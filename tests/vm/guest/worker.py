"""Processes that hold memory, and the one that leaks: handles on the C program `worker`."""

import mmap
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.vm.guest.case import MIB, Holder, Leak

PROGRAM = "/lab/worker"
KIB_PER_MIB = 1024
START_S = 60.0
STOP_S = 20.0


class WorkerError(Exception):
    """A worker did not do as told."""


class Worker:
    """A running worker, killed by its group or by `end`."""

    def __init__(self, arguments: list[str]) -> None:
        """Start it and wait until it holds all it should."""
        self._process = subprocess.Popen(
            [PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid
        if (said := self.hear(START_S)) != "ready":
            raise WorkerError(f"{arguments}: said {said!r} instead of ready")

    def tell(self, order: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())
        self._process.stdin.flush()

    def hear(self, within_s: float) -> str:
        """Give the next word; nothing when it has died, `silent` when the time is over."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], within_s)
        return os.read(fd, 256).decode().strip() if ready else "silent"

    def alive(self) -> bool:
        """Tell whether it runs still; one that was killed is reaped here."""
        return self._process.poll() is None

    def end(self) -> None:
        """Reap it after its group was killed."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired as late:
            raise WorkerError(f"worker {self.pid} does not end") from late


class Leaker(Worker):
    """A worker that grows, whose growth can be read even after its death."""

    def __init__(self, arguments: list[str], status: Path) -> None:
        """Share the counter with it."""
        status.unlink(missing_ok=True)
        super().__init__([f"status={status}", *arguments])
        with status.open("rb") as file:
            self._counter = mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ)

    def grown_bytes(self) -> int:
        """Give how much it has grown since its start."""
        return int.from_bytes(self._counter[:8], "little")

    def grow(self, kind: str, size_bytes: int, within_s: float) -> None:
        """Let it grow by so much and wait for it."""
        self.tell(f"grow {kind} {size_bytes}")
        if (said := self.hear(within_s)) != "grown":
            raise WorkerError(f"leaker said {said!r} instead of grown")

    def leak(self, kind: str, within_s: float) -> str:
        """Let it grow until something happens: `killed` (somebody), `enomem` or nothing heard."""
        self.tell(f"leak {kind}")
        return self.hear(within_s)


def hold(holder: Holder, group: Path, shared: Path) -> Worker:
    """Start a process that holds what `holder` says; `shared` is a folder on tmpfs."""
    arguments = [f"name={holder.name}", f"group={group / holder.group}", f"adj={holder.adj}"]
    if holder.kids:  # born before the parent holds anything that they would share
        arguments.append(f"kids={holder.kids}:{holder.kid_mib * KIB_PER_MIB}")
    if holder.anon:
        arguments.append(f"anon={int(holder.anon * KIB_PER_MIB)}")
    if holder.huge:
        arguments.append(f"huge={holder.huge * KIB_PER_MIB}")
    if holder.shmem:
        arguments.append(f"shmem={shared / holder.share}:{holder.shmem * KIB_PER_MIB}")
    if holder.file:
        arguments.append(f"file={_file(holder.file)}:{holder.file * KIB_PER_MIB}")
    if holder.sparse:
        arguments.append(f"sparse={holder.sparse}")
    return Worker(arguments)


def leak(leak: Leak, group: Path, shared: Path) -> Leaker:
    """Start the process that will leak."""
    arguments = [f"name={leak.name}", f"group={group / leak.group}", f"adj={leak.adj}"]
    if leak.start:
        arguments.append(f"anon={leak.start * KIB_PER_MIB}")
    return Leaker(arguments, shared / "grown")


def wait_until_free(free_bytes: int, growable: Callable[[], int], within_s: float) -> bool:
    """Wait for memory to come back."""
    end = time.monotonic() + within_s
    while growable() < free_bytes:
        if time.monotonic() > end:
            return False
        select.select([], [], [], 0.1)
    return True


def _file(mib: int) -> Path:
    """Give a file on disk of this size, made once, none of it in memory."""
    path = Path(f"/var/tmp/lab-{mib}")
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path
