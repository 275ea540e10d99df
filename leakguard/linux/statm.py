"""Read sizes of processes from kept `/proc/PID/statm` descriptors: 1.3 µs each, 5 µs by path.

A kept descriptor is also the safest identity there is: it goes on working across exec, prints
"0 0 0" for a zombie, and gives ESRCH for ever once the process is reaped, even when its pid is
used again. So the start time is compared once, after the file was opened, and never again.
Most processes did not change since the last look: what was parsed then is given again.
"""

import errno
import os
import resource
from collections.abc import Set as AbstractSet
from typing import Final

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.linux.procfs import PAGE_BYTES, ProcessGone, ProcFs

_READ_BYTES: Final = 128
_SPARE_DESCRIPTORS: Final = 256
"""Left to sockets, the store and cgroup files."""
_GIVEN_UP_AT_ONCE: Final = 16
_OUT_OF_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE))


@dataclass(slots=True)
class _Kept:
    """An open file of one run of a process, and what it said last."""

    start_ticks: int
    descriptor: int
    data: bytes
    sizes: tuple[int, int, int]


class StatmReader:
    """Keeps one descriptor per watched process, as far as the limit on descriptors allows."""

    def __init__(self, proc: ProcFs, most: int | None = None) -> None:
        self._proc = proc
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        unlimited = soft == resource.RLIM_INFINITY
        room = 1 << 20 if unlimited else max(soft // 4, soft - _SPARE_DESCRIPTORS)
        self._most = room if most is None else most
        self._kept: dict[int, _Kept] = {}

    def read(self, pid: int, start_ticks: int) -> tuple[int, int, int]:
        """Give address space, resident and shared size in bytes of this very run.

        Raises:
            ProcessGone: it ended, or is a zombie.
        """
        kept = self._kept.get(pid)
        if kept is None or kept.start_ticks != start_ticks:
            return self._first(pid, start_ticks)
        try:
            data = os.pread(kept.descriptor, _READ_BYTES, 0)
        except OSError as error:
            self.forget(pid)
            raise ProcessGone(f"process {pid} is gone") from error
        if data != kept.data:
            kept.sizes = self._sizes(pid, data)
            kept.data = data
        return kept.sizes

    def keep(self, pids: AbstractSet[int]) -> None:
        """Close the descriptors of all processes but these."""
        for pid in self._kept.keys() - pids:
            self.forget(pid)

    def forget(self, pid: int) -> None:
        """Close the descriptor of one process."""
        kept = self._kept.pop(pid, None)
        if kept is not None:
            os.close(kept.descriptor)

    def close(self) -> None:
        """Close all descriptors."""
        self.keep(frozenset())

    def __len__(self) -> int:
        return len(self._kept)

    def _sizes(self, pid: int, data: bytes) -> tuple[int, int, int]:
        words = data.split(None, 3)
        try:
            size, resident, shared = int(words[0]), int(words[1]), int(words[2])
        except (ValueError, IndexError) as error:
            raise ReadingError(f"/proc/{pid}/statm is not as expected: {data[:40]!r}") from error
        if size == 0:
            self.forget(pid)
            raise ProcessGone(f"process {pid} ended and waits to be reaped")
        return size * PAGE_BYTES, resident * PAGE_BYTES, shared * PAGE_BYTES

    def _first(self, pid: int, start_ticks: int) -> tuple[int, int, int]:
        self.forget(pid)
        descriptor = self._open(pid)
        try:
            # Opened first, compared second: a pid that is used again in between shows here.
            if self._proc.stat(pid).start_ticks != start_ticks:
                raise ProcessGone(f"process {pid} is gone; its pid is used by another one")
            data = os.pread(descriptor, _READ_BYTES, 0)
            sizes = self._sizes(pid, data)
        except OSError as error:
            os.close(descriptor)
            raise ProcessGone(f"process {pid} is gone") from error
        except ReadingError:
            os.close(descriptor)
            raise
        if len(self._kept) < self._most:
            self._kept[pid] = _Kept(start_ticks, descriptor, data, sizes)
        else:
            os.close(descriptor)
        return sizes

    def _open(self, pid: int) -> int:
        path = f"{self._proc.root}/{pid}/statm"
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError) as error:
            raise ProcessGone(f"process {pid} is gone") from error
        except OSError as error:
            if error.errno in _OUT_OF_DESCRIPTORS and self._kept:
                self._most = max(1, len(self._kept) - _GIVEN_UP_AT_ONCE)
                for kept in list(self._kept)[:_GIVEN_UP_AT_ONCE]:
                    self.forget(kept)
                return self._open(pid)
            raise ReadingError(f"cannot read {path}: {error.strerror}") from error


def raise_descriptor_limit() -> tuple[int, int]:
    """Raise the soft RLIMIT_NOFILE to the hard one; give the soft limit before and after.

    Services that leakguard starts must get the old value back: some size tables by it, and
    `select()` in others breaks above 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft, soft
    return soft, hard
