"""The driver `pool` on real masters under load: leaking workers are replaced, no request fails."""

import http.client
import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from leakguard import plugins
from leakguard.core.errors import DriverError
from leakguard.core.sample import Incarnation, Location
from leakguard.drivers._workers import Kind, find_pool
from leakguard.drivers.base import Driver, DriverContext, RestartOrder
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.clock import SystemClock
from tests.workloads.guarded import Daemon, until

pytestmark = pytest.mark.pools

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
PROC = ProcFs()
LEAKED = 24 * 1024**2


def free_port() -> int:
    """Give a port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def command(kind: Kind, port: int, count: int) -> list[str]:
    """Give the command line of a master with so many workers."""
    match kind:
        case Kind.GUNICORN:
            bind = ["-b", f"127.0.0.1:{port}", "--graceful-timeout", "10"]
            return ["/usr/bin/gunicorn", "-w", str(count), *bind, "pool_app:app"]
        case Kind.UWSGI:
            serve = ["--plugin", "python3", "--http-socket", f"127.0.0.1:{port}"]
            app = ["--wsgi-file", "pool_app.py", "--master", "--processes", str(count)]
            return ["/usr/bin/uwsgi", *serve, *app, "--need-app", "--mule"]
        case Kind.PUMA:
            return ["/usr/bin/puma", "-w", str(count), "-b", f"tcp://127.0.0.1:{port}", "pool.ru"]
        case Kind.CELERY:
            worker = ["-A", "pool_tasks", "worker", "-P", "prefork", "-c", str(count), "-l", "info"]
            return ["/usr/bin/python3", "-m", "celery", *worker, "--without-gossip"]


@dataclass
class Master:
    """A running master."""

    kind: Kind
    root: Incarnation
    port: int
    folder: Path

    def workers(self) -> dict[Incarnation, int]:
        """Give its workers and what each holds."""
        pool = find_pool(PROC, self.root, self.kind)
        return {w.run: w.own_bytes for w in pool.workers} if pool is not None else {}

    def driver(self, **options: Any) -> Driver:
        """Make the driver that replaces its workers."""
        clock = SystemClock()
        context = DriverContext(
            service="web",
            proc=PROC,
            children=Children(run_here, clock),
            clock=clock,
            locate=lambda: Location(root=self.root),
        )
        made: Driver = plugins.load("drivers", "pool").make({"kind": self.kind, **options}, context)
        return made

    def order(self, deadline_s: float = 60.0) -> RestartOrder:
        """Make the order to restart it."""
        return RestartOrder(
            incarnation=self.root,
            reason="a test",
            deadline_s=deadline_s,
            cancelled=threading.Event(),
        )

    def ask(self, path: str = "/") -> int:
        """Ask for the pid of a worker, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == http.client.OK
            return int(body)
        finally:
            connection.close()


@contextmanager
def running(kind: Kind, count: int, folder: Path, *, loads: int = 0) -> Iterator[Master]:
    """Run a master with its workers, each of which `loads` so many bytes; leave nothing of them."""
    port = free_port()
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "POOL_APP_LEAKER": str(folder / "leaker"),
        "POOL_APP_LOADS": str(loads),
        "POOL_TASKS_FOLDER": str(folder),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(kind, port, count),
            cwd=WORKLOADS,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        master = Master(kind, PROC.incarnation(process.pid), port, folder)
        until(lambda: len(master.workers()) == count, 30, f"{count} workers of {kind}")
        until(lambda: _is_ready(master), 30, f"an answer of {kind}")
        yield master
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _is_ready(master: Master) -> bool:
    """Tell whether it serves; what has the shape of a worker before that may be a helper."""
    if master.kind is Kind.CELERY:
        return b" ready." in (master.folder / "log").read_bytes()
    with suppress(OSError, http.client.HTTPException):
        return master.ask() > 0
    return False


@dataclass
class Load:
    """Steady requests from a few threads, each over a connection of its own."""

    master: Master
    answered: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        paths = ["/", "/", "/", "/slow"]
        self.threads = [threading.Thread(target=self._run, args=(path,)) for path in paths]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)

    def _run(self, path: str) -> None:
        while not self.over.wait(0.02):
            try:
                self.answered[self.master.ask(path)] += 1
            except (OSError, AssertionError, http.client.HTTPException, ValueError) as error:
                self.failed.append(f"{path}: {error!r}")


@pytest.mark.parametrize("kind", [Kind.GUNICORN, Kind.UWSGI])
def test_the_leaking_worker_is_replaced_and_no_request_fails(kind: Kind, tmp_path: Path) -> None:
    """One of four leaks under load: it alone is replaced, the others and the master stay."""
    with running(kind, 4, tmp_path) as master, Load(master) as load:
        leaker = master.ask("/leak")
        until(lambda: max(master.workers().values(), default=0) > LEAKED, 30)
        before = master.workers()
        assert max(before, key=lambda run: before[run]).pid == leaker
        foretold = master.driver().ending(Location(root=master.root)).pids
        assert (foretold, set(master.workers())) == ((leaker,), set(before))
        stopped = master.driver().restart(master.order())
        answered = sum(load.answered.values())
        until(lambda: sum(load.answered.values()) > answered + 20)
        after = master.workers()
    stayed = {run for run in before if run.pid != leaker}
    assert (len(after), stayed < set(after), load.failed) == (4, True, [])
    assert (stopped.kept_root, names_only(stopped.message, leaker)) == (True, True)
    (new,) = set(after) - set(before)
    assert f"was replaced by {new.pid}" in stopped.message
    assert max(after.values()) < LEAKED


def names_only(message: str, pid: int) -> bool:
    """Tell whether exactly one worker, this one, was named."""
    return message.startswith(f"worker {pid} (") and message.count("worker ") == 1


@pytest.mark.parametrize("kind", [Kind.GUNICORN, Kind.PUMA])
def test_all_workers_one_after_the_other_and_no_request_fails(kind: Kind, tmp_path: Path) -> None:
    """Never fewer than all but one: the master goes on, and so do those who ask."""
    with running(kind, 3, tmp_path) as master, Load(master) as load:
        before, fewest, over = set(master.workers()), [3], threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                fewest.append(len(master.workers()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        stopped = master.driver(workers="all", settle=0.5).restart(master.order())
        over.set()
        watcher.join(20)
        answered = sum(load.answered.values())
        until(lambda: sum(load.answered.values()) > answered + 20)
        after = set(master.workers())
    assert (len(after), after & before, load.failed) == (3, set(), [])
    assert (min(fewest) >= 2, stopped.message.count("was replaced")) == (True, 3)


def test_a_pool_process_of_celery_is_replaced(tmp_path: Path) -> None:
    """The worker that takes the tasks goes on, the process that runs them is new."""
    with running(Kind.CELERY, 2, tmp_path) as master:
        before = set(master.workers())
        stopped = master.driver(settle=0.2).restart(master.order())
        after = set(master.workers())
    assert (len(after), len(after & before), stopped.kept_root) == (2, 1, True)


def test_a_worker_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """KILL comes last: a stopped worker answers nothing, and its memory is wanted back."""
    with running(Kind.GUNICORN, 2, tmp_path) as master:
        before = master.workers()
        largest = max(before, key=lambda run: before[run])
        os.kill(largest.pid, signal.SIGSTOP)
        stopped = master.driver(wait=1.0, settle=0.2).restart(master.order())
        assert stopped.message.endswith(" (killed)")
        assert largest not in master.workers()


def test_a_master_that_starts_nobody_is_told(tmp_path: Path) -> None:
    """Nothing further is replaced then."""
    with running(Kind.GUNICORN, 2, tmp_path) as master:
        os.kill(master.root.pid, signal.SIGSTOP)
        with pytest.raises(DriverError, match="has 1 of 2 workers after") as caught:
            master.driver(workers="all", wait=2.0).restart(master.order())
        os.kill(master.root.pid, signal.SIGCONT)
        assert caught.value.permanent is False


def test_what_has_no_workers_is_refused(tmp_path: Path) -> None:
    """A wrong kind signals nobody, and the rehearsal says so before."""
    with running(Kind.GUNICORN, 2, tmp_path) as master:
        wrong = Master(Kind.PUMA, master.root, master.port, tmp_path)
        with pytest.raises(DriverError, match="no worker of puma runs below") as caught:
            wrong.driver().restart(wrong.order())
        here = Location(root=master.root)
        assert (caught.value.permanent, master.driver().rehearse(here)) == (True, ())
        (problem,) = wrong.driver().rehearse(here)
        assert "correct kind or target" in problem


def guarded(master: Master, above: str) -> dict[str, Any]:
    """Give the service of a pool with a threshold on all of it."""
    return {
        "target": {"pid": master.root.pid},
        "mode": "act",
        "sample_every": "200ms",
        "restart": {
            "driver": {"pool": {"kind": "gunicorn", "settle": "200ms"}},
            "forecast": False,
            "threshold": above,
        },
    }


def test_the_daemon_replaces_the_leaking_worker_once(tmp_path: Path) -> None:
    """A threshold on the whole pool: one restart that succeeds, and the master stays."""
    with running(Kind.GUNICORN, 4, tmp_path) as master:
        with Daemon(tmp_path, {"services": {"web": guarded(master, "130MiB")}}) as daemon:
            daemon.ready()
            before = set(master.workers())
            with Load(master) as load:
                leaker = master.ask("/leak")
                event = daemon.wait_for("RestartSucceeded", "web", limit_s=60)
                recovered = daemon.wait_for("MemoryRecovered", "web", limit_s=30)
            assert daemon.stop() == 0
        after = set(master.workers())
        kinds = Counter(event["event"] for event in daemon.events(service="web"))
    assert (load.failed, {run.pid for run in before - after}) == ([], {leaker})
    assert f"worker {leaker} (" in event["message"]
    assert (kinds["RestartDecided"], kinds["RestartSucceeded"]) == (1, 1)
    assert recovered["after_bytes"] < recovered["before_bytes"]


def test_workers_that_start_full_are_not_replaced_for_ever(tmp_path: Path) -> None:
    """A few replacements that give nothing back, one critical alert, and the pool is left alone."""
    loud = ("FutilityFound", "RestartLimitHit")
    with running(Kind.GUNICORN, 2, tmp_path, loads=48 * 1024**2) as master:
        with Daemon(tmp_path, {"services": {"web": guarded(master, "110MiB")}}) as daemon:
            until(lambda: any(daemon.events(kind) for kind in loud), 120)
            after = set(master.workers())
            counts = Counter(event["event"] for event in daemon.events(service="web"))
            told = [e for kind in loud for e in daemon.events(kind)]
            assert daemon.stop() == 0
        assert set(master.workers()) == after
    assert 1 <= counts["RestartSucceeded"] <= 4
    assert [event["severity"] for event in told] == ["critical"]
