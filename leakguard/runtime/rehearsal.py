"""Try every restart path without acting, at the start and now and then, and say what is wrong."""

import logging
from collections.abc import Callable

from leakguard.core.engine import Notice
from leakguard.core.errors import LeakguardError, ReadingError, TargetError
from leakguard.core.events import EventKind, Severity
from leakguard.core.policy import Mode
from leakguard.runtime.bootstrap import Parts

log = logging.getLogger("leakguard.rehearsal")


class Rehearsal:
    """Remembers what each driver found, and tells the inbox when it changes."""

    def __init__(self, notice: Callable[[Notice], None]) -> None:
        """Tell changes to `notice`."""
        self._notice = notice
        self._found: dict[str, tuple[str, ...]] = {}

    def problems(self, service: str) -> tuple[str, ...]:
        """Give what the last rehearsal of a service found."""
        return self._found.get(service, ())

    def run(self, parts: Parts) -> None:
        """Rehearse every service that runs; one that is not found cannot be rehearsed."""
        for service in parts.roster.names():
            try:
                location = parts.roster.fresh(service)
            except (TargetError, ReadingError):
                continue  # the loop tells that it cannot be located
            try:
                driver = parts.drivers.get(service)
                if driver is None or (location is None and not driver.starts):
                    continue
                found = (*driver.rehearse(location), *parts.errand_problems(service))
            except LeakguardError as error:
                found = (str(error),)
            if found != self._found.get(service, ()):
                self._tell(service, found, parts)
            self._found[service] = found

    def _tell(self, service: str, found: tuple[str, ...], parts: Parts) -> None:
        rules = parts.rules.of(service)
        acts = rules is not None and rules.mode is Mode.ACT
        if found:
            kind, severity = EventKind.SERVICE_CANNOT_ACT, Severity.WARNING
            message = f"cannot act on {service}: {'; '.join(found)}"
        else:
            kind, severity = EventKind.SERVICE_CAN_ACT, Severity.INFO
            message = f"{service} can be restarted"
        quiet = severity if acts else Severity.INFO
        self._notice(
            Notice(kind=kind.value, service=service, severity=quiet.value, message=message)
        )
