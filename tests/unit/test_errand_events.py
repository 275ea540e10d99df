"""What people are told of drain and hooks."""

from leakguard.core.decision import RestartService, RunAfter
from leakguard.core.events import EventKind, Severity
from leakguard.core.inbox import Outcome, OutcomeKind, RestartRequest, Told
from leakguard.core.policy import RestartRules
from leakguard.core.propose import LEAD_UNMEASURED_S, lead_s
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import (
    NAME,
    Bench,
    foreseeing,
    guarded,
    service_of,
    trend_of,
)

ASK = (RestartRequest(id="r", service=NAME),)
HOOKS = RestartRules(driver="fake", after=True)
WELL = Told(message="drained after 2s", output="/state.hooks/a")
BAD = Told(message="jcmd: exit code 1", ok=False)


def flying(restart: RestartRules | None = None) -> Bench:
    """Give a bench whose service has a restart in flight."""
    bench = Bench(rules=guarded(restart=restart))
    bench.see(800)
    bench.see(812, requests=ASK)
    return bench


def prepared(bench: Bench, *told: Told) -> Outcome:
    """Make what the executor says of drain and hooks."""
    flight = bench.service.record.flight
    assert flight is not None
    return Outcome(action_id=flight.action_id, service=NAME, kind=OutcomeKind.PREPARED, told=told)


def test_the_end_of_a_restart_says_what_was_done_before_it() -> None:
    """And where the output is."""
    bench = flying()
    bench.see(812, outcomes=(prepared(bench, WELL),))
    (event,) = bench.see(96, pid=101).events
    assert (event.kind, event.details["prepared"], event.details["hook_output"]) == (
        EventKind.RESTART_SUCCEEDED,
        "drained after 2s",
        "/state.hooks/a",
    )


def test_a_failed_hook_is_an_event_and_ends_nothing() -> None:
    """The restart goes on, and people are told."""
    bench = flying()
    (event,) = bench.see(812, outcomes=(prepared(bench, WELL, BAD),)).events
    assert (event.kind, event.severity) == (EventKind.HOOK_FAILED, Severity.WARNING)
    assert event.message == f"before the restart of {NAME}: jcmd: exit code 1; the restart went on"
    assert bench.service.record.flight is not None


def test_hooks_follow_a_restart_however_it_ended() -> None:
    """They are told how."""
    won, lost = flying(HOOKS), flying(HOOKS)
    (after,) = won.see(96, pid=101).actions
    assert isinstance(after, RunAfter)
    assert (after.id, after.outcome) == ("bench-00000001/after", "succeeded")
    made = lost.see(812, outcomes=(lost.outcome(OutcomeKind.FAILED, "no"),))
    assert [a.outcome for a in made.actions if isinstance(a, RunAfter)] == ["failed"]
    late = flying(HOOKS)
    made = late.see(812, after_s=61.0)
    assert [a.outcome for a in made.actions if isinstance(a, RunAfter)] == ["abandoned"]


def test_no_hooks_follow_where_none_are_configured() -> None:
    """No action, no thread."""
    bench = flying()
    assert bench.see(96, pid=101).actions == ()


def test_what_hooks_came_to_after_a_restart_is_told() -> None:
    """Well or not, with the action that they followed."""
    bench = flying(HOOKS)
    bench.see(96, pid=101)
    ran = Outcome(
        action_id="bench-00000001/after", service=NAME, kind=OutcomeKind.DONE, told=(WELL,)
    )
    failed = Outcome(
        action_id="bench-00000001/after", service=NAME, kind=OutcomeKind.DONE, told=(WELL, BAD)
    )
    first = bench.see(96, pid=101, outcomes=(ran,)).events[0]
    second = bench.see(96, pid=101, outcomes=(failed,)).events[0]
    assert [e.kind for e in (first, second)] == [EventKind.HOOKS_RAN, EventKind.HOOK_FAILED]
    assert first.details == {"action_id": "bench-00000001", "hook_output": "/state.hooks/a"}


def test_an_action_says_when_the_memory_may_run_out() -> None:
    """Drain and hooks must be over before that."""
    bench = Bench(rules=guarded(foreseeing(lead_s=600.0)))
    bench.own.trend = trend_of(mib_per_s=1.0)
    assert bench.rules.limit is None
    bench.see(800)
    (action,) = bench.see(812, requests=ASK).actions
    assert isinstance(action, RestartService)
    assert action.end_s is None


def test_an_early_edge_stands_in_the_action() -> None:
    """It is counted from the decision."""
    bench = Bench(rules=guarded(foreseeing(lead_s=1.0), limit=Amount(size_bytes=1000 * MIB)))
    bench.own.trend = trend_of(mib_per_s=1.0)
    bench.see(800)
    (action,) = bench.see(812, requests=ASK).actions
    assert isinstance(action, RestartService)
    assert action.end_s is not None
    assert 100 <= action.end_s <= 188


def test_before_a_restart_was_measured_the_lead_covers_drain_and_hooks() -> None:
    """A forecast that leaves no time for the drain would skip it for ever."""
    service = service_of()
    plain = guarded(foreseeing())
    slow = guarded(foreseeing(), restart=RestartRules(driver="fake", prelude_s=45.0))
    assert [lead_s(service, rules) for rules in (plain, slow)] == [
        LEAD_UNMEASURED_S,
        LEAD_UNMEASURED_S + 45.0,
    ]
