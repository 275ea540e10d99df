"""One series under one policy: the real engine, a clock at the recorded times, restarts that act.

Readings come at the recorded times, cron moments at theirs. A restart takes the service away for
`downtime_s`; then a new run begins with its first sample. Near the limit the daemon looks more
often than a recorder does, and acts later for it: there its own sampling is played along the
straight line between two recorded samples.
"""

from collections.abc import Callable
from dataclasses import field, replace

from leakguard.core.decision import (
    AskLeave,
    BendLimits,
    CheckHealth,
    LookUpLimits,
    RestartService,
    RunAfter,
)
from leakguard.core.engine import Inputs, Rules, Step, step
from leakguard.core.events import EventKind
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import Outcome, OutcomeKind, Request, ScheduleDue
from leakguard.core.instant import Instant
from leakguard.core.policy import Mode, ServiceRules, Trigger, WindowRule
from leakguard.core.sample import Absent, DomainSample, Incarnation, Sample, Snapshot
from leakguard.core.state import ServiceState, State
from leakguard.core.trend import Detector
from leakguard.runtime.backtest.fitting import PatientDetector
from leakguard.runtime.backtest.lives import Life
from leakguard.runtime.backtest.memory import ServiceMemory
from leakguard.runtime.backtest.moments import Due, Moments
from leakguard.runtime.backtest.needless import Verdict, crossing, judge
from leakguard.runtime.backtest.outcome import Kill, Restart, SeriesOutcome
from leakguard.runtime.backtest.recording import Recording
from leakguard.runtime.calendars import Calendars

SERVICE = "service"
"""The engine's name for it: a colon in the name of a series would mean one of several."""
BOOT_ID = "recorded"
DRIVER = "simulated"
FIRST_BOOT_S = 1000.0
FINEST_S = 0.1
LAST_STEPS = 240
"""The gap in which the limit is reached is walked in at most so many steps, however long it is."""
NEAR_STEPS = 24
NEAR_GAPS = 4.0
"""Gaps longer than the policy's own sampling are walked when the limit may be so many away."""
REPORT_EVERY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for every policy that is compared."""

    downtime_s: float = 5.0
    horizon_s: float = 86_400.0
    windows: tuple[WindowRule, ...] = ()


def acting(rules: ServiceRules) -> ServiceRules:
    """Give the rules as if the service were in mode `act` and had a driver."""
    restart = replace(rules.restart, driver=rules.restart.driver or DRIVER, starts=False)
    return replace(rules, name=SERVICE, mode=Mode.ACT, restart=restart)


@dataclass(slots=True)
class Play:
    """Plays one recording once; `outcome` has what came of it."""

    recording: Recording
    lives: tuple[Life, ...]
    rules: ServiceRules
    detector: Detector
    terms: Terms
    _memory: ServiceMemory = field(init=False)
    _patient: PatientDetector = field(init=False)
    _engine_rules: Rules = field(init=False)
    _moments: Moments = field(init=False)
    _due: Due = field(init=False)
    _calendars: Calendars = field(init=False, default_factory=Calendars)
    _state: State = field(init=False, default_factory=lambda: State(instance="backtest"))
    _outcomes: tuple[Outcome, ...] = field(init=False, default=())
    _pid: int = field(init=False, default=1)
    _born: float = field(init=False, default=0.0)
    _back_at: float | None = field(init=False, default=None)
    """When the new run begins, while the service is away."""
    _acting: RestartService | None = field(init=False, default=None)
    _last: tuple[float, float] = field(init=False, default=(0.0, 0.0))
    """Time and size of the last reading."""
    _place: int = field(init=False, default=0)
    _full: float | None = field(init=False, default=None)
    """When the limit is reached, while the line up to it is walked."""
    _pace_s: float = field(init=False, default=FINEST_S)
    _restarts: list[Restart] = field(init=False, default_factory=list)
    _kills: list[Kill] = field(init=False, default_factory=list)
    _failed: int = field(init=False, default=0)
    _limit_hits: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Stand before the first sample."""
        self._memory = ServiceMemory(self.recording, self.lives)
        self._patient = PatientDetector(self.detector)
        self.rules = acting(self.rules)
        self._engine_rules = Rules(
            services={SERVICE: self.rules}, detectors={SERVICE: self._patient}
        )
        schedules = self.rules.policy.schedules
        windows = (*self.rules.policy.windows, *self.terms.windows)
        self._moments = Moments(schedules=schedules, windows=windows)
        self._born = self.recording.times[0]
        self._last = (self._born, self.recording.values[0])
        self._patient.renew(self._boot(self._born))
        self._due = Due.after(schedules, self._wall(self._born))

    def run(self, progress: Callable[[int], None] = lambda _: None) -> SeriesOutcome:
        """Play it to its end; `progress` is told how many samples were dealt with."""
        for i, t in enumerate(self.recording.times):
            if i and i % REPORT_EVERY == 0:
                progress(REPORT_EVERY)
            self._until(t)
            if self._back_at is None:
                self._place = i
                self._sample(i, t)
                self._until(t, at_t=True)
        progress((len(self.recording) - 1) % REPORT_EVERY + 1)
        service = self._state.services.get(SERVICE)
        return SeriesOutcome(
            series=self.recording.name,
            restarts=tuple(self._restarts),
            kills=tuple(self._kills),
            failed=self._failed,
            held_back=dict(service.record.veto_counts) if service is not None else {},
            limit_hits=self._limit_hits,
        )

    def _until(self, t: float, *, at_t: bool = False) -> None:
        """Deal with what comes before the sample at `t`: the new run, and cron moments.

        `at_t`: the sample was taken, so that a moment at the very same time sees it.
        """
        while True:
            due = self._due.soonest() - self.recording.wall_offset_s
            if self._back_at is not None:
                if self._back_at > t:
                    return
                self._begin(self._back_at)
            elif due < t or (at_t and due == t):
                self._schedule(max(due, self._last[0]))
            else:
                return

    def _begin(self, t: float) -> None:
        """Let the new run begin and be sampled at once."""
        self._back_at = None
        self._miss_deadline(t)
        self._anew(t)
        value = self._memory.start(t)
        if self._acting is not None:
            self._outcomes = (
                Outcome(action_id=self._acting.id, service=SERVICE, kind=OutcomeKind.DONE),
            )
            self._acting = None
        self._tick(t, value)

    def _miss_deadline(self, t: float) -> None:
        """Let the engine see that a restart takes too long: it would have looked by then."""
        if self._acting is None or self.terms.downtime_s <= self._acting.deadline_s:
            return
        at = t - self.terms.downtime_s + self._acting.deadline_s + FINEST_S
        gone = Absent(service=SERVICE, at=self._instant(at), reason="it does not run yet")
        self._step(at, Snapshot(at=gone.at, readings=(gone,)))

    def _anew(self, t: float) -> None:
        self._pid, self._born = self._pid + 1, t
        self._patient.renew(self._boot(t))

    def _schedule(self, t: float) -> None:
        expression, moment = self._due.take()
        request = ScheduleDue(service=SERVICE, cron=expression, due_wall_s=moment)
        self._tick(t, None, request)

    def _sample(self, i: int, t: float) -> None:
        value = self._memory.step(i)
        full = self._full_at(t, value)
        if full is not None:
            self._fill(full, t, value)
        elif self._memory.began:
            self._anew(t)
            self._tick(t, value)
        elif self._is_near(t) and self._walk(t, value, NEAR_STEPS):
            self._until(t)
        else:
            self._tick(t, value)

    def _fill(self, full: float, t: float, value: float) -> None:
        """Reach the limit on the way to this sample, unless the policy acts before."""
        self._full = full
        acted = self._walk(full, self.recording.limit_bytes or 0, LAST_STEPS)
        self._full = None
        if acted:
            self._until(t)
            return
        self._kill(full)
        if self._memory.died_s is not None:  # the recording has the new run
            self._anew(t)
            self._tick(t, value)
        else:
            self._back_at = full + self.terms.downtime_s
            self._until(t)

    def _full_at(self, t: float, value: float) -> float | None:
        """Give when the limit is reached on the way to this sample, None when it is not."""
        limit = self.recording.limit_bytes
        if self._memory.died_s is not None:
            return max(self._memory.died_s, self._last[0])
        if limit is None or value < limit:
            return None
        return t if self._memory.began else crossing(self._last, (t, value), limit)

    def _is_near(self, t: float) -> bool:
        """Tell whether the daemon would have looked more often than the recording did."""
        gap, edge = t - self._last[0], self._patient.edge_s
        return gap > self.rules.pacing.idle_s and edge is not None and edge < NEAR_GAPS * gap

    def _walk(self, t: float, value: float, steps: int) -> bool:
        """Walk the straight line from the last reading at the daemon's pace; true when it acts."""
        since, level = self._last
        least = max(FINEST_S, (t - since) / steps)
        at = since + max(least, self._pace_s)
        while at < t and self._back_at is None:
            self._tick(at, level + (value - level) * (at - since) / (t - since))
            at += max(least, self._pace_s)
        return self._back_at is not None

    def _kill(self, t: float) -> None:
        self._kills.append(Kill(series=self.recording.name, t=t, wall_s=self._wall(t)))

    def _tick(self, t: float, value: float | None, *requests: Request) -> None:
        """Step the engine, with a reading where there is one."""
        snapshot = Snapshot(at=self._instant(t))
        if value is not None:
            snapshot = self._snapshot(snapshot.at, t, value)
            self._last = (t, value)
        self._step(t, snapshot, *requests)

    def _step(self, t: float, snapshot: Snapshot, *requests: Request) -> None:
        outcomes, self._outcomes = self._outcomes, ()
        now = snapshot.at
        calendars = self._calendars.news((self.rules,), now)
        inputs = Inputs(
            now=now, snapshot=snapshot, outcomes=outcomes, requests=requests, calendars=calendars
        )
        made = step(self._state, inputs, self._engine_rules)
        self._state = made.state
        self._look(made)
        for action in made.actions:
            match action:
                case RestartService():
                    self._restart(action, t)
                case CheckHealth():
                    healthy = Outcome(
                        action_id=action.id, service=SERVICE, kind=OutcomeKind.HEALTHY
                    )
                    self._outcomes = (healthy,)
                case AskLeave():
                    granted = Outcome(
                        action_id=action.id, service=SERVICE, kind=OutcomeKind.GRANTED
                    )
                    self._outcomes = (granted,)
                case RunAfter() | LookUpLimits() | BendLimits():
                    pass

    def _look(self, made: Step) -> None:
        """Note what the step says of the pace, the limit, and restarts that failed."""
        self._pace_s = made.pace.get(SERVICE, self._pace_s)
        service = made.state.services.get(SERVICE)
        if service is not None:
            self._patient.look(*_nearness(service))
        for event in made.events:
            self._failed += event.kind is EventKind.RESTART_FAILED
            self._limit_hits += event.kind is EventKind.RESTART_LIMIT_HIT

    def _restart(self, action: RestartService, t: float) -> None:
        scheduled = action.trigger is Trigger.SCHEDULE
        wall_s = self._wall(t)
        found = self._judge(t)
        self._restarts.append(
            Restart(
                series=self.recording.name,
                t=t,
                wall_s=wall_s,
                trigger=action.trigger,
                reason=action.reason,
                value_bytes=round(self._last[1]),
                in_window=scheduled or self._moments.in_window(wall_s),
                needless=found.needless,
                until_wall_s=self._wall(found.until_s),
                limit_reached_after_s=found.reached_after_s,
            )
        )
        self._acting, self._back_at = action, t + self.terms.downtime_s

    def _judge(self, t: float) -> Verdict:
        following = self._moments.next_after(self._wall(t))
        until = t + self.terms.horizon_s
        if following is not None:
            until = following - self.recording.wall_offset_s
        if self._full is not None:
            return Verdict(needless=False, until_s=until, reached_after_s=self._full - t)
        return judge(self.recording, self._memory, self._place, (t, until))

    def _snapshot(self, now: Instant, t: float, value: float) -> Snapshot:
        limit, size, domains = self.recording.limit_bytes, round(value), {}
        if limit is not None:
            path = f"/{self.recording.name}"
            domains = {
                path: DomainSample(
                    path=path, version=2, limit_bytes=limit, usage_bytes=size,
                    oom_kills=len(self._kills),
                )
            }  # fmt: skip
        reading = Sample(
            service=SERVICE,
            at=now,
            incarnation=Incarnation(boot_id=BOOT_ID, pid=self._pid, start_ticks=self._pid),
            measure=self.rules.measure,
            value_bytes=size,
            rss_bytes=size,
            age_s=t - self._born,
            domains=tuple(domains),
        )
        return Snapshot(at=now, readings=(reading,), domains=domains)

    def _wall(self, t: float) -> float:
        return t + self.recording.wall_offset_s

    def _boot(self, t: float) -> float:
        return t - self.recording.times[0] + FIRST_BOOT_S

    def _instant(self, t: float) -> Instant:
        return Instant(wall_s=self._wall(t), boot_s=self._boot(t), boot_id=BOOT_ID)


def _nearness(service: ServiceState) -> tuple[float, float | None]:
    """Give what is left below the nearest limit in bytes, and its forecast's early edge."""
    near = service.assessment.nearest if service.assessment is not None else None
    if near is None:
        return float("inf"), None
    return float(near.room.headroom_bytes), near.early_edge_s()
