"""What people write about restarts: when, how, and what holds them back."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from leakguard.config.buying import BuyTime
from leakguard.config.fields import (
    Address,
    Argv,
    Count,
    Cron,
    Duration,
    HttpUrl,
    Name,
    PositiveAmount,
    PositiveDuration,
    Risk,
    Size,
    SomeAmount,
    Switch,
    unfold_many,
    unfold_off,
    unfold_switch,
)
from leakguard.config.marks import MANY, OFF, plug_in
from leakguard.config.values import Model, read_bytes, read_seconds
from leakguard.core.plan import Method
from leakguard.core.policy import Act, CatchUp, Respawn


class Forecast(Model):
    """When a forecast is enough to restart."""

    SHORT: ClassVar[str] = "risk"

    risk: Risk = Field(
        default=0.05,
        description="Restart when the chance of reaching the limit within `lead` is above this.",
    )
    lead: PositiveDuration | None = Field(
        default=None,
        description="How long before the limit to act. Left out: twice the measured stop and start"
        " time, at most 10m.",
    )
    start_up: Duration = Field(
        default=read_seconds("8s"),
        description="Growth that was seen for less than this, before there is a verdict, may be the"
        " start of the service: no restart, unless the kernel has killed there before.",
    )
    act: Act = Field(
        default=Act.ALWAYS,
        description="`always`: restart who fills its memory domain, whoever the kernel would kill;"
        " `when_victim`: only when that would be the service itself; `when_leaker`: only when"
        " nothing guarded in the domain grows faster.",
    )
    quiet: Switch = Field(
        default=True,
        description="When no window comes before the end, restart at the quietest time of the day"
        " before it, as the service's CPU time and memory have shown over a day or more.",
    )


class Threshold(Model):
    """A plain limit on the measure."""

    SHORT: ClassVar[str] = "above"

    above: PositiveAmount | None = Field(
        default=None,
        description="Restart when the measure is above this size, or share of the effective limit.",
    )
    for_: Duration = Field(
        default=read_seconds("0s"),
        alias="for",
        description="The measure must stay above it for this long without a break; a reading or"
        " two that fail are none.",
    )


class Schedule(Model):
    """Restarts at fixed times."""

    SHORT: ClassVar[str] = "cron"

    cron: Cron = Field(
        description="Five fields (minute, hour, day of month, month, day of week), or @hourly,"
        " @daily, @weekly, @monthly, @yearly."
    )
    skip_below: SomeAmount | None = Field(
        default=None, description="Let the time pass when the measure is below this size or share."
    )
    catch_up: CatchUp = Field(
        default=CatchUp.RUN,
        description="What to do about a time that passed while nobody could act: run or skip.",
    )
    splay: Duration = Field(
        default=read_seconds("0s"),
        description="Spread the times of many hosts and services over this long: each comes later"
        " by a share that host, service and cron decide, and that stays the same.",
    )


class Window(Model):
    """Time that begins at the moments of a cron expression."""

    cron: Cron = Field(description="When it begins: five fields, or @daily and the like.")
    length: PositiveDuration = Field(description="How long it lasts.")


class MaxRestarts(Model):
    """The breaker: restarts beyond it are held back, then one is on probation."""

    SHORT: ClassVar[str] = "count"

    count: Annotated[Count, Field(ge=1)] = Field(
        default=4, description="So many restarts, whatever their cause, are allowed …"
    )
    per: PositiveDuration = Field(
        default=read_seconds("6h"),
        description="… within this time; then leakguard only watches and alerts. After it one"
        " restart is on probation: it must hold for `per` / `count`, or the breaker stays open for"
        " twice as long, at most four times `per`.",
    )


class Budget(Model):
    """The breaker of all services together."""

    SHORT: ClassVar[str] = "count"

    count: Annotated[Count, Field(ge=1)] = Field(
        description="So many restarts that leakguard decides by itself, of all services, are"
        " allowed …"
    )
    per: PositiveDuration = Field(
        default=read_seconds("1h"),
        description="… within this time; then leakguard only watches and alerts until it is less.",
    )


class Group(Model):
    """Services that stand in for each other, whatever restarts them."""

    SHORT: ClassVar[str] = "max_parallel"

    max_parallel: Annotated[Count, Field(ge=1)] = Field(
        default=1,
        description="So many restarts may be under way in the group at a time, health gates"
        " included.",
    )
    min_healthy: Annotated[Count, Field(ge=0)] = Field(
        default=0,
        description="A restart that can wait leaves at least so many members running and well.",
    )
    stagger: Duration = Field(
        default=read_seconds("0s"),
        description="Time between the end of one restart and the begin of the next that can wait.",
    )


class Health(Model):
    """The health gate: exactly one of http, tcp and command."""

    GATES: ClassVar[tuple[str, ...]] = ("http", "tcp", "command")

    http: HttpUrl | None = Field(
        default=None, description="URL that must answer 2xx or 3xx after a restart."
    )
    tcp: Address | None = Field(
        default=None, description="host:port that must accept a connection after a restart."
    )
    command: Argv | None = Field(
        default=None, description="Program and arguments, without a shell, that must exit with 0."
    )
    within: PositiveDuration = Field(
        default=read_seconds("60s"), description="The gate must pass within this time."
    )
    every: PositiveDuration = Field(
        default=read_seconds("500ms"), description="Time between two attempts."
    )


class Drain(Model):
    """What makes the service finish its work before it is stopped: exactly one of http, command."""

    SHORT: ClassVar[str] = "http"
    GATES: ClassVar[tuple[str, ...]] = ("http", "command")

    http: HttpUrl | None = Field(
        default=None,
        description="URL that is asked before the restart: 2xx is drained; 202 or 503 with"
        " Retry-After is not yet, and it is asked again.",
    )
    method: Method = Field(default=Method.POST, description="How it is asked: POST, PUT or GET.")
    command: Argv | None = Field(
        default=None,
        description="Program and arguments, without a shell: exit code 0 is drained, 75 is not"
        " yet (the first line it prints may say when to ask again, such as 5s).",
    )
    wait: PositiveDuration = Field(
        default=read_seconds("30s"),
        description="The restart waits this long at most for the drain, then it goes on anyway.",
    )


class Ask(Model):
    """Whom to ask before a restart whether it suits: exactly one of http, command."""

    SHORT: ClassVar[str] = "http"
    GATES: ClassVar[tuple[str, ...]] = ("http", "command")

    http: HttpUrl | None = Field(
        default=None,
        description="URL that is asked: 2xx is leave; 409, 429 or 503 with Retry-After, or"
        ' {"busy": true, "again_in": "5m"}, is busy.',
    )
    method: Method = Field(default=Method.POST, description="How it is asked: POST, PUT or GET.")
    command: Argv | None = Field(
        default=None,
        description="Program and arguments, without a shell: exit code 0 is leave, 75 is busy (the"
        " first line it prints may say when to ask again, such as 5m).",
    )
    within: PositiveDuration = Field(
        default=read_seconds("5s"), description="No answer within this time (at most 8s) is leave."
    )
    at_most: PositiveDuration = Field(
        default=read_seconds("1h"),
        description="It may put a restart off for this long in all; a restart for a forecast until"
        " the memory may not last any longer.",
    )


class Hook(Model):
    """A command round a restart. A failure is told and never stops the restart."""

    command: Argv = Field(
        min_length=1,
        description="Program and arguments, without a shell. {pid}, {service}, {reason}, {trigger},"
        " {action_id} and {output_dir} are filled in; they are variables too: LEAKGUARD_PID, …",
    )
    within: PositiveDuration = Field(
        default=read_seconds("30s"), description="After this long it is killed."
    )
    keep: Size = Field(
        default=read_bytes("1MiB"),
        description="So much of the end of its output is kept beside the state file (at most"
        " 16MiB).",
    )


class Restart(Model):
    """When and how a service is restarted."""

    driver: Any = Field(
        default=None,
        description="Who restarts it: a driver's name, or {name: options}. Left out, it follows"
        " from the target.",
        json_schema_extra=plug_in("drivers"),
    )
    forecast: Annotated[Forecast | None, BeforeValidator(unfold_switch)] = Field(
        default_factory=Forecast,
        description="Restart before the memory runs out; false switches it off.",
        json_schema_extra=OFF,
    )
    threshold: Annotated[Threshold | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="Restart above a fixed size or share.",
        json_schema_extra=OFF,
    )
    schedule: Annotated[tuple[Schedule, ...], BeforeValidator(unfold_many)] = Field(
        default=(),
        description="Restart at fixed times: one schedule or a list of them.",
        json_schema_extra=MANY,
    )
    max_age: Annotated[PositiveDuration | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="Restart when the service has run for this long.",
        json_schema_extra=OFF,
    )
    windows: Annotated[tuple[Window, ...], BeforeValidator(unfold_many)] = Field(
        default=(),
        description="The cheap moments: a leak waits for the last one that comes before the end,"
        " max_age for the next one.",
        json_schema_extra=MANY,
    )
    windows_only: Switch = Field(
        default=False,
        description="Restart in no case outside the windows, not even when the memory runs out"
        " before the next one. Schedules and people still do.",
    )
    blackouts: Annotated[tuple[Window, ...], BeforeValidator(unfold_many)] = Field(
        default=(),
        description="When nothing is restarted by itself. Sampling and alerts go on, and what would"
        " not last until the end of a blackout is restarted before it.",
        json_schema_extra=MANY,
    )
    blackouts_yield: Switch = Field(
        default=False,
        description="Let a threshold and the end of the memory restart in a blackout, too.",
    )
    buy_time: Annotated[BuyTime | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="Bend the memory limit of a leak that would not last until its window, schedule"
        " or the end of a blackout; it is put back afterwards.",
        json_schema_extra=OFF,
    )
    grace: Duration = Field(
        default=read_seconds("5m"),
        description="After a start, schedules, age and slow forecasts wait this long.",
    )
    max_restarts: MaxRestarts = Field(
        default_factory=MaxRestarts, description="How many restarts are allowed in what time."
    )
    deadline: PositiveDuration | None = Field(
        default=None,
        description="The new run must be seen within this time, or the restart failed. Left out: 1m"
        " (3m 20s with systemd, which waits for a stop and a start 1m 30s each) beyond what drain"
        " and hooks before the restart may take.",
    )
    health: Annotated[Health | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="What must be well before a restart counts as succeeded.",
        json_schema_extra=OFF,
    )
    depends_on: Annotated[tuple[str, ...], BeforeValidator(unfold_many)] = Field(
        default=(),
        description="Services that this one needs: for their restarts it is stopped before and"
        " started after. Its driver must be able to stop.",
        json_schema_extra=MANY,
    )
    group: Annotated[Name | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="The group, of those under `groups`, whose members are not restarted all at"
        " once.",
        json_schema_extra=OFF,
    )
    ask: Annotated[Ask | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="The service is asked whether a restart suits, and may put it off.",
        json_schema_extra=OFF,
    )
    drain: Annotated[Drain | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="What makes the service finish its work before it is stopped.",
        json_schema_extra=OFF,
    )
    before: Annotated[tuple[Hook, ...], BeforeValidator(unfold_many)] = Field(
        default=(),
        description="Commands before the driver acts, after the drain, such as a heap dump: one or"
        " a list of them.",
        json_schema_extra=MANY,
    )
    after: Annotated[tuple[Hook, ...], BeforeValidator(unfold_many)] = Field(
        default=(),
        description="Commands after the restart, however it ended (LEAKGUARD_OUTCOME says how): one"
        " or a list of them.",
        json_schema_extra=MANY,
    )
    respawn: Respawn | None = Field(
        default=None,
        description="For the target `child`: whether it is started again when it ended by itself."
        " Left out: always.",
    )
