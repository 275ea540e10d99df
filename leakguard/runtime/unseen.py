"""Restarts that are hard to see: a supervisor stays, what it restarts is below it.

A restart is seen by another root process, or by memory that was given back for good. Where the
root of a target is a supervisor and a command restarts what runs below it, the root stays, and a
restart that gives back little is taken for one that failed. Whether a command also restarts the
supervisor cannot be known without running it, so this is a warning; the kind of process is known
by its name alone.
"""

from collections.abc import Iterator

from leakguard.core.errors import ReadingError
from leakguard.core.sample import Location
from leakguard.linux.procfs import ProcFs

_NAMES = (
    "circusd forever god immortal init monit nodemon perpd runsv runsvdir s6-supervise s6-svscan "
    "supervise supervisord svscan systemd"
)
SUPERVISORS = frozenset(_NAMES.split())
"""Names as /proc/PID/stat shows them: at most 15 letters. Small inits that end with their only
child (tini, dumb-init) are none: there the root is replaced."""
BELOW = frozenset({"command"})
"""Drivers that may restart something below the root; the others end the root itself."""


def unseen_restarts(location: Location, driver: str, proc: ProcFs) -> Iterator[str]:
    """Warn where the root is a supervisor that a restart below it leaves as it is."""
    root, name = location.root.pid, location.name
    if driver not in BELOW or not _supervises(name) or not _has_children(proc, root):
        return
    yield (
        f"cannot see a restart below pid {root} ({name}) but by its memory: while {name} stays, it "
        "counts only when memory falls by half; name the service's own process by cmdline or "
        f"pidfile, or have the command restart {name}"
    )


def _supervises(name: str) -> bool:
    return name in SUPERVISORS or name.startswith("PM2 ")


def _has_children(proc: ProcFs, root: int) -> bool:
    try:
        return len(proc.tree(root)) > 1
    except ReadingError:  # it ended since
        return False
