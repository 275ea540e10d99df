"""How soon a service is sampled again: fast as a limit comes near, slow at rest."""

from leakguard.core.facts import Surroundings, threshold_bytes
from leakguard.core.instant import Instant
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import Sample
from leakguard.core.state import ServiceState
from leakguard.core.units import format_bytes, format_duration

ASSUMED_RISE_BYTES_PER_S = 4 * 1024**2
"""A service at rest may begin to leak this fast; the pace must see it cross a limit in time."""
STEPS_AHEAD = 3.0
"""At least this many samples are taken before a limit can be reached."""
QUIET_FLOOR_S = 0.25
LIVELY_BYTES_PER_S = 1024**2
YOUNG_S = 30.0
YOUNG_PACE_S = 0.5
WAITING_PACE_S = 0.25
BEYOND_PACE_S = 1.0
TURN_PACE_S = 1.0
TURN_LASTS_S = 15.0
MISSING_FAST_S = 60.0
MISSING_PACE_S = 1.0
BURST_BYTES_PER_S = 200e6
"""A service at rest may take memory as fast as this, all at once."""


def pace(service: ServiceState, rules: ServiceRules, now: Instant) -> float:
    """Seconds until the next sample of `service`, between its floor and its idle interval."""
    idle, floor = rules.pacing.idle_s, rules.pacing.floor_s
    if service.record.flight is not None:
        return max(floor, min(idle, WAITING_PACE_S))
    if service.sample is None:
        return max(floor, min(idle, _missing_pace(service, now)))
    rise = max(service.fastest_bytes_per_s, ASSUMED_RISE_BYTES_PER_S)
    if service.fastest_bytes_per_s < LIVELY_BYTES_PER_S:
        floor = max(floor, min(QUIET_FLOOR_S, idle))
    wanted = min((_reach(d, rise) for d in _distances(service, rules)), default=idle)
    if _waits_its_turn(service, now):
        wanted = min(wanted, TURN_PACE_S)
    if service.sample.age_s < YOUNG_S:
        wanted = min(wanted, YOUNG_PACE_S)
    return max(floor, min(idle, wanted))


def not_guardable(sample: Sample, around: Surroundings, rules: ServiceRules) -> str:
    """Say that a burst from rest may fill a cgroup between two samples; empty where it may not.

    Under version 1 the kernel wakes us at shares of the limit, under version 2 only where
    `memory.high` is passed.
    """
    for key in sample.domains:
        group = around.domains.get(key)
        if group is None or group.version == 1 or key in sample.throttles:
            continue
        room, idle = group.headroom_bytes, rules.pacing.idle_s
        wait_s = max(min(idle, _reach(room, ASSUMED_RISE_BYTES_PER_S)), rules.pacing.floor_s)
        full_s = room / BURST_BYTES_PER_S
        if 0 < full_s < wait_s:
            return (
                "a burst of 200 MB/s from rest is not guardable: it "
                f"fills the {format_bytes(room)} left of cgroup {group.path} in "
                f"{format_duration(full_s)}, and the next sample may be {format_duration(wait_s)} "
                "away; with memory.high below its limit the kernel would wake leakguard"
            )
    return ""


def _waits_its_turn(service: ServiceState, now: Instant) -> bool:
    """Whether its group held it back just now: it goes as soon as it may."""
    return any(
        key.endswith("/group") and now.boot_s - at < TURN_LASTS_S
        for key, at in service.held.items()
    )


def _reach(distance: float, rise: float) -> float:
    return distance / rise / STEPS_AHEAD if distance > 0 else BEYOND_PACE_S


def _distances(service: ServiceState, rules: ServiceRules) -> list[float]:
    """List what is left below the threshold and below every limit, in bytes."""
    found: list[float] = []
    above = threshold_bytes(service, rules)
    if above is not None and service.sample is not None:
        found.append(above - service.sample.value_bytes)
    if service.assessment is not None:
        found += [f.room.headroom_bytes for f in service.assessment.forecasts]
    return found


def _missing_pace(service: ServiceState, now: Instant) -> float:
    if service.absent_since is None or now.since(service.absent_since) < MISSING_FAST_S:
        return MISSING_PACE_S
    return float("inf")
