"""Processes whose command line matches a regular expression."""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location
from leakguard.linux.procfs import ProcFs
from leakguard.linux.proctext import ProcStat
from leakguard.plugins import doc
from leakguard.targets._found import make_location
from leakguard.targets._wrappers import merely_carries
from leakguard.targets.base import Target, TargetContext

_MAX_LENGTH = 4096
_ENDED = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `cmdline`."""

    pattern: str = field(
        metadata=doc(
            "regular expression, searched in the arguments joined by spaces; leakguard, its "
            "ancestors, and shells and tools that merely carry the words never match"
        )
    )
    user: str = field(
        default="",
        metadata=doc("name or number of the user the process runs as; empty: any user"),
    )

    def __post_init__(self) -> None:
        """Refuse an expression that cannot be used, or that every process matches."""
        _compile(self.pattern)


class CmdlineTarget(Target):
    """Finds the matching processes, and takes those that descend from another match as its tree."""

    default_driver: ClassVar[str] = "signal"

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._pattern = _compile(options.pattern)
        self._user = options.user
        self._proc = context.proc

    def locate(self) -> tuple[Location, ...]:
        """Give every match that does not descend from another, oldest first."""
        carriers: list[ProcStat] = []
        matches = {stat.pid: stat for stat in self._matches(carriers)}
        roots = [
            stat
            for stat in matches.values()
            if not matches.keys() & set(self._proc.ancestors(stat.pid))
        ]
        if not roots:
            raise TargetError(self._nothing(carriers))
        roots.sort(key=lambda stat: (stat.start_ticks, stat.pid))
        return tuple(make_location(self._proc, stat) for stat in roots)

    def describe(self) -> str:
        """Say the expression."""
        user = f" of user {self._user}" if self._user else ""
        return f"process{user} whose command line matches {self._pattern.pattern!r}"

    def _matches(self, carriers: list[ProcStat]) -> Iterator[ProcStat]:
        own = self._proc.self_pid()
        never = {own, *self._proc.ancestors(own)}
        for pid in self._proc.pids():
            if pid in never:
                continue
            try:
                stat = self._match(pid, carriers)
            except ReadingError:  # it vanished, or may not be seen
                continue
            if stat is not None:
                yield stat

    def _match(self, pid: int, carriers: list[ProcStat]) -> ProcStat | None:
        argv = self._proc.cmdline(pid)
        if not argv or not self._pattern.search(" ".join(argv)[:_MAX_LENGTH]):
            return None
        stat = self._proc.stat(pid)
        if stat.kernel_thread or stat.state in _ENDED:
            return None
        if self._user and not _runs_as(self._proc, pid, self._user):
            return None
        if merely_carries(self._pattern, argv):
            carriers.append(stat)
            return None
        return stat

    def _nothing(self, carriers: list[ProcStat]) -> str:
        text = f"no {self.describe()}"
        if carriers:
            names = ", ".join(f"{stat.name} (pid {stat.pid})" for stat in carriers[:3])
            return f"{text}; only {names} carries these words for another command"
        return f"{text}: start the service, or try the pattern with `pgrep -af`"


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise TargetError(f"{pattern!r} is not a regular expression: {error}") from error
    if compiled.search(""):
        raise TargetError(f"{pattern!r} matches every process: write a part of the command line")
    return compiled


def _runs_as(proc: ProcFs, pid: int, user: str) -> bool:
    if user.isdigit():
        return proc.uid(pid) == int(user)
    return proc.username(pid) == user
