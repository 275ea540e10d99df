"""Restarts a service by a command of yours: argv without a shell, with a timeout.

The command gets LEAKGUARD_SERVICE, LEAKGUARD_REASON and LEAKGUARD_PID (empty when the service does
not run) in its environment.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

from leakguard.core.errors import DriverError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location
from leakguard.core.units import Seconds, format_duration
from leakguard.drivers.base import Driver, DriverContext, Ending, RestartOrder, Stopped
from leakguard.linux.run_command import Ended, run_command
from leakguard.linux.spawn import ChildSpec, missing_program
from leakguard.plugins import doc


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `command`."""

    argv: tuple[str, ...] = field(
        metadata=doc(
            "the command and its arguments, not read by a shell; its exit code 0 is success"
        )
    )
    timeout: Seconds = field(
        default=Seconds(60.0),
        metadata=doc("after this long the command and its process group are killed"),
    )
    env: Mapping[str, str] = field(
        default_factory=dict,
        metadata=doc("more environment variables, beside LEAKGUARD_SERVICE, _REASON and _PID"),
    )
    cwd: str = field(default="", metadata=doc("working directory of the command"))
    stop: tuple[str, ...] = field(
        default=(),
        metadata=doc(
            "a command that stops the service and keeps it down; with `start`, what"
            " `depends_on` needs"
        ),
    )
    start: tuple[str, ...] = field(
        default=(), metadata=doc("a command that starts it, and does nothing where it runs")
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not self.argv or not self.argv[0]:
            raise UnitError(
                "argv is empty: give the command, such as [/usr/bin/restart-it, worker]"
            )
        if bool(self.stop) != bool(self.start):
            raise UnitError("stop and start belong together: give both, or neither")
        if self.timeout <= 0:
            raise UnitError("timeout must be more than 0s")


class CommandDriver(Driver):
    """Runs one command per restart; the command stops and starts the service."""

    stops: ClassVar[bool] = True

    @classmethod
    def cannot_stop(cls, options: Mapping[str, Any]) -> str:
        """Ask for the two commands."""
        if options.get("stop") and options.get("start"):
            return ""
        return "it has no commands for that: give its options stop and start"

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the service of `context`."""
        self._options = options
        self._context = context

    def restart(self, order: RestartOrder) -> Stopped:
        """Run the command to its end."""
        return self._run(self._options.argv, order)

    def stop(self, order: RestartOrder) -> Stopped:
        """Run the command that stops the service and keeps it down."""
        return self._run(self._options.stop or self._lacks("stop"), order)

    def start(self, order: RestartOrder) -> Stopped:
        """Run the command that starts the service."""
        return self._run(self._options.start or self._lacks("start"), order)

    def _lacks(self, which: str) -> tuple[str, ...]:
        raise DriverError(
            f"{self._context.service}: the driver `command` has no {which}: give it one",
            permanent=True,
        )

    def _run(self, argv: tuple[str, ...], order: RestartOrder) -> Stopped:
        timeout_s = min(self._options.timeout, order.deadline_s)
        ended = run_command(
            self._context.children,
            self._spec(argv, order),
            timeout_s=timeout_s,
            clock=self._context.clock,
            cancelled=order.cancelled,
        )
        problem = _problem(argv[0], ended, timeout_s)
        if problem:
            raise DriverError(f"{self._context.service}: {problem}{_said(ended.tail)}")
        return Stopped(message=ended.tail + _warning(argv[0], ended))

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Look whether the command could be run."""
        commands = (self._options.argv, self._options.stop, self._options.start)
        found = [problem for argv in commands if argv for problem in self._problems(argv)]
        return tuple(dict.fromkeys(found))

    def ending(self, location: Location) -> Ending:
        """Know nothing of what the command does within its own time."""
        return Ending()

    def describe(self) -> str:
        """Say which command is run."""
        return f"runs {' '.join(self._options.argv)!r}, at most {self._limit()}"

    def who_starts(self) -> str:
        """Say that the command does."""
        return f"the command {self._options.argv[0]}"

    def _spec(self, argv: tuple[str, ...], order: RestartOrder | None = None) -> ChildSpec:
        about = {"LEAKGUARD_SERVICE": self._context.service}
        if order is not None:
            pid = "" if order.incarnation is None else str(order.incarnation.pid)
            about.update(LEAKGUARD_REASON=order.reason, LEAKGUARD_PID=pid)
        return ChildSpec(argv=argv, cwd=self._options.cwd, env={**self._options.env, **about})

    def _problems(self, argv: tuple[str, ...]) -> Iterator[str]:
        cwd = self._options.cwd
        if cwd and not Path(cwd).is_dir():
            yield f"{cwd} is not a directory: correct cwd"
        missing = missing_program(self._spec(argv))
        if missing:
            yield missing

    def _limit(self) -> str:
        return format_duration(self._options.timeout)


def _problem(name: str, ended: Ended, timeout_s: float) -> str:
    if ended.cancelled:
        return f"leakguard is ending: {name} was left running"
    if ended.code is None:
        return f"{name} did not end within {format_duration(timeout_s)} and was killed"
    if ended.code < 0:
        return f"{name} was ended by signal {-ended.code}"
    return f"{name} failed with exit code {ended.code}" if ended.code else ""


def _warning(name: str, ended: Ended) -> str:
    if not ended.held_open:
        return ""
    return (
        f" (warning: {name} left a process that writes to the command's "
        "output, which is closed now: redirect the output of what it starts)"
    )


def _said(tail: str) -> str:
    return f": {tail}" if tail else ""
