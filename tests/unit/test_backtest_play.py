"""Policies on leaks of known slope: exact numbers of restarts and kills, and what was needless."""

import math
from array import array
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from leakguard.core.policy import (
    ForecastRule,
    GuardRules,
    Mode,
    Policy,
    RestartRules,
    ScheduleRule,
    ThresholdRule,
    Trigger,
    WindowRule,
)
from leakguard.core.units import MIB, Amount
from leakguard.runtime.backtest.compare import Comparison
from leakguard.runtime.backtest.lives import Recorded
from leakguard.runtime.backtest.outcome import PolicyOutcome
from leakguard.runtime.backtest.play import Terms
from leakguard.runtime.backtest.recording import Recording
from leakguard.testing.recordings import DAY_S, START_S, candidate, leak, recording

LIFE_H = 20
SPACING_S = 600.0
LEAK = recording(leak(100, 412 / LIFE_H, LIFE_H), hours=14 * 24, spacing_s=SPACING_S)
"""Fills 512 MiB from 100 in 20 hours, is killed and begins anew, for 14 days."""
FORECAST = Policy()
THRESHOLD = Policy(forecast=None, threshold=ThresholdRule(above=Amount(share=0.8)))
EVERY_6_H = Policy(forecast=None, schedules=(ScheduleRule(cron="0 */6 * * *"),))
NOTHING = Policy(forecast=None)


def play(
    policy: Policy,
    what: Recording = LEAK,
    terms: Terms | None = None,
    recorded: Recorded = Recorded.KEEP,
    **rules: Any,
) -> PolicyOutcome:
    """Play one recording under one policy."""
    comparison = Comparison(
        recordings=(what,),
        candidates=(candidate(policy, **rules),),
        terms=terms or Terms(),
        recorded=recorded,
    )
    return comparison.run()[0]


@cache
def on_leak(policy: Policy, terms: Terms | None = None) -> PolicyOutcome:
    """Play the leak of 20 hours, once for all tests."""
    return play(policy, terms=terms)


def hours(outcome: PolicyOutcome) -> list[float]:
    """Give the hours since the beginning at which it was restarted."""
    return [(restart.t - START_S) / 3600 for restart in outcome.restarts]


def test_left_alone_it_is_killed_as_recorded() -> None:
    """16 whole lives of 20 hours fit into 14 days."""
    comparison = Comparison(recordings=(LEAK,), candidates=(candidate(NOTHING),))
    kills = [(kill.t - START_S) / 3600 for kill in comparison.left_alone()]
    assert kills == pytest.approx([LIFE_H * n for n in range(1, 17)])


def test_policy_that_does_nothing_is_left_alone() -> None:
    """The engine without a trigger changes nothing."""
    outcome = on_leak(NOTHING)
    assert (len(outcome.restarts), len(outcome.kills)) == (0, 16)


def test_forecast_restarts_once_a_life() -> None:
    """Each life is ended in its last minutes: 16 restarts, no kill, none needless."""
    outcome = on_leak(FORECAST)
    assert (len(outcome.restarts), len(outcome.kills), outcome.needless) == (16, 0, 0)
    assert outcome.by_reason == {"forecast": 16}
    gaps = [b - a for a, b in pairwise(hours(outcome))]
    assert min(gaps) > LIFE_H * 0.998


def test_threshold_restarts_at_four_fifths() -> None:
    """309.6 of 412 MiB are filled in 15.03 hours: 22 restarts, each within one sample of it."""
    outcome = on_leak(THRESHOLD)
    reach_h = (0.8 * 512 - 100) / 412 * LIFE_H
    assert (len(outcome.restarts), len(outcome.kills)) == (22, 0)
    before = 0.0
    for at in hours(outcome):
        assert 0 <= at - before - reach_h <= SPACING_S / 3600
        before = at + 5 / 3600


def test_schedule_restarts_at_its_moments() -> None:
    """Every six hours: 56 in 14 days, exactly then; all needless but one that the end hides."""
    outcome = on_leak(EVERY_6_H)
    assert hours(outcome) == [2.0 + 6 * n for n in range(56)]
    assert (len(outcome.kills), outcome.needless, outcome.undecided) == (0, 55, 1)
    assert outcome.in_window == 56


NIGHTLY = Policy(forecast=None, schedules=(ScheduleRule(cron="0 3 * * *"),))


def test_schedule_that_is_needed_is_not_needless() -> None:
    """Once a day at a life of 20 hours: the limit would be reached before the next night."""
    judged = [one.needless for one in on_leak(NIGHTLY).restarts if one.needless is not None]
    assert judged == [False] * 14


def test_kill_between_two_restarts_is_counted() -> None:
    """Once a day at a life of 20 hours: it dies every day, four hours before its restart."""
    outcome = on_leak(NIGHTLY)
    assert (len(outcome.restarts), len(outcome.kills)) == (14, 13)
    first = outcome.restarts[0].t
    assert outcome.kills[0].t - first == pytest.approx(LIFE_H * 3600 + 5, abs=1)


def test_max_age_counts_from_the_last_start() -> None:
    """Half a day after each start, whoever made it."""
    outcome = play(Policy(forecast=None, max_age_s=12 * 3600))
    assert hours(outcome)[:2] == pytest.approx([12.0, 24.0], abs=0.2)
    assert outcome.by_reason == {Trigger.MAX_AGE.value: len(outcome.restarts)}


def test_needless_by_horizon_where_no_moment_is_cheap() -> None:
    """At four fifths five hours are left: needless for who looks four ahead, not for a day."""
    assert on_leak(THRESHOLD).needless == 0
    short = on_leak(THRESHOLD, Terms(horizon_s=4 * 3600))
    assert (short.needless, short.undecided) == (21, 1)


def test_window_makes_moments_cheap() -> None:
    """With a window at night a threshold restart shortly before it could have waited."""
    window = WindowRule(cron="0 2 * * *", length_s=7200.0)
    outcome = play(THRESHOLD, terms=Terms(windows=(window,)))
    for restart in outcome.restarts:
        hour = (restart.wall_s % DAY_S) / 3600
        left_h = (26 - hour) % 24 or 24
        assert restart.in_window == (2 <= hour <= 4)
        if restart.needless is not None:
            assert restart.needless == (left_h <= 1.002 * LIFE_H * 0.2485)


def test_breaker_holds_and_the_service_dies() -> None:
    """One restart a month is allowed: 15 hours, then 16 lives of 20 that end at their limit."""
    outcome = play(THRESHOLD, guards=GuardRules(max_restarts=1, per_s=30 * DAY_S))
    assert (len(outcome.restarts), len(outcome.kills)) == (1, 16)
    assert outcome.held_back["breaker"] >= 1
    assert outcome.limit_hits == 1


def test_fast_leak_between_two_samples_is_caught() -> None:
    """It fills in three minutes, sampled once a minute: the daemon would have looked sooner."""
    fast = recording(lambda t: 100 + 2.5 * (t % 180), hours=1, spacing_s=60.0)
    alone = Comparison(recordings=(fast,), candidates=(candidate(NOTHING),)).left_alone()
    outcome = play(FORECAST, fast, guards=GuardRules(max_restarts=1000))
    assert len(alone) == 19
    assert outcome.kills == ()
    assert {restart.needless for restart in outcome.restarts} <= {False, None}


def test_single_sample_above_the_threshold_acts() -> None:
    """No sample is skipped, however quiet all was before."""
    flat = recording(lambda _t: 100.0, hours=24)
    values = array("d", flat.values)
    values[200] = 450 * MIB
    outcome = play(THRESHOLD, replace(flat, values=values), recorded=Recorded.NONE)
    assert [restart.t for restart in outcome.restarts] == [flat.times[200]]


def test_service_that_does_not_leak_is_left_alone() -> None:
    """A daily cycle far from its limit: the default policy restarts nothing."""
    cycle = recording(lambda t: 200 - 100 * math.cos(2 * math.pi * t / DAY_S), hours=7 * 24)
    assert play(FORECAST, cycle).restarts == ()


def test_threshold_on_a_daily_cycle_is_needless() -> None:
    """A threshold below the top of the day restarts each day, for nothing."""
    cycle = recording(lambda t: 200 - 100 * math.cos(2 * math.pi * t / DAY_S), hours=5 * 24)
    outcome = play(
        Policy(forecast=None, threshold=ThresholdRule(above=Amount(size_bytes=250 * MIB))), cycle
    )
    assert len(outcome.restarts) == 5
    assert outcome.needless == 4
    assert outcome.undecided == 1


def test_recorded_restart_by_others_makes_ours_needless() -> None:
    """What a deployment would have ended anyway need not be restarted."""
    deployed = recording(leak(100, 20, 10), hours=40)
    outcome = play(
        Policy(forecast=None, threshold=ThresholdRule(above=Amount(size_bytes=250 * MIB))), deployed
    )
    assert outcome.needless == 3


def test_without_a_limit_nothing_is_said_of_kills() -> None:
    """No limit: no kill, no share of it, and what is needless is not known."""
    endless = recording(leak(100, 20, 1000), hours=100, limit_mib=None)
    outcome = play(Policy(forecast=None, max_age_s=DAY_S), endless)
    assert (len(outcome.restarts), outcome.kills, outcome.undecided) == (4, (), 4)
    assert play(THRESHOLD, endless).restarts == ()


def test_limit_of_the_configuration_kills_where_none_is_given() -> None:
    """A configured size stands in for a limit that nobody named."""
    endless = recording(leak(100, 20, 1000), hours=60, limit_mib=None)
    outcome = play(NOTHING, endless, limit=Amount(size_bytes=500 * MIB))
    assert [(kill.t - START_S) / 3600 for kill in outcome.kills] == pytest.approx(
        [20, 40 + 5 / 3600]
    )


def test_downtime_longer_than_the_deadline_fails() -> None:
    """A restart that takes longer than the policy waits for is a failed one."""
    outcome = play(THRESHOLD, terms=Terms(downtime_s=600.0), restart=RestartRules(driver="fake"))
    assert outcome.failed == len(outcome.restarts)


def test_health_gate_is_taken_as_passed() -> None:
    """A policy with a health gate plays like one without."""
    gated = RestartRules(driver="fake", health_within_s=60.0)
    assert len(play(THRESHOLD, restart=gated).restarts) == 22


def test_observe_is_played_as_act() -> None:
    """A policy that only observes is asked what it would do, with or without a driver."""
    short = recording(leak(100, 412 / LIFE_H, LIFE_H), hours=30)
    outcome = play(THRESHOLD, short, mode=Mode.OBSERVE, restart=RestartRules())
    assert len(outcome.restarts) == 1


def test_more_risk_is_nearer_the_end() -> None:
    """A policy that accepts more risk never restarts sooner."""
    bold = on_leak(Policy(forecast=ForecastRule(risk=0.5)))
    assert hours(bold)[0] >= hours(on_leak(FORECAST))[0]


def test_same_question_same_answer() -> None:
    """Two runs over the same recording are equal."""
    assert play(THRESHOLD) == on_leak(THRESHOLD)
