"""Which pod and container a process belongs to, as the kubelet arranged it; needs no right at all.

The kubelet mounts a file of its own into each container for its last words (the termination log).
Where that file lies on the node names the pod's uid and the container, and every process may read
that in /proc/PID/mountinfo. The id of the container's run stands in /proc/PID/cgroup, a moment
later and not with every runtime: it is no identity.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from leakguard.core.errors import ReadingError
from leakguard.linux.procfs import ProcFs

_LAST_WORDS = re.compile(
    rb"(?m)^\d+ \d+ \S+ \S*/pods/([0-9a-f-]{32,36})/containers/([a-z0-9][-a-z0-9]{0,62})/[0-9a-f]+ "
)
_POD = re.compile(r"pod[0-9a-f_-]{32,36}(?:\.slice)?/")
_RUN = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?=$|[/.])")


class Place(NamedTuple):
    """A container of a pod."""

    pod_uid: str
    container: str


def place_of(proc: ProcFs, pid: int) -> Place | None:
    """Give the container that a process is in, None for what no kubelet started.

    Raises:
        ReadingError: it ended, or may not be seen.
    """
    found = set(_LAST_WORDS.findall(proc.read(pid, "mountinfo")))
    if len(found) != 1:
        return None
    uid, container = found.pop()
    return Place(uid.decode(), container.decode())


def run_id(proc: ProcFs, pid: int) -> str:
    """Give the id of the container's run from the cgroup of a process; empty when it has none."""
    for path in proc.cgroup_of(pid).values():
        inside = path[max((m.end() for m in _POD.finditer(path)), default=0) :]
        if match := _RUN.search(f"/{inside}"):
            return match.group(1)
    return ""


def by_place(proc: ProcFs, pids: Iterable[int]) -> dict[Place, list[int]]:
    """Sort processes by their container, leaving out those that are in none, or not to be seen."""
    found: dict[Place, list[int]] = {}
    for pid in pids:
        try:
            place = place_of(proc, pid)
        except ReadingError:  # it vanished while the list was walked
            continue
        if place is not None:
            found.setdefault(place, []).append(pid)
    return found
