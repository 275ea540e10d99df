"""Windows, blackouts and schedules worked out ahead, in the zone of the service."""

from datetime import UTC, datetime

from leakguard.core.calendar import Calendar
from leakguard.core.instant import Instant
from leakguard.core.policy import GuardRules, Policy, ScheduleRule, ServiceRules, WindowRule
from leakguard.runtime.calendars import AGAIN_S, FEW, Calendars, calendar_of, windows_in_words

HOUR_S = 3600.0


def at(text: str) -> Instant:
    """Give a moment by its time in UTC."""
    wall_s = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return Instant(wall_s=wall_s, boot_s=wall_s, boot_id="b")


def rules(name: str, *windows: WindowRule, blackouts: tuple[WindowRule, ...] = ()) -> ServiceRules:
    """Make the rules of an entry."""
    return ServiceRules(
        name=name, policy=Policy(windows=windows), guards=GuardRules(blackouts=blackouts)
    )


NIGHT = WindowRule(cron="0 2 * * *", length_s=2 * HOUR_S, timezone="Europe/Berlin")
TUESDAY = at("2026-11-24T12:00:00")


def words(calendar: Calendar) -> list[str]:
    """Give the words of the windows."""
    return [span.words for span in calendar.windows]


def test_windows_are_told_in_the_zone_of_the_service() -> None:
    """Two o'clock in Berlin is one o'clock in UTC in winter."""
    calendar = calendar_of(rules("a", NIGHT), TUESDAY)
    first = calendar.windows[0]
    assert first.words == "Wed 25 Nov 02:00 to 04:00"
    assert first.begin_wall_s == at("2026-11-25T01:00:00").wall_s
    assert first.end_wall_s - first.begin_wall_s == 2 * HOUR_S
    assert len(calendar.windows) == FEW


def test_a_window_that_is_open_is_told() -> None:
    """The daemon may start in the middle of one; one that has just ended is over."""
    open_now = calendar_of(rules("a", NIGHT), at("2026-11-25T02:59:00"))
    over = calendar_of(rules("a", NIGHT), at("2026-11-25T03:00:00"))
    assert words(open_now)[0] == "Wed 25 Nov 02:00 to 04:00"
    assert words(over)[0] == "Thu 26 Nov 02:00 to 04:00"


def test_a_window_over_midnight_says_both_days() -> None:
    """Its end is not before its beginning."""
    late = WindowRule(cron="0 23 * * *", length_s=2 * HOUR_S)
    assert (
        words(calendar_of(rules("a", late), TUESDAY))[0] == "Tue 24 Nov 23:00 to Wed 25 Nov 01:00"
    )


def test_rare_windows_are_told_as_far_as_forecasts_reach() -> None:
    """A monthly window must be known weeks ahead, an hourly one only for days."""
    monthly = WindowRule(cron="0 3 1 * *", length_s=HOUR_S)
    hourly = WindowRule(cron="0 * * * *", length_s=600.0)
    assert words(calendar_of(rules("a", monthly), TUESDAY)) == ["Tue 01 Dec 03:00 to 04:00"]
    assert len(calendar_of(rules("a", hourly), TUESDAY).windows) == 64


def test_several_windows_are_in_order() -> None:
    """Also when the file names them in another one."""
    noon = WindowRule(cron="30 12 * * *", length_s=HOUR_S)
    calendar = calendar_of(rules("a", NIGHT, noon), TUESDAY)
    begins = [span.begin_wall_s for span in calendar.windows]
    assert begins == sorted(begins)
    assert words(calendar)[:2] == ["Tue 24 Nov 12:30 to 13:30", "Wed 25 Nov 02:00 to 04:00"]


def test_schedules_are_moments() -> None:
    """A leak waits for them too."""
    policy = Policy(schedules=(ScheduleRule(cron="0 3 * * *", timezone="Europe/Berlin"),))
    (first, *_) = calendar_of(ServiceRules(name="a", policy=policy), TUESDAY).schedules
    assert (first.words, first.begin_wall_s) == ("Wed 25 Nov 03:00", first.end_wall_s)


def test_a_clock_change_within_a_window_keeps_its_length() -> None:
    """The length is real time."""
    night = at("2026-03-28T23:30:00")
    (first, *_) = calendar_of(rules("a", WindowRule(
        cron="0 1 * * *", length_s=3 * HOUR_S, timezone="Europe/Berlin"
    )), night).windows  # fmt: skip
    assert first.words == "Sun 29 Mar 01:00 to 05:00"
    assert first.end_wall_s - first.begin_wall_s == 3 * HOUR_S


def test_news_are_told_once() -> None:
    """What did not change is not recorded in every tick."""
    calendars, both = Calendars(), (rules("a", NIGHT), rules("b"))
    first = calendars.news(both, TUESDAY)
    assert list(first) == ["a"]
    assert calendars.news(both, TUESDAY.plus(60)) == {}
    assert list(calendars.news(both, TUESDAY.plus(16 * HOUR_S))) == ["a"]


def test_entries_with_equal_rules_share_a_calendar() -> None:
    """A hundred services with the same windows cost one."""
    news = Calendars().news((rules("a", NIGHT), rules("b", NIGHT)), TUESDAY)
    assert news["a"] is news["b"]


def test_a_reload_and_a_clock_that_is_set_back_are_news() -> None:
    """Windows that are gone are taken back; a calendar of the future is worked out anew."""
    calendars = Calendars()
    calendars.news((rules("a", NIGHT),), TUESDAY)
    assert calendars.news((rules("a"),), TUESDAY.plus(1)) == {"a": Calendar()}
    calendars.news((rules("a", NIGHT),), TUESDAY.plus(2))
    earlier = calendars.news((rules("a", NIGHT),), TUESDAY.plus(-48 * HOUR_S))
    assert words(earlier["a"])[0] == "Mon 23 Nov 02:00 to 04:00"


def test_a_calendar_never_runs_out_between_two_looks() -> None:
    """What is told reaches much further than the time to the next working out."""
    hourly = WindowRule(cron="0 * * * *", length_s=600.0)
    last = calendar_of(rules("a", hourly), TUESDAY).windows[-1]
    assert last.begin_wall_s - TUESDAY.wall_s > 8 * AGAIN_S


def test_windows_in_words() -> None:
    """For `check`."""
    assert list(windows_in_words((NIGHT,), TUESDAY)) == [
        "0 2 * * * for 2h in Europe/Berlin, next Wed 25 Nov 02:00 to 04:00"
    ]
