"""A manager of systemd, the system's or a user's: over D-Bus, else by systemctl.

What was seen of a unit is kept for all that ask about the same manager, since the target looks
often and the driver must know how many starts are left.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from leakguard.core.errors import ReadingError
from leakguard.linux.children import Children
from leakguard.linux.procfs import TICKS_PER_S, ProcFs
from leakguard.linux.systemd_bus import BusWay, NoBus
from leakguard.linux.systemd_ctl import CtlWay
from leakguard.linux.systemd_starts import StartBook
from leakguard.linux.systemd_unit import Unit
from leakguard.linux.systemd_units import RUNS
from leakguard.linux.systemd_words import Patience, Way

SYSTEM_BUS = "/run/dbus/system_bus_socket"


class Manager(Way):
    """Speaks with one manager by whatever way there is."""

    def __init__(self, children: Children, *, user: bool | None = None) -> None:
        """Speak with the system's manager or that of our own user; None: whichever fits.

        Nothing is asked yet.
        """
        self.user = _prefers_user(os.environ) if user is None else user
        self._children = children
        self._address = bus_address(os.environ, user=self.user)
        self._bus = BusWay(self._address)
        env = {"XDG_RUNTIME_DIR": runtime_dir(os.environ)} if self.user else {}
        self._ctl = CtlWay(children, user=self.user, env=env)
        self.book = _book(self._address)

    def __str__(self) -> str:
        """Name the manager for a person."""
        return "user manager" if self.user else "system manager"

    def unit(self, name: str) -> Unit:
        """Ask for a unit."""
        try:
            unit = self._bus.unit(name)
        except NoBus as missing:
            try:
                unit = self._ctl.unit(name)
            except ReadingError as error:
                raise self._unreachable(missing, error) from error
        return self._seen(unit)

    def units(self, pattern: str) -> tuple[Unit, ...]:
        """Ask for every loaded service whose name matches."""
        try:
            found = self._bus.units(pattern)
        except NoBus as missing:
            try:
                found = self._ctl.units(pattern)
            except ReadingError as error:
                raise self._unreachable(missing, error) from error
        return tuple(self._seen(unit) for unit in found)

    def job(self, verb: str, name: str, patience: Patience) -> str:
        """Have a job done and wait for its end."""
        try:
            return self._bus.job(verb, name, patience)
        except NoBus:
            return self._ctl.job(verb, name, patience)

    def limit(self, name: str, high_bytes: int | None, max_bytes: int | None) -> None:
        """Set MemoryHigh and MemoryMax at run time."""
        try:
            self._bus.limit(name, high_bytes, max_bytes)
        except NoBus:
            self._ctl.limit(name, high_bytes, max_bytes)

    def may(self, name: str) -> None:
        """Ask whether we may manage a unit."""
        try:
            self._bus.may(name)
        except NoBus:
            self._ctl.may(name)

    def _seen(self, unit: Unit) -> Unit:
        self.book.seen(unit, _started_boot_s(self._children.proc, unit))
        return unit

    def _unreachable(self, missing: NoBus, error: ReadingError) -> ReadingError:
        if not self.user and not Path(RUNS).is_dir() and not Path(SYSTEM_BUS).exists():
            return NotHere(
                "systemd does not run here: use another target, or mount its bus "
                f"({SYSTEM_BUS}) and share the host's PID namespace"
            )
        return ReadingError(f"the {self} of systemd cannot be reached: {missing}; {error}")


class NotHere(ReadingError):  # noqa: N818  what is the case, in two words
    """This machine is not run by systemd."""


def bus_address(environ: Mapping[str, str], *, user: bool) -> str:
    """Give the address of the bus that a manager is on."""
    if not user:
        return environ.get("DBUS_SYSTEM_BUS_ADDRESS") or f"unix:path={SYSTEM_BUS}"
    own = f"unix:path={runtime_dir(environ)}/bus"
    return environ.get("DBUS_SESSION_BUS_ADDRESS") or own


def runtime_dir(environ: Mapping[str, str]) -> str:
    """Give the folder of the user's sockets, also where no login has named it."""
    return environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"


def _prefers_user(environ: Mapping[str, str]) -> bool:
    """Tell whether we are a user with a manager; a service's own account has none."""
    # What ProtectHome= of our own unit hides is not there; Path.exists would raise.
    return os.geteuid() != 0 and os.path.exists(f"{runtime_dir(environ)}/systemd/private")


def _started_boot_s(proc: ProcFs, unit: Unit) -> float | None:
    """Give when the main process started, seconds since boot; systemd's clock stops in sleep."""
    try:
        return proc.stat(unit.main_pid).start_ticks / TICKS_PER_S if unit.main_pid else None
    except ReadingError:
        return None


@cache
def _book(address: str) -> StartBook:
    """Give what is known of the units behind one address, for the whole process."""
    del address
    return StartBook()
