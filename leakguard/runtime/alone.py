"""`exec`: the guard of one command. It forwards signals, and ends with its command's exit code."""

import logging
import os
import signal
from collections.abc import Iterable

from leakguard.core.errors import LeakguardError
from leakguard.core.policy import Respawn
from leakguard.core.sample import Incarnation
from leakguard.core.state import ServiceState
from leakguard.linux.children import Children
from leakguard.runtime.live import Live

log = logging.getLogger("leakguard.exec")

SIGNAL_EXIT = 128
CANNOT_RUN = 127
"""What a shell ends with when a command cannot be started."""

FORWARDED = (
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCONT,
)


class Alone:
    """Nothing of this is in force when `service` is empty, as under `run`."""

    def __init__(self, service: str, children: Children) -> None:
        """Follow one service."""
        self.service = service
        self._children = children
        self._followed: Incarnation | None = None
        self._fd: int | None = None
        self._never_ran = False

    @property
    def forwards(self) -> tuple[signal.Signals, ...]:
        """Give the signals that are passed on to the command."""
        return FORWARDED if self.service else ()

    def forward(self, signum: int) -> None:
        """Pass a signal on."""
        try:
            if self._children.find(self.service) is not None:
                self._children.signal(self.service, signum)
        except LeakguardError as error:  # it ended just now, or runs as somebody else
            log.debug("signal %d was not passed on: %s", signum, error)

    def watched(self) -> Iterable[int]:
        """Give the descriptor that tells at once when the command ends."""
        if not self.service:
            return ()
        running = self._look()
        if running != self._followed:
            if self._fd is not None:
                os.close(self._fd)
            self._followed = running
            self._fd = self._watch() if running is not None else None
        return () if self._fd is None else (self._fd,)

    def _watch(self) -> int | None:
        try:
            return self._children.watch_fd(self.service)
        except (LeakguardError, OSError) as error:  # then its end is seen by the next sample
            log.debug("the end of %s is not watched: %s", self.service, error)
            return None

    def _look(self) -> Incarnation | None:
        try:
            return self._children.find(self.service)
        except LeakguardError as error:  # no descriptor to be had: nothing is known now
            log.debug("service=%s cannot be looked at: %s", self.service, error)
            return self._followed

    def ended(self) -> bool:
        """Tell whether the command has ended: it is to be sampled at once."""
        if not self.service or self._look() is not None:
            return False
        return self._children.exit_code(self.service) is not None

    def over(self, live: Live) -> bool:
        """Tell whether the command ended by itself and nothing starts it again."""
        service = live.state.services.get(self.service) if self.service else None
        if service is None or service.record.flight is not None:
            return False
        if service.record.incarnation is None:  # it could not even be started
            self._never_ran = service.record.failures > 0
            return self._never_ran
        return service.record.missing and not self._comes_back(service, live)

    def exit_code(self, came: list[int]) -> int:
        """Give the code that the guard ends with: the command's, or 128+n when it was told to."""
        if not self.service:
            return 0
        if self._never_ran:
            return CANNOT_RUN
        code = self._children.exit_code(self.service)
        if code is not None:
            return code
        return SIGNAL_EXIT + came[0] if came else 1

    def _comes_back(self, service: ServiceState, live: Live) -> bool:
        rules = live.parts.rules.of(self.service)
        if rules is None or service.record.breaker_open:
            return False
        match rules.restart.respawn:
            case Respawn.NEVER:
                return False
            case Respawn.ON_FAILURE:
                return service.record.exit_code != 0
            case Respawn.ALWAYS:
                return True
