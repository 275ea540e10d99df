"""The breaker from its opening over the one restart on probation to its closing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from leakguard.core import breaker
from leakguard.core.alerts import AlertStatus
from leakguard.core.assessment import Assessment
from leakguard.core.calm import is_back
from leakguard.core.engine import Step
from leakguard.core.events import Event, EventKind
from leakguard.core.forecast import Forecast
from leakguard.core.inbox import OutcomeKind, PauseRequest, RestartRequest, ResumeRequest
from leakguard.core.policy import GuardRules, Policy, Respawn, RestartRules, ThresholdRule, Trigger
from leakguard.core.state import ServiceState
from leakguard.core.units import MIB, Amount
from leakguard.runtime.restore import restore
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.bench import NAME, Bench, guarded, room_of, threshold, trend_of
from leakguard.testing.ticks import run_of

PER_S = 600.0
HOLD_S = 300.0
"""How long a restart on probation must hold: `per` by `max_restarts`."""
HIT, CLEARED = EventKind.RESTART_LIMIT_HIT, EventKind.RESTART_LIMIT_CLEARED
GUARDS = GuardRules(max_restarts=2, per_s=PER_S)


def back(bench: Bench, pid: int, after_s: float = 1.0) -> Step:
    """Let a run start small and come back above the threshold."""
    bench.see(100, pid=pid)
    return bench.see(300, pid=pid, after_s=after_s)


def opened() -> Bench:
    """Give a bench whose breaker has just opened, with pid 102 above its threshold."""
    bench = Bench(rules=guarded(threshold(200), guards=GUARDS))
    for pid in (100, 101, 102):
        back(bench, pid)
    assert word(bench) == "open"
    return bench


def probing() -> Bench:
    """Give a bench whose restart on probation has just brought pid 103, at 100 MiB."""
    bench = opened()
    bench.see(300, pid=102, after_s=PER_S)
    bench.see(100, pid=103)
    assert word(bench) == "half-open"
    return bench


def word(bench: Bench) -> str:
    """Give where the breaker stands."""
    return breaker.word_of(bench.service.record, bench.rules, bench.clock.now()).value


def holds(bench: Bench) -> bool:
    """Give whether it lets no restart pass."""
    return breaker.holds(bench.service.record, bench.rules, bench.clock.now())


def told(bench: Bench, kind: EventKind) -> list[Event]:
    """Give the events of a kind."""
    return [event for event in bench.events if event.kind is kind]


def test_the_first_restart_after_it_was_open_is_on_probation() -> None:
    """It is allowed when the oldest counted one is out of sight, and says what it is."""
    bench = opened()
    made = bench.see(300, pid=102, after_s=PER_S)
    assert len(made.actions) == 1
    assert told(bench, EventKind.RESTART_DECIDED)[-1].details["probation"] is True
    assert (word(bench), told(bench, CLEARED)) == ("half-open", [])


def test_a_usual_restart_is_not_on_probation() -> None:
    """The detail is left out."""
    bench = opened()
    assert "probation" not in told(bench, EventKind.RESTART_DECIDED)[0].details


def test_it_closes_when_the_new_run_stays_well() -> None:
    """For as long as restarts may be apart for ever."""
    bench = probing()
    bench.see(100, pid=103, after_s=HOLD_S - 1)
    assert (word(bench), holds(bench)) == ("half-open", True)
    bench.see(100, pid=103, after_s=1.0)
    assert (word(bench), holds(bench)) == ("closed", False)
    assert [event.message for event in told(bench, CLEARED)] == ["worker may be restarted again"]


def test_a_run_that_is_back_at_its_trigger_opens_it_again_for_longer() -> None:
    """Not one restart more: the wait doubles, up to four times `per`."""
    bench = probing()
    waits = []
    for pid in (103, 104, 105, 106):
        made = bench.see(300, pid=pid, after_s=10.0)
        assert (made.actions, word(bench)) == ((), "open")
        until = bench.service.record.probation.until
        assert until is not None
        waits.append(until.since(bench.clock.now()))
        assert bench.see(300, pid=pid, after_s=waits[-1] - 1).actions == ()
        assert len(bench.see(300, pid=pid, after_s=1.0).actions) == 1
        bench.see(100, pid=pid + 1)
    assert waits == [2 * PER_S, 4 * PER_S, 4 * PER_S, 4 * PER_S]


def test_the_second_opening_says_what_was_no_help() -> None:
    """With the reason of the trigger and the wait."""
    bench = probing()
    bench.see(300, pid=103)
    assert told(bench, HIT)[-1].message == (
        "worker is only watched again: the restart on probation was no help: 300 MiB (auto) is "
        "above 200 MiB; the next one is allowed in 20m"
    )


def test_people_are_alerted_once_however_often_it_opens() -> None:
    """It is one problem, which ends when the breaker closes."""
    bench = Bench(rules=guarded(threshold(200), guards=GUARDS))
    steps: list[Step] = [back(bench, pid) for pid in (100, 101, 102)]
    steps.append(bench.see(300, pid=102, after_s=PER_S))
    steps.append(back(bench, 103))
    steps.append(bench.see(300, pid=103, after_s=2 * PER_S))
    steps.append(bench.see(100, pid=104))
    steps.append(bench.see(100, pid=104, after_s=HOLD_S))
    alerts = [a for made in steps for a in made.alerts if a.key.endswith("/breaker")]
    assert [a.status for a in alerts] == [AlertStatus.FIRING, AlertStatus.RESOLVED]


def failed(bench: Bench) -> None:
    """Let the restart in flight fail."""
    bench.see(300, pid=102, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),))


def died(bench: Bench) -> None:
    """Let the new run be followed by another that nobody here started."""
    bench.see(100, pid=103)
    bench.see(100, pid=103)
    bench.see(100, pid=104)


@pytest.mark.parametrize(
    ("what", "said"),
    [(failed, "was no help: it failed;"), (died, "was no help: pid 103 ended by itself;")],
    ids=["failed", "died"],
)
def test_a_restart_on_probation_that_goes_wrong_opens_it(
    what: Callable[[Bench], None], said: str
) -> None:
    """Whether it never came or did not stay."""
    bench = opened()
    bench.see(300, pid=102, after_s=PER_S)
    what(bench)
    assert (word(bench), bench.service.record.probation.relapses) == ("open", 1)
    assert said in told(bench, HIT)[-1].message


def test_a_child_that_ends_at_once_again_opens_it() -> None:
    """Also when no sample was ever taken of the new run."""
    restart = RestartRules(driver="child", starts=True, respawn=Respawn.ALWAYS)
    guards = GuardRules(max_restarts=1, per_s=PER_S)
    bench = Bench(rules=guarded(restart=restart, guards=guards))
    bench.see(50)
    bench.miss(exit_code=1)
    bench.see(50, pid=101, age_s=0.0)
    bench.miss(exit_code=1)
    assert word(bench) == "open"
    assert len(bench.miss(after_s=PER_S, exit_code=1).actions) == 1
    done = bench.outcome(OutcomeKind.DONE)
    bench.clock.advance(1.0)
    bench.step(outcomes=(replace(done, started=run_of(102)),))
    bench.miss(exit_code=1)
    bench.miss(exit_code=1)
    assert (word(bench), bench.service.record.probation.relapses) == ("open", 1)


def gate_failed(starts: bool) -> Bench:
    """Give a bench whose first restart came back and failed its health gate."""
    restart = RestartRules(driver="fake", health_within_s=30.0, starts=starts)
    bench = Bench(rules=guarded(threshold(200), guards=GUARDS, restart=restart))
    back(bench, 100)
    bench.see(100, pid=101)
    bench.see(100, pid=101, outcomes=(bench.outcome(OutcomeKind.UNHEALTHY, "no", health=True),))
    return bench


def test_a_health_gate_that_fails_opens_it() -> None:
    """Not another restart at once; the alert is that of the failed one."""
    bench = gate_failed(starts=False)
    assert word(bench) == "open"
    assert [e.severity.value for e in told(bench, HIT)] == ["info"]
    assert bench.see(300, pid=101, after_s=HOLD_S - 10).actions == ()
    assert bench.see(300, pid=101, after_s=10.0).actions
    assert bench.service.record.probation.action_id


def test_a_child_whose_gate_fails_has_only_its_back_off() -> None:
    """When it ends, somebody has to start it."""
    assert word(gate_failed(starts=True)) == "closed"


def test_one_that_nobody_wants_to_restart_closes_it() -> None:
    """Without a restart: what opened it is gone."""
    bench = opened()
    bench.see(300, pid=102, after_s=PER_S - 10.0)
    bench.see(100, pid=103, after_s=10.0)
    bench.see(100, pid=103, after_s=HOLD_S - 11.0)
    assert (word(bench), holds(bench)) == ("half-open", False)
    bench.see(100, pid=103, after_s=1.0)
    assert word(bench) == "closed"


def test_what_is_held_back_by_others_is_not_well() -> None:
    """A pause hides the trigger from the breaker and cures nothing."""
    bench = opened()
    pause = PauseRequest(id="p", service=NAME)
    bench.see(300, pid=102, requests=(pause,))
    for _ in range(8):
        bench.see(300, pid=102, after_s=HOLD_S / 2)
    assert word(bench) == "half-open"


def test_only_one_restart_is_out_whoever_asks() -> None:
    """A person's is refused with the reason, and can be forced."""
    bench = probing()
    made = bench.see(100, pid=103, requests=(RestartRequest(id="r", service=NAME),))
    (reply,) = made.replies
    assert (reply.accepted, reply.message) == (
        False,
        "breaker: its one restart on probation is out, and must hold for 5m",
    )
    made = bench.see(100, pid=103, requests=(RestartRequest(id="f", service=NAME, force=True),))
    assert made.replies[0].accepted
    assert bench.service.record.probation.action_id != made.replies[0].action_id


def test_an_age_or_a_moment_is_no_relapse() -> None:
    """They say what time it is, not that the restart did not help."""
    policy = Policy(
        forecast=None, threshold=ThresholdRule(above=Amount(size_bytes=200 * MIB)), max_age_s=50.0
    )
    bench = probing()
    bench.rules = guarded(policy, guards=GUARDS)
    bench.see(100, pid=103, age_s=60.0)
    assert (word(bench), bench.service.record.probation.relapses) == ("half-open", 0)


def test_a_leak_that_is_restarted_early_is_no_relapse() -> None:
    """Its window is the last cheap moment; the end is hours away."""
    bench = opened()
    service = bench.service
    far = Forecast(room=room_of(100), slope_bytes_per_s=1.0, median_s=36000.0)
    near = replace(far, median_s=20.0)
    for foreseen, back in ((far, False), (near, True)):
        facts = Assessment(at=bench.clock.now(), trend=trend_of(), nearest=foreseen)
        leaking = replace(service, assessment=facts)
        assert is_back(leaking, bench.rules, Trigger.FORECAST) is back
        assert is_back(leaking, bench.rules, Trigger.SCHEDULE) is False


def test_resume_closes_it_in_every_state() -> None:
    """A person has looked at it."""
    bench = probing()
    bench.see(300, pid=103)
    bench.see(100, pid=103, requests=(ResumeRequest(id="r", service=NAME),))
    assert (word(bench), bench.service.record.probation.relapses) == ("closed", 0)


def test_it_survives_the_guard_through_the_state_file(tmp_path: Path) -> None:
    """Restarts counted, wait and relapses: a new daemon goes on where the old one ended."""
    bench = opened()
    store = SqliteStore(str(tmp_path / "state.db"), bench.clock)
    bench.see(300, pid=102, after_s=PER_S)
    bench.see(100, pid=103)
    store.commit(bench.see(300, pid=103))
    store.close()
    again = SqliteStore(str(tmp_path / "state.db"), bench.clock)
    bench.state = restore(again.load())
    again.close()
    kept: ServiceState = bench.service
    assert (kept.record.breaker_open, kept.record.probation.relapses) == (True, 1)
    assert bench.see(300, pid=103, after_s=2 * PER_S - 10).actions == ()
    assert [e.kind for e in bench.events if e.kind is HIT] == [HIT, HIT]
    assert len(bench.see(300, pid=103, after_s=10.0).actions) == 1


def test_a_failed_attempt_on_what_is_ill_already_does_not_open_it() -> None:
    """A gate that failed after a person's restart opens nothing, nor does the next attempt."""
    restart = RestartRules(driver="fake", health_within_s=30.0)
    guards = GuardRules(max_restarts=4, per_s=PER_S)
    bench = Bench(rules=guarded(threshold(200), guards=guards, restart=restart))
    bench.see(100)
    bench.see(100, requests=(RestartRequest(id="r", service=NAME),))
    bench.see(100, pid=101)
    bench.see(100, pid=101, outcomes=(bench.outcome(OutcomeKind.UNHEALTHY, "no", health=True),))
    assert bench.see(300, pid=101, after_s=400.0).actions
    bench.see(300, pid=101, outcomes=(bench.outcome(OutcomeKind.FAILED, "refused"),))
    assert told(bench, EventKind.RESTART_FAILED)[-1].message.endswith("refused")
    assert word(bench) == "closed"
