"""A program of supervisord, by its name, or every program that a pattern matches."""

import fnmatch
from dataclasses import field, replace
from typing import Any, ClassVar

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location
from leakguard.core.units import Secret
from leakguard.linux.procfs import ProcessGone
from leakguard.linux.supervisord import (
    BAD_NAME,
    GLOB,
    Address,
    Call,
    Fault,
    Program,
    SupervisordError,
    nearest,
)
from leakguard.plugins import doc
from leakguard.targets._found import location_of
from leakguard.targets.base import Target, TargetContext

QUIET_LOOKS = 4
"""One that hangs holds the loop up for 2 s, so it is left alone for so many looks per process."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `supervisord`."""

    name: str = field(
        metadata=doc(
            "the program as `supervisorctl status` shows it: `web`, or `site:web` where it is in a "
            "group; with * ? [ ] every program of such a name that runs, one service each: `site:*`"
        )
    )
    socket: str = field(
        default="",
        metadata=doc(
            "supervisord's socket. Empty: the first of /run/supervisor.sock, "
            "/var/run/supervisor.sock and /tmp/supervisor.sock that is there"
        ),
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
    def many(self) -> bool:
        """Whether the name is a pattern: then each program is a service of its own."""
        return bool(GLOB & set(self.name))

    @property
    def address(self) -> Address:
        """Where supervisord listens."""
        return Address(
            socket=self.socket, url=self.url, username=self.username, password=self.password
        )

    def __post_init__(self) -> None:
        """Refuse what can never name a program."""
        if not self.name.strip() or self.name.endswith(":") or self.name.startswith(":"):
            raise TargetError(
                f"{self.name!r} is not the name of a program: write it as `supervisorctl status` "
                "shows it"
            )
        _ = self.address


class SupervisordTarget(Target):
    """Finds the process that supervisord runs for a program."""

    default_driver: ClassVar[str] = "supervisord"

    def __init__(self, options: Options, context: TargetContext) -> None:
        """Look for the program in the supervisord at the options' address."""
        self._name = options.name
        self._many = options.many
        self._address = options.address
        self._proc = context.proc
        self._known: tuple[Location, ...] = ()
        self._quiet = 0

    def locate(self) -> tuple[Location, ...]:
        """Give the program's process, or for a pattern that of each program that runs.

        While supervisord cannot be asked, what it started runs on and is sampled as before.
        """
        alive = tuple(one for one in self._known if self._proc.is_running(one.root))
        if self._quiet and alive and len(alive) == len(self._known):
            self._quiet -= 1
            return alive
        try:
            self._known = self._locate_many() if self._many else (self._locate_one(),)
        except SupervisordError as error:
            if alive:
                self._quiet = QUIET_LOOKS * len(alive) if error.unknown else 0
                return alive
            raise (ReadingError if error.unknown else TargetError)(str(error)) from error
        return self._known

    def describe(self) -> str:
        """Say the program, or the pattern."""
        what = "programs of supervisord that match" if self._many else "program of supervisord"
        return f"{what} {self._name}"

    def _locate_one(self) -> Location:
        info, own_pid = self._ask(("getProcessInfo", self._name), ("getPID",))
        if isinstance(info, Fault):
            raise TargetError(self._refused(info))
        program = Program.of(info)
        if not program.pid:
            raise TargetError(program.why_not())
        return self._location(program, own_pid)

    def _locate_many(self) -> tuple[Location, ...]:
        infos, own_pid = self._ask(("getAllProcessInfo",), ("getPID",))
        programs = self._programs(infos)
        matching = [one for one in programs if self._matches(one)]
        found = []
        for program in matching:
            try:
                found += [self._location(program, own_pid)] if program.pid else []
            except EndedSinceError:  # since supervisord said so
                continue
        if not found:
            raise TargetError(self._none_of(matching, programs))
        return tuple(sorted(found, key=lambda one: (one.root.start_ticks, one.root.pid)))

    def _ask(self, *calls: Call) -> list[Any]:
        answers = self._address.ask(*calls)
        if len(answers) != len(calls):
            raise ReadingError(f"supervisord at {self._address.place()} left an answer out")
        return answers

    def _programs(self, infos: object) -> list[Program]:
        if isinstance(infos, list):
            return [Program.of(info) for info in infos]
        raise TargetError(f"supervisord does not name its programs: {_said(infos)}")

    def _matches(self, program: Program) -> bool:
        if ":" in self._name:
            return fnmatch.fnmatchcase(program.full, self._name)
        return program.group == program.name and fnmatch.fnmatchcase(program.name, self._name)

    def _location(self, program: Program, own_pid: object) -> Location:
        """Make sure that the number means the same process here as for supervisord."""
        try:
            parent = self._proc.stat(program.pid).ppid
        except ProcessGone:
            raise EndedSinceError(f"{program.full}: no process {program.pid} runs") from None
        if parent != own_pid:
            raise TargetError(
                f"process {program.pid} is not what supervisord (pid {own_pid}) runs as "
                f"{program.full}: leakguard must run on its machine and in its PID namespace"
            )
        return replace(location_of(self._proc, program.pid), member=program.full)

    def _refused(self, fault: Fault) -> str:
        if fault.code != BAD_NAME:
            return f"supervisord does not tell about {self._name}: {fault.text}"
        (infos,) = self._ask(("getAllProcessInfo",))
        return (
            f"supervisord has no program {self._name}: {nearest(self._name, self._programs(infos))}"
        )

    def _none_of(self, matching: list[Program], programs: list[Program]) -> str:
        if matching:
            return f"no program that matches {self._name} runs: {matching[0].why_not()}"
        return f"supervisord has no program that matches {self._name}: " + nearest(
            self._name, programs
        )


class EndedSinceError(TargetError):
    """supervisord named a process that has ended since."""


def _said(answer: object) -> str:
    return answer.text if isinstance(answer, Fault) else repr(answer)
