"""What may hold a restart back: one table of guard and trigger, one function per guard.

The table is the rule. Grace waits for nothing that cannot wait: it never holds a hard threshold nor
an exhaustion whose early edge lies inside it (a 12 MB/s leak fills 256 MiB in 20 s, again and
again). A group holds what it is asked about outside (`core/groups.py`). The breaker counts every
restart whatever its cause; when it is open the service is still watched and people are told. A
person's `restart` acts in observe mode and in grace; pause and breaker refuse it unless it is
forced, a restart in flight always does (a second act on the same incarnation would be a double
restart). A restart for a forecast is futile while the growth is in files that outlive the service;
a threshold is a person's own rule, and held only by what was tried in vain (core/futility.py).
A blackout holds all that leakguard does by itself, also when the memory runs out in it, unless it
is told to yield; windows are preferred, and hold only age, unless nothing else is allowed.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from leakguard.core.calendar import next_after, span_at
from leakguard.core.facts import tmpfs_words
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant, rfc3339
from leakguard.core.policy import Mode, Proposal, ServiceRules, Trigger
from leakguard.core.state import Futile, RestartRecord, ServiceRecord, ServiceState
from leakguard.core.units import counted, format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Veto:
    """A guard held a proposal back, and why."""

    guard: str
    reason: str


class Guard(StrEnum):
    """Every guard, in the order it is asked and named in a refusal."""

    NO_DRIVER = "no_driver"
    CANNOT_ACT = "cannot_act"
    IN_FLIGHT = "in_flight"
    PAUSED = "paused"
    BREAKER = "breaker"
    STORE = "store"
    GROUP = "group"
    BLACKOUT = "blackout"
    WINDOW = "window"
    FUTILE = "futile"
    GRACE = "grace"
    BUSY = "busy"
    OBSERVE = "observe"


_EVERY = frozenset(Trigger)
_BY_ITSELF = _EVERY - {Trigger.MANUAL}
_CAN_WAIT = frozenset({Trigger.SCHEDULE, Trigger.MAX_AGE, Trigger.FORECAST})
_CANNOT_WAIT = frozenset({Trigger.THRESHOLD, Trigger.EXHAUSTION})
_MEMORY = _CANNOT_WAIT | {Trigger.FORECAST}

HOLDS: Mapping[Guard, frozenset[Trigger]] = {
    Guard.NO_DRIVER: _EVERY,
    Guard.CANNOT_ACT: _EVERY,
    Guard.IN_FLIGHT: _EVERY,
    Guard.PAUSED: _EVERY,
    Guard.BREAKER: _EVERY,
    Guard.STORE: _CAN_WAIT | {Trigger.MANUAL},
    Guard.GROUP: _EVERY - {Trigger.RESPAWN},
    Guard.BLACKOUT: _CAN_WAIT | _CANNOT_WAIT,
    Guard.WINDOW: frozenset({Trigger.MAX_AGE}),
    Guard.FUTILE: _BY_ITSELF - {Trigger.RESPAWN, Trigger.MAX_AGE},
    Guard.GRACE: _CAN_WAIT,
    Guard.BUSY: _CAN_WAIT | {Trigger.THRESHOLD, Trigger.MANUAL},
    Guard.OBSERVE: _BY_ITSELF - {Trigger.RESPAWN},
}
"""Which triggers each guard may hold back; what is not listed passes. `windows_only` adds to it,
`blackouts_yield` takes from it."""

_NOTHING: Mapping[Guard, str] = {}
_FORESEEN = frozenset({Trigger.FORECAST, Trigger.EXHAUSTION})
"""What growth in files of tmpfs holds: no restart cures it."""

VAIN: Mapping[Futile, frozenset[Trigger]] = {
    Futile.STARTS_FULL: frozenset({Trigger.FORECAST, Trigger.THRESHOLD, Trigger.SCHEDULE}),
    Futile.COMES_BACK_SOONER: frozenset({Trigger.FORECAST}),
}
"""What restarts that were in vain hold; an exhaustion passes: see core/futility.py."""

DAY_S = 86400.0
OURS = frozenset(trigger.value for trigger in Trigger)
"""Reasons of restarts that leakguard carried out."""

KEPT_RESTARTS = 32
"""Restarts remembered per service, for people; more when the breaker has to count more."""

ENDS_SOON = frozenset(
    {Guard.IN_FLIGHT.value, Guard.STORE.value, Guard.GROUP.value, Guard.BUSY.value}
)
"""What ends by itself before long: a scheduled restart that only these hold stays due."""

YIELDS_TO_FORCE = frozenset({Guard.PAUSED, Guard.BREAKER, Guard.BUSY})
"""Guards that a forced manual restart overrides."""


def veto(
    proposal: Proposal,
    service: ServiceState,
    rules: ServiceRules,
    now: Instant,
    *,
    durable: bool,
    others: Mapping[Guard, str] = _NOTHING,
) -> tuple[Veto, ...]:
    """Give every guard that holds `proposal` back, with its reason; empty when it may pass.

    `durable` tells whether the last commit reached the disk. `others` are the reasons of guards
    that look beyond the service (at its group, at what it depends on), or ask it.
    """
    vetoes = []
    for guard, asks in _ASKED.items():
        if not holds(guard, proposal.trigger, rules):
            continue
        if proposal.forced and guard in YIELDS_TO_FORCE:
            continue
        match guard:
            case Guard.STORE:
                reason = _store(durable=durable)
            case Guard.FUTILE:
                reason = _futile(service, proposal.trigger)
            case _:
                reason = asks(service, rules, now) or others.get(guard, "")
        if reason:
            vetoes.append(Veto(guard=guard.value, reason=reason))
    return tuple(vetoes)


def holds(guard: Guard, trigger: Trigger, rules: ServiceRules) -> bool:
    """Tell whether a guard is asked about a trigger, under the rules of a service."""
    if guard is Guard.WINDOW and rules.guards.windows_only and trigger in _MEMORY:
        return True
    if guard is Guard.BLACKOUT and rules.guards.blackouts_yield and trigger in _MEMORY:
        return False
    return trigger in HOLDS[guard]


def recent_restarts(
    record: ServiceRecord, rules: ServiceRules, now: Instant
) -> tuple[RestartRecord, ...]:
    """Give the restarts that still count for the breaker."""
    return tuple(r for r in record.restarts if now.since(r.at) < rules.guards.per_s)


def restarts_today(record: ServiceRecord, now: Instant) -> tuple[RestartRecord, ...]:
    """Give the restarts of the last 24 hours that leakguard carried out, of those remembered."""
    return tuple(r for r in record.restarts if r.reason in OURS and now.since(r.at) < DAY_S)


def probation_s(rules: ServiceRules) -> float:
    """Give how far apart restarts may be for ever: so long a restart on probation must hold."""
    return rules.guards.per_s / max(1, rules.guards.max_restarts)


def restarts_left(record: ServiceRecord, rules: ServiceRules, now: Instant) -> int:
    """Count the restarts that the breaker still allows now."""
    return max(0, rules.guards.max_restarts - len(recent_restarts(record, rules, now)))


def remember(
    record: ServiceRecord, reason: str, rules: ServiceRules, at: Instant
) -> tuple[RestartRecord, ...]:
    """Give the restarts to keep, with a new one: all that its breaker and the budget count."""
    budget = rules.guards.budget.max_restarts if rules.guards.budget is not None else 0
    kept = max(KEPT_RESTARTS, rules.guards.max_restarts + 1, budget + 1)
    return (*record.restarts, RestartRecord(at=at, reason=reason))[-kept:]


def grace_left_s(service: ServiceState, rules: ServiceRules, now: Instant) -> float:
    """Seconds of grace that a young incarnation still has."""
    if service.sample is None:
        return 0.0
    age = service.sample.age_s + now.since(service.sample.at)
    return max(0.0, rules.guards.grace_s - age)


def _no_driver(_service: ServiceState, rules: ServiceRules, _now: Instant) -> str:
    return "" if rules.restart.driver else "no driver is configured, so nothing can restart it"


def _cannot_act(service: ServiceState, _rules: ServiceRules, _now: Instant) -> str:
    """Ask what the target and the driver say: an act that cannot work is not begun."""
    return service.ambiguous or service.cannot_act


def _in_flight(service: ServiceState, _rules: ServiceRules, now: Instant) -> str:
    flight = service.record.flight
    if flight is None:
        return ""
    return f"a restart has been in flight for {format_duration(now.since(flight.began))}"


def _paused(service: ServiceState, _rules: ServiceRules, _now: Instant) -> str:
    pause = service.record.pause
    if pause is None:
        return ""
    until = f" until {rfc3339(pause.until_wall_s)}" if pause.until_wall_s is not None else ""
    by = f" by {pause.by}" if pause.by else ""
    return f"paused{by}{until}" + (f": {pause.reason}" if pause.reason else "")


def _breaker(service: ServiceState, rules: ServiceRules, now: Instant) -> str:
    record = service.record
    recent = recent_restarts(record, rules, now)
    if rules.guards.max_restarts <= 0:
        return "max_restarts is 0, so it is never restarted"
    if record.breaker_open and record.probation.action_id:
        held = format_duration(probation_s(rules))
        return f"its one restart on probation is out, and must hold for {held}"
    if len(recent) >= rules.guards.max_restarts:
        free = rules.guards.per_s - now.since(recent[-rules.guards.max_restarts].at)
        return (
            f"{counted(len(recent), 'restart')} within "
            f"{format_duration(rules.guards.per_s)}, "
            f"the next one is allowed in {format_duration(free)}"
        )
    until = record.probation.until if record.breaker_open else None
    if until is not None and now.since(until) < 0:
        wait = format_duration(-now.since(until))
        why = (
            "restart on probation was no help" if record.probation.relapses else "one came back ill"
        )
        return f"the last {why}, the next one is allowed in {wait}"
    if record.retry_at is not None and now.since(record.retry_at) < 0:
        wait = format_duration(-now.since(record.retry_at))
        failed = counted(record.failures, "attempt")
        return f"the last {failed} failed, next try in {wait}"
    return ""


def _store(*, durable: bool) -> str:
    return "" if durable else "the state file cannot be written, so nothing that can wait is done"


def _grace(service: ServiceState, rules: ServiceRules, now: Instant) -> str:
    left = grace_left_s(service, rules, now)
    return f"started recently, {format_duration(left)} of grace left" if left > 0 else ""


def _futile(service: ServiceState, trigger: Trigger) -> str:
    """Ask whether the growth would come back: files of tmpfs stay, or it was tried in vain."""
    stays = tmpfs_words(service.assessment) if trigger in _FORESEEN else ""
    found = service.record.futility
    if stays or found is None or trigger not in VAIN[found.cause]:
        return stays
    return found.words


def _blackout(service: ServiceState, _rules: ServiceRules, now: Instant) -> str:
    dark = span_at(service.calendar.blackouts, now.wall_s)
    return f"in the blackout {dark.words}" if dark is not None else ""


def _window(service: ServiceState, rules: ServiceRules, now: Instant) -> str:
    windows = service.calendar.windows
    if not rules.policy.windows or span_at(windows, now.wall_s) is not None:
        return ""
    coming = next_after(windows, now.wall_s)
    return f"outside its windows, the next is {coming.words if coming else 'far'}"


def _observe(_service: ServiceState, rules: ServiceRules, _now: Instant) -> str:
    return "mode is observe: would have restarted" if rules.mode is Mode.OBSERVE else ""


_ASKED: Mapping[Guard, Callable[[ServiceState, ServiceRules, Instant], str]] = {
    Guard.NO_DRIVER: _no_driver,
    Guard.CANNOT_ACT: _cannot_act,
    Guard.IN_FLIGHT: _in_flight,
    Guard.PAUSED: _paused,
    Guard.BREAKER: _breaker,
    Guard.STORE: lambda _service, _rules, _now: "",
    Guard.GROUP: lambda _service, _rules, _now: "",
    Guard.BLACKOUT: _blackout,
    Guard.WINDOW: _window,
    Guard.FUTILE: lambda _service, _rules, _now: "",
    Guard.GRACE: _grace,
    Guard.BUSY: lambda _service, _rules, _now: "",
    Guard.OBSERVE: _observe,
}
