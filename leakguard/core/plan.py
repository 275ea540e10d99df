"""What the configuration compiled to: the plain values the daemon is started with.

The configuration layer makes a Plan, the daemon reads it from an inherited memory file; between
them there is no pydantic, no YAML and no file to read again.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from leakguard.core.alerts import AlertRules
from leakguard.core.frozen import dataclass
from leakguard.core.policy import GroupRules, ServiceRules
from leakguard.core.units import MIB, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSpec:
    """A plug-in by its key, and its options as plain data that fit the plug-in's `Options`."""

    key: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSpec:
    """The health gate after a restart: exactly one of `http`, `tcp` and `command` is set."""

    http: str = ""
    """URL that must answer 2xx or 3xx."""
    tcp: str = ""
    """`host:port` that must accept a connection."""
    command: tuple[str, ...] = ()
    """argv that must exit 0."""
    within_s: float = 60.0
    every_s: float = 0.5


class Method(StrEnum):
    """How a question is sent."""

    POST = "POST"
    PUT = "PUT"
    GET = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How a service is asked before a restart: exactly one of `http` and `command` is set."""

    http: str = ""
    """URL that answers 2xx for yes, and says by Retry-After when to ask again."""
    method: Method = Method.POST
    command: tuple[str, ...] = ()
    """argv that exits 0 for yes, and 75 for not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSpec:
    """A command that is run round a restart, and how much of its output is kept."""

    command: tuple[str, ...]
    within_s: float = 30.0
    keep_bytes: int = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrandPlan:
    """What is done round a restart beside the driver's part."""

    drain: Question | None = None
    drain_wait_s: float = 30.0
    before: tuple[HookSpec, ...] = ()
    after: tuple[HookSpec, ...] = ()
    ask: Question | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """One entry under `services`: the rules for the engine and the plug-ins for the shell.

    `each`: one guarded service per match, named `name:1`, `name:2`, …; else exactly one.
    `where` is the place in the configuration (`config.yaml:7`), for messages.
    """

    rules: ServiceRules
    target: PluginSpec
    each: bool = False
    driver: PluginSpec | None = None
    detector: PluginSpec = PluginSpec(key="envelope")
    health: HealthSpec | None = None
    errands: ErrandPlan = ErrandPlan()
    timezone: str = "UTC"
    """Of the schedules that labels of its matches bring."""
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPlan:
    """One entry under `alerts.channels`."""

    name: str
    notifier: PluginSpec
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPlan:
    """The HTTP listener. `listen` is `host:port`, or empty for none."""

    listen: str = "127.0.0.1:9847"
    token: Secret | None = None
    open_metrics: bool = False
    allow_no_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlan:
    """The state file. `path` empty: in memory only."""

    path: str = ""
    keep_s: float = 30 * 86400.0
    raw_keep_s: float = 6 * 3600.0
    hook_output_bytes: int = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything the daemon needs to know."""

    host: str
    services: tuple[ServicePlan, ...]
    groups: tuple[GroupRules, ...] = ()
    channels: tuple[ChannelPlan, ...] = ()
    alerts: AlertRules = field(default_factory=AlertRules)
    http: HttpPlan = field(default_factory=HttpPlan)
    state: StatePlan = field(default_factory=StatePlan)
    socket_path: str = ""
    shutdown_grace_s: float = 30.0
    proc_root: str = "/proc"
    cgroup_root: str = ""
    """Where cgroup file systems are mounted; empty: as /proc/self/mountinfo says."""
    sources: tuple[str, ...] = ()
    """The files the plan was made from, for messages and reload."""
