"""Every trigger: when it says 'I would restart', in which words, and when it keeps still."""

import re
from dataclasses import replace

import pytest

from leakguard.core import propose
from leakguard.core.assessment import Assessment
from leakguard.core.badness import Outcome
from leakguard.core.facts import COMMIT
from leakguard.core.forecast import Forecast, LimitKind, Room, forecast
from leakguard.core.foretold import Foretold, Suspect
from leakguard.core.inbox import RestartRequest, ScheduleDue
from leakguard.core.instant import Instant
from leakguard.core.policy import (
    Act,
    CatchUp,
    ForecastRule,
    Policy,
    Proposal,
    Respawn,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
    Trigger,
)
from leakguard.core.sample import Absent
from leakguard.core.state import ServiceRecord, ServiceState
from leakguard.core.trend import UNKNOWN, Trend, Verdict
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import (
    NAME,
    foreseeing,
    guarded,
    room_of,
    sample_of,
    scheduled,
    service_of,
    threshold,
    trend_of,
)
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

NOW = FakeClock().now()
HOUR = 3600.0
DAY = 24 * HOUR


def facts(
    trend: Trend = UNKNOWN, *forecasts: Forecast, limit_mib: float | None = None
) -> Assessment:
    """Make an assessment with forecasts and an effective limit."""
    limit = None if limit_mib is None else int(limit_mib * MIB)
    return Assessment(at=NOW, trend=trend, forecasts=forecasts, effective_limit_bytes=limit)


def trigger_of(proposal: Proposal | None) -> Trigger | None:
    """Give the trigger of a proposal."""
    return proposal.trigger if proposal is not None else None


# ---- threshold


def over(mib: float, since_s: float, limit_mib: float | None = None) -> ServiceState:
    """Make a service above its threshold since then."""
    return service_of(
        sample_of(NOW, mib), over_since=NOW.plus(-since_s), assessment=facts(limit_mib=limit_mib)
    )


def test_threshold_without_for_proposes_at_once() -> None:
    """The reason names measure, value and threshold."""
    found = propose.by_threshold(over(300, 0), guarded(threshold(200)), NOW)
    assert found == Proposal(trigger=Trigger.THRESHOLD, reason="300 MiB (auto) is above 200 MiB")


@pytest.mark.parametrize(("since_s", "proposed"), [(119.9, False), (120.0, True)])
def test_threshold_with_for_waits(since_s: float, proposed: bool) -> None:
    """It must have been above without a break for that long."""
    found = propose.by_threshold(over(300, since_s), guarded(threshold(200, for_s=120)), NOW)
    assert (found is not None) == proposed


def test_threshold_with_for_says_how_long() -> None:
    """The reason has the duration."""
    found = propose.by_threshold(over(300, 150), guarded(threshold(200, for_s=120)), NOW)
    assert found is not None
    assert found.reason == "300 MiB (auto) is above 200 MiB for 2m 30s"


def test_threshold_of_a_share_follows_the_limit() -> None:
    """A percentage is one of the effective limit."""
    found = propose.by_threshold(over(300, 0, limit_mib=250), guarded(threshold(share=0.8)), NOW)
    assert found is not None
    assert found.reason == "300 MiB (auto) is above 200 MiB"


def test_threshold_of_a_share_without_a_known_limit_keeps_still() -> None:
    """A share of nothing known is unknown, not zero."""
    assert propose.by_threshold(over(300, 0), guarded(threshold(share=0.8)), NOW) is None


def test_threshold_says_what_a_restart_does_not_cure() -> None:
    """It is a person's own rule, so it is kept, and the reason is honest."""
    found = Assessment(at=NOW, trend=trend_of(), tmpfs_share=1.0)
    service = replace(over(300, 0), assessment=found)
    proposal = propose.by_threshold(service, guarded(threshold(200)), NOW)
    assert proposal is not None
    assert proposal.reason == (
        "300 MiB (auto) is above 200 MiB; "
        "a restart does not cure it: 100% of the growth is in files of tmpfs"
    )


def test_threshold_keeps_still_below_it_without_it_or_without_a_sample() -> None:
    """Each missing part alone is enough."""
    rules = guarded(threshold(200))
    below = replace(over(100, 0), over_since=None)
    gone = replace(over(300, 0), sample=None)
    found = [
        propose.by_threshold(below, rules, NOW),
        propose.by_threshold(gone, rules, NOW),
        propose.by_threshold(over(300, 0), guarded(), NOW),
    ]
    assert found == [None, None, None]


# ---- forecast


def leaking(
    room_mib: float,
    *,
    verdict: Verdict = Verdict.LEAKING,
    mib_per_s: float = 1.0,
    kind: LimitKind = LimitKind.CGROUP,
    shared: Trend | None = None,
) -> ServiceState:
    """Make a service that fills `room_mib` at `mib_per_s`."""
    own = trend_of(verdict, mib_per_s)
    room = room_of(room_mib, kind=kind)
    return service_of(sample_of(NOW, 100), assessment=facts(own, forecast(room, shared or own)))


def test_a_limit_far_away_proposes_nothing() -> None:
    """The risk within the lead must be more than is accepted."""
    assert propose.by_forecast(leaking(1000), guarded(foreseeing()), 0.0) is None


def test_a_limit_within_the_lead_proposes() -> None:
    """The reason names limit, span, slope, lead and probability."""
    found = propose.by_forecast(leaking(9), guarded(foreseeing()), 0.0)
    assert found is not None
    assert found.trigger is Trigger.FORECAST
    assert re.fullmatch(
        r"cgroup /worker \(512 MiB\) is full in 7\.\ds to 1\ds at 1\.00 MiB/s; "
        r"P\(within 10s\) = \d\d%",
        found.reason,
    )


def test_a_limit_that_is_no_cgroup_is_named_by_its_kind() -> None:
    """Only cgroups have a path."""
    found = propose.by_forecast(leaking(9, kind=LimitKind.HOST), guarded(foreseeing()), 0.0)
    assert found is not None
    assert found.reason.startswith("host limit (512 MiB) is full in ")


def test_a_limit_that_is_reached_is_full_now() -> None:
    """No room left is an exhaustion, whatever the band says; the reason says by how much."""
    full = propose.by_forecast(leaking(0), guarded(foreseeing()), 0.0)
    passed = propose.by_forecast(leaking(-1), guarded(foreseeing()), 0.0)
    assert full is not None
    assert passed is not None
    assert (full.trigger, passed.trigger) == (Trigger.EXHAUSTION, Trigger.EXHAUSTION)
    assert "(512 MiB) is full now at" in full.reason
    assert "(512 MiB) is passed by 1.00 MiB at" in passed.reason


def test_a_span_that_ends_beyond_the_horizon_says_later() -> None:
    """The early edge is what counts, and it is named."""
    room = Room(kind=LimitKind.CONFIGURED, limit_bytes=MIB, headroom_bytes=MIB)
    wide = Forecast(
        room=room, slope_bytes_per_s=1.0, median_s=20 * DAY, early_sigma=1.0, late_sigma=1.0
    )
    service = service_of(sample_of(NOW, 100), assessment=facts(trend_of(), wide))
    found = propose.by_forecast(service, guarded(foreseeing(lead_s=15 * DAY)), 0.0)
    assert found is not None
    assert re.search(r"is full in 3d \d+h to later at", found.reason)


@pytest.mark.parametrize(
    ("grace_left", "trigger"), [(0.0, Trigger.FORECAST), (100.0, Trigger.EXHAUSTION)]
)
def test_an_early_edge_inside_the_grace_is_an_exhaustion(
    grace_left: float, trigger: Trigger
) -> None:
    """What would happen before the grace is over cannot wait for it."""
    found = propose.by_forecast(leaking(9), guarded(foreseeing()), grace_left)
    assert trigger_of(found) is trigger


def test_an_early_edge_that_is_very_near_is_an_exhaustion() -> None:
    """Within two seconds it is no matter of grace."""
    found = propose.by_forecast(leaking(2), guarded(foreseeing()), 0.0)
    assert trigger_of(found) is Trigger.EXHAUSTION


@pytest.mark.parametrize(
    ("room_mib", "grace_left", "trigger"),
    [
        (2.5, 0.0, None),
        (2.5, 100.0, Trigger.EXHAUSTION),
        (9, 100.0, None),
        (1, 0.0, Trigger.EXHAUSTION),
    ],
)
def test_a_young_series_acts_only_on_the_very_end(
    room_mib: float, grace_left: float, trigger: Trigger | None
) -> None:
    """A start-up that fills half a limit is no leak yet."""
    service = leaking(room_mib, verdict=Verdict.WARMING_UP)
    found = propose.by_forecast(service, guarded(foreseeing()), grace_left)
    assert trigger_of(found) is trigger


def test_a_handful_of_samples_is_no_reason_to_restart() -> None:
    """Right after a start the range is so wide that the end always seems possible."""
    service = leaking(1, verdict=Verdict.WARMING_UP)
    assert service.assessment is not None
    trend = replace(service.assessment.trend, window_s=1.5)
    service = replace(service, assessment=replace(service.assessment, trend=trend))
    assert propose.by_forecast(service, guarded(foreseeing()), 100.0) is None


@pytest.mark.parametrize(
    ("window_s", "oom_kills", "proposed"), [(7, 0, False), (9, 0, True), (7, 1, True)]
)
def test_a_start_up_is_no_leak(window_s: float, oom_kills: int, proposed: bool) -> None:
    """What grows for a few seconds may be starting, unless the kernel has killed there before."""
    service = leaking(1, verdict=Verdict.WARMING_UP)
    assert service.assessment is not None
    trend = replace(service.assessment.trend, window_s=window_s)
    service = replace(
        service,
        record=replace(service.record, oom_kills=oom_kills),
        assessment=replace(service.assessment, trend=trend),
    )
    found = propose.by_forecast(service, guarded(foreseeing()), 100.0)
    assert (found is not None) == proposed


def test_a_young_series_of_a_slow_restart_has_a_bounded_lead() -> None:
    """A service that takes a minute to start is not restarted a minute before a plateau."""
    record = ServiceRecord(name=NAME, stop_start_s=60.0)
    for room_mib, proposed in ((30, False), (9, True)):
        service = replace(leaking(room_mib, verdict=Verdict.WARMING_UP), record=record)
        found = propose.by_forecast(service, guarded(foreseeing()), 100.0)
        assert (found is not None) == proposed


def test_a_young_series_acts_from_a_higher_risk_on() -> None:
    """Without a verdict a chance of one in ten is not enough; with one it is."""
    young = leaking(3.6, verdict=Verdict.WARMING_UP)
    assert propose.by_forecast(young, guarded(foreseeing()), 100.0) is None
    sure = leaking(3.6)
    assert trigger_of(propose.by_forecast(sure, guarded(foreseeing()), 100.0)) is not None


def test_a_young_series_has_a_lead_by_the_measured_restart() -> None:
    """A service that takes two seconds to stop and start needs four."""
    record = ServiceRecord(name=NAME, stop_start_s=4.0)
    service = replace(leaking(6, verdict=Verdict.WARMING_UP), record=record)
    found = propose.by_forecast(service, guarded(foreseeing()), 100.0)
    assert trigger_of(found) is Trigger.EXHAUSTION


def test_a_shared_domain_that_others_fill_is_not_this_service() -> None:
    """A share below 30 % of the domain's slope restarts nobody."""
    other = leaking(9, mib_per_s=0.2, shared=trend_of(mib_per_s=1.0))
    cause = leaking(9, mib_per_s=0.3, shared=trend_of(mib_per_s=1.0))
    rules = guarded(foreseeing())
    assert [propose.by_forecast(s, rules, 0.0) is not None for s in (other, cause)] == [False, True]


def test_the_nearest_limit_that_concerns_it_is_named() -> None:
    """Limits are looked at by their early edge; what is not foreseen is passed over."""
    own = trend_of()
    service = service_of(
        sample_of(NOW, 100),
        assessment=facts(
            own,
            forecast(room_of(9, kind=LimitKind.HOST), own),
            forecast(room_of(5), own),
            Forecast(room=room_of(1), slope_bytes_per_s=None),
        ),
    )
    found = propose.by_forecast(service, guarded(foreseeing()), 0.0)
    assert found is not None
    assert found.reason.startswith("cgroup /worker")


@pytest.mark.parametrize("risk", [0.05, 0.99])
def test_risk_is_what_is_accepted(risk: float) -> None:
    """The same forecast is proposed or not by the accepted risk."""
    found = propose.by_forecast(leaking(8), guarded(foreseeing(risk=risk)), 0.0)
    assert (found is not None) == (risk < 0.5)


def told(victim: str, *, runner_up: str = "", certain: bool = True, leaker: str = "") -> Foretold:
    """Make a prediction for the cgroup; each one is a guarded service, `worker` is this one."""

    def suspect(service: str) -> Suspect | None:
        return Suspect(pid=len(service), name="python3", service=service) if service else None

    return Foretold(
        domain="v2:/worker", at=NOW, outcome=Outcome.KILL, victim=suspect(victim),
        runner_up=suspect(runner_up), leaker=suspect(leaker), certain=certain,
    )  # fmt: skip


def facing(foretold: Foretold | None) -> ServiceState:
    """Make a leaking service whose cgroup is nearly full, and what is foretold of that."""
    room = replace(room_of(9), domain="v2:/worker")
    known = {} if foretold is None else {foretold.domain: foretold}
    found = replace(facts(trend_of(), forecast(room, trend_of())), foretold=known)
    return service_of(sample_of(NOW, 100), assessment=found)


@pytest.mark.parametrize(
    ("act", "foretold", "proposed"),
    [
        (Act.ALWAYS, None, True),
        (Act.ALWAYS, told("postgres"), True),
        (Act.WHEN_VICTIM, None, False),
        (Act.WHEN_VICTIM, told("postgres"), False),
        (Act.WHEN_VICTIM, told("postgres", runner_up=NAME), False),
        (Act.WHEN_VICTIM, told("postgres", runner_up=NAME, certain=False), True),
        (Act.WHEN_VICTIM, told(NAME), True),
        (Act.WHEN_LEAKER, None, False),
        (Act.WHEN_LEAKER, told(NAME, leaker="postgres"), False),
        (Act.WHEN_LEAKER, told("postgres", leaker=NAME), True),
        (Act.WHEN_LEAKER, told("postgres"), False),
    ],
)
def test_act(act: Act, foretold: Foretold | None, proposed: bool) -> None:
    """Whom the kernel would kill matters where the rule says so; what is not known is no reason."""
    rules = guarded(Policy(forecast=ForecastRule(act=act)))
    assert (propose.by_forecast(facing(foretold), rules, 0.0) is not None) == proposed


@pytest.mark.parametrize("act", Act)
def test_a_limit_that_kills_nobody_is_acted_on_whatever_act_says(act: Act) -> None:
    """What the configuration calls a limit is no memory domain."""
    service = leaking(9, kind=LimitKind.CONFIGURED)
    rules = guarded(Policy(forecast=ForecastRule(act=act)))
    assert propose.by_forecast(service, rules, 0.0) is not None


@pytest.mark.parametrize("act", Act)
def test_commit_limit_is_acted_on_whatever_act_says(act: Act) -> None:
    """Nobody is killed at its end, and the service that grows is the first to be refused."""
    room = replace(room_of(9, kind=LimitKind.COMMIT), domain=COMMIT)
    service = service_of(
        sample_of(NOW, 100), assessment=facts(trend_of(), forecast(room, trend_of()))
    )
    rules = guarded(Policy(forecast=ForecastRule(act=act)))
    found = propose.by_forecast(service, rules, 0.0)
    assert found is not None
    assert found.reason.startswith("CommitLimit (512 MiB) is full in ")
    assert found.reason.endswith(
        "; malloc then fails (ENOMEM) at CommitLimit, and nobody is killed"
    )


@pytest.mark.parametrize(
    ("foretold", "said"),
    [
        (told("postgres"), "; the kernel would kill postgres, not worker"),
        (told("postgres", certain=False), "; the kernel would probably kill postgres, not worker"),
        (told(NAME), "; the kernel would kill worker itself"),
        (told(""), "%"),
        (None, "%"),
    ],
)
def test_the_reason_names_the_victim(foretold: Foretold | None, said: str) -> None:
    """Who leaks and who dies are two things, and people are told both."""
    found = propose.by_forecast(facing(foretold), guarded(foreseeing()), 0.0)
    assert found is not None
    assert found.reason.endswith(said)


def test_no_forecast_rule_or_no_facts_propose_nothing() -> None:
    """Each missing part alone is enough."""
    unread = service_of(sample_of(NOW, 100))
    found = [
        propose.by_forecast(leaking(1), guarded(), 0.0),
        propose.by_forecast(unread, guarded(foreseeing()), 0.0),
    ]
    assert found == [None, None]


def test_the_lead_grows_with_the_sampling_interval() -> None:
    """A forecast is as fresh as its sample: twice the interval comes on top."""
    service = leaking(40)
    for i in range(3):
        service.series.append(NOW.boot_s + 15.0 * i, 0.0)
    found = propose.by_forecast(service, guarded(foreseeing()), 0.0)
    assert found is not None
    assert "P(within 40s)" in found.reason


@pytest.mark.parametrize(
    ("configured", "measured", "lead"),
    [
        (42.0, 5.0, 42.0),
        (None, None, propose.LEAD_UNMEASURED_S),
        (None, 5.0, 10.0),
        (None, 0.2, propose.LEAD_FLOOR_S),
        (None, 4000.0, propose.LEAD_CEILING_S),
    ],
)
def test_lead(configured: float | None, measured: float | None, lead: float) -> None:
    """As configured, else twice the measured time between a floor and a ceiling."""
    service = service_of(record=ServiceRecord(name=NAME, stop_start_s=measured))
    assert propose.lead_s(service, guarded(foreseeing(lead_s=configured))) == lead


def test_lead_without_a_forecast_rule_is_the_measured_one() -> None:
    """Status may ask for it at any time."""
    service = service_of(record=ServiceRecord(name=NAME, stop_start_s=3.0))
    assert propose.lead_s(service, guarded()) == 6.0


# ---- schedule

CRON = "0 3 * * *"


def due(ago_s: float = 1.0, cron: str = CRON) -> ScheduleDue:
    """Make a due moment so long before now."""
    return ScheduleDue(service=NAME, cron=cron, due_wall_s=NOW.wall_s - ago_s)


def rules_for(catch_up: CatchUp = CatchUp.RUN, skip_below: Amount | None = None) -> ServiceRules:
    """Make rules with one schedule."""
    return guarded(scheduled(ScheduleRule(cron=CRON, catch_up=catch_up, skip_below=skip_below)))


def old_service(
    mib: float = 400, *, fired_ago_s: float | None = None, age_s: float = 30 * DAY, **record: object
) -> ServiceState:
    """Make a service that has run for long."""
    fired = {} if fired_ago_s is None else {CRON: NOW.wall_s - fired_ago_s}
    known = replace(ServiceRecord(name=NAME, fired=fired), **record)  # type: ignore[arg-type]  # the record's fields
    return service_of(sample_of(NOW, mib, age_s=age_s), known)


def by_schedule(
    moment: ScheduleDue, service: ServiceState, rules: ServiceRules, now: Instant = NOW
) -> Proposal | str | None:
    """Ask the trigger."""
    return propose.by_schedule(moment, service, rules, now)


def test_a_schedule_proposes_at_its_moment() -> None:
    """The reason names moment, expression and time zone."""
    found = by_schedule(due(), old_service(fired_ago_s=DAY), rules_for())
    assert isinstance(found, Proposal)
    assert found.reason == "scheduled for 2026-11-18T11:06:39Z (0 3 * * *, UTC)"


def test_a_moment_that_was_dealt_with_is_not_dealt_with_again() -> None:
    """Whatever came of it."""
    assert by_schedule(due(), old_service(fired_ago_s=1.0), rules_for()) is None


def test_a_schedule_that_is_no_longer_configured_is_nothing() -> None:
    """A reload may remove it between firing and tick."""
    assert by_schedule(due(cron="0 4 * * *"), old_service(), rules_for()) is None


@pytest.mark.parametrize(
    ("back_s", "dealt_with"), [(HOUR, True), (DAY, False)], ids=["an hour", "a day"]
)
def test_the_clock_set_back(back_s: float, dealt_with: bool) -> None:
    """An hour back doubles nothing; a memory a day in the future is not believed."""
    service = old_service(fired_ago_s=1.0)
    now = Instant(wall_s=NOW.wall_s - back_s, boot_s=NOW.boot_s, boot_id=NOW.boot_id)
    again = ScheduleDue(service=NAME, cron=CRON, due_wall_s=now.wall_s - 1.0)
    assert (by_schedule(again, service, rules_for(), now) is None) == dealt_with


@pytest.mark.parametrize("forward_s", [HOUR, DAY], ids=["an hour", "a day"])
def test_the_clock_set_forward(forward_s: float) -> None:
    """The moment that was jumped over is run late."""
    service = old_service(fired_ago_s=DAY)
    now = Instant(wall_s=NOW.wall_s + forward_s, boot_s=NOW.boot_s, boot_id=NOW.boot_id)
    assert isinstance(by_schedule(due(), service, rules_for(), now), Proposal)


def test_a_late_moment_is_run_or_skipped_as_configured() -> None:
    """`catch_up` decides about what was noticed more than 90 s late."""
    skipped = by_schedule(due(91), old_service(), rules_for(CatchUp.SKIP))
    run = by_schedule(due(91), old_service(), rules_for(CatchUp.RUN))
    in_time = by_schedule(due(89), old_service(), rules_for(CatchUp.SKIP))
    assert isinstance(run, Proposal)
    assert isinstance(in_time, Proposal)
    assert skipped == ("scheduled for 2026-11-18T11:05:09Z, noticed 1m 31s late: catch_up is skip")


def test_a_late_moment_is_moot_when_it_was_started_anew_since() -> None:
    """A restart after the moment has done what the schedule wanted."""
    found = by_schedule(due(HOUR), old_service(age_s=HOUR - 1), rules_for())
    assert found == "scheduled for 2026-11-18T10:06:40Z, but it has been started anew since"


def test_a_moment_in_time_is_not_moot_by_a_young_service() -> None:
    """A young service is for the grace to hold back."""
    assert isinstance(by_schedule(due(), old_service(age_s=0.5), rules_for()), Proposal)


def test_a_service_that_does_not_run_is_not_restarted_by_schedule() -> None:
    """Never seen in this life, or missing."""
    said = "scheduled for 2026-11-18T11:06:39Z, but it does not run"
    found = [
        by_schedule(due(), service_of(), rules_for()),
        by_schedule(due(), old_service(missing=True), rules_for()),
    ]
    assert found == [said, said]


@pytest.mark.parametrize(("mib", "proposed"), [(299, False), (300, True)])
def test_skip_below(mib: float, proposed: bool) -> None:
    """Below it there is nothing to be won."""
    rules = rules_for(skip_below=Amount(size_bytes=300 * MIB))
    found = by_schedule(due(), old_service(mib), rules)
    said = "scheduled for 2026-11-18T11:06:39Z, but 299 MiB (auto) is below 300 MiB"
    assert isinstance(found, Proposal) if proposed else found == said


@pytest.mark.parametrize(("limit_mib", "proposed"), [(1000, False), (500, True), (None, True)])
def test_skip_below_a_share(limit_mib: float | None, proposed: bool) -> None:
    """A share is one of the effective limit; without one the schedule is kept."""
    service = replace(old_service(400), assessment=facts(limit_mib=limit_mib))
    found = by_schedule(due(), service, rules_for(skip_below=Amount(share=0.5)))
    assert isinstance(found, Proposal) == proposed


def test_skip_below_needs_a_readable_memory() -> None:
    """Unknown is not above: the restart is skipped and the reason says why."""
    rules = rules_for(skip_below=Amount(size_bytes=300 * MIB))
    found = by_schedule(due(), old_service(unreadable=True), rules)
    assert found == (
        "scheduled for 2026-11-18T11:06:39Z, but its memory cannot be read, and skip_below needs it"
    )


def test_a_schedule_without_skip_below_needs_no_memory() -> None:
    """A nightly restart does not depend on statistics."""
    assert isinstance(by_schedule(due(), old_service(unreadable=True), rules_for()), Proposal)


# ---- age, people, absence


@pytest.mark.parametrize(("age_s", "proposed"), [(7 * DAY - 1, False), (7 * DAY, True)])
def test_max_age(age_s: float, proposed: bool) -> None:
    """The age is the incarnation's, whoever started it."""
    rules = guarded(Policy(forecast=None, max_age_s=7 * DAY))
    found = propose.by_max_age(service_of(sample_of(NOW, 1, age_s=age_s)), rules)
    assert (found.reason if found else None) == (
        "has run for 7d, max_age is 7d" if proposed else None
    )


def test_max_age_needs_a_rule_and_a_sample() -> None:
    """Each missing part alone is enough."""
    rules = guarded(Policy(forecast=None, max_age_s=1.0))
    old = service_of(sample_of(NOW, 1))
    found = [propose.by_max_age(service_of(), rules), propose.by_max_age(old, guarded())]
    assert found == [None, None]


@pytest.mark.parametrize(
    ("by", "why", "said"),
    [
        ("", "", "asked for"),
        ("ann", "", "asked for by ann"),
        ("ann", "new certificate", "asked for by ann: new certificate"),
    ],
)
def test_a_person_asks(by: str, why: str, said: str) -> None:
    """The proposal carries the request and its force."""
    found = propose.by_request(RestartRequest(id="r1", service=NAME, by=by, reason=why, force=True))
    assert found == Proposal(trigger=Trigger.MANUAL, reason=said, request_id="r1", forced=True)


def gone(code: int | None = None, *, ambiguous: bool = False) -> Absent:
    """Make an absence."""
    return Absent(service=NAME, at=NOW, reason="none", exit_code=code, ambiguous=ambiguous)


def child(respawn: Respawn = Respawn.ALWAYS, *, starts: bool = True) -> ServiceRules:
    """Make rules of a service that leakguard starts."""
    return guarded(restart=RestartRules(driver="child", starts=starts, respawn=respawn))


BEFORE = service_of(record=ServiceRecord(name=NAME, incarnation=run_of()))


@pytest.mark.parametrize("respawn", Respawn)
def test_a_child_is_started_the_first_time_whatever_respawn_says(respawn: Respawn) -> None:
    """`respawn` is about a child that ended."""
    found = propose.by_absence(gone(), service_of(), child(respawn))
    assert found == Proposal(trigger=Trigger.RESPAWN, reason="it does not run yet")


@pytest.mark.parametrize(
    ("respawn", "code", "said"),
    [
        (Respawn.NEVER, 1, None),
        (Respawn.ON_FAILURE, 0, None),
        (Respawn.ON_FAILURE, 137, "it ended with code 137"),
        (Respawn.ON_FAILURE, None, "it ended"),
        (Respawn.ALWAYS, 0, "it ended with code 0"),
        (Respawn.ALWAYS, None, "it ended"),
    ],
)
def test_a_child_that_ended(respawn: Respawn, code: int | None, said: str | None) -> None:
    """`respawn` decides, by the exit code where it is known."""
    found = propose.by_absence(gone(code), BEFORE, child(respawn))
    assert (found.reason if found else None) == said


def test_what_others_start_is_not_started() -> None:
    """Nothing alive is `ServiceMissing`, and only `child` starts it."""
    assert propose.by_absence(gone(1), BEFORE, child(starts=False)) is None


def test_an_ambiguous_match_starts_nothing() -> None:
    """Something runs, so a second one would be a double start."""
    assert propose.by_absence(gone(ambiguous=True), BEFORE, child()) is None


def test_a_threshold_rule_has_no_wait_by_default() -> None:
    """A hard threshold is hard."""
    assert ThresholdRule(above=Amount(size_bytes=1)).for_s == 0.0
