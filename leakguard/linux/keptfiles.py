"""Files that stay open and are read again and again from their start: no path look-up."""

import errno
import os
import threading
import weakref
from collections.abc import Iterable

_READ_BYTES = 16384
_OUT_OF_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE))


class KeptFiles:
    """Reads small kernel files by `pread`, keeping at most `most` of them open."""

    def __init__(self, most: int = 512) -> None:
        self._most = most
        self._kept: dict[str, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._kept).atexit = False

    def read(self, path: str) -> bytes:
        """Give the file's present content; OSError as the system says it."""
        with self._lock:
            descriptor = self._kept.get(path)
            if descriptor is None:
                return self._open(path)
            try:
                return os.pread(descriptor, _READ_BYTES, 0)
            except OSError:  # a cgroup of that name may have been made anew
                self._drop(path)
                return self._open(path)

    def keep(self, directories: Iterable[str]) -> None:
        """Close every file that lies in none of these directories."""
        wanted = set(directories)
        with self._lock:
            for path in [path for path in self._kept if os.path.dirname(path) not in wanted]:
                self._drop(path)

    def close(self) -> None:
        """Close all."""
        self.keep(())

    def __len__(self) -> int:
        return len(self._kept)

    def _open(self, path: str) -> bytes:
        descriptor = self._descriptor(path)
        try:
            data = os.pread(descriptor, _READ_BYTES, 0)
        except OSError:
            os.close(descriptor)
            raise
        if len(self._kept) < self._most:
            self._kept[path] = descriptor
        else:
            os.close(descriptor)
        return data

    def _descriptor(self, path: str) -> int:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(path, flags)
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS or not self._kept:
                raise
            self._drop(next(iter(self._kept)))
            return os.open(path, flags)

    def _drop(self, path: str) -> None:
        os.close(self._kept.pop(path))


def _close_all(kept: dict[str, int]) -> None:
    """Close what a reader that is not needed any more has kept open."""
    while kept:
        os.close(kept.popitem()[1])
