"""Find a child again by the mark in its environment: the one who started it died too soon."""

import contextlib
import os
from collections.abc import Collection

from leakguard.core.errors import ReadingError
from leakguard.core.sample import Incarnation
from leakguard.linux.procfs import ProcFs
from leakguard.linux.spawn_child import MARK


def find_marked(proc: ProcFs, marks: Collection[str]) -> dict[str, Incarnation]:
    """Give the running process that was started with each mark.

    A mark names the pid as well, so descendants, which inherit the variable, are not meant. Those
    of a daemon that still runs are not taken from it.
    """
    found: dict[str, Incarnation] = {}
    if not marks:
        return found
    wanted = {f"{MARK}={mark}": mark for mark in marks}
    for pid in proc.pids():
        with contextlib.suppress(ReadingError, OSError):
            for variable in proc.read(pid, "environ").split(b"\0"):
                name, _, own = os.fsdecode(variable).rpartition(" ")
                if own == str(pid) and name in wanted and not _has_a_guard(proc, pid):
                    found[wanted[name]] = proc.incarnation(pid)
    return {mark: one for mark, one in found.items() if proc.is_running(one)}


def _has_a_guard(proc: ProcFs, pid: int) -> bool:
    parent = proc.stat(pid).ppid
    return parent > 0 and "leakguard.runtime.main" in proc.cmdline(parent)
