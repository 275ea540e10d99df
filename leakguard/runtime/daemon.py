"""The loop: collect what is due, step, commit, act. One public method is the body: `tick`.

One thread owns the state. Restarts and deliveries run in other threads and speak only through
the inbox. A tick never waits for an action, so sampling is never late because of one.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from leakguard.core.decision import Action, BendLimits, RestartService, StopService
from leakguard.core.engine import Inputs, Notice, Step, step
from leakguard.core.events import Event, EventKind, Severity
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.instant import Clock, Instant
from leakguard.core.policy import Trigger
from leakguard.core.sample import Absent, Snapshot
from leakguard.linux.cgroupfs import CgroupDir
from leakguard.runtime.agenda import Agenda
from leakguard.runtime.bootstrap import Parts
from leakguard.runtime.calendars import Calendars
from leakguard.runtime.collect import Collector
from leakguard.runtime.executor import Executor
from leakguard.runtime.inbox import ENDING, Inbox, Mail
from leakguard.runtime.live import Live
from leakguard.runtime.record import Recorder
from leakguard.runtime.slot_rules import SlotRules
from leakguard.store.base import Store

log = logging.getLogger("leakguard")

JUMP_S = 2.0
"""Wall and boot time that move apart by more than this between ticks: the clock was set."""

CANNOT_WAIT = frozenset({Trigger.THRESHOLD, Trigger.EXHAUSTION, Trigger.RESPAWN})
"""What is carried out even when its commit did not reach the disk."""

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlets:
    """Where a tick's consequences go: events to listeners, alerts to whoever sends them."""

    events: Callable[[Iterable[Event]], None]
    alerts_stored: Callable[[], None]
    clock_jumped: Callable[[], None]
    rules_changed: Callable[[], None]
    ticked: Callable[[Step, Snapshot], None]


class Daemon:
    """Owns the state; everything else is handed in."""

    def __init__(
        self,
        *,
        live: Live,
        clock: Clock,
        store: Store,
        inbox: Inbox,
        agenda: Agenda,
        collector: Collector,
        executor: Executor,
        outlets: Outlets,
    ) -> None:
        """Take over the state in `live`, where each tick puts the next one."""
        self.recorder: Recorder | None = None
        self._live = live
        self._clock = clock
        self._store = store
        self._inbox = inbox
        self._agenda = agenda
        self._collector = collector
        self._executor = executor
        self._outlets = outlets
        self._offset_s: float | None = None
        self._tries_again = False
        self._calendars = Calendars()
        self._slot_rules = SlotRules()

    def replace(self, parts: Parts, collector: Collector) -> None:
        """Take a new configuration; states, flights and breakers go on."""
        self._live.parts = parts
        old, self._collector = self._collector, collector
        old.close()
        self._write_recording(lambda recorder: recorder.reload(parts.plan))

    def members(self, service: str) -> tuple[int, ...]:
        """Give the processes of a service, as they were last listed."""
        return self._collector.members(service)

    def watched_directories(self) -> frozenset[CgroupDir]:
        """Give the cgroups whose limits are above what was read."""
        return self._collector.directories()

    def tick(self, *, ending: bool = False) -> Step:
        """Deal with all that is new: collect, step, commit, then hand out.

        `ending`: only what is in flight is looked at. What ends together with the guard is not
        missing, and nothing new is begun.
        """
        mail = self._inbox.take()
        try:
            made = self._deal_with(mail, ending=ending)
        except Exception as error:
            self._recover(mail, error)
            raise
        self._tries_again = False
        return made

    def _deal_with(self, mail: Mail, *, ending: bool) -> Step:
        now = self._clock.now()
        jump = self._jump(now)
        due = self._in_flight() if ending else self._due(mail, now)
        collected = self._collector.collect(due, now)
        labels = self._take_labels()
        inputs = Inputs(
            now=now,
            snapshot=collected.snapshot,
            outcomes=mail.outcomes,
            requests=() if ending else mail.requests,
            notices=(*mail.notices, *jump, *labels),
            durable=self._store.last_commit_durable,
            dropped=(*collected.dropped, *self._not_guarded()),
            cannot_act=self._refusals(collected.snapshot),
            kills=collected.kills,
            kill_names=collected.no_names,
            calendars=self._calendars.news(self._live.parts.rules.services.values(), now),
            foretold=mail.foretold,
            ending=ending,
        )
        made = step(self._live.state, inputs, self._live.parts.rules)
        self._live.state = made.state
        self._write_recording(lambda recorder: recorder.tick(inputs, made))
        for name in due:
            self._agenda.set(name, now.boot_s + made.pace.get(name, 1.0))
        for name in made.pace.keys() - set(due):
            self._agenda.bring_forward(name, now.boot_s + made.pace[name])
        self._commit(made, collected.snapshot)
        self._live.ticked = now
        if ending:
            self._inbox.refuse(mail.requests, ENDING)
        if jump:
            self._outlets.clock_jumped()
        return made

    def _take_labels(self) -> tuple[Notice, ...]:
        """Put in force what labels of what was just found say; gives what people should know."""
        change = self._slot_rules.change(self._live.parts)
        if change is None:
            return ()
        parts = replace(self._live.parts, rules=change.rules)
        self._live.parts = parts
        self._write_recording(lambda recorder: recorder.rules(parts.plan, parts.rules))
        self._outlets.rules_changed()
        return change.notices

    def _recover(self, mail: Mail, error: Exception) -> None:
        """Answer people, and keep the rest for one more tick: perhaps it was not the mail's fault.

        What an act came to is not to be lost; what makes every tick fail is not to stay.
        """
        self._inbox.refuse(mail.requests, f"the tick failed ({type(error).__name__}): see the log")
        if not self._tries_again:
            self._inbox.put_back(mail)
        self._tries_again = not self._tries_again

    def _write_recording(self, write: Callable[[Recorder], None]) -> None:
        if self.recorder is None:
            return
        try:
            write(self.recorder)
        except (OSError, ValueError) as error:  # a full disk ends the recording, not the guard
            log.warning("the recording ends here: %s", error)
            self.recorder = None

    def _commit(self, made: Step, snapshot: Snapshot) -> None:
        """Commit first; act, answer and tell afterwards."""
        self._store.commit(made)
        durable = self._store.last_commit_durable
        for action in made.actions:
            self._act(action, durable=durable)
        self._inbox.answer(made.replies)
        self._outlets.ticked(made, snapshot)
        for event in made.events:
            log.log(
                _LEVELS[event.severity],
                "event=%s service=%s %s",
                event.kind.value,
                event.service or "-",
                event.message,
            )
        if made.events:
            self._outlets.events(made.events)
        if made.alerts:
            self._outlets.alerts_stored()

    def _act(self, action: Action, *, durable: bool) -> None:
        if durable or not _needs_the_disk(action):
            self._executor.submit(action)
            return
        self._inbox.outcome(
            Outcome(
                action_id=action.id,
                service=action.service,
                kind=OutcomeKind.FAILED,
                message="not begun: the decision could not be written to the state file",
            )
        )

    def _due(self, mail: Mail, now: Instant) -> tuple[str, ...]:
        return self._agenda.due(self._live.parts.roster.names(), _asked(mail), now)

    def _in_flight(self) -> tuple[str, ...]:
        return tuple(n for n, s in self._live.state.services.items() if s.record.flight)

    def _not_guarded(self) -> tuple[str, ...]:
        """Give the services that a reload has removed, or whose place is given up."""
        guarded = frozenset(self._live.parts.roster.names())
        return tuple(n for n in self._live.state.services if n not in guarded)

    def _refusals(self, snapshot: Snapshot) -> dict[str, str]:
        """Ask the drivers of what was read whether they would act at all."""
        found = {}
        for reading in snapshot.readings:
            driver = self._live.parts.drivers.get(reading.service)
            runs = not isinstance(reading, Absent)
            refusal = driver.refuses(running=runs) if driver is not None else ""
            if refusal:
                found[reading.service] = refusal
        return found

    def _jump(self, now: Instant) -> tuple[Notice, ...]:
        offset, self._offset_s = self._offset_s, now.wall_s - now.boot_s
        if offset is None or abs(self._offset_s - offset) < JUMP_S:
            return ()
        by = self._offset_s - offset
        message = f"the clock was set {'forward' if by > 0 else 'back'} by {abs(by):.0f} s"
        return (
            Notice(
                kind=EventKind.CLOCK_JUMPED.value,
                service="",
                severity=Severity.INFO.value,
                message=message,
                details={"jump_s": round(by, 1)},
            ),
        )


def _needs_the_disk(action: Action) -> bool:
    """Whether it is only carried out when it is written down."""
    match action:
        case RestartService() | StopService():
            return action.trigger not in CANNOT_WAIT
        case BendLimits():
            return not action.restores
        case _:
            return False


def _asked(mail: Mail) -> frozenset[str]:
    """Give the services that outcomes and requests are about: they are read in this tick."""
    return frozenset(o.service for o in mail.outcomes) | {r.service for r in mail.requests}
