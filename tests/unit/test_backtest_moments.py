"""Cheap moments: windows and schedules in their time zones, and what is no window."""

import pytest

from leakguard.core.errors import UsageError
from leakguard.core.policy import ScheduleRule, WindowRule
from leakguard.runtime.backtest.moments import Due, Moments, parse_window

MIDNIGHT_S = 1_700_006_400.0
"""2023-11-15T00:00:00Z."""
HOUR_S = 3600.0
NIGHT = WindowRule(cron="0 2 * * *", length_s=2 * HOUR_S)


def test_window_is_read() -> None:
    """Five fields and a length."""
    assert parse_window("0 2 * * mon-fri 1h30m", "Europe/Berlin") == WindowRule(
        cron="0 2 * * mon-fri", length_s=5400.0, timezone="Europe/Berlin"
    )


@pytest.mark.parametrize("text", ["", "2h", "0 2 * * *", "0 2 * * * 2", "0 99 * * * 2h"])
def test_what_is_no_window_is_refused(text: str) -> None:
    """The message shows how one is written."""
    with pytest.raises(UsageError, match=r"such as '0 2 \* \* \* 2h'"):
        parse_window(text, "UTC")


@pytest.mark.parametrize(
    ("hour", "inside"), [(1.99, False), (2, True), (3.99, True), (4, False), (26.5, True)]
)
def test_window_is_open_for_its_length(hour: float, inside: bool) -> None:
    """From its beginning on, and at its end it is closed."""
    assert Moments(windows=(NIGHT,)).in_window(MIDNIGHT_S + hour * HOUR_S) is inside


def test_window_keeps_to_its_time_zone() -> None:
    """Two o'clock in Berlin is one o'clock UTC in winter."""
    moments = Moments(
        windows=(WindowRule(cron="0 2 * * *", length_s=HOUR_S, timezone="Europe/Berlin"),)
    )
    assert moments.in_window(MIDNIGHT_S + 1.5 * HOUR_S)
    assert not moments.in_window(MIDNIGHT_S + 2.5 * HOUR_S)


def test_next_cheap_moment_is_the_soonest_of_all() -> None:
    """Schedules and beginnings of windows count alike; without any there is none."""
    moments = Moments(schedules=(ScheduleRule(cron="0 12 * * *"),), windows=(NIGHT,))
    assert moments.next_after(MIDNIGHT_S) == MIDNIGHT_S + 2 * HOUR_S
    assert moments.next_after(MIDNIGHT_S + 2 * HOUR_S) == MIDNIGHT_S + 12 * HOUR_S
    assert Moments().next_after(MIDNIGHT_S) is None
    assert (moments.any, Moments().any) == (True, False)


def test_scheduled_moments_come_in_order() -> None:
    """Two schedules are gone through as one."""
    due = Due.after((ScheduleRule(cron="0 3 * * *"), ScheduleRule(cron="0 2 * * *")), MIDNIGHT_S)
    taken = [due.take() for _ in range(3)]
    assert taken == [
        ("0 2 * * *", MIDNIGHT_S + 2 * HOUR_S),
        ("0 3 * * *", MIDNIGHT_S + 3 * HOUR_S),
        ("0 2 * * *", MIDNIGHT_S + 26 * HOUR_S),
    ]


def test_no_schedule_is_never_due() -> None:
    """Without a schedule nothing comes."""
    assert Due.after((), MIDNIGHT_S).soonest() == float("inf")


def test_a_splay_moves_the_moments() -> None:
    """The back-test restarts when the daemon would."""
    rule = ScheduleRule(cron="0 3 * * *", delay_s=90.0)
    due = Due.after((rule,), 0.0)
    assert [due.take()[1], due.take()[1]] == [3 * 3600 + 90.0, 27 * 3600 + 90.0]
    assert Moments(schedules=(rule,), windows=()).next_after(3 * 3600.0) == 3 * 3600 + 90.0
