"""What the operator wants: when a restart should be proposed, and the proposals themselves."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from leakguard.core.frozen import dataclass
from leakguard.core.sample import Measure
from leakguard.core.units import Amount

DEADLINE_S = 60.0
"""Within this a restart must be done, where neither configuration nor driver says else."""


class Mode(StrEnum):
    """Whether decisions are carried out."""

    OBSERVE = "observe"
    ACT = "act"


class CatchUp(StrEnum):
    """What to do about a scheduled restart whose moment passed while nobody could act."""

    RUN = "run"
    SKIP = "skip"


class Respawn(StrEnum):
    """Whether a child that ended by itself is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class Trigger(StrEnum):
    """Why a restart is proposed, in order of precedence."""

    MANUAL = "manual"
    RESPAWN = "respawn"
    THRESHOLD = "threshold"
    EXHAUSTION = "exhaustion"
    """A forecast whose early edge is so near that nothing but the breaker may hold it."""
    FORECAST = "forecast"
    SCHEDULE = "schedule"
    MAX_AGE = "max_age"
    DEPENDENCY = "dependency"
    """Never proposed: it stops and starts with the restart of what it depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule:
    """Restart when the measure is above `above` for `for_s` seconds without a break."""

    above: Amount
    for_s: float = 0.0


class Act(StrEnum):
    """Whether it matters for a forecast restart whom the kernel would kill."""

    ALWAYS = "always"
    """Restart who fills the domain, whoever would die."""
    WHEN_VICTIM = "when_victim"
    """Only when the kernel would kill the service itself, as far as that is known."""
    WHEN_LEAKER = "when_leaker"
    """Only when nobody else in the domain grows faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRule:
    """Restart when P(limit reached within the lead) > `risk`.

    `lead_s` None: twice the measured stop and start time, at most ten minutes. `act` is about
    memory domains; a limit that only the configuration knows kills nobody. `start_up_s`: growth
    without a verdict that was seen for less than this may be the start of the service.
    """

    risk: float = 0.05
    lead_s: float | None = None
    start_up_s: float = 8.0
    act: Act = Act.ALWAYS
    quiet: bool = True
    """Without a window before the end, restart at the quietest time of the day before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRule:
    """Restart at the times of a cron expression, unless the measure is below `skip_below`."""

    cron: str
    timezone: str = "UTC"
    skip_below: Amount | None = None
    catch_up: CatchUp = CatchUp.RUN
    splay_s: float = 0.0
    """Over so long a time the moments of many hosts and services are spread …"""
    delay_s: float = 0.0
    """… and this is the share of this one: each moment comes so much later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRule:
    """Time that begins at the moments of a cron expression and lasts `length_s`."""

    cron: str
    length_s: float
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that may propose a restart of one service."""

    threshold: ThresholdRule | None = None
    forecast: ForecastRule | None = field(default_factory=ForecastRule)
    schedules: tuple[ScheduleRule, ...] = ()
    max_age_s: float | None = None
    windows: tuple[WindowRule, ...] = ()
    """The cheap moments: a leak waits for the last one that comes early enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """So many restarts of all services together, decided by leakguard itself, within `per_s`."""

    max_restarts: int
    per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """What may hold a proposal back."""

    grace_s: float = 300.0
    """After a start, schedule, age and slow forecasts wait this long."""
    max_restarts: int = 4
    per_s: float = 6 * 3600.0
    """The breaker opens at `max_restarts` restarts, whatever their cause, within `per_s`."""
    budget: Budget | None = None
    """The breaker of all services together, the same for each."""
    windows_only: bool = False
    """Nothing but schedules and people restart it outside its windows, whatever comes of that."""
    blackouts: tuple[WindowRule, ...] = ()
    blackouts_yield: bool = False
    """A threshold and the end of the memory are acted on in a blackout too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRules:
    """What holds for services that stand in for each other, whatever drivers they have."""

    name: str
    max_parallel: int = 1
    """So many restarts may be under way in it at a time, health gates included."""
    min_healthy: int = 0
    """A restart that can wait leaves at least so many members running and well."""
    stagger_s: float = 0.0
    """Time between the end of one restart and the begin of the next that can wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How often a service is sampled: `idle_s` apart at rest, down to `floor_s` near a limit."""

    idle_s: float = 10.0
    floor_s: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyTimeRule:
    """How far a limit may be bent so that a leak lasts until its window; None: not in this way.

    `raise_by` and `throttle_below` are shares of the limit.
    """

    raise_by: float | None = None
    at_most_bytes: int | None = None
    throttle_below: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveRules:
    """How long a service may put its restart off: `at_most_s` in all, where no forecast ends it.

    It must answer within `within_s`.
    """

    within_s: float = 5.0
    at_most_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRules:
    """How a restart of this service goes; what the engine must know of its driver.

    `driver` is its name, for messages ("" = nobody can restart it: observe only). `deadline_s`:
    a new incarnation must be sampled within this. `health_within_s`: None without a health gate.
    `starts`: leakguard itself starts the service (`child`), also after it ended. `prelude_s`: the
    longest that drain and hooks may take before the driver acts. `after`: hooks follow the restart.
    `depends_on`: the entries whose restart it is stopped for.
    `leave`: None where the service is not asked.
    """

    driver: str = ""
    deadline_s: float = DEADLINE_S
    health_within_s: float | None = None
    starts: bool = False
    respawn: Respawn = Respawn.ALWAYS
    prelude_s: float = 0.0
    after: bool = False
    buy_time: BuyTimeRule | None = None
    depends_on: tuple[str, ...] = ()
    leave: LeaveRules | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRules:
    """What the configuration says about one service, compiled to plain values.

    `limit`: one more limit on the measure, never a replacement of the real ones.
    """

    name: str
    mode: Mode = Mode.OBSERVE
    measure: Measure = Measure.AUTO
    limit: Amount | None = None
    policy: Policy = field(default_factory=Policy)
    guards: GuardRules = field(default_factory=GuardRules)
    pacing: Pacing = field(default_factory=Pacing)
    restart: RestartRules = field(default_factory=RestartRules)
    group: GroupRules | None = None


def rules_among(services: Mapping[str, ServiceRules], service: str) -> ServiceRules | None:
    """Give the rules of a service: its own, or those of its entry (`worker:2`: `worker`)."""
    return services.get(service) or services.get(service.partition(":")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """'I would restart, because …': one per trigger that holds; guards may veto it."""

    trigger: Trigger
    reason: str
    request_id: str = ""
    forced: bool = False
