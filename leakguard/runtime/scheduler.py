"""The only importer of APScheduler: restart schedules, dispatch, roll-up, pruning, heartbeat.

A due restart only posts its moment to the inbox, where policy and guards decide. Cron times come
from `leakguard.cron`, since APScheduler's own cron trigger skips and doubles moments around
daylight saving. APScheduler sleeps on the wall clock, so `wake` is called after a clock jump.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from leakguard import cron
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import ScheduleDue
from leakguard.core.instant import Clock, rfc3339

log = logging.getLogger("leakguard.scheduler")

THREADS = 2
ROLL_UP_S = 60
PRUNE_S = 600
DISPATCH_AT_LEAST_S = 60
DISPATCHES = 3
RETRY_S = 1.0
HEARTBEAT_S = 30
BELIEVED = timedelta(hours=2)
AGAIN = timedelta(hours=1)
_GAPS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=400))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One cron expression of one entry under `services`."""

    service: str
    cron: str
    timezone: str
    delay_s: float = 0.0
    """Each moment comes so much later than the expression says."""

    @property
    def key(self) -> str:
        """Name the job."""
        return f"restart/{self.service}/{self.cron}"

    def first_after(self, after: datetime) -> datetime:
        """Give the first moment after `after`; raises what is wrong with expression or zone."""
        return cron.upcoming(self.cron, self.timezone, after, 1, delay_s=self.delay_s)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chores:
    """What runs beside the loop. `dispatch` gives the wall time at which it wants to run again."""

    dispatch: Callable[[], float | None]
    roll_up: Callable[[], None]
    prune: Callable[[], None]
    heartbeat: Callable[[], None]


class CronMoments(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at the moments of a cron expression in its time zone."""

    def __init__(self, schedule: Schedule) -> None:
        """Fire at the moments of `schedule`."""
        self._schedule = schedule

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """Give the first moment after the previous one, or after now.

        Never raises: that would end APScheduler's thread, and every schedule and chore with it.
        When it cannot be computed, it is tried again later; firing then posts what was due.
        """
        after = max(previous, now) if previous is not None else now
        try:
            return self._schedule.first_after(after)
        except Exception:
            log.exception("service=%s its schedule cannot be computed", self._schedule.service)
            return now + AGAIN


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at an interval, never for what was missed.

    APScheduler's own lists every moment that the clock leaps over before it runs the last one: at
    a board that begins in 1970, sixty million of them. And it waits for its first moment, also
    when the clock was years ahead at the start.
    """

    def __init__(self, seconds: float) -> None:
        """Fire every `seconds`."""
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """Give the moment an interval after the previous one, or after now."""
        latest = now + self._interval
        if previous is None:
            return latest
        due = previous + self._interval
        return due if now < due < latest else latest


class _Lasting(BackgroundScheduler):  # type: ignore[misc]  # APScheduler has no types
    """A scheduler whose thread lasts: an error in it would end every schedule and chore for good.

    One is known: it stumbles over a job that ran just when it was told to stop.
    """

    def _process_jobs(self) -> float | None:
        try:
            wait_s: float | None = super()._process_jobs()
        except Exception:
            if self.running:
                log.exception("the scheduler stumbled and goes on")
            return RETRY_S
        return wait_s


class Scheduler:
    """Wraps a BackgroundScheduler in UTC with two threads."""

    def __init__(self, clock: Clock, post: Callable[[ScheduleDue], None], chores: Chores) -> None:
        """Post due moments by `post` and run `chores`."""
        self._clock = clock
        self._post = post
        self._chores = chores
        self._dealt_with: dict[str, datetime] = {}
        self._planning = threading.Lock()
        self._firing = threading.Lock()  # two threads fire, and the loop when it takes new ones
        self._scheduler = _Lasting(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(THREADS)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(_report, EVENT_JOB_ERROR)

    def start(self, schedules: Iterable[Schedule], fired: Mapping[str, float]) -> None:
        """Begin. `fired` tells by key when each schedule was last dealt with.

        What came due since then, while nobody ran, is posted at once.
        """
        for name, work, every in (
            ("dispatch", self._dispatch, DISPATCH_AT_LEAST_S),
            ("roll-up", self._chores.roll_up, ROLL_UP_S),
            ("prune", self._chores.prune, PRUNE_S),
            ("heartbeat", self._chores.heartbeat, HEARTBEAT_S),
        ):
            self._scheduler.add_job(work, Every(every), id=name)
        self.replace(schedules, fired)
        self._scheduler.start()

    @property
    def running(self) -> bool:
        """Whether it was started and not closed."""
        return bool(self._scheduler.running)

    def check(self, schedules: Iterable[Schedule]) -> None:
        """Raise what `replace` would stumble over: an expression or a zone that cannot be used."""
        now = self._now()
        for schedule in schedules:
            schedule.first_after(now)

    def replace(self, schedules: Iterable[Schedule], fired: Mapping[str, float]) -> None:
        """Take a new set of restart schedules."""
        wanted = {schedule.key: schedule for schedule in schedules}
        for job in self._scheduler.get_jobs():
            if job.id.startswith("restart/") and job.id not in wanted:
                job.remove()
        self._remember(wanted, fired)
        for key, schedule in wanted.items():
            self._fire(schedule)
            self._scheduler.add_job(
                self._fire, CronMoments(schedule), args=[schedule], id=key, replace_existing=True
            )

    def _remember(self, wanted: Iterable[str], fired: Mapping[str, float]) -> None:
        """Know what was dealt with; what was posted just now may not be in the state yet."""
        now = self._now()
        with self._firing:
            posted, self._dealt_with = self._dealt_with, {}
            for key in wanted:
                last = datetime.fromtimestamp(fired[key], UTC) if key in fired else now
                self._dealt_with[key] = min(max(last, posted.get(key, last)), now)

    def next_due(self, service: str) -> str | None:
        """Give the next scheduled moment of a service, of its entry where it has none, for people.

        In the entry's stead: a service with times of its own does not follow the entry's.
        """
        jobs = [job for job in self._scheduler.get_jobs() if job.next_run_time is not None]
        for owner in (service, service.partition(":")[0]):
            own = [job.next_run_time for job in jobs if job.id.startswith(f"restart/{owner}/")]
            if own:
                return rfc3339(min(own).timestamp())
        return None

    def dispatch_at(self, wall_s: float) -> None:
        """Run the dispatcher at a moment; an earlier one that is asked for already stands.

        One that still runs does not keep another from running: it may have looked too early.
        """
        when = datetime.fromtimestamp(wall_s, UTC)
        with self._planning:  # else two threads may both see none, and the later one stay
            standing = self._scheduler.get_job("dispatch-at")
            if standing is not None and standing.next_run_time <= when:
                return
            self._scheduler.add_job(
                self._dispatch,
                "date",
                run_date=when,
                id="dispatch-at",
                replace_existing=True,
                max_instances=DISPATCHES,
            )

    def dispatch_now(self) -> None:
        """Run the dispatcher as soon as a thread is free."""
        if self._scheduler.running:
            self.dispatch_at(self._clock.now().wall_s)

    def wake(self) -> None:
        """Look at the clock again: it was set. What was planned by the old clock is planned anew.

        A moment that was dealt with is not dealt with again when the clock passes it a second
        time; after more than `BELIEVED` back, what is remembered of the future is not believed.
        """
        if not self._scheduler.running:
            return
        now = self._now()
        with self._firing:
            for key, last in self._dealt_with.items():
                if last - now > BELIEVED:
                    self._dealt_with[key] = now
        for job in self._scheduler.get_jobs():
            soonest = job.trigger.get_next_fire_time(None, now)
            planned = job.next_run_time
            if planned is not None and soonest is not None and planned > soonest:
                job.modify(next_run_time=soonest)
        self._scheduler.wakeup()

    def close(self) -> None:
        """Stop without waiting for what runs."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _fire(self, schedule: Schedule) -> None:
        """Post the latest moment that has come since the last one dealt with."""
        with self._firing:
            now, last = self._now(), self._dealt_with.get(schedule.key)
            if last is None or now <= last:  # None: it was taken out of the configuration just now
                return
            due = _latest(schedule, last, now)
            if due is None:
                return
            self._post(
                ScheduleDue(
                    service=schedule.service, cron=schedule.cron, due_wall_s=due.timestamp()
                )
            )
            self._dealt_with[schedule.key] = due

    def _dispatch(self) -> None:
        again = self._chores.dispatch()
        if again is not None and self._scheduler.running:
            self.dispatch_at(again)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now().wall_s, UTC)


def _latest(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """Give the last moment in (after, until]; looked for near `until` first, for a long gap."""
    for gap in _GAPS:
        start = max(after, until - gap)
        latest = _last_from(schedule, start, until)
        if latest is not None or start == after:
            return latest
    return _last_from(schedule, after, until)


def _last_from(schedule: Schedule, start: datetime, until: datetime) -> datetime | None:
    latest = None
    while True:
        moment = schedule.first_after(latest or start)
        if moment > until:
            return latest
        latest = moment


def _report(event: JobExecutionEvent) -> None:
    log.error("job=%s failed: %r", event.job_id, event.exception)
