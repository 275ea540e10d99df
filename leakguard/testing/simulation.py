"""One service on a simulated machine: the real engine, a scripted memory, restarts that happen.

The service lives by a series of values, one a tick, which begins anew with each incarnation. A
restart takes effect after `restart_ticks`; the machine kills the service when it passes
`limit_bytes` and starts it again. Used by scenario files and by property tests.
"""

from dataclasses import dataclass, field

from leakguard.core.decision import (
    AskLeave,
    BendLimits,
    CheckHealth,
    LookUpLimits,
    RestartService,
)
from leakguard.core.engine import Inputs, Rules, Step, step
from leakguard.core.events import Event
from leakguard.core.inbox import Outcome, OutcomeKind, Request
from leakguard.core.instant import Instant
from leakguard.core.limits import MemoryLimits
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import (
    Absent,
    DomainSample,
    Incarnation,
    Reading,
    Sample,
    Snapshot,
    Unreadable,
)
from leakguard.core.state import State
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.testing.clock import BOOT_ID, FakeClock
from leakguard.testing.series import Point

CGROUP = "/simulated"


@dataclass(slots=True, kw_only=True)
class Simulation:
    """Ticks the engine over `life`; `events` and `restarts` collect what came of it."""

    rules: ServiceRules
    life: tuple[Point, ...]
    tick_s: float = 10.0
    limit_bytes: int | None = None
    restart_ticks: int = 1
    ignores_restarts: bool = False
    unhealthy: bool = False
    """The health gate never passes."""
    crashes: bool = False
    """The service ends with code 1 when its series does."""
    cpu: float = 0.0
    """So many CPUs it keeps busy; 0: nobody knows."""
    clock: FakeClock = field(default_factory=FakeClock)
    state: State = field(default_factory=lambda: State(instance="sim"))
    events: list[Event] = field(default_factory=list)
    restarts: list[RestartService] = field(default_factory=list)
    kills: int = 0
    _pid: int = 100
    _born_s: float = 0.0
    _age: int = 0
    _due: list[tuple[int, RestartService]] = field(default_factory=list)
    _outcomes: list[Outcome] = field(default_factory=list)
    _ticks: int = 0

    def __post_init__(self) -> None:
        """The first incarnation starts with the simulation."""
        self._born_s = self.clock.boot_s

    def run(self, ticks: int) -> None:
        """Let time pass."""
        for _ in range(ticks):
            self.tick()

    def tick(self, *requests: Request) -> Step:
        """Let one interval pass, and give what the engine made of it."""
        now = self.clock.advance(self.tick_s)
        self._ticks += 1
        self._carry_out()
        reading = self._reading(now)
        outcomes, self._outcomes = tuple(self._outcomes), []
        inputs = Inputs(
            now=now,
            snapshot=Snapshot(at=now, readings=(reading,), domains=self._domains(reading)),
            outcomes=outcomes,
            requests=requests,
        )
        name = self.rules.name
        detector = EnvelopeDetector(Options())
        rules = Rules(services={name: self.rules}, detectors={name: detector, "": detector})
        made = step(self.state, inputs, rules)
        self.state = made.state
        self.events += made.events
        self._accept(made)
        return made

    def kinds(self) -> list[str]:
        """Give the kinds of all events so far."""
        return [event.kind.value for event in self.events]

    def _accept(self, made: Step) -> None:
        for action in made.actions:
            match action:
                case RestartService():
                    self.restarts.append(action)
                    self._due.append((self._ticks + self.restart_ticks, action))
                case LookUpLimits() | BendLimits():
                    self._bend(action)
                case AskLeave():
                    self._outcomes.append(
                        Outcome(
                            action_id=action.id,
                            service=action.service,
                            kind=OutcomeKind.GRANTED,
                        )
                    )
                case CheckHealth():
                    self._outcomes.append(
                        Outcome(
                            action_id=action.id,
                            service=action.service,
                            kind=OutcomeKind.UNHEALTHY if self.unhealthy else OutcomeKind.HEALTHY,
                            message="simulated" if self.unhealthy else "",
                        )
                    )

    def _bend(self, action: LookUpLimits | BendLimits) -> None:
        """Act as a cgroup does whose limit may be changed."""
        if isinstance(action, BendLimits):
            self.limit_bytes = action.limits.max_bytes
        limits = MemoryLimits(max_bytes=self.limit_bytes)
        self._outcomes.append(
            Outcome(
                action_id=action.id, service=action.service, kind=OutcomeKind.DONE, limits=limits
            )
        )

    def _carry_out(self) -> None:
        for when, action in list(self._due):
            if when > self._ticks:
                continue
            self._due.remove((when, action))
            if not self.ignores_restarts:
                self.reborn()
            self._outcomes.append(
                Outcome(action_id=action.id, service=action.service, kind=OutcomeKind.DONE)
            )

    def reborn(self) -> None:
        """Start a new incarnation, as a restart or a crash does."""
        self._pid, self._born_s, self._age = self._pid + 1, self.clock.boot_s, 0

    def _reading(self, now: Instant) -> Reading:
        over = self.crashes and self._age >= len(self.life)
        value = "-" if over else self.life[min(self._age, len(self.life) - 1)]
        self._age += 1
        if isinstance(value, int) and self.limit_bytes is not None and value >= self.limit_bytes:
            self.kills += 1
            self.reborn()
            value = self.life[0]
        if value == "-":
            code = 1 if over else None
            return Absent(service=self.rules.name, at=now, reason="no process", exit_code=code)
        if not isinstance(value, int):
            return Unreadable(service=self.rules.name, at=now, reason="simulated")
        return Sample(
            service=self.rules.name,
            at=now,
            incarnation=Incarnation(boot_id=BOOT_ID, pid=self._pid, start_ticks=self._pid),
            measure=self.rules.measure,
            value_bytes=value,
            rss_bytes=value,
            age_s=now.boot_s - self._born_s,
            cpu_s=self.cpu * (now.boot_s - self._born_s) if self.cpu else None,
            domains=(CGROUP,) if self.limit_bytes is not None else (),
        )

    def _domains(self, reading: Reading) -> dict[str, DomainSample]:
        if self.limit_bytes is None or not isinstance(reading, Sample):
            return {}
        return {
            CGROUP: DomainSample(
                path=CGROUP,
                version=2,
                limit_bytes=self.limit_bytes,
                usage_bytes=reading.value_bytes,
                oom_kills=self.kills,
            )
        }
