"""Restart schedules: what is posted, what was missed, both nights of the clock in eight zones."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from leakguard import cron
from leakguard.core.inbox import ScheduleDue
from leakguard.runtime.inbox import Inbox
from leakguard.runtime.scheduler import AGAIN, Chores, CronMoments, Every, Schedule, Scheduler
from leakguard.testing.clock import FakeClock

DAY = 86400.0
NIGHTLY = Schedule(service="worker", cron="0 3 * * *", timezone="UTC")
CHORES = Chores(
    dispatch=lambda: None, roll_up=lambda: None, prune=lambda: None, heartbeat=lambda: None
)


def at(text: str) -> float:
    """Give a moment in UTC as seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class Desk:
    """A scheduler whose posts are collected; it is not started, so nothing fires by itself."""

    def __init__(self, now: str = "2026-11-23T12:00") -> None:
        """Begin at a moment."""
        self.clock = FakeClock(wall_s=at(now))
        self.posts: list[ScheduleDue] = []
        self.scheduler = Scheduler(self.clock, self.posts.append, CHORES)

    def set(self, *schedules: Schedule, fired: dict[str, str] | None = None) -> list[str]:
        """Take schedules, and give the moments that are posted because of that."""
        self.posts.clear()
        known = {key: at(text) for key, text in (fired or {}).items()}
        self.scheduler.replace(schedules, known)
        return [
            datetime.fromtimestamp(post.due_wall_s, UTC).isoformat()[:16] for post in self.posts
        ]


@contextmanager
def started(desk: Desk, *schedules: Schedule) -> Iterator[Scheduler]:
    """Start a scheduler, and end it."""
    desk.scheduler.start(schedules, {})
    try:
        yield desk.scheduler
    finally:
        desk.scheduler.close()


# ---- missed moments


def test_a_new_schedule_posts_nothing_at_once() -> None:
    """What came due before it was known is nobody's."""
    assert Desk().set(NIGHTLY) == []


def test_what_was_missed_is_posted_once_and_only_the_latest() -> None:
    """After three nights off, one restart is enough."""
    found = Desk().set(NIGHTLY, fired={NIGHTLY.key: "2026-11-20T03:00"})
    assert found == ["2026-11-23T03:00"]


def test_what_was_dealt_with_is_not_posted_again() -> None:
    """A restart of the daemon is no moment."""
    assert Desk().set(NIGHTLY, fired={NIGHTLY.key: "2026-11-23T03:00"}) == []


def test_a_reload_posts_nothing_twice() -> None:
    """What was posted is remembered by the state, which gives it back."""
    desk = Desk()
    fired = {NIGHTLY.key: "2026-11-22T03:00"}
    assert desk.set(NIGHTLY, fired=fired) == ["2026-11-23T03:00"]
    assert desk.set(NIGHTLY, fired={NIGHTLY.key: "2026-11-23T03:00"}) == []


@pytest.mark.parametrize(
    ("expr", "fired", "latest"),
    [
        ("*/5 * * * *", "2026-01-01T00:00", "2026-11-23T12:00"),
        ("0 0 1 * *", "2026-01-01T00:00", "2026-11-01T00:00"),
        ("0 0 29 2 *", "2023-01-01T00:00", "2024-02-29T00:00"),
        ("0 0 1 1 *", "2020-06-01T00:00", "2026-01-01T00:00"),
    ],
)
def test_the_latest_moment_is_found_over_any_gap(expr: str, fired: str, latest: str) -> None:
    """From minutes to leap years."""
    schedule = Schedule(service="worker", cron=expr, timezone="UTC")
    assert Desk().set(schedule, fired={schedule.key: fired}) == [latest]


def test_a_gap_without_a_moment_posts_nothing() -> None:
    """The last one was longer ago than every short look back."""
    schedule = Schedule(service="worker", cron="0 0 29 2 *", timezone="UTC")
    assert Desk().set(schedule, fired={schedule.key: "2024-03-01T00:00"}) == []


def test_a_moment_in_the_future_was_a_clock_that_is_set_back() -> None:
    """Nothing is posted now, and the next moment is not lost."""
    desk = Desk()
    assert desk.set(NIGHTLY, fired={NIGHTLY.key: "2026-12-24T03:00"}) == []


def test_a_schedule_that_is_removed_is_forgotten() -> None:
    """Its job goes with it."""
    desk = Desk()
    with started(desk, NIGHTLY) as scheduler:
        before = scheduler.next_due("worker")
        scheduler.replace([], {})
        assert (before is not None, scheduler.next_due("worker")) == (True, None)


def test_the_next_moment_of_an_entry_is_the_first_of_its_schedules() -> None:
    """Other entries have their own."""
    weekly = Schedule(service="worker", cron="0 0 * * 0", timezone="UTC")
    with started(Desk(), NIGHTLY, weekly) as scheduler:
        assert scheduler.next_due("worker") is not None
        assert scheduler.next_due("other") is None


def test_an_earlier_dispatch_stands() -> None:
    """A later one that is asked for does not push it back."""
    desk = Desk("2099-01-01T00:00")
    with started(desk) as scheduler:
        scheduler.dispatch_at(at("2099-01-02T00:00"))
        scheduler.dispatch_at(at("2099-01-03T00:00"))
        scheduler.wake()


def test_a_moment_that_could_not_be_posted_is_posted_later() -> None:
    """Only what was handed over counts as dealt with."""
    desk, refused = Desk(), [True]

    def post(due: ScheduleDue) -> None:
        if refused.pop():
            raise OSError("no")
        desk.posts.append(due)

    scheduler = Scheduler(desk.clock, post, CHORES)
    fired = {NIGHTLY.key: at("2026-11-22T03:00")}
    with pytest.raises(OSError, match="no"):
        scheduler.replace([NIGHTLY], fired)
    refused.append(False)
    scheduler.replace([NIGHTLY], fired)
    assert [post.due_wall_s for post in desk.posts] == [at("2026-11-23T03:00")]


def test_a_thousand_schedules_are_all_posted() -> None:
    """As many as are due at one moment; the inbox takes them all."""
    inbox, clock = Inbox(lambda: None), FakeClock(wall_s=at("2026-11-23T12:00"))
    scheduler = Scheduler(clock, inbox.post, CHORES)
    many = [Schedule(service=f"s{i}", cron="0 3 * * *", timezone="UTC") for i in range(1000)]
    scheduler.replace(many, {s.key: at("2026-11-22T03:00") for s in many})
    assert {r.service for r in inbox.take().requests} == {s.service for s in many}


def test_a_reload_before_the_tick_posts_nothing_twice() -> None:
    """What was posted counts, also while the state does not know of it yet."""
    desk = Desk()
    fired = {NIGHTLY.key: "2026-11-22T03:00"}
    assert desk.set(NIGHTLY, fired=fired) == ["2026-11-23T03:00"]
    assert desk.set(NIGHTLY, fired=fired) == []


def test_a_schedule_that_cannot_be_used_is_refused_before_anything_changes() -> None:
    """The check raises what the swap would stumble over."""
    with pytest.raises(Exception, match="Nowhere"):
        Desk().scheduler.check([Schedule(service="a", cron="0 3 * * *", timezone="Mars/Nowhere")])


@pytest.mark.parametrize(
    ("previous_s", "next_s"),
    [(None, 60), (-1, 59), (-60, 60), (-61, 60), (-1e9, 60), (1e9, 60)],
)
def test_chores_keep_their_pace_whatever_the_clock_does(
    previous_s: float | None, next_s: float
) -> None:
    """One run after a leap ahead, not one for each minute; after one back none is put off."""
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    previous = None if previous_s is None else now + timedelta(seconds=previous_s)
    assert Every(60).get_next_fire_time(previous, now) == now + timedelta(seconds=next_s)


def test_chores_go_on_when_the_clock_was_years_ahead_at_the_start() -> None:
    """What was planned by that clock is planned anew."""
    beat = threading.Event()
    chores = replace(CHORES, heartbeat=beat.set)
    scheduler = Scheduler(FakeClock(wall_s=0.0), lambda _: None, chores)
    scheduler.start([], {})
    try:
        scheduler.wake()
        assert beat.wait(20.0)
    finally:
        scheduler.close()


def test_the_end_may_come_while_a_job_begins() -> None:
    """No thread ends with an error; pytest would tell of one."""
    for _ in range(50):
        scheduler = Scheduler(FakeClock(), lambda _: None, CHORES)
        scheduler.start([], {})
        scheduler.dispatch_at(0.0)
        scheduler.close()


def test_a_scheduler_that_stumbles_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in its thread would end every schedule and chore, unseen."""
    called, stumbles = threading.Semaphore(0), [RuntimeError("oops")]
    process = BackgroundScheduler._process_jobs  # noqa: SLF001  the loop of APScheduler's thread

    def stumble(scheduler: BackgroundScheduler) -> object:
        if stumbles:
            raise stumbles.pop()
        return process(scheduler)

    def dispatch() -> None:
        called.release()

    monkeypatch.setattr(BackgroundScheduler, "_process_jobs", stumble)
    scheduler = Scheduler(FakeClock(), lambda _: None, replace(CHORES, dispatch=dispatch))
    scheduler.start([], {})
    try:
        scheduler.dispatch_at(0.0)
        assert called.acquire(timeout=20.0)
    finally:
        scheduler.close()
    assert "the scheduler stumbled and goes on" in caplog.text


def test_a_dispatch_that_takes_long_swallows_no_other() -> None:
    """What was committed after it had looked is sent by the next one, not a minute later."""
    called, release = threading.Semaphore(0), threading.Event()

    def dispatch() -> float | None:
        called.release()
        release.wait(20.0)
        return None

    scheduler = Scheduler(FakeClock(), lambda _: None, replace(CHORES, dispatch=dispatch))
    scheduler.start([], {})
    try:
        for _ in range(2):
            scheduler.dispatch_at(0.0)
            assert called.acquire(timeout=20.0)
    finally:
        release.set()
        scheduler.close()


# ---- the trigger


def test_a_trigger_that_fails_does_not_end_the_scheduler(caplog: pytest.LogCaptureFixture) -> None:
    """It asks to be looked at again later, and says so."""
    moments = CronMoments(Schedule(service="a", cron="0 3 * * *", timezone="Mars/Nowhere"))
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert moments.get_next_fire_time(None, now) == now + AGAIN
    assert "service=a its schedule cannot be computed" in caplog.text


def test_the_trigger_gives_the_first_moment_after_now() -> None:
    """Or after the one before, whichever is later."""
    moments = CronMoments(NIGHTLY)
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    tomorrow = datetime(2026, 11, 24, 3, tzinfo=UTC)
    found = [
        moments.get_next_fire_time(None, now),
        moments.get_next_fire_time(now - timedelta(days=9), now),
        moments.get_next_fire_time(tomorrow, now),
    ]
    assert found == [tomorrow, tomorrow, tomorrow + timedelta(days=1)]


# ---- both nights, eight zones

NIGHTS = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "Europe/London": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/Los_Angeles": ("2026-03-08", "2026-11-01"),
    "America/Santiago": ("2026-09-06", "2026-04-05"),
    "Australia/Sydney": ("2026-10-04", "2026-04-05"),
    "Australia/Lord_Howe": ("2026-10-04", "2026-04-05"),
    "Africa/Cairo": ("2026-04-24", "2026-10-30"),
}
"""The day on which the clock is set forward, and the one on which it is set back."""

TIMES = [(h, m) for h in (0, 1, 2, 3, 23) for m in (0, 15, 30, 45)]


def days_fired(zone: str, day: str, hour: int, minute: int) -> list[datetime]:
    """Give the moments of a daily schedule from two days before `day` to two days after."""
    tz = ZoneInfo(zone)
    begin = datetime.fromisoformat(day).replace(tzinfo=tz, hour=12) - timedelta(days=3)
    end = begin + timedelta(days=5)
    moments = cron.upcoming(f"{minute} {hour} * * *", zone, begin, 8)
    return [m for m in moments if m.astimezone(UTC) <= end.astimezone(UTC)]


@pytest.mark.parametrize("night", [0, 1], ids=["forward", "back"])
@pytest.mark.parametrize("zone", NIGHTS)
def test_a_daily_schedule_fires_once_on_every_day(zone: str, night: int) -> None:
    """Whatever the clock does in that night: five days, five moments, each later than the last."""
    wrong = []
    for hour, minute in TIMES:
        moments = days_fired(zone, NIGHTS[zone][night], hour, minute)
        days = [m.astimezone(ZoneInfo(zone)).date() for m in moments]
        instants = [m.timestamp() for m in moments]
        if len(days) != 5 or len(set(days)) != 5 or instants != sorted(set(instants)):
            wrong.append((hour, minute, [str(m) for m in moments]))
    assert wrong == []


def offset_changes(zone: str, day: str) -> timedelta:
    """Give by how much the clock is set in the night before the noon of `day`."""
    tz = ZoneInfo(zone)
    noon = datetime.fromisoformat(day).replace(hour=12, tzinfo=tz)
    before = (noon - timedelta(days=1)).utcoffset()
    after = noon.utcoffset()
    assert before is not None
    assert after is not None
    return after - before


@pytest.mark.parametrize("zone", NIGHTS)
def test_these_are_the_nights(zone: str) -> None:
    """A change of the zone's law would make the test above say nothing."""
    forward, back = NIGHTS[zone]
    assert offset_changes(zone, forward) > timedelta(0) > offset_changes(zone, back)


def test_a_moment_that_is_skipped_fires_when_the_clock_goes_on() -> None:
    """As Debian's cron does: 02:30 is run at 03:00 summer time."""
    (moment,) = cron.upcoming(
        "30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC), 1
    )
    assert moment.isoformat() == "2026-03-29T03:00:00+02:00"


def test_a_moment_that_is_repeated_fires_once() -> None:
    """The first 02:30 of the two."""
    found = cron.upcoming("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert [m.isoformat() for m in found] == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_an_hourly_expression_follows_the_clock_as_it_runs() -> None:
    """Twenty-five times on the long day, twenty-three on the short one."""
    found = {}
    for day in ("2026-03-29", "2026-10-25"):
        begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin"))
        moments = cron.upcoming("30 * * * *", "Europe/Berlin", begin, 30)
        found[day] = sum(m.date() == begin.date() for m in moments)
    assert found == {"2026-03-29": 23, "2026-10-25": 25}


# ---- splay


def test_a_delayed_moment_is_posted_when_it_comes() -> None:
    """Not at the moment of the expression; and it is missed like any other."""
    later = replace(NIGHTLY, delay_s=150.0)
    desk = Desk("2026-11-23T03:02")
    assert desk.set(later, fired={later.key: "2026-11-22T12:00"}) == []
    desk.clock.advance(31)
    assert desk.set(later, fired={later.key: "2026-11-22T12:00"}) == ["2026-11-23T03:02"]
