"""Notices that somebody else deleted, replaced or wrote to the state file while it is in use.

Under WAL the file itself changes only when we copy the log into it, so a change between two of our
transactions was not ours. It costs two `stat` calls a commit. Without it, a file that was
overwritten in place is noticed only when a page of it is read, perhaps after the next start.

The file is only looked at, never opened: to close any descriptor of a file drops every lock that
this process holds on it, SQLite's as well, and then another program may delete the log in use.
"""

import os
from typing import NamedTuple

from leakguard.store.base import FileGone


class _Look(NamedTuple):
    identity: tuple[int, int]
    size_bytes: int
    mtime_ns: int


class Witness:
    """Remembers how the file was when we last wrote. Used under the lock of the writer."""

    def __init__(self, path: str) -> None:
        """Look at the file as it is now, just opened."""
        self._path = path
        self._seen = _look(path)

    def was_written_to(self) -> bool:
        """Look before a transaction; True, once, when somebody else has written to the file.

        Raises:
            FileGone: it was deleted or replaced.
        """
        now = _look(self._path)
        if now == self._seen:
            return False
        if now is None or self._seen is None or now.identity != self._seen.identity:
            raise FileGone(f"state file {self._path} was deleted or replaced while in use")
        self._seen = now
        return True

    def note(self) -> None:
        """Remember how the file is after a transaction of ours."""
        now = _look(self._path)
        if now is not None and self._seen is not None and now.identity == self._seen.identity:
            self._seen = now


def _look(path: str) -> _Look | None:
    try:
        found = os.stat(path)  # noqa: PTH116  on every commit: a Path costs more than the call
    except FileNotFoundError:
        return None
    return _Look((found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns)
