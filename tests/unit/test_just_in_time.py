"""What a leak waits for: schedule, window, quiet time, the moment before a blackout, the edge."""

from dataclasses import replace

import pytest

from leakguard.core.activity import Activity
from leakguard.core.assessment import Assessment
from leakguard.core.calendar import Calendar, Span
from leakguard.core.forecast import Forecast
from leakguard.core.just_in_time import in_words, propose_now, wait_for
from leakguard.core.policy import (
    ForecastRule,
    GuardRules,
    Policy,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
    Trigger,
)
from leakguard.core.state import ServiceState
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB, Amount
from leakguard.core.waiting import PlanKind, Waiting
from leakguard.testing.bench import Bench, guarded, room_of, sample_of, service_of, trend_of
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
HOUR_S = 3600.0


def spans(*hours: tuple[float, float]) -> tuple[Span, ...]:
    """Make spans by their hours from now."""
    return tuple(
        Span(
            begin_wall_s=NOW.wall_s + begin * HOUR_S,
            end_wall_s=NOW.wall_s + end * HOUR_S,
            words=f"{begin:g} to {end:g}",
        )
        for begin, end in hours
    )


def rules_of(**guards: object) -> ServiceRules:
    """Make rules that act at a risk of 5 %, a minute ahead."""
    return guarded(
        policy=Policy(forecast=ForecastRule(risk=0.05, lead_s=60.0)),
        guards=replace(GuardRules(), **guards),  # type: ignore[arg-type]  # their own fields
    )


RULES = rules_of()


def leaking(
    median_h: float | None,
    calendar: Calendar | None = None,
    *,
    sigma: float = 0.1,
    verdict: Verdict = Verdict.LEAKING,
) -> ServiceState:
    """Make a service whose memory is gone in `median_h` hours, give or take."""
    foreseen = Forecast(
        room=room_of(100),
        slope_bytes_per_s=1.0,
        median_s=None if median_h is None else median_h * HOUR_S,
        early_sigma=sigma,
        late_sigma=sigma,
    )
    facts = Assessment(
        at=NOW, trend=trend_of(verdict, 0.01), forecasts=(foreseen,), nearest=foreseen
    )
    return service_of(sample_of(NOW, 400.0), assessment=facts, calendar=calendar or Calendar())


def planned(service: ServiceState, rules: ServiceRules = RULES) -> tuple[str, str]:
    """Give what is waited for: its kind, and the words of its span."""
    found = wait_for(service, rules, NOW)
    return ("", "") if found is None else (found.what.value, found.span.words)


def test_the_last_window_that_ends_in_time_is_waited_for() -> None:
    """Ten hours, give or take a tenth: the window at 8 to 9 ends too late for 5 %."""
    calendar = Calendar(windows=spans((1, 2), (4, 5), (8, 9), (12, 13)))
    assert planned(leaking(10, calendar)) == ("window", "4 to 5")
    assert planned(leaking(14, calendar)) == ("window", "8 to 9")
    assert planned(leaking(400, calendar)) == ("window", "12 to 13")


def test_an_open_window_without_a_successor_in_time_is_used() -> None:
    """Waiting for the next one would be too late."""
    calendar = Calendar(windows=spans((-1, 1), (23, 25)))
    service = leaking(20, calendar)
    waiting = wait_for(service, RULES, NOW)
    assert waiting is not None
    assert waiting.is_due(NOW.wall_s)
    proposal = propose_now(replace(service, waiting=waiting), NOW)
    assert proposal is not None
    assert proposal.trigger is Trigger.FORECAST
    assert proposal.reason.endswith("this window (-1 to 1) is the last that comes early enough")


def test_an_open_window_with_a_successor_in_time_is_left_alone() -> None:
    """One restart fewer."""
    service = leaking(40, Calendar(windows=spans((-1, 1), (23, 25))))
    waiting = wait_for(service, RULES, NOW)
    assert waiting is not None
    assert (waiting.span.words, waiting.is_due(NOW.wall_s)) == ("23 to 25", False)
    assert propose_now(replace(service, waiting=waiting), NOW) is None


def test_a_window_that_only_begins_in_time_is_better_than_none() -> None:
    """It is used when it begins."""
    assert planned(leaking(10, Calendar(windows=spans((8, 12))))) == ("window", "8 to 12")


def test_a_schedule_in_time_is_waited_for() -> None:
    """It restarts in any case, so a window before it would be one restart too many."""
    calendar = Calendar(windows=spans((1, 2)), schedules=spans((3, 3), (27, 27)))
    assert planned(leaking(10, calendar)) == ("schedule", "3 to 3")
    assert planned(leaking(2.9, calendar)) == ("window", "1 to 2")


def test_without_anything_cheap_the_edge_is_the_moment() -> None:
    """As without windows: when the risk is reached, which the forecast's own trigger finds."""
    waiting = wait_for(leaking(10), RULES, NOW)
    assert waiting is not None
    assert (waiting.what, waiting.is_due(NOW.wall_s)) == (PlanKind.EDGE, False)
    assert waiting.sure == pytest.approx(0.95, abs=0.001)
    assert 8.4 < (waiting.span.begin_wall_s - NOW.wall_s) / HOUR_S < 8.5


def test_a_wide_forecast_comes_earlier() -> None:
    """The early edge at the risk is what decides, not the median."""
    calendar = Calendar(windows=spans((1, 2), (5, 6)))
    assert planned(leaking(10, calendar, sigma=0.1))[1] == "5 to 6"
    assert planned(leaking(10, calendar, sigma=0.6))[1] == "1 to 2"


@pytest.mark.parametrize("verdict", [Verdict.STABLE, Verdict.UNKNOWN, Verdict.WARMING_UP])
def test_without_a_verdict_nothing_is_planned(verdict: Verdict) -> None:
    """No window is used for growth that may be a start."""
    calendar = Calendar(windows=spans((-1, 1)))
    assert planned(leaking(2, calendar, verdict=verdict)) == ("", "")


def test_an_end_that_is_not_foreseen_needs_no_plan() -> None:
    """Beyond the horizon, or no growth at all."""
    calendar = Calendar(windows=spans((-1, 1)))
    assert planned(leaking(None, calendar)) == planned(leaking(5000, calendar)) == ("", "")


def test_blackouts_are_cut_out_of_windows() -> None:
    """A window inside a blackout is none."""
    calendar = Calendar(windows=spans((1, 2), (4, 6)), blackouts=spans((3, 5.5)))
    waiting = wait_for(leaking(10, calendar), RULES, NOW)
    assert waiting is not None
    assert waiting.span.begin_wall_s == NOW.wall_s + 5.5 * HOUR_S


def test_what_does_not_outlast_a_blackout_goes_before_it() -> None:
    """The edge lies in a blackout, in which nobody may act."""
    dark = Calendar(blackouts=spans((5, 12)))
    waiting = wait_for(leaking(10, dark), RULES, NOW)
    assert waiting is not None
    assert waiting.what is PlanKind.BLACKOUT
    assert waiting.span.begin_wall_s == NOW.wall_s + 5 * HOUR_S - 120
    just_before = replace(NOW, wall_s=NOW.wall_s + 5 * HOUR_S - 60)
    proposal = propose_now(replace(leaking(5), waiting=waiting), just_before)
    assert proposal is not None
    assert "would not outlast the blackout that begins at 5 to 12" in proposal.reason
    assert planned(leaking(20, dark)) == ("edge", "")


def test_blackouts_that_touch_are_one() -> None:
    """Before the first of them, not between them."""
    waiting = wait_for(leaking(10, Calendar(blackouts=spans((7, 12), (4, 7)))), RULES, NOW)
    assert waiting is not None
    assert waiting.span.end_wall_s == NOW.wall_s + 4 * HOUR_S


def test_a_blackout_that_yields_moves_nothing() -> None:
    """The forecast may act in it."""
    assert planned(
        leaking(10, Calendar(blackouts=spans((5, 12)))), rules_of(blackouts_yield=True)
    ) == ("edge", "")


def test_a_threshold_is_foreseen_like_a_limit() -> None:
    """Crossed in an hour it would restart at once; the window before that is cheaper."""
    calendar = Calendar(windows=spans((0.2, 0.4), (4, 5)))
    service = leaking(10, calendar)
    above = Amount(size_bytes=int((400 + 0.01 * 3600) * MIB))
    rules = replace(RULES, policy=replace(RULES.policy, threshold=ThresholdRule(above=above)))
    assert planned(service)[1] == "4 to 5"
    assert planned(service, rules)[1] == "0.2 to 0.4"


def habit(*quiet_hours: int) -> Activity:
    """Make a day that is quiet in some hours (UTC)."""
    return Activity(churn="".join("!" if i // 2 in quiet_hours else "A" for i in range(48)))


def test_the_quietest_time_of_the_day_before_the_end() -> None:
    """Not the first quiet hour, but the last one that comes in time."""
    hour = int(NOW.wall_s % 86400 // HOUR_S)
    service = leaking(60, sigma=0.01)
    service = replace(service, record=replace(service.record, activity=habit((hour + 6) % 24)))
    waiting = wait_for(service, RULES, NOW)
    assert waiting is not None
    assert waiting.what is PlanKind.QUIET
    ahead_h = (waiting.span.begin_wall_s - NOW.wall_s) / HOUR_S
    assert 53 < ahead_h < 55
    unhurried = replace(RULES, policy=Policy(forecast=ForecastRule(lead_s=60.0, quiet=False)))
    assert planned(service, unhurried) == ("edge", "")


def test_a_day_without_a_quiet_time_has_none() -> None:
    """Half as busy as the mean is what is asked."""
    service = leaking(60)
    flat = replace(service, record=replace(service.record, activity=habit()))
    assert planned(flat) == ("edge", "")


def test_what_is_waited_for_in_words() -> None:
    """For `why`, `status` and alerts."""
    (soon,) = spans((3, 4))
    said = [
        in_words(Waiting(what=kind, span=soon, sure=sure), NOW)
        for kind, sure in (
            (PlanKind.WINDOW, 0.97),
            (PlanKind.SCHEDULE, 0.9999),
            (PlanKind.BLACKOUT, 0.5),
            (PlanKind.EDGE, 0.95),
        )
    ]
    assert said == [
        "waits for the window 3 to 4, 97% sure to last",
        "waits for its schedule (3 to 4), 99.9% sure to last",
        "waits until just before the blackout at 3 to 4, 50% sure to last",
        "waits for nothing cheaper: the accepted risk is reached in 3h",
    ]
    (now,) = spans((0, 1))
    due = in_words(Waiting(what=PlanKind.WINDOW, span=now, sure=0.9), NOW)
    assert due == "is due now: this window (0 to 1) is the last that comes early enough"


def test_the_engine_waits_for_the_window_and_restarts_in_it() -> None:
    """A calendar comes in with the inputs; the alert of the end says what is waited for."""
    bench = Bench(rules=replace(RULES, limit=Amount(size_bytes=512 * MIB)))
    bench.own.trend = trend_of(mib_per_s=0.005)
    begin = bench.clock.now().wall_s
    window = Span(begin_wall_s=begin + 60, end_wall_s=begin + 120, words="soon")
    later = Span(begin_wall_s=begin + 90_000, end_wall_s=begin + 90_060, words="late")
    bench.step(calendar=Calendar(windows=(window, later)))
    made = [bench.see(400 + i * 0.05) for i in range(4)]
    assert [step.actions for step in made] == [()] * 4
    told = [e.message for e in bench.events if e.kind.value == "ExhaustionPredicted"]
    assert "waits for the window soon" in told[0]
    bench.clock.advance(60)
    (action,) = bench.see(401).actions
    assert "this window (soon) is the last that comes early enough" in getattr(action, "reason", "")


def test_a_calendar_that_is_gone_is_forgotten() -> None:
    """After a reload without windows."""
    bench = Bench(rules=RULES)
    bench.see(100)
    bench.step(calendar=Calendar(windows=spans((0, 1))))
    assert bench.service.calendar.windows == spans((0, 1))
    bench.step(calendar=Calendar())
    assert bench.service.calendar == Calendar()


def test_a_schedule_is_part_of_the_policy() -> None:
    """What the calendar has of schedules comes from the same rules."""
    rules = guarded(policy=Policy(schedules=(ScheduleRule(cron="0 3 * * *"),)))
    assert rules.policy.windows == ()


def test_a_window_that_comes_in_time_more_likely_than_not_is_better_than_a_guess() -> None:
    """The quiet time of a day is what its habits say; the window is what a person said."""
    hour = int(NOW.wall_s % 86400 // HOUR_S)
    service = leaking(10, Calendar(windows=spans((8.8, 9.5))), sigma=0.1)
    service = replace(service, record=replace(service.record, activity=habit((hour + 3) % 24)))
    assert planned(service) == ("edge", "")
    wide = replace(service, calendar=Calendar(windows=spans((11, 12))))
    assert planned(wide)[0] == "quiet"
