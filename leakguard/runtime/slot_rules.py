"""Rules of single services: those of their entry, changed by labels of what it matched.

They are worked out between two ticks and put in force as a reload is: the engine gets them as its
rules, and a recording holds them as a line of its own, so that a replay sees the same.
"""

from collections.abc import Mapping
from dataclasses import replace

from leakguard.core.engine import Notice, Rules
from leakguard.core.events import EventKind, Severity
from leakguard.core.frozen import dataclass
from leakguard.core.plan import Plan
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import Location
from leakguard.runtime.bootstrap import Parts

Key = tuple[tuple[tuple[str, str], ...], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New rules for the engine, and what people should know of them."""

    rules: Rules
    notices: tuple[Notice, ...] = ()


class SlotRules:
    """Remembers what the labels of each service said last."""

    def __init__(self) -> None:
        """Know of no label yet."""
        self._plan: Plan | None = None
        self._keys: dict[str, Key] = {}
        self._own: dict[str, ServiceRules] = {}
        self.problems: Mapping[str, tuple[str, ...]] = {}
        """What is wrong with the labels of each service, where something is."""

    def change(self, parts: Parts) -> Change | None:
        """Give new rules when a label has come, gone or changed; None when all is as it was."""
        places = parts.roster.places()
        keys = {
            name: key
            for name, where in places.items()
            if any(key := _key(where)) or name in self.problems
        }
        same_plan = parts.plan is self._plan
        if same_plan and keys == self._keys:
            return None
        own, problems = _work_out({name: places[name] for name in keys}, parts)
        told = tuple(self._notices(keys, problems))
        changed = own != (self._own if same_plan else {})
        self._plan, self._keys, self._own, self.problems = parts.plan, keys, own, problems
        if not changed and not told:
            return None
        of_plan = {service.rules.name: service.rules for service in parts.plan.services}
        return Change(rules=replace(parts.rules, services={**of_plan, **own}), notices=told)

    def _notices(
        self, keys: Mapping[str, Key], problems: Mapping[str, tuple[str, ...]]
    ) -> list[Notice]:
        found = []
        for name, (settings, _) in sorted(keys.items()):
            before = self._keys.get(name)
            if before is not None and before[0] == settings:
                continue
            wrong = problems.get(name, ())
            if wrong:
                found.append(
                    _notice(EventKind.LABELS_REJECTED, Severity.WARNING, name, _say(wrong))
                )
            elif settings or name in self.problems:
                said = ", ".join(f"{key}={text}" for key, text in settings)
                text = f"its labels are in force: {said or 'it has none now'}"
                found.append(_notice(EventKind.LABELS_ACCEPTED, Severity.INFO, name, text))
        return found


def _key(location: Location) -> Key:
    return location.settings, location.stop_within_s


def _work_out(
    places: Mapping[str, Location], parts: Parts
) -> tuple[dict[str, ServiceRules], dict[str, tuple[str, ...]]]:
    from leakguard.runtime.labels import Entry, rules_for  # few have labels

    groups = {group.name: group for group in parts.plan.groups}
    own, problems = {}, {}
    for name, location in places.items():
        plan = parts.roster.entry(name).plan
        entry = Entry(rules=plan.rules, timezone=plan.timezone, groups=groups)
        rules, wrong = rules_for(name, location, entry)
        if rules != plan.rules:
            own[name] = rules
        if wrong:
            problems[name] = tuple(f"{location.name}: {one}" for one in wrong)
    return own, problems


def _say(wrong: tuple[str, ...]) -> str:
    return f"container {'; '.join(wrong)}; what the configuration says stays in force there"


def _notice(kind: EventKind, severity: Severity, service: str, message: str) -> Notice:
    return Notice(kind=kind.value, service=service, severity=severity.value, message=message)
