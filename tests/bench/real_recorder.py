"""Record one service in a cgroup of its own, once a second, until the kill or until time is up.

What is recorded is what the daemon measures, read by the daemon's own code: the parts of the
cgroup's charge, the domain's use (usage less file pages that can be dropped), resident sizes.
"""

import contextlib
import csv
import gzip
import json
import os
import random
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path

from leakguard.core.errors import ReadingError
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.own_cgroup import OwnCgroup, usual_parents
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from tests.bench.real_load import Load, drive

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "tests" / "workloads" / "services"
MIB = 1 << 20
EVERY_S = 1.0
WARM_S = 3.0
LOOK_S = 0.2
"""The time of a kill is known to this."""
NICE = 5
"""The services give way to whatever else the machine does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What to start and how to drive it."""

    name: str
    shape: str
    """What its memory does, for people."""
    limit_mib: int
    command: tuple[str, ...]
    """`{port}`, `{folder}` (empty, its own) and `{built}` (compiled programs) are filled in."""
    needs: tuple[str, ...] = ()
    """Programs that have to be installed."""
    load: Load | None = None
    leak: bool = True
    most_s: float = 2100.0
    """A leak is given up after this; what is benign ends here."""
    onset_s: float = 0.0
    """When the leak begins."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sample; sizes in bytes."""

    t_seconds: float
    value: int
    """anon + shmem + swap: what the daemon takes as the memory of the service."""
    anon: int
    shmem: int
    swap: int
    file: int
    """Page cache without shmem."""
    rss: int
    """Resident sizes of all processes, added up."""
    usage: int
    """The whole charge, as the limit counts it."""
    used: int
    """The charge less file pages that can be dropped: the use of the memory domain."""
    limit_hits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One life."""

    name: str
    leak: bool
    shape: str
    seed: int
    limit_bytes: int
    onset_s: float
    ended: str
    """`killed` by the kernel, `time` is up, or `exit CODE`."""
    life_s: float
    """From the start to the kill, or to the end of the recording."""
    rows: tuple[Row, ...] = field(default=(), repr=False)

    def save(self, folder: Path) -> None:
        """Write NAME.csv.gz and NAME.json, the latter last."""
        with gzip.open(folder / f"{self.name}.csv.gz", "wt", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(one.name for one in fields(Row))
            writer.writerows(astuple(row) for row in self.rows)
        said = {key: value for key, value in asdict(self).items() if key != "rows"}
        (folder / f"{self.name}.json").write_text(json.dumps(said, indent=1) + "\n", "utf-8")


def load_recording(folder: Path, name: str) -> Recording:
    """Read what `save` wrote."""
    said = json.loads((folder / f"{name}.json").read_text("utf-8"))
    with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="ascii") as file:
        lines = csv.reader(file)
        next(lines)
        rows = tuple(Row(float(line[0]), *map(int, line[1:])) for line in lines)
    return Recording(**said, rows=rows)


class NotStarted(Exception):  # noqa: N818  what happened, in two words
    """The service ended before it began."""


def record(service: Service, seed: int, built: Path, log: Path, stop: threading.Event) -> Recording:
    """Run the service to its end and give what was seen; `stop` ends it before its time."""
    numbers = random.Random(f"{seed}/{service.name}/load")
    cgroups = CgroupFs(ProcFs())
    with contextlib.ExitStack() as stack:
        stack.callback(cgroups.close)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=log.parent)))
        parent = usual_parents(cgroups, os.getpid())[-1]
        name = f"leakguard-real-{service.name}-{os.getpid()}"
        group = OwnCgroup(parent, name, service.limit_mib * MIB)
        stack.callback(group.remove)
        port = free_port()
        words = {"port": str(port), "folder": str(scratch), "built": str(built)}
        warm(service, words)
        began = time.monotonic()
        process = stack.enter_context(started(service, group, words, log))
        life = Life(cgroups, cgroups.directory(str(group.directory)), process, began)
        if service.load is not None:
            ended = threading.Event()
            driver = threading.Thread(
                target=_drive, args=(service.load, port, numbers, ended), daemon=True
            )
            driver.start()
            stack.callback(driver.join, 15.0)
            stack.callback(ended.set)
        how = life.watch(service.most_s, stop)
        return Recording(
            name=service.name, leak=service.leak, shape=service.shape, seed=seed,
            limit_bytes=service.limit_mib * MIB, onset_s=service.onset_s, ended=how,
            life_s=round(life.elapsed_s, 3), rows=tuple(life.rows),
        )  # fmt: skip


def _drive(load: Load, port: int, numbers: random.Random, ended: threading.Event) -> None:
    while not ended.wait(LOOK_S):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 5.0).close()
            drive(load, port, numbers, ended)


def free_port() -> int:
    """Give a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def warm(service: Service, words: Mapping[str, str]) -> None:
    """Have the files of the program in the page cache, charged to ourselves.

    So it is on a host where the runtime is in use anyway. Charged to the service, they are dropped
    when its memory runs out and read again and again: the service stands still, and the moment
    of the kill, minutes later, is chance.
    """
    command = [word.format(**words) for word in service.command]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise NotStarted(f"`{' '.join(command)}` ends at once, code {process.wait(WARM_S)}")
        maps = Path(f"/proc/{process.pid}/maps").read_text("utf-8", errors="replace")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(WARM_S)
        process.kill()
        process.wait()
    for name in {line.partition("/")[2] for line in maps.splitlines() if "/" in line}:
        with contextlib.suppress(OSError), Path(f"/{name}").open("rb") as file:
            while file.read(MIB):
                pass


@contextlib.contextmanager
def started(
    service: Service, group: OwnCgroup, words: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Have the service run in the group, in there before it began."""
    command = [word.format(**words) for word in service.command]
    script = 'echo $$ > "$0"/cgroup.procs && exec nice -n "$1" "${@:2}"'
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, group.directory, str(NICE), *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


class Life:
    """What was seen of a service since its start."""

    def __init__(
        self, cgroups: CgroupFs, group: CgroupDir, process: subprocess.Popen[bytes], began: float
    ) -> None:
        self._cgroups = cgroups
        self._group = group
        self._process = process
        self._began = began
        self._due_s = 0.0
        self.elapsed_s = 0.0
        self.rows: list[Row] = []

    def watch(self, most_s: float, stop: threading.Event) -> str:
        """Sample until the kernel kills, the service ends, or time is up; say which."""
        while True:
            self.elapsed_s = time.monotonic() - self._began
            if self._cgroups.oom_kills(self._group):
                return "killed"
            if (code := self._process.poll()) is not None:
                # The counter rises just before the process is gone.
                return "killed" if self._cgroups.oom_kills(self._group) else f"exit {code}"
            if stop.is_set() or self.elapsed_s >= most_s:
                return "stopped" if stop.is_set() else "time"
            if self.elapsed_s >= self._due_s:
                self._sample()
                self._due_s = (self.elapsed_s // EVERY_S + 1) * EVERY_S
            next_s = self._began + self._due_s - time.monotonic()
            stop.wait(min(LOOK_S, max(0.0, next_s)))

    def _sample(self) -> None:
        parts = self._cgroups.usage_parts(self._group)
        domain = self._cgroups.read_domain(self._group)
        row = Row(
            round(self.elapsed_s, 3),
            parts.anon + parts.shmem + parts.swap,
            parts.anon,
            parts.shmem,
            parts.swap,
            parts.file,
            self._rss(),
            domain.usage_bytes,
            domain.used_bytes,
            domain.limit_hits or 0,
        )
        self.rows.append(row)

    def _rss(self) -> int:
        total = 0
        for pid in self._cgroups.procs(self._group):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return total * PAGE_BYTES


def build(services: tuple[Service, ...], into: Path) -> None:
    """Compile what the services need compiled, once."""
    used = " ".join(word for service in services for word in service.command)
    for source in sorted(SERVICES.glob("c_*.c")):
        if source.stem in used:  # -O0: nothing may be left out because nobody reads it
            program = into / source.stem
            subprocess.run(["gcc", "-O0", "-o", program, source], check=True)
    if java := [str(source) for source in SERVICES.glob("*.java") if source.stem in used]:
        subprocess.run(["javac", "-d", into, *java], check=True)


def problem_here() -> str:
    """Say why nothing can be recorded on this machine; "" when all is well."""
    if os.geteuid() != 0:
        return "needs uid 0 (to make memory cgroups)"
    try:
        if not usual_parents(CgroupFs(ProcFs()), os.getpid()):
            return "no memory cgroup can be made here"
    except ReadingError as error:
        return str(error)
    return ""
