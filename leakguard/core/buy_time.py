"""Buy time: bend a limit until the cheap moment that a leak would not last for (opt-in).

When the forecast wants a restart now, outside every window, and a window (a schedule, the end of a
blackout) comes before a raised limit would be reached, with all but the accepted risk, then the
limit is raised instead and the restart waits: the next look foresees the new limit, and the plan
follows from it like any other. With `throttle_below` the kernel is told to slow the service down
just below its limit (`memory.high`); what grows on in spite of that is restarted.

In this order, each step committed before the next: the limits in force are asked for and written
down; they are changed; when the run that needed it is gone, or its leak, or the setting, they are
put back. So a crash of leakguard at any point loses nothing: what may have been changed is put
back by the next one. They are put back only where what is in use fits well below, since on cgroup
version 2 a limit below that kills. One run is bought time for once: a second time would be hope.

It is never raised beyond what is there: host and ancestors keep a reserve, and no limit is raised
above that of an ancestor, which would only move the kill.
"""

from dataclasses import replace

from leakguard.core.calendar import free_at, next_after, span_at
from leakguard.core.decision import BendLimits, LookUpLimits
from leakguard.core.events import EventKind
from leakguard.core.facts import evidence
from leakguard.core.forecast import Forecast, LimitKind
from leakguard.core.frozen import dataclass
from leakguard.core.guards import Guard
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.instant import Instant, rfc3339
from leakguard.core.limits import Bent, BentStage, MemoryLimits
from leakguard.core.policy import BuyTimeRule, Mode, Proposal, ServiceRules, Trigger
from leakguard.core.propose import lead_s
from leakguard.core.severity import Severity
from leakguard.core.state import ServiceState
from leakguard.core.tick import Tick
from leakguard.core.trend import Verdict
from leakguard.core.units import format_bytes, format_duration

FORESEEN = frozenset({Trigger.EXHAUSTION, Trigger.FORECAST})
PATIENCE_S = 3.0
"""A restart waits this long for limits to be looked up and changed."""
LEAST_EDGE_S = 1.0
"""Nearer to the end there is no time to buy any."""
RESERVE = 0.05
"""Share of host and ancestors that stays free."""
LEAST_RAISE = 0.01
EASY = 0.9
"""Limits are put back when no more than this share of the old one is in use."""
HELD = 0.5
"""A throttled service is let be until it has used this share of the room above `memory.high`."""
RETRY_S = (5.0, 30.0, 120.0, 600.0)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A cheap moment that is worth waiting for."""

    wall_s: float
    words: str


def instead(
    tick: Tick, name: str, proposals: list[Proposal], rules: ServiceRules
) -> list[Proposal]:
    """Give the proposals that remain while time is bought for a service."""
    wanted = [p for p in proposals if p.trigger in FORESEEN]
    if not wanted:
        return proposals
    bent = tick.service(name).record.bent or _begin(tick, name, rules)
    holds = bent is not None and _holds(tick, name, bent)
    bought = words(bent) if bent is not None and holds else _would_have(tick, name, rules)
    if not bought:
        return proposals
    service = tick.service(name)
    said = f"hold ({wanted[0].trigger.value}): {wanted[0].reason}; {bought}"
    tick.put(replace(service, last_decision=said))
    return [p for p in proposals if p.trigger not in FORESEEN]


def take_outcome(tick: Tick, outcome: Outcome) -> bool:
    """Take what came of a step; gives whether the outcome was one of these."""
    service = tick.services.get(outcome.service)
    bent = service.record.bent if service is not None else None
    if bent is None or outcome.action_id != bent.action_id:
        return False
    done = outcome.kind is OutcomeKind.DONE
    match bent.stage:
        case BentStage.LOOKING if done and outcome.limits is not None:
            _bend(tick, outcome.service, bent, outcome)
        case BentStage.LOOKING:
            _refuse(tick, outcome.service, outcome.message)
        case BentStage.BENDING if done:
            _set(tick, outcome.service, replace(bent, stage=BentStage.BENT))
            _tell_bent(tick, outcome.service, bent)
        case BentStage.BENDING:
            _refuse(tick, outcome.service, outcome.message, forget=False)
            _restore(tick, outcome.service, bent)  # perhaps one of two was changed
        case BentStage.RESTORING if done:
            _end(tick, outcome.service, bent)
        case BentStage.RESTORING:
            _fail_to_restore(tick, outcome.service, bent, outcome.message)
        case BentStage.BENT:
            pass
    return True


def follow(tick: Tick, name: str, rules: ServiceRules) -> None:
    """See whether limits are to be put back, and what became of a step without an answer."""
    service = tick.service(name)
    bent = service.record.bent
    if bent is None or service.record.flight is not None:
        return
    waited = tick.now.since(bent.asked)
    match bent.stage:
        case BentStage.LOOKING if waited >= PATIENCE_S:
            tick.amend(name, bent=None)
        case BentStage.BENDING if waited >= PATIENCE_S:  # in doubt, as after a crash
            _set(tick, name, replace(bent, stage=BentStage.BENT))
            _tell_bent(tick, name, bent)
        case BentStage.RESTORING if waited >= RETRY_S[min(bent.failures, len(RETRY_S) - 1)]:
            if _fits(service, bent):
                _restore(tick, name, bent)
        case BentStage.BENT if _is_over(service, bent, rules) and _fits(service, bent):
            _restore(tick, name, bent)
        case _:
            pass


def let_go(tick: Tick, name: str) -> None:
    """Put the limits of a service back that is no longer guarded, where that needs no driver."""
    service = tick.services.get(name)
    bent = service.record.bent if service is not None else None
    if bent is not None and bent.place:
        _restore(tick, name, bent)


def words(bent: Bent) -> str:
    """Say what is bent, from what to what, and until when."""
    return _in_words(bent.before or MemoryLimits(), bent.after, bent.awaits)


def _in_words(before: MemoryLimits, after: MemoryLimits, awaits: str) -> str:
    parts = []
    if after.max_bytes != before.max_bytes and after.max_bytes is not None:
        was = f" from {format_bytes(before.max_bytes)}" if before.max_bytes else ""
        parts.append(f"its limit is raised{was} to {format_bytes(after.max_bytes)}")
    if after.high_bytes is not None and after.high_bytes != before.high_bytes:
        parts.append(f"it is throttled from {format_bytes(after.high_bytes)} on (memory.high)")
    return f"{' and '.join(parts)}, to last until {awaits}"


def _begin(tick: Tick, name: str, rules: ServiceRules) -> Bent | None:
    """Ask for the limits in force when time can be bought; the first of two steps."""
    rule, service = rules.restart.buy_time, tick.service(name)
    sample, now = service.sample, tick.now
    if rule is None or sample is None or service.unbendable == sample.incarnation:
        return None
    if not (_may(service, rules) and tick.durable and rules.mode is Mode.ACT):
        return None
    moment = _next_moment(service, now)
    if moment is None:
        return None
    found = _offer(service, rules, rule, moment, now)
    if isinstance(found, str):
        _refuse(tick, name, found)
        return None
    near, after = found
    bent = Bent(
        stage=BentStage.LOOKING, action_id=tick.next_id(), asked=now, run=sample.incarnation,
        path=near.room.path, until_wall_s=moment.wall_s, awaits=moment.words, after=after,
    )  # fmt: skip
    _set(tick, name, bent)
    tick.actions.append(LookUpLimits(id=bent.action_id, service=name))
    return bent


def _would_have(tick: Tick, name: str, rules: ServiceRules) -> str:
    """Say what would be bent, were the mode not observe, and tell it once a run; empty: nothing."""
    rule, service = rules.restart.buy_time, tick.service(name)
    moment, sample = _next_moment(service, tick.now), service.sample
    if rule is None or sample is None or moment is None or rules.mode is Mode.ACT:
        return ""
    found = _offer(service, rules, rule, moment, tick.now) if _may(service, rules) else ""
    if isinstance(found, str):
        return ""
    near, after = found
    said = _in_words(MemoryLimits(max_bytes=near.room.limit_bytes), after, moment.words)
    if service.unbendable != sample.incarnation:
        tick.put(replace(service, unbendable=sample.incarnation))
        tick.event(
            EventKind.TIME_NOT_BOUGHT, name, Severity.WARNING,
            f"would have bought time for {name}: {said} (mode is observe)",
            guard=Guard.OBSERVE.value, **evidence(service),
        )  # fmt: skip
    return f"mode is observe, else: {said}"


def _may(service: ServiceState, rules: ServiceRules) -> bool:
    """Whether nothing else is done with a service, and somebody could restart it."""
    record = service.record
    return not (record.flight or record.pause or record.bent) and bool(rules.restart.driver)


def _holds(tick: Tick, name: str, bent: Bent) -> bool:
    """Whether a restart waits for what is being bought, or is slowed down well enough."""
    if bent.stage in (BentStage.LOOKING, BentStage.BENDING):
        return tick.now.since(bent.asked) < PATIENCE_S
    high, most = bent.after.high_bytes, bent.after.max_bytes
    if bent.stage is not BentStage.BENT or high is None or most is None:
        return False
    used = _used_bytes(tick.service(name), bent)
    waits = tick.now.wall_s < bent.until_wall_s
    return waits and used is not None and used < high + HELD * (most - high)


def _next_moment(service: ServiceState, now: Instant) -> _Moment | None:
    """Give the next cheap moment; None when it is now, or none is known."""
    calendar, wall_s = service.calendar, now.wall_s
    dark = span_at(calendar.blackouts, wall_s)
    if dark is None and span_at(calendar.windows, wall_s) is not None:
        return None
    found = []
    window = next_after(calendar.windows, wall_s)
    if window is not None:
        begin = free_at(calendar.blackouts, window.begin_wall_s)
        if begin < window.end_wall_s:
            found.append(_Moment(begin, f"its window {window.words}"))
    schedule = next_after(calendar.schedules, wall_s)
    if schedule is not None and span_at(calendar.blackouts, schedule.begin_wall_s) is None:
        found.append(_Moment(schedule.begin_wall_s, f"its schedule ({schedule.words})"))
    if dark is not None and not calendar.windows:
        end = free_at(calendar.blackouts, wall_s)
        found.append(_Moment(end, f"the end of the blackout at {rfc3339(end)}"))
    return min(found, key=lambda moment: moment.wall_s, default=None)


def _offer(
    service: ServiceState, rules: ServiceRules, rule: BuyTimeRule, moment: _Moment, now: Instant
) -> tuple[Forecast, MemoryLimits] | str:
    """Give the limit that is near and what it would be bent to, or why it cannot be."""
    facts = service.assessment
    near = facts.nearest if facts is not None else None
    if facts is None or near is None or near.room.kind is not LimitKind.CGROUP:
        return "what runs out is no limit of a cgroup"
    if (near.early_edge_s() or 0.0) < LEAST_EDGE_S:
        return "the end is too near"
    limit = near.room.limit_bytes
    most = _raised(limit, rule)
    high = int((1 - rule.throttle_below) * most) if rule.throttle_below is not None else None
    others = tuple(f for f in facts.forecasts if f is not near)
    refusal = _beyond(others, most - limit, most)
    if refusal:
        return refusal
    within = moment.wall_s - now.wall_s + lead_s(service, rules)
    risk = rules.policy.forecast.risk if rules.policy.forecast is not None else 0.0
    ends = others if high is not None else (_with_room(near, most), *others)
    if any(end.probability_within(within) > risk for end in ends):
        grown = f"{format_bytes(most)} " if most > limit else ""
        return f"{grown}would not last for {format_duration(within)}, until {moment.words}"
    return near, MemoryLimits(high_bytes=high, max_bytes=most)


def _raised(limit: int, rule: BuyTimeRule) -> int:
    """Give the limit as it may be raised; less than a hundredth more is none."""
    if rule.raise_by is None and rule.at_most_bytes is None:
        return limit
    most = int(limit * (1 + rule.raise_by)) if rule.raise_by is not None else rule.at_most_bytes
    most = min(size for size in (most, rule.at_most_bytes) if size is not None)
    return most if most > (1 + LEAST_RAISE) * limit else limit


def _with_room(near: Forecast, most: int) -> Forecast:
    """Foresee the same growth towards a limit that lies further off."""
    added = most - near.room.limit_bytes
    room = replace(near.room, limit_bytes=most, headroom_bytes=near.room.headroom_bytes + added)
    slope = near.slope_bytes_per_s
    if not slope or near.median_s is None:
        return replace(near, room=room)
    return replace(near, room=room, median_s=near.median_s + added / slope)


def _beyond(others: tuple[Forecast, ...], added: int, most: int) -> str:
    """Say what the machine does not have; empty when there is enough for all."""
    rooms = [f.room for f in others if f.room.kind in (LimitKind.CGROUP, LimitKind.HOST)]
    if added <= 0:
        return ""
    if not any(room.kind is LimitKind.HOST for room in rooms):
        return "how much the host has left is not known"
    for room in rooms:
        where = f"cgroup {room.path}" if room.kind is LimitKind.CGROUP else "the host"
        if room.kind is LimitKind.CGROUP and most > room.limit_bytes:
            return f"the limit of {where}, above it, is {format_bytes(room.limit_bytes)}"
        if room.headroom_bytes - added < RESERVE * room.limit_bytes:
            left = format_bytes(max(0, room.headroom_bytes))
            return f"{where} has only {left} left for {format_bytes(added)} more"
    return ""


def _bend(tick: Tick, name: str, bent: Bent, outcome: Outcome) -> None:
    """Write the limits in force down, and have them changed; the second step."""
    before = outcome.limits or MemoryLimits()
    if before.max_bytes is None:
        _refuse(tick, name, f"the limit of cgroup {bent.path} is not the service's own")
        return
    after = bent.after
    if after.max_bytes is None or after.max_bytes < before.max_bytes:
        after = replace(after, max_bytes=before.max_bytes)
    if after.high_bytes is None:
        after = replace(after, high_bytes=before.high_bytes)
    if after == before:
        _refuse(tick, name, f"its limit is {format_bytes(before.max_bytes)} already")
        return
    action = BendLimits(id=tick.next_id(), service=name, limits=after, place=outcome.place)
    tick.actions.append(action)
    stage = BentStage.BENDING
    changes = {"stage": stage, "action_id": action.id, "before": before, "after": after}
    _set(tick, name, replace(bent, **changes, place=outcome.place))  # type: ignore[arg-type]  # its own fields


def _restore(tick: Tick, name: str, bent: Bent) -> None:
    if bent.before is None:
        tick.amend(name, bent=None)
        return
    action = BendLimits(
        id=tick.next_id(), service=name, limits=bent.before, place=bent.place, restores=True
    )
    tick.actions.append(action)
    stage = BentStage.RESTORING
    _set(tick, name, replace(bent, stage=stage, action_id=action.id, asked=tick.now))


def _is_over(service: ServiceState, bent: Bent, rules: ServiceRules) -> bool:
    """Whether what was bought is of no use any more: the run, the leak or the setting is gone."""
    record, facts = service.record, service.assessment
    another = record.incarnation != bent.run
    renewed = record.renewed is not None and record.renewed.since(bent.asked) > 0
    if record.missing or another or renewed or rules.restart.buy_time is None:
        return True
    return facts is not None and facts.trend.verdict is Verdict.STABLE


def _fits(service: ServiceState, bent: Bent) -> bool:
    """Whether what is in use lies well below the limit that is to be put back."""
    if service.record.missing or bent.before is None or bent.before.max_bytes is None:
        return True
    used = _used_bytes(service, bent)
    return used is not None and used <= EASY * bent.before.max_bytes


def _used_bytes(service: ServiceState, bent: Bent) -> int | None:
    facts, sample = service.assessment, service.sample
    rooms = [f.room for f in facts.forecasts if f.room.path == bent.path] if facts else []
    if rooms:
        return rooms[0].limit_bytes - rooms[0].headroom_bytes
    return sample.value_bytes if sample is not None else None


def _refuse(tick: Tick, name: str, why: str, *, forget: bool = True) -> None:
    """Say why no time is bought for this run; it is restarted as without the setting."""
    service = tick.service(name)
    here = service.sample.incarnation if service.sample is not None else service.record.incarnation
    tick.put(replace(service, unbendable=here))
    if forget:
        tick.amend(name, bent=None)
    tick.event(
        EventKind.TIME_NOT_BOUGHT, name, Severity.INFO, f"no time can be bought for {name}: {why}"
    )


def _tell_bent(tick: Tick, name: str, bent: Bent) -> None:
    tick.event(
        EventKind.LIMITS_RAISED, name, Severity.WARNING, f"{name}: {words(bent)}",
        raised_to_bytes=bent.after.max_bytes, throttled_from_bytes=bent.after.high_bytes,
        until=rfc3339(bent.until_wall_s),
        **{k: v for k, v in evidence(tick.service(name)).items() if k != "throttled_from_bytes"},
    )  # fmt: skip


def _end(tick: Tick, name: str, bent: Bent) -> None:
    tick.amend(name, bent=None)
    if "limits" in tick.service(name).record.problems:
        most = bent.before.max_bytes if bent.before is not None else None
        to = f": {format_bytes(most)}" if most is not None else ""
        tick.event(
            EventKind.LIMITS_RESTORED, name, Severity.INFO, f"{name} has its old limits again{to}"
        )


def _fail_to_restore(tick: Tick, name: str, bent: Bent, why: str) -> None:
    _set(tick, name, replace(bent, failures=bent.failures + 1, asked=tick.now))
    if not bent.failures:
        tick.event(
            EventKind.LIMITS_NOT_RESTORED, name, Severity.WARNING,
            f"the limits of {name} could not be put back, and that is tried again: {why}",
        )  # fmt: skip


def _set(tick: Tick, name: str, bent: Bent) -> None:
    tick.amend(name, bent=bent)
