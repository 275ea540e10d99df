"""How soon a service is sampled again."""

from dataclasses import replace

import pytest

from leakguard.core.assessment import Assessment
from leakguard.core.facts import Surroundings
from leakguard.core.forecast import Forecast
from leakguard.core.pace import ASSUMED_RISE_BYTES_PER_S, not_guardable, pace
from leakguard.core.policy import Pacing, Policy, ServiceRules, Trigger
from leakguard.core.sample import DomainSample
from leakguard.core.state import Flight, ServiceRecord, ServiceState
from leakguard.core.trend import UNKNOWN
from leakguard.core.units import MIB
from leakguard.testing.bench import NAME, guarded, room_of, sample_of, service_of, threshold
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()


def paced(
    policy: Policy | None = None, *, idle_s: float = 10.0, floor_s: float = 0.1
) -> ServiceRules:
    """Make rules with a pace."""
    return replace(guarded(policy), pacing=Pacing(idle_s=idle_s, floor_s=floor_s))


def near(room_mib: float, *, fastest_bytes_per_s: float = 0.0) -> ServiceState:
    """Make a service with so much room below its limit."""
    facts = Assessment(
        at=NOW,
        trend=UNKNOWN,
        forecasts=(Forecast(room=room_of(room_mib), slope_bytes_per_s=None),),
    )
    return service_of(
        sample_of(NOW, 100), assessment=facts, fastest_bytes_per_s=fastest_bytes_per_s
    )


def test_at_rest_it_is_the_idle_interval() -> None:
    """With nothing near there is no hurry."""
    assert pace(service_of(sample_of(NOW, 100)), paced(), NOW) == 10.0


def test_three_samples_fit_before_a_limit_can_be_reached() -> None:
    """Even when the leak begins right now, at the assumed rate."""
    assert ASSUMED_RISE_BYTES_PER_S == 4 * MIB
    assert pace(near(60), paced(), NOW) == 5.0


def test_a_faster_rise_makes_a_faster_pace() -> None:
    """The fastest rise seen counts, when it is above the assumed one."""
    assert pace(near(60, fastest_bytes_per_s=20.0 * MIB), paced(), NOW) == 1.0


def test_the_threshold_counts_as_a_limit() -> None:
    """It shall be seen in time as well."""
    assert pace(service_of(sample_of(NOW, 100)), paced(threshold(112)), NOW) == 1.0


def test_a_quiet_service_is_not_sampled_at_the_floor() -> None:
    """Ten times a second is for what moves."""
    quiet, lively = near(0.1), near(0.1, fastest_bytes_per_s=1.0 * MIB)
    assert (pace(quiet, paced(), NOW), pace(lively, paced(), NOW)) == (0.25, 0.1)


def test_beyond_a_limit_once_a_second_is_enough() -> None:
    """It cannot be crossed any more."""
    assert pace(near(-5), paced(), NOW) == 1.0


def test_a_young_service_is_sampled_twice_a_second() -> None:
    """Its start is when it grows."""
    young = service_of(sample_of(NOW, 100, age_s=29.0))
    assert pace(young, paced(), NOW) == 0.5


def test_in_flight_the_new_incarnation_is_awaited() -> None:
    """A restart is over when it was sampled."""
    flight = Flight(
        action_id="i", trigger=Trigger.MANUAL, reason="", began=NOW, deadline_s=60.0, old=None
    )
    service = service_of(record=ServiceRecord(name=NAME, flight=flight))
    assert pace(service, paced(), NOW) == 0.25


@pytest.mark.parametrize(("since_s", "wanted"), [(None, 1.0), (59.0, 1.0), (60.0, 10.0)])
def test_a_missing_service_is_looked_for_every_second_and_later_at_leisure(
    since_s: float | None, wanted: float
) -> None:
    """Most come back within a minute."""
    since = None if since_s is None else NOW.plus(-since_s)
    assert pace(service_of(absent_since=since), paced(), NOW) == wanted


@pytest.mark.parametrize(
    ("service", "wanted"), [(service_of(), 0.2), (near(0.1), 0.2), (near(1e6), 0.2)]
)
def test_an_idle_interval_below_every_pace_is_kept(service: ServiceState, wanted: float) -> None:
    """What is configured as the slowest is never slower."""
    assert pace(service, paced(idle_s=0.2), NOW) == wanted


def test_the_floor_is_kept() -> None:
    """Nothing is faster than what is configured as the fastest."""
    assert pace(near(0.001, fastest_bytes_per_s=1e9), paced(floor_s=0.4), NOW) == 0.4


def in_cgroup(
    room_mib: float, *, version: int = 2, high: bool = False, idle_s: float = 10.0
) -> str:
    """Say what is not guardable of a service in a cgroup with so much room."""
    size = int(100 * MIB)
    group = DomainSample(
        path="/a", version=version, limit_bytes=size + int(room_mib * MIB), usage_bytes=size
    )
    sample = replace(sample_of(NOW, 100, domains=("a",)), throttles=("a",) if high else ())
    return not_guardable(sample, Surroundings(domains={"a": group}), paced(idle_s=idle_s))


def test_a_burst_that_fills_the_room_between_two_samples_is_not_claimed() -> None:
    """Of a service at rest: 381 MiB at 200 MB/s last for two seconds, the pace is ten."""
    assert in_cgroup(381.5) == (
        "a burst of 200 MB/s from rest is not guardable: it fills the 382 MiB left of cgroup /a "
        "in 2.0s, and the next sample may be 10s away; with memory.high below its limit the "
        "kernel would wake leakguard"
    )


@pytest.mark.parametrize(
    "said",
    [
        in_cgroup(381.5, version=1),
        in_cgroup(381.5, high=True),
        in_cgroup(381.5, idle_s=1.0),
        in_cgroup(2048),
        in_cgroup(0),
    ],
    ids=["thresholds of version 1", "memory.high", "sampled often", "much room", "full already"],
)
def test_a_burst_that_is_seen_in_time_needs_no_word(said: str) -> None:
    """By the kernel's wake-up, or by the next sample."""
    assert said == ""
