"""What the engine remembers between ticks: a durable record per service, and its live series."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from leakguard.core.activity import Activity, Pulse
from leakguard.core.assessment import Assessment
from leakguard.core.calendar import NOTHING, Calendar
from leakguard.core.calibration import UNPROMISED, UNTRIED, Outcomes, Promises
from leakguard.core.foretold import Foretold
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import Told
from leakguard.core.instant import Instant
from leakguard.core.kill_book import KillBook
from leakguard.core.lasting import Mark
from leakguard.core.limits import Bent
from leakguard.core.lives import Life
from leakguard.core.policy import Trigger
from leakguard.core.sample import Incarnation, Sample
from leakguard.core.series import Series
from leakguard.core.severity import Severity
from leakguard.core.trend import UNKNOWN, Trend
from leakguard.core.waiting import Waiting


class Phase(StrEnum):
    """Where a service stands, in one word."""

    STARTING = "starting"
    """No reading yet."""
    WATCHING = "watching"
    RESTARTING = "restarting"
    GRACE = "grace"
    """Young: only threshold and near exhaustion act."""
    BREAKER_OPEN = "breaker_open"
    """Too many restarts: watched and alerted, not restarted."""
    PAUSED = "paused"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRecord:
    """One restart, whoever caused it. `reason` is a Trigger's value, or `others`."""

    at: Instant
    reason: str


class FlightStage(StrEnum):
    """How far a restart in flight has come."""

    ACTING = "acting"
    """The driver is at work, or a new incarnation is awaited."""
    HEALTH = "health"
    """The new incarnation is there; its health gate is being asked."""
    CLEARING = "clearing"
    """What depends on it is being stopped; its own restart has not begun."""
    QUEUED = "queued"
    """It is stopped for another one's restart once what depends on it is down."""
    STOPPING = "stopping"
    """It is being stopped for another one's restart."""
    DOWN = "down"
    """It is down, or refused to, and is started once that restart is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A restart that was committed and has no end yet; at most one per service."""

    action_id: str
    trigger: Trigger
    reason: str
    began: Instant
    deadline_s: float
    old: Incarnation | None
    stage: FlightStage = FlightStage.ACTING
    before_bytes: int | None = None
    stop_s: float | None = None
    request_id: str = ""
    started: Incarnation | None = None
    """The process that the driver started, when it said so."""
    failed: str = ""
    """What the driver said when it could not; the next reading decides what came of it."""
    hopeless: bool = False
    """Trying again soon cannot help, the driver said."""
    done: Instant | None = None
    """When the driver had carried out its part."""
    told: tuple[Told, ...] = ()
    """What came of drain and hooks before it."""
    after: bool = False
    """Hooks follow its end."""
    kept_root: bool = False
    """The driver replaced what runs below the root, which goes on."""
    said: str = ""
    """What the driver said of that."""
    elsewhere: str = ""
    """Who took the service over out of sight, as the driver said."""
    hurry_s: float | None = None
    """Its dependents have so long to stop; then its memory would run out before them."""
    for_service: str = ""
    """The service whose restart it is stopped and started for …"""
    for_action: str = ""
    """… and the id of that restart."""
    tries: int = 0
    """How often it was tried to start it again …"""
    pause_s: float = 0.0
    """… and how long after `began` the next try may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A person took the service out of automatic restarts. `until_wall_s` None: until resumed."""

    by: str
    reason: str
    until_wall_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem people were told of and that still stands; its alerts share one dedup key."""

    since_wall_s: float
    told_wall_s: float
    severity: Severity
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A finished restart whose new size is not yet told: `812 MiB -> 96 MiB`."""

    since: Instant
    action_id: str
    before_bytes: int | None
    took_s: float | None
    """None for a restart by others, whose beginning nobody saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probation:
    """How a breaker that is not closed finds out whether a restart helps again."""

    relapses: int = 0
    """Restarts on probation that were no help, in a row."""
    until: Instant | None = None
    """Nothing is restarted before this; None: before the oldest counted restart is out of sight."""
    action_id: str = ""
    """The one restart that is out; empty when none is."""
    run: Incarnation | None = None
    """What it brought."""
    since: Instant | None = None


class Futile(StrEnum):
    """Why restarts gain nothing."""

    STARTS_FULL = "starts_full"
    COMES_BACK_SOONER = "comes_back_sooner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Futility:
    """Restarts gain nothing, and people know. `bar`: the threshold or limit it is about."""

    cause: Futile
    words: str
    bar: str
    bar_bytes: int
    threshold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A run that a restart of ours for its memory was to end."""

    run: Incarnation
    lasted_s: float
    renewed: Instant | None = None
    """When all but its root was replaced: that is another run of the same incarnation."""
    full: bool = False
    """It had started full, and was soon back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A run of a service that ended and that no restart of ours ended; why is being found out."""

    incarnation: Incarnation
    noticed: Instant
    last: Sample | None = None
    """The last sample of that run; None when it ended while nobody watched."""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A scheduled restart that something held back which ends by itself: it waits for that."""

    cron: str
    due_wall_s: float
    since: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Where a service stands that is asked for leave before its restart.

    `since`: when the restart was first wanted; `wanted`: when it last was. At most one of `asked`
    (no answer yet) and `granted` is set; `again`: it is busy, and is asked again then.
    """

    since: Instant
    wanted: Instant
    action_id: str = ""
    asked: Instant | None = None
    granted: Instant | None = None
    again: Instant | None = None
    refusals: int = 0
    words: str = ""
    request_id: str = ""
    """A person's restart that waits for the answer, and why it was asked for."""
    request_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecord:
    """What must survive the daemon: written to the store in the tick that changed it."""

    name: str
    incarnation: Incarnation | None = None
    restarts: tuple[RestartRecord, ...] = ()
    flight: Flight | None = None
    pause: Pause | None = None
    breaker_open: bool = False
    """It was hit and has not closed; it may be half-open by now."""
    probation: Probation = field(default_factory=Probation)
    failures: int = 0
    """Failed attempts in a row; the breaker spaces the next ones out."""
    retry_at: Instant | None = None
    bent: Bent | None = None
    """Limits that are bent to buy time, with what is to be put back."""
    rate_told: int = 0
    """Restarts within a day, when people were last told of them together."""
    settled_bytes: int | None = None
    """What the present run started with: what it held once it no longer rose, before that what it
    held less what it still rises; None where nobody saw it start, or one look says too little."""
    rounds: tuple[Round, ...] = ()
    """The last runs in a row that restarts for their memory ended, oldest first."""
    futility: Futility | None = None
    """What was found out about restarts that gain nothing."""
    stop_start_s: float | None = None
    """Measured time from decision to the first sample of the new incarnation, smoothed."""
    fired: Mapping[str, float] = field(default_factory=dict)
    """Last moment (wall clock) of each cron expression that was dealt with."""
    due: Due | None = None
    """The scheduled restart that is still to come."""
    leave: Leave | None = None
    """What the service said of the restart that is wanted; None when none is."""
    flight_ended: Instant | None = None
    """When its last restart was over, well or not."""
    unhealthy: bool = False
    """The health gate of its last restart failed, and nothing has happened since."""
    problems: Mapping[str, Problem] = field(default_factory=dict)
    missing: bool = False
    unreadable: bool = False
    settling: Settling | None = None
    """The last restart of ours, until the follow-up said what the memory became."""
    renewed: Instant | None = None
    """When what runs below the root was last replaced; None when the root itself was."""
    exit_code: int | None = None
    restart_counts: Mapping[str, int] = field(default_factory=dict)
    """`reason/outcome` → number of restarts since the state began."""
    veto_counts: Mapping[str, int] = field(default_factory=dict)
    """Guard → number of proposals it newly held back."""
    oom_kills: int = 0
    """Kernel kills in the memory domains that hold the service, whoever died."""
    oom_causes: Mapping[str, int] = field(default_factory=dict)
    """The same kills by whose memory had run out: `KillCause` → number."""
    deaths: Mapping[str, int] = field(default_factory=dict)
    """`DeathCause` → number of runs that ended so."""
    predictions: Mapping[str, int] = field(default_factory=dict)
    """How kills compared with what was foretold: `Hit` → number; in the daemon's own record."""
    dying: tuple[Death, ...] = ()
    """Deaths whose cause is not told yet, oldest first."""
    lives: tuple[Life, ...] = ()
    """How earlier incarnations grew, oldest first: the precedents of the next leak."""
    outcomes: Outcomes = UNTRIED
    """How the newest forecasts of its memory came out; in the daemon's own record: those of all."""
    activity: Activity = field(default_factory=Activity)
    """How busy it is at each time of day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """Record, series and the latest facts of one service. The series is owned and mutable."""

    record: ServiceRecord
    series: Series
    sample: Sample | None = None
    assessment: Assessment | None = None
    fitted_boot_s: float | None = None
    fastest_bytes_per_s: float = 0.0
    """Fastest recent rise between two samples, decaying; sets the pace."""
    over_since: Instant | None = None
    held: Mapping[str, float] = field(default_factory=dict)
    """Vetoes already told: `trigger/guard`."""
    last_decision: str = ""
    cannot_act: str = ""
    """Why its driver would refuse to act now, with the fix; empty when it would act."""
    ambiguous: str = ""
    """The target's own sentence while unrelated processes match it."""
    unreadable_count: int = 0
    sample_errors: int = 0
    leak_streak: int = 0
    promises: Promises = UNPROMISED
    """Forecasts of this life that are going to be held to what comes."""
    marks: tuple[Mark, ...] = ()
    """What it held in files that outlive it, at some moments of the last hours."""
    foreseen_since: Instant | None = None
    """When an exhaustion was first foreseen that people are not told of yet."""
    last_seen: Mapping[str, float] = field(default_factory=dict)
    """When a problem that people were told of last showed, in seconds since boot."""
    unbendable: Incarnation | None = None
    """The run for which no time could be bought."""
    calm_since: Instant | None = None
    """Since when nothing has wanted a restart for its memory; kept while somebody waits for it."""
    throttled_since: Instant | None = None
    """Since when the kernel has slowed it down without a break."""
    absent_since: Instant | None = None
    last: Sample | None = None
    """The last sample, kept while the service is gone: where it was when it died."""
    calendar: Calendar = NOTHING
    """Its windows, blackouts and schedules, as far as they were worked out."""
    waiting: Waiting | None = None
    """When it is going to be restarted for its leak, as of its last sample."""
    pulse: Pulse | None = None
    let_go: bool = False
    """The target finds nothing, but what ran last runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """When a domain is going to end: its 5 % and 95 % quantiles, in seconds since boot."""

    early_boot_s: float
    late_boot_s: float | None
    """None: beyond the horizon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainState:
    """Series of what a limited cgroup (or the host) holds and cannot drop."""

    series: Series
    fitted_boot_s: float | None = None
    trend: Trend = UNKNOWN
    path: str = ""
    limit_bytes: int = 0
    limit_hits: int | None = None
    short_boot_s: float | None = None
    """When it was last seen at its limit, in seconds since boot."""
    foretold: Foretold | None = None
    """Whom the kernel would kill, as of the last look."""
    expected: Expected | None = None
    """When it is going to end, as of the last tick; None when nothing is foreseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything `step` knows of the past. `instance` and `serial` make every id unique."""

    instance: str
    serial: int = 0
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    domains: Mapping[str, DomainState] = field(default_factory=dict)
    quiet: Mapping[str, DomainState] = field(default_factory=dict)
    """Domains that end without a kill: what is promised under `vm.overcommit_memory=2`, and
    cgroups with `memory.high`."""
    kills: KillBook = field(default_factory=KillBook)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    """What is coming for each entry that has windows, blackouts or schedules."""
    own: ServiceRecord = field(default_factory=lambda: ServiceRecord(name=""))
    """The daemon's own record: problems that belong to no service."""
