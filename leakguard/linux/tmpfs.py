"""Which tmpfs mounts outlive a service, and how much lies in the files there.

A mount outlives it when leakguard sees the same one at the same place. What only the service sees
(the /dev/shm of a container, PrivateTmp) goes with it, or may; that is not counted.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from leakguard.core.errors import ReadingError
from leakguard.linux.mounts import plain_field
from leakguard.linux.procfs import ProcFs

_REMOTE = ("nfs", "cifs", "smb", "ceph", "fuse", "9p", "afs", "autofs", "glusterfs", "lustre")
"""To look below such a mount may take for ever when its server is gone."""


class _Mount(NamedTuple):
    device: str
    root: str
    point: str
    kind: str


def lasting_mounts(proc: ProcFs, pid: int) -> tuple[str, ...] | None:
    """Give the places of the tmpfs mounts that a process and we both see; None: not known."""
    try:
        own = _mounts(proc.read(proc.self_pid(), "mountinfo"))
        theirs = set(_mounts(proc.read(pid, "mountinfo")))
    except ReadingError:
        return None
    remote = tuple(f"{one.point}/" for one in own if one.kind.startswith(_REMOTE))
    found: dict[str, str] = {}
    for one in own:
        if one.kind == "tmpfs" and one in theirs and not one.point.startswith(remote):
            found.setdefault(one.device, one.point)
    return tuple(point for device, point in found.items() if _is_on(device, point))


def used_bytes(places: tuple[str, ...]) -> int:
    """Sum what is used on these mounts; one without a size does not say what is used."""
    return sum(map(_used, places))


def _mounts(data: bytes) -> list[_Mount]:
    return list(_parsed(data.decode("utf-8", "replace")))


def _parsed(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) >= 5:
            root, point = plain_field(fields[3]), plain_field(fields[4])
            yield _Mount(fields[2], root, point, after.partition(" ")[0])


def _is_on(device: str, point: str) -> bool:
    """Tell whether the mount can be seen there: another one may lie on top of it."""
    try:
        number = os.stat(point).st_dev
    except OSError:
        return False
    return device == f"{os.major(number)}:{os.minor(number)}"


def _used(place: str) -> int:
    try:
        space = os.statvfs(place)
    except OSError:  # unmounted meanwhile
        return 0
    return max(0, space.f_blocks - space.f_bfree) * space.f_frsize
