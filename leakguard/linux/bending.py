"""The limits of one memory cgroup, read and changed while the service in it runs.

Version 1 has no `memory.high`: its soft limit slows nobody down, so it is left alone. Where it has
a limit on memory and swap together, that moves by as much as the limit itself and stays above it.
"""

import errno
import os

from leakguard.core.errors import DriverError, ReadingError
from leakguard.core.limits import MemoryLimits
from leakguard.core.sample import Location
from leakguard.core.units import format_bytes
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs

_NONE = {1: "-1", 2: "max"}
_MAX = {1: "memory.limit_in_bytes", 2: "memory.max"}
_HIGH = "memory.high"
_BOTH = "memory.memsw.limit_in_bytes"
_UNLIMITED_V1 = 1 << 62


def own_cgroup(cgroups: CgroupFs, location: Location) -> CgroupDir:
    """Give the cgroup that a service has for itself.

    Raises:
        DriverError: it shares its cgroup, or none is known.
    """
    proc, root = cgroups.proc, location.root.pid
    try:
        group = cgroups.memory_dir(root)
        inside = frozenset(cgroups.procs(group)) if group is not None else frozenset()
        own = frozenset(proc.tree(root)) if not location.cgroup_path else inside
    except ReadingError as error:
        raise DriverError(f"the cgroup of pid {root} cannot be known: {error}") from error
    if group is None or group.directory == group.top:
        raise DriverError(f"pid {root} is in no memory cgroup of its own", permanent=True)
    if proc.self_pid() in inside or not inside <= own:
        raise DriverError(
            f"cgroup {group.path} holds others too: its limit is not the service's own",
            permanent=True,
        )
    if location.cgroup_path and group.directory != location.cgroup_path:
        raise DriverError(f"pid {root} is charged to {group.path}, not to the service's cgroup")
    return group


def limits_of(directory: str) -> MemoryLimits:
    """Read the limits of a cgroup.

    Raises:
        DriverError: it is gone, or cannot be read.
    """
    version = _version(directory)
    high = _read(directory, _HIGH) if version == 2 else None
    return MemoryLimits(high_bytes=high, max_bytes=_read(directory, _MAX[version]))


def bend(directory: str, limits: MemoryLimits) -> None:
    """Put limits into force.

    Raises:
        DriverError: the cgroup is gone, its files may not be written, or more is in use.
    """
    version, before = _version(directory), limits_of(directory)
    if version == 1 and limits.high_bytes is not None:
        raise DriverError(
            "cgroup version 1 has no memory.high, so nothing throttles: leave throttle_below out",
            permanent=True,
        )
    if version == 2:
        _refuse_to_kill(directory, limits)
        _write(directory, _MAX[2], limits.max_bytes, version)
        _write(directory, _HIGH, limits.high_bytes, version)
        return
    widens = limits.max_bytes is None or (before.max_bytes or 0) < limits.max_bytes
    if widens:  # memory and swap together must never be below memory alone
        _move_both(directory, before, limits)
    _write(directory, _MAX[1], limits.max_bytes, version)
    if not widens:
        _move_both(directory, before, limits)


def is_gone(directory: str) -> bool:
    """Tell whether there is nothing left to put back."""
    return not os.path.isdir(directory)


def _refuse_to_kill(directory: str, limits: MemoryLimits) -> None:
    """Version 2 kills where a limit is below what cannot be dropped; version 1 just says no."""
    used = _read(directory, "memory.current")
    if limits.max_bytes is None or used is None:
        return
    parts = _stat(directory)
    kept = used - max(0, parts.get("file", 0) - parts.get("shmem", 0))
    if kept > limits.max_bytes:
        raise DriverError(
            f"{format_bytes(kept)} are in use, more than {format_bytes(limits.max_bytes)}: "
            "the limit would kill"
        )


def _stat(directory: str) -> dict[str, int]:
    try:
        with open(f"{directory}/memory.stat", encoding="ascii") as file:
            pairs = (line.split() for line in file)
            return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except (OSError, ValueError):
        return {}


def _move_both(directory: str, before: MemoryLimits, limits: MemoryLimits) -> None:
    if not os.path.exists(f"{directory}/{_BOTH}"):
        return
    both = _read(directory, _BOTH)
    if both is None or before.max_bytes is None or limits.max_bytes is None:
        return
    _write(directory, _BOTH, both + limits.max_bytes - before.max_bytes, 1)


def _version(directory: str) -> int:
    if os.path.exists(f"{directory}/{_MAX[1]}"):
        return 1
    if os.path.exists(f"{directory}/{_MAX[2]}"):
        return 2
    raise DriverError(f"{directory} has no memory limit, or is gone")


def _read(directory: str, name: str) -> int | None:
    try:
        with open(f"{directory}/{name}", encoding="ascii") as file:
            text = file.read().strip()
    except OSError as error:
        raise DriverError(f"cannot read {directory}/{name}: {error.strerror}") from error
    if text == "max":
        return None
    if not text.isdecimal():
        raise DriverError(f"{directory}/{name} says {text[:40]!r}, which is no size")
    size = int(text)
    return None if size >= _UNLIMITED_V1 else size


def _write(directory: str, name: str, size: int | None, version: int) -> None:
    text = _NONE[version] if size is None else str(size)
    try:
        with open(f"{directory}/{name}", "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        hint = ": run leakguard as root, or leave buy_time out" if denied else ""
        message = f"cannot write {text} to {directory}/{name}: {error.strerror}{hint}"
        raise DriverError(message, permanent=denied) from error
