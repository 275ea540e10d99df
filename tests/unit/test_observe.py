"""What a reading changes: incarnations, missing and unreadable services, the follow-up."""

from dataclasses import replace

import pytest

from leakguard.core.events import EventKind
from leakguard.core.inbox import OutcomeKind, RestartRequest
from leakguard.core.observe import UNREADABLE_AFTER
from leakguard.core.policy import RestartRules
from leakguard.core.sample import Measure
from leakguard.core.units import MIB
from leakguard.testing.bench import NAME, Bench, guarded, sample_of, threshold
from leakguard.testing.ticks import run_of

ASK = (RestartRequest(id="r", service=NAME),)


def test_the_first_sample_is_no_event() -> None:
    """A service that runs when leakguard starts is as it should be."""
    bench = Bench()
    made = bench.see(100)
    assert (made.events, bench.service.record.incarnation) == ((), run_of())


def test_a_new_incarnation_starts_a_new_series() -> None:
    """What another run used is no past of this one."""
    bench = Bench()
    bench.see(100)
    bench.see(200)
    bench.see(50, pid=101)
    assert list(bench.service.series.recent.values) == [50 * MIB]


def test_a_restart_by_others_counts_for_the_breaker() -> None:
    """Whatever its cause."""
    bench = Bench()
    bench.see(100)
    (event,) = bench.see(50, pid=101).events
    record = bench.service.record
    assert (event.kind, [r.reason for r in record.restarts], record.restart_counts) == (
        EventKind.RESTARTED_BY_OTHERS,
        ["others"],
        {"others/succeeded": 1},
    )


def test_a_pid_that_is_used_again_is_another_run() -> None:
    """Only pid and start time together are an incarnation."""
    bench = Bench()
    bench.see(100)
    same_pid = run_of(100)
    later = type(same_pid)(boot_id=same_pid.boot_id, pid=100, start_ticks=7)
    bench.clock.advance(1)
    from_now = bench.clock.now()
    reading = bench.service.sample
    assert reading is not None
    made = bench.step(
        type(reading)(
            service=NAME,
            at=from_now,
            incarnation=later,
            measure=reading.measure,
            value_bytes=1,
            rss_bytes=1,
        )
    )
    assert [e.kind for e in made.events] == [EventKind.RESTARTED_BY_OTHERS]


def test_missing_is_told_once_and_its_end_too() -> None:
    """News, not noise."""
    bench = Bench()
    bench.see(100)
    for _ in range(5):
        bench.miss()
    bench.see(100)
    assert bench.kinds() == [
        EventKind.SERVICE_MISSING,
        EventKind.SERVICE_DIED,
        EventKind.SERVICE_RETURNED,
    ]


def test_missing_carries_how_it_ended_and_whether_it_is_ambiguous() -> None:
    """The numbers are in the event."""
    bench = Bench()
    (event,) = bench.miss(exit_code=137, ambiguous=True).events
    assert (event.message, event.details) == ("no process", {"exit_code": 137, "ambiguous": True})


def test_a_child_that_was_never_started_is_not_missing() -> None:
    """It is about to be started."""
    bench = Bench(rules=guarded(restart=RestartRules(driver="child", starts=True)))
    assert EventKind.SERVICE_MISSING not in [e.kind for e in bench.miss().events]


def test_unreadable_is_told_after_some_in_a_row() -> None:
    """One lost race is nothing."""
    bench = Bench()
    bench.see(100)
    told = [len(bench.fail().events) for _ in range(UNREADABLE_AFTER + 2)]
    bench.see(100)
    assert told == [0, 0, 1, 0, 0]
    assert bench.kinds() == [EventKind.SERVICE_UNREADABLE, EventKind.SERVICE_READABLE]


def test_failures_must_be_in_a_row() -> None:
    """A readable sample between them starts the count again; the total counts on."""
    bench = Bench()
    for _ in range(4):
        bench.see(100)
        bench.fail()
        bench.fail()
    assert (bench.events, bench.service.sample_errors) == ([], 8)


def test_unreadable_is_never_zero() -> None:
    """It adds no point to the series and changes no sample."""
    bench = Bench()
    bench.see(100)
    before = bench.service.sample
    bench.fail()
    assert (bench.service.sample, list(bench.service.series.recent.values)) == (
        before,
        [100 * MIB],
    )


def test_the_fastest_rise_decays() -> None:
    """A burst is remembered for the pace, and forgotten."""
    bench = Bench()
    bench.see(100)
    bench.see(110)
    burst = bench.service.fastest_bytes_per_s
    bench.see(110, after_s=60.0)
    assert (burst, bench.service.fastest_bytes_per_s) == (10 * MIB, 5 * MIB)


def test_a_sample_at_the_same_moment_changes_no_rise() -> None:
    """There is no rate over no time."""
    bench = Bench()
    bench.see(100)
    bench.see(110)
    bench.see(900, after_s=0.0)
    assert bench.service.fastest_bytes_per_s == 10 * MIB


@pytest.mark.parametrize("within", [None, 30.0], ids=["no health gate", "health gate"])
def test_a_missing_service_that_a_person_restarts_is_missing_no_more(within: float | None) -> None:
    """The problem ends with the sample, also while a health gate is being asked."""
    bench = Bench(rules=guarded(restart=RestartRules(driver="fake", health_within_s=within)))
    bench.see(100)
    bench.miss()
    bench.clock.advance(1)
    bench.step(requests=ASK)
    made = bench.see(100, pid=101, age_s=0.1)
    assert made.events[-1].kind is EventKind.SERVICE_RETURNED
    assert "missing" not in bench.service.record.problems


# ---- follow-up


def restarted() -> Bench:
    """Give a bench whose service was restarted and has just come back."""
    bench = Bench()
    bench.see(812)
    bench.see(812, requests=ASK)
    bench.see(10, pid=101, age_s=0.2, after_s=2.0)
    return bench


def test_the_follow_up_says_what_the_restart_gave_back() -> None:
    """Once the new incarnation has had time to start."""
    bench = restarted()
    early = bench.see(40, pid=101, age_s=4.9)
    (event,) = bench.see(96, pid=101, age_s=5.0).events
    assert (early.events, event.message) == (
        (),
        "after the restart of worker: 812 MiB → 96.0 MiB (auto), back after 2s",
    )
    assert event.details == {
        "action_id": "bench-00000001",
        "before_bytes": 812 * MIB,
        "after_bytes": 96 * MIB,
        "measure": "auto",
        "took_s": 2.0,
    }


def test_the_follow_up_without_a_size_before_says_only_the_new_one() -> None:
    """A child that had ended was using nothing."""
    bench = Bench(rules=guarded(restart=RestartRules(driver="child", starts=True)))
    bench.see(812)
    bench.miss()
    bench.see(10, pid=101, age_s=0.2)
    (event,) = bench.see(96, pid=101, age_s=6.0).events
    assert event.message == "after the restart of worker: 96.0 MiB (auto), back after 1s"


def test_quick_restarts_get_one_follow_up_in_the_end() -> None:
    """Each restart replaces the one before that was not settled; the problem ends with the last."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.see(300, pid=100)
    for pid in (101, 102, 103):
        bench.see(300, pid=pid, age_s=1.0)
    bench.see(90, pid=104, age_s=1.0)
    assert "restart" in bench.service.record.problems
    bench.see(96, pid=104, age_s=6.0)
    follow_ups = [e for e in bench.events if e.kind is EventKind.MEMORY_RECOVERED]
    assert [e.details["before_bytes"] for e in follow_ups] == [300 * MIB]
    assert "restart" not in bench.service.record.problems


def test_no_follow_up_while_the_next_restart_is_in_flight() -> None:
    """Its size would be that of a service about to end."""
    bench = restarted()
    bench.see(40, pid=101, age_s=4.0, requests=ASK)
    assert bench.see(40, pid=101, age_s=6.0).events == ()


def test_a_failed_restart_that_somebody_else_completes_is_no_problem_any_more() -> None:
    """A new run by others ends the problem with the same evidence."""
    bench = Bench()
    bench.see(812)
    bench.see(812, requests=ASK)
    bench.see(812, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    bench.see(10, pid=101, age_s=0.5)
    (event,) = bench.see(96, pid=101, age_s=6.0).events
    assert (event.kind, event.message) == (
        EventKind.MEMORY_RECOVERED,
        "after the restart of worker: 812 MiB → 96.0 MiB (auto)",
    )
    assert bench.service.record.problems == {}


def test_a_failed_restart_and_a_service_that_died_before_others_started_it() -> None:
    """Without a sample before, only the new size is told."""
    bench = Bench()
    bench.see(812)
    bench.see(812, requests=ASK)
    bench.miss(after_s=61.0)
    bench.see(96, pid=101, age_s=6.0)
    assert bench.events[-1].message == "after the restart of worker: 96.0 MiB (auto)"


@pytest.mark.parametrize("times", [1, 3])
def test_a_service_that_returns_as_the_same_run_was_only_out_of_sight(times: int) -> None:
    """A target may lose its service for a moment."""
    bench = Bench()
    bench.see(100)
    for _ in range(times):
        bench.miss()
    bench.see(100)
    assert bench.service.record.restarts == ()


def test_blindness_breaks_what_a_threshold_waits_for() -> None:
    """`for` means without a break, and nobody saw that; a reading or two are no blindness."""
    bench = Bench(rules=guarded(threshold(200, for_s=60)))
    bench.see(300)
    began = bench.service.over_since
    assert began is not None
    for _ in range(UNREADABLE_AFTER - 1):
        bench.fail()
    assert bench.service.over_since == began
    bench.fail()
    assert bench.service.over_since is None


def test_another_measure_begins_another_series() -> None:
    """A reload from `auto` to `rss` makes a step that is no growth."""
    bench = Bench()
    bench.see(100)
    now = bench.clock.advance(1)
    bench.step(replace(sample_of(now, 300), measure=Measure.RSS))
    assert len(bench.service.series) == 1
    assert EventKind.RESTARTED_BY_OTHERS not in bench.kinds()


def test_a_large_fall_begins_another_series() -> None:
    """Workers under a master that lives were replaced: no slope runs through the fall."""
    bench = Bench()
    for mib in range(200, 220):
        bench.see(mib)
    for mib in (150, 150, 150, 60, 60):
        bench.see(mib)
    assert len(bench.service.series) == 25
    bench.see(60)
    assert (len(bench.service.series), bench.service.series.span_s()) == (3, 2.0)


def test_how_a_life_ended_is_kept_in_the_record() -> None:
    """Precedents outlive the incarnation, the fall and the daemon."""
    bench = Bench()
    for mib in range(100, 200):
        bench.see(mib)
    bench.see(100, pid=101)
    grown = [(life.restarted, life.steady) for life in bench.service.record.lives]
    assert grown == [(True, True)]
    for _ in range(20):
        bench.see(100, pid=101)
    for _ in range(3):
        bench.see(20, pid=101)
    assert [life.restarted for life in bench.service.record.lives] == [True, False]
    assert bench.service.series.lives == bench.service.record.lives


def test_a_life_by_another_measure_is_no_precedent() -> None:
    """Sizes of two measures cannot be compared."""
    bench = Bench()
    for mib in range(100, 200):
        bench.see(mib)
    now = bench.clock.advance(1)
    bench.step(replace(sample_of(now, 300), measure=Measure.RSS))
    assert bench.service.record.lives == ()
