"""What a driver must do: restart one service once, within a deadline, and say what went wrong.

A driver is bound to its service. It never judges success (the next sample does), never alerts,
never reads state. It checks identity (pid and start time) immediately before any signal.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import field
from threading import Event
from typing import Any, ClassVar

from leakguard.core.errors import DriverError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock
from leakguard.core.limits import MemoryLimits
from leakguard.core.plan import PluginSpec
from leakguard.core.policy import DEADLINE_S
from leakguard.core.sample import Incarnation, Location
from leakguard.linux.children import Children, ChildSpec
from leakguard.linux.procfs import ProcFs

__all__ = ["Driver", "DriverContext", "MemoryLimits", "RestartOrder", "Stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverContext:
    """What a driver may use. `locate` looks where the service is now, None when it is not there.

    `respawn_seen`: whether somebody was ever seen to start the service again after it ended.
    `child`: what the target `child` says is to be started, None for other targets. `member`: the
    manager's own name of the service (a unit, a container), where its entry has several. `target`:
    the target of the service with its options, so that what it names need not be named again.
    `deadline_s`: within which a restart must be done.
    """

    service: str
    proc: ProcFs
    children: Children
    clock: Clock
    locate: Callable[[], Location | None]
    respawn_seen: Callable[[], bool] = field(default=lambda: False)
    child: ChildSpec | None = None
    member: str = ""
    target: PluginSpec | None = None
    deadline_s: float = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartOrder:
    """One restart to carry out. `incarnation` None: the service does not run, start it.

    `cancelled` is set when the daemon must end at once: stop waiting, leave the rest undone.
    """

    incarnation: Incarnation | None
    reason: str
    deadline_s: float
    cancelled: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What the driver saw: seconds until the old incarnation was gone (None: it did not look).

    `started`: the process that the driver itself started, if it did. `kept_root`: what runs below
    the root was replaced, and the root goes on. `elsewhere`: who took the service over where
    leakguard does not see it (another node); the manager says it is ready.
    """

    stop_s: float | None = None
    started: Incarnation | None = None
    message: str = ""
    kept_root: bool = False
    elsewhere: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Whom a restart would end, and how long they have; None for what the driver does not know.

    `pids` None: all processes of the service.
    """

    pids: tuple[int, ...] | None = None
    within_s: float | None = None


class Driver(ABC):
    """Restarts one service."""

    starts: ClassVar[bool] = False
    """True when leakguard itself starts the service (`child`)."""

    managed: ClassVar[bool] = False
    """True when a manager (systemd, Docker) completes the restart also without leakguard, which
    therefore does not wait for it when it ends."""

    usual_deadline_s: ClassVar[float] = DEADLINE_S
    """The deadline of a restart where the configuration names none."""

    stops: ClassVar[bool] = False
    """True when it can stop a service, and start it at another time: what `depends_on` needs."""

    bends: ClassVar[bool] = False
    """True when it can change the service's limits while it runs: what `buy_time` needs."""

    keeps_root: ClassVar[bool] = False
    """True when the root process of the service stays, and what runs below it is replaced."""

    @abstractmethod
    def restart(self, order: RestartOrder) -> Stopped:
        """Carry out one restart; blocks, in a thread of the executor, up to the deadline.

        Raises:
            DriverError: it could not be done; `permanent` when trying again cannot help,
                `retry_after_s` when the manager only said "not now".
        """

    @classmethod
    def cannot_stop(cls, _options: Mapping[str, Any]) -> str:
        """Say why a service with these options cannot be held down; empty when it can.

        Asked when the configuration is read, of services that depend on others.
        """
        return "" if cls.stops else "it cannot stop a service without its being started again"

    def stop(self, order: RestartOrder) -> Stopped:
        """Stop the service, so that nobody starts it before `start`; only where `stops`.

        Raises:
            DriverError: it could not be done.
        """
        raise DriverError(f"{self.describe()}: it cannot stop without starting", permanent=True)

    def start(self, order: RestartOrder) -> Stopped:
        """Start the service that `stop` stopped; nothing happens where it runs; only where `stops`.

        Raises:
            DriverError: it could not be done.
        """
        raise DriverError(f"{self.describe()}: it cannot start by itself", permanent=True)

    def limits(self) -> MemoryLimits:
        """Give the limits that are in force now; only where `bends`.

        Raises:
            DriverError: they cannot be known.
        """
        raise DriverError(f"{self.describe()}: it knows no limits", permanent=True)

    def bend(self, limits: MemoryLimits) -> None:
        """Put limits into force until the service is started anew; only where `bends`.

        Raises:
            DriverError: it could not be done.
        """
        raise DriverError(f"{self.describe()}: it cannot change limits to {limits}", permanent=True)

    @abstractmethod
    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Try the whole path without acting (signal 0, executable there, socket reachable).

        Gives one line per problem, each `what is wrong: what to do`; empty when all is well.
        """

    def cautions(self, location: Location | None) -> tuple[str, ...]:
        """Say what may surprise, though nothing hinders a restart; for `check`, one line each."""
        del location
        return ()

    def ending(self, location: Location) -> Ending:
        """Say whom a restart would end, and how long they have before they are killed.

        For a dry run, after `rehearse`: it may ask the manager, and changes nothing.

        Raises:
            LeakguardError: it cannot be known now.
        """
        return Ending(within_s=location.stop_within_s)

    def refuses(self, *, running: bool) -> str:
        """Say why a restart would be refused now, with the fix; empty when it would be tried.

        Asked by the loop in every tick of the service: it looks at nothing that may block.
        """
        del running
        return ""

    @abstractmethod
    def describe(self) -> str:
        """Say in one sentence what a restart does: `TERM to the tree, KILL after 20s`."""

    @abstractmethod
    def who_starts(self) -> str:
        """Say who will start the service again; empty when that is not known."""

    def stop_for_good(self, cancelled: Event, first: str = "") -> None:  # noqa: B027  only `child` owns what it must stop
        """End the service because leakguard ends; only where leakguard started it.

        `first`: the signal that told leakguard to end, sent in place of the sequence's first.
        """
