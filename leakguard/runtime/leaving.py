"""Children of services that a reload took out: leakguard started them, so leakguard ends them.

Left alone they would run on with nobody to guard, restart or ever end them, and the same command
under another name would run twice. Each is ended by its own stop sequence, in a thread of its own:
the loop does not wait.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping

from leakguard.core.engine import Notice
from leakguard.core.events import EventKind, Severity
from leakguard.core.sample import Incarnation
from leakguard.drivers.base import Driver
from leakguard.linux.children import Children
from leakguard.runtime.executor import Executor

log = logging.getLogger("leakguard.leaving")

IDLE_S = 60.0
"""How long a restart that is cut off may take to say so."""
LOOK_AGAIN_S = 5.0
JOIN_S = 0.05


class Leaving:
    """Ends what is no longer guarded. `begin` is called by the loop, `finish` at the end."""

    def __init__(
        self, children: Children, executor: Executor, notice: Callable[[Notice], None]
    ) -> None:
        """End processes of `children`; `notice` is told of those that do not end."""
        self._children = children
        self._executor = executor
        self._notice = notice
        self._names: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._hurry = threading.Event()
        self._over = threading.Event()

    def begin(self, drivers: Mapping[str, Driver], kept: Collection[str]) -> tuple[str, ...]:
        """Begin to end the children of `drivers` whose entry is not among `kept`; gives them."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._names = {name for name in self._names if _entry(name) not in kept}
        leaving = []
        for service, driver in drivers.items():
            if not driver.starts or _entry(service) in kept:
                continue
            busy, running = self._executor.give_up(service), self._children.find(service)
            if busy or running is not None:
                self._names.add(service)
                leaving.append(f"{service} ({running or 'being restarted'})")
                self._start(service, driver, running)
        return tuple(leaving)

    def finish(self, cancelled: threading.Event) -> None:
        """Wait until all have ended; `cancelled` cuts their stop sequences short."""
        self._over.set()
        for thread in self._threads:
            while thread.is_alive():
                if cancelled.is_set():
                    self._hurry.set()
                thread.join(JOIN_S)

    def _start(self, service: str, driver: Driver, running: Incarnation | None) -> None:
        thread = threading.Thread(
            target=self._end, args=(service, driver), name="leaving", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had now
            self._tell(EventKind.SERVICE_CANNOT_ACT, _runs_on(service, running, str(error)))
            return
        self._threads.append(thread)

    def _end(self, service: str, driver: Driver) -> None:
        self._executor.wait_idle(service, IDLE_S)
        was, why = self._children.find(service), "it does not end"
        if service not in self._names:  # another reload has brought it back
            return
        try:
            driver.stop_for_good(self._hurry)
        except Exception as error:  # the edge of a thread: whatever it is, people are told
            log.exception("service=%s could not be ended", service)
            why = str(error)
        if was is None or self._children.find(service) != was:
            log.info("service=%s has ended: it is no longer in the configuration", service)
            self._children.forget_ended(service)
            return
        self._tell(EventKind.SERVICE_CANNOT_ACT, _runs_on(service, was, why))
        self._wait_for_end(service, was)

    def _wait_for_end(self, service: str, was: Incarnation) -> None:
        while not self._over.wait(LOOK_AGAIN_S):
            if self._children.find(service) != was:
                self._tell(EventKind.SERVICE_CAN_ACT, f"{was} of {service} has ended after all")
                return

    def _tell(self, kind: EventKind, message: str) -> None:
        ended = kind is EventKind.SERVICE_CAN_ACT
        severity = Severity.INFO if ended else Severity.WARNING
        notice = Notice(kind=kind.value, service="", severity=severity.value, message=message)
        self._notice(notice)


def _entry(service: str) -> str:
    return service.partition(":")[0]


def _runs_on(service: str, running: Incarnation | None, why: str) -> str:
    what = f"{running} of {service}" if running is not None else service
    return (
        f"{what} could not be ended: {why}; it is no longer in the configuration and runs on "
        "unguarded: end it by hand"
    )
