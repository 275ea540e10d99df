"""A recording: the starting state, then each tick's inputs and what was decided, as JSON lines.

    {"leakguard": 1, "rules": …, "state": …}
    {"inputs": …, "decisions": […]}
    {"rules": …}                       after a reload, and when labels of a match change them

Secrets are not in it: rules are the engine's, without channels' options.
"""

import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import IO, Any

from leakguard.core.alerts import AlertRules
from leakguard.core.codec import to_plain
from leakguard.core.decision import Decision
from leakguard.core.engine import Inputs, Rules, Step
from leakguard.core.frozen import dataclass
from leakguard.core.plan import Plan, PluginSpec
from leakguard.core.policy import ServiceRules
from leakguard.core.state import State

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRules:
    """What the engine's rules were, as plain values."""

    services: Mapping[str, ServiceRules]
    detectors: Mapping[str, PluginSpec] = field(default_factory=dict)
    alerts: AlertRules = field(default_factory=AlertRules)

    @classmethod
    def of(cls, plan: Plan) -> "RecordedRules":
        """Take the engine's part of a plan."""
        return cls(
            services={s.rules.name: s.rules for s in plan.services},
            detectors={s.rules.name: s.detector for s in plan.services},
            alerts=plan.alerts,
        )


class Recorder:
    """Adds to a recording; every line is flushed, so that a crash loses nothing.

    A daemon that is started again goes on in the same file, with a first line of its own.
    """

    def __init__(self, path: Path, plan: Plan, state: State) -> None:
        """Begin with the rules and the state before the first tick."""
        self._file: IO[str] = path.open("a", encoding="utf-8")
        rules = to_plain(RecordedRules.of(plan))
        self._write({"leakguard": FORMAT, "rules": rules, "state": to_plain(state)})

    def tick(self, inputs: Inputs, step: Step) -> None:
        """Add one tick."""
        self._write({"inputs": to_plain(inputs), "decisions": plain_decisions(step.decisions)})

    def reload(self, plan: Plan) -> None:
        """Add a change of the rules."""
        self._write({"rules": to_plain(RecordedRules.of(plan))})

    def rules(self, plan: Plan, rules: Rules) -> None:
        """Add a change of the rules that labels brought."""
        recorded = replace(RecordedRules.of(plan), services=rules.services)
        self._write({"rules": to_plain(recorded)})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, document: dict[str, Any]) -> None:
        self._file.write(json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n")
        self._file.flush()


def plain_decisions(decisions: tuple[Decision, ...]) -> list[dict[str, Any]]:
    """Give decisions as they are recorded and printed."""
    return [to_plain(decision) for decision in decisions]
