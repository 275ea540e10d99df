"""The scorer's arithmetic, on canned words, and the two rules that it compares with."""

import math

import pytest

from leakguard.testing.shapes import BENIGN, FAMILIES, LEAKS, Shape, make
from tests.bench.rules import SlidingLine, line, threshold
from tests.bench.scores import BEGIN, END, between, report
from tests.bench.scoring import Guess, Outcome, Said, episodes, forecasts, judge, score

HOUR_S = 3600.0


def shape(
    onset_s: float | None = 0.0, end_s: float | None = 100 * HOUR_S, hours: int = 100
) -> Shape:
    """Give a series whose values do not matter."""
    times = [i * HOUR_S for i in range(hours + 1)]
    return Shape(
        family="canned", name="canned 0", limit_bytes=1000.0, times=times,
        values=[1.0] * len(times), onset_s=onset_s, end_s=end_s,
    )  # fmt: skip


def ramp(step_s: float, count: int, per_step: float) -> Shape:
    """Give a straight climb from 0."""
    return Shape(
        family="canned", name="canned 0", limit_bytes=1000.0,
        times=[i * step_s for i in range(count)], values=[i * per_step for i in range(count)],
    )  # fmt: skip


def alarm(hour: float, p50_h: float | None = None, band_h: tuple[float, float] = (0, 0)) -> Said:
    """Give an alarm with a forecast."""
    if p50_h is None:
        return Said(t_s=hour * HOUR_S, alarm=True)
    low, high = band_h
    band = (low * HOUR_S, high * HOUR_S)
    return Said(t_s=hour * HOUR_S, alarm=True, p50_s=p50_h * HOUR_S, band=band)


def outcome(*, leak: bool, found: bool = False, alarms: int = 0, early: bool = False) -> Outcome:
    """Give an outcome of one week."""
    return Outcome(
        family="canned", rule="canned", leak=leak, weeks=1.0, alarms=alarms, found=found,
        early=early,
    )  # fmt: skip


def test_a_leak_is_found_by_its_first_alarm_after_the_onset() -> None:
    """Lead is what was left of the leak's own life."""
    made = judge(shape(onset_s=20 * HOUR_S), "canned", [alarm(60), alarm(61)])
    assert (made.found, made.early, made.lead) == (True, False, 0.5)


def test_an_alarm_before_the_onset_is_early() -> None:
    """It does not find the leak that comes later."""
    made = judge(shape(onset_s=20 * HOUR_S), "canned", [alarm(19)])
    assert (made.found, made.early) == (False, True)


@pytest.mark.parametrize(
    ("end_s", "at_s", "found"),
    [
        (100_000.0, 99_700.0, True),
        (100_000.0, 99_701.0, False),
        (200.0, 140.0, True),
        (200.0, 141.0, False),
    ],
)
def test_an_alarm_must_leave_time(end_s: float, at_s: float, found: bool) -> None:
    """Five minutes, or 30 % of a life that is too short for that."""
    made = judge(shape(end_s=end_s), "canned", [Said(t_s=at_s, alarm=True)])
    assert made.found is found


def test_a_leak_without_an_end_is_found_at_any_time() -> None:
    """Restarts cut it short: there is no lead and no time to foresee."""
    made = judge(shape(end_s=None), "canned", [alarm(99)])
    assert (made.found, made.lead, made.guesses) == (True, None, ())


def test_times_are_those_of_the_last_word_on_the_way() -> None:
    """At 50 % and 80 %; what is said later does not count."""
    words = [alarm(40, 66, (50, 70)), alarm(50.5, 1, (1, 1)), alarm(79, 20, (22, 30))]
    made = judge(shape(), "canned", words)
    half, late = made.guesses
    assert (half.true_s, half.error, half.band) == (60 * HOUR_S, 0.1, (50 * HOUR_S, 70 * HOUR_S))
    assert (late.true_s, late.band) == (21 * HOUR_S, (22 * HOUR_S, 30 * HOUR_S))


def test_before_the_first_word_nothing_is_foreseen() -> None:
    """A rule that is silent has no forecast at that point."""
    made = judge(shape(), "canned", [alarm(60, 40, (30, 50))])
    assert [guess.p50_s for guess in made.guesses] == [None, 40 * HOUR_S]


def test_alarms_within_six_hours_count_once() -> None:
    """Each alarm is compared with the one before, so a standing alarm is one."""
    assert episodes(hour * HOUR_S for hour in (1, 2, 8, 14.5, 30)) == 3


def test_forecasts_are_summed_up_over_those_that_were_made() -> None:
    """Errors need a p50, shares need a band, and a band may have no end."""
    made = forecasts(
        [
            Guess(true_s=100.0, p50_s=110.0, band=(90.0, 130.0)),
            Guess(true_s=100.0, p50_s=80.0, band=(70.0, 90.0)),
            Guess(true_s=100.0, p50_s=130.0, band=(120.0, math.inf)),
            Guess(true_s=100.0, p50_s=None, band=None),
        ]
    )
    assert (made.foreseen, made.leaks) == (3, 4)
    assert (made.error, made.covered, made.safe) == (0.2, 1 / 3, 2 / 3)
    assert made.width == 0.4


def test_scores_are_shares_of_series() -> None:
    """An alarm before the onset of a leak is a wrong one, too."""
    made = score(
        [
            *[outcome(leak=True, found=True)] * 3,
            outcome(leak=True, early=True),
            outcome(leak=False, alarms=4),
            *[outcome(leak=False)] * 3,
        ]
    )
    assert (made.recall, made.precision, made.f1) == (0.75, 0.6, 2 * 0.75 * 0.6 / 1.35)
    assert (made.alarmed, made.per_week) == (1, 1.0)


def test_nothing_to_score_is_no_score() -> None:
    """A share of nothing is not zero."""
    made = score([])
    assert (made.recall, made.precision, made.f1, made.per_week) == (None, None, None, None)


def test_the_threshold_must_hold_for_five_minutes() -> None:
    """80 % is reached at step 80, five minutes later it is an alarm."""
    words = list(threshold(ramp(60.0, 100, 10.0)))
    assert next(word.t_s for word in words if word.alarm) == 85 * 60.0


def test_a_line_is_that_of_least_squares() -> None:
    """Level, slope and error are those of the textbook, over the window alone."""
    fit = SlidingLine(4.0)
    for t_s, value in ((0.0, 9.0), (1.0, 1.0), (2.0, 2.0), (3.0, 2.0), (4.0, 5.0), (5.0, 5.0)):
        fit.add(t_s, value)
    level, slope, error = fit.now(5.0)
    assert (round(level, 6), round(slope, 6), round(error, 6)) == (5.2, 1.1, 0.251661)


def test_a_line_looks_ahead_and_holds() -> None:
    """10 a minute: the limit is 4 h away from the start on, and 15 minutes later it is an alarm."""
    words = list(line(4 * HOUR_S)(ramp(60.0, 30, 5.0)))
    assert next(word.t_s for word in words if word.alarm) == 17 * 60.0
    assert [round(word.p50_s or 0.0) for word in words[-1:]] == [(200 - 29) * 60]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_what_it_says(family: str) -> None:
    """A leak has an onset and ends below its limit, the rest have neither; a seed is a series."""
    made = make(family, 3, 2)
    assert (made.onset_s is not None) == (family in LEAKS)
    assert (made.end_s is not None) == (family in LEAKS and family != "leak, restarted")
    assert max(made.values) < made.limit_bytes
    assert made == make(family, 3, 2)
    assert made.values != make(family, 3, 1).values


def test_the_report_has_every_family() -> None:
    """The tables name each, whatever was run."""
    text = report([outcome(leak=True, found=True)])
    assert [name for name in (*LEAKS, *BENIGN) if f"| {name} |" not in text] == []


def test_tables_are_put_between_the_marks() -> None:
    """What was there goes, what is around stays."""
    page = f"before {BEGIN} old {END} after"
    assert between(page, "new") == f"before {BEGIN}\n\nnew\n\n{END} after"


def test_a_page_without_marks_is_refused() -> None:
    """Nothing is written over by mistake."""
    with pytest.raises(SystemExit):
        between(f"before {BEGIN} old", "new")
