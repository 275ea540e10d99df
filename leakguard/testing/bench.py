"""The engine on a bench: step it with readings one wants, under a clock and a trend one sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from leakguard.core.alerts import AlertRules
from leakguard.core.calendar import Calendar
from leakguard.core.engine import Inputs, Notice, Rules, Step, step
from leakguard.core.events import Event, EventKind
from leakguard.core.forecast import LimitKind, Room
from leakguard.core.inbox import Outcome, OutcomeKind, Request
from leakguard.core.instant import Instant
from leakguard.core.kills import NamedKill
from leakguard.core.policy import (
    ForecastRule,
    GuardRules,
    Mode,
    Policy,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.sample import (
    Absent,
    DomainSample,
    HostSample,
    Incarnation,
    Measure,
    Reading,
    Sample,
    Snapshot,
    Unreadable,
)
from leakguard.core.series import Series
from leakguard.core.state import ServiceRecord, ServiceState, State
from leakguard.core.trend import UNKNOWN, Detector, Trend, Verdict
from leakguard.core.units import MIB, Amount
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

NAME = "worker"
CGROUP = "v2:/worker"
"""Key of the cgroup that `Bench.domain` makes."""
OLD_S = 3600.0
"""Age of a sample unless told: grace is long over."""
CHANNEL = "ops"


def guarded(
    policy: Policy | None = None,
    *,
    mode: Mode = Mode.ACT,
    guards: GuardRules | None = None,
    restart: RestartRules | None = None,
    limit: Amount | None = None,
) -> ServiceRules:
    """Make the rules of `worker`: it acts by a driver and has no policy unless one is given."""
    return ServiceRules(
        name=NAME,
        mode=mode,
        policy=policy or Policy(forecast=None),
        guards=guards or GuardRules(),
        restart=restart or RestartRules(driver="fake"),
        limit=limit,
    )


def threshold(mib: float | None = None, *, share: float | None = None, for_s: float = 0) -> Policy:
    """Make a policy of a threshold alone."""
    amount = Amount(share=share) if mib is None else Amount(size_bytes=int(mib * MIB))
    return Policy(forecast=None, threshold=ThresholdRule(above=amount, for_s=for_s))


def foreseeing(*, risk: float = 0.05, lead_s: float | None = None) -> Policy:
    """Make a policy of a forecast alone."""
    return Policy(forecast=ForecastRule(risk=risk, lead_s=lead_s))


def scheduled(*schedules: ScheduleRule) -> Policy:
    """Make a policy of schedules alone."""
    return Policy(forecast=None, schedules=schedules)


def sample_of(
    at: Instant,
    mib: float,
    *,
    run: Incarnation | None = None,
    age_s: float = OLD_S,
    domains: tuple[str, ...] = (),
    address: tuple[int, int] | None = None,
    service: str = NAME,
) -> Sample:
    """Make a sample; `address` is address space and its limit, in bytes."""
    return Sample(
        service=service,
        at=at,
        incarnation=run or run_of(),
        measure=Measure.AUTO,
        value_bytes=int(mib * MIB),
        rss_bytes=int(mib * MIB),
        age_s=age_s,
        domains=domains,
        address_space_bytes=address[0] if address else None,
        address_limit_bytes=address[1] if address else None,
    )


def service_of(
    sample: Sample | None = None, record: ServiceRecord | None = None, **live: object
) -> ServiceState:
    """Make the state of `worker` with a sample and whatever else is named."""
    state = ServiceState(record=record or ServiceRecord(name=NAME), series=Series(), sample=sample)
    return replace(state, **live)  # type: ignore[arg-type]  # checked by the state's own fields


def trend_of(
    verdict: Verdict = Verdict.LEAKING, mib_per_s: float | None = 1.0, *, error: float = 0.0
) -> Trend:
    """Make a trend over an hour."""
    slope = None if mib_per_s is None else mib_per_s * MIB
    return Trend(
        verdict=verdict,
        reason="scripted",
        slope_bytes_per_s=slope,
        error_bytes_per_s=error * MIB,
        window_s=3600.0,
        points=300,
    )


def room_of(mib: float, *, kind: LimitKind = LimitKind.CGROUP, limit_mib: float = 512) -> Room:
    """Make a limit with so much room below it."""
    path = "/worker" if kind is LimitKind.CGROUP else ""
    return Room(
        kind=kind, path=path, limit_bytes=int(limit_mib * MIB), headroom_bytes=int(mib * MIB)
    )


@dataclass(slots=True)
class ScriptedDetector:
    """Says what it was told to say."""

    trend: Trend = UNKNOWN

    def fit(self, series: Series, now: Instant, room_bytes: float | None = None) -> Trend:
        """Give the trend that was set."""
        return self.trend


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a tick brings of kills; `counts` by the key of the cgroup."""

    counts: Mapping[str, int] = field(default_factory=dict)
    kills: tuple[NamedKill, ...] = ()
    no_names: str = ""
    still_running: tuple[str, ...] = ()
    ending: bool = False


@dataclass(slots=True, kw_only=True)
class Bench:
    """One guarded service, stepped by hand. Every alert of any severity goes to one channel."""

    rules: ServiceRules = field(default_factory=guarded)
    alerts: AlertRules = field(default_factory=lambda: AlertRules(channels=(CHANNEL,)))
    clock: FakeClock = field(default_factory=FakeClock)
    own: ScriptedDetector = field(default_factory=ScriptedDetector)
    shared: Detector | None = None
    state: State = field(default_factory=lambda: State(instance="bench"))
    events: list[Event] = field(default_factory=list)

    def step(  # noqa: PLR0913  one for each kind of input
        self,
        *readings: Reading,
        requests: tuple[Request, ...] = (),
        outcomes: tuple[Outcome, ...] = (),
        notices: tuple[Notice, ...] = (),
        domains: Mapping[str, DomainSample] | None = None,
        host: HostSample | None = None,
        durable: bool = True,
        dropped: tuple[str, ...] = (),
        cannot_act: str = "",
        calendar: Calendar | None = None,
    ) -> Step:
        """Deal with one tick at the clock's time."""
        now = self.clock.now()
        snapshot = Snapshot(at=now, readings=readings, domains=domains or {}, host=host)
        inputs = Inputs(
            now=now,
            snapshot=snapshot,
            requests=requests,
            outcomes=outcomes,
            notices=notices,
            durable=durable,
            dropped=dropped,
            cannot_act={NAME: cannot_act} if cannot_act else {},
            calendars={NAME: calendar} if calendar is not None else {},
        )
        return self.deal(inputs)

    def hear(
        self,
        heard: Heard,
        *readings: Reading,
        domains: Mapping[str, DomainSample] | None = None,
        host: HostSample | None = None,
    ) -> Step:
        """Deal with one tick that brings news of kills."""
        now = self.clock.now()
        snapshot = Snapshot(
            at=now,
            readings=readings,
            domains=domains or {},
            host=host,
            kill_counts=heard.counts,
            still_running=heard.still_running,
        )
        inputs = Inputs(
            now=now,
            snapshot=snapshot,
            kills=heard.kills,
            kill_names=heard.no_names,
            ending=heard.ending,
        )
        return self.deal(inputs)

    def deal(self, inputs: Inputs) -> Step:
        """Step with these inputs."""
        detectors: dict[str, Detector] = {self.rules.name: self.own}
        if self.shared is not None:
            detectors[""] = self.shared
        rules = Rules(
            services={self.rules.name: self.rules}, detectors=detectors, alerts=self.alerts
        )
        made = step(self.state, inputs, rules)
        self.state = made.state
        self.events += made.events
        return made

    def see(
        self,
        mib: float,
        *,
        after_s: float = 1.0,
        pid: int = 100,
        age_s: float | None = None,
        requests: tuple[Request, ...] = (),
        outcomes: tuple[Outcome, ...] = (),
        durable: bool = True,
    ) -> Step:
        """Let time pass and read one sample; what a restart waits for is newborn by itself."""
        now = self.clock.advance(after_s)
        if age_s is None:
            age_s = 0.0 if self._awaits(pid) else OLD_S
        reading = sample_of(now, mib, run=run_of(pid), age_s=age_s)
        return self.step(reading, requests=requests, outcomes=outcomes, durable=durable)

    def _awaits(self, pid: int) -> bool:
        known = self.state.services.get(NAME)
        flight = known.record.flight if known is not None else None
        return flight is not None and (flight.old is None or flight.old.pid != pid)

    def miss(
        self,
        *,
        after_s: float = 1.0,
        exit_code: int | None = None,
        ambiguous: bool = False,
        taken_away: bool = False,
        outcomes: tuple[Outcome, ...] = (),
    ) -> Step:
        """Let time pass and find no process."""
        now = self.clock.advance(after_s)
        gone = Absent(
            service=NAME,
            at=now,
            reason="no process",
            exit_code=exit_code,
            ambiguous=ambiguous,
            taken_away=taken_away,
        )
        return self.step(gone, outcomes=outcomes)

    def fail(self, *, after_s: float = 1.0) -> Step:
        """Let time pass and find the memory unreadable."""
        now = self.clock.advance(after_s)
        return self.step(Unreadable(service=NAME, at=now, reason="permission denied"))

    def outcome(self, kind: OutcomeKind, message: str = "", *, health: bool = False) -> Outcome:
        """Make what came back of the restart in flight."""
        flight = self.service.record.flight
        action_id = flight.action_id if flight is not None else "none"
        suffix = "/health" if health else ""
        return Outcome(action_id=action_id + suffix, service=NAME, kind=kind, message=message)

    @property
    def service(self) -> ServiceState:
        """The state of the service."""
        return self.state.services[NAME]

    def kinds(self) -> list[EventKind]:
        """Give the kinds of all events so far."""
        return [event.kind for event in self.events]
