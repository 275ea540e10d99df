"""The only importer of APScheduler: restart schedules, dispatch, roll-up, pruning, heartbeat.

A due restart only posts its moment to the inbox, where policy and guards decide. Cron times come
from `leakguard.cron`, since APScheduler's own cron trigger skips and doubles moments around
daylight saving. APScheduler sleeps on the wall clock, so `wake` is called after a clock jump.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from leakguard import cron
from leakguard.core.inbox import ScheduleDue
from leakguard.core.instant import Clock, rfc3339

log = logging.getLogger("leakguard.scheduler")

THREADS = 2
ROLL_UP_S = 60
PRUNE_S = 600
DISPATCH_AT_LEAST_S = 60
HEARTBEAT_S = 30
BELIEVED = timedelta(hours=2)
_GAPS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=400))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One cron expression of one entry under `services`."""

    service: str
    cron: str
    timezone: str

    @property
    def key(self) -> str:
        """Name the job."""
        return f"restart/{self.service}/{self.cron}"


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
        """Give the first moment after the previous one, or after now."""
        after = max(previous, now) if previous is not None else now
        return cron.upcoming(self._schedule.cron, self._schedule.timezone, after, 1)[0]


class Scheduler:
    """Wraps a BackgroundScheduler in UTC with two threads."""

    def __init__(self, clock: Clock, post: Callable[[ScheduleDue], None], chores: Chores) -> None:
        """Post due moments by `post` and run `chores`."""
        self._clock = clock
        self._post = post
        self._chores = chores
        self._dealt_with: dict[str, datetime] = {}
        self._scheduler = BackgroundScheduler(
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
            self._scheduler.add_job(work, "interval", seconds=every, id=name)
        self.replace(schedules, fired)
        self._scheduler.start()

    def replace(self, schedules: Iterable[Schedule], fired: Mapping[str, float]) -> None:
        """Take a new set of restart schedules."""
        now = self._now()
        wanted = {schedule.key: schedule for schedule in schedules}
        for job in self._scheduler.get_jobs():
            if job.id.startswith("restart/") and job.id not in wanted:
                job.remove()
        for key, schedule in wanted.items():
            last = datetime.fromtimestamp(fired[key], UTC) if key in fired else now
            self._dealt_with[key] = min(last, now)
            self._fire(schedule)
            self._scheduler.add_job(
                self._fire, CronMoments(schedule), args=[schedule], id=key, replace_existing=True
            )

    def next_due(self, service: str) -> str | None:
        """Give the next scheduled moment of an entry, for people."""
        times = [
            job.next_run_time
            for job in self._scheduler.get_jobs()
            if job.id.startswith(f"restart/{service}/") and job.next_run_time is not None
        ]
        return rfc3339(min(times).timestamp()) if times else None

    def dispatch_at(self, wall_s: float) -> None:
        """Run the dispatcher at a moment; an earlier one that is asked for already stands."""
        when = datetime.fromtimestamp(wall_s, UTC)
        standing = self._scheduler.get_job("dispatch-at")
        if standing is not None and standing.next_run_time <= when:
            return
        self._scheduler.add_job(
            self._dispatch, "date", run_date=when, id="dispatch-at", replace_existing=True
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
        now, last = self._now(), self._dealt_with[schedule.key]
        if now <= last:
            return
        due = _latest(schedule, last, now)
        if due is None:
            return
        self._dealt_with[schedule.key] = due
        self._post(
            ScheduleDue(service=schedule.service, cron=schedule.cron, due_wall_s=due.timestamp())
        )

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
        moment = cron.upcoming(schedule.cron, schedule.timezone, latest or start, 1)[0]
        if moment > until:
            return latest
        latest = moment


def _report(event: JobExecutionEvent) -> None:
    log.error("job=%s failed: %r", event.job_id, event.exception)
