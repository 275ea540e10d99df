"""A manager of systemd by the command `systemctl`, where D-Bus cannot be spoken."""

import os
import re
from collections.abc import Iterable
from threading import Event

from leakguard.core.errors import DriverError, ReadingError
from leakguard.linux.children import Children, ChildSpec
from leakguard.linux.run_command import Ended, run_command
from leakguard.linux.systemd_unit import PROPERTIES, SUFFIX, Unit, unit_of
from leakguard.linux.systemd_units import show_argv, show_blocks
from leakguard.linux.systemd_words import Patience, Way, problem

READ_S = 5.0
ACT_S = 25.0
_MOST_BYTES = 1 << 20
_RESULT = re.compile(
    r"^(?:Job for \S+ (timed out|canceled|failed)|A (dependency) job)", re.MULTILINE
)
_WORDS = {"timed out": "timeout"}
_SYSTEMD = "org.freedesktop.systemd1"


class CtlWay(Way):
    """Speaks with one manager by systemctl; as root this needs no bus."""

    def __init__(
        self, children: Children, *, user: bool, env: dict[str, str], systemctl: str = "systemctl"
    ) -> None:
        """Speak with the system's manager, or with the one of our own user."""
        self._children = children
        self._user = user
        self._env = env
        self._systemctl = systemctl

    def unit(self, name: str) -> Unit:
        """Ask for a unit."""
        found = self._show(name)
        if not found:
            raise ReadingError(f"systemctl knows nothing of {name}")
        return found[0]

    def units(self, pattern: str) -> tuple[Unit, ...]:
        """Ask for every loaded service whose name matches."""
        return tuple(unit for unit in self._show(pattern) if unit.name.endswith(SUFFIX))

    def job(self, verb: str, name: str, patience: Patience) -> str:
        """Have a job done; systemctl waits for its end."""
        argv = [self._systemctl, *self._manager(), "--no-ask-password", verb, "--", name]
        ended = self._run(argv, patience.left_s(), patience.cancelled)
        if ended.code is None:
            return ""
        if ended.code == 0:
            return "done"
        match = _RESULT.search(ended.tail)
        if match is None:
            raise _refused(name, ended)
        result = match.group(1) or match.group(2)
        return _WORDS.get(result, result)

    def limit(self, name: str, high_bytes: int | None, max_bytes: int | None) -> None:
        """Set both limits until the machine ends."""
        sizes = {"MemoryHigh": high_bytes, "MemoryMax": max_bytes}
        words = [f"{key}={'infinity' if v is None else v}" for key, v in sizes.items()]
        argv = [self._systemctl, *self._manager(), "--no-ask-password", "--runtime"]
        self._act(name, [*argv, "set-property", "--", name, *words])

    def may(self, name: str) -> None:
        """Ask for the right to manage a unit, by setting nothing: systemctl itself cannot."""
        if self._user or os.geteuid() == 0:
            return
        call = ["busctl", "--system", "call", _SYSTEMD, f"/{_SYSTEMD.replace('.', '/')}"]
        what = [f"{_SYSTEMD}.Manager", "SetUnitProperties", "sba(sv)", name, "true", "0"]
        self._act(name, [*call, *what])

    def _act(self, name: str, argv: Iterable[str]) -> None:
        ended = self._run(argv, ACT_S, Event())
        if ended.code is None:
            raise DriverError(f"{name}: systemd did not answer within {ACT_S:g}s")
        if ended.code:
            raise _refused(name, ended)

    def _show(self, name: str) -> tuple[Unit, ...]:
        keys = [key for keys in PROPERTIES.values() for key in keys]
        argv = show_argv(self._systemctl, [name], keys, user=self._user)
        try:
            ended = self._run(argv, READ_S, Event())
        except DriverError as error:
            raise ReadingError(str(error)) from error
        if ended.code != 0:
            said = ended.tail.splitlines()[-1] if ended.tail else "no answer"
            raise ReadingError(f"systemctl show {name}: {said}")
        return tuple(unit_of(block) for block in show_blocks(ended.tail))

    def _run(self, argv: Iterable[str], timeout_s: float, cancelled: Event) -> Ended:
        return run_command(
            self._children,
            ChildSpec(argv=tuple(argv), env={"LC_ALL": "C", **self._env}),
            timeout_s=timeout_s,
            clock=self._children.clock,
            cancelled=cancelled,
            keep_bytes=_MOST_BYTES,
        )

    def _manager(self) -> tuple[str, ...]:
        return ("--user",) if self._user else ()


def _refused(name: str, ended: Ended) -> DriverError:
    text, permanent = problem(name, "", ended.tail)
    return DriverError(text, permanent=permanent)
