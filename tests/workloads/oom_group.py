"""Limited cgroups with workers in them, and a growth that ends in a real OOM kill."""

import contextlib
import errno
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.oom_machine import DomainReport, OomMachine
from leakguard.linux.own_cgroup import OwnCgroup, usual_parents
from leakguard.linux.procfs import PAGE_BYTES, ProcFs

WORKER = Path(__file__).with_name("oom_worker.py")
COARSE_PAGES = 256
FINE_PAGES = 16
FINE_BELOW_BYTES = 3 << 20
PATIENCE_S = 20.0
_KILLED = re.compile(rb";(?:Memory cgroup out|Out) of memory[^:]*: Killed process (\d+) ")


class Kmsg:
    """The kernel's log from now on; silent where it must not be read."""

    def __init__(self) -> None:
        self._fd: int | None = None
        with contextlib.suppress(OSError):
            self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)

    def killed(self) -> list[int]:
        """Give the pids that were killed since the last call, in order."""
        pids: list[int] = []
        while self._fd is not None:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # records were lost
                    continue
                raise
            pids += [int(pid) for pid in _KILLED.findall(record)]
        return pids

    def close(self) -> None:
        """Close it."""
        if self._fd is not None:
            os.close(self._fd)


class Member:
    """A worker in a group, in there before it began."""

    def __init__(self, group: Path, oom_score_adj: int = 0) -> None:
        adjust = f"echo {oom_score_adj} > /proc/self/oom_score_adj"
        script = f'echo $$ > "$0"/cgroup.procs && {adjust} && exec "$@"'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", script, group, sys.executable, "-SE", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self.process.pid
        assert self.answer() == "ready"

    def send(self, command: str) -> None:
        """Give a command; whoever was killed meanwhile does not hear it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{command}\n".encode())
            self.process.stdin.flush()

    def answer(self, within_s: float = PATIENCE_S) -> str:
        """Wait for the answer; "" when there is none."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], within_s)
        return self.process.stdout.readline().decode().strip() if ready else ""

    def do(self, command: str) -> str:
        """Give a command and wait until it is done."""
        self.send(command)
        answer = self.answer()
        assert answer.startswith("ok"), f"{command}: {answer!r}"
        return answer.removeprefix("ok").strip()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it; children of its own end with the group."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A kill, and what was predicted of it."""

    victims: tuple[int, ...]
    """As the kernel's log names them, else who is gone."""
    last: DomainReport
    """The report just before."""
    first: DomainReport
    """The report before the growth."""
    grown_bytes: int
    """What was taken between the two, page tables and all."""
    by_oom_score: int | None
    """Who had the highest `/proc/PID/oom_score` at the last look."""

    @property
    def predicted(self) -> int | None:
        """Whom the last report named."""
        return self.last.prediction.victim.pid if self.last.prediction.victim else None

    @property
    def right(self) -> bool:
        """Whether the kernel named the same."""
        return self.predicted == self.victims[0]

    @property
    def headroom_error(self) -> float:
        """How far what was taken lies outside of the first report's headroom; 0 inside of it."""
        room = self.first.domain.headroom
        beyond = max(0, self.grown_bytes - room.high_bytes)
        return (beyond - max(0, room.low_bytes - self.grown_bytes)) / self.grown_bytes


class Stage:
    """One limited group of this machine with its workers; all is gone at the end."""

    def __init__(self, limit_bytes: int, name: str) -> None:
        """Make the group."""
        proc = ProcFs()
        self.cgroups = CgroupFs(proc)
        self.machine = OomMachine(proc, self.cgroups)
        parent = usual_parents(self.cgroups, os.getpid())[-1]
        self.group = OwnCgroup(parent, f"leakguard-{name}-{os.getpid()}", limit_bytes)
        self.cgroup = self.cgroups.directory(str(self.group.directory))
        self.limit_bytes = limit_bytes
        self.kmsg = Kmsg()
        self.members: list[Member] = []
        self.below: list[Path] = []

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everybody and remove the groups, the innermost first."""
        for member in self.members:
            member.close()
        for folder in reversed(self.below):
            OwnCgroup.at(folder).remove()
        self.group.remove()
        self.cgroups.close()
        self.kmsg.close()

    def child(self, name: str) -> Path:
        """Make a group below, without a limit of its own."""
        folder = self.group.directory / name
        with contextlib.suppress(OSError):  # v1 has no such file
            (self.group.directory / "cgroup.subtree_control").write_text("+memory")
        folder.mkdir()
        self.below.append(folder)
        return folder

    def start(self, oom_score_adj: int = 0, group: Path | None = None) -> Member:
        """Start a worker."""
        member = Member(group or self.group.directory, oom_score_adj)
        self.members.append(member)
        return member

    def look(self, top: int | None = 4) -> DomainReport:
        """Report the domain."""
        return self.machine.look_at(self.cgroup, top=top)

    def highest_oom_score(self) -> int | None:
        """Choose as tools do that rank by `/proc/PID/oom_score`; of equals the larger resident."""
        ranks = []
        for pid in self.cgroups.procs(self.cgroup):
            with contextlib.suppress(OSError):
                score = int(Path(f"/proc/{pid}/oom_score").read_text("ascii"))
                resident = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
                ranks.append((score, resident, pid))
        return max(ranks)[2] if ranks else None

    def kills(self) -> int:
        """Count the kernel's kills in the group and below."""
        return self.cgroups.read_domain(self.cgroup).oom_kills or 0

    def grow_until_killed(self, trigger: Member) -> Kill:
        """Let one worker grow, ever more carefully, until the kernel kills somebody."""
        trigger.do(f"reserve {2 * self.limit_bytes // PAGE_BYTES}")
        before, pages = self.kills(), 0
        self.kmsg.killed()
        first = last = self.look()
        by_score = self.highest_oom_score()
        while pages * PAGE_BYTES < 2 * self.limit_bytes:
            near = last.domain.headroom.high_bytes < FINE_BELOW_BYTES
            step = FINE_PAGES if near else COARSE_PAGES
            trigger.send(f"grow {step}")
            answer = trigger.answer()
            if not answer or self.kills() > before:
                break
            pages += step
            last = self.look()
            by_score = self.highest_oom_score()
        else:
            raise AssertionError("there was no kill")
        return Kill(
            victims=tuple(self.kmsg.killed()) or self._dead(),
            last=last,
            first=first,
            by_oom_score=by_score,
            grown_bytes=pages * (PAGE_BYTES + PAGE_BYTES // 512),
        )

    def _dead(self) -> tuple[int, ...]:
        return tuple(member.pid for member in self.members if not member.alive)


@contextlib.contextmanager
def cold_file(path: Path, size: int) -> Iterator[Path]:
    """Have a file of that size on a disk, nothing of it in the page cache."""
    with path.open("wb") as file:
        file.write(os.urandom(1 << 20) * (size >> 20))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        yield path
    finally:
        path.unlink()
