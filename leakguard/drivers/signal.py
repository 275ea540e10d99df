"""Ends a process by a stop sequence over a pidfd; whoever looks after it starts it again."""

from collections.abc import Iterator
from dataclasses import field

from leakguard.core.errors import DriverError, LeakguardError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location
from leakguard.core.units import Seconds
from leakguard.drivers._stop import Stop, StopStep, To, describe_stop, patience_s, sequence
from leakguard.drivers.base import Driver, DriverContext, Ending, RestartOrder, Stopped
from leakguard.linux.pidfd import open_checked
from leakguard.linux.procfs import ProcessGone
from leakguard.plugins import doc

DEFAULT_STOP = (StopStep(signal="TERM", wait=Seconds(20.0)), StopStep(signal="KILL"))


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `signal`."""

    stop: tuple[StopStep, ...] = field(
        default=DEFAULT_STOP,
        metadata=doc("signals in order, each with a wait; KILL is added when it is not there"),
    )
    to: To = field(
        default=To.PROCESS,
        metadata=doc("`process`: signal the root process alone; `tree`: all its descendants too"),
    )
    respawned_by: str = field(
        default="",
        metadata=doc("who starts the service again (runit, a restart policy …); without it the "
        "driver acts only once such a start was seen"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse a sequence that cannot be carried out."""
        sequence(self.stop)


class SignalDriver(Driver):
    """Sends signals and leaves the start to others."""

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the service of `context`."""
        self._options = options
        self._context = context

    def restart(self, order: RestartOrder) -> Stopped:
        """Stop the incarnation that was meant, if somebody will start the next."""
        refusal = self.refuses(running=order.incarnation is not None)
        if refusal or order.incarnation is None:
            raise DriverError(refusal, permanent=order.incarnation is not None)
        stop = Stop(
            proc=self._context.proc,
            clock=self._context.clock,
            root=order.incarnation,
            steps=self._options.stop,
            to=self._options.to,
            cancelled=order.cancelled,
            deadline_s=order.deadline_s,
            sweep=self._options.to is To.TREE,
        )
        try:
            return Stopped(stop_s=stop.run())
        except ProcessGone as error:
            raise DriverError(f"{self._context.service}: {error}: nothing was signalled") from error

    def refuses(self, *, running: bool) -> str:
        """Refuse what would end the service for good, and what does not run."""
        if not running:
            return (
                f"{self._context.service} is not running, and the driver `signal` cannot start it: "
                "start it yourself"
            )
        return "" if self._is_respawned() else self._nobody()

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Ask the kernel for the right to signal, and ourselves who starts the service again."""
        return tuple(self._problems(location))

    def _problems(self, location: Location | None) -> Iterator[str]:
        if not self._is_respawned():
            yield self._nobody()
        if location is None:
            return
        try:
            with open_checked(self._context.proc, location.root) as handle:
                handle.send(0)
        except LeakguardError as error:
            yield str(error)

    def ending(self, location: Location) -> Ending:
        """Name the process, or its tree; what the root leaves behind after a KILL goes with it."""
        root, proc = location.root.pid, self._context.proc
        pids = proc.tree(root) if self._options.to is To.TREE else (root,)
        return Ending(pids=pids, within_s=patience_s(self._options.stop))

    def describe(self) -> str:
        """Say the stop sequence."""
        return describe_stop(self._options.stop, self._options.to)

    def who_starts(self) -> str:
        """Say who starts the service again, as configured or as seen."""
        if self._options.respawned_by:
            return self._options.respawned_by
        return "somebody (it was seen)" if self._context.respawn_seen() else ""

    def _is_respawned(self) -> bool:
        return bool(self._options.respawned_by) or self._context.respawn_seen()

    def _nobody(self) -> str:
        return (
            f"nobody is known to start {self._context.service} again after a signal: name who does "
            "(restart.driver.signal.respawned_by), or use the driver `command`"
        )
