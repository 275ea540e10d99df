"""Dependents that are held down: a reload must not forget them, an end must not leave them down."""

import logging
from threading import Event

from leakguard.core.engine import Rules
from leakguard.core.errors import LeakguardError, UsageError
from leakguard.core.instant import Clock
from leakguard.core.linked import dependencies, entry_of
from leakguard.core.plan import Plan
from leakguard.core.state import FlightStage, ServiceState, State
from leakguard.drivers.base import RestartOrder
from leakguard.runtime.live import Live

log = logging.getLogger("leakguard.held_down")

_DOWN = frozenset({FlightStage.STOPPING, FlightStage.DOWN})


def _is_down(service: ServiceState) -> bool:
    """Whether it is stopped for another one, or was ordered to start and does not run yet."""
    flight = service.record.flight
    if flight is None:
        return False
    to_come = flight.stage is FlightStage.ACTING and service.sample is None
    return flight.stage in _DOWN or (bool(flight.for_service) and to_come)


def held_down(state: State, rules: Rules) -> tuple[str, ...]:
    """Give the services that are stopped for another one's restart, in the order of their start."""
    found = [name for name, service in state.services.items() if _is_down(service)]
    return tuple(sorted(found, key=lambda n: (len(dependencies(rules.services, entry_of(n))), n)))


def keep(live: Live, plan: Plan) -> None:
    """See that a new configuration still has what is held down.

    Raises:
        UsageError: it does not, and nobody would start that again.
    """
    guarded = {service.rules.name for service in plan.services}
    lost = [n for n in held_down(live.state, live.parts.rules) if entry_of(n) not in guarded]
    if lost:
        raise UsageError(
            f"{', '.join(lost)} is stopped just now for the restart of what it depends on: "
            "reload again when it runs"
        )


def start_all(live: Live, clock: Clock, cancelled: Event) -> None:
    """Start what is held down, because leakguard ends; its own children end with it."""
    rules = live.parts.rules
    for name in held_down(live.state, rules):
        driver, own = live.parts.drivers.get(name), rules.of(name)
        if driver is None or own is None or driver.starts:
            continue
        order = RestartOrder(
            incarnation=None,
            reason="leakguard ends",
            deadline_s=own.restart.deadline_s,
            cancelled=cancelled,
        )
        began = clock.now()
        try:
            driver.start(order)
        except LeakguardError as error:
            log.error("service=%s is left stopped: %s: start it by hand", name, error)  # noqa: TRY400  the text says it all
        else:
            log.info("service=%s was started in %.1f s", name, clock.now().since(began))
