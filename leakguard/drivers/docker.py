"""Restarts a container through the engine (Docker, or Podman's socket), which stops and starts it.

The engine is asked just before it acts: a container that runs anew already, that the engine is
about to start again, or that is paused is left alone, and an engine that hangs gets no order that
it would carry out an hour later. A restart by the API is no failure to the engine: it neither
spends nor waits for the restart policy's retries.
"""

from collections.abc import Callable, Iterator
from dataclasses import field
from threading import Event
from typing import ClassVar

from leakguard.core.errors import DriverError, ReadingError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import Seconds, counted, format_bytes, format_duration
from leakguard.drivers.base import (
    Driver,
    DriverContext,
    Ending,
    MemoryLimits,
    RestartOrder,
    Stopped,
)
from leakguard.linux.containers import NO_LIMIT, NOT_FOUND, Container, Containers, Stop, id_in
from leakguard.linux.engine_api import Engine, EngineError, read_address
from leakguard.plugins import doc

NOBODY = "0" * 64
"""An id that no container has."""
_LONGEST_STOP_S = 86400.0
_HOLDS = {
    "restarting": "it keeps ending, and the engine waits before it starts it again",
    "paused": "it is paused: `docker unpause` it first",
    "removing": "it is being removed",
    "dead": "the engine could not remove it: see the engine's log",
}
"""States in which a restart is refused, with the reason."""
_POLICIES = {
    "always": "; also when it ends by itself (restart policy always)",
    "unless-stopped": "; also when it ends by itself (restart policy unless-stopped)",
    "on-failure": "; also when it fails (restart policy on-failure{retries})",
}


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `docker`."""

    container: str = field(
        default="",
        metadata=doc(
            "name or id of the container; left out: the target's, else the one that the service's "
            "process runs in"
        ),
    )
    stop_timeout: Seconds = field(
        default=Seconds(0.0),
        metadata=doc(
            "how long the engine waits for the container to stop before it kills; 0s: the label "
            "leakguard.stop-timeout, else the container's own (`--stop-timeout`, 10s by default)"
        ),
    )
    socket: str = field(
        default="",
        metadata=doc("the engine's socket; left out: the target's, else as for `container`"),
    )

    def __post_init__(self) -> None:
        """Refuse what can never be an engine or a time."""
        if self.socket:
            read_address(self.socket)
        if not 0 <= self.stop_timeout <= _LONGEST_STOP_S:
            raise UnitError("stop_timeout must be between 0s and 1d")


class DockerDriver(Driver):
    """Has the engine stop and start one container."""

    managed: ClassVar[bool] = True
    stops: ClassVar[bool] = True
    bends: ClassVar[bool] = True

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the service of `context`."""
        target = context.target
        options_of_target = target.options if target and target.key == "container" else {}
        self._options = options
        self._context = context
        self._container = (
            options.container or context.member or str(options_of_target.get("name", ""))
        )
        self._containers = Containers(
            Engine(options.socket or str(options_of_target.get("socket", "")))
        )
        self._seen: Container | None = None
        self._held = ""
        self._may = False

    def restart(self, order: RestartOrder) -> Stopped:
        """Look again, then have the engine restart the run that was meant, or start it."""
        container = self._meant(order)
        if order.incarnation is None:
            self._ask(container, "start", lambda: self._containers.start(container))
            return Stopped(message=f"the engine started {container.name}")
        stop = self._how(container, order)
        self._ask(container, "restart", lambda: self._containers.restart(container, stop))
        return Stopped(message=f"the engine restarted {container.name}")

    def stop(self, order: RestartOrder) -> Stopped:
        """Stop the container; no restart policy starts it before `start` does."""
        container = self._meant(order)
        if container.auto_remove:
            raise DriverError(
                f"{container.name} was started with --rm: the engine would remove it once it stops",
                permanent=True,
            )
        stop = self._how(container, order)
        self._ask(container, "stop", lambda: self._containers.stop(container, stop))
        return Stopped(message=f"the engine stopped {container.name}")

    def start(self, order: RestartOrder) -> Stopped:
        """Start the container."""
        container = self._look()
        self._ask(container, "start", lambda: self._containers.start(container))
        return Stopped(message=f"the engine started {container.name}")

    def limits(self) -> MemoryLimits:
        """Give the container's memory limit; an engine knows no `memory.high`."""
        return MemoryLimits(max_bytes=self._look().memory_bytes or None)

    def bend(self, limits: MemoryLimits) -> None:
        """Change the memory limit; what it may swap beside that stays the same.

        Engines keep it over a restart, until it is changed again.
        """
        if limits.high_bytes is not None:
            raise DriverError("an engine cannot set memory.high: leave high out", permanent=True)
        container = self._look()
        size, swap = _new_limits(container, limits.max_bytes)
        words = f"update --memory {format_bytes(size) if size > 0 else 'unlimited'} of"
        self._ask(container, words, lambda: self._containers.set_memory(container, size, swap))

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Ask the engine for the container."""
        try:
            return tuple(self._problems(location))
        except DriverError as error:
            return (str(error),)

    def refuses(self, *, running: bool) -> str:
        """Say what the last rehearsal saw of the container's state."""
        return self._held

    def ending(self, location: Location) -> Ending:
        """Give how long the engine waits before it kills, as `restart` asks it to."""
        own = self._seen.stop_within_s() if self._seen is not None else location.stop_within_s
        return Ending(within_s=self._options.stop_timeout or own)

    def describe(self) -> str:
        """Say that the engine stops and starts the container."""
        name = self._container or "the service's own container"
        stop = self._options.stop_timeout
        wait = f", KILL after {format_duration(stop)}" if stop else ""
        return f"has the engine restart {name}{wait}"

    def who_starts(self) -> str:
        """Say that the engine does, and what the restart policy adds."""
        if self._seen is None:
            return "the engine"
        most = self._seen.most_retries
        retries = f", at most {counted(most, 'time')} in a row" if most else ""
        alone = ", when leakguard restarts it (restart policy no)"
        return f"the engine{_POLICIES.get(self._seen.restart_policy, alone)}".format(
            retries=retries
        )

    def _meant(self, order: RestartOrder) -> Container:
        """Look right now; gives the container if the run that was meant is the one that is there.

        Raises:
            DriverError: it is not, or the engine must not be disturbed.
        """
        container = self._look()
        held = _HOLDS.get(container.status, "")
        if held:
            raise DriverError(f"{container.name}: {held}; nothing was done")
        if order.incarnation is None:
            if container.pid:
                raise DriverError(f"{container.name} runs already: nothing was done")
            return container
        self._compare(container, order.incarnation)
        return container

    def _compare(self, container: Container, meant: Incarnation) -> None:
        if not container.pid:
            raise DriverError(
                f"{container.name} has ended by itself ({container.status}): nothing was done"
            )
        if container.pid != meant.pid:
            raise DriverError(
                f"{container.name} runs as pid {container.pid}, not {meant.pid}: nothing was done"
            )
        try:
            same = self._context.proc.is_running(meant)
        except ReadingError as error:
            raise DriverError(f"{self._context.service}: {error}") from error
        if not same:
            raise DriverError(f"pid {meant.pid} of {container.name} has ended: nothing was done")

    def _look(self, location: Location | None = None) -> Container:
        """Ask the engine for the container.

        Raises:
            DriverError: there is none, or the engine does not tell.
        """
        name = self._container or self._id_of(location)
        try:
            found = self._containers.find(name)
        except EngineError as error:
            raise self._failure(error, f"ask for {name}") from error
        if found is None:
            raise DriverError(f"{self._context.service}: no container {name!r} any more")
        self._seen, self._held = found, _HOLDS.get(found.status, "")
        return found

    def _id_of(self, location: Location | None) -> str:
        """Give the id of the container that the service's process runs in."""
        location = location or self._context.locate()
        if location is None:
            raise DriverError(
                f"{self._context.service} does not run, so its container is not known: name it "
                "(restart.driver.docker.container)"
            )
        try:
            paths = self._context.proc.cgroup_of(location.root.pid).values()
        except ReadingError as error:
            raise DriverError(f"{self._context.service}: {error}") from error
        found = next((id_in(path) for path in paths if id_in(path)), "")
        if not found:
            raise DriverError(
                f"{location.root} runs in no container: use another driver, or name the container "
                "(restart.driver.docker.container)",
                permanent=True,
            )
        return found

    def _how(self, container: Container, order: RestartOrder) -> Stop:
        after_s = self._options.stop_timeout or container.stop_within_s()
        return Stop(after_s=after_s, deadline_s=order.deadline_s, cancelled=order.cancelled)

    def _problems(self, location: Location | None) -> Iterator[str]:
        container = self._look(location)
        if self._held:
            yield f"{container.name}: {self._held}"
        if location is not None and container.pid not in {0, location.root.pid}:
            yield (
                f"container {container.name} runs as pid {container.pid}, the service as "
                f"{location.root.pid}: name the service's own container"
            )
        if self._options.stop_timeout >= self._context.deadline_s:
            yield (
                f"the stop may take {format_duration(self._options.stop_timeout)}, and the restart "
                f"must be done within {format_duration(self._context.deadline_s)}: make "
                "restart.deadline longer"
            )
        if not self._may:
            self._ask(container, "restart", self._try_right)
            self._may = True

    def _try_right(self) -> None:
        """Find out whether a proxy before the engine lets orders pass: restart what cannot be."""
        nobody = Container(id=NOBODY, name="")
        try:
            self._containers.restart(nobody, Stop(cancelled=Event()))
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise

    def _ask(self, container: Container, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except EngineError as error:
            raise self._failure(error, f"{what} {container.name}") from error

    def _failure(self, error: EngineError, what: str) -> DriverError:
        return DriverError(
            f"{self._context.service}: cannot {what}: {error}", permanent=error.permanent
        )


def _new_limits(container: Container, max_bytes: int | None) -> tuple[int, int]:
    """Give the limits on memory, and on memory and swap together, that an engine understands.

    An engine takes no limit away (20.10: "Minimum memory limit allowed is 6MB"), so the kernel's
    greatest stands for none.
    """
    size = NO_LIMIT if max_bytes is None else max_bytes
    if container.swap_bytes <= 0 or max_bytes is None:
        return size, -1
    return size, size + max(0, container.swap_bytes - container.memory_bytes)
