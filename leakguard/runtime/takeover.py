"""A new configuration: built as a whole before anything is changed, then swapped in, or not at all.

Listeners, socket and state file stay as they are until the next start.
"""

import logging

from leakguard.runtime import held_down
from leakguard.runtime.assembly import Assembly
from leakguard.runtime.bootstrap import Parts
from leakguard.runtime.handover import Launch
from leakguard.runtime.leaving import Leaving
from leakguard.runtime.upkeep import fired, schedules_of

log = logging.getLogger("leakguard")


class Takeover:
    """Knows which launch is in force. Used by the loop."""

    def __init__(self, everything: Assembly, launch: Launch) -> None:
        """Begin with the launch that everything was built from."""
        self.launch = launch
        self._all = everything
        self.leaving = Leaving(
            everything.machine.children, everything.executor, everything.inbox.notice
        )

    def take(self, launch: Launch) -> tuple[str, ...]:
        """Put `launch` in force; gives what is no longer guarded and is ended because of that.

        Raises:
            Exception: something of it cannot be used. What was in force still is.
        """
        everything, old = self._all, self._all.live.parts
        held_down.keep(everything.live, launch.plan)
        parts = everything.rebuild(launch.plan)
        everything.scheduler.check(schedules_of(launch.plan))
        try:
            self._use(parts)
        except Exception:
            self._use(old)
            raise
        if (launch.plan.http, launch.plan.state) != (old.plan.http, old.plan.state):
            log.warning("changes of http and state take effect at the next start")
        self.launch = launch
        kept = {s.rules.name for s in launch.plan.services if s.rules.restart.starts}
        return self.leaving.begin(old.drivers, kept)

    def _use(self, parts: Parts) -> None:
        everything = self._all
        collector = everything.collector_of(parts)
        everything.executor.replace(parts.drivers, parts.health)
        everything.errands.replace(parts.plan)
        everything.dispatcher.replace(parts.notifiers)
        everything.daemon.replace(parts, collector)
        everything.scheduler.replace(schedules_of(parts.plan), fired(everything.live.state))
