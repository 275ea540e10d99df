"""A hard cap on memory for one service: a memory cgroup of our own, else RLIMIT_AS.

A leak on purpose must never reach the rest of the machine, so there is no third choice.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from leakguard.linux.own_cgroup import CgroupRefused, OwnCgroup
from leakguard.linux.procfs import PAGE_BYTES


class RlimitCage:
    """No cgroup: the service caps its own address space, and the kernel never kills."""

    kind = "RLIMIT_AS, an address space limit"
    directory: Path | None = None

    def __init__(self, limit_bytes: int) -> None:
        """Only remember the limit."""
        self.limit_bytes = limit_bytes

    def used_bytes(self, pid: int | None) -> int:
        """Give the resident memory of `pid`."""
        try:
            return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def oom_kills(self) -> int:
        """There are none: allocations fail instead."""
        return 0

    def remove(self) -> None:
        """Nothing was made."""


Cage = OwnCgroup | RlimitCage
"""What holds the service."""


def make_cage(parents: Iterable[Path], name: str, limit_bytes: int) -> Cage:
    """Make a cgroup in the first of `parents` that allows it, else fall back to RLIMIT_AS."""
    for parent in parents:
        with contextlib.suppress(CgroupRefused):
            return OwnCgroup(parent, name, limit_bytes)
    return RlimitCage(limit_bytes)
