"""Restarts that gain nothing are found out, held back, told once, and tried again when it pays."""

import pytest

from leakguard.core.alerts import AlertStatus
from leakguard.core.codec import from_plain, to_plain
from leakguard.core.engine import Step
from leakguard.core.events import Event, EventKind
from leakguard.core.guards import VAIN
from leakguard.core.inbox import RestartRequest, ResumeRequest, ScheduleDue
from leakguard.core.policy import (
    ForecastRule,
    GuardRules,
    Policy,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
    Trigger,
)
from leakguard.core.state import Futile, ServiceRecord
from leakguard.core.trend import UNKNOWN
from leakguard.core.units import MIB, Amount
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.testing.bench import NAME, Bench, guarded, threshold, trend_of

HOUR_S = 3600.0
HOLD_S = 5400.0
"""How far apart restarts may be for ever: four in six hours."""
FOUND, CLEARED = EventKind.FUTILITY_FOUND, EventKind.FUTILITY_CLEARED


def run(bench: Bench, pid: int, start_mib: float, end_mib: float, lasted_s: float) -> Step:
    """Let one run start, settle and end up somewhere after a time; give its last tick."""
    bench.own.trend = UNKNOWN
    bench.see(start_mib, pid=pid, age_s=0.1)
    bench.see(start_mib, pid=pid, after_s=6.0, age_s=6.1)
    bench.own.trend = trend_of()
    return bench.see(end_mib, pid=pid, after_s=lasted_s - 6.1, age_s=lasted_s)


def told(bench: Bench, kind: EventKind = FOUND) -> list[Event]:
    """Give the events of a kind."""
    return [event for event in bench.events if event.kind is kind]


def restarts(bench: Bench) -> int:
    """Count what was decided."""
    return len(told(bench, EventKind.RESTART_DECIDED))


def hot(rules: ServiceRules | None = None) -> Bench:
    """Give a bench whose second run in a row has just started full and come back."""
    bench = Bench(rules=rules or guarded(threshold(200)))
    for pid in (100, 101, 102):
        run(bench, pid, 190, 210, 600.0)
    return bench


def leaking() -> Bench:
    """Give a bench that leaks 1 MiB/s towards a limit."""
    limit = Amount(size_bytes=256 * MIB)
    policy = Policy(forecast=ForecastRule())
    return Bench(rules=guarded(policy, limit=limit, guards=GuardRules(max_restarts=20)))


# ---- starts full


def test_two_runs_in_a_row_that_start_full_are_enough() -> None:
    """One may have been bad luck; then it is only watched, and told what would help."""
    bench = hot()
    assert restarts(bench) == 2
    (event,) = told(bench)
    assert (event.severity.value, event.message) == (
        "critical",
        (
            "worker: restarts do not help: at its start 190 MiB are in use, and the threshold is "
            "200 MiB: raise that to at least 256 MiB, or fix what it loads at its start"
        ),
    )
    assert (event.details["futile"], event.details["start_bytes"]) == ("starts_full", 190 * MIB)


def test_what_is_held_says_so_without_a_second_alert() -> None:
    """The veto is news for the log; people have heard why."""
    bench = hot()
    vetoed = told(bench, EventKind.RESTART_VETOED)
    assert [(v.details["guard"], v.severity.value) for v in vetoed] == [("futile", "info")]
    assert "restarts do not help" in bench.service.last_decision


def test_it_is_one_alert_while_it_stands() -> None:
    """However long the service stays above its threshold."""
    bench = hot()
    bench.own.trend = UNKNOWN
    steps = [bench.see(210, pid=102, after_s=600.0, age_s=1200.0 + 600 * i) for i in range(20)]
    assert restarts(bench) == 2
    assert (len(told(bench)), [a for made in steps for a in made.alerts]) == (1, [])


@pytest.mark.parametrize(
    ("start_mib", "lasted_s"), [(179, 600.0), (190, HOLD_S + 1)], ids=["lower", "longer"]
)
def test_a_run_that_gains_something_is_no_futility(start_mib: float, lasted_s: float) -> None:
    """It started below 90 %, or was back no sooner than restarts may be apart for ever."""
    bench = Bench(rules=guarded(threshold(200)))
    for pid in range(100, 104):
        run(bench, pid, start_mib, 210, lasted_s)
    assert (restarts(bench), told(bench)) == (4, [])


def test_a_good_run_between_two_bad_ones_counts() -> None:
    """In a row means in a row."""
    bench = Bench(rules=guarded(threshold(200)))
    for pid, start in ((100, 190), (101, 190), (102, 100), (103, 190)):
        run(bench, pid, start, 210, 600.0)
    assert (restarts(bench), told(bench)) == (4, [])


def test_a_run_that_nobody_saw_start_is_not_judged() -> None:
    """What it started with is not known."""
    bench = Bench(rules=guarded(threshold(200)))
    for pid in range(100, 104):
        bench.see(210, pid=pid, after_s=200.0, age_s=100.0)
    assert (restarts(bench), told(bench)) == (4, [])


def test_a_forecast_is_measured_at_its_limit() -> None:
    """What a restart gives back is the run's own growth."""
    bench = leaking()
    for pid in (100, 101, 102):
        run(bench, pid, 240, 252, 600.0)
    assert restarts(bench) == 2
    assert told(bench)[0].message == (
        "worker: restarts do not help: at its start 240 MiB are in use, and the configured limit "
        "is 256 MiB: raise that to at least 320 MiB, or fix what it loads at its start"
    )


def test_an_exhaustion_passes() -> None:
    """The kernel would kill it: a stop in good order is better, and the breaker bounds it."""
    bench = leaking()
    for pid in (100, 101, 102, 103):
        run(bench, pid, 240, 255, 100.0)
    decided = [e.details["trigger"] for e in told(bench, EventKind.RESTART_DECIDED)]
    assert (decided, len(told(bench))) == (["exhaustion"] * 4, 1)


def test_a_schedule_is_held_as_well() -> None:
    """It was meant to give memory back."""
    cron = "0 3 * * *"
    policy = Policy(
        forecast=None,
        threshold=ThresholdRule(above=Amount(size_bytes=200 * MIB)),
        schedules=(ScheduleRule(cron=cron),),
    )
    bench = hot(guarded(policy))
    now = bench.clock.now()
    due = ScheduleDue(service=NAME, cron=cron, due_wall_s=now.wall_s)
    assert bench.see(190, pid=102, age_s=700.0, requests=(due,)).actions == ()


def test_the_breaker_says_it_where_it_comes_first() -> None:
    """One alert: too many restarts, why they did not help, and what would."""
    guards = GuardRules(max_restarts=2, per_s=6 * HOUR_S)
    bench = hot(guarded(threshold(200), guards=guards))
    (event,) = told(bench, EventKind.RESTART_LIMIT_HIT)
    assert event.message.endswith(
        "; restarts do not help: at its start 190 MiB are in use, and the threshold is 200 MiB: "
        "raise that to at least 256 MiB, or fix what it loads at its start"
    )
    assert (restarts(bench), told(bench)) == (2, [])


# ---- comes back sooner


def test_lives_that_shrink_are_futile() -> None:
    """The cause is outside: each restart finds it again, grown."""
    bench = leaking()
    for pid, lasted in ((100, 9000.0), (101, 2400.0), (102, 1320.0), (103, 540.0)):
        run(bench, pid, 20, 250, lasted)
    assert restarts(bench) == 3
    (event,) = told(bench)
    assert event.details["futile"] == "comes_back_sooner"
    assert event.message == (
        "worker: restarts do not help: it was back at the configured limit after 40m, 22m, 9m: "
        "look for what it finds again when it starts (a queue, a backlog, files), which grows "
        "meanwhile"
    )


@pytest.mark.parametrize(
    "lives",
    [
        (9000.0, 2400.0, 1320.0, 1000.0),
        (9000.0, 4800.0, 3000.0, 1500.0),
        (9000.0, 600.0, 600.0, 600.0),
        (2400.0, 1320.0, 540.0),
    ],
    ids=["not clearly", "not yet short", "even", "the first was not ours"],
)
def test_lives_that_do_not_are_not(lives: tuple[float, ...]) -> None:
    """Three that a restart began, each clearly shorter, the last within minutes."""
    bench = leaking()
    for pid, lasted in enumerate(lives, start=100):
        run(bench, pid, 20, 250, lasted)
    assert (restarts(bench), told(bench)) == (len(lives), [])


def test_coming_back_sooner_holds_no_threshold() -> None:
    """It is a person's own rule, each restart gives something back, and the breaker bounds it."""
    bench = Bench(rules=guarded(threshold(200), guards=GuardRules(max_restarts=20)))
    for pid, lasted in ((100, 9000.0), (101, 2400.0), (102, 1320.0), (103, 540.0)):
        run(bench, pid, 20, 210, lasted)
    assert (restarts(bench), len(told(bench))) == (4, 1)
    assert VAIN[Futile.COMES_BACK_SOONER] == {Trigger.FORECAST}


# ---- over


def test_another_threshold_is_another_trial() -> None:
    """A person has changed what it was about."""
    bench = hot()
    bench.rules = guarded(threshold(206))
    made = bench.see(205, pid=102, age_s=700.0)
    assert [e.message for e in told(bench, CLEARED)] == [
        "restarts of worker may help again: the threshold is 206 MiB now"
    ]
    assert [(a.status, a.key.rpartition("/")[2]) for a in made.alerts][-1] == (
        AlertStatus.RESOLVED,
        "futility",
    )


def test_a_threshold_in_percent_follows_the_limit() -> None:
    """The same holds when the limit was raised."""
    bench = leaking()
    for pid in (100, 101, 102):
        run(bench, pid, 240, 252, 600.0)
    bench.rules = guarded(
        Policy(forecast=ForecastRule()),
        limit=Amount(size_bytes=512 * MIB),
        guards=GuardRules(max_restarts=20),
    )
    bench.see(252, pid=102, age_s=700.0)
    assert [e.message for e in told(bench, CLEARED)] == [
        "restarts of worker may help again: the configured limit is 512 MiB now"
    ]


def test_a_persons_restart_is_a_new_trial() -> None:
    """What was known of earlier runs is forgotten."""
    bench = hot()
    bench.see(210, pid=102, age_s=700.0, requests=(RestartRequest(id="r", service=NAME),))
    assert (len(told(bench, CLEARED)), bench.service.record.rounds) == (1, ())
    assert run(bench, 103, 190, 210, 600.0).actions


def test_resume_is_a_new_trial() -> None:
    """A person has looked at it."""
    bench = hot()
    bench.see(210, pid=102, age_s=700.0, requests=(ResumeRequest(id="r", service=NAME),))
    bench.see(210, pid=102, age_s=701.0)
    assert (len(told(bench, CLEARED)), restarts(bench)) == (1, 3)


def test_a_life_that_is_good_again_ends_it() -> None:
    """Nothing wanted a restart for as long as restarts may be apart for ever."""
    bench = hot()
    bench.see(100, pid=103, age_s=1.0)
    bench.see(100, pid=103, after_s=HOLD_S - 1, age_s=HOLD_S)
    assert told(bench, CLEARED) == []
    bench.see(100, pid=103, after_s=1.0, age_s=HOLD_S + 1)
    assert [e.message for e in told(bench, CLEARED)] == [
        "restarts of worker may help again: nothing wanted a restart for 1h 30m"
    ]


def test_a_new_daemon_knows_it() -> None:
    """It is in the record, as that is written down: no restart more after a crash of leakguard."""
    bench = hot()
    record = from_plain(ServiceRecord, to_plain(bench.service.record))
    bench.state = restore(Saved(instance="b", serial=999, records={NAME: record}))
    assert bench.see(210, pid=102, age_s=800.0).actions == ()
    assert len(told(bench)) == 1


# ---- what a run started with


@pytest.mark.parametrize(
    ("looks", "start_mib"),
    [
        (((0.1, 190),), 190),
        (((4.0, 190),), None),
        (((0.5, 20), (3.0, 190), (6.0, 190)), 190),
        (((1.0, 30), (3.0, 50), (6.0, 80)), 20),
        (((2.0, 100), (8.0, 190), (16.0, 190)), 190),
        (((2.0, 100), (8.0, 190), (16.0, 190), (40.0, 230)), 190),
        (((90.0, 190),), None),
    ],
    ids=["at once", "one look", "loads", "leaks", "loads long", "leaks later", "unseen"],
)
def test_a_run_started_with_what_it_does_not_still_rise(
    looks: tuple[tuple[float, float], ...], start_mib: float | None
) -> None:
    """One that loads for seconds has settled when it is flat; a leak is full within seconds too."""
    bench = Bench(rules=guarded(threshold(500)))
    age_s = 0.0
    for at_s, mib in looks:
        bench.see(mib, pid=7, after_s=at_s - age_s, age_s=at_s)
        age_s = at_s
    start = None if start_mib is None else start_mib * MIB
    assert bench.service.record.settled_bytes == start
