"""Which events people are told about, how, and on which channels."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum

from leakguard.core.events import Detail, Event, EventKind
from leakguard.core.frozen import dataclass
from leakguard.core.guards import Guard
from leakguard.core.severity import Severity
from leakguard.core.units import format_bytes, format_duration, format_rate


class AlertStatus(StrEnum):
    """Whether a problem stands, is over, or there is news that is no problem."""

    FIRING = "firing"
    RESOLVED = "resolved"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Alerts of at least `severity` go to the channels in `to`.

    `remind_s`: say a problem again after this many seconds while it stands; None: never.
    """

    severity: Severity = Severity.WARNING
    to: tuple[str, ...] = ()
    remind_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRules:
    """Where alerts go. With no routes, every alert goes to every channel.

    `restarts_singly`: more restarts of one service within a day are told together.
    """

    host: str = "localhost"
    channels: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    restarts_singly: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What a notifier sends. `id` is the same on every retry; `key` on every alert of a problem.

    `facts` are (name, value) pairs for people, at most 10; `details` are numbers for machines.
    """

    id: str
    key: str
    status: AlertStatus
    severity: Severity
    kind: EventKind
    service: str
    host: str
    title: str
    summary: str
    wall_s: float
    facts: tuple[tuple[str, str], ...] = ()
    details: Mapping[str, Detail] = field(default_factory=dict)
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Which problem an event opens or ends; events of one topic share a dedup key.

    `notice`: when there is no such problem to end, the event is still told. `again`: it is told
    also while the problem stands, since it has news.
    """

    name: str
    resolves: bool = False
    notice: bool = False
    again: bool = False


TOPICS: Mapping[EventKind, Topic] = {
    EventKind.LEAK_SUSPECTED: Topic(name="leak"),
    EventKind.LEAK_CLEARED: Topic(name="leak", resolves=True),
    EventKind.EXHAUSTION_PREDICTED: Topic(name="exhaustion"),
    EventKind.EXHAUSTION_AVERTED: Topic(name="exhaustion", resolves=True),
    EventKind.THRESHOLD_CROSSED: Topic(name="threshold"),
    EventKind.THRESHOLD_CLEARED: Topic(name="threshold", resolves=True),
    EventKind.LIMIT_PASSED: Topic(name="limit"),
    EventKind.LIMIT_KEPT: Topic(name="limit", resolves=True),
    EventKind.SERVICE_THROTTLED: Topic(name="throttled"),
    EventKind.SERVICE_UNTHROTTLED: Topic(name="throttled", resolves=True),
    EventKind.RESTART_DECIDED: Topic(name="restart"),
    EventKind.RESTART_FAILED: Topic(name="restart"),
    EventKind.RESTART_ABANDONED: Topic(name="restart"),
    EventKind.MEMORY_RECOVERED: Topic(name="restart", resolves=True),
    EventKind.SERVICE_STARTED: Topic(name="restart", resolves=True, notice=True),
    EventKind.SERVICE_RESUMED: Topic(name="restart", resolves=True, notice=True),
    EventKind.RESTART_LIMIT_HIT: Topic(name="breaker"),
    EventKind.RESTART_LIMIT_CLEARED: Topic(name="breaker", resolves=True),
    EventKind.RESTART_BUDGET_SPENT: Topic(name="budget"),
    EventKind.RESTART_BUDGET_FREE: Topic(name="budget", resolves=True),
    EventKind.LIMITS_RAISED: Topic(name="limits"),
    EventKind.LIMITS_NOT_RESTORED: Topic(name="limits", again=True),
    EventKind.LIMITS_RESTORED: Topic(name="limits", resolves=True),
    EventKind.RESTARTS_BECAME_FREQUENT: Topic(name="rate", again=True),
    EventKind.RESTARTS_BECAME_RARE: Topic(name="rate", resolves=True),
    EventKind.FUTILITY_FOUND: Topic(name="futility"),
    EventKind.FUTILITY_CLEARED: Topic(name="futility", resolves=True),
    EventKind.SERVICE_MISSING: Topic(name="missing"),
    EventKind.SERVICE_RETURNED: Topic(name="missing", resolves=True),
    EventKind.SERVICE_UNREADABLE: Topic(name="unreadable"),
    EventKind.SERVICE_READABLE: Topic(name="unreadable", resolves=True),
    EventKind.SERVICE_CANNOT_ACT: Topic(name="cannot_act"),
    EventKind.SERVICE_CAN_ACT: Topic(name="cannot_act", resolves=True),
    EventKind.STORE_FAILED: Topic(name="store"),
    EventKind.STORE_RECOVERED: Topic(name="store", resolves=True),
    EventKind.DELIVERY_FAILED: Topic(name="delivery"),
    EventKind.DELIVERY_RECOVERED: Topic(name="delivery", resolves=True),
    EventKind.LABELS_REJECTED: Topic(name="labels"),
    EventKind.LABELS_ACCEPTED: Topic(name="labels", resolves=True),
    EventKind.CONFIG_REJECTED: Topic(name="config"),
    EventKind.CONFIG_RELOADED: Topic(name="config", resolves=True),
    EventKind.DAEMON_STARTED: Topic(name="config", resolves=True, notice=True),
}
"""Events that open or end a problem. Every other event is a notice, told by its severity."""

_TITLES: Mapping[EventKind, str] = {
    EventKind.LEAK_SUSPECTED: "{service} is leaking on {host}",
    EventKind.LEAK_CLEARED: "{service} on {host} no longer leaks",
    EventKind.EXHAUSTION_PREDICTED: "{service} will run out of memory on {host}",
    EventKind.EXHAUSTION_AVERTED: "{service} on {host} is not running out of memory any more",
    EventKind.THRESHOLD_CROSSED: "{service} is above its threshold on {host}",
    EventKind.THRESHOLD_CLEARED: "{service} is below its threshold on {host} again",
    EventKind.LIMIT_PASSED: "{service} is above its configured limit on {host}",
    EventKind.LIMIT_KEPT: "{service} is below its configured limit on {host} again",
    EventKind.SERVICE_THROTTLED: "{service} is throttled on {host}",
    EventKind.SERVICE_UNTHROTTLED: "{service} on {host} is not throttled any more",
    EventKind.RESTART_DECIDED: "restarting {service} on {host}",
    EventKind.RESTART_FAILED: "restart of {service} on {host} failed",
    EventKind.RESTART_ABANDONED: "restart of {service} on {host} did not happen",
    EventKind.MEMORY_RECOVERED: "{service} was restarted on {host}",
    EventKind.RESTART_LIMIT_HIT: "{service} on {host}: too many restarts, only watching",
    EventKind.RESTART_LIMIT_CLEARED: "{service} on {host} may be restarted again",
    EventKind.RESTART_BUDGET_SPENT: "too many restarts on {host}, only watching",
    EventKind.RESTART_BUDGET_FREE: "services on {host} may be restarted again",
    EventKind.LIMITS_RAISED: "{service} on {host}: its limit is bent to last until its window",
    EventKind.LIMITS_NOT_RESTORED: "{service} on {host}: its old limit could not be put back",
    EventKind.LIMITS_RESTORED: "{service} on {host} has its old limit again",
    EventKind.RESTARTS_BECAME_FREQUENT: "{restarts} restarts of {service} on {host} within a day",
    EventKind.RESTARTS_BECAME_RARE: "{service} on {host} is restarted rarely again",
    EventKind.FUTILITY_FOUND: "restarts do not help {service} on {host}",
    EventKind.FUTILITY_CLEARED: "restarts of {service} on {host} may help again",
    EventKind.RESTART_VETOED: "restart of {service} on {host} held back",
    EventKind.HOOK_FAILED: "a hook of {service} on {host} failed",
    EventKind.SERVICE_MISSING: "{service} is not running on {host}",
    EventKind.SERVICE_DIED: "{service} died on {host}",
    EventKind.SERVICE_RETURNED: "{service} is running again on {host}",
    EventKind.SERVICE_UNREADABLE: "memory of {service} on {host} cannot be read",
    EventKind.SERVICE_READABLE: "memory of {service} on {host} can be read again",
    EventKind.SERVICE_CANNOT_ACT: "leakguard cannot restart {service} on {host}",
    EventKind.SERVICE_CAN_ACT: "leakguard can restart {service} on {host} again",
    EventKind.OOM_KILL_OBSERVED: "the kernel killed for memory on {host}",
    EventKind.STORE_FAILED: "leakguard on {host} cannot write its state",
    EventKind.STORE_RECOVERED: "leakguard on {host} writes its state again",
    EventKind.DELIVERY_FAILED: "leakguard on {host} cannot deliver alerts",
    EventKind.DELIVERY_RECOVERED: "leakguard on {host} delivers alerts again",
    EventKind.LABELS_REJECTED: "{service} on {host} has labels that cannot be used",
    EventKind.LABELS_ACCEPTED: "the labels of {service} on {host} are in force",
    EventKind.CONFIG_REJECTED: "leakguard on {host} keeps its old configuration",
    EventKind.CONFIG_RELOADED: "leakguard on {host} has a new configuration",
}


_WOULD_HAVE: Mapping[EventKind, str] = {
    EventKind.RESTART_VETOED: "would have restarted {service} on {host}",
    EventKind.TIME_NOT_BOUGHT: "would have bought time for {service} on {host}",
}
"""Headlines of what only observe mode held back."""

ONE_OF_MANY = frozenset({EventKind.RESTART_DECIDED, EventKind.RESTART_SUCCEEDED})
"""What is told of each single restart while these are rare; a failed one always is."""


def topic_key(event: Event) -> Topic | None:
    """Give the topic of an event; deliveries are one problem per channel.

    A skipped restart ends a problem only when it was decided already, and so has an action. A
    death is the problem that `ServiceReturned` ends, while the service is away.
    """
    if event.kind is EventKind.SERVICE_DIED:
        return Topic(name="missing") if event.details.get("missing") else None
    if event.kind is EventKind.RESTART_SKIPPED and "action_id" in event.details:
        return Topic(name="restart", resolves=True, notice=True)
    topic = TOPICS.get(event.kind)
    channel = event.details.get("channel")
    if topic is not None and topic.name == "delivery" and channel:
        return Topic(name=f"delivery/{channel}", resolves=topic.resolves)
    return topic


def title_of(event: Event, host: str) -> str:
    """Give the headline of an event, 120 characters at most."""
    template = _TITLES.get(event.kind, event.kind.value + " ({service} on {host})")
    if event.details.get("guard") == Guard.OBSERVE.value:
        template = _WOULD_HAVE.get(event.kind, template)
    restarts = event.details.get("restarts", "")
    named = template.format(service=event.service or "leakguard", host=host, restarts=restarts)
    return named[:120]


def channels_for(severity: Severity, rules: AlertRules) -> tuple[str, ...]:
    """Give the channels that are told of `severity`; without routes, all, from warning up."""
    if not rules.routes:
        return rules.channels if severity.rank >= Severity.WARNING.rank else ()
    to = {c for r in rules.routes if severity.rank >= r.severity.rank for c in r.to}
    return tuple(c for c in rules.channels if c in to)


def remind_after_s(severity: Severity, rules: AlertRules) -> float | None:
    """Give how long a standing problem of `severity` stays unsaid; None: for ever."""
    times = [r.remind_s for r in rules.routes if severity.rank >= r.severity.rank]
    return min((t for t in times if t is not None), default=None)


def alert_for(
    event: Event, rules: AlertRules, *, status: AlertStatus, told_as: Severity | None = None
) -> Alert | None:
    """Make the alert of an event; None when no channel is to be told.

    `told_as`: the severity of the problem that this resolves, so that the same people hear it.
    """
    channels = channels_for(told_as or event.severity, rules)
    if not channels:
        return None
    topic = topic_key(event)
    name = event.kind.value
    if topic is not None and status is not AlertStatus.NOTICE:
        name = topic.name
    return Alert(
        id=event.id,
        key=f"leakguard/{rules.host}/{event.service or 'leakguard'}/{name}"[:255],
        status=status,
        severity=event.severity,
        kind=event.kind,
        service=event.service,
        host=rules.host,
        title=title_of(event, rules.host),
        summary=event.message,
        wall_s=event.wall_s,
        facts=tuple(_facts(event.details)),
        details=event.details,
        channels=channels,
    )


_FACT_NAMES: Mapping[str, str] = {
    "value_bytes": "Memory",
    "trace": "Its course",
    "limit_bytes": "Limit",
    "headroom_bytes": "Headroom",
    "slope_bytes_per_s": "Trend",
    "time_to_limit_p50_s": "Time to limit",
    "tmpfs_bytes": "In files of tmpfs",
    "start_bytes": "At its start",
    "before_bytes": "Before",
    "after_bytes": "After",
    "cause": "Cause",
    "victim": "Victim",
    "anon_bytes": "Anonymous",
    "oom_score_adj": "oom_score_adj",
    "exit_code": "Exit code",
    "took_s": "Took",
    "trigger": "Trigger",
    "restarts_left": "Restarts left",
}


def _facts(details: Mapping[str, Detail]) -> Iterable[tuple[str, str]]:
    for key, name in _FACT_NAMES.items():
        value = details.get(key)
        if value is None:
            continue
        yield name, _for_people(key, value, str(details.get("measure", "")))


def _for_people(key: str, value: Detail, measure: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if key.endswith("_bytes_per_s"):
            return format_rate(value)
        if key.endswith("_bytes"):
            text = format_bytes(value)
            return f"{text} ({measure})" if key == "value_bytes" and measure else text
        if key.endswith("_s"):
            return format_duration(value)
    return str(value)
