"""A service that the kernel slows down at `memory.high`: people are told, since nobody else does.

It shows neither as a kill nor as growth, only as latency; and it need not ever end.
"""

from dataclasses import replace

from leakguard.core.assessment import Throttle
from leakguard.core.events import EventKind
from leakguard.core.facts import evidence
from leakguard.core.severity import Severity
from leakguard.core.state import ServiceState
from leakguard.core.tick import Tick
from leakguard.core.units import format_bytes
from leakguard.core.watch import calm, see

TOPIC = "throttled"
LEAST_S = 5.0
"""Who is slowed down for a moment only is not worth a word."""


def follow(tick: Tick, name: str) -> ServiceState:
    """Tell that it is slowed down, and when that is over."""
    service = tick.service(name)
    found = service.assessment
    throttle = found.throttle if found is not None else None
    now, told = throttle is not None and throttle.now, TOPIC in service.record.problems
    if not now and not told and service.throttled_since is None:
        return service
    since = (service.throttled_since or tick.now) if now else None
    service = tick.put(replace(service, throttled_since=since))
    if now:
        service = see(tick, service, TOPIC)
    if throttle is not None and since is not None and not told:
        if tick.now.since(since) >= LEAST_S:
            tick.event(
                EventKind.SERVICE_THROTTLED, name, Severity.WARNING, _text(name, throttle),
                **evidence(service),
            )  # fmt: skip
    elif told and not now and calm(tick, service, TOPIC):
        tick.event(
            EventKind.SERVICE_UNTHROTTLED, name, Severity.INFO,
            f"{name} is not throttled any more",
        )  # fmt: skip
    return tick.service(name)


def _text(name: str, throttle: Throttle) -> str:
    room = throttle.foreseen.room
    text = (
        f"{name} is throttled: cgroup {room.path} is at memory.high "
        f"({format_bytes(room.limit_bytes)}), where the kernel slows it down and kills nobody"
    )
    return text if throttle.limited else f"{text}; it has no limit, so this need not end"
