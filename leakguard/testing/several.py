"""The engine over several services, stepped by hand: who restarts, who waits, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakguard.core.decision import (
    Action,
    CheckHealth,
    RestartService,
    StartService,
    StopService,
)
from leakguard.core.engine import Inputs, Rules, Step, step
from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import Outcome, OutcomeKind, Request
from leakguard.core.policy import (
    GroupRules,
    GuardRules,
    Mode,
    Policy,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.sample import Absent, Reading, Snapshot
from leakguard.core.state import ServiceRecord, State
from leakguard.core.trend import Detector
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import OLD_S, ScriptedDetector, sample_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

CRON = "0 3 * * *"
_VERBS: dict[type[Action], str] = {
    RestartService: "restart",
    StopService: "stop",
    StartService: "start",
    CheckHealth: "check",
}
HARD_MIB = 500.0
"""Members made by `member` have a hard threshold here."""


def member(
    name: str,
    group: GroupRules | None = None,
    *,
    driver: str = "fake",
    starts: bool = False,
    health_within_s: float | None = None,
    limit_mib: float | None = None,
    needs: tuple[str, ...] = (),
) -> ServiceRules:
    """Make a service that acts, with a hard threshold, a schedule and no grace."""
    return ServiceRules(
        name=name,
        mode=Mode.ACT,
        limit=Amount(size_bytes=int(limit_mib * MIB)) if limit_mib else None,
        policy=Policy(
            threshold=ThresholdRule(above=Amount(size_bytes=int(HARD_MIB * MIB))),
            schedules=(ScheduleRule(cron=CRON),),
        ),
        guards=GuardRules(grace_s=0.0, max_restarts=100),
        restart=RestartRules(
            driver=driver, starts=starts, health_within_s=health_within_s, depends_on=needs
        ),
        group=group,
    )


@dataclass(slots=True)
class Several:
    """Services by name; what runs is in `pids` (None: nothing), how large in `mib`."""

    rules: Mapping[str, ServiceRules]
    pids: dict[str, int | None] = field(default_factory=dict)
    mib: dict[str, float] = field(default_factory=dict)
    born: dict[str, float] = field(default_factory=dict)
    detectors: dict[str, ScriptedDetector] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    state: State = field(default_factory=lambda: State(instance="several"))
    events: list[Event] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    dropped: tuple[str, ...] = ()
    """Services that are no longer guarded from the next look on."""
    _next: int = 100

    @classmethod
    def of(cls, *rules: ServiceRules, each: Mapping[str, int] | None = None) -> "Several":
        """Run every service; `each` says how many slots an entry has."""
        made = cls({r.name: r for r in rules})
        for entry in made.rules:
            count = (each or {}).get(entry)
            names = [f"{entry}:{i + 1}" for i in range(count)] if count else [entry]
            for name in names:
                made.run(name, age_s=OLD_S)
                made.mib[name] = 100.0
            made.detectors[entry] = ScriptedDetector()
        return made

    def run(self, name: str, *, age_s: float = 0.0) -> None:
        """Start a new run of a service."""
        self._next += 1
        self.pids[name], self.born[name] = self._next, self.clock.boot_s - age_s

    def look(
        self,
        *requests: Request,
        after_s: float = 1.0,
        outcomes: tuple[Outcome, ...] = (),
        only: tuple[str, ...] | None = None,
        durable: bool = True,
    ) -> Step:
        """Let time pass and read all services, or `only` some."""
        now = self.clock.advance(after_s)
        readings = tuple(self._reading(n) for n in self.pids if only is None or n in only)
        detectors: dict[str, Detector] = dict(self.detectors)
        dropped, self.dropped = self.dropped, ()
        made = step(
            self.state,
            Inputs(
                now=now,
                snapshot=Snapshot(at=now, readings=readings),
                requests=requests,
                outcomes=outcomes,
                durable=durable,
                dropped=dropped,
            ),
            Rules(services=self.rules, detectors=detectors),
        )
        self.state = made.state
        self.events += made.events
        self.actions += made.actions
        return made

    def record(self, name: str) -> ServiceRecord:
        """Give what is remembered of a service."""
        return self.state.services[name].record

    def flying(self) -> list[str]:
        """Give the services with a restart in flight."""
        return [name for name, s in self.state.services.items() if s.record.flight is not None]

    def outcome(self, name: str, kind: OutcomeKind, message: str = "", suffix: str = "") -> Outcome:
        """Make what came back of the action in flight."""
        flight = self.record(name).flight
        action_id = flight.action_id + suffix if flight is not None else "none"
        return Outcome(action_id=action_id, service=name, kind=kind, message=message)

    def told(self, kind: EventKind) -> list[tuple[str, str]]:
        """Give service and message of every event of a kind."""
        return [(event.service, event.message) for event in self.events if event.kind is kind]

    def _reading(self, name: str) -> Reading:
        now, pid = self.clock.now(), self.pids[name]
        if pid is None:
            return Absent(service=name, at=now, reason="no process")
        age_s = now.boot_s - self.born[name]
        return sample_of(now, self.mib[name], run=run_of(pid), age_s=age_s, service=name)


def orders(step_: Step) -> list[str]:
    """Give what was ordered: `stop worker`, `restart db`, `start worker`, `check db`."""
    return [f"{_VERBS[type(action)]} {action.service}" for action in step_.actions]


def restarted(step_: Step) -> list[str]:
    """Give the services whose restart was handed out."""
    return [action.service for action in step_.actions if isinstance(action, RestartService)]
