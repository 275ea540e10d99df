"""The triggers: each looks at the facts and may say 'I would restart, because …'."""

from leakguard.core.facts import (
    caused_by,
    end_words,
    limit_words,
    threshold_bytes,
    tmpfs_words,
    victim_of,
)
from leakguard.core.forecast import Forecast, LimitKind
from leakguard.core.inbox import DryRunRequest, RestartRequest, ScheduleDue
from leakguard.core.instant import Instant, rfc3339
from leakguard.core.policy import (
    Act,
    CatchUp,
    ForecastRule,
    Proposal,
    Respawn,
    ScheduleRule,
    ServiceRules,
    Trigger,
)
from leakguard.core.sample import Absent
from leakguard.core.state import ServiceState
from leakguard.core.trend import Verdict
from leakguard.core.units import format_bytes, format_duration, format_rate

LEAD_UNMEASURED_S = 10.0
LEAD_YOUNG_S = 3.0
"""While a series is too young for a verdict, growth may be a start-up: only the very end counts."""
LEAD_YOUNG_CEILING_S = 10.0
YOUNG_RISK = 0.2
YOUNG_WINDOW_S = 2.0
"""A slope without a verdict acts from this risk on, and when it was seen for this long: the wide
range of a handful of samples is no reason to restart. What fills most of its limit in a few seconds
may be starting (`start_up_s`); where the kernel has killed before, the short window is enough."""
LEAD_FLOOR_S = 2.0
LEAD_CEILING_S = 600.0
SAMPLES_AHEAD = 2.0
"""The lead grows by this many sampling intervals: a forecast is only as fresh as its sample."""
TAIL_LEADS = 3.0
"""A risk that lies only in the tail of a wide range is no reason: the median must be this near."""
LATE_S = 90.0
"""A scheduled moment noticed later than this was missed, and `catch_up` decides."""
DUE_LASTS_S = 6 * 3600.0
"""A scheduled restart that is held back waits this long, or until the next moment of its kind."""
CLOCK_WAS_SET_BACK_S = 7200.0
"""A remembered moment further in the future than this is not believed."""


def lead_s(service: ServiceState, rules: ServiceRules) -> float:
    """Give how early a forecast must act: as configured, or twice the measured restart time."""
    rule = rules.policy.forecast
    if rule is not None and rule.lead_s is not None:
        return rule.lead_s
    measured = service.record.stop_start_s
    if measured is None:
        return min(LEAD_CEILING_S, LEAD_UNMEASURED_S + rules.restart.prelude_s)
    return min(LEAD_CEILING_S, max(LEAD_FLOOR_S, 2 * measured))


def margin_s(service: ServiceState) -> float:
    """Give how long before its end a restart must begin at the latest."""
    measured = service.record.stop_start_s
    return LEAD_UNMEASURED_S if measured is None else max(LEAD_FLOOR_S, 2 * measured)


def lead_now_s(service: ServiceState, rules: ServiceRules, *, sure: bool) -> float:
    """Give the lead; a short one without a verdict: half a limit filled at the start is no leak."""
    lead = lead_s(service, rules)
    if sure:
        return lead
    measured = service.record.stop_start_s
    if measured is None:
        return min(lead, LEAD_YOUNG_S)
    return min(lead, LEAD_YOUNG_CEILING_S, max(LEAD_FLOOR_S, 2 * measured))


def least_window_s(service: ServiceState, rule: ForecastRule) -> float:
    """Give for how long growth without a verdict must be seen before it counts."""
    return YOUNG_WINDOW_S if service.record.oom_kills else rule.start_up_s


def early_edge_s(service: ServiceState, rules: ServiceRules | None, now: Instant) -> float | None:
    """Give how long a service lasts at least (with 95 %); None when no end is foreseen.

    The wide range of a handful of samples foresees nothing.
    """
    found, sample = service.assessment, service.sample
    if found is None or sample is None or found.trend.verdict is Verdict.STABLE:
        return None
    rule = rules.policy.forecast if rules is not None else None
    least_s = least_window_s(service, rule or ForecastRule())
    if found.trend.verdict is not Verdict.LEAKING and found.trend.window_s < least_s:
        return None
    edges = [f.early_edge_s() for f in found.forecasts if caused_by(found.trend, f)]
    nearest_s = min((edge for edge in edges if edge is not None), default=None)
    return None if nearest_s is None else max(0.0, nearest_s - now.since(sample.at))


def by_threshold(service: ServiceState, rules: ServiceRules, now: Instant) -> Proposal | None:
    """Propose when the measure has been above the threshold for long enough."""
    rule, sample = rules.policy.threshold, service.sample
    above = threshold_bytes(service, rules)
    if rule is None or sample is None or above is None or service.over_since is None:
        return None
    lasted = now.since(service.over_since)
    if lasted < rule.for_s:
        return None
    since = f" for {format_duration(lasted)}" if rule.for_s else ""
    stays = tmpfs_words(service.assessment)
    return Proposal(
        trigger=Trigger.THRESHOLD,
        reason=(
            f"{format_bytes(sample.value_bytes)} ({sample.measure}) is above "
            f"{format_bytes(above)}{since}{f'; {stays}' if stays else ''}"
        ),
    )


def by_forecast(service: ServiceState, rules: ServiceRules, grace_left: float) -> Proposal | None:
    """Propose when a limit is reached within the lead with more than the accepted risk.

    It is `EXHAUSTION` when the early edge lies inside what is left of the grace, or when the
    series is too young for a verdict but its slope says that the end is that near.
    """
    rule, facts = rules.policy.forecast, service.assessment
    if rule is None or facts is None:
        return None
    sure = facts.trend.verdict is Verdict.LEAKING
    if facts.trend.verdict is Verdict.STABLE:
        return None
    least_s = least_window_s(service, rule)
    if not sure and facts.trend.window_s < least_s:
        return None
    accepted = rule.risk if sure else max(rule.risk, YOUNG_RISK)
    lead = lead_now_s(service, rules, sure=sure) + SAMPLES_AHEAD * _interval_s(service)
    for foreseen in sorted(facts.forecasts, key=lambda f: f.early_edge_s() or 0.0):
        risk = foreseen.probability_within(lead)
        if risk <= accepted or (foreseen.median_s or 0.0) > TAIL_LEADS * lead:
            continue
        if not concerns(service, rules, foreseen):
            continue
        edge = foreseen.early_edge_s() or 0.0
        near = edge <= max(grace_left, LEAD_FLOOR_S)
        if not sure and not near:
            continue
        return Proposal(
            trigger=Trigger.EXHAUSTION if near else Trigger.FORECAST,
            reason=_forecast_reason(service, foreseen, risk, lead),
        )
    return None


def by_max_age(service: ServiceState, rules: ServiceRules) -> Proposal | None:
    """Propose when the incarnation is older than `max_age`, whoever started it."""
    limit, sample = rules.policy.max_age_s, service.sample
    if limit is None or sample is None or sample.age_s < limit:
        return None
    return Proposal(
        trigger=Trigger.MAX_AGE,
        reason=f"has run for {format_duration(sample.age_s)}, max_age is {format_duration(limit)}",
    )


def by_request(request: RestartRequest | DryRunRequest) -> Proposal:
    """Propose what a person asked for."""
    who = f" by {request.by}" if request.by else ""
    why = f": {request.reason}" if request.reason else ""
    return Proposal(
        trigger=Trigger.MANUAL,
        reason=f"asked for{who}{why}",
        request_id=request.id,
        forced=request.force,
    )


def by_schedule(
    due: ScheduleDue, service: ServiceState, rules: ServiceRules, now: Instant
) -> Proposal | str | None:
    """Propose at a cron moment; a text says why it is skipped; None: it was dealt with before."""
    rule = next((r for r in rules.policy.schedules if r.cron == due.cron), None)
    fired = service.record.fired.get(due.cron)
    believed = fired is not None and fired - now.wall_s <= CLOCK_WAS_SET_BACK_S
    if rule is None or (believed and fired is not None and due.due_wall_s <= fired):
        return None
    moment = rfc3339(due.due_wall_s)
    if service.sample is None or service.record.missing:
        return f"scheduled for {moment}, but it does not run"
    late = now.wall_s - due.due_wall_s
    if late > LATE_S and rule.catch_up is CatchUp.SKIP:
        return f"scheduled for {moment}, noticed {format_duration(late)} late: catch_up is skip"
    if late > LATE_S and service.sample.age_s + now.since(service.sample.at) < late:
        return f"scheduled for {moment}, but it has been started anew since"
    return _scheduled(due.due_wall_s, service, rules, rule)


def by_due(service: ServiceState, rules: ServiceRules, now: Instant) -> Proposal | str | None:
    """Propose the scheduled restart that is still to come; a text says why it is given up."""
    due = service.record.due
    if due is None:
        return None
    rule = next((r for r in rules.policy.schedules if r.cron == due.cron), None)
    moment = rfc3339(due.due_wall_s)
    if rule is None:
        return f"scheduled for {moment}, but there is no such schedule any more"
    if now.since(due.since) > DUE_LASTS_S:
        return f"scheduled for {moment}, but held back for {format_duration(DUE_LASTS_S)}"
    if service.sample is None or service.record.missing:
        return None
    if service.sample.age_s + now.since(service.sample.at) < now.since(due.since):
        return f"scheduled for {moment}, but it has been started anew since"
    return _scheduled(due.due_wall_s, service, rules, rule)


def _scheduled(
    due_wall_s: float, service: ServiceState, rules: ServiceRules, rule: ScheduleRule
) -> Proposal | str:
    moment = rfc3339(due_wall_s)
    below = _below(service, rules, rule.cron)
    if below:
        return f"scheduled for {moment}, but {below}"
    return Proposal(
        trigger=Trigger.SCHEDULE, reason=f"scheduled for {moment} ({rule.cron}, {rule.timezone})"
    )


def by_absence(absent: Absent, service: ServiceState, rules: ServiceRules) -> Proposal | None:
    """Propose to start what leakguard itself starts and what does not run."""
    if not rules.restart.starts or absent.ambiguous:
        return None
    if service.record.incarnation is None:
        return Proposal(trigger=Trigger.RESPAWN, reason="it does not run yet")
    ended = f"it ended with code {absent.exit_code}" if absent.exit_code is not None else "it ended"
    match rules.restart.respawn:
        case Respawn.NEVER:
            return None
        case Respawn.ON_FAILURE if absent.exit_code == 0:
            return None
        case _:
            return Proposal(trigger=Trigger.RESPAWN, reason=ended)


def _interval_s(service: ServiceState) -> float:
    times = service.series.recent.times
    return times[-1] - times[-2] if len(times) > 1 else 0.0


def _below(service: ServiceState, rules: ServiceRules, cron: str) -> str:
    rule = next(r for r in rules.policy.schedules if r.cron == cron)
    if rule.skip_below is None or service.sample is None:
        return ""
    if service.record.unreadable:
        return "its memory cannot be read, and skip_below needs it"
    limit = service.assessment.effective_limit_bytes if service.assessment else None
    floor = rule.skip_below.resolve(limit)
    if floor is None or service.sample.value_bytes >= floor:
        return ""
    value = format_bytes(service.sample.value_bytes)
    return f"{value} ({service.sample.measure}) is below {format_bytes(floor)}"


def concerns(service: ServiceState, rules: ServiceRules, foreseen: Forecast) -> bool:
    """Tell whether an end is this service's doing, and one that its rule is about."""
    facts, rule = service.assessment, rules.policy.forecast
    if facts is None or rule is None or not caused_by(facts.trend, foreseen):
        return False
    return _acts(rule.act, service, foreseen)


def _acts(act: Act, service: ServiceState, foreseen: Forecast) -> bool:
    """Whether the rule is about this service; where whom is not known, it does not act."""
    if act is Act.ALWAYS or service.assessment is None:
        return True
    if not foreseen.room.domain or foreseen.room.kind is LimitKind.COMMIT:  # kills nobody
        return True
    told, name = victim_of(service.assessment, foreseen), service.record.name
    if told is None:
        return False
    if act is Act.WHEN_VICTIM:
        return told.may_be(name)
    return told.leaker is not None and told.leaker.service == name


def _forecast_reason(service: ServiceState, foreseen: Forecast, risk: float, lead: float) -> str:
    chance = f"P(within {format_duration(lead)}) = {100 * risk:.0f}%"
    return f"{end_in_words(foreseen)}; {chance}{_who(service, foreseen)}"


def end_in_words(foreseen: Forecast) -> str:
    """Say which limit is full when, and at what rate."""
    room, slope = foreseen.room, foreseen.slope_bytes_per_s or 0.0
    where = f"{limit_words(room)} ({format_bytes(room.limit_bytes)})"
    return f"{where} {_when(foreseen)} at {format_rate(slope)}"


def _who(service: ServiceState, foreseen: Forecast) -> str:
    found = service.assessment
    words = end_words(service.record.name, found, foreseen) if found is not None else ""
    return f"; {words}" if words else ""


def _when(foreseen: Forecast) -> str:
    over, times = -foreseen.room.headroom_bytes, foreseen.quantiles()
    if over >= 0:
        return f"is passed by {format_bytes(over)}" if over else "is full now"
    late = times.p95_s if times is not None else None
    early = format_duration(foreseen.early_edge_s() or 0.0)
    return f"is full in {early} to {'later' if late is None else format_duration(late)}"
