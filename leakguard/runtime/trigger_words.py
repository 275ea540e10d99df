"""What would restart a service, and what would hold that back, in words."""

from collections.abc import Iterator

from leakguard.core.policy import Act, BuyTimeRule, CatchUp, GroupRules, Mode, ServiceRules
from leakguard.core.units import counted, format_bytes, format_duration
from leakguard.runtime.schedule_words import delay_words

_WHO = {
    Act.ALWAYS: "",
    Act.WHEN_VICTIM: ", and the kernel would kill this service",
    Act.WHEN_LEAKER: ", and nothing guarded beside it grows faster",
}


def triggers_in_words(rules: ServiceRules) -> tuple[str, ...]:
    """Say what restarts the service, one line for each trigger."""
    return tuple(_triggers(rules)) or ("nothing: no trigger is set",)


def guards_in_words(rules: ServiceRules) -> tuple[str, ...]:
    """Say what holds a restart back."""
    return tuple(_guards(rules))


def _triggers(rules: ServiceRules) -> Iterator[str]:
    policy, measure = rules.policy, rules.measure.value
    if policy.threshold is not None:
        for_s = policy.threshold.for_s
        lasting = f" for {format_duration(for_s)}" if for_s else ""
        share = " of the effective limit" if policy.threshold.above.share is not None else ""
        yield f"threshold: {measure} above {policy.threshold.above}{share}{lasting}"
    if policy.forecast is not None:
        lead = policy.forecast.lead_s
        within = (
            "twice the measured stop and start time (at most 10m)"
            if lead is None
            else format_duration(lead)
        )
        risk = f"{100 * policy.forecast.risk:g}%"
        who = _WHO[policy.forecast.act]
        yield f"forecast: the chance of reaching a limit within {within} is above {risk}{who}"
    for schedule in policy.schedules:
        below = schedule.skip_below
        unless = f", unless {measure} is below {below}" if below is not None else ""
        missed = "made up for" if schedule.catch_up is CatchUp.RUN else "skipped"
        when = f"{schedule.cron} in {schedule.timezone}{delay_words(schedule)}"
        yield f"schedule: {when}{unless}; a missed time is {missed}"
    if policy.forecast is not None and policy.windows:
        yield "windows: a leak waits for the last one that comes before the end"
    elif policy.forecast is not None and policy.forecast.quiet:
        yield "quiet time: a leak waits for the quietest time of the day before the end"
    if policy.max_age_s is not None:
        yield f"age: it has run for {format_duration(policy.max_age_s)}"


def _guards(rules: ServiceRules) -> Iterator[str]:
    guards = rules.guards
    if rules.mode is Mode.OBSERVE:
        yield "mode observe: decided, logged and alerted, but nothing is restarted"
    if guards.windows_only:
        yield "windows only: outside its windows nothing but schedules and people restarts it"
    if guards.blackouts:
        also = " but a threshold and the end of the memory" if guards.blackouts_yield else ""
        yield f"blackouts: meanwhile nothing{also} restarts it; what would not last goes before"
    if rules.restart.buy_time is not None:
        yield _buy_time(rules.restart.buy_time)
    if guards.grace_s:
        grace = format_duration(guards.grace_s)
        yield f"grace: schedules, age and slow forecasts wait {grace} after a start"
    leave = rules.restart.leave
    if leave is not None:
        at_most = format_duration(leave.at_most_s)
        yield (
            f"busy: the service is asked and may put a restart off, for {at_most} in all; for a "
            "forecast until its memory may not last"
        )
    if rules.group is not None:
        yield _group(rules.group)
    yield (
        f"breaker: after {guards.max_restarts} restarts within {format_duration(guards.per_s)} "
        "leakguard only watches and alerts"
    )
    if guards.budget is not None:
        together, per = counted(guards.budget.max_restarts, "restart"), guards.budget.per_s
        yield f"breaker: and after {together} of all services within {format_duration(per)}"


def _buy_time(rule: BuyTimeRule) -> str:
    """Say how far a limit is bent for a leak that would not last until its window."""
    parts = []
    if rule.raise_by is not None:
        parts.append(f"raised by at most {100 * rule.raise_by:g}%")
    if rule.at_most_bytes is not None:
        parts.append(f"raised to at most {format_bytes(rule.at_most_bytes)}")
    if rule.throttle_below is not None:
        parts.append(f"throttled from {100 * rule.throttle_below:g}% below it on")
    return f"buy time: the limit is {', '.join(parts)}, until its window comes"


def _group(group: GroupRules) -> str:
    parts = [f"{counted(group.max_parallel, 'restart')} at a time"]
    if group.min_healthy:
        parts.append(f"{group.min_healthy} stay healthy unless the memory runs out")
    if group.stagger_s:
        parts.append(f"{format_duration(group.stagger_s)} between the end of one and the next")
    return f"group {group.name}: {', '.join(parts)}"
