"""Hold the forecasts of the services to what comes, and keep how they came out."""

from collections.abc import Iterable
from dataclasses import replace

from leakguard.core.calibration import UNPROMISED, Outcomes
from leakguard.core.kill_book import SeenKill
from leakguard.core.kills import Killer
from leakguard.core.state import ServiceState
from leakguard.core.tick import Tick


def follow(tick: Tick, service: ServiceState, room_bytes: int | None) -> ServiceState:
    """Hold what was foreseen to the newest sample, then keep what is foreseen now.

    `room_bytes`: how much the service can still grow; None where no limit is known.
    """
    sample, facts = service.sample, service.assessment
    if sample is None or facts is None:
        return service
    name = service.record.name
    promises, came = service.promises.held_to(sample.at.boot_s, sample.value_bytes)
    keep(tick, name, came)
    if facts.trend.at_boot_s == sample.at.boot_s:  # it was fitted to this sample
        promises = promises.made(facts.trend, room_bytes, facts.edges)
    service = tick.service(name)
    if promises is service.promises:
        return service
    return tick.put(replace(service, promises=promises))


def close(tick: Tick, name: str) -> ServiceState:
    """Hold what was foreseen to the end of a life that no kill ended."""
    return _close(tick, name, tick.now.boot_s, killed=False)


def hear(tick: Tick, told: Iterable[SeenKill]) -> None:
    """Hold what was foreseen to the kernel's kills: they came when the memory was full."""
    for seen in told:
        kernel = seen.kill is None or seen.kill.killer is Killer.KERNEL
        if kernel and seen.service in tick.services:
            _close(tick, seen.service, seen.boot_s, killed=True)


def keep(tick: Tick, name: str, came: Outcomes) -> None:
    """Take outcomes into the record of a service, and into the daemon's own."""
    if not len(came):
        return
    tick.amend(name, outcomes=tick.service(name).record.outcomes.add(came))
    tick.own = replace(tick.own, outcomes=tick.own.outcomes.add(came))
    tick.changed.add("")


def _close(tick: Tick, name: str, boot_s: float, *, killed: bool) -> ServiceState:
    service = tick.service(name)
    if service.promises == UNPROMISED:
        return service
    keep(tick, name, service.promises.ended(boot_s, killed=killed))
    return tick.put(replace(tick.service(name), promises=UNPROMISED))
