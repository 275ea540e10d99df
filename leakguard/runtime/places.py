"""What the guard needs for itself on this machine: state file, control socket, HTTP address."""

import errno
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from leakguard.core.errors import LeakguardError, ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.plan import Plan
from leakguard.linux.listeners import listener_of
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.handover import MODULE
from leakguard.web import listen

PROBE_TIMEOUT_S = 1.0


@dataclass(slots=True)
class Places:
    """What is wrong with them (`problems`) and what is only to be known (`notes`)."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def look_at_places(plan: Plan, proc: ProcFs, daemon_pid: int | None) -> Places:
    """Try them without leaving anything behind.

    `daemon_pid`: the leakguard daemon that answers on the plan's socket; it may hold them all.
    """
    found = Places()
    if plan.state.path:
        found.problems += _state(plan.state.path)
    _control_socket(plan.socket_path, daemon_pid, found)
    if plan.http.listen:
        _http(plan.http.listen, proc, daemon_pid, found)
    return found


def _state(path: str) -> Iterator[str]:
    file = Path(path)
    wrong = tuple(_unusable("state.path", file.parent))
    if wrong:
        yield from wrong
    elif file.is_dir():
        yield f"state.path: {path} is a directory: name a file in it, such as {path}/state.db"
    elif file.exists():
        yield from _unwritable(file)


def _unwritable(file: Path) -> Iterator[str]:
    if not file.is_file():
        yield f"state.path: {file} is not a plain file: move it away, or name another"
        return
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        yield (
            f"state.path: {file} cannot be written by uid {os.geteuid()} ({error.strerror}): "
            "change its owner or mode, or check as the user that runs leakguard"
        )


def _control_socket(path: str, daemon_pid: int | None, found: Places) -> None:
    if not path:
        found.notes.append(
            "socket: there is no place for it, so no command reaches the daemon: set socket, or "
            "start with `leakguard run --socket PATH`"
        )
    elif daemon_pid is not None:
        found.notes.append(
            f"socket: leakguard runs already and answers on {path} (pid {daemon_pid})"
        )
    else:
        found.problems += _socket_problems(path)


def _socket_problems(path: str) -> Iterator[str]:
    if len(os.fsencode(path)) > listen.LONGEST_UNIX_PATH:
        longest = listen.LONGEST_UNIX_PATH
        yield f"socket: {path} is longer than {longest} bytes: use a shorter path"
        return
    wrong = tuple(_unusable("socket", Path(path).parent))
    if wrong:
        yield from wrong
        return
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        yield f"socket: {path} is there and is no socket: move it away, or name another"
    elif _somebody_answers(path):
        yield (
            f"socket: something that does not speak as leakguard answers on {path}: stop it, or "
            "name another"
        )


def _somebody_answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False  # left behind by a daemon that was killed: the next one replaces it
        except OSError:
            return True
    return True


def _http(address: str, proc: ProcFs, daemon_pid: int | None, found: Places) -> None:
    try:
        listen.tcp(address).close()
    except LeakguardError as error:
        if getattr(error.__cause__, "errno", None) != errno.EADDRINUSE:
            text = str(error).removeprefix("http.listen: ")
            found.problems.append(f"http.listen: {text}")
            return
        _in_use(address, proc, daemon_pid, found)


def _in_use(address: str, proc: ProcFs, daemon_pid: int | None, found: Places) -> None:
    owner = listener_of(proc, *listen.split(address))
    if owner is None and daemon_pid is not None:
        owner = (daemon_pid, "")
    if owner is not None and (owner[0] == daemon_pid or _is_leakguard(proc, owner[0])):
        found.notes.append(
            f"http.listen: {address} is in use by the leakguard that runs now (pid {owner[0]})"
        )
        return
    who = f" by pid {owner[0]} ({owner[1] or 'its name cannot be read'})" if owner else ""
    found.problems.append(
        f"http.listen: {address} is in use{who}: stop what listens there, or set http.listen to "
        "another port (or to `off` for none)"
    )


def _is_leakguard(proc: ProcFs, pid: int) -> bool:
    try:
        return MODULE in proc.cmdline(pid)
    except ReadingError:
        return False


def _unusable(setting: str, directory: Path) -> Iterator[str]:
    """Say why files cannot be made in a directory, which is itself made when it is not there."""
    nearest = directory
    while not _exists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        yield f"{setting}: {nearest} is not a directory: correct the path"
        return
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        missing = "" if nearest == directory else f", so {directory} cannot be made"
        yield (
            f"{setting}: uid {os.geteuid()} cannot make files in {nearest} "
            f"({error.strerror}){missing}: make it writable, or name another place"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # what is above it may not be entered
        return False
