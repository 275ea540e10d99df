"""From a pid to a Location, refusing what must never be watched as a service."""

from collections.abc import Collection

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.sample import Incarnation, Location, Scope
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.linux.proctext import ProcStat

_ENDED = frozenset("ZXx")


def location_of(proc: ProcFs, pid: int, scope: Scope = Scope.TREE) -> Location:
    """Give the location of a running process that is not leakguard, nor holds it in its tree.

    Raises:
        TargetError: it is one of these, a kernel thread, or it does not run.
    """
    try:
        stat = proc.stat(pid)
    except ProcessGone as error:
        raise TargetError(f"no process {pid} runs") from error
    if stat.state in _ENDED:
        raise TargetError(
            f"process {pid} ({stat.name}) has ended and waits for its parent {stat.ppid} to reap it"
        )
    if stat.kernel_thread:
        raise TargetError(f"process {pid} ({stat.name}) is a kernel thread: it cannot be restarted")
    refuse_leakguard(proc, pid)
    return make_location(proc, stat, scope)


def make_location(
    proc: ProcFs,
    stat: ProcStat,
    scope: Scope = Scope.TREE,
    cgroup_path: str = "",
    member: str = "",
) -> Location:
    """Put what was read of the root process into a Location."""
    root = Incarnation(boot_id=proc.boot_id(), pid=stat.pid, start_ticks=stat.start_ticks)
    return Location(root=root, scope=scope, cgroup_path=cgroup_path, name=stat.name, member=member)


def refuse_leakguard(proc: ProcFs, pid: int) -> None:
    """Raise TargetError when `pid` is leakguard or one of its ancestors."""
    own = proc.self_pid()
    if pid == own:
        raise TargetError(f"would watch leakguard itself (process {pid}): correct the target")
    if pid in proc.ancestors(own):
        raise TargetError(
            f"would watch leakguard itself: process {pid} is its ancestor, so leakguard is in its "
            "tree; name the service's own process"
        )


def root_among(proc: ProcFs, pids: Collection[int]) -> ProcStat | None:
    """Give the oldest of these processes whose parent is not one of them; None when none lives."""
    living = []
    for pid in pids:
        try:
            stat = proc.stat(pid)
        except ReadingError:  # it vanished while the list was walked
            continue
        if stat.state not in _ENDED:
            living.append(stat)
    outside = [stat for stat in living if stat.ppid not in pids]
    return min(outside or living, key=lambda stat: (stat.start_ticks, stat.pid), default=None)
