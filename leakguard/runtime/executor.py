"""Carries out actions in a few threads: looks again, then acts, and posts one outcome for each.

Threads are made when there is work and end when there is none. They are daemon threads: whatever
hangs in a driver can never hold the exit (a `concurrent.futures` pool is joined at exit). One
service has one action at a time; restarts go before health checks, which leave half the threads
free, since a restart that waits for a stranger's health check could come too late.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from threading import Condition, Event, Thread

from leakguard.core.decision import (
    Action,
    AskLeave,
    BendLimits,
    CheckHealth,
    LookUpLimits,
    RestartService,
    RunAfter,
    StartService,
    StopService,
)
from leakguard.core.errors import DriverError, LeakguardError
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.instant import Clock
from leakguard.core.plan import HealthSpec
from leakguard.core.sample import Incarnation, Location
from leakguard.drivers.base import Driver, RestartOrder, Stopped
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children
from leakguard.runtime import health_gate
from leakguard.runtime.errands import Errands
from leakguard.runtime.same_run import is_same_run

SLICE_S = 0.05
LAST_WAIT_S = 1.0
"""After their `cancelled` event, drivers get this long to say so."""

_Deed = RestartService | StopService | StartService
_DEEDS = (RestartService, StopService, StartService)


@dataclass(slots=True)
class _Job:
    action: Action
    cancelled: Event = field(default_factory=Event)
    driver: Driver | None = None

    @property
    def is_restart(self) -> bool:
        """Whether a driver is at work, as against a health check."""
        return isinstance(self.action, _DEEDS)

    @property
    def is_urgent(self) -> bool:
        """What the end of the memory does not wait for; a question has a restart behind it."""
        asks = isinstance(self.action, AskLeave | LookUpLimits | BendLimits)
        return self.is_restart or asks


class Executor:
    """A bounded pool for restarts and health checks."""

    def __init__(
        self,
        *,
        drivers: Mapping[str, Driver],
        post: Callable[[Outcome], None],
        locate: Callable[[str], Location | None],
        clock: Clock,
        children: Children,
        health: Mapping[str, HealthSpec],
        errands: Errands | None = None,
        workers: int = 4,
    ) -> None:
        """Start with no thread. `locate` looks where a service is now.

        `errands` run drain and hooks, None: there are none. `post` takes the outcomes, from any
        thread; it must not block or call back.
        """
        self._drivers = drivers
        self._health = health
        self._errands = errands
        self.cgroups: CgroupFs | None = None
        """Where limits are changed to buy time; None: nowhere."""
        self._post = post
        self._locate = locate
        self._clock = clock
        self._children = children
        self._workers = workers
        self._waiting: deque[_Job] = deque()
        self._running: dict[str, _Job] = {}
        self._threads = 0
        self._closed = False
        self._changed = Condition()

    def submit(self, action: Action) -> None:
        """Take an action; never blocks. A second restart of one service is answered FAILED.

        Only a driver that merely waits for its manager's word is cut short for it: the loop has
        seen the new run by then, or it would not ask again.
        """
        job = _Job(action)
        with self._changed:
            refusal = self._refusal(job)
            if refusal:
                self._post(_failed(action, refusal))
                return
            if job.is_restart:
                self._give_up_health(action.service)
            self._waiting.append(job)
            self._grow()

    def replace(self, drivers: Mapping[str, Driver], health: Mapping[str, HealthSpec]) -> None:
        """Use other drivers and gates from the next action on; what runs is not disturbed."""
        with self._changed:
            self._drivers = drivers
            self._health = health

    def give_up(self, service: str) -> bool:
        """Begin nothing more for a service that is no longer guarded, and cut off what runs.

        Gives whether something does.
        """
        with self._changed:
            for job in [job for job in self._waiting if job.action.service == service]:
                self._waiting.remove(job)
            running = self._running.get(service)
            if running is not None:
                running.cancelled.set()
            return running is not None

    def wait_idle(self, service: str, limit_s: float) -> None:
        """Wait until nothing is carried out for a service, `limit_s` at most."""
        self._wait_until(lambda: service not in self._running, limit_s, lambda: False)

    def shutdown(
        self, grace_s: float, hurry: Callable[[], bool] = lambda: False
    ) -> tuple[str, ...]:
        """End: begin no restart, let those of our own finish, cut the rest off.

        Waits at most `grace_s`, and no longer once `hurry` says so, for restarts that nobody else
        would complete, and for dependents that still have to be started; a manager's restarts are
        left to it. Gives the services left in doubt.
        """
        for job in self._close():
            self._post(_outcome(job.action, OutcomeKind.FAILED, "leakguard is ending: not begun"))
        self._wait_until(self._nothing_of_ours, grace_s, hurry)
        with self._changed:
            self._refuse_all("leakguard is ending")
            in_doubt = tuple(sorted(s for s, job in self._running.items() if job.is_restart))
            ours = not self._nothing_of_ours()
            for job in self._running.values():
                job.cancelled.set()
        if ours:
            self._wait_until(self._nothing_of_ours, LAST_WAIT_S, lambda: False)
        return in_doubt

    def _close(self) -> list[_Job]:
        with self._changed:
            self._closed = True
            waiting = tuple(self._waiting)
            self._waiting = deque(job for job in waiting if isinstance(job.action, StartService))
            for job in self._running.values():
                if not job.is_restart:
                    job.cancelled.set()
        return [
            job for job in waiting if job.is_restart and not isinstance(job.action, StartService)
        ]

    def _wait_until(
        self, done: Callable[[], bool], limit_s: float, hurry: Callable[[], bool]
    ) -> None:
        began = self._clock.now()
        with self._changed:
            while not done() and not hurry() and self._clock.now().since(began) < limit_s:
                self._changed.wait(SLICE_S)

    def _nothing_of_ours(self) -> bool:
        return not self._waiting and not any(
            job.is_restart and not (job.driver is not None and job.driver.managed)
            for job in self._running.values()
        )

    def _refusal(self, job: _Job) -> str:
        if self._closed:
            return "leakguard is ending: not begun"
        same = [
            other
            for other in (*self._running.values(), *self._waiting)
            if other.action.service == job.action.service and other.is_restart
        ]
        if not job.is_restart or not same:
            return ""
        busy = any(other.driver is None or not other.driver.managed for other in same)
        if busy and not isinstance(job.action, StartService):  # that has its turn after a stop
            return f"a restart of {job.action.service} is in flight: not begun"
        for other in same:
            other.cancelled.set()
        return ""

    def _give_up_health(self, service: str) -> None:
        running = self._running.get(service)
        if running is not None and not running.is_restart:
            running.cancelled.set()
        for job in [job for job in self._waiting if job.action.service == service]:
            self._waiting.remove(job)
            self._post(_failed(job.action, "it is restarted again: not asked"))

    def _grow(self) -> None:
        if self._threads < self._workers and self._choose() is not None:
            thread = Thread(target=self._work, name="leakguard-act", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had: say so instead of waiting for one
                if self._threads == 0:
                    self._refuse_all(str(error))
                return
            self._threads += 1

    def _refuse_all(self, why: str) -> None:
        for job in self._waiting:
            self._post(_failed(job.action, f"not begun: {why}"))
        self._waiting.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                job = self._choose()
                if job is None:
                    self._threads -= 1
                    return
                self._waiting.remove(job)
                self._running[job.action.service] = job
            outcome = self._carry_out(job)
            with self._changed:
                if job.is_restart or not self._closed:
                    self._post(outcome)
                del self._running[job.action.service]
                self._changed.notify_all()

    def _choose(self) -> _Job | None:
        free = [job for job in self._waiting if job.action.service not in self._running]
        checking = sum(not job.is_urgent for job in self._running.values())
        for job in sorted(free, key=lambda job: not job.is_restart):
            if job.is_urgent:
                return job
        return free[0] if free and checking < max(1, self._workers // 2) else None

    def _carry_out(self, job: _Job) -> Outcome:
        try:
            match job.action:
                case CheckHealth():
                    return self._check(job.action, job.cancelled)
                case RunAfter() | AskLeave():
                    return self._errand(job.action, job.cancelled)
                case LookUpLimits() | BendLimits():
                    return self._bend(job.action)
                case RestartService():
                    return self._restart(job.action, job)
                case StopService() | StartService():
                    return self._stop_or_start(job.action, job)
        except LeakguardError as error:
            permanent = isinstance(error, DriverError) and error.permanent
            return _failed(job.action, str(error), permanent=permanent)
        except Exception as error:  # noqa: BLE001  the pool's edge: a broken driver is an outcome
            return _failed(job.action, f"{type(error).__name__}: {error}")

    def _stop_or_start(self, action: StopService | StartService, job: _Job) -> Outcome:
        """Hold a dependent down, or let it up again, whichever run of it is there now."""
        driver, left_s = self._driver(action, job), self._left_s(action)
        here = self._locate(action.service)
        order = RestartOrder(
            incarnation=here.root if here is not None else None,
            reason=action.reason,
            deadline_s=left_s,
            cancelled=job.cancelled,
        )
        stops = isinstance(action, StopService)
        return _done(action, driver.stop(order) if stops else driver.start(order))

    def _driver(self, action: _Deed, job: _Job) -> Driver:
        job.driver = self._drivers.get(action.service)  # may be made only now, and fail
        if job.driver is None:
            raise DriverError(f"{action.service} has no driver", permanent=True)
        return job.driver

    def _restart(self, action: RestartService, job: _Job) -> Outcome:
        driver = self._driver(action, job)
        self._left_s(action)
        runs, stale = self._look(action, driver)
        if not stale and self._prepare(action, job):
            runs, stale = self._look(action, driver)
            if job.cancelled.is_set():
                return _failed(action, "leakguard is ending: not begun")
        if stale:
            return _outcome(action, OutcomeKind.STALE, stale)
        order = RestartOrder(
            incarnation=runs,
            reason=action.reason,
            deadline_s=self._left_s(action),
            cancelled=job.cancelled,
        )
        return _done(action, driver.restart(order))

    def _bend(self, action: LookUpLimits | BendLimits) -> Outcome:
        if self.cgroups is None:
            return _failed(action, "limits are not changed here", permanent=True)
        from leakguard.runtime.bending import Bender  # few buy time

        bender = Bender(self.cgroups, self._locate)
        driver = self._drivers.get(action.service)
        if isinstance(action, LookUpLimits):
            return bender.look_up(action, driver)
        return bender.bend(action, driver)

    def _prepare(self, action: RestartService, job: _Job) -> bool:
        """Drain and run hooks; gives whether there were any, so that time has passed.

        What came of them is posted before the driver acts: the new run may be sampled before the
        driver is done, and that ends the restart.
        """
        told = self._errands.before(action, job.cancelled) if self._errands is not None else ()
        if told:
            prepared = _outcome(action, OutcomeKind.PREPARED, "")
            self._post(replace(prepared, told=told))
        return bool(told)

    def _left_s(self, action: _Deed) -> float:
        left_s = action.deadline_s - self._clock.now().since(action.decided)
        if left_s <= 0:
            raise DriverError("its deadline passed before it could begin")
        return left_s

    def _look(self, action: RestartService, driver: Driver) -> tuple[Incarnation | None, str]:
        """Give what runs now, and why nothing is to be done when that is not what was meant."""
        here = self._locate(action.service)
        runs = None if here is None else here.root
        if runs is None and action.incarnation is not None and not driver.starts:
            return None, f"{action.incarnation} does not run any more: nothing was done"
        if runs is not None and not is_same_run(runs, action.incarnation):
            meant = f"not {action.incarnation}" if action.incarnation else "already"
            return runs, f"{runs} runs, {meant}: nothing was done"
        return runs, ""

    def _errand(self, action: RunAfter | AskLeave, cancelled: Event) -> Outcome:
        if self._errands is None:
            kind = OutcomeKind.GRANTED if isinstance(action, AskLeave) else OutcomeKind.DONE
            return _outcome(action, kind, "")
        try:
            here = self._locate(action.service)
        except LeakguardError:  # then nobody is told a pid
            here = None
        return self._errands.run(action, here.root.pid if here else None, cancelled)

    def _check(self, action: CheckHealth, cancelled: Event) -> Outcome:
        with self._changed:
            base = action.service.partition(":")[0]
            spec = self._health.get(action.service) or self._health.get(base)
        if spec is None:
            return _outcome(action, OutcomeKind.HEALTHY, "no health gate is configured")
        passed, message = health_gate.check(
            spec,
            action.within_s,
            clock=self._clock,
            cancelled=cancelled,
            children=self._children,
        )
        return _outcome(action, OutcomeKind.HEALTHY if passed else OutcomeKind.UNHEALTHY, message)


def _outcome(action: Action, kind: OutcomeKind, message: str) -> Outcome:
    return Outcome(action_id=action.id, service=action.service, kind=kind, message=message)


def _done(action: Action, stopped: Stopped) -> Outcome:
    return Outcome(
        action_id=action.id,
        service=action.service,
        kind=OutcomeKind.DONE,
        message=stopped.message,
        stop_s=stopped.stop_s,
        started=stopped.started,
        kept_root=stopped.kept_root,
        elsewhere=stopped.elsewhere,
    )


def _failed(action: Action, message: str, *, permanent: bool = False) -> Outcome:
    is_check = isinstance(action, CheckHealth)
    return Outcome(
        action_id=action.id,
        service=action.service,
        kind=OutcomeKind.UNHEALTHY if is_check else OutcomeKind.FAILED,
        message=message,
        permanent=permanent,
    )
