"""Where a memory cgroup may be made: as root at once, as a user inside a scope of systemd.

On cgroup v2 a user owns nothing, until `systemd-run --user --scope` with `Delegate=yes` gives a
group away. The demo then runs itself again inside that scope, which has a MemoryMax of its own.
"""

import contextlib
import shutil
import subprocess
from pathlib import Path

from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.own_cgroup import V1, usual_parents

MEMORY_MAX = "MemoryMax=768M"
PROBE_TIMEOUT_S = 5.0
MOUNT = Path("/sys/fs/cgroup")


def parents(cgroups: CgroupFs, pid: int, *, scoped: bool = False) -> tuple[Path, ...]:
    """Give the groups to try, best first; `scoped`: the group of `pid` was given to us."""
    own = cgroups.memory_dir(pid)
    if scoped and own is not None and own.version != V1:
        return (_make_room(Path(own.directory), pid),)
    return usual_parents(cgroups, pid)


def scope_argv(argv: list[str]) -> list[str] | None:
    """Give the argv that runs `argv` in a delegated scope, None where that does not work."""
    if shutil.which("systemd-run") is None or not (MOUNT / "cgroup.controllers").exists():
        return None
    prefix = ["systemd-run", "--user", "--scope", "--quiet", "-p", "Delegate=yes"]
    prefix += ["-p", MEMORY_MAX, "-p", "MemorySwapMax=0", "--"]
    try:
        probe = subprocess.run(
            [*prefix, "true"], capture_output=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [*prefix, *argv] if probe.returncode == 0 else None


def _make_room(own: Path, pid: int) -> Path:
    """Move into a leaf, since a v2 group with limited children may hold no process itself."""
    leaf = own / "demo"
    with contextlib.suppress(OSError):  # what fails here shows when the cage is made
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(pid), "ascii")
        (own / "cgroup.subtree_control").write_text("+memory", "ascii")
    return own
