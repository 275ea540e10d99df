"""What the benches need of the machine: C programs, crowds to watch, and figures of a process."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
KIB_PER_MIB = 1024
_CPU_SCHED = 2


def compiled(name: str, folder: Path) -> Path:
    """Compile one of the C programs beside this file."""
    program, compiler = folder / name, shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("a C compiler is needed: apt install gcc libc6-dev")
    if not program.exists():
        subprocess.run([compiler, "-O2", "-o", program, HERE / f"{name}.c"], check=True)
    return program


@contextmanager
def crowd(folder: Path, count: int, *, moving: bool = False) -> Iterator[tuple[int, list[int]]]:
    """Run `count` processes below one parent; gives the parent's pid and theirs.

    `moving`: each grows by 3 MiB/s to 32 MiB and begins anew, so that every series has a trend.
    """
    argv = [str(compiled("crowd", folder)), str(count), *(("64", "20", "32768") if moving else ())]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pids = [int(word) for word in parent.stdout.readline().split()]
            if len(pids) != count:
                raise RuntimeError(f"only {len(pids)} of {count} processes could be started")
            yield parent.pid, pids
        finally:
            parent.terminate()


def cpu_s(pid: int) -> float:
    """Give the CPU seconds of a process with all its threads, also those that ended."""
    return time.clock_gettime((~pid << 3) | _CPU_SCHED)  # as clock_getcpuclockid(3) makes it


def rss_mib(pid: int) -> float:
    """Give the resident memory of a process in MiB."""
    return _status(pid, "VmRSS") / KIB_PER_MIB


def threads(pid: int) -> int:
    """Count the threads of a process."""
    return _status(pid, "Threads")


def descriptors(pid: int) -> int:
    """Count the open descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text("ascii", errors="replace")
    return int(text.partition(f"\n{name}:")[2].split(None, 1)[0])
