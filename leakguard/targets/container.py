"""A container of Docker or Podman, by name or id; or every one that carries a label.

The engine says which process is the container's first one; its cgroup must carry the container's
id, else the number is one of another PID namespace. A run that the kernel still shows is not asked
about again, and is believed while the engine does not answer: an engine that hangs or is restarted
must not stop the sampling.
"""

from collections.abc import Iterable
from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import ReadingError, TargetError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location, Scope
from leakguard.linux.cgroupfs import CgroupDir
from leakguard.linux.containers import PREFIX, Container, Containers, id_in
from leakguard.linux.engine_api import Engine, EngineError, read_address
from leakguard.linux.procfs import ProcessGone
from leakguard.plugins import doc
from leakguard.targets._found import location_of
from leakguard.targets.base import Target, TargetContext

_QUIET_LOOKS = 3
"""After an engine gave no answer, so many looks for each known container go without asking it: it
would hold the sampling up every time."""
_OWN_MOUNTS = frozenset({"/etc/hostname", "/etc/resolv.conf"})


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `container`."""

    name: str = field(default="", metadata=doc("name of one container, or its id"))
    label: str = field(
        default="",
        metadata=doc(
            "in place of a name: every running container that carries this label (`key` or "
            "`key=value`, several with commas), one service each, such as leakguard.enable=true"
        ),
    )
    socket: str = field(
        default="",
        metadata=doc(
            "the engine's socket; left out: $DOCKER_HOST, else the first that is there of "
            "/var/run/docker.sock, /run/podman/podman.sock and the user's own"
        ),
    )

    @property
    def many(self) -> bool:
        """Whether a label is given: then each container is a service of its own."""
        return bool(self.label)

    def __post_init__(self) -> None:
        """Refuse what names no container, and an engine that cannot be."""
        if bool(self.name.strip()) == bool(self.label.strip()):
            raise TargetError(
                "name the container, or give a label such as {label: leakguard.enable=true}; "
                "exactly one of the two"
            )
        if self.socket:
            try:
                read_address(self.socket)
            except UnitError as error:
                raise TargetError(str(error)) from error


class ContainerTarget(Target):
    """Finds containers by asking the engine, and checks what it says against /proc."""

    default_driver: ClassVar[str] = "docker"

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._options = options
        self._labels = tuple(part.strip() for part in options.label.split(",") if part.strip())
        self._containers = Containers(Engine(options.socket))
        self._proc = context.proc
        self._cgroups = context.cgroups
        self._known: dict[str, Location] = {}
        self._quiet = 0

    def locate(self) -> tuple[Location, ...]:
        """Give the container, or every one that carries the label."""
        alive = {id_: one for id_, one in self._known.items() if self._proc.is_running(one.root)}
        if self._quiet > 0 and alive and len(alive) == len(self._known):
            self._quiet -= 1
            return _oldest_first(alive.values())
        try:
            found = self._labelled(alive) if self._options.many else self._named(alive)
        except EngineError as error:
            return self._without_answer(error, alive)
        self._quiet, self._known = 0, found
        return _oldest_first(found.values())

    def describe(self) -> str:
        """Say the container, or the label."""
        if self._options.many:
            return f"container with the label {' and '.join(self._labels)}"
        return f"container {self._options.name}"

    def awaits(self, member: str) -> bool:
        """Tell a container that was stopped from one that was removed."""
        try:
            return self._containers.find(member) is not None
        except EngineError:
            return True

    def _without_answer(
        self, error: EngineError, alive: dict[str, Location]
    ) -> tuple[Location, ...]:
        """Go on with the runs that the kernel still shows; without any, say what is wrong."""
        self._quiet = _QUIET_LOOKS * len(self._known)
        if alive:
            return _oldest_first(alive.values())
        if error.permanent:
            raise TargetError(f"{self.describe()}: {error}") from error
        raise ReadingError(f"{self.describe()}: {error}") from error

    def _named(self, alive: dict[str, Location]) -> dict[str, Location]:
        name = self._options.name
        container = self._containers.find(name)
        if container is None:
            raise TargetError(f"no container {name!r}{self._nearest()}")
        known = alive.get(container.id)
        if known is not None and known.root.pid == container.pid:
            return {container.id: known}
        return {container.id: self._place(container)}

    def _labelled(self, alive: dict[str, Location]) -> dict[str, Location]:
        found: dict[str, Location] = {}
        wrong: list[TargetError] = []
        for id_, name in self._containers.labelled(self._labels).items():
            if id_ in alive and alive[id_].member == name:
                found[id_] = alive[id_]
                continue
            try:
                container = self._containers.find(id_)
                if container is not None and not self._is_own(container):
                    found[id_] = self._place(container)
            except (ProcessGone, TargetError) as error:
                wrong.append(TargetError(str(error)))
        if found:
            return found
        if wrong:
            raise wrong[0]
        raise TargetError(
            f"no running container has the label {' and '.join(self._labels)}: "
            f"start one with `--label {self._labels[0]}`"
        )

    def _place(self, container: Container) -> Location:
        """Give where a container runs.

        Raises:
            TargetError: it does not run, holds leakguard, or cannot be seen from here.
        """
        self._refuse(container)
        if container.id not in {id_in(path) for path in self._paths(container)}:
            raise TargetError(_hidden(container, self._runs_here(container)))
        group = self._own_group(container)
        found = location_of(self._proc, container.pid)
        return Location(
            root=found.root,
            scope=Scope.TREE if group is None else Scope.CGROUP,
            cgroup_path="" if group is None else group.directory,
            name=container.name,
            member=container.name if self._options.many else "",
            settings=_settings(container),
            stop_within_s=container.stop_within_s(),
        )

    def _refuse(self, container: Container) -> None:
        if self._is_own(container):
            raise TargetError(
                f"container {container.name} would watch leakguard itself: name another one"
            )
        if container.status == "restarting":
            raise TargetError(
                f"container {container.name} keeps ending, and the engine waits before it starts "
                f"it again: see `docker logs {container.name}`"
            )
        if not container.pid:
            raise TargetError(
                f"container {container.name} does not run ({container.status or 'no state'}): "
                f"`docker start {container.name}`"
            )

    def _paths(self, container: Container) -> Iterable[str]:
        try:
            return self._proc.cgroup_of(container.pid).values()
        except ProcessGone:
            return ()

    def _runs_here(self, container: Container) -> bool:
        try:
            self._proc.stat(container.pid)
        except ProcessGone:
            return False
        return True

    def _own_group(self, container: Container) -> CgroupDir | None:
        """Give the container's own memory cgroup; None where it cannot be seen from here."""
        try:
            group = self._cgroups.memory_dir(container.pid)
            if group is None:
                return None
            own = [one for one in self._cgroups.ancestors(group) if _names(one, container.id)]
            return self._cgroups.directory(own[-1].directory) if own else None
        except ReadingError:
            return None

    def _is_own(self, container: Container) -> bool:
        """Tell whether leakguard runs in it; a container's cgroup may be hidden from it itself."""
        own = self._proc.self_pid()
        try:
            if any(container.id in path for path in self._proc.cgroup_of(own).values()):
                return True
            mounts = self._proc.read(own, "mountinfo").decode("utf-8", "replace")
        except ReadingError:
            return False
        rows = (line.split() for line in mounts.splitlines())
        return any(row[4] in _OWN_MOUNTS and container.id in row[3] for row in rows if row[4:])

    def _nearest(self) -> str:
        import difflib  # only for wrong names

        names = self._containers.names()
        close = difflib.get_close_matches(self._options.name, names, n=1)
        if close:
            return f": did you mean {close[0]!r}?"
        return f": `docker ps --all` lists {len(names)}" if names else ": this engine has none"


def _settings(container: Container) -> tuple[tuple[str, str], ...]:
    labels = sorted(container.labels.items())
    return tuple((k.removeprefix(PREFIX), v) for k, v in labels if k.startswith(PREFIX))


def _oldest_first(found: Iterable[Location]) -> tuple[Location, ...]:
    return tuple(sorted(found, key=lambda one: (one.root.start_ticks, one.root.pid)))


def _names(group: CgroupDir, container_id: str) -> bool:
    return id_in(group.path.rpartition("/")[2]) == container_id


def _hidden(container: Container, runs: bool) -> str:  # noqa: FBT001  one private caller
    if runs:
        return (
            f"container {container.name} runs as pid {container.pid}, which is another process "
            "here: leakguard is in another PID namespace than the engine (start it with "
            "`pid: host`), or the container has no cgroup of its own"
        )
    return (
        f"container {container.name} runs as pid {container.pid}, which cannot be seen from here: "
        "leakguard is in another PID namespace than the engine; start it with `pid: host`"
    )
