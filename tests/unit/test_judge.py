"""One decision per service: precedence, vetoes told once, refusals, the breaker, respawns."""

import itertools

import pytest

from leakguard.core.decision import Verb
from leakguard.core.events import EventKind, Severity
from leakguard.core.guards import Guard
from leakguard.core.inbox import OutcomeKind, PauseRequest, RestartRequest
from leakguard.core.judge import HELD_QUIET_S
from leakguard.core.policy import GuardRules, Mode, Policy, Respawn, RestartRules, Trigger
from leakguard.core.sample import DomainSample
from leakguard.core.units import MIB
from leakguard.testing.bench import (
    NAME,
    Bench,
    foreseeing,
    guarded,
    sample_of,
    threshold,
    trend_of,
)

ASK = (RestartRequest(id="r", service=NAME),)
FORCE = (RestartRequest(id="f", service=NAME, force=True),)
PAUSE = (PauseRequest(id="p", service=NAME),)
CHILD = RestartRules(driver="child", starts=True)


def test_nothing_proposed_is_no_decision() -> None:
    """A quiet service decides nothing."""
    assert Bench().see(100).decisions == ()


def test_a_decision_has_a_sentence_and_is_remembered() -> None:
    """`why` shows it."""
    bench = Bench(rules=guarded(threshold(200)))
    (decision,) = bench.see(300).decisions
    assert (decision.verb, decision.trigger, decision.reason) == (
        Verb.RESTART,
        Trigger.THRESHOLD,
        "300 MiB (auto) is above 200 MiB",
    )
    assert bench.service.last_decision == "restart (threshold): 300 MiB (auto) is above 200 MiB"


def test_the_decision_is_an_event_with_the_evidence() -> None:
    """Severity warning, and the breaker's count after it."""
    bench = Bench(rules=guarded(threshold(200)))
    event = bench.see(300).events[-1]
    assert (event.kind, event.severity, event.message) == (
        EventKind.RESTART_DECIDED,
        Severity.WARNING,
        "restarting worker: 300 MiB (auto) is above 200 MiB",
    )
    assert event.details == {
        "action_id": "bench-00000002",
        "trigger": "threshold",
        "restarts_left": 3,
        "value_bytes": 300 * 1024**2,
        "measure": "auto",
        "verdict": "unknown",
    }


def test_a_person_goes_before_every_other_trigger() -> None:
    """Triggers have an order of precedence; one restart is enough."""
    bench = Bench(rules=guarded(threshold(200)))
    made = bench.see(300, requests=ASK)
    assert [a.trigger for a in made.actions if hasattr(a, "trigger")] == [Trigger.MANUAL]


def test_a_hard_threshold_goes_before_age() -> None:
    """The order is that of the triggers, not that of the proposals."""
    policy = Policy(forecast=None, threshold=threshold(200).threshold, max_age_s=60.0)
    (decision,) = Bench(rules=guarded(policy)).see(300).decisions
    assert decision.trigger is Trigger.THRESHOLD


def test_what_is_held_first_does_not_hold_the_next() -> None:
    """A threshold acts in grace although the older trigger age is held."""
    policy = Policy(forecast=None, threshold=threshold(200).threshold, max_age_s=1.0)
    (decision,) = Bench(rules=guarded(policy)).see(300, age_s=2.0).decisions
    assert (decision.verb, decision.trigger) == (Verb.RESTART, Trigger.THRESHOLD)


def test_two_people_at_once_get_one_restart() -> None:
    """The second is told that another goes first."""
    bench = Bench()
    other = RestartRequest(id="r2", service=NAME)
    made = bench.see(100, requests=(*ASK, other))
    assert [(r.request_id, r.accepted, r.message) for r in made.replies] == [
        ("r2", False, "another restart goes first"),
        ("r", True, "asked for"),
    ]
    assert len(made.actions) == 1


def test_an_accepted_request_names_its_action() -> None:
    """The command waits for that action's outcome."""
    bench = Bench()
    made = bench.see(100, requests=ASK)
    assert [r.action_id for r in made.replies] == [made.actions[0].id]


def test_a_refusal_names_the_guard() -> None:
    """And its reason."""
    bench = Bench()
    bench.see(100, requests=PAUSE)
    (reply,) = bench.see(100, requests=ASK).replies
    assert (reply.accepted, reply.message) == (False, "paused: paused")


def test_force_overrides_pause() -> None:
    """The restart counts in the breaker all the same."""
    bench = Bench()
    bench.see(100, requests=PAUSE)
    made = bench.see(100, requests=FORCE)
    assert ([r.accepted for r in made.replies], len(bench.service.record.restarts)) == ([True], 1)


def test_a_refused_and_a_forced_request_in_one_tick() -> None:
    """Each gets its own answer."""
    bench = Bench()
    bench.see(100, requests=PAUSE)
    made = bench.see(100, requests=(*ASK, *FORCE))
    assert {r.request_id: r.accepted for r in made.replies} == {"r": False, "f": True}


def test_a_request_in_flight_is_refused_even_with_force() -> None:
    """A second act on the same incarnation would be a double restart."""
    bench = Bench()
    bench.see(100, requests=ASK)
    made = bench.see(100, requests=FORCE)
    assert ([r.accepted for r in made.replies], made.actions) == ([False], ())


# ---- vetoes are told once


def vetoes(bench: Bench) -> list[str]:
    """Give the guards of all vetoes told so far."""
    return [str(e.details["guard"]) for e in bench.events if e.kind is EventKind.RESTART_VETOED]


def observing() -> Bench:
    """Give a bench in observe mode with a threshold."""
    return Bench(rules=guarded(threshold(200), mode=Mode.OBSERVE))


def test_observe_says_once_that_it_would_have_restarted() -> None:
    """A warning, because people shall hear of it."""
    bench = observing()
    for _ in range(5):
        bench.see(300)
    told = [e for e in bench.events if e.kind is EventKind.RESTART_VETOED]
    assert [(e.severity, e.message) for e in told] == [
        (
            Severity.WARNING,
            (
                "would have restarted worker: 300 MiB (auto) is above 200 MiB "
                "(mode is observe: would have restarted)"
            ),
        )
    ]
    assert bench.service.record.veto_counts == {"observe": 1}


def test_an_unreadable_moment_makes_no_veto_news() -> None:
    """Nothing was asked in that tick, so nothing has ended."""
    bench = observing()
    bench.see(300)
    bench.fail()
    bench.see(300)
    assert vetoes(bench) == ["observe"]


def test_a_request_without_a_sample_makes_no_veto_news() -> None:
    """The same for a tick that only had a person's request."""
    bench = observing()
    bench.see(300, requests=PAUSE)
    bench.clock.advance(1)
    bench.step(requests=ASK)
    bench.see(300)
    assert vetoes(bench) == ["paused", "paused"]


def test_a_restart_that_failed_makes_no_veto_news() -> None:
    """What was held back before a person's restart is held back after it."""
    bench = observing()
    bench.see(300)
    bench.see(300, requests=ASK)
    bench.see(300)
    bench.see(300, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    assert vetoes(bench) == ["observe", "breaker"]


def test_a_value_that_swings_about_the_threshold_is_told_once() -> None:
    """Observe mode is the default: a message at every crossing would bury the first one."""
    bench = observing()
    for mib in (300, 100) * 20:
        bench.see(mib)
    assert vetoes(bench) == ["observe"]


def test_a_veto_is_news_again_when_it_was_gone() -> None:
    """The memory was below the threshold for a while in between."""
    bench = observing()
    for mib, after_s in ((300, 1), (100, 1), (300, HELD_QUIET_S)):
        bench.see(mib, after_s=after_s)
    assert vetoes(bench) == ["observe", "observe"]


def test_a_veto_is_news_for_a_new_incarnation() -> None:
    """Each run is told of by itself."""
    bench = observing()
    bench.see(300)
    bench.see(300, pid=101)
    assert vetoes(bench) == ["observe", "observe"]


def test_another_guard_is_news() -> None:
    """The reason why nothing happens has changed."""
    bench = observing()
    bench.see(300)
    bench.see(300, requests=PAUSE)
    assert vetoes(bench) == ["observe", "paused"]


def test_every_refused_request_is_news() -> None:
    """A person asked each time."""
    bench = Bench()
    bench.see(100, requests=PAUSE)
    bench.see(100, requests=ASK)
    bench.see(100, requests=ASK)
    assert vetoes(bench) == ["paused", "paused"]


def test_what_is_held_while_another_goes_ahead_is_no_news() -> None:
    """There is a restart, so nobody needs to know what else wanted one."""
    policy = Policy(forecast=None, threshold=threshold(200).threshold, max_age_s=1.0)
    bench = Bench(rules=guarded(policy))
    bench.see(300, age_s=2.0)
    assert vetoes(bench) == []


def test_a_service_without_a_driver_is_told_of_aloud() -> None:
    """Nobody else will say that it is above its threshold."""
    bench = Bench(rules=guarded(threshold(200), restart=RestartRules(driver="")))
    event = bench.see(300).events[-1]
    assert (event.severity, event.message) == (
        Severity.WARNING,
        (
            "did not restart worker: 300 MiB (auto) is above 200 MiB "
            "(no driver is configured, so nothing can restart it)"
        ),
    )


def test_a_person_who_asks_without_a_driver_is_answered_quietly() -> None:
    """The reply says it; others need not hear."""
    bench = Bench(rules=guarded(restart=RestartRules(driver="")))
    (event,) = bench.see(300, requests=ASK).events
    assert event.severity is Severity.INFO


def test_a_hold_names_every_veto() -> None:
    """The decision shows more than the first guard."""
    bench = observing()
    (decision,) = bench.see(300, requests=PAUSE).decisions
    assert (decision.verb, [v.guard for v in decision.vetoes]) == (
        Verb.HOLD,
        [Guard.PAUSED.value, Guard.OBSERVE.value],
    )
    assert decision.reason == (
        "300 MiB (auto) is above 200 MiB; held back: paused; mode is observe: would have restarted"
    )


# ---- the breaker


def hot(max_restarts: int = 2) -> Bench:
    """Give a bench whose service is above its threshold from the start."""
    guards = GuardRules(max_restarts=max_restarts, per_s=600.0)
    return Bench(rules=guarded(threshold(200), guards=guards))


def test_the_breaker_opens_once_says_so_and_clears() -> None:
    """Then the service is watched and people are told; test_breaker.py tells how it closes."""
    bench = hot()
    for pid in range(100, 130):
        bench.see(100, pid=min(pid, 102))
        bench.see(300, pid=min(pid, 102))
    assert bench.kinds().count(EventKind.RESTART_LIMIT_HIT) == 1
    assert bench.service.record.breaker_open
    bench.see(100, pid=103, after_s=600.0)
    bench.see(100, pid=103, after_s=300.0)
    assert bench.kinds().count(EventKind.RESTART_LIMIT_CLEARED) == 1
    assert not bench.service.record.breaker_open


def test_the_critical_event_says_why_it_is_only_watched() -> None:
    """With the count, the wait and what it wants a restart for."""
    bench = hot(1)
    bench.see(300)
    bench.see(300, pid=101)
    event = next(e for e in bench.events if e.kind is EventKind.RESTART_LIMIT_HIT)
    assert (event.severity, event.message) == (
        Severity.CRITICAL,
        (
            "worker is only watched now: 1 restart within 10m, the next one is allowed in 9m 59s; "
            "it wants a restart because 300 MiB (auto) is above 200 MiB"
        ),
    )


def test_a_back_off_is_not_an_open_breaker() -> None:
    """Restarts are left, only not yet."""
    bench = hot()
    bench.see(300)
    bench.see(300, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    assert (vetoes(bench), bench.service.record.breaker_open) == (["breaker"], False)


def test_an_open_breaker_is_told_once_across_incarnations() -> None:
    """Others may restart it meanwhile; the problem is the same."""
    bench = hot(1)
    bench.see(300)
    for pid in range(101, 110):
        bench.see(300, pid=pid)
    assert bench.kinds().count(EventKind.RESTART_LIMIT_HIT) == 1


# ---- a child that ends


def respawns(bench: Bench, seconds: int) -> list[int]:
    """Let a child die at once after every start; give the seconds at which it was started."""
    started, pid = [], 100
    bench.see(50, pid=pid)
    for second in range(seconds):
        made = bench.miss(exit_code=1)
        if made.actions:
            started.append(second)
            pid += 1
            bench.see(50, pid=pid, after_s=0.001, age_s=0.0)
    return started


def test_a_crash_loop_backs_off_and_ends_in_the_breaker() -> None:
    """At once, then after 1, 2, 4 … seconds; every start counts."""
    bench = Bench(rules=guarded(restart=CHILD, guards=GuardRules(max_restarts=4)))
    assert respawns(bench, 60) == [0, 1, 3, 7]
    assert bench.service.record.breaker_open


def test_a_long_crash_loop_waits_a_minute_at_most() -> None:
    """The back-off has a ceiling."""
    guards = GuardRules(max_restarts=100, per_s=1e6)
    started = respawns(Bench(rules=guarded(restart=CHILD, guards=guards)), 500)
    assert max(b - a for a, b in itertools.pairwise(started)) == 60


def test_a_child_is_started_in_observe_mode_too() -> None:
    """Nobody else starts it."""
    bench = Bench(rules=guarded(restart=CHILD, mode=Mode.OBSERVE))
    assert len(bench.miss().actions) == 1


def test_a_child_that_may_end_stays_away() -> None:
    """`respawn: never` proposes nothing, and it is missing."""
    rules = guarded(restart=RestartRules(driver="child", starts=True, respawn=Respawn.NEVER))
    bench = Bench(rules=rules)
    bench.see(50)
    made = bench.miss(exit_code=0)
    assert (made.decisions, [e.kind for e in made.events]) == ((), [EventKind.SERVICE_MISSING])


@pytest.mark.parametrize("age_s", [10.0, 1000.0])
def test_a_near_exhaustion_acts_in_grace_and_after_it(age_s: float) -> None:
    """Grace never holds an exhaustion whose early edge lies inside it."""
    bench = Bench(rules=guarded(foreseeing(lead_s=30.0)))
    bench.own.trend = trend_of(mib_per_s=12.0)
    now = bench.clock.advance(1)
    reading = sample_of(now, 200, age_s=age_s, domains=("d",))
    domain = DomainSample(path="/worker", version=2, limit_bytes=256 * MIB, usage_bytes=200 * MIB)
    made = bench.step(reading, domains={"d": domain})
    assert len(made.actions) == 1
