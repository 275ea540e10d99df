"""One step: requests and replies, schedules, pauses, notices, reminders, what is forgotten."""

from dataclasses import replace

import pytest

from leakguard.core.alerts import AlertRules, AlertStatus, Route
from leakguard.core.death_teller import EVIDENCE_S
from leakguard.core.decision import RestartService
from leakguard.core.engine import Notice
from leakguard.core.events import EventKind
from leakguard.core.inbox import (
    OutcomeKind,
    PauseRequest,
    Request,
    RestartRequest,
    ResumeRequest,
    ScheduleDue,
)
from leakguard.core.policy import GuardRules, Mode, ScheduleRule
from leakguard.core.sample import Absent
from leakguard.core.severity import Severity
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import (
    CHANNEL,
    NAME,
    OLD_S,
    Bench,
    foreseeing,
    guarded,
    sample_of,
    scheduled,
    threshold,
    trend_of,
)
from leakguard.testing.clock import EPOCH_S
from leakguard.testing.ticks import run_of

CRON = "0 3 * * *"


def ask(*, force: bool = False) -> RestartRequest:
    """Make a person's request."""
    return RestartRequest(id="r", service=NAME, by="ann", force=force)


def pause(for_s: float | None = None, by: str = "ann", reason: str = "") -> PauseRequest:
    """Make a pause."""
    return PauseRequest(id="p", service=NAME, by=by, reason=reason, for_s=for_s)


RESUME = ResumeRequest(id="s", service=NAME, by="bob")


# ---- rules by name


def test_a_numbered_service_follows_the_rules_of_its_entry() -> None:
    """`worker:2` is guarded as `worker` says."""
    bench = Bench(rules=guarded(threshold(200)))
    now = bench.clock.advance(1)
    bench.see(100)
    reading = bench.service.sample
    assert reading is not None
    made = bench.step(replace(reading, service="worker:2", at=now, value_bytes=300 * MIB))
    assert [a.service for a in made.actions] == ["worker:2"]


def test_a_reading_of_a_service_without_rules_is_ignored() -> None:
    """It was taken before a reload and dealt with after it."""
    bench = Bench()
    bench.see(100)
    reading = bench.service.sample
    assert reading is not None
    made = bench.step(replace(reading, service="stranger"))
    assert (made.samples, made.pace, list(made.state.services)) == ((), {}, [NAME])


@pytest.mark.parametrize(
    "request_of_stranger",
    [
        RestartRequest(id="x", service="stranger"),
        PauseRequest(id="x", service="stranger"),
        ResumeRequest(id="x", service="stranger"),
    ],
)
def test_a_request_for_an_unknown_service_is_refused(request_of_stranger: Request) -> None:
    """Nobody waits for an answer that never comes, and no record of a stranger is kept."""
    made = Bench().step(requests=(request_of_stranger,))
    assert [(r.request_id, r.accepted, r.message) for r in made.replies] == [
        ("x", False, "no service named 'stranger' is guarded")
    ]
    assert (made.state.services, made.records) == ({}, ())


# ---- what a step gives


def test_only_changed_records_are_given() -> None:
    """A tick writes only what is new."""
    bench = Bench()
    first, second = bench.see(100), bench.see(100)
    assert ([r.name for r in first.records], second.records) == ([NAME], ())


def test_a_problem_of_the_daemon_is_in_its_own_record() -> None:
    """It belongs to no service."""
    bench = Bench()
    notice = Notice(kind="StoreFailed", service="", severity="critical", message="disk full")
    made = bench.step(notices=(notice,))
    assert [(r.name, list(r.problems)) for r in made.records] == [("", ["store"])]
    assert list(made.state.own.problems) == ["store"]


def test_every_reading_gets_a_pace() -> None:
    """The loop asks when to look again."""
    made = Bench().see(100)
    assert made.pace == {NAME: 10.0}


def test_ids_are_unique_and_numbered() -> None:
    """Instance and serial make them, and the serial is part of the state."""
    bench = Bench(rules=guarded(threshold(200)))
    made = bench.see(300)
    assert [e.id for e in made.events] == ["bench-00000001", "bench-00000003"]
    assert ([a.id for a in made.actions], made.state.serial) == (["bench-00000002"], 3)


# ---- requests


def test_a_manual_restart_acts_in_observe_mode_and_in_grace() -> None:
    """A person wants it."""
    bench = Bench(rules=guarded(mode=Mode.OBSERVE))
    made = bench.see(100, age_s=1.0, requests=(ask(),))
    assert [r.accepted for r in made.replies] == [True]


def test_a_manual_restart_is_refused_by_an_open_breaker() -> None:
    """And counts in it when it is forced."""
    bench = Bench(rules=guarded(guards=GuardRules(max_restarts=1)))
    bench.see(100)
    bench.see(100, pid=101)
    refused = bench.see(100, pid=101, requests=(ask(),)).replies
    forced = bench.see(100, pid=101, requests=(ask(force=True),)).replies
    assert ([r.accepted for r in refused], [r.accepted for r in forced]) == ([False], [True])
    assert refused[0].message.startswith("breaker: 1 restart within 6h")
    assert len(bench.service.record.restarts) == 2


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (pause(), "paused by ann until it is resumed"),
        (pause(by=""), "paused until it is resumed"),
        (pause(60.0), "paused by ann until 2026-11-18T11:07:40Z"),
        (pause(reason="sale"), "paused by ann until it is resumed: sale"),
    ],
)
def test_a_pause_is_answered_and_told(request_: PauseRequest, said: str) -> None:
    """With who, until when and why."""
    bench = Bench()
    made = bench.step(requests=(request_,))
    assert [(r.accepted, r.message) for r in made.replies] == [(True, said)]
    (event,) = made.events
    assert (event.kind, event.details) == (
        EventKind.SERVICE_PAUSED,
        {
            k: v
            for k, v in (
                ("by", request_.by),
                ("reason", request_.reason),
                ("until", "2026-11-18T11:07:40Z" if request_.for_s else ""),
            )
            if v
        },
    )


def test_a_paused_service_is_watched_and_not_restarted() -> None:
    """The veto is told once."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.see(100, requests=(pause(),))
    assert [bench.see(300).actions for _ in range(3)] == [(), (), ()]
    assert bench.kinds().count(EventKind.RESTART_VETOED) == 1


def test_a_pause_ends_by_itself() -> None:
    """By the wall clock, since a person named a time of day."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.see(300, requests=(pause(60.0),))
    bench.see(300, after_s=59.0)
    made = bench.see(300, after_s=1.0)
    assert [e.message for e in made.events if e.kind is EventKind.SERVICE_RESUMED] == [
        "the pause is over"
    ]
    assert len(made.actions) == 1


def test_resume_ends_pause_breaker_and_back_off() -> None:
    """A person has looked at it."""
    bench = Bench(rules=guarded(threshold(200), guards=GuardRules(max_restarts=1)))
    bench.see(300)
    bench.see(300, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    assert bench.service.record.breaker_open
    made = bench.see(300, requests=(pause(), RESUME))
    assert made.replies[-1].message == "resumed by bob"
    assert len(made.actions) == 1
    record = bench.service.record
    assert (record.pause, record.failures, record.breaker_open) == (None, 0, False)


def test_resume_ends_the_problem_of_a_failed_restart() -> None:
    """Else it would stand for ever when nothing wants a restart any more."""
    bench = Bench()
    bench.see(300)
    bench.see(300, requests=(ask(),))
    bench.see(300, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    assert "restart" in bench.service.record.problems
    bench.see(300, requests=(replace(RESUME, by=""),))
    assert bench.service.record.problems == {}
    assert bench.events[-1].message == "resumed"


# ---- schedules


def by_cron(skip_below: Amount | None = None) -> Bench:
    """Give a bench with one schedule that has been watched for a second."""
    rule = ScheduleRule(cron=CRON, skip_below=skip_below)
    bench = Bench(rules=guarded(scheduled(rule)))
    bench.see(400)
    return bench


def due(bench: Bench) -> tuple[ScheduleDue, ...]:
    """Make the moment that is due now."""
    return (ScheduleDue(service=NAME, cron=CRON, due_wall_s=bench.clock.wall_s + 1.0),)


def test_a_due_schedule_restarts_once() -> None:
    """Posted twice, it is dealt with once."""
    bench = by_cron()
    moment = due(bench)
    made = bench.see(400, requests=moment)
    assert [a.trigger.value for a in made.actions if isinstance(a, RestartService)] == ["schedule"]
    bench.see(90, pid=101)
    assert bench.see(90, pid=101, requests=moment).decisions == ()


def test_a_skipped_schedule_is_told_and_dealt_with() -> None:
    """With its reason."""
    bench = by_cron(Amount(size_bytes=500 * MIB))
    moment = due(bench)
    (event,) = bench.see(400, requests=moment).events
    assert (event.kind, event.message.partition(", but ")[2]) == (
        EventKind.RESTART_SKIPPED,
        "400 MiB (auto) is below 500 MiB",
    )
    assert bench.service.record.fired[CRON] == moment[0].due_wall_s


def test_a_skipped_schedule_ends_no_problem() -> None:
    """It says nothing about a restart that failed."""
    bench = by_cron(Amount(size_bytes=500 * MIB))
    bench.see(400, requests=(ask(),))
    bench.see(400, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))
    bench.see(400, requests=due(bench))
    assert list(bench.service.record.problems) == ["restart"]


def test_a_schedule_held_back_is_told_each_time() -> None:
    """It is proposed once, so its veto is news."""
    bench = by_cron()
    bench.see(400, requests=(*due(bench), pause()))
    bench.see(400, after_s=86400.0, requests=due(bench))
    assert bench.kinds().count(EventKind.RESTART_VETOED) == 2


def test_a_schedule_acts_on_every_service_of_its_entry() -> None:
    """`each` makes one guarded service per match."""
    bench = by_cron()
    reading = bench.service.sample
    assert reading is not None
    for i in (1, 2):
        bench.step(replace(reading, service=f"{NAME}:{i}", incarnation=run_of(200 + i)))
    made = bench.step(requests=due(bench))
    assert sorted(a.service for a in made.actions) == [NAME, f"{NAME}:1", f"{NAME}:2"]


def test_a_schedule_for_what_is_not_guarded_is_nothing() -> None:
    """A reload may have removed the entry; its state is dropped in the next tick."""
    bench = by_cron()
    moment = due(bench)
    bench.rules = replace(bench.rules, name="other")
    assert bench.step(requests=moment).events == ()


def test_a_first_look_dates_the_schedule() -> None:
    """What was due before the service was ever seen is not caught up."""
    assert by_cron().service.record.fired == {CRON: EPOCH_S + 1.0}


# ---- notices, alerts, what is forgotten


def test_a_notice_becomes_an_event_with_its_numbers() -> None:
    """The engine gives it id and alert."""
    notice = Notice(
        kind="ClockJumped", service="", severity="info", message="set", details={"jump_s": 3.0}
    )
    (event,) = Bench().step(notices=(notice,)).events
    assert (event.kind, event.severity, event.details) == (
        EventKind.CLOCK_JUMPED,
        Severity.INFO,
        {"jump_s": 3.0},
    )


def test_a_dropped_service_is_forgotten() -> None:
    """Its state, and for those who were told of its problems the problems."""
    bench = Bench()
    bench.see(100)
    bench.miss()
    bench.miss(after_s=EVIDENCE_S)
    made = bench.step(dropped=(NAME, "unknown"))
    assert made.state.services == {}
    assert [(a.status, a.title, a.key) for a in made.alerts] == [
        (
            AlertStatus.RESOLVED,
            "no longer guarded: worker died on localhost",
            "leakguard/localhost/worker/missing",
        )
    ]


def test_a_dropped_service_without_problems_is_forgotten_silently() -> None:
    """Nobody was told of anything."""
    bench = Bench()
    bench.see(100)
    assert bench.step(dropped=(NAME,)).alerts == ()


def test_a_dropped_service_whose_problem_nobody_heard_of_is_forgotten_silently() -> None:
    """There is no channel for what is quiet."""
    bench = Bench(rules=guarded(threshold(200), mode=Mode.OBSERVE))
    bench.see(300)
    assert list(bench.service.record.problems) == ["threshold"]
    assert bench.step(dropped=(NAME,)).alerts == ()


def reminding(remind_s: float | None = 3600.0) -> Bench:
    """Give a bench whose route reminds of warnings."""
    route = Route(severity=Severity.WARNING, to=(CHANNEL,), remind_s=remind_s)
    bench = Bench(alerts=AlertRules(channels=(CHANNEL,), routes=(route,)))
    bench.see(100)
    bench.miss()
    bench.miss(after_s=EVIDENCE_S)
    return bench


def test_a_standing_problem_is_told_again() -> None:
    """Each time the reminder's time has passed, under the same key."""
    bench = reminding()
    told = [len(bench.miss(after_s=s).alerts) for s in (3599.0, 1.0, 3599.0, 1.0)]
    alert = bench.miss(after_s=3600.0).alerts[0]
    assert told == [0, 1, 0, 1]
    assert (alert.title, alert.key, alert.status) == (
        "still: worker died on localhost",
        "leakguard/localhost/worker/missing",
        AlertStatus.FIRING,
    )


def test_without_a_reminder_a_problem_is_told_once() -> None:
    """Until it is over."""
    bench = reminding(None)
    assert bench.miss(after_s=1e6).alerts == ()


def test_a_quieter_problem_is_not_reminded_of() -> None:
    """The route asks only for what is loud enough."""
    bench = Bench(
        rules=guarded(threshold(200), mode=Mode.OBSERVE),
        alerts=AlertRules(
            channels=(CHANNEL,),
            routes=(Route(severity=Severity.CRITICAL, to=(CHANNEL,), remind_s=1.0),),
        ),
    )
    bench.see(300)
    assert bench.see(300, after_s=10.0).alerts == ()


def test_a_problem_of_the_daemon_is_reminded_of_too() -> None:
    """Under leakguard's name."""
    bench = reminding()
    notice = Notice(kind="StoreFailed", service="", severity="critical", message="disk full")
    bench.step(notices=(notice,))
    bench.clock.advance(3601)
    keys = [a.key for a in bench.step().alerts]
    assert keys == ["leakguard/localhost/leakguard/store", "leakguard/localhost/worker/missing"]


# ---- in doubt


def test_unreadable_never_restarts() -> None:
    """Not by an old sample above the threshold either."""
    bench = Bench(rules=guarded(threshold(200), mode=Mode.OBSERVE))
    bench.see(300)
    bench.rules = guarded(threshold(200))
    assert [bench.fail(after_s=10.0).actions for _ in range(5)] == [()] * 5


def test_what_can_wait_waits_for_the_state_file() -> None:
    """A threshold does not wait."""
    bench = Bench(rules=guarded(foreseeing(lead_s=60.0)))
    bench.own.trend = trend_of(mib_per_s=1.0)
    rules = guarded(foreseeing(lead_s=60.0), limit=Amount(size_bytes=130 * MIB))
    bench.rules = rules
    (held,) = bench.see(100, durable=False).decisions
    assert [v.guard for v in held.vetoes] == ["store"]
    bench.rules = guarded(threshold(50))
    assert len(bench.see(100, durable=False).actions) == 1


def test_a_clock_set_back_lets_durations_go_on() -> None:
    """`for`, grace and breaker are measured in seconds since boot."""
    bench = Bench(rules=guarded(threshold(200, for_s=60.0)))
    bench.see(300)
    bench.clock.set_wall(bench.clock.wall_s - 86400.0)
    assert bench.see(300, after_s=59.0).actions == ()
    assert len(bench.see(300, after_s=1.0).actions) == 1


def test_a_reading_that_ends_a_flight_may_begin_the_next() -> None:
    """A service that comes back above its threshold is restarted again, while it may be."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.see(300)
    made = bench.see(300, pid=101, age_s=1.0)
    assert len(made.actions) == 1
    assert EventKind.RESTART_SUCCEEDED in [e.kind for e in made.events]


def test_an_absence_in_flight_starts_nothing() -> None:
    """The restart itself does that."""
    bench = Bench()
    bench.see(100, age_s=OLD_S, requests=(ask(),))
    assert bench.miss().decisions == ()


def test_a_schedule_that_comes_back_has_missed_nothing() -> None:
    """Taken out for a week and put back at noon, it does not restart at noon."""
    nightly = guarded(scheduled(ScheduleRule(cron="0 3 * * *")))
    bench = Bench(rules=nightly)
    bench.see(100)
    before = bench.service.record.fired
    bench.rules = guarded()
    bench.see(100)
    assert bench.service.record.fired == {}
    bench.rules = nightly
    bench.see(100, after_s=3600.0)
    (now,) = bench.service.record.fired.values()
    assert now > next(iter(before.values()))


def test_what_a_driver_refuses_is_not_begun_and_costs_nothing() -> None:
    """The refusal is a veto by name, told once, and the breaker is not spent on it."""
    bench = Bench(rules=guarded(threshold(200)))
    for _ in range(5):
        now = bench.clock.advance(60.0)
        bench.step(sample_of(now, 300), cannot_act="nobody starts it again: name who does")
    vetoed = [e for e in bench.events if e.kind is EventKind.RESTART_VETOED]
    assert [(e.severity, e.details["guard"]) for e in vetoed] == [(Severity.WARNING, "cannot_act")]
    assert "(nobody starts it again: name who does)" in vetoed[0].message
    assert (bench.service.record.restarts, bench.service.record.flight) == ((), None)


def test_a_driver_that_would_act_again_is_believed_at_once() -> None:
    """A start by others was seen: from then on a signal is no end."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.step(sample_of(bench.clock.advance(60.0), 300), cannot_act="nobody starts it again")
    made = bench.see(300)
    assert len(made.actions) == 1


def test_a_restart_of_an_ambiguous_service_is_refused_in_the_target_s_words() -> None:
    """Nobody knows which of the processes was meant."""
    bench = Bench()
    bench.see(100)
    now = bench.clock.advance(1.0)
    said = "2 unrelated processes match"
    gone = Absent(service=NAME, at=now, reason=said, ambiguous=True)
    made = bench.step(gone, requests=(RestartRequest(id="r", service=NAME),))
    assert [(r.accepted, r.message) for r in made.replies] == [(False, f"cannot_act: {said}")]


def test_resume_forgets_the_last_decision() -> None:
    """It was held back by a pause that is over."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.step(requests=(PauseRequest(id="p", service=NAME),))
    bench.see(300)
    held = bench.service.last_decision
    bench.step(requests=(ResumeRequest(id="q", service=NAME),))
    assert (held.startswith("hold (threshold)"), bench.service.last_decision) == (True, "")
