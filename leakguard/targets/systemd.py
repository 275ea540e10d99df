"""A service of systemd: its main process, and everything in its cgroup."""

from collections.abc import Iterator
from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location, Scope
from leakguard.linux.cgroupfs import CgroupDir
from leakguard.linux.proctext import ProcStat
from leakguard.linux.systemd_manager import Manager, NotHere
from leakguard.linux.systemd_unit import SUFFIX, Unit, full_name, is_in
from leakguard.plugins import doc
from leakguard.targets._found import make_location
from leakguard.targets.base import Target, TargetContext

_GLOB = frozenset("*?[")
_ENDED = frozenset("ZXx")
_RUNS = frozenset({"active", "reloading", "activating", "deactivating"})


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `systemd`."""

    unit: str = field(
        metadata=doc(
            "name of the service, `.service` may be left out; with * ? [ ] every running service of"
            " such a name (`worker@*.service`), each guarded by itself"
        )
    )
    user: bool | None = field(
        default=None,
        metadata=doc(
            "ask the manager of the user that leakguard runs as (`systemctl --user`) and not the "
            "system's. Left out: true where leakguard is not root and such a manager runs"
        ),
    )

    @property
    def many(self) -> bool:
        """Whether the name is a pattern: then each unit is a service of its own."""
        return bool(_GLOB & set(self.unit))

    @property
    def name(self) -> str:
        """The unit's whole name."""
        return full_name(self.unit.strip())

    def __post_init__(self) -> None:
        """Refuse what can never be a service that runs."""
        name = self.name
        if name == SUFFIX or "/" in name or " " in name:
            raise TargetError(f"{self.unit!r} is not the name of a unit: write worker.service")
        if not name.endswith((SUFFIX, "*", "]")):
            raise TargetError(f"{name} is not a service, and only services can be restarted")
        if name.endswith(f"@{SUFFIX}"):
            stem = name.removesuffix(f"@{SUFFIX}")
            raise TargetError(
                f"{name} is a template: name an instance ({stem}@1.service), or all that run "
                f"({stem}@*.service)"
            )


class SystemdTarget(Target):
    """Asks systemd for the unit; the main process is the root, its cgroup the service."""

    default_driver: ClassVar[str] = "systemd"

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._name = options.name
        self._many = options.many
        self._proc = context.proc
        self._cgroups = context.cgroups
        self._manager = Manager(context.children, user=options.user)
        self._last: tuple[Location, ...] = ()

    def locate(self) -> tuple[Location, ...]:
        """Give the service, or for a pattern each that runs and not leakguard in it.

        A manager that does not answer does not make a service unknown that runs on.
        """
        try:
            units = self._ask()
        except NotHere as error:
            raise TargetError(str(error)) from error
        except ReadingError:
            self._last = tuple(one for one in self._last if self._proc.is_running(one.root))
            if self._last:
                return self._last
            raise
        self._last = self._every(units) if self._many else (self._one(units[0]),)
        return self._last

    def describe(self) -> str:
        """Say the unit."""
        return f"service {self._name} of systemd ({self._manager})"

    def _ask(self) -> tuple[Unit, ...]:
        if self._many:
            return self._manager.units(self._name)
        return (self._manager.unit(self._name),)

    def _every(self, units: tuple[Unit, ...]) -> tuple[Location, ...]:
        found = [location for unit in units for location in self._members(unit)]
        if not found:
            raise TargetError(
                f"no service that matches {self._name!r} runs: start one, or look for its name by "
                f"`systemctl list-units '{self._name}'`"
            )
        return tuple(sorted(found, key=lambda one: (one.root.start_ticks, one.root.pid)))

    def _members(self, unit: Unit) -> Iterator[Location]:
        if unit.active_state not in _RUNS or self._holds(self._proc.self_pid(), unit):
            return
        root = self._root(unit)
        if root is not None:
            yield self._location(unit, root, member=unit.name)

    def _one(self, unit: Unit) -> Location:
        if unit.load_state != "loaded":
            raise TargetError(_not_loaded(self._name, unit))
        if unit.active_state not in _RUNS:
            raise TargetError(
                f"{unit.name} does not run, systemd says {unit.state}: "
                f"systemctl start {unit.name}, or see systemctl status {unit.name}"
            )
        if self._holds(self._proc.self_pid(), unit):
            raise TargetError(
                f"{unit.name} would watch leakguard itself: let leakguard run in a unit of its own"
            )
        root = self._root(unit)
        if root is None:
            raise TargetError(f"{unit.name} has no process, systemd says {unit.state}")
        return self._location(unit, root)

    def _root(self, unit: Unit) -> ProcStat | None:
        """Give the main process, else the oldest whose parent is outside."""
        if not unit.main_pid:
            return self._oldest(unit)
        stat = self._living(unit.main_pid)
        if stat is not None and not self._holds(stat.pid, unit):
            raise ReadingError(
                f"process {stat.pid}, the main one of {unit.name}, is another one here: run "
                "leakguard in the host's PID namespace (hostPID, --pid=host)"
            )
        return stat

    def _oldest(self, unit: Unit) -> ProcStat | None:
        try:
            pids = self._cgroups.procs(self._cgroups.directory(unit.control_group))
        except ReadingError:
            return None
        living = [stat for stat in map(self._living, pids) if stat is not None]
        outside = [stat for stat in living if stat.ppid not in pids]
        return min(outside or living, key=lambda stat: (stat.start_ticks, stat.pid), default=None)

    def _living(self, pid: int) -> ProcStat | None:
        try:
            stat = self._proc.stat(pid)
        except ReadingError:  # it ended since
            return None
        return None if stat.state in _ENDED else stat

    def _holds(self, pid: int, unit: Unit) -> bool:
        try:
            return is_in(self._proc.cgroup_of(pid), unit.name)
        except ReadingError:
            return False

    def _location(self, unit: Unit, root: ProcStat, member: str = "") -> Location:
        group = self._own_group(unit, root.pid)
        scope = Scope.TREE if group is None else Scope.CGROUP
        directory = "" if group is None else group.directory
        return make_location(self._proc, root, scope, directory, member)

    def _own_group(self, unit: Unit, pid: int) -> CgroupDir | None:
        """Give the unit's own memory cgroup; None where systemd made none for it."""
        try:
            charged = self._cgroups.memory_dir(pid)
        except ReadingError:
            return None
        for group in self._cgroups.ancestors(charged) if charged is not None else ():
            if group.path.rpartition("/")[2].removeprefix("_") == unit.name:
                return group
        return None


def _not_loaded(name: str, unit: Unit) -> str:
    if unit.load_state == "masked":
        return f"{name} is masked, so that systemd never starts it: systemctl unmask {name}"
    if unit.load_state == "not-found":
        return f"systemd knows no {name}: correct the name (systemctl list-units shows them)"
    return f"systemd cannot read {name} ({unit.load_state}): see systemctl status {name}"
