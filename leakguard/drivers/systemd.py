"""Has systemd restart the service: stop, start, cgroup and score are its own work, no signal ours.

systemd would count a signal of ours as an end by itself, and start the service a second time under
`Restart=always`. Before anything is stopped its own budget is read: a start that StartLimitBurst
would refuse leaves the service down.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import DriverError, LeakguardError, ReadingError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import format_duration
from leakguard.drivers._systemd_words import cautions, hindrance, slowest_s, spent
from leakguard.drivers.base import (
    Driver,
    DriverContext,
    Ending,
    MemoryLimits,
    RestartOrder,
    Stopped,
)
from leakguard.linux.systemd_manager import Manager, NotHere
from leakguard.linux.systemd_unit import Unit, full_name, is_in
from leakguard.linux.systemd_words import Patience
from leakguard.plugins import doc

KEY = "systemd"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `systemd`."""

    unit: str = field(
        default="", metadata=doc("the service to restart; left out, the one of the target")
    )
    user: bool | None = field(
        default=None,
        metadata=doc("whether the user's manager runs it; left out, as the target says"),
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be one service."""
        if self.unit and not re.fullmatch(r"[^/ *?\[\]]+\.service", full_name(self.unit)):
            raise UnitError(f"{self.unit!r} is not the name of one service: write worker.service")


class SystemdDriver(Driver):
    """Restarts one unit through its manager."""

    managed: ClassVar[bool] = True
    stops: ClassVar[bool] = True
    bends: ClassVar[bool] = True
    usual_deadline_s: ClassVar[float] = 200.0

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the unit that options, or target, name."""
        own = context.target.options if context.target and context.target.key == KEY else {}
        name = options.unit or context.member or str(own.get("unit", ""))
        self._name = full_name(name) if name else ""
        self._context = context
        user = options.user if options.user is not None else own.get("user")
        self._manager = Manager(context.children, user=user)
        self._before: MemoryLimits | None = None
        if not name:
            raise DriverError(
                f"{context.service}: which unit? name it: restart.driver: "
                "{systemd: {unit: worker.service}}",
                permanent=True,
            )

    def restart(self, order: RestartOrder) -> Stopped:
        """Have the unit restarted, unless systemd would not start it again."""
        unit = self._checked(order)
        warning = spent(unit, self._manager.book.left(self._name, self._boot_s()))
        stopped = self._job("restart", order)
        self._unbend()
        return Stopped(stop_s=stopped.stop_s, message=warning)

    def stop(self, order: RestartOrder) -> Stopped:
        """Have the unit stopped; systemd then starts it neither by `Restart=` nor for us."""
        unit = self._checked(order)
        if unit.active_state in {"inactive", "failed"}:
            return Stopped(message=f"{self._name} is stopped already")
        if unit.transient:
            raise DriverError(
                f"{self._name} is transient: once stopped it could not be started again",
                permanent=True,
            )
        return self._job("stop", order)

    def start(self, order: RestartOrder) -> Stopped:
        """Have the unit started; one that runs is left as it is."""
        unit = self._unit()
        if unit.active_state == "active":
            return Stopped(message=f"{self._name} runs already")
        self._refuse(unit, running=False)
        self._job("start", order)
        self._unbend()
        return Stopped()

    def limits(self) -> MemoryLimits:
        """Give MemoryHigh and MemoryMax as systemd has them."""
        unit = self._unit()
        return MemoryLimits(high_bytes=unit.high_bytes, max_bytes=unit.max_bytes)

    def bend(self, limits: MemoryLimits) -> None:
        """Set MemoryHigh and MemoryMax at run time; a restart of ours sets them back."""
        before = self.limits()
        if limits.high_bytes != before.high_bytes and self._is_v1():
            raise DriverError(
                f"{self._name}: this machine has cgroups of version 1, which know no MemoryHigh: "
                "change the hard limit (MemoryMax) alone",
                permanent=True,
            )
        self._manager.limit(self._name, limits.high_bytes, limits.max_bytes)
        self._before = self._before or before

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Ask for the unit, for the right to manage it, and for what would hinder a restart."""
        return tuple(self._problems(location))

    def cautions(self, location: Location | None) -> tuple[str, ...]:
        """Name the settings of the unit that surprise people."""
        unit = self._manager.book.last(self._name)
        return tuple(cautions(unit)) if unit is not None else ()

    def refuses(self, *, running: bool) -> str:
        """Refuse what systemd would refuse, by what was last seen of the unit."""
        unit = self._manager.book.last(self._name)
        return self._hindrance(unit, running=running) if unit is not None else ""

    def ending(self, location: Location) -> Ending:
        """Give what TimeoutStopSec leaves them; whom it ends, KillMode of the unit says."""
        unit = self._manager.book.last(self._name)
        return Ending(within_s=unit.stop_s if unit is not None else None)

    def describe(self) -> str:
        """Say what systemd is asked for, and how long it may take to stop."""
        unit, words = self._manager.book.last(self._name), ""
        if unit is not None:
            span = format_duration(unit.stop_s) if unit.stop_s is not None else "for ever"
            words = f", stop takes {'' if unit.stop_s is None else 'at most '}{span}"
        return f"systemctl restart {self._name} ({self._manager}){words}"

    def who_starts(self) -> str:
        """Say that systemd does, and what it does after an end by itself."""
        unit = self._manager.book.last(self._name)
        return f"systemd (Restart={unit.restart})" if unit and unit.restart else "systemd"

    def _checked(self, order: RestartOrder) -> Unit:
        """Look again just before acting: the run that was meant, and a start that may come."""
        unit = self._unit()
        if order.incarnation is not None:
            self._identify(order.incarnation, unit)
        self._refuse(unit, running=order.incarnation is not None)
        return unit

    def _unit(self) -> Unit:
        try:
            return self._manager.unit(self._name)
        except ReadingError as error:
            raise DriverError(
                f"{self._name}: {error}", permanent=isinstance(error, NotHere)
            ) from error

    def _identify(self, meant: Incarnation, unit: Unit) -> None:
        """Refuse a run that is over, and one that is in another unit."""
        proc = self._context.proc
        if not proc.is_running(meant):
            raise DriverError(f"{meant} does not run any more: nothing was done", permanent=True)
        if unit.load_state == "loaded" and not is_in(proc.cgroup_of(meant.pid), unit.name):
            raise DriverError(
                f"{meant} is not in {unit.name}: name the unit it is in "
                "(restart.driver.systemd.unit)",
                permanent=True,
            )

    def _refuse(self, unit: Unit, *, running: bool) -> None:
        reason = self._hindrance(unit, running=running)
        if reason:
            waits = self._manager.book.wait_s(self._name, self._boot_s()) > 0
            raise DriverError(f"{reason}: nothing was done", permanent=not waits)

    def _hindrance(self, unit: Unit, *, running: bool) -> str:
        wait_s = self._manager.book.wait_s(self._name, self._boot_s())
        return hindrance(unit, wait_s, running=running)

    def _job(self, verb: str, order: RestartOrder) -> Stopped:
        clock = self._context.clock
        began_s = clock.now().boot_s
        patience = Patience.of(clock, order.deadline_s, order.cancelled)
        result = self._manager.job(verb, self._name, patience)
        if result != "done":
            raise DriverError(self._failure(verb, result, order))
        return Stopped(stop_s=self._stop_s(verb, began_s, clock.now().boot_s))

    def _stop_s(self, verb: str, began_s: float, ended_s: float) -> float | None:
        """Give how long the stop took: until the start was begun, by systemd's own stamps."""
        if verb == "stop":
            return ended_s - began_s
        try:
            unit = self._manager.unit(self._name)
        except ReadingError:
            return None
        if not unit.began_us or not unit.started_us:
            return None
        # Both on systemd's clock, whose distance from ours the start of the process gives.
        slept_s = self._manager.book.started_s(self._name) - unit.started_us / 1e6
        return min(max(0.0, unit.began_us / 1e6 + slept_s - began_s), ended_s - began_s)

    def _failure(self, verb: str, result: str, order: RestartOrder) -> str:
        if not result and order.cancelled.is_set():
            return f"leakguard is ending: systemd completes the {verb} of {self._name}"
        if not result:
            return (
                f"systemd did not finish the {verb} of {self._name} within "
                f"{format_duration(order.deadline_s)} and goes on with it: raise restart.deadline"
            )
        try:
            state = self._manager.unit(self._name)
            more = f", {state.state}"
        except ReadingError:
            more = ""
        return (
            f"the {verb} of {self._name} ended as {result}{more}: see systemctl status {self._name}"
        )

    def _unbend(self) -> None:
        """Give a new run the limits that it would have had."""
        if self._before is not None:
            self._manager.limit(self._name, self._before.high_bytes, self._before.max_bytes)
            self._before = None

    def _is_v1(self) -> bool:
        unit = self._manager.book.last(self._name)
        pid = unit.main_pid if unit is not None and unit.main_pid else self._context.proc.self_pid()
        return "memory" in self._context.proc.cgroup_of(pid)

    def _problems(self, location: Location | None) -> Iterator[str]:
        try:
            unit = self._unit()
            if location is not None:
                self._identify(location.root, unit)
        except LeakguardError as error:
            yield str(error)
            return
        if reason := self._hindrance(unit, running=location is not None):
            yield reason
        try:
            self._manager.may(self._name)
        except LeakguardError as error:
            yield str(error)
        longest_s = slowest_s(unit)
        if longest_s is not None and longest_s > self._context.deadline_s:
            yield (
                f"restart.deadline ({format_duration(self._context.deadline_s)}) is shorter than "
                f"systemd may take to stop and start {self._name} "
                f"({format_duration(longest_s)}): raise it, or lower TimeoutStopSec"
            )

    def _boot_s(self) -> float:
        return self._context.clock.now().boot_s
