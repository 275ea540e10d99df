"""What a reading changes: new incarnations, missing and unreadable services, the series itself."""

import math
from dataclasses import replace
from typing import assert_never

from leakguard.core import activity as habits, futility, lasting, learning, twins
from leakguard.core.events import EventKind
from leakguard.core.guards import remember
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import Absent, Reading, Sample, Unreadable
from leakguard.core.series import Series
from leakguard.core.severity import Severity
from leakguard.core.state import ServiceState, Settling
from leakguard.core.tick import Tick
from leakguard.core.units import format_bytes, format_duration

UNREADABLE_AFTER = 3
"""Readings in a row that must fail before people are told, and before the `for` of a threshold
begins anew: it means without a break, and nobody saw that. One lost race is nothing."""

RISE_HALF_LIFE_S = 60.0
"""The fastest rise seen counts half after this long."""

OTHERS = "others"
"""Reason of a restart that leakguard did not cause."""


def observe(
    tick: Tick, reading: Reading, rules: ServiceRules, *, expected: bool = False
) -> ServiceState:
    """Take one reading into the state of its service.

    `expected`: a new incarnation in it is the one that a restart of ours was waiting for.
    """
    match reading:
        case Sample():
            return _observe_sample(tick, reading, rules, expected=expected)
        case Absent():
            return _observe_absence(tick, reading, rules)
        case Unreadable():
            return _observe_failure(tick, reading)
        case _:
            assert_never(reading)


def _observe_sample(
    tick: Tick, sample: Sample, rules: ServiceRules, *, expected: bool
) -> ServiceState:
    service = tick.service(sample.service)
    if expected and service.record.incarnation == sample.incarnation:
        service = _new_incarnation(tick, sample)  # its root stayed, the rest is new
        service = tick.amend(sample.service, renewed=sample.at)
    sample = _since_renewal(service, sample)
    other_measure = service.sample is not None and service.sample.measure is not sample.measure
    if other_measure and service.record.incarnation == sample.incarnation:
        service = _new_incarnation(tick, sample)  # a series holds one measure
    if service.record.incarnation != sample.incarnation:
        if not expected and service.record.incarnation is not None:
            _count_others(tick, service, sample, rules)
        service = _new_incarnation(tick, sample)
    _see_again(tick, sample)
    tick.samples.append(sample)
    service = _follow_habits(tick, sample)
    fastest = _fastest(service, sample)
    born_s, before = service.series.born_s, service.sample
    service.series.append(sample.at.boot_s, sample.value_bytes)
    if service.series.lives != service.record.lives:
        service = tick.amend(sample.service, lives=service.series.lives)
    if born_s != service.series.born_s:  # it gave its memory back: what follows is another life
        service = tick.put(replace(learning.close(tick, sample.service), marks=()))
    service = tick.put(
        replace(
            service,
            sample=sample,
            last=sample,
            fastest_bytes_per_s=fastest,
            marks=lasting.remember(service.marks, sample),
            unreadable_count=0,
            absent_since=None,
            ambiguous="",
        )
    )
    if futility.shows_start(service.record.settled_bytes, before, sample):
        start = futility.start_bytes(service.series.recent, sample)
        service = tick.amend(sample.service, settled_bytes=start)
    return _follow_up(tick, service, sample)


def _since_renewal(service: ServiceState, sample: Sample) -> Sample:
    """Let the age of a service whose root stayed count from when the rest of it was replaced."""
    renewed = service.record.renewed
    if renewed is None or service.record.incarnation != sample.incarnation:
        return sample
    return replace(sample, age_s=min(sample.age_s, max(0.0, sample.at.since(renewed))))


def _follow_habits(tick: Tick, sample: Sample) -> ServiceState:
    """Learn how busy the service is at this time of day."""
    service = tick.service(sample.service)
    activity, pulse = habits.follow(service.record.activity, service.pulse, sample)
    if activity is not service.record.activity:
        service = tick.amend(sample.service, activity=activity)
    return service if pulse is service.pulse else tick.put(replace(service, pulse=pulse))


def _see_again(tick: Tick, sample: Sample) -> None:
    """Tell of a service that was missing or unreadable and is not any more."""
    service = tick.service(sample.service)
    if service.record.missing:
        service = tick.amend(sample.service, missing=False, exit_code=None)
        tick.event(
            EventKind.SERVICE_RETURNED,
            sample.service,
            Severity.INFO,
            f"{sample.service} is running as {sample.incarnation}",
            pid=sample.incarnation.pid,
        )
    if service.record.unreadable:
        tick.amend(sample.service, unreadable=False)
        tick.event(
            EventKind.SERVICE_READABLE,
            sample.service,
            Severity.INFO,
            f"the memory of {sample.service} can be read again",
        )


def _count_others(tick: Tick, service: ServiceState, sample: Sample, rules: ServiceRules) -> None:
    """Count a restart that none of ours explains: the breaker counts every one."""
    counts = dict(service.record.restart_counts)
    counts[f"{OTHERS}/succeeded"] = counts.get(f"{OTHERS}/succeeded", 0) + 1
    restarts = remember(service.record, OTHERS, rules, tick.now)
    tick.amend(sample.service, restarts=restarts, restart_counts=counts)
    if "restart" in service.record.problems and service.record.settling is None:
        before = service.sample.value_bytes if service.sample is not None else None
        unseen = Settling(since=tick.now, action_id="", before_bytes=before, took_s=None)
        tick.amend(sample.service, settling=unseen)
    twin = twins.restarted_as(tick, sample.service, sample.incarnation)
    how = f"it was restarted as {twin}" if twin else "leakguard did not restart it"
    tick.event(
        EventKind.RESTARTED_BY_OTHERS,
        sample.service,
        Severity.INFO,
        f"{sample.service} runs anew as {sample.incarnation}; {how}",
        pid=sample.incarnation.pid,
    )


def _new_incarnation(tick: Tick, sample: Sample) -> ServiceState:
    """Start a new series for a new incarnation."""
    service = learning.close(tick, sample.service)
    record = replace(
        service.record,
        incarnation=sample.incarnation,
        renewed=None,
        unhealthy=False,
        settled_bytes=None,
    )
    same_measure = service.sample is None or service.sample.measure is sample.measure
    lives = service.series.ended() if same_measure else ()
    return tick.put(
        replace(
            service,
            record=record,
            series=Series(lives),
            sample=None,
            assessment=None,
            fitted_boot_s=None,
            fastest_bytes_per_s=0.0,
            over_since=None,
            held={},
            leak_streak=0,
            marks=(),
            throttled_since=None,
        )
    )


def _fastest(service: ServiceState, sample: Sample) -> float:
    """Give the fastest recent rise; it decays, so that a burst does not cost CPU for ever."""
    last = service.series.last()
    if last is None:
        return 0.0
    elapsed = sample.at.boot_s - last[0]
    if elapsed <= 0:
        return service.fastest_bytes_per_s
    decayed = service.fastest_bytes_per_s * math.exp2(-elapsed / RISE_HALF_LIFE_S)
    return max(decayed, (sample.value_bytes - last[1]) / elapsed)


def _follow_up(tick: Tick, service: ServiceState, sample: Sample) -> ServiceState:
    """Say what the memory became, once the new incarnation has had time to start."""
    settling = service.record.settling
    if (
        settling is None
        or service.record.flight is not None
        or sample.age_s < futility.SETTLED_AFTER_S
    ):
        return service
    before, took = settling.before_bytes, settling.took_s
    sizes = format_bytes(sample.value_bytes)
    if before is not None:
        sizes = f"{format_bytes(before)} → {sizes}"
    back = f", back after {format_duration(took)}" if took is not None else ""
    tick.amend(sample.service, settling=None)
    tick.event(
        EventKind.MEMORY_RECOVERED,
        sample.service,
        Severity.INFO,
        f"after the restart of {sample.service}: {sizes} ({sample.measure}){back}",
        action_id=settling.action_id or None,
        before_bytes=before,
        after_bytes=sample.value_bytes,
        measure=sample.measure.value,
        took_s=round(took, 3) if took is not None else None,
    )
    return tick.service(sample.service)


def _observe_absence(tick: Tick, absent: Absent, rules: ServiceRules) -> ServiceState:
    service = tick.service(absent.service)
    record = service.record
    since = service.absent_since or tick.now
    ambiguous = absent.reason if absent.ambiguous else ""
    service = tick.put(
        replace(service, sample=None, over_since=None, absent_since=since, ambiguous=ambiguous)
    )
    awaited = record.flight is not None or (rules.restart.starts and record.incarnation is None)
    if record.missing or awaited:
        return service
    tick.amend(absent.service, missing=True, exit_code=absent.exit_code)
    explained = absent.exit_code == 0 or absent.taken_away or _will_be_told(service)
    tick.event(
        EventKind.SERVICE_MISSING,
        absent.service,
        Severity.INFO if explained else Severity.WARNING,
        absent.reason,
        exit_code=absent.exit_code,
        ambiguous=absent.ambiguous or None,
    )
    return tick.service(absent.service)


def _will_be_told(service: ServiceState) -> bool:
    """Tell whether a `ServiceDied` is to come, which is what people are woken by."""
    return any(death.incarnation == service.record.incarnation for death in service.record.dying)


def _observe_failure(tick: Tick, failed: Unreadable) -> ServiceState:
    service = tick.service(failed.service)
    count = service.unreadable_count + 1
    service = tick.put(
        replace(
            service,
            unreadable_count=count,
            sample_errors=service.sample_errors + 1,
            over_since=service.over_since if count < UNREADABLE_AFTER else None,
        )
    )
    if count < UNREADABLE_AFTER or service.record.unreadable:
        return service
    tick.amend(failed.service, unreadable=True)
    tick.event(
        EventKind.SERVICE_UNREADABLE,
        failed.service,
        Severity.WARNING,
        f"the memory of {failed.service} cannot be read: {failed.reason}; "
        "nothing is restarted because of that",
    )
    return tick.service(failed.service)
