"""A restart between its commit and its end: the next sample says how it went."""

from dataclasses import replace

import pytest

from leakguard.core.decision import CheckHealth, RestartService
from leakguard.core.events import EventKind
from leakguard.core.flight import BACK_OFF_S, HEALTH_SLACK_S, resumed
from leakguard.core.guards import Guard
from leakguard.core.inbox import Outcome, OutcomeKind, RestartRequest
from leakguard.core.policy import RestartRules
from leakguard.core.severity import Severity
from leakguard.core.state import FlightStage
from leakguard.testing.bench import NAME, Bench, guarded, threshold
from leakguard.testing.ticks import run_of

ASK = (RestartRequest(id="r", service=NAME),)
HEALTH = RestartRules(driver="fake", health_within_s=30.0)


def flying(restart: RestartRules | None = None) -> Bench:
    """Give a bench whose service has a restart in flight, decided at its second sample."""
    bench = Bench(rules=guarded(restart=restart))
    bench.see(800)
    bench.see(812, requests=ASK)
    return bench


def test_an_action_is_given_with_the_incarnation_that_is_meant() -> None:
    """The executor looks again, and needs to know what was meant."""
    bench = Bench(rules=guarded())
    bench.see(800)
    (action,) = bench.see(812, requests=ASK).actions
    assert isinstance(action, RestartService)
    assert (action.service, action.incarnation, action.id) == (
        NAME,
        run_of(),
        bench.service.record.flight.action_id if bench.service.record.flight else "",
    )


def test_a_new_incarnation_is_success() -> None:
    """The next sample is believed, whatever the driver said or did not say."""
    bench = flying()
    made = bench.see(96, pid=101, age_s=0.5, after_s=2.0)
    (event,) = made.events
    assert (event.kind, event.details) == (
        EventKind.RESTART_SUCCEEDED,
        {
            "action_id": "bench-00000001",
            "trigger": "manual",
            "took_s": 2.0,
            "before_bytes": 812 * 1024**2,
        },
    )
    assert bench.service.record.flight is None


def test_success_carries_the_stop_time_that_the_driver_measured() -> None:
    """DONE alone ends nothing; it brings the stop time."""
    bench = flying()
    outcome = Outcome(action_id="bench-00000001", service=NAME, kind=OutcomeKind.DONE, stop_s=0.25)
    bench.see(812, outcomes=(outcome,))
    assert bench.service.record.flight is not None
    (event,) = bench.see(96, pid=101, age_s=0.5).events
    assert event.details["stop_s"] == 0.25


def test_our_restart_is_not_counted_as_one_by_others() -> None:
    """One restart, one entry for the breaker."""
    bench = flying()
    bench.see(96, pid=101, age_s=0.5)
    assert [r.reason for r in bench.service.record.restarts] == ["manual"]


def test_the_same_incarnation_is_no_end() -> None:
    """It is being stopped."""
    bench = flying()
    made = bench.see(812)
    assert (made.events, bench.service.record.flight is None) == ((), False)


@pytest.mark.parametrize("gone", [False, True], ids=["still there", "gone"])
def test_what_the_driver_could_not_do_failed_unless_a_new_incarnation_is_there(gone: bool) -> None:
    """The driver's word counts only together with the reading after it."""
    bench = flying()
    outcome = bench.outcome(OutcomeKind.FAILED, "no such unit")
    if gone:
        bench.fail()
        bench.step(outcomes=(outcome,))
        made = bench.miss()
    else:
        made = bench.see(812, outcomes=(outcome,))
    assert [(e.kind, e.details.get("why")) for e in made.events][:1] == [
        (EventKind.RESTART_FAILED, "no such unit")
    ]


def test_a_failure_without_words_is_named() -> None:
    """A message is never empty."""
    bench = flying()
    made = bench.see(812, outcomes=(bench.outcome(OutcomeKind.FAILED),))
    assert made.events[0].details["why"] == "the driver failed"


def test_a_failed_driver_and_a_new_incarnation_are_a_success() -> None:
    """Believe the next sample, not the exit code."""
    bench = flying()
    failed = bench.outcome(OutcomeKind.FAILED, "timed out")
    made = bench.see(96, pid=101, age_s=0.5, outcomes=(failed,))
    assert [e.kind for e in made.events] == [EventKind.RESTART_SUCCEEDED]


def test_an_unreadable_service_decides_nothing() -> None:
    """Unknown is neither success nor failure."""
    bench = flying()
    bench.step(outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    assert bench.fail().events == ()
    assert bench.service.record.flight is not None


def test_absence_in_flight_is_expected() -> None:
    """A service that is being restarted is not missing."""
    bench = flying()
    assert (bench.miss().events, bench.service.record.missing) == ((), False)


def test_stale_means_nothing_was_done() -> None:
    """The action met another incarnation than the one that was meant."""
    bench = flying()
    made = bench.see(812, outcomes=(bench.outcome(OutcomeKind.STALE),))
    (event,) = made.events
    assert (event.kind, event.message) == (
        EventKind.RESTART_SKIPPED,
        "worker was not restarted: it runs anew already",
    )
    assert bench.service.record.failures == 0


def test_the_old_one_alive_at_the_deadline_is_abandoned() -> None:
    """The policy decides afresh, after the back-off."""
    bench = flying()
    made = bench.see(812, after_s=60.5)
    assert [(e.kind, e.message) for e in made.events] == [
        (EventKind.RESTART_ABANDONED, "worker still runs as pid 100 after 1m: no answer")
    ]


def test_nothing_alive_at_the_deadline_is_a_failure_and_then_missing() -> None:
    """In flight it was only awaited."""
    bench = flying()
    bench.miss()
    first, second = bench.miss(after_s=60.0), bench.miss()
    assert [e.kind for e in (*first.events, *second.events)] == [
        EventKind.RESTART_FAILED,
        EventKind.SERVICE_MISSING,
    ]


def test_the_deadline_itself_is_in_time() -> None:
    """Only what is later than the deadline is late."""
    bench = flying()
    assert bench.see(812, after_s=60.0).events == ()


def test_the_deadline_ends_a_flight_without_any_reading() -> None:
    """A target that cannot be looked at must not hold a flight open."""
    bench = flying()
    bench.clock.advance(61)
    assert [e.kind for e in bench.step().events] == [EventKind.RESTART_ABANDONED]


def test_outcomes_of_flights_that_are_over_are_dropped() -> None:
    """A late answer must not end the next flight."""
    bench = flying()
    late = bench.outcome(OutcomeKind.FAILED, "late")
    stranger = Outcome(action_id="x", service="nobody", kind=OutcomeKind.DONE)
    bench.see(96, pid=101, age_s=0.5)
    bench.see(96, pid=101, age_s=1.5, outcomes=(late, stranger))
    bench.see(96, pid=101, requests=ASK)
    flight = bench.service.record.flight
    bench.see(96, pid=101, outcomes=(late,))
    assert bench.service.record.flight == flight


@pytest.mark.parametrize(
    ("restart", "kind"),
    [
        (RestartRules(driver="child", starts=True), EventKind.RESTART_SUCCEEDED),
        (
            RestartRules(driver="child", starts=True, health_within_s=30.0),
            EventKind.RESTART_FAILED,
        ),
    ],
)
def test_what_was_started_and_ended_before_it_could_be_sampled(
    restart: RestartRules, kind: EventKind
) -> None:
    """It was there; whether that is success is for the health gate, where there is one."""
    bench = flying(restart)
    done = Outcome(
        action_id="bench-00000001", service=NAME, kind=OutcomeKind.DONE, started=run_of(101)
    )
    bench.clock.advance(1)
    bench.step(outcomes=(done,))
    made = bench.miss(exit_code=3)
    assert made.events[0].kind is kind
    assert bench.service.record.incarnation == run_of(101)


def test_how_a_run_ended_that_was_never_sampled_is_not_how_the_one_before_did() -> None:
    """It failed, was started again, and ended well before anybody could look at it."""
    bench = Bench(rules=guarded(restart=RestartRules(driver="child", starts=True)))
    bench.see(100)
    bench.miss(exit_code=7)
    flight = bench.service.record.flight
    assert flight is not None
    done = Outcome(
        action_id=flight.action_id, service=NAME, kind=OutcomeKind.DONE, started=run_of(101)
    )
    bench.clock.advance(1)
    bench.step(outcomes=(done,))
    made = bench.miss(exit_code=0)
    assert [e.kind for e in made.events if e.kind is EventKind.SERVICE_MISSING] != []
    assert (bench.service.record.missing, bench.service.record.exit_code) == (True, 0)


# ---- health gate


def test_the_health_gate_is_asked_when_the_new_incarnation_is_there() -> None:
    """Success waits for the gate."""
    bench = flying(HEALTH)
    made = bench.see(96, pid=101, age_s=0.5)
    assert made.actions == (CheckHealth(id="bench-00000001/health", service=NAME, within_s=30.0),)
    assert made.events == ()
    assert bench.service.record.flight is not None
    assert bench.service.record.flight.stage is FlightStage.HEALTH


def test_healthy_is_success() -> None:
    """A gate that passed ends the flight."""
    bench = flying(HEALTH)
    bench.see(96, pid=101, age_s=0.5)
    made = bench.see(
        97, pid=101, age_s=1.5, outcomes=(bench.outcome(OutcomeKind.HEALTHY, health=True),)
    )
    assert [e.kind for e in made.events] == [EventKind.RESTART_SUCCEEDED]


def test_unhealthy_is_a_failure_with_its_reason() -> None:
    """It runs, and still the restart failed."""
    bench = flying(HEALTH)
    bench.see(96, pid=101, age_s=0.5)
    answer = bench.outcome(OutcomeKind.UNHEALTHY, "HTTP 500", health=True)
    made = bench.see(97, pid=101, age_s=1.5, outcomes=(answer,))
    assert [(e.kind, e.details["why"]) for e in made.events] == [
        (EventKind.RESTART_FAILED, "it runs, but its health gate failed: HTTP 500")
    ]


def test_a_gate_without_an_answer_fails_after_its_own_time() -> None:
    """The flight's deadline moves to the gate's, with some slack."""
    bench = flying(HEALTH)
    bench.see(96, pid=101, age_s=0.5)
    in_time = bench.see(97, pid=101, after_s=30.0 + HEALTH_SLACK_S)
    late = bench.see(97, pid=101, after_s=0.1)
    assert (in_time.events, [e.details["why"] for e in late.events]) == (
        (),
        ["its health gate gave no answer"],
    )


def test_a_second_incarnation_during_the_gate_is_somebody_elses() -> None:
    """The flight has had its incarnation; another one is a restart by others."""
    bench = flying(HEALTH)
    bench.see(96, pid=101, age_s=0.5)
    made = bench.see(96, pid=102, age_s=0.5)
    assert [e.kind for e in made.events] == [EventKind.RESTARTED_BY_OTHERS]


# ---- afterwards


@pytest.mark.parametrize("failures", [1, 2, 3, 4, 5])
def test_failures_space_out_the_next_attempt(failures: int) -> None:
    """The breaker holds the next attempt back longer after every failure in a row."""
    bench = Bench(rules=guarded())
    bench.see(812)
    force = (RestartRequest(id="r", service=NAME, force=True),)
    for _ in range(failures):
        bench.see(812, requests=force)
        bench.see(812, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    retry = bench.service.record.retry_at
    assert retry is not None
    wait = retry.since(bench.clock.now())
    assert (bench.service.record.failures, wait) == (
        failures,
        BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1],
    )


def test_success_ends_the_back_off() -> None:
    """Failures count in a row."""
    bench = flying()
    bench.see(812, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    bench.see(812, after_s=10.0, requests=ASK)
    bench.see(96, pid=101, age_s=0.5)
    assert (bench.service.record.failures, bench.service.record.retry_at) == (0, None)


def test_the_back_off_holds_the_threshold_too() -> None:
    """A driver that never succeeds is not hammered."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.see(812)
    bench.see(812, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    held, passed = bench.see(812), bench.see(812, after_s=5.0)
    assert [v.guard for d in held.decisions for v in d.vetoes] == [Guard.BREAKER.value]
    assert len(passed.actions) == 1


def test_the_time_of_a_restart_is_measured_and_smoothed() -> None:
    """A longer one counts at once, a shorter one by half."""
    bench = flying()
    bench.see(96, pid=101, after_s=8.0)
    first = bench.service.record.stop_start_s
    bench.see(96, pid=101, requests=ASK)
    bench.see(96, pid=102, after_s=2.0)
    second = bench.service.record.stop_start_s
    bench.see(96, pid=102, requests=ASK)
    bench.see(96, pid=103, after_s=9.0)
    assert (first, second, bench.service.record.stop_start_s) == (8.0, 5.0, 9.0)


def test_outcomes_are_counted_by_trigger() -> None:
    """`reason/outcome` is what the metrics show."""
    bench = flying()
    bench.see(812, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    bench.see(812, after_s=10, requests=ASK)
    bench.see(812, after_s=61)
    bench.see(812, after_s=100, requests=ASK)
    bench.see(812, outcomes=(bench.outcome(OutcomeKind.STALE),))
    bench.see(812, after_s=100, requests=ASK)
    bench.see(96, pid=101)
    assert bench.service.record.restart_counts == {
        "manual/failed": 1,
        "manual/abandoned": 1,
        "manual/skipped": 1,
        "manual/succeeded": 1,
    }


def test_a_first_start_is_no_restart() -> None:
    """It is told as a start and not counted by the breaker."""
    bench = Bench(rules=guarded(restart=RestartRules(driver="child", starts=True)))
    bench.miss()
    made = bench.see(10, age_s=0.1)
    assert [e.kind for e in made.events] == [EventKind.SERVICE_STARTED]
    assert bench.service.record.restarts == ()
    assert bench.service.record.settling is None


def test_a_worker_that_outlived_its_master_is_no_new_incarnation() -> None:
    """It ran before the restart was decided, so it is what is left of the old one."""
    bench = flying()
    bench.see(100, pid=101, age_s=500.0)
    assert (bench.service.record.flight is not None, bench.kinds()[-1]) == (
        True,
        EventKind.RESTART_DECIDED,
    )
    bench.see(100, pid=102, age_s=0.5)
    assert EventKind.RESTART_SUCCEEDED in bench.kinds()
    assert EventKind.RESTARTED_BY_OTHERS not in bench.kinds()


def test_the_time_leakguard_was_down_is_not_the_time_of_a_restart() -> None:
    """An hour of absence must not become an hour of lead."""
    bench = flying()
    bench.see(96, pid=101, after_s=3600.0)
    assert bench.service.record.stop_start_s is None


def test_a_root_process_that_stays_gives_its_memory_back() -> None:
    """A command restarted what is below a supervisor: half the memory gone, and for good."""
    bench = flying()
    bench.see(812, outcomes=(bench.outcome(OutcomeKind.DONE),))
    early = bench.see(96, after_s=2.0)
    late = bench.see(96, after_s=4.0)
    assert [e.kind for e in early.events] == []
    assert [e.kind for e in late.events][:1] == [EventKind.RESTART_SUCCEEDED]


def test_a_root_process_that_stays_and_keeps_its_memory_is_abandoned() -> None:
    """Nothing shows that anything was restarted."""
    bench = flying()
    bench.see(812, outcomes=(bench.outcome(OutcomeKind.DONE),))
    bench.see(500, after_s=30.0)
    made = bench.see(500, after_s=40.0)
    assert [e.kind for e in made.events] == [EventKind.RESTART_ABANDONED]


def test_what_gives_memory_back_before_the_driver_is_done_is_no_success() -> None:
    """A process that is stopping frees memory, too."""
    bench = flying()
    made = bench.see(96, after_s=10.0)
    assert bench.service.record.flight is not None
    assert made.events == ()


def test_a_hopeless_failure_waits_longest() -> None:
    """What the driver calls permanent is not tried again in five seconds."""
    bench = flying()
    failed = replace(bench.outcome(OutcomeKind.FAILED, "no right to signal it"), permanent=True)
    bench.see(812, outcomes=(failed,))
    retry_at = bench.service.record.retry_at
    assert retry_at is not None
    assert retry_at.since(bench.clock.now()) == BACK_OFF_S[-1]


def test_a_gate_that_was_asked_by_an_earlier_daemon_is_asked_anew() -> None:
    """However long leakguard was down: the gate gets its whole time."""
    bench = flying(HEALTH)
    bench.see(96, pid=101, age_s=0.5)
    services = {n: replace(s, record=resumed(s.record)) for n, s in bench.state.services.items()}
    bench.state = replace(bench.state, services=services)
    made = bench.see(96, pid=101, after_s=3600.0, age_s=3600.0)
    assert [type(a) for a in made.actions] == [CheckHealth]
    assert made.events == ()


def test_what_is_not_in_its_health_gate_is_resumed_as_it_was() -> None:
    """A flight before its first new sample, and a service without one."""
    acting = flying().service.record
    free = Bench()
    free.see(100)
    assert (resumed(acting), resumed(free.service.record)) == (acting, free.service.record)


def test_a_service_that_was_taken_over_elsewhere_is_back() -> None:
    """Once it is gone here and its manager says that another is ready, out of sight."""
    bench = flying()
    told = replace(bench.outcome(OutcomeKind.DONE), elsewhere="web-2 on node-b replaces web-1")
    assert bench.see(812, outcomes=(told,)).events == ()
    made = bench.miss(taken_away=True)
    assert [(e.kind, e.severity) for e in made.events] == [
        (EventKind.RESTART_SUCCEEDED, Severity.INFO),
        (EventKind.SERVICE_MISSING, Severity.INFO),
    ]
    assert made.events[0].message.endswith("; web-2 on node-b replaces web-1")


def test_a_service_that_is_gone_without_a_successor_has_failed() -> None:
    """The driver said so; the sample agrees."""
    bench = flying()
    failed = bench.outcome(OutcomeKind.FAILED, "no pod that replaces it is ready")
    kinds = [e.kind for e in bench.miss(outcomes=(failed,)).events]
    assert kinds[0] is EventKind.RESTART_FAILED


@pytest.mark.parametrize("taken_away", [False, True])
def test_what_was_taken_away_on_purpose_is_no_alarm(taken_away: bool) -> None:
    """Pods come and go; why a service ended that is simply not there is told as well."""
    bench = Bench(rules=guarded())
    bench.see(800)
    events = [*bench.miss(taken_away=taken_away).events]
    for _ in range(5):
        events += bench.miss(after_s=10.0, taken_away=taken_away).events
    worst = max((event.severity for event in events), key=list(Severity).index)
    assert worst is (Severity.INFO if taken_away else Severity.WARNING)
