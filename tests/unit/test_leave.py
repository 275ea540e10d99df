"""Leave: the service is asked before its restart, and may put it off within bounds."""

from dataclasses import replace

import pytest

from leakguard.core import leave
from leakguard.core.decision import AskLeave, RestartService
from leakguard.core.engine import Step
from leakguard.core.events import EventKind
from leakguard.core.guards import Guard
from leakguard.core.inbox import Outcome, OutcomeKind, PauseRequest, RestartRequest, ScheduleDue
from leakguard.core.policy import (
    GuardRules,
    LeaveRules,
    Mode,
    Policy,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    Trigger,
)
from leakguard.core.state import Leave
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB, Amount
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.testing.bench import (
    NAME,
    Bench,
    foreseeing,
    guarded,
    scheduled,
    threshold,
    trend_of,
)

RULES = RestartRules(driver="fake", leave=LeaveRules(within_s=5.0, at_most_s=1800.0))
MANUAL = (RestartRequest(id="r", service=NAME),)
FORCED = (RestartRequest(id="f", service=NAME, force=True),)
CRON = "0 3 * * *"


def asked_first(policy: Policy | None = None, **more: object) -> ServiceRules:
    """Make the rules of a service that is asked."""
    return guarded(policy or threshold(100), restart=RULES, **more)  # type: ignore[arg-type]  # as `guarded` takes them


def asking(policy: Policy | None = None) -> Bench:
    """Give a bench whose service was just asked."""
    bench = Bench(rules=asked_first(policy))
    bench.see(200)
    return bench


def standing(bench: Bench) -> Leave:
    """Give where the service stands."""
    found = bench.service.record.leave
    assert found is not None
    return found


def says(
    bench: Bench, kind: OutcomeKind, message: str = "", again_s: float | None = None
) -> tuple[Outcome, ...]:
    """Make the answer of the service."""
    action_id = standing(bench).action_id
    return (
        Outcome(action_id=action_id, service=NAME, kind=kind, message=message, again_s=again_s),
    )


def busy(bench: Bench, again_s: float | None = 300.0, message: str = "batch 7 runs") -> Step:
    """Let the service answer that it is busy."""
    return bench.see(200, outcomes=says(bench, OutcomeKind.REFUSED, message, again_s))


def restarted(made: Step) -> bool:
    """Tell whether a step restarts the service."""
    return any(isinstance(action, RestartService) for action in made.actions)


def guards(made: Step) -> list[object]:
    """Give the guards whose vetoes a step tells."""
    return [e.details["guard"] for e in made.events if e.kind is EventKind.RESTART_VETOED]


def questions(made: Step) -> int:
    """Count the questions of a step."""
    return sum(isinstance(action, AskLeave) for action in made.actions)


def test_a_service_is_asked_once_before_its_restart() -> None:
    """And nothing is restarted, and no veto told, until it answers."""
    bench = Bench(rules=asked_first())
    made = bench.see(200)
    (action,) = made.actions
    assert isinstance(action, AskLeave)
    assert (action.within_s, action.trigger, action.id.endswith("/leave")) == (
        5.0,
        Trigger.THRESHOLD,
        True,
    )
    again = bench.see(210)
    assert (again.actions, EventKind.RESTART_VETOED in bench.kinds()) == ((), False)


def test_leave_lets_the_restart_go_in_the_same_tick() -> None:
    """And the question is forgotten."""
    bench = asking()
    made = bench.see(210, outcomes=says(bench, OutcomeKind.GRANTED))
    assert (restarted(made), bench.service.record.leave) == (True, None)
    (event,) = made.events
    assert event.kind is EventKind.RESTART_DECIDED
    assert "asked" not in event.message


def test_a_busy_service_is_waited_for_and_asked_again() -> None:
    """People are told once, with its own words, and the veto is counted."""
    bench = asking()
    made = busy(bench)
    (event,) = [e for e in made.events if e.kind is EventKind.RESTART_VETOED]
    assert event.message.endswith("(it is busy: batch 7 runs; it is asked again in 5m)")
    assert (event.details["guard"], bench.service.record.veto_counts) == ("busy", {"busy": 1})
    assert questions(bench.see(220, after_s=299.0)) == 0
    made = bench.see(220, after_s=2.0)
    assert (questions(made), restarted(made)) == (1, False)
    made = bench.see(230, outcomes=says(bench, OutcomeKind.GRANTED))
    (event,) = [e for e in made.events if e.kind is EventKind.RESTART_DECIDED]
    assert event.message.endswith("; it was busy for 5m 3s before")


def test_busy_without_a_time_is_asked_again_after_a_minute() -> None:
    """A service that says no more is not left alone for ever."""
    bench = asking()
    busy(bench, again_s=None)
    assert questions(bench.see(200, after_s=59.0)) == 0
    assert questions(bench.see(200, after_s=2.0)) == 1


def test_no_answer_is_leave_and_told() -> None:
    """The outcome may be lost; the restart is not."""
    bench = asking()
    assert not restarted(bench.see(200, after_s=9.0))
    made = bench.see(200, after_s=2.0)
    assert restarted(made)
    assert "it gave no answer when it was asked for leave" in made.events[0].message


def test_what_could_not_be_asked_is_leave_and_told() -> None:
    """A service that does not answer is no reason to let it be killed."""
    bench = asking()
    made = bench.see(200, outcomes=says(bench, OutcomeKind.GRANTED, "asked in vain (refused)"))
    assert restarted(made)
    assert made.events[0].message.endswith("; asked in vain (refused)")
    bench = asking()
    made = bench.see(200, outcomes=says(bench, OutcomeKind.FAILED, "leakguard is ending"))
    assert "it could not be asked: leakguard is ending" in made.events[0].message


def test_without_a_forecast_it_gets_so_much_time_in_all() -> None:
    """However often it is busy; the promise is not waited for beyond that."""
    bench = asking()
    busy(bench, again_s=86400.0)
    assert not restarted(bench.see(200, after_s=1700.0))
    made = bench.see(200, after_s=101.0)
    assert restarted(made)
    expected = "; it was busy for 30m 2s, and 30m is all that it gets"
    assert made.events[0].message.endswith(expected)


def test_a_promise_beyond_the_early_edge_is_not_waited_for() -> None:
    """The leak does not wait; a nearer promise is."""
    rules = asked_first(threshold(100), limit=Amount(size_bytes=2000 * MIB))
    for again_s, goes in ((3600.0, True), (60.0, False)):
        bench = Bench(rules=rules)
        bench.own.trend = trend_of(mib_per_s=1.0)
        bench.see(200)
        made = busy(bench, again_s=again_s)
        assert restarted(made) is goes
        if goes:
            (event,) = [e for e in made.events if e.kind is EventKind.RESTART_DECIDED]
            assert event.message.endswith("and its memory may not last until it is asked again")


def test_the_early_edge_ends_a_wait_that_was_well_when_it_began() -> None:
    """The service is looked at all the time, and grows."""
    rules = asked_first(threshold(100), limit=Amount(size_bytes=2000 * MIB))
    bench = Bench(rules=rules)
    bench.own.trend = trend_of(mib_per_s=1.0)
    bench.see(200)
    assert not restarted(busy(bench, again_s=600.0))
    assert restarted(bench.see(1700, after_s=60.0))


def test_an_exhaustion_asks_nobody() -> None:
    """There is no time for it, not even when it was said to be busy before."""
    policy = foreseeing(lead_s=600.0)
    bench = Bench(
        rules=asked_first(
            policy, limit=Amount(size_bytes=1000 * MIB), guards=GuardRules(grace_s=3600.0)
        )
    )
    bench.own.trend = trend_of(mib_per_s=10.0)
    made = bench.see(990, age_s=10.0)
    assert (restarted(made), questions(made)) == (True, 0)


def test_observe_mode_asks_nobody() -> None:
    """It says what it would have done."""
    bench = Bench(rules=asked_first(mode=Mode.OBSERVE))
    made = bench.see(200)
    assert made.actions == ()
    assert guards(made) == ["observe"]


def test_while_anything_else_holds_it_nobody_is_asked() -> None:
    """A service that says yes now would wonder why nothing comes."""
    bench = Bench(rules=asked_first())
    bench.see(50, requests=(PauseRequest(id="p", service=NAME),))
    made = bench.see(200)
    assert made.actions == ()
    assert guards(made) == ["paused"]


def test_a_person_gets_the_answer_of_the_service() -> None:
    """Busy refuses, with the way out; leave restarts."""
    bench = Bench(rules=asked_first(Policy(forecast=None)))
    bench.see(50)
    made = bench.see(50, requests=MANUAL)
    assert (questions(made), made.replies) == (1, ())
    (reply,) = busy(bench).replies
    assert (reply.request_id, reply.accepted, reply.message) == (
        "r",
        False,
        "busy: it asks for 5m more: batch 7 runs; try again then, or with --force",
    )
    made = bench.see(50, requests=(RestartRequest(id="r2", service=NAME),))
    assert questions(made) == 1
    made = bench.see(50, outcomes=says(bench, OutcomeKind.GRANTED))
    assert (restarted(made), [(r.request_id, r.accepted) for r in made.replies]) == (
        True,
        [("r2", True)],
    )


def test_a_forced_restart_asks_nobody() -> None:
    """`--force` is a person's own judgement."""
    bench = asking()
    busy(bench)
    made = bench.see(200, requests=FORCED)
    assert restarted(made)
    assert made.events[0].message.endswith("; it was not asked for leave")


def test_a_person_joins_a_question_that_is_on_its_way() -> None:
    """One question, one answer for both; a second person is told at once."""
    bench = asking()
    made = bench.see(200, requests=MANUAL)
    assert (questions(made), made.replies) == (0, ())
    made = bench.see(200, requests=(RestartRequest(id="s", service=NAME),))
    assert [(r.request_id, r.accepted) for r in made.replies] == [("s", False)]
    made = bench.see(200, outcomes=says(bench, OutcomeKind.GRANTED))
    assert [(r.request_id, r.accepted) for r in made.replies] == [("r", True)]


def test_a_person_who_waits_is_answered_when_another_restart_goes_first() -> None:
    """Nobody waits for ten seconds for nothing."""
    bench = asking()
    bench.see(200, requests=MANUAL)
    made = bench.see(200, requests=FORCED)
    assert {(r.request_id, r.accepted) for r in made.replies} == {("r", False), ("f", True)}


def test_a_schedule_that_is_put_off_stays_due() -> None:
    """It comes once; busy does not lose it."""
    bench = Bench(rules=asked_first(scheduled(ScheduleRule(cron=CRON))))
    bench.see(50)
    due = ScheduleDue(service=NAME, cron=CRON, due_wall_s=bench.clock.now().wall_s + 1.0)
    assert questions(bench.see(50, requests=(due,))) == 1
    busy(bench)
    assert not restarted(bench.see(50, after_s=200.0))
    assert questions(bench.see(50, after_s=101.0)) == 1
    made = bench.see(50, outcomes=says(bench, OutcomeKind.GRANTED))
    assert restarted(made)


def test_leave_that_is_not_used_has_to_be_asked_for_anew() -> None:
    """What suits now need not suit in an hour."""
    bench = asking()
    bench.see(50, outcomes=says(bench, OutcomeKind.GRANTED))
    assert bench.service.record.leave is not None
    made = bench.see(200, after_s=61.0)
    assert (questions(made), restarted(made)) == (1, False)


def test_what_nobody_wants_any_more_is_forgotten() -> None:
    """The next restart has all its time again."""
    bench = asking()
    busy(bench)
    bench.see(50, after_s=601.0)
    assert bench.service.record.leave is None


def test_after_a_crash_what_was_not_answered_is_asked_anew() -> None:
    """The time that it was put off for is remembered."""
    bench = asking()
    since = standing(bench).since
    saved = Saved(instance="bench", serial=900, records={NAME: bench.service.record})
    bench.state = restore(saved)
    made = bench.see(200)
    assert (questions(made), standing(bench).since) == (1, since)


def test_after_a_crash_a_busy_service_is_still_busy() -> None:
    """Its answer was written down."""
    bench = asking()
    busy(bench)
    saved = Saved(instance="bench", serial=900, records={NAME: bench.service.record})
    bench.state = restore(saved)
    made = bench.see(200)
    assert (questions(made), restarted(made)) == (0, False)


def test_an_answer_to_an_old_question_is_dropped() -> None:
    """A crash lies between: the new question counts."""
    bench = asking()
    old = says(bench, OutcomeKind.GRANTED)
    saved = Saved(instance="bench", serial=900, records={NAME: bench.service.record})
    bench.state = restore(saved)
    bench.see(200)
    assert not restarted(bench.see(200, outcomes=old))


def test_a_reload_that_takes_the_question_away_ends_the_wait() -> None:
    """Nobody is waited for who is not asked any more."""
    bench = asking()
    busy(bench)
    bench.rules = guarded(threshold(100))
    assert restarted(bench.see(200))


@pytest.mark.parametrize("trigger", list(Trigger))
def test_the_table_says_who_asks(trigger: Trigger) -> None:
    """What cannot wait does not ask."""
    from leakguard.core.guards import HOLDS

    cannot = trigger in (Trigger.EXHAUSTION, Trigger.RESPAWN, Trigger.DEPENDENCY)
    assert (trigger in HOLDS[Guard.BUSY], trigger in leave.ASKS) == (not cannot, not cannot)


def test_status_says_that_it_is_busy_and_until_when() -> None:
    """In one line, with its words."""
    bench = asking()
    record = bench.service.record
    assert leave.in_words(record, bench.clock.now()) == "it is being asked for leave"
    busy(bench)
    words = leave.in_words(bench.service.record, bench.clock.now())
    assert (words.startswith("busy until 20"), words.endswith("Z: batch 7 runs")) == (True, True)
    assert leave.in_words(bench.service.record, bench.clock.advance(301)) == ""


def test_a_handful_of_samples_ends_no_wait() -> None:
    """Without a verdict the range is wide, and its early edge is no reason."""
    rules = asked_first(threshold(100), limit=Amount(size_bytes=2000 * MIB))
    bench = Bench(rules=rules)
    young = replace(trend_of(Verdict.WARMING_UP, 100.0), window_s=3.0)
    bench.own.trend = young
    bench.see(200)
    assert not restarted(busy(bench, again_s=60.0))
    bench.own.trend = replace(young, window_s=30.0)
    assert restarted(bench.see(210))
