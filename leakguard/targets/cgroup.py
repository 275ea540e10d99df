"""Everything in a memory cgroup and below it."""

from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location, Scope
from leakguard.linux.cgroupfs import CgroupDir, CgroupGone
from leakguard.plugins import doc
from leakguard.targets._found import make_location, root_among
from leakguard.targets.base import Target, TargetContext

_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `cgroup`."""

    path: str = field(
        metadata=doc(
            "the cgroup's path as /proc/PID/cgroup shows it, or its directory; with * ? [ ] every "
            "cgroup of such a name that has processes, one service each"
        )
    )

    @property
    def many(self) -> bool:
        """Whether the path is a pattern: then each cgroup is a service of its own."""
        return bool(_GLOB & set(self.path))

    def __post_init__(self) -> None:
        """Refuse a path that can never name a cgroup."""
        if not self.path.strip() or ".." in self.path.split("/"):
            raise TargetError(
                f"{self.path!r} is not the path of a cgroup: write it as /proc/PID/cgroup shows it"
            )


class CgroupTarget(Target):
    """Finds the processes of a cgroup; the oldest whose parent is outside is the root."""

    default_driver: ClassVar[str] = ""

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._path = options.path
        self._many = options.many
        self._proc = context.proc
        self._cgroups = context.cgroups

    def locate(self) -> tuple[Location, ...]:
        """Give the cgroup, or for a pattern each that has processes and not leakguard in it."""
        if self._many:
            return self._locate_many()
        try:
            group = self._cgroups.directory(self._path)
            pids = self._cgroups.procs(group)
        except ReadingError as error:
            raise TargetError(str(error)) from error
        if self._proc.self_pid() in pids:
            raise TargetError(
                f"cgroup {group.path} would watch leakguard itself: move leakguard into a cgroup "
                "of its own, or name one that holds the service only"
            )
        location = self._locate_one(group, pids)
        if location is None:
            raise TargetError(f"cgroup {group.path} has no process: start the service")
        return (location,)

    def describe(self) -> str:
        """Say the cgroup."""
        return f"process in cgroup {self._path}"

    def _locate_many(self) -> tuple[Location, ...]:
        own, found = self._proc.self_pid(), []
        for group in self._cgroups.matching(self._path):
            try:
                pids = self._cgroups.procs(group)
            except CgroupGone:
                continue
            location = None if own in pids else self._locate_one(group, pids)
            if location is not None:
                found.append(location)
        if not found:
            raise TargetError(f"no cgroup that matches {self._path!r} has a process")
        return tuple(sorted(found, key=lambda one: (one.root.start_ticks, one.root.pid)))

    def _locate_one(self, group: CgroupDir, pids: tuple[int, ...]) -> Location | None:
        root = root_among(self._proc, pids)
        if root is None:
            return None
        return make_location(self._proc, root, Scope.CGROUP, group.directory)
