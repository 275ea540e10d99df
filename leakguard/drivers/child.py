"""Stops and starts a command that leakguard itself runs."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from threading import Event
from typing import ClassVar

from leakguard.core.errors import DriverError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import Seconds
from leakguard.drivers._stop import (
    KILL_WAIT_S,
    RESERVE_S,
    Stop,
    StopStep,
    To,
    describe_stop,
    patience_s,
    sequence,
)
from leakguard.drivers.base import Driver, DriverContext, Ending, RestartOrder, Stopped
from leakguard.linux.pidfd import open_checked, wait_all
from leakguard.linux.procfs import ProcessGone
from leakguard.linux.spawn import ChildSpec, environment
from leakguard.linux.spawn_child import resolve_user
from leakguard.plugins import doc

DEFAULT_STOP = (StopStep(signal="TERM", wait=Seconds(10.0)), StopStep(signal="KILL"))


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `child`."""

    stop: tuple[StopStep, ...] = field(
        default=DEFAULT_STOP,
        metadata=doc("signals in order, each with a wait; KILL is added when it is not there"),
    )
    to: To = field(
        default=To.TREE,
        metadata=doc("`tree`: signal the command and all its descendants; `process`: the command "
        "alone. What it leaves behind is killed in either case"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse a sequence that cannot be carried out."""
        sequence(self.stop)


class ChildDriver(Driver):
    """Owns the process of its service from start to end."""

    starts: ClassVar[bool] = True
    stops: ClassVar[bool] = True

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the service of `context`."""
        self._options = options
        self._context = context

    def restart(self, order: RestartOrder) -> Stopped:
        """Stop what runs, sweep up what it left, start the command."""
        spec = self._spec()
        running = self._running(order)
        stop_s = None
        if running is not None:
            stop_s = self._stop(running, order.cancelled, order.deadline_s)
        if order.cancelled.is_set():
            raise DriverError(f"leakguard is ending: {self._context.service} was not started again")
        self._sweep(order.cancelled)
        started = self._context.children.start(self._context.service, spec)
        return Stopped(stop_s=stop_s, started=started, message=f"started {started}")

    def stop(self, order: RestartOrder) -> Stopped:
        """Stop what runs, and sweep up what it left; only `start` or `restart` starts it again."""
        running = self._context.children.find(self._context.service)
        stop_s = None
        if running is not None:
            stop_s = self._stop(running, order.cancelled, order.deadline_s)
        self._sweep(order.cancelled)
        return Stopped(stop_s=stop_s, message="stopped")

    def start(self, order: RestartOrder) -> Stopped:
        """Start the command, unless it runs."""
        running = self._context.children.find(self._context.service)
        if running is not None:
            return Stopped(started=running, message=f"{running} runs already")
        if order.cancelled.is_set():
            raise DriverError(f"leakguard is ending: {self._context.service} was not started again")
        self._sweep(order.cancelled)
        started = self._context.children.start(self._context.service, self._spec())
        return Stopped(started=started, message=f"started {started}")

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Look whether the command could be started where it shall run."""
        return tuple(self._problems())

    def ending(self, location: Location) -> Ending:
        """Name the whole tree: what the command leaves behind is killed."""
        pids = self._context.children.proc.tree(location.root.pid)
        return Ending(pids=pids, within_s=patience_s(self._options.stop))

    def describe(self) -> str:
        """Say the stop sequence and what is started."""
        spec = self._context.child
        name = spec.argv[0] if spec is not None and spec.argv else "the command"
        return f"{describe_stop(self._options.stop, self._options.to)}, then starts {name}"

    def who_starts(self) -> str:
        """Say that leakguard does."""
        return "leakguard"

    def stop_for_good(self, cancelled: Event, first: str = "") -> None:
        """Carry out the stop sequence as leakguard ends; `cancelled` cuts it short by KILL.

        `first` is sent in place of its first signal: after Ctrl-C the command sees an INT.
        """
        running = self._context.children.find(self._context.service)
        if running is not None:
            steps = _beginning_with(first, self._options.stop)
            waits_s = sum(step.wait for step in steps)
            try:
                self._stop(running, cancelled, waits_s + RESERVE_S + KILL_WAIT_S, steps)
            except DriverError:
                if not cancelled.is_set():
                    raise
                with suppress(ProcessGone):
                    self._context.children.signal(self._context.service, signal.SIGKILL)
        self._sweep(cancelled)

    def _running(self, order: RestartOrder) -> Incarnation | None:
        running = self._context.children.find(self._context.service)
        if running is not None and running != order.incarnation:
            raise DriverError(
                f"{self._context.service} already runs as {running}: nothing was started"
            )
        return running

    def _stop(
        self,
        running: Incarnation,
        cancelled: Event,
        deadline_s: float,
        steps: tuple[StopStep, ...] = (),
    ) -> float | None:
        stop = Stop(
            proc=self._context.children.proc,
            clock=self._context.clock,
            root=running,
            steps=steps or self._options.stop,
            to=self._options.to,
            cancelled=cancelled,
            deadline_s=deadline_s,
            sweep=True,
        )
        try:
            return stop.run()
        except ProcessGone:  # it ended by itself just now
            return None

    def _sweep(self, cancelled: Event) -> None:
        proc, held = self._context.children.proc, []
        try:
            for incarnation in self._context.children.leftovers(self._context.service):
                with suppress(ProcessGone):
                    held.append(open_checked(proc, incarnation))
                    held[-1].send(signal.SIGKILL)
            wait_all(held, KILL_WAIT_S, cancelled)
        finally:
            for handle in held:
                handle.close()

    def _spec(self) -> ChildSpec:
        if self._context.child is None:
            raise DriverError(
                f"{self._context.service}: the driver `child` needs the target `child`, which "
                "says what to start",
                permanent=True,
            )
        return self._context.child

    def _problems(self) -> Iterator[str]:
        spec = self._context.child
        if spec is None or not spec.argv:
            yield "nothing to start: give the target `child` an argv"
            return
        if spec.cwd and not Path(spec.cwd).is_dir():
            yield f"{spec.cwd} is not a directory: correct cwd"
        name = spec.argv[0]
        where = os.path.join(spec.cwd, name) if "/" in name else name  # noqa: PTH118  keeps a leading ./
        if shutil.which(where, path=environment(spec).get("PATH", os.defpath)) is None:
            yield f"{name} does not exist or is not executable: correct argv, or PATH"
        if spec.cgroup_dir and not os.access(f"{spec.cgroup_dir}/cgroup.procs", os.W_OK):
            yield f"cannot join cgroup {spec.cgroup_dir}: make it, and writable"
        yield from _user_problems(spec.user)


def _beginning_with(first: str, steps: tuple[StopStep, ...]) -> tuple[StopStep, ...]:
    """Put a signal in the place of a sequence's first one, which a lone KILL keeps."""
    if not first or not steps or steps[0].number == signal.SIGKILL:
        return steps
    return (replace(steps[0], signal=first), *steps[1:])


def _user_problems(user: str) -> Iterator[str]:
    if not user:
        return
    try:
        _, uid, _, _ = resolve_user(user)
    except ValueError as error:
        yield f"user {user!r}: {error}: correct user"
        return
    if os.geteuid() not in (0, uid):
        yield f"cannot become user {user!r} as uid {os.geteuid()}: run leakguard as root"
