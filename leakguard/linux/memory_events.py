"""Kernel wake-ups: a memory cgroup that nears its limit, or hits it, ends the daemon's wait early.

v1: usage thresholds and OOM notices by eventfd. v2: POLLPRI on `memory.events`. Where neither can
be had, nothing breaks: sampling alone paces the guard, and `watch` says why.
"""

import os
import select
import threading
from collections.abc import Callable, Iterable

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.linux.cgroupstat import CgroupDir, read_limit
from leakguard.linux.keptfiles import KeptFiles

_SHARES = (0.50, 0.70, 0.85)
_SHORTEST_PAUSE_MS = 50
_LONGEST_PAUSE_MS = 800
_CALM_MS = 2000
_READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Registration:
    """The descriptors that watch one cgroup; closing them ends the registration."""

    polled: dict[int, int]
    """Descriptor → poll events."""
    held: tuple[int, ...]

    def close(self) -> None:
        for descriptor in (*self.polled, *self.held):
            os.close(descriptor)


class MemoryEvents:
    """One thread that calls `wake` when a watched cgroup crosses a mark.

    At most one wake per 50 ms. A group whose page cache keeps crossing a mark would else keep the
    guard busy for nothing: the pause doubles up to 0.8 s until two seconds were calm.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._files = KeptFiles()
        self._registered: dict[CgroupDir, _Registration] = {}
        self._retired: list[_Registration] = []
        self._tried: dict[CgroupDir, tuple[int, int | None]] = {}
        self._reasons: dict[CgroupDir, str] = {}
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._nudge = -1

    def watch(self, cgroups: Iterable[CgroupDir]) -> dict[str, str]:
        """Watch these cgroups and no others; give key → reason for those that cannot be."""
        wanted = set(cgroups)
        with self._lock:
            if self._stopping:
                return {}
            self._files.keep({cgroup.directory for cgroup in wanted})
            for gone in self._tried.keys() - wanted:
                self._forget(gone)
            states = {cgroup: self._state(cgroup) for cgroup in wanted}
            changed = [c for c, state in states.items() if self._tried.get(c) != state]
            for cgroup in changed:
                self._forget(cgroup)
                self._register(cgroup, states[cgroup])
            if self._registered and self._thread is None:
                self._start()
        if changed or self._retired:
            self._nudge_thread()
        return {cgroup.key: why for cgroup, why in self._reasons.items()}

    def close(self) -> None:
        """Stop the thread and close every descriptor."""
        with self._lock:
            self._stopping = True
            self._retired.extend(self._registered.values())
            self._registered.clear()
        self._nudge_thread()
        if self._thread is not None:
            self._thread.join()
            os.close(self._nudge)
            self._thread, self._nudge = None, -1
        self._close_retired()
        self._files.close()

    def _state(self, cgroup: CgroupDir) -> tuple[int, int | None]:
        """Give what a registration hangs on: a service's group may be made anew under its name."""
        try:
            inode = os.stat(cgroup.directory).st_ino
            return inode, read_limit(self._files, cgroup)
        except (OSError, ReadingError):
            return 0, None

    def _forget(self, cgroup: CgroupDir) -> None:
        self._tried.pop(cgroup, None)
        self._reasons.pop(cgroup, None)
        if cgroup in self._registered:
            self._retired.append(self._registered.pop(cgroup))

    def _register(self, cgroup: CgroupDir, state: tuple[int, int | None]) -> None:
        self._tried[cgroup] = state
        try:
            if cgroup.version == 1:
                self._registered[cgroup] = _register_v1(cgroup, state[1])
            else:
                self._registered[cgroup] = _register_v2(cgroup)
        except OSError as error:
            self._reasons[cgroup] = (
                f"no kernel wake-ups for cgroup {cgroup.path}: {error.strerror} "
                f"({error.filename or 'cgroup.event_control'}); sampling alone paces the guard"
            )

    def _start(self) -> None:
        self._nudge = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="memory-events", daemon=True)
        self._thread.start()

    def _nudge_thread(self) -> None:
        if self._nudge >= 0:
            os.eventfd_write(self._nudge, 1)

    def _run(self) -> None:
        pause_ms = _SHORTEST_PAUSE_MS
        while (poller := self._poller()) is not None:
            ready = poller.poll(_CALM_MS if pause_ms > _SHORTEST_PAUSE_MS else None)
            if not ready:
                pause_ms = _SHORTEST_PAUSE_MS
            elif self._drain({descriptor for descriptor, _ in ready}):
                self._wake()
                self._rest(pause_ms)
                pause_ms = min(_LONGEST_PAUSE_MS, pause_ms * 2)

    def _poller(self) -> "select.poll | None":
        """Close what is no longer watched, then collect what is; None when all is over."""
        with self._lock:
            self._close_retired()
            if self._stopping:
                return None
            poller = select.poll()
            poller.register(self._nudge, select.POLLIN)
            for registration in self._registered.values():
                for descriptor, events in registration.polled.items():
                    poller.register(descriptor, events)
            return poller

    def _close_retired(self) -> None:
        while self._retired:
            self._retired.pop().close()

    def _drain(self, ready: set[int]) -> bool:
        """Take back what made the descriptors ready; tell whether a cgroup was among them."""
        if self._nudge in ready:
            os.eventfd_read(self._nudge)
        with self._lock:
            hit = [
                (descriptor, events)
                for registration in self._registered.values()
                for descriptor, events in registration.polled.items()
                if descriptor in ready
            ]
            for descriptor, events in hit:
                self._take(descriptor, events)
        return bool(hit)

    def _take(self, descriptor: int, events: int) -> None:
        try:
            if events == select.POLLIN:
                os.eventfd_read(descriptor)
            else:
                os.pread(descriptor, _READ_BYTES, 0)
        except OSError:  # the cgroup was removed: it would be ready for ever
            gone = [c for c, r in self._registered.items() if descriptor in r.polled]
            for cgroup in gone:
                self._retired.append(self._registered.pop(cgroup))

    def _rest(self, pause_ms: int) -> None:
        """Let further crossings gather; only a nudge, such as the one to stop, is heard."""
        poller = select.poll()
        poller.register(self._nudge, select.POLLIN)
        poller.poll(pause_ms)


def _register_v1(cgroup: CgroupDir, limit_bytes: int | None) -> _Registration:
    usage = _open(cgroup, "memory.usage_in_bytes", os.O_RDONLY)
    held, polled = [usage], {}
    try:
        oom = _open(cgroup, "memory.oom_control", os.O_RDONLY)
        held.append(oom)
        control = _open(cgroup, "cgroup.event_control", os.O_WRONLY)
        held.append(control)
        marks = [f"{usage} {int(share * limit_bytes)}" for share in _SHARES if limit_bytes]
        for mark in [*marks, f"{oom}"]:
            # An eventfd of its own for each: kernels before 5.7 crash when one that is shared by
            # several thresholds is closed.
            signal = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            polled[signal] = select.POLLIN
            os.write(control, f"{signal} {mark}".encode())
    except OSError:
        _Registration(polled, tuple(held)).close()
        raise
    return _Registration(polled, tuple(held))


def _register_v2(cgroup: CgroupDir) -> _Registration:
    events = _open(cgroup, "memory.events", os.O_RDONLY)
    os.pread(events, _READ_BYTES, 0)  # what happened until now is no news
    return _Registration({events: select.POLLPRI}, ())


def _open(cgroup: CgroupDir, name: str, flags: int) -> int:
    return os.open(f"{cgroup.directory}/{name}", flags | os.O_CLOEXEC)
