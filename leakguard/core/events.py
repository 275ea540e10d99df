"""What happened, in the past tense: the one record that log, store, alerts and API share."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from leakguard.core.frozen import dataclass
from leakguard.core.instant import rfc3339
from leakguard.core.severity import Severity

__all__ = ["Detail", "Event", "EventKind", "Severity"]

Detail = str | int | float | bool | None


class EventKind(StrEnum):
    """Every kind of event; the value is the name on the wire (`leakguard.<kind>.v1`)."""

    LEAK_SUSPECTED = "LeakSuspected"
    LEAK_CLEARED = "LeakCleared"
    EXHAUSTION_PREDICTED = "ExhaustionPredicted"
    EXHAUSTION_AVERTED = "ExhaustionAverted"
    THRESHOLD_CROSSED = "ThresholdCrossed"
    THRESHOLD_CLEARED = "ThresholdCleared"
    LIMIT_PASSED = "LimitPassed"
    LIMIT_KEPT = "LimitKept"
    RESTART_DECIDED = "RestartDecided"
    RESTART_VETOED = "RestartVetoed"
    RESTART_SUCCEEDED = "RestartSucceeded"
    RESTART_FAILED = "RestartFailed"
    RESTART_ABANDONED = "RestartAbandoned"
    RESTART_LIMIT_HIT = "RestartLimitHit"
    RESTART_LIMIT_CLEARED = "RestartLimitCleared"
    RESTART_BUDGET_SPENT = "RestartBudgetSpent"
    RESTART_BUDGET_FREE = "RestartBudgetFree"
    LIMITS_RAISED = "LimitsRaised"
    LIMITS_RESTORED = "LimitsRestored"
    LIMITS_NOT_RESTORED = "LimitsNotRestored"
    TIME_NOT_BOUGHT = "TimeNotBought"
    RESTARTS_BECAME_FREQUENT = "RestartsBecameFrequent"
    RESTARTS_BECAME_RARE = "RestartsBecameRare"
    FUTILITY_FOUND = "FutilityFound"
    FUTILITY_CLEARED = "FutilityCleared"
    RESTART_SKIPPED = "RestartSkipped"
    HOOKS_RAN = "HooksRan"
    HOOK_FAILED = "HookFailed"
    MEMORY_RECOVERED = "MemoryRecovered"
    RESTARTED_BY_OTHERS = "RestartedByOthers"
    SERVICE_STARTED = "ServiceStarted"
    SERVICE_STOPPED = "ServiceStopped"
    SERVICE_MISSING = "ServiceMissing"
    SERVICE_RETURNED = "ServiceReturned"
    SERVICE_UNREADABLE = "ServiceUnreadable"
    SERVICE_READABLE = "ServiceReadable"
    SERVICE_CANNOT_ACT = "ServiceCannotAct"
    SERVICE_CAN_ACT = "ServiceCanAct"
    SERVICE_PAUSED = "ServicePaused"
    SERVICE_RESUMED = "ServiceResumed"
    SERVICE_THROTTLED = "ServiceThrottled"
    SERVICE_UNTHROTTLED = "ServiceUnthrottled"
    SERVICE_DIED = "ServiceDied"
    OOM_KILL_OBSERVED = "OomKillObserved"
    CLOCK_JUMPED = "ClockJumped"
    TICK_FAILED = "TickFailed"
    STORE_FAILED = "StoreFailed"
    STORE_RECOVERED = "StoreRecovered"
    DELIVERY_FAILED = "DeliveryFailed"
    DELIVERY_RECOVERED = "DeliveryRecovered"
    DAEMON_STARTED = "DaemonStarted"
    DAEMON_STOPPED = "DaemonStopped"
    LABELS_ACCEPTED = "LabelsAccepted"
    LABELS_REJECTED = "LabelsRejected"
    CONFIG_RELOADED = "ConfigReloaded"
    CONFIG_REJECTED = "ConfigRejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened.

    `id` is unique over the life of a state file and the same after a crash, so receivers can
    drop duplicates. `service` is empty for events of the daemon itself. `message` is one sentence
    for a person. `details` are numbers in base units (`value_bytes`, `lead_s`, …).
    """

    id: str
    kind: EventKind
    service: str
    wall_s: float
    severity: Severity
    message: str
    details: Mapping[str, Detail] = field(default_factory=dict)

    def to_line(self) -> dict[str, Detail]:
        """Give the flat object that `--json` prints, one a line."""
        line: dict[str, Detail] = {
            "event": self.kind.value,
            "service": self.service or None,
            "at": rfc3339(self.wall_s),
            "id": self.id,
            "severity": self.severity.value,
            "message": self.message,
        }
        return {**line, **{k: v for k, v in self.details.items() if k not in line}}
