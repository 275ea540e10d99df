"""The processes that leakguard itself started: start, find, signal, reap, exit code.

Nothing here relies on SIGCHLD: an end is seen when somebody looks, and `watch_fd` gives a
descriptor that wakes whoever polls it. As PID 1 (or subreaper) leakguard also reaps orphans, one
pid at a time and never one that a `subprocess.Popen` of ours still has to wait for: Popen takes a
stolen status for exit code 0.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Lock
from typing import Protocol, TypeVar

from leakguard.core.errors import DriverError, ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock
from leakguard.core.sample import Incarnation
from leakguard.linux.pidfd import open_checked
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.linux.spawn import ChildSpec, Launch

__all__ = ["ChildSpec", "Children", "run_here"]

T = TypeVar("T")

PR_SET_CHILD_SUBREAPER = 36


class RunInMain(Protocol):
    """Runs a function in the main thread and gives its result; directly when called there."""

    def __call__(self, work: Callable[[], T], /) -> T:
        """Run `work`."""
        ...


def run_here(work: Callable[[], T], /) -> T:
    """Run `work` in the calling thread: the `main` of programs that start from their main one."""
    return work()


@dataclass(slots=True)
class _Child:
    """`popen` None: adopted. `leftovers`: what still ran of its session when it ended."""

    incarnation: Incarnation
    popen: subprocess.Popen[bytes] | None = None
    ended: bool = False
    exit_code: int | None = None
    leftovers: tuple[Incarnation, ...] = ()


class Children:
    """Every process that leakguard started, by service. Safe to use from any thread."""

    def __init__(
        self,
        main: RunInMain,
        clock: Clock,
        proc: ProcFs | None = None,
        descriptors: int | None = None,
    ) -> None:
        """Start with none. `proc` is our own /proc, whatever namespace is watched.

        `descriptors`: the soft limit of open files that is given to what is started, where
        leakguard has raised its own.
        """
        self._main = main
        self.clock = clock
        self.proc = proc or ProcFs()
        self._descriptors = descriptors
        self._known: dict[str, _Child] = {}
        self._starting: set[str] = set()
        self._shields: set[int] = set()
        self._left: list[subprocess.Popen[bytes]] = []  # running, and nobody waits for them
        self._zombies: frozenset[int] = frozenset()
        self._subreaper = False
        self._forking = Lock()  # held from fork to shield, so that no reaper comes between
        self._lock = Lock()  # taken after `_forking` where both are

    def start(self, service: str, spec: ChildSpec) -> Incarnation:
        """Start the child of `service`; returns when the command itself runs.

        With `die_with_parent` the fork happens in the main thread, since the kernel sends the
        parent-death signal when the forking *thread* ends.

        Raises:
            DriverError: one runs already, or it cannot be started (permanent when a fix is needed).
        """
        self._claim(service)
        try:
            with self.helper(spec) as popen:
                try:
                    incarnation = self.proc.incarnation(popen.pid)
                except BaseException:
                    popen.kill()  # what cannot be named cannot be guarded
                    raise
                with self._lock:
                    self._known[service] = _Child(incarnation, popen)
        finally:
            with self._lock:
                self._starting.discard(service)
        return incarnation

    @contextlib.contextmanager
    def helper(
        self, spec: ChildSpec, output: int | None = None, stdin: int | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process that belongs to no service; whoever uses it waits for it.

        `output` takes its stdout and stderr, with `stdin`, or none. One that still runs at the end
        of `with` is reaped later.

        Raises:
            DriverError: it cannot be started (permanent when a fix is needed).
        """
        launch = self._launch(spec, output, stdin)
        try:
            launch.confirm(self.clock)
            yield launch.popen
        finally:
            with self._lock:
                if launch.popen not in [child.popen for child in self._known.values()]:
                    self._left.append(launch.popen)
                self._shields.discard(launch.popen.pid)
                self._reap_left()

    def adopt(self, service: str, incarnation: Incarnation) -> None:
        """Take over a child that an earlier leakguard started; its exit code stays unknown."""
        with self._lock:
            self._known[service] = _Child(incarnation)

    def find(self, service: str) -> Incarnation | None:
        """Give what runs now; an ended child is reaped on the way."""
        with self._lock:
            child = self._look(service)
            return None if child is None or child.ended else child.incarnation

    def exit_code(self, service: str) -> int | None:
        """Say how the child ended, as a shell would: 128 + n for signal n."""
        with self._lock:
            child = self._look(service)
            return None if child is None else child.exit_code

    def leftovers(self, service: str) -> tuple[Incarnation, ...]:
        """Give what still runs of the session of a child that has ended."""
        with self._lock:
            child = self._look(service)
            seen = () if child is None else child.leftovers
        return tuple(one for one in seen if self.proc.is_running(one))

    def signal(self, service: str, signum: int) -> None:
        """Send a signal to the child; ProcessGone when it does not run."""
        incarnation = self.find(service)
        if incarnation is None:
            raise ProcessGone(f"the child of {service} does not run")
        with open_checked(self.proc, incarnation) as handle:
            handle.send(signum)

    def watch_fd(self, service: str) -> int | None:
        """Give a new descriptor that is readable once the child has ended; the caller closes it.

        None: nothing runs, look at once.
        """
        incarnation = self.find(service)
        if incarnation is None:
            return None
        try:
            with open_checked(self.proc, incarnation) as handle:
                return os.dup(handle.fileno())
        except ProcessGone:
            return None

    def forget_ended(self, service: str) -> None:
        """Drop all memory of a child that has ended; one that runs is kept."""
        with self._lock:
            child = self._look(service)
            if child is not None and child.ended:
                self._known.pop(service, None)

    def shield(self, pid: int) -> None:
        """Keep `reap_orphans` off a process that a `subprocess.Popen` elsewhere waits for."""
        with self._lock:
            self._shields.add(pid)

    def unshield(self, pid: int) -> None:
        """End a `shield`, once the process was waited for."""
        with self._lock:
            self._shields.discard(pid)

    def become_subreaper(self) -> None:
        """Have orphaned descendants come to us, not to PID 1; then `reap_orphans` has to be called.

        The kernel keeps this across exec and does not pass it on to children.
        """
        import ctypes  # 1 MB, only where asked for

        if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
            self._subreaper = True

    def reap_orphans(self) -> int:
        """Reap what nobody else waits for; gives how many. Cheap: call it every tick.

        As PID 1 or subreaper these are zombies that were handed to us. One is reaped when a second
        call finds it still there, so a Popen that was not shielded has time to do it itself. While
        a fork is under way nothing is reaped: on a slow disk that takes long, and nobody waits.
        """
        if self._left:
            with self._lock:
                self._reap_left()
        if (os.getpid() != 1 and not self._subreaper) or not _has_zombie():
            return 0
        if not self._forking.acquire(blocking=False):
            return 0
        try:
            with self._lock:
                zombies = self._orphans()
                ripe = zombies & self._zombies
                self._zombies = zombies - ripe
                return sum(_reap(pid) for pid in ripe)
        except ReadingError:  # no descriptor to be had: they wait for the next call
            return 0
        finally:
            self._forking.release()

    def _claim(self, service: str) -> None:
        with self._lock:
            child = self._look(service)
            if service in self._starting or (child is not None and not child.ended):
                raise DriverError(f"{service} is already started: one child at a time")
            self._starting.add(service)

    def _launch(self, spec: ChildSpec, output: int | None, stdin: int | None = None) -> Launch:
        if not spec.argv:
            raise DriverError("nothing to start: argv is empty", permanent=True)

        if spec.descriptors is None:
            spec = replace(spec, descriptors=self._descriptors)

        def fork() -> Launch:
            with self._forking:
                launch = Launch(spec, output=output, stdin=stdin)
                self.shield(launch.popen.pid)
                return launch

        return self._main(fork) if spec.die_with_parent else fork()

    def _look(self, service: str) -> _Child | None:
        child = self._known.get(service)
        if child is None or child.ended:
            return child
        if child.popen is None:
            child.ended = not self.proc.is_running(child.incarnation)
        elif _has_ended(child.popen.pid):
            # While the zombie is not reaped its number is taken, so this session is the child's.
            child.leftovers = self._session(child.popen.pid)
            child.exit_code = _shell_code(child.popen.wait())
            child.ended = True
        return child

    def _session(self, leader: int) -> tuple[Incarnation, ...]:
        members = []
        for pid in self.proc.pids():
            with contextlib.suppress(OSError, ReadingError):
                if pid != leader and os.getsid(pid) == leader:
                    members.append(self.proc.incarnation(pid))
        return tuple(members)

    def _orphans(self) -> frozenset[int]:
        waited_for = {popen.pid for popen in self._left} | self._shields
        waited_for.update(c.incarnation.pid for c in self._known.values() if c.popen)
        return frozenset(pid for pid in self._own_children() - waited_for if self._is_zombie(pid))

    def _own_children(self) -> set[int]:
        found: set[int] = set()
        try:
            for thread in os.listdir("/proc/self/task"):
                with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                    found.update(int(pid) for pid in file.read().split())
        except OSError:  # a kernel without CONFIG_PROC_CHILDREN, or a thread that just ended
            own = os.getpid()
            found.update(pid for pid, ppid in self.proc.parents().items() if ppid == own)
        return found

    def _is_zombie(self, pid: int) -> bool:
        try:
            return self.proc.stat(pid).state == "Z"
        except ReadingError:
            return False

    def _reap_left(self) -> None:
        self._left = [popen for popen in self._left if popen.poll() is None]


def _has_zombie() -> bool:
    """Tell whether any child of ours has ended and was not waited for: one system call."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _has_ended(pid: int) -> bool:
    try:
        peek = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return peek is not None


def _shell_code(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
