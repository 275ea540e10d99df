"""The table of triggers and guards, a test a cell, and what each guard says."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from leakguard.core.assessment import Assessment
from leakguard.core.calendar import Calendar, Span
from leakguard.core.guards import (
    HOLDS,
    KEPT_RESTARTS,
    YIELDS_TO_FORCE,
    Guard,
    Veto,
    grace_left_s,
    recent_restarts,
    remember,
    restarts_left,
    veto,
)
from leakguard.core.instant import Instant
from leakguard.core.policy import (
    GuardRules,
    Mode,
    Policy,
    Proposal,
    RestartRules,
    ServiceRules,
    Trigger,
    WindowRule,
)
from leakguard.core.state import (
    Flight,
    Futile,
    Futility,
    Pause,
    RestartRecord,
    ServiceRecord,
    ServiceState,
)
from leakguard.testing.bench import NAME, guarded, sample_of, service_of, trend_of
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
PROPOSED = [trigger for trigger in Trigger if trigger is not Trigger.DEPENDENCY]
"""What may be proposed; a dependent goes with what it depends on, and asks nobody."""

# What passes, written out once more by hand: the design's section 6.1.
PASSES = {
    Guard.NO_DRIVER: set[Trigger](),
    Guard.CANNOT_ACT: set[Trigger](),
    Guard.IN_FLIGHT: set[Trigger](),
    Guard.PAUSED: set[Trigger](),
    Guard.BREAKER: set[Trigger](),
    Guard.STORE: {Trigger.RESPAWN, Trigger.THRESHOLD, Trigger.EXHAUSTION},
    Guard.GROUP: {Trigger.RESPAWN},
    Guard.FUTILE: {Trigger.MANUAL, Trigger.RESPAWN, Trigger.MAX_AGE},
    Guard.BLACKOUT: {Trigger.MANUAL, Trigger.RESPAWN},
    Guard.WINDOW: set(Trigger) - {Trigger.MAX_AGE},
    Guard.GRACE: {Trigger.MANUAL, Trigger.RESPAWN, Trigger.THRESHOLD, Trigger.EXHAUSTION},
    Guard.BUSY: {Trigger.RESPAWN, Trigger.EXHAUSTION},
    Guard.OBSERVE: {Trigger.MANUAL, Trigger.RESPAWN},
}


def ago(seconds: float) -> Instant:
    """Give the moment so long before now."""
    return NOW.plus(-seconds)


def record(**changes: object) -> ServiceRecord:
    """Make a record of the service."""
    return replace(ServiceRecord(name=NAME), **changes)  # type: ignore[arg-type]  # the record's own fields


def flight(began: Instant) -> Flight:
    """Make a restart in flight."""
    return Flight(
        action_id="i-1",
        trigger=Trigger.THRESHOLD,
        reason="because",
        began=began,
        deadline_s=60.0,
        old=None,
    )


def restarts(*seconds_ago: float) -> tuple[RestartRecord, ...]:
    """Make past restarts."""
    return tuple(RestartRecord(at=ago(s), reason="threshold") for s in seconds_ago)


def filling(share: float | None) -> Assessment:
    """Make facts in which so much of the growth is in files of tmpfs."""
    return Assessment(at=NOW, trend=trend_of(), tmpfs_share=share)


IN_VAIN = Futility(cause=Futile.STARTS_FULL, words="no help", bar="threshold", bar_bytes=1)


def span(begin_s: float, end_s: float) -> Span:
    """Make a span by its distance from now."""
    return Span(begin_wall_s=NOW.wall_s + begin_s, end_wall_s=NOW.wall_s + end_s, words="then")


WINDOW = WindowRule(cron="0 2 * * *", length_s=3600.0)
FREE_RULES = guarded()
FREE = service_of(sample_of(NOW, 100.0))
"""A service that nothing holds back."""

HELD: dict[Guard, tuple[ServiceState, ServiceRules, bool]] = {
    Guard.NO_DRIVER: (FREE, guarded(restart=RestartRules(driver="")), True),
    Guard.CANNOT_ACT: (replace(FREE, cannot_act="nobody starts it again"), FREE_RULES, True),
    Guard.IN_FLIGHT: (replace(FREE, record=record(flight=flight(ago(7)))), FREE_RULES, True),
    Guard.PAUSED: (
        replace(FREE, record=record(pause=Pause(by="ann", reason="", until_wall_s=None))),
        FREE_RULES,
        True,
    ),
    Guard.BREAKER: (replace(FREE, record=record(restarts=restarts(9, 8, 7, 6))), FREE_RULES, True),
    Guard.STORE: (FREE, FREE_RULES, False),
    Guard.GROUP: (FREE, FREE_RULES, True),
    Guard.BUSY: (FREE, FREE_RULES, True),
    Guard.FUTILE: (
        replace(FREE, assessment=filling(0.75), record=record(futility=IN_VAIN)),
        FREE_RULES,
        True,
    ),
    Guard.BLACKOUT: (
        replace(FREE, calendar=Calendar(blackouts=(span(-60, 60),))),
        FREE_RULES,
        True,
    ),
    Guard.WINDOW: (
        replace(FREE, calendar=Calendar(windows=(span(60, 120),))),
        guarded(policy=Policy(windows=(WINDOW,))),
        True,
    ),
    Guard.GRACE: (service_of(sample_of(NOW, 100.0, age_s=30.0)), FREE_RULES, True),
    Guard.OBSERVE: (FREE, guarded(mode=Mode.OBSERVE), True),
}
"""For each guard, a state in which it and no other has a reason."""
ELSEWHERE: dict[Guard, str] = {
    Guard.GROUP: "group workers: another one is being restarted",
    Guard.BUSY: "it is busy; it is asked again in 5m",
}
"""What is found beyond the service, for the guards that look there."""


def ask(
    trigger: Trigger,
    service: ServiceState,
    rules: ServiceRules,
    *,
    durable: bool = True,
    forced: bool = False,
    others: Mapping[Guard, str] | None = None,
) -> tuple[Veto, ...]:
    """Ask all guards about one proposal."""
    proposal = Proposal(trigger=trigger, reason="because", forced=forced)
    return veto(proposal, service, rules, NOW, durable=durable, others=others or {})


def reason(guard: Guard, service: ServiceState, rules: ServiceRules = FREE_RULES) -> str:
    """Give what one guard says to a proposal that it may hold."""
    found = [v.reason for v in ask(Trigger.SCHEDULE, service, rules) if v.guard == guard.value]
    return found[0] if found else ""


@pytest.mark.parametrize("trigger", PROPOSED)
@pytest.mark.parametrize("guard", Guard)
def test_cell(guard: Guard, trigger: Trigger) -> None:
    """Each guard holds the triggers of its row in the table, and lets the others pass."""
    service, rules, durable = HELD[guard]
    held = [] if trigger in PASSES[guard] else [guard.value]
    others = {g: why for g, why in ELSEWHERE.items() if g is guard}
    vetoes = ask(trigger, service, rules, durable=durable, others=others)
    assert [v.guard for v in vetoes] == held


@pytest.mark.parametrize("trigger", PROPOSED)
def test_nothing_holds_a_free_service(trigger: Trigger) -> None:
    """Without a reason every trigger passes every guard."""
    assert ask(trigger, FREE, FREE_RULES) == ()


def test_the_table_has_every_guard() -> None:
    """A new guard needs a row."""
    assert set(HOLDS) == set(Guard) == set(PASSES)


@pytest.mark.parametrize("guard", Guard)
def test_force(guard: Guard) -> None:
    """Force overrides pause and breaker, no other guard that holds a person's restart."""
    service, rules, durable = HELD[guard]
    vetoes = ask(Trigger.MANUAL, service, rules, durable=durable, forced=True)
    holds = guard in {Guard.NO_DRIVER, Guard.CANNOT_ACT, Guard.IN_FLIGHT, Guard.STORE}
    assert [v.guard for v in vetoes] == ([guard.value] if holds else [])


def test_only_pause_breaker_and_busy_yield_to_force() -> None:
    """The set is named, so that a new guard does not get into it unseen."""
    assert {Guard.PAUSED, Guard.BREAKER, Guard.BUSY} == YIELDS_TO_FORCE


def test_vetoes_come_in_the_order_of_the_guards() -> None:
    """The first veto names the refusal: what no force overrides comes first."""
    service = replace(
        HELD[Guard.GRACE][0],
        record=record(
            flight=flight(ago(1)),
            pause=Pause(by="", reason="", until_wall_s=None),
            restarts=restarts(9, 8, 7, 6),
            futility=IN_VAIN,
        ),
        calendar=Calendar(blackouts=(span(-60, 60),)),
        cannot_act="nobody starts it again",
    )
    rules = guarded(mode=Mode.OBSERVE, restart=RestartRules(driver=""))
    vetoes = ask(Trigger.SCHEDULE, service, rules, durable=False, others=ELSEWHERE)
    holding = [guard.value for guard in Guard if Trigger.SCHEDULE in HOLDS[guard]]
    assert [v.guard for v in vetoes] == holding


def test_cannot_act_gives_the_driver_s_and_the_target_s_own_sentence() -> None:
    """An ambiguous target comes first: nobody knows which process is meant."""
    refusing = replace(FREE, cannot_act="name who starts it")
    unclear = replace(refusing, ambiguous="2 unrelated processes match")
    said = [reason(Guard.CANNOT_ACT, s) for s in (refusing, unclear)]
    assert said == ["name who starts it", "2 unrelated processes match"]


def test_no_driver_says_that_nothing_can_restart_it() -> None:
    """The reason is a sentence for a person."""
    service, rules, _ = HELD[Guard.NO_DRIVER]
    said = "no driver is configured, so nothing can restart it"
    assert reason(Guard.NO_DRIVER, service, rules) == said


def test_in_flight_says_since_when() -> None:
    """The reason has the duration."""
    said = "a restart has been in flight for 7s"
    assert reason(Guard.IN_FLIGHT, HELD[Guard.IN_FLIGHT][0]) == said


@pytest.mark.parametrize(
    ("pause", "said"),
    [
        (Pause(by="", reason="", until_wall_s=None), "paused"),
        (Pause(by="ann", reason="", until_wall_s=None), "paused by ann"),
        (Pause(by="ann", reason="sale", until_wall_s=None), "paused by ann: sale"),
        (
            Pause(by="ann", reason="sale", until_wall_s=1_795_000_000.0),
            "paused by ann until 2026-11-18T11:06:40Z: sale",
        ),
    ],
)
def test_paused_says_who_until_when_and_why(pause: Pause, said: str) -> None:
    """The reason has whatever is known."""
    assert reason(Guard.PAUSED, replace(FREE, record=record(pause=pause))) == said


def test_breaker_says_how_many_and_when_the_next_is_allowed() -> None:
    """The reason has both numbers and the wait."""
    said = "4 restarts within 6h, the next one is allowed in 5h 59m"
    service = replace(FREE, record=record(restarts=restarts(40, 30, 20, 10)))
    assert reason(Guard.BREAKER, service) == said


def test_breaker_forgets_after_its_time() -> None:
    """A restart exactly `per` ago counts no more."""
    rules = guarded(guards=GuardRules(max_restarts=1, per_s=100.0))
    before = replace(FREE, record=record(restarts=restarts(99.9)))
    after = replace(FREE, record=record(restarts=restarts(100.0)))
    assert (bool(reason(Guard.BREAKER, before, rules)), reason(Guard.BREAKER, after, rules)) == (
        True,
        "",
    )


@pytest.mark.parametrize("past", [restarts(), restarts(10)])
def test_max_restarts_zero_never_restarts(past: tuple[RestartRecord, ...]) -> None:
    """There is no time at which the next one would be allowed, so none is named."""
    rules = guarded(guards=GuardRules(max_restarts=0))
    said = "max_restarts is 0, so it is never restarted"
    assert reason(Guard.BREAKER, replace(FREE, record=record(restarts=past)), rules) == said


def test_breaker_waits_longer_after_failures() -> None:
    """After failed attempts the next one waits, and the reason says for how long."""
    waiting = record(failures=2, retry_at=NOW.plus(15))
    said = "the last 2 attempts failed, next try in 15s"
    assert reason(Guard.BREAKER, replace(FREE, record=waiting)) == said


def test_breaker_lets_the_retry_pass_when_its_time_has_come() -> None:
    """The moment itself is late enough."""
    assert reason(Guard.BREAKER, replace(FREE, record=record(failures=2, retry_at=NOW))) == ""


def test_store_says_what_is_wrong() -> None:
    """The reason names the state file."""
    vetoes = ask(Trigger.MAX_AGE, FREE, FREE_RULES, durable=False)
    said = "the state file cannot be written, so nothing that can wait is done"
    assert [v.reason for v in vetoes] == [said]


def test_grace_says_what_is_left() -> None:
    """The reason has the rest of the grace."""
    said = "started recently, 4m 30s of grace left"
    assert reason(Guard.GRACE, HELD[Guard.GRACE][0]) == said


def test_observe_says_would_have() -> None:
    """The reason names the mode."""
    said = "mode is observe: would have restarted"
    assert reason(Guard.OBSERVE, FREE, guarded(mode=Mode.OBSERVE)) == said


def test_grace_counts_on_while_no_sample_comes() -> None:
    """A sample's age grows with the time since it was taken."""
    service = service_of(sample_of(ago(200), 100.0, age_s=30.0))
    assert grace_left_s(service, FREE_RULES, NOW) == 70.0


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, ""),
        (0.74, ""),
        (0.934, "a restart does not cure it: 93% of the growth is in files of tmpfs"),
    ],
)
def test_futile_says_what_stays(share: float | None, said: str) -> None:
    """In doubt a restart is not futile: the share must be known, and most of the growth."""
    vetoes = ask(Trigger.FORECAST, replace(FREE, assessment=filling(share)), FREE_RULES)
    assert [veto.reason for veto in vetoes] == ([said] if said else [])


def test_grace_without_a_sample_is_none() -> None:
    """What was never seen running is not young."""
    assert grace_left_s(service_of(), FREE_RULES, NOW) == 0.0


def test_a_reboot_leaves_the_breaker_counting_by_the_wall_clock() -> None:
    """Boot times of another boot say nothing."""
    rebooted = Instant(wall_s=NOW.wall_s + 60, boot_s=5.0, boot_id="another")
    past = record(restarts=restarts(10))
    assert len(recent_restarts(past, FREE_RULES, rebooted)) == 1


def test_restarts_left_never_goes_below_zero() -> None:
    """Others may restart it more often than we would."""
    assert restarts_left(record(restarts=restarts(5, 4, 3, 2, 1)), FREE_RULES, NOW) == 0


@pytest.mark.parametrize(("max_restarts", "kept"), [(4, KEPT_RESTARTS), (50, 51)])
def test_enough_restarts_are_remembered(max_restarts: int, kept: int) -> None:
    """All that the breaker counts are kept, and enough for people."""
    rules = guarded(guards=GuardRules(max_restarts=max_restarts))
    many = record(restarts=restarts(*range(100, 0, -1)))
    remembered = remember(many, "manual", rules, NOW)
    assert (len(remembered), remembered[-1].reason) == (kept, "manual")
