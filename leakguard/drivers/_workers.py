"""The workers of a pool: which process is the master, which are its workers, which of them leak.

A worker is a child that its master forked and that still runs the same program, or names itself a
worker, and that catches the signal which ends a worker of its kind in good order. That leaves out
what else a master may start: helpers, and the HTTP router, spoolers and mules of uWSGI.
"""

import re
import signal
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from statistics import median

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Incarnation
from leakguard.linux.procfs import ProcessGone, ProcFs, descendants

_CAUGHT = re.compile(rb"^SigCgt:\s*([0-9a-fA-F]+)", re.MULTILINE)


class Kind(StrEnum):
    """Whose pool it is."""

    GUNICORN = "gunicorn"
    UWSGI = "uwsgi"
    CELERY = "celery"
    PUMA = "puma"

    @property
    def ends_by(self) -> signal.Signals:
        """The signal after which a worker ends, and its master starts another.

        gunicorn and puma: after the requests that it has accepted; uWSGI (where TERM drops them):
        the same by HUP; Celery: at once, and the task that it runs is lost, or comes again where
        `acks_late` and `reject_on_worker_lost` say so.
        """
        return signal.SIGHUP if self is Kind.UWSGI else signal.SIGTERM

    @property
    def catches(self) -> tuple[signal.Signals, ...]:
        """Signals that every worker of the kind has a handler for, and helpers do not all have."""
        if self is Kind.UWSGI:
            return (signal.SIGHUP, signal.SIGUSR1)
        return (self.ends_by,)

    @property
    def called(self) -> re.Pattern[str]:
        """What a worker that names itself is called."""
        return re.compile(_TITLES[self])


_TITLES = {
    Kind.GUNICORN: r"gunicorn: worker",
    Kind.UWSGI: r"uWSGI worker",
    Kind.CELERY: r"celeryd:.*PoolWorker",
    Kind.PUMA: r"puma: cluster worker",
}


class Which(StrEnum):
    """Which workers are replaced."""

    LEAKING = "leaking"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker and what it holds for itself: anonymous and swapped memory."""

    run: Incarnation
    own_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A master and its workers, the largest first."""

    master: Incarnation
    workers: tuple[Worker, ...]


def find_pool(proc: ProcFs, root: Incarnation, kind: Kind) -> Pool | None:
    """Find the pool of a service: its root is the master, or what starts the master.

    Raises:
        ProcessGone: the root has ended.
    """
    parents = proc.parents()
    if root.pid not in parents:
        raise ProcessGone(f"{root} has ended")
    for pid in descendants(root.pid, parents):
        children = [child for child, parent in parents.items() if parent == pid]
        try:
            workers = tuple(_workers(proc, pid, children, kind))
            master = root if pid == root.pid else proc.incarnation(pid)
        except ReadingError:  # it ended meanwhile
            continue
        if workers:
            return Pool(master=master, workers=tuple(sorted(workers, key=lambda w: -w.own_bytes)))
    return None


def choose(pool: Pool, which: Which, factor: float) -> tuple[Worker, ...]:
    """Choose whom to replace, the largest first: at least the largest.

    A worker leaks when it holds `factor` times the median of the others.
    """
    if which is Which.ALL:
        return pool.workers
    leaking = [w for w in pool.workers if w.own_bytes > factor * _others(pool, w)]
    return tuple(leaking) or pool.workers[:1]


def _others(pool: Pool, worker: Worker) -> float:
    sizes = [other.own_bytes for other in pool.workers if other.run != worker.run]
    return median(sizes) if sizes else float("inf")


def _workers(proc: ProcFs, master: int, children: Iterable[int], kind: Kind) -> Iterator[Worker]:
    words = proc.cmdline(master)
    if kind.value not in " ".join(words).lower():
        return
    program = _program(proc, master)
    for pid in children:
        try:
            if not _is_worker(proc, pid, kind, (words, program)):
                continue
            memory = proc.memory_status(pid)
            own = (memory.anon or 0) + (memory.swap or 0)
            yield Worker(run=proc.incarnation(pid), own_bytes=own)
        except ReadingError:  # it ended meanwhile
            continue


def _is_worker(proc: ProcFs, pid: int, kind: Kind, master: tuple[tuple[str, ...], str]) -> bool:
    words, program = master
    own = proc.cmdline(pid)
    forked = own == words and _program(proc, pid) == program
    if not own or not (forked or kind.called.search(" ".join(own))):
        return False
    caught = _CAUGHT.search(proc.read(pid, "status"))
    mask = int(caught.group(1), 16) if caught else 0
    return all(mask & 1 << (number - 1) for number in kind.catches)


def _program(proc: ProcFs, pid: int) -> str:
    """Give the program that a process runs; empty where that may not be seen."""
    try:
        return str(Path(f"{proc.root}/{pid}/exe").readlink())
    except OSError:
        return ""
