"""Signals, systemd's notify socket, and the end. Signal handlers only enqueue."""

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from types import FrameType

log = logging.getLogger("leakguard.lifecycle")

SAY_WITHIN_S = 0.2


class Signals:
    """Collects signals for the loop. Handlers append to a list and wake, nothing else."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Wake the loop by `wake` when a signal came."""
        self._wake = wake
        self._came: list[int] = []

    def catch(self, signums: Iterable[int]) -> None:
        """Take these signals over; must be called in the main thread."""
        for signum in signums:
            signal.signal(signum, self._enqueue)

    def take(self) -> list[int]:
        """Give the signals that came since the last call, in order."""
        came, self._came = self._came, []
        return came

    def _enqueue(self, signum: int, _frame: FrameType | None) -> None:
        self._came.append(signum)
        self._wake()


class SystemdNotify:
    """Speaks sd_notify when systemd asked for it; silent otherwise."""

    def __init__(self, environ: dict[str, str]) -> None:
        """Learn the socket and the watchdog's interval from the environment."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 / 2 if usec.isdigit() and mine else None

    def say(self, text: str) -> None:
        """Send `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1`."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(SAY_WITHIN_S)  # a manager that does not read must not hold the loop
                sock.sendto(text.encode(), address)
        except OSError as error:
            log.debug("systemd was not told %r: %s", text, error)
