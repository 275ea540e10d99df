"""Who depends on whom, and what that holds back: dependents stop before, and start after.

A restart waits while what it depends on is in one, and, if it can wait, while what depends on it
is. A restart before a certain end does not wait for those: it leaves them alone.
"""

from collections.abc import Mapping
from dataclasses import replace

from leakguard.core.policy import Proposal, ServiceRules, Trigger
from leakguard.core.state import Flight, FlightStage, ServiceState
from leakguard.core.tick import Tick

CANNOT_WAIT = frozenset({Trigger.RESPAWN, Trigger.THRESHOLD, Trigger.EXHAUSTION})
"""What does not wait for others, except where they would be down together."""

HELD_DOWN = frozenset({FlightStage.QUEUED, FlightStage.STOPPING, FlightStage.DOWN})
"""How far dependents have come until they are started again."""


def dependencies(rules: Mapping[str, ServiceRules], entry: str) -> frozenset[str]:
    """Give the entries that `entry` needs, directly or not."""
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        known = rules.get(waiting.pop())
        new = set(known.restart.depends_on) - found if known is not None else set[str]()
        found |= new
        waiting += new
    return frozenset(found)


def dependents(rules: Mapping[str, ServiceRules], entry: str) -> tuple[str, ...]:
    """Give the entries that need `entry`, directly or not, in the order in which they stop."""
    if not any(one.restart.depends_on for one in rules.values()):
        return ()
    needs = {name: dependencies(rules, name) for name in rules}
    found = [name for name in rules if entry in needs[name]]
    return tuple(sorted(found, key=lambda name: (-len(needs[name]), name)))


def depth(tick: Tick, name: str) -> int:
    """Give how much a service depends on: of several that wait, the lower ones go first."""
    return len(dependencies(tick.rules, entry_of(name)))


def to_stop(tick: Tick, name: str) -> tuple[str, ...]:
    """Give the services that a restart of `name` takes down with it, in the order of their stop.

    What does not run is not stopped, and then not started either: somebody may want it so.
    """
    if not _runs(tick.service(name)):
        return ()
    below = _services(tick, dependents(tick.rules, entry_of(name)))
    return tuple(
        one for one in below if _runs(tick.services[one]) and not tick.services[one].record.flight
    )


def in_the_way(tick: Tick, name: str, proposal: Proposal) -> str:
    """Say which restart above or below a service must be over first; empty when none."""
    for one in _services(tick, sorted(dependencies(tick.rules, entry_of(name)))):
        if tick.services[one].record.flight is not None:
            return f"{one}, which it depends on, is being restarted"
    if proposal.trigger in CANNOT_WAIT or not _runs(tick.service(name)):
        return ""
    for one in _services(tick, dependents(tick.rules, entry_of(name))):
        if tick.services[one].record.flight is not None:
            return f"{one}, which depends on it, is being restarted"
    return ""


def queue(tick: Tick, names: tuple[str, ...], flight: Flight, dependency: str) -> None:
    """Put dependents into the flight of what they depend on: nothing else is done with them."""
    for name in names:
        service = tick.service(name)
        waiting = replace(
            flight,
            trigger=Trigger.DEPENDENCY,
            reason=f"{dependency}, which it depends on, is being restarted: {flight.reason}",
            old=service.record.incarnation,
            stage=FlightStage.QUEUED,
            before_bytes=service.sample.value_bytes if service.sample is not None else None,
            request_id="",
            after=False,
            for_service=dependency,
            for_action=flight.action_id,
            action_id="",
        )
        tick.amend(name, flight=waiting, settling=None)


def taken_along(tick: Tick, action_id: str) -> tuple[str, ...]:
    """Give the dependents that are part of a restart."""
    return tuple(
        name
        for name, service in tick.services.items()
        if service.record.flight is not None and service.record.flight.for_action == action_id
    )


def below(tick: Tick, name: str) -> tuple[str, ...]:
    """Give the services that depend on `name`."""
    return _services(tick, dependents(tick.rules, entry_of(name)))


def above(tick: Tick, name: str) -> tuple[str, ...]:
    """Give the services that `name` depends on."""
    return _services(tick, sorted(dependencies(tick.rules, entry_of(name))))


def entry_of(name: str) -> str:
    """Give the name under `services`: `worker` of `worker:2`."""
    return name.partition(":")[0]


def _services(tick: Tick, entries: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Give the guarded services of some entries, in the order of these."""
    if not entries:
        return ()
    return tuple(name for entry in entries for name in tick.services if entry_of(name) == entry)


def _runs(service: ServiceState) -> bool:
    return service.sample is not None and not service.record.missing
