"""The result of a back-test as one JSON document."""

from collections.abc import Sequence
from typing import Any

from leakguard.core.instant import rfc3339
from leakguard.runtime.backtest.outcome import Kill, PolicyOutcome, Restart

Plain = dict[str, Any]  # a JSON object is untyped


def document(
    policies: Sequence[PolicyOutcome], alone: Sequence[Kill], assumptions: Sequence[str]
) -> Plain:
    """Give everything; sizes in bytes, times in seconds and RFC 3339."""
    return {
        "policies": [_policy(outcome) for outcome in policies],
        "left_alone": {"oom_kills": len(alone)},
        "assumptions": list(assumptions),
    }


def _policy(outcome: PolicyOutcome) -> Plain:
    return {
        "config": outcome.config,
        "restarts": len(outcome.restarts),
        "in_window": outcome.in_window,
        "oom_kills": len(outcome.kills),
        "needless": outcome.needless,
        "undecided": outcome.undecided,
        "failed": outcome.failed,
        "breaker_opened": outcome.limit_hits,
        "by_reason": outcome.by_reason,
        "held_back": outcome.held_back,
        "decisions": [_restart(restart) for restart in outcome.restarts],
        "kills": [
            {"series": kill.series, "t": kill.t, "at": rfc3339(kill.wall_s)}
            for kill in outcome.kills
        ],
    }


def _restart(restart: Restart) -> Plain:
    return {
        "series": restart.series,
        "t": restart.t,
        "at": rfc3339(restart.wall_s),
        "trigger": restart.trigger.value,
        "reason": restart.reason,
        "value_bytes": restart.value_bytes,
        "in_window": restart.in_window,
        "needless": restart.needless,
        "could_wait_until": rfc3339(restart.until_wall_s),
        "limit_reached_after_s": restart.limit_reached_after_s,
    }
