"""What the labels of one container change of its entry's rules; a bad label changes nothing.

`leakguard.threshold=80%` means for one container what `restart.threshold.above` means for an entry.
Each label is read by itself, so that a wrong one leaves the others in force.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from leakguard import cron
from leakguard.core.errors import UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.policy import (
    ForecastRule,
    GroupRules,
    Mode,
    Policy,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.sample import Location
from leakguard.core.units import Amount, parse_amount, parse_bytes, parse_duration

PREFIX = "leakguard."
START_S = 30.0
"""What the start may take after a stop that took all the time its manager gives it."""
_NOT_RULES = frozenset({"enable", "scope"})
"""Labels to choose containers by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What labels refer to: the entry's rules and time zone, and the groups there are."""

    rules: ServiceRules
    timezone: str = "UTC"
    groups: Mapping[str, GroupRules]


def rules_for(
    service: str, location: Location, entry: Entry
) -> tuple[ServiceRules, tuple[str, ...]]:
    """Give the rules of one service, and what is wrong with its labels, one line each."""
    rules, problems = entry.rules, []
    for key, text in sorted(location.settings, key=lambda one: (one[0] != "timezone", one)):
        try:
            if key == "timezone":
                entry = replace(entry, timezone=_zone(text))
            elif key not in _NOT_RULES:
                rules = _change(key)(rules, text.strip(), entry)
        except UnitError as error:
            problems.append(f"label {PREFIX}{key}: {error}")
    rules = _with_patience(rules, location.stop_within_s)
    own = rules if rules == entry.rules else replace(rules, name=service)
    return own, tuple(problems)


def _change(key: str) -> "Change":
    if key not in _CHANGES:
        import difflib  # only for wrong labels

        right = (*_CHANGES, "timezone", *sorted(_NOT_RULES))
        close = difflib.get_close_matches(key, right, n=1)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else f"there are: {', '.join(right)}"
        raise UnitError(f"is not known, {hint}")
    return _CHANGES[key]


def _with_patience(rules: ServiceRules, stop_s: float | None) -> ServiceRules:
    """Give the restart time for the longest stop that the manager waits for."""
    if stop_s is None:
        return rules
    least = rules.restart.prelude_s + stop_s + START_S
    if least <= rules.restart.deadline_s:
        return rules
    return replace(rules, restart=replace(rules.restart, deadline_s=least))


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text.strip()).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnitError(f"{text!r} is no time zone: write one such as Europe/Berlin") from error


def _mode(rules: ServiceRules, text: str, _entry: Entry) -> ServiceRules:
    if text not in set(Mode):
        raise UnitError(f"{text!r} is not known: write act or observe")
    return replace(rules, mode=Mode(text))


def _limit(rules: ServiceRules, text: str, _entry: Entry) -> ServiceRules:
    return replace(rules, limit=_positive(Amount(size_bytes=parse_bytes(text)), text))


def _threshold(rules: ServiceRules, text: str, _entry: Entry) -> ServiceRules:
    before = rules.policy.threshold
    above = _positive(parse_amount(text), text)
    rule = ThresholdRule(above=above, for_s=before.for_s if before is not None else 0.0)
    return _with_policy(rules, threshold=rule)


def _restart_at(rules: ServiceRules, text: str, entry: Entry) -> ServiceRules:
    """Take the place of the entry's schedules; `skip_below` and `catch_up` stay."""
    before = rules.policy.schedules[:1] or (ScheduleRule(cron=""),)
    own = replace(
        before[0], cron=cron.parse(text), timezone=entry.timezone, splay_s=0.0, delay_s=0.0
    )
    return _with_policy(rules, schedules=(own,))


def _max_age(rules: ServiceRules, text: str, _entry: Entry) -> ServiceRules:
    return _with_policy(rules, max_age_s=_some_time(text))


def _forecast(rules: ServiceRules, text: str, _entry: Entry) -> ServiceRules:
    if text not in {"true", "false"}:
        raise UnitError(f"{text!r} is not known: write true or false")
    rule = (rules.policy.forecast or ForecastRule()) if text == "true" else None
    return _with_policy(rules, forecast=rule)


def _grace(rules: ServiceRules, text: str, _entry: Entry) -> ServiceRules:
    return replace(rules, guards=replace(rules.guards, grace_s=parse_duration(text)))


def _group(rules: ServiceRules, text: str, entry: Entry) -> ServiceRules:
    if text not in entry.groups:
        there = f"there are: {', '.join(sorted(entry.groups))}" if entry.groups else "there is none"
        raise UnitError(f"no group {text!r} stands under `groups` ({there})")
    return replace(rules, group=entry.groups[text])


def _stop_timeout(rules: ServiceRules, text: str, _entry: Entry) -> ServiceRules:
    """Only see whether it can be read: the driver and the target go by it."""
    parse_duration(text)
    return rules


def _with_policy(rules: ServiceRules, **changes: object) -> ServiceRules:
    policy: Policy = replace(rules.policy, **changes)  # type: ignore[arg-type]  # its own fields
    return replace(rules, policy=policy)


def _positive(amount: Amount, text: str) -> Amount:
    if not (amount.size_bytes or amount.share):
        raise UnitError(f"{text!r} must be more than nothing")
    return amount


def _some_time(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise UnitError(f"{text!r} must be more than 0s")
    return seconds


Change = Callable[[ServiceRules, str, Entry], ServiceRules]

_CHANGES: Mapping[str, Change] = {
    "mode": _mode,
    "memory-limit": _limit,
    "threshold": _threshold,
    "restart-at": _restart_at,
    "max-age": _max_age,
    "forecast": _forecast,
    "grace": _grace,
    "group": _group,
    "stop-timeout": _stop_timeout,
}
