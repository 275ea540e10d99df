"""Restarts a program by supervisord: its stop and its start, in one request that it completes.

supervisord has no restart of its own, and what `stopProcess` stopped it never starts again by
itself. So both go in one `system.multicall` over a connection that outlives leakguard.
"""

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any, ClassVar, TypeGuard

from leakguard.core.codec import from_plain
from leakguard.core.errors import DriverError
from leakguard.core.frozen import dataclass
from leakguard.core.plan import PluginSpec
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import Secret, format_duration
from leakguard.drivers._held_request import Wait, exchange, lacks
from leakguard.drivers.base import Driver, DriverContext, Ending, RestartOrder, Stopped
from leakguard.linux.procfs import ProcFs
from leakguard.linux.supervisord import (
    ABNORMAL_TERMINATION,
    ALREADY_STARTED,
    BAD_NAME,
    GLOB,
    NO_FILE,
    NOT_EXECUTABLE,
    NOT_RUNNING,
    Address,
    Call,
    Fault,
    Program,
    SupervisordError,
    Times,
    nearest,
)
from leakguard.plugins import doc

SLACK_S = 10.0
"""supervisord itself ends a stop and a start in time; it may be busy with others meanwhile."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `supervisord`."""

    name: str = field(
        default="",
        metadata=doc("the program, `web` or `site:web`. Empty: what the target supervisord names"),
    )
    socket: str = field(
        default="",
        metadata=doc("supervisord's socket. Empty: the target's, or the first of the usual places"),
    )
    url: str = field(
        default="",
        metadata=doc("instead of a socket, its [inet_http_server]: `http://127.0.0.1:9001`"),
    )
    username: str = field(default="", metadata=doc("where supervisord wants one"))
    password: Secret | None = field(
        default=None, metadata=doc("its password. Better from a file: password_file")
    )

    @property
    def address(self) -> Address:
        """Where supervisord listens."""
        return Address(
            socket=self.socket, url=self.url, username=self.username, password=self.password
        )

    def __post_init__(self) -> None:
        """Refuse what names more than one program, or no place."""
        if GLOB & set(self.name):
            raise DriverError(
                f"{self.name!r} is a pattern: name one program, or give the pattern to the target",
                permanent=True,
            )
        _ = self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The program as it is right now, and what it is allowed."""

    program: Program
    times: Times


class SupervisordDriver(Driver):
    """Asks supervisord to stop and start one program."""

    managed: ClassVar[bool] = True
    stops: ClassVar[bool] = True

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the program that the options, the match or the target name."""
        target = dict(context.target.options) if _is_ours(context.target) else {}
        named = str(target.pop("name", ""))
        own = options.socket or options.url or options.password
        self._address = options.address if own else from_plain(Address, target)
        self._name = options.name or context.member or named
        self._context = context
        if not self._name:
            raise DriverError(
                f"{context.service}: the driver supervisord does not know the program: give its "
                "name, or use the target supervisord",
                permanent=True,
            )

    def restart(self, order: RestartOrder) -> Stopped:
        """Stop and start the program; only start it where it does not run."""
        seen = self._look()
        self._refuse(seen.program, order.incarnation)
        if order.incarnation is None:
            return self._start(seen, order)
        problem = lacks()
        if problem:
            raise DriverError(f"{self._context.service}: {problem}", permanent=True)
        stop_s = self._stop(seen, order, order.incarnation, start=True)
        return Stopped(
            stop_s=stop_s, message=f"supervisord stopped and started {seen.program.full}"
        )

    def stop(self, order: RestartOrder) -> Stopped:
        """Stop the program; supervisord does not start it again by itself."""
        seen = self._look()
        self._refuse_another(seen.program, order.incarnation)
        stopped_s = self._stop(seen, order, order.incarnation, start=False)
        return Stopped(stop_s=stopped_s, message=f"supervisord stopped {seen.program.full}")

    def start(self, order: RestartOrder) -> Stopped:
        """Start the program; nothing happens where it runs."""
        seen = self._look()
        self._refuse_stopping(seen.program)
        return self._start(seen, order)

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Ask supervisord about the program, with the rights that a restart needs."""
        return tuple(self._problems(location))

    def ending(self, location: Location) -> Ending:
        """Give the stopwaitsecs of the program."""
        return Ending(within_s=self._look().times.stop_wait_s)

    def describe(self) -> str:
        """Say what a restart is."""
        return f"supervisord stops and starts {self._name}, and completes that without leakguard"

    def who_starts(self) -> str:
        """Say that supervisord does, and when it gives up."""
        try:
            retries = self._look().times.start_retries
        except DriverError:
            return "supervisord"
        return f"supervisord, which gives up after {retries} failed starts more (FATAL)"

    def _look(self) -> _Seen:
        info, configs = self._ask(("getProcessInfo", self._name), ("getAllConfigInfo",))
        if isinstance(info, Fault):
            raise self._unknown(info)
        program = Program.of(info)
        return _Seen(program=program, times=Times.of(configs, program))

    def _ask(self, *calls: Call) -> list[Any]:
        try:
            answers = self._address.ask(*calls)
        except SupervisordError as error:
            raise self._error(str(error), permanent=error.permanent) from error
        if len(answers) != len(calls):
            raise self._error("supervisord left an answer out")
        return answers

    def _unknown(self, fault: Fault) -> DriverError:
        if fault.code != BAD_NAME:
            return self._error(f"supervisord does not tell about {self._name}: {fault.text}")
        (infos,) = self._ask(("getAllProcessInfo",))
        programs = [Program.of(info) for info in infos] if isinstance(infos, list) else []
        hint = nearest(self._name, programs)
        return self._error(f"supervisord has no program {self._name}: {hint}", permanent=True)

    def _refuse(self, program: Program, meant: Incarnation | None) -> None:
        """Leave alone what the order does not mean, and what supervisord is busy with."""
        if program.state == "BACKOFF":
            raise self._error(f"nothing was done: {program.why_not()}")
        self._refuse_stopping(program)
        if meant is None and program.pid:
            raise self._error(f"nothing was done: {program.full} runs as pid {program.pid}")
        self._refuse_another(program, meant)

    def _refuse_stopping(self, program: Program) -> None:
        if program.state == "STOPPING":
            raise self._error(f"nothing was done: somebody is stopping {program.full}")

    def _refuse_another(self, program: Program, meant: Incarnation | None) -> None:
        if meant is None or _is_in(program.pid, meant, self._context.proc):
            return
        runs = f"runs as pid {program.pid}" if program.pid else f"is {program.state}"
        raise self._error(f"nothing was done: {program.full} {runs}, {meant} was meant")

    def _stop(
        self, seen: _Seen, order: RestartOrder, old: Incarnation | None, *, start: bool
    ) -> float | None:
        """Stop the program and, with `start`, start it; gives the seconds until it was gone."""
        name, proc, clock = seen.program.full, self._context.proc, self._context.clock
        began, gone = clock.now(), list[float]()

        def look() -> None:
            if old is not None and not gone and not proc.is_running(old):
                gone.append(clock.now().since(began))

        calls: list[Call] = [("stopProcess", name, True)]
        if start:
            calls.append(("startProcess", name, True))
        stopped, *started = self._hold(seen, order, look, *calls)
        if isinstance(stopped, Fault) and stopped.code != NOT_RUNNING:
            raise self._error(f"supervisord could not stop {name}: {stopped.text}")
        for answer in started:
            self._check_started(seen, answer)
        return gone[0] if gone else None

    def _start(self, seen: _Seen, order: RestartOrder) -> Stopped:
        (started,) = self._hold(seen, order, _nothing, ("startProcess", seen.program.full, True))
        self._check_started(seen, started)
        return Stopped(message=f"supervisord started {seen.program.full}")

    def _hold(
        self, seen: _Seen, order: RestartOrder, looks: Callable[[], None], *calls: Call
    ) -> list[Any]:
        """Have supervisord make calls, also when leakguard is killed meanwhile."""
        limit_s = max(order.deadline_s, seen.times.both_s) + SLACK_S
        wait = Wait(limit_s=limit_s, cancelled=order.cancelled, looks=looks)
        request, context = self._address.request(*calls), self._context
        try:
            connection = self._address.connect()
            answer = exchange(context.children, connection, request, wait, context.clock)
            answers = [] if answer is None else self._address.answers(answer)
        except SupervisordError as error:
            raise self._error(str(error), permanent=error.permanent) from error
        except OSError as error:
            raise self._error(f"supervisord went away: {error.strerror or error}") from error
        if answer is None and order.cancelled.is_set():
            raise self._error("leakguard is ending: supervisord completes the restart by itself")
        if len(answers) != len(calls):
            raise self._error(f"supervisord did not answer within {format_duration(limit_s)}")
        return answers

    def _check_started(self, seen: _Seen, answer: object) -> None:
        if not isinstance(answer, Fault) or answer.code == ALREADY_STARTED:
            return
        name, times = seen.program.full, seen.times
        if answer.code == ABNORMAL_TERMINATION:
            raise self._error(
                f"{name} ended within its startsecs of {format_duration(times.start_s)}: "
                f"supervisord tries {times.start_retries} times more, then gives up (FATAL)"
            )
        raise self._error(
            f"supervisord could not start {name}: {answer.text}: correct its command",
            permanent=answer.code in (NO_FILE, NOT_EXECUTABLE),
        )

    def _problems(self, location: Location | None) -> Iterator[str]:
        if problem := lacks():
            yield problem
        try:
            seen = self._look()
        except DriverError as error:
            yield str(error).removeprefix(f"{self._context.service}: ")
            return
        program, need_s, have_s = seen.program, seen.times.both_s, self._context.deadline_s
        if location is not None and not _is_in(program.pid, location.root, self._context.proc):
            yield (
                f"{location.root} is not what supervisord runs as {program.full} (pid "
                f"{program.pid or 'none'}): correct the driver's name, or the target"
            )
        if need_s > have_s:
            yield (
                f"{program.full} may take {format_duration(need_s)} to stop and start "
                f"(stopwaitsecs, startsecs), and a restart fails after {format_duration(have_s)}: "
                f"set restart.deadline to {format_duration(need_s + SLACK_S)}"
            )

    def _error(self, text: str, *, permanent: bool = False) -> DriverError:
        return DriverError(f"{self._context.service}: {text}", permanent=permanent)


def _is_ours(target: PluginSpec | None) -> TypeGuard[PluginSpec]:
    return target is not None and target.key == "supervisord"


def _is_in(pid: int, seen: Incarnation, proc: ProcFs) -> bool:
    """Whether what was seen is supervisord's process `pid`, or below it (behind a `pidproxy`)."""
    return pid == seen.pid or (pid != 0 and pid in proc.ancestors(seen.pid))


def _nothing() -> None:
    pass
