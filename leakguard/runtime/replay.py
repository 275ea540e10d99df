"""Run recorded inputs through the same engine: equal rules give equal decisions, byte for byte."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from leakguard import plugins
from leakguard.core.codec import from_plain
from leakguard.core.engine import Inputs, Rules, step
from leakguard.core.errors import CodecError, UsageError
from leakguard.core.frozen import dataclass
from leakguard.core.plan import Plan
from leakguard.core.state import State
from leakguard.core.trend import Detector
from leakguard.detectors.envelope import EnvelopeDetector, Options as EnvelopeOptions
from leakguard.runtime.record import FORMAT, RecordedRules, plain_decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTick:
    """Decisions of one tick, as plain data: now, and as they were recorded."""

    decisions: list[dict[str, Any]]
    recorded: list[dict[str, Any]]


def replay(lines: Iterable[str], plan: Plan | None = None) -> Iterator[ReplayedTick]:
    """Replay a recording; with `plan`, under its rules instead of the recorded ones.

    A last line that was cut off by a crash is left out.

    Raises:
        UsageError: nothing is recorded, or a line is not part of a recording; says which.
    """
    state: State | None = None
    rules: Rules | None = None
    number = 0
    for number, line in enumerate(_without_cut_end(lines), 1):
        try:
            document = _object(json.loads(line))
            if "rules" in document:
                recorded = from_plain(RecordedRules, document["rules"])
                rules = engine_rules(RecordedRules.of(plan) if plan is not None else recorded)
            if "state" in document:
                _check_format(document)
                state = from_plain(State, document["state"])
            if "inputs" not in document:
                _check_change(document)
                continue
            inputs = from_plain(Inputs, document["inputs"])
        except (CodecError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"line {number} is not part of a recording: {error}") from error
        if state is None or rules is None:
            raise UsageError("a recording begins with a line that has `rules` and `state`")
        made = step(state, inputs, rules)
        state = made.state
        yield ReplayedTick(
            decisions=plain_decisions(made.decisions), recorded=document.get("decisions", [])
        )
    if not number:
        raise UsageError("nothing is recorded here: give what `leakguard run --record FILE` wrote")


def engine_rules(recorded: RecordedRules) -> Rules:
    """Build the engine's rules: the plain values, and the detector objects they name."""
    detectors: dict[str, Detector] = {"": EnvelopeDetector(EnvelopeOptions())}
    for name, spec in recorded.detectors.items():
        plugin = plugins.load("detectors", spec.key)
        detectors[name] = plugin.make(dict(spec.options), None)
    return Rules(services=recorded.services, detectors=detectors, alerts=recorded.alerts)


def _without_cut_end(lines: Iterable[str]) -> Iterator[str]:
    """Leave out a last line that the daemon was killed in the middle of."""
    held: str | None = None
    for line in lines:
        if held is not None:
            yield held
        held, first = line, held is None
    if held is not None and (first or held.endswith("\n") or _is_json(held)):
        yield held


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise TypeError("it is not a JSON object")
    return document


def _check_change(document: dict[str, Any]) -> None:
    if "rules" not in document:
        raise ValueError("it has neither `inputs` nor `rules`")


def _check_format(document: dict[str, Any]) -> None:
    if document.get("leakguard") != FORMAT:
        raise UsageError(
            f"the recording has format {document.get('leakguard')!r}, this version reads {FORMAT}"
        )
