"""Cron expressions fire when a person expects it, also in the nights in which the clock changes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from leakguard import cron
from leakguard.core.errors import UnitError

# zone, day before the clock goes on, what 02:30 and the hours around it become; and back again
SPRING = [
    ("Europe/Berlin", "2026-03-28", "2026-03-29T03:00:00+02:00"),
    ("Europe/London", "2026-03-28", "2026-03-29T02:30:00+01:00"),
    ("America/New_York", "2026-03-07", "2026-03-08T03:00:00-04:00"),
    ("America/Los_Angeles", "2026-03-07", "2026-03-08T03:00:00-07:00"),
    ("America/Santiago", "2026-09-05", "2026-09-06T02:30:00-03:00"),
    ("Australia/Sydney", "2026-10-03", "2026-10-04T03:00:00+11:00"),
    ("Australia/Lord_Howe", "2026-10-03", "2026-10-04T02:30:00+11:00"),
    ("Asia/Tokyo", "2026-03-28", "2026-03-29T02:30:00+09:00"),
]
AUTUMN = [
    ("Europe/Berlin", "2026-10-24", "2026-10-25T02:30:00+02:00"),
    ("Europe/London", "2026-10-24", "2026-10-25T02:30:00+00:00"),
    ("America/New_York", "2026-10-31", "2026-11-01T02:30:00-05:00"),
    ("America/Los_Angeles", "2026-10-31", "2026-11-01T02:30:00-08:00"),
    ("America/Santiago", "2026-04-04", "2026-04-05T02:30:00-04:00"),
    ("Australia/Sydney", "2026-04-04", "2026-04-05T02:30:00+11:00"),
    ("Australia/Lord_Howe", "2026-04-04", "2026-04-05T02:30:00+10:30"),
    ("Asia/Tokyo", "2026-10-24", "2026-10-25T02:30:00+09:00"),
]


@pytest.mark.parametrize(("zone", "eve", "expected"), [*SPRING, *AUTUMN])
def test_a_clock_change_neither_skips_nor_doubles(zone: str, eve: str, expected: str) -> None:
    """02:30 comes once in every night: at the end of a skipped hour, first of two equal ones."""
    noon = datetime.fromisoformat(f"{eve}T12:00:00").replace(tzinfo=ZoneInfo(zone))
    first, second = cron.upcoming("30 2 * * *", zone, noon, 2)
    assert first.isoformat() == expected
    assert second.date() == first.date() + timedelta(days=1)


@pytest.mark.parametrize(("zone", "eve", "_expected"), [*SPRING, *AUTUMN])
@pytest.mark.parametrize("expr", ["0 * * * *", "*/15 * * * *", "0,30 0-4 * * *", "@daily"])
def test_moments_always_go_on(zone: str, eve: str, _expected: str, expr: str) -> None:
    """Whatever the clock does, each moment is later than the one before."""
    noon = datetime.fromisoformat(f"{eve}T12:00:00").replace(tzinfo=ZoneInfo(zone))
    instants = [moment.astimezone(UTC) for moment in cron.upcoming(expr, zone, noon, 120)]
    assert instants == sorted(set(instants))
    assert len(instants) == 120


def test_a_moment_in_the_second_of_two_equal_hours_is_not_given_again() -> None:
    """Asked after it in real time, although the wall clock shows less."""
    after = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 in Berlin for the second time
    (moment,) = cron.upcoming("30 2 * * *", "Europe/Berlin", after, 1)
    assert moment.isoformat() == "2026-10-26T02:30:00+01:00"


def test_hourly_follows_the_clock_as_it_runs() -> None:
    """An hour that is skipped is not made up for, one that is repeated counts twice."""
    start = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    spring = cron.upcoming("@hourly", "Europe/Berlin", start, 2)
    start = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    autumn = cron.upcoming("@hourly", "Europe/Berlin", start, 3)
    assert [f"{moment:%H:%M %Z}" for moment in spring] == ["03:00 CEST", "04:00 CEST"]
    assert [f"{moment:%H:%M %Z}" for moment in autumn] == ["02:00 CEST", "02:00 CET", "03:00 CET"]


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("  0   3 *  * mon-fri ", "0 3 * * mon-fri"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@Daily", "0 0 * * *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 L * *", "0 0 L * *"),
    ],
)
def test_parse_gives_five_fields(written: str, normal: str) -> None:
    """Aliases are expanded, blanks do not count."""
    assert cron.parse(written) == normal


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("0 0 30 2 *", "'0 0 30 2 *' never fires: no month has such a day"),
        ("0 0 31 4,6,9 *", "'0 0 31 4,6,9 *' never fires: no month has such a day"),
        ("0 24 * * *", "'0 24 * * *' is not a cron expression: its hour cannot be read"),
        ("0 0 0 * *", "'0 0 0 * *' is not a cron expression: its day of month cannot be read"),
        ("@often", "'@often' is not known: use one of @hourly, @daily, @midnight, "),
        ("0 3 * *", "'0 3 * *' is not a cron expression: write five fields (minute, hour, "),
        ("0 0 3 * * *", "'0 0 3 * * *' is not a cron expression: write five fields "),
        ("", "'' is not a cron expression: write five fields "),
        ("9" * 5000 + " * * * *", "'9999"),
    ],
)
def test_what_is_no_expression_is_refused(written: str, message: str) -> None:
    """The message says which field, or that it never fires."""
    with pytest.raises(UnitError) as caught:
        cron.parse(written)
    assert str(caught.value)[: len(message)] == message


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("0 3 * * *", "At 03:00 every day"),
        ("0 3 * * mon-fri", "At 03:00 on Monday through Friday"),
        ("@monthly", "At 00:00 on the first day of every month"),
    ],
)
def test_explain_says_it_in_words(written: str, words: str) -> None:
    """People read words, not fields."""
    assert cron.explain(written) == words


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_delay_moves_every_moment(zone: str) -> None:
    """Also the one that is due just now, and across the end of the day."""
    night = datetime(2026, 11, 23, 23, 59, tzinfo=ZoneInfo(zone))
    found = cron.upcoming("59 23 * * *", zone, night + timedelta(seconds=100), 2, delay_s=150.0)
    assert found == [night + timedelta(seconds=150), night + timedelta(days=1, seconds=150)]
    assert found[0].utcoffset() == night.utcoffset()
