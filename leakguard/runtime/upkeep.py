"""What runs beside the loop: dispatch, roll-up, pruning, rehearsal, heartbeat."""

import logging
import threading
from collections.abc import Callable, Mapping

from leakguard.core.instant import Clock
from leakguard.core.plan import Plan
from leakguard.core.policy import ServiceRules
from leakguard.core.state import State
from leakguard.runtime.dispatcher import Dispatcher
from leakguard.runtime.lifecycle import SystemdNotify
from leakguard.runtime.live import Live
from leakguard.runtime.rehearsal import Rehearsal
from leakguard.runtime.scheduler import Chores, Schedule
from leakguard.store.base import Store

log = logging.getLogger("leakguard.upkeep")

STALLED_S = 30.0


class Upkeep:
    """The chores that the scheduler drives. A chore that fails is logged, and tried again later."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        dispatcher: Dispatcher,
        rehearsal: Rehearsal,
        systemd: SystemdNotify,
        live: Live,
        hooks_prune: Callable[[], None] = lambda: None,
    ) -> None:
        """Work on these; `hooks_prune` deletes old output of hooks."""
        self._clock = clock
        self._store = store
        self._dispatcher = dispatcher
        self._rehearsal = rehearsal
        self._systemd = systemd
        self._live = live
        self._hooks_prune = hooks_prune
        self._rehearsing = threading.Lock()

    def chores(self) -> Chores:
        """Give the chores for the scheduler."""
        return Chores(
            dispatch=self._dispatch,
            roll_up=lambda: self._store.roll_up(self._clock.now().wall_s),
            prune=self._prune,
            heartbeat=self._heartbeat,
        )

    def rehearse(self) -> None:
        """Try every restart path without acting; one rehearsal at a time."""
        if not self._rehearsing.acquire(blocking=False):
            return
        try:
            self._rehearsal.run(self._live.parts)
        except Exception:
            log.exception("the rehearsal failed")
        finally:
            self._rehearsing.release()

    def _dispatch(self) -> float | None:
        self._dispatcher.dispatch_due()
        return self._dispatcher.next_wake_wall_s()

    def _prune(self) -> None:
        self._store.prune(self._clock.now().wall_s)
        self._hooks_prune()

    def _heartbeat(self) -> None:
        ticked = self._live.ticked
        silent = self._clock.now().since(ticked) if ticked is not None else 0.0
        if silent > STALLED_S:
            log.error("event=LoopStalled the loop has not ticked for %.0f s", silent)
        self.rehearse()
        count = len(self._live.parts.roster.names())
        self._systemd.say(f"STATUS=watching {count} service{'' if count == 1 else 's'}")


def schedules_of(plan: Plan) -> list[Schedule]:
    """Give every restart schedule of a plan."""
    return schedules_in({service.rules.name: service.rules for service in plan.services})


def schedules_in(services: Mapping[str, ServiceRules]) -> list[Schedule]:
    """Give every restart schedule of entries, and of services that have times of their own."""
    found = []
    for name, rules in services.items():
        base = services.get(name.partition(":")[0], rules)
        if base is not rules and base.policy.schedules == rules.policy.schedules:
            continue
        found += [
            Schedule(service=name, cron=rule.cron, timezone=rule.timezone, delay_s=rule.delay_s)
            for rule in rules.policy.schedules
        ]
    return found


def fired(state: State) -> dict[str, float]:
    """Give when each schedule was last dealt with by any service of its entry, by its key."""
    found: dict[str, float] = {}
    for name, service in state.services.items():
        for cron, at in service.record.fired.items():
            for owner in (name.partition(":")[0], name):
                key = Schedule(service=owner, cron=cron, timezone="").key
                found[key] = max(at, found.get(key, at))
    return found
