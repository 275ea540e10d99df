"""What people write: every setting once, with its type, its default and its explanation."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from leakguard.config.fields import (
    Count,
    Duration,
    Limit,
    Listen,
    Name,
    PositiveDuration,
    SecretText,
    Size,
    Switch,
    Timezone,
    unfold_many,
    unfold_off,
)
from leakguard.config.marks import MANY, OFF, plug_in
from leakguard.config.restarting import Budget, Group, Restart
from leakguard.config.values import Model, read_bytes, read_seconds, structured
from leakguard.core.events import Severity
from leakguard.core.policy import Mode
from leakguard.core.sample import Measure


class Defaults(Model):
    """Settings that every service inherits."""

    mode: Mode = Field(
        default=Mode.OBSERVE,
        description="observe: decide, log and alert, but restart nothing. act: do it.",
    )
    each: Switch = Field(
        default=False,
        description="One guarded service per match (name:1, name:2, …) instead of exactly one;"
        " what another entry has to itself is left to that one.",
    )
    measure: Measure = Field(
        default=Measure.AUTO,
        description="Which number counts: auto (anonymous, shared and swapped memory of the tree"
        " or cgroup), rss, pss, uss or cgroup.",
    )
    limit: Limit = Field(
        default=None,
        description="auto: cgroups, host, rlimit and CommitLimit count. "
        "A size is one more limit beside them.",
    )
    timezone: Timezone | None = Field(
        default=None, description="Time zone of the schedules. Left out: the machine's."
    )
    sample_every: PositiveDuration = Field(
        default=read_seconds("10s"),
        description="Time between two samples at rest; it shrinks as a limit comes near.",
    )
    sample_floor: PositiveDuration = Field(
        default=read_seconds("100ms"), description="The shortest time between two samples."
    )
    detector: Any = Field(
        default="envelope",
        description="What tells a leak from noise: a detector's name, or {name: options}.",
        json_schema_extra=plug_in("detectors"),
    )
    restart: Restart = Field(
        default_factory=Restart, description="When and how the service is restarted."
    )


class Service(Defaults):
    """One guarded service."""

    target: Any = Field(
        description="Which processes are the service: {name: options} of one target.",
        json_schema_extra=plug_in("targets"),
    )


class Route(Model):
    """Which alerts go where."""

    severity: Severity = Field(
        default=Severity.WARNING, description="Alerts of at least this: info, warning or critical."
    )
    to: Annotated[tuple[str, ...], BeforeValidator(unfold_many), Field(min_length=1)] = Field(
        description="The channels, by their names.", json_schema_extra=MANY
    )
    remind: Annotated[PositiveDuration | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="Say it again after this time while the problem stands.",
        json_schema_extra=OFF,
    )


class Alerts(Model):
    """Who is told."""

    channels: Annotated[dict[Name, Any], BeforeValidator(structured)] = Field(
        default_factory=dict,
        description="Channels by names of your own, each {kind: options}.",
        json_schema_extra=plug_in("notifiers"),
    )
    routes: Annotated[tuple[Route, ...], BeforeValidator(unfold_many)] = Field(
        default=(),
        description="Which alerts go where. Without any: all of them everywhere.",
        json_schema_extra=MANY,
    )
    restarts_singly: Annotated[Count, Field(ge=0)] = Field(
        default=3,
        description="So many restarts of one service within a day are told one by one; more are one"
        " alert with their number, which is said again when that has doubled.",
    )


class Http(Model):
    """The HTTP listener."""

    listen: Listen = Field(
        default="127.0.0.1:9847",
        description="host:port of the API and /metrics; or off.",
    )
    token: SecretText | None = Field(
        default=None, description="What clients must send as `Authorization: Bearer …`."
    )
    token_file: str | None = Field(default=None, description="A file that holds the token.")
    open_metrics: Switch = Field(
        default=False, description="Serve /metrics without the token, also beyond this machine."
    )
    allow_no_token: Switch = Field(
        default=False, description="Listen beyond this machine without any token."
    )


class StateFile(Model):
    """What is remembered."""

    path: str | None = Field(
        default=None,
        description="The state file; empty text keeps state in memory only. Left out:"
        " /var/lib/leakguard/state.db for root, $XDG_STATE_HOME/leakguard/state.db for others.",
    )
    keep: PositiveDuration = Field(
        default=read_seconds("30d"), description="How long history and events are kept."
    )
    raw_keep: PositiveDuration = Field(
        default=read_seconds("6h"),
        description="How long single samples are kept; then their medians per minute and per hour.",
    )
    hook_output: Size = Field(
        default=read_bytes("1GiB"),
        description="So much of what hooks printed and wrote is kept beside the state file, the"
        " newest first.",
    )


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        frozen=True,
        arbitrary_types_allowed=True,
        title="leakguard configuration",
        validate_default=False,
    )

    defaults: Defaults = Field(default_factory=Defaults, description="What every service inherits.")
    services: Annotated[dict[Name, Service], BeforeValidator(structured)] = Field(
        default_factory=dict, description="The guarded services, by names of your own."
    )
    groups: Annotated[dict[Name, Group], BeforeValidator(structured)] = Field(
        default_factory=dict,
        description="Groups of services by names of your own: `restart.group` puts a service into"
        " one.",
    )
    max_restarts: Annotated[Budget | None, BeforeValidator(unfold_off)] = Field(
        default=None,
        description="How many restarts of all services together are allowed in what time; false:"
        " as many as each service's own `max_restarts` allows.",
        json_schema_extra=OFF,
    )
    alerts: Alerts = Field(default_factory=Alerts, description="Who is told, and of what.")
    http: Http = Field(default_factory=Http, description="The HTTP listener.")
    state: StateFile = Field(
        default_factory=StateFile, description="What is remembered, and where."
    )
    socket: str | None = Field(
        default=None,
        description="The unix socket for commands. Left out: leakguard.sock in /run/leakguard or"
        " $XDG_RUNTIME_DIR/leakguard.",
    )
    shutdown_grace: Duration = Field(
        default=read_seconds("30s"),
        description="How long a stop of leakguard waits for a restart that is under way.",
    )
    host: str | None = Field(
        default=None, description="The name of this machine in alerts. Left out: its host name."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the library's own signature
        init_settings: PydanticBaseSettingsSource,
        *_others: Any,
        **_more: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: `validate.py` says what is read, with places for messages."""
        return (init_settings,)
