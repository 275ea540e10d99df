"""What `exec` looks at before it starts anything: the command itself, and where its socket goes."""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from leakguard.core.errors import PermissionRefused, UsageError
from leakguard.web.listen import LONGEST_UNIX_PATH

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""What shells end with when a command is not there, or cannot be run."""


def why_not_run(name: str, environ: Mapping[str, str]) -> tuple[int, str] | None:
    """Give exit code and reason when a command cannot be run, None when it can."""
    path = environ.get("PATH", os.defpath)
    if shutil.which(name, path=path) is not None:
        return None
    found = Path(name) if "/" in name else _in_path(name, path)
    if found is None or not os.path.lexists(found):
        fix = "correct its path" if "/" in name else "correct its name, or PATH"
        return NOT_FOUND, f"{name} does not exist: {fix}"
    if found.is_dir():
        return NOT_EXECUTABLE, f"{name} is a directory: name a program in it"
    if not found.exists():
        return NOT_FOUND, f"{name} is a link to what does not exist: correct it"
    shown = name if "/" in name else found
    return NOT_EXECUTABLE, f"{shown} is not executable for uid {os.geteuid()}: chmod +x it"


def _in_path(name: str, path: str) -> Path | None:
    """Find a file of that name that no right to run it hides from `which`."""
    places = (Path(directory or ".") / name for directory in path.split(os.pathsep))
    return next((place for place in places if place.is_file()), None)


def check_socket(path: str) -> None:
    """Refuse a `--socket` that cannot be served; unlike `run`, no directory is made for it.

    Raises:
        UsageError: the directory is not there, or the path is taken or too long.
        PermissionRefused: the directory cannot be written.
    """
    directory = Path(path).absolute().parent
    if not directory.is_dir():
        if directory.exists():
            raise UsageError(f"--socket {path}: {directory} is not a directory: name another place")
        raise UsageError(
            f"--socket {path}: there is no {directory}: make it, or name another place"
        )
    if len(os.fsencode(path)) > LONGEST_UNIX_PATH:
        raise UsageError(f"--socket {path}: longer than {LONGEST_UNIX_PATH} bytes: shorten it")
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionRefused(
            f"--socket {path}: uid {os.geteuid()} cannot make files in {directory}: make it "
            "writable, or name another place"
        )
    if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise UsageError(
            f"--socket {path}: it is there and is no socket: move it away, or name another"
        )
