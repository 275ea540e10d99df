"""The cgroups of one case, below the group that systemd delegated to the lab."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.vm.guest.kernel import numbers

MOUNT = Path("/sys/fs/cgroup")
EMPTY_TRIES = 200
EMPTY_EVERY_S = 0.05

Limits = Mapping[str, Mapping[str, str]]
"""For each path below the case's own group ("" is that group): files and what is written there."""


def claim() -> Path:
    """Move this process into a leaf, so that groups beside it can be limited; give their parent."""
    path = Path("/proc/self/cgroup").read_text("ascii").strip().partition("::")[2]
    own = MOUNT / path.strip("/")
    leaf = own / "player"
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text("0", "ascii")
    (own / "cgroup.subtree_control").write_text("+memory", "ascii")
    return own


def place(directory: Path) -> str:
    """Name a group as the kernel does, from the top of the hierarchy."""
    return f"/{directory.relative_to(MOUNT)}"


@contextmanager
def tree(parent: Path, name: str, places: set[str], limits: Limits) -> Iterator[Path]:
    """Make the group of a case with those below it; kill and remove all of them at the end."""
    top = parent / name
    try:
        for path in sorted({"", *places, *limits}, key=lambda one: (one.count("/"), one)):
            (top / path).mkdir(parents=True)
            if path:
                (top / path).parent.joinpath("cgroup.subtree_control").write_text("+memory")
        for path, files in limits.items():
            for file, value in files.items():
                (top / path / file).write_text(value, "ascii")
        yield top
    finally:
        _remove(top)


def growable_bytes(group: Path) -> int:
    """Estimate how much more anonymous memory a limited group can take before a kill."""
    stat = numbers(group / "memory.stat")
    limit = int((group / "memory.max").read_text("ascii"))
    used = int((group / "memory.current").read_text("ascii"))
    return limit - used + stat["active_file"] + stat["inactive_file"] + _swap_left(group)


def _swap_left(group: Path) -> int:
    free = numbers("/proc/meminfo")["SwapFree"]
    text = (group / "memory.swap.max").read_text("ascii").strip()
    if text == "max":
        return free
    return min(free, int(text) - int((group / "memory.swap.current").read_text("ascii")))


def _remove(top: Path) -> None:
    """Kill whatever is inside and remove the groups from the leaves up."""
    if not top.exists():
        return
    (top / "cgroup.kill").write_text("1", "ascii")
    wait = threading.Event()
    for _ in range(EMPTY_TRIES):
        if not numbers(top / "cgroup.events")["populated"]:
            break
        wait.wait(EMPTY_EVERY_S)
    folders = [path for path in top.rglob("*") if path.is_dir()]
    for path in [*sorted(folders, reverse=True), top]:
        path.rmdir()
