"""The last seconds before a limit: no more room than the latest rises took."""

from dataclasses import replace

import pytest

from leakguard.core.assessment import Assessment
from leakguard.core.forecast import Forecast
from leakguard.core.last_rise import AHEAD_S, by_last_rise, latest_rise
from leakguard.core.policy import ForecastRule, Policy, ServiceRules, Trigger
from leakguard.core.series import RECENT_POINTS, Ring, Series
from leakguard.core.state import ServiceState
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB
from leakguard.testing.bench import guarded, room_of, sample_of, service_of, trend_of
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
RULES = guarded(policy=Policy(forecast=ForecastRule(lead_s=10.0)))


def ring(*points: tuple[float, float]) -> Ring:
    """Make recent samples, in seconds and MiB."""
    made = Ring.of(RECENT_POINTS)
    for t, mib in points:
        made.append(t, mib * MIB)
    return made


def near(left_mib: float, verdict: Verdict = Verdict.LEAKING, *, kills: int = 0) -> ServiceState:
    """Make a service that just rose by 1 MiB in 10 s, and whose forecast is an hour away."""
    far = Forecast(
        room=room_of(left_mib), slope_bytes_per_s=1.0, median_s=3600.0, early_sigma=0.1,
        late_sigma=0.1,
    )  # fmt: skip
    facts = Assessment(at=NOW, trend=trend_of(verdict, 0.01), forecasts=(far,), nearest=far)
    series = Series()
    for t, mib in ((0, 100), (10, 100), (20, 101)):
        series.append(t, mib * MIB)
    service = replace(service_of(sample_of(NOW, 101.0), assessment=facts), series=series)
    return replace(service, record=replace(service.record, oom_kills=kills))


def test_a_leak_with_no_more_room_than_its_last_rise_is_an_exhaustion() -> None:
    """Whatever its forecast says; it passes grace, and windows."""
    found = by_last_rise(near(1.0), RULES)
    assert found is not None
    assert (found.trigger, found.reason) == (
        Trigger.EXHAUSTION,
        "cgroup /worker (512 MiB) has 1.00 MiB left, and it rose by 1.00 MiB within 10s lately",
    )


@pytest.mark.parametrize(
    ("service", "rules"),
    [
        (near(1.1), RULES),
        (near(1.0, Verdict.UNKNOWN), RULES),
        (near(1.0, Verdict.STABLE), RULES),
        (near(1.0), guarded(policy=Policy(forecast=None))),
        (service_of(), RULES),
    ],
)
def test_more_room_no_leak_or_no_rule_is_none(service: ServiceState, rules: ServiceRules) -> None:
    """A heap may come as near at every turn."""
    assert by_last_rise(service, rules) is None


@pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.WARMING_UP])
def test_where_the_kernel_has_killed_no_verdict_is_needed(verdict: Verdict) -> None:
    """It was as near before, and died of it; but a start may fill much, so only seconds count."""
    assert by_last_rise(near(1.0, verdict, kills=1), RULES) is None
    assert by_last_rise(near(0.3, verdict, kills=1), RULES) is not None


def test_the_rise_within_the_time_ahead() -> None:
    """The steepest one lately, not the longest."""
    slow_then_fast = ring((0, 10), (10, 11), (20, 12), (30, 16))
    assert latest_rise(slow_then_fast, 10.0) == 4 * MIB
    assert latest_rise(slow_then_fast, 20.0) == 5 * MIB


def test_samples_far_apart_count_by_their_share() -> None:
    """A rise in five minutes is not one in ten seconds."""
    assert latest_rise(ring((0, 10), (300, 20), (600, 40)), 15.0) == pytest.approx(MIB)


def test_samples_close_together_are_drawn_out() -> None:
    """Ten a second see a second only, and the leak goes on."""
    close = ring(*((i / 10, 10 + i / 10) for i in range(11)))
    assert latest_rise(close, 10.0) == pytest.approx(10 * MIB)


def test_falls_and_old_rises_are_none() -> None:
    """What rose minutes ago says nothing of the next seconds; two samples say nothing at all."""
    assert latest_rise(ring((0, 30), (10, 20), (20, 10)), 10.0) == 0
    long_ago = ring((0, 10), (10, 90), (500, 90), (510, 90), (520, 90))
    assert latest_rise(long_ago, AHEAD_S) == 0
    assert latest_rise(ring((0, 10), (10, 90)), AHEAD_S) == 0
