"""What hooks printed and wrote, beside the state file: one directory per restart, within bounds."""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from leakguard.core.plan import StatePlan

log = logging.getLogger("leakguard.hooks")

MOST_RESTARTS = 100
"""Directories of this many restarts are kept, the newest."""
SUFFIX = ".hooks"


class HookOutput:
    """The directories of one state file. Without a state file nothing is kept."""

    def __init__(self, state: StatePlan) -> None:
        """Keep output beside the state file of `state`; nothing is made before it is needed."""
        self._root = Path(state.path + SUFFIX) if state.path else None
        self._keep_s = state.keep_s
        self._most_bytes = state.hook_output_bytes

    def place(self, action_id: str) -> Path | None:
        """Give the directory of one restart, made when it is not there.

        Raises:
            OSError: it cannot be made.
        """
        if self._root is None:
            return None
        directory = self._root / action_id
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    def prune(self, now_wall_s: float, newest: Path | None = None) -> tuple[str, ...]:
        """Delete what is too old or too much, the oldest first.

        Of `newest` the largest files go when it alone is too much; gives their names.
        """
        if self._root is None or not self._root.is_dir():
            return ()
        found = sorted(self._directories(), key=lambda one: one[1], reverse=True)
        kept_bytes, kept, dropped = 0, 0, tuple[str, ...]()
        for directory, mtime in found:
            if directory == newest:
                dropped = _shrink(directory, self._most_bytes)
            size = sum(size for _, size in _files(directory))
            too_old = now_wall_s - mtime > self._keep_s
            if directory != newest and (
                too_old or kept >= MOST_RESTARTS or kept_bytes + size > self._most_bytes
            ):
                shutil.rmtree(directory, ignore_errors=True)
                continue
            kept, kept_bytes = kept + 1, kept_bytes + size
        return dropped

    def forget_if_empty(self, directory: Path) -> bool:
        """Remove a directory in which nothing was kept; gives whether it is gone."""
        with suppress(OSError):
            directory.rmdir()
        return not directory.exists()

    def _directories(self) -> list[tuple[Path, float]]:
        found = []
        if self._root is not None:
            with os.scandir(self._root) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            stat = entry.stat(follow_symlinks=False)
                            found.append((Path(entry.path), stat.st_mtime))
        return found


def _files(directory: Path) -> list[tuple[Path, int]]:
    """List the files of a directory and below it, with what each takes on the disk."""
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                stat = (Path(folder) / name).lstat()
                found.append((Path(folder) / name, max(stat.st_size, stat.st_blocks * 512)))
    return found


def _shrink(directory: Path, most_bytes: int) -> tuple[str, ...]:
    dropped = []
    files = sorted(_files(directory), key=lambda one: one[1])
    total = sum(size for _, size in files)
    while files and total > most_bytes:
        path, size = files.pop()
        with suppress(OSError):
            path.unlink()
        total -= size
        dropped.append(path.name)
    return tuple(dropped)
