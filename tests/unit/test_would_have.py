"""Observe mode tells what act mode does, with the same evidence and to the same people."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from leakguard.core.decision import RestartService
from leakguard.core.engine import Step
from leakguard.core.events import Event, EventKind, Severity
from leakguard.core.guards import HOLDS, Guard
from leakguard.core.inbox import ScheduleDue
from leakguard.core.policy import Mode, Policy, RestartRules, ScheduleRule, ServiceRules, Trigger
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import (
    CHANNEL,
    NAME,
    Bench,
    foreseeing,
    guarded,
    scheduled,
    threshold,
    trend_of,
)
from leakguard.testing.several import HARD_MIB, Several, member

CRON = "0 3 * * *"
LIMIT = Amount(size_bytes=130 * MIB)
MODES = (Mode.ACT, Mode.OBSERVE)


def by_threshold(mode: Mode) -> tuple[Bench, Step]:
    """Pass the threshold."""
    bench = Bench(rules=guarded(threshold(200), mode=mode))
    return bench, bench.see(300)


def by_forecast(mode: Mode) -> tuple[Bench, Step]:
    """Let the limit be full in half a minute."""
    bench = Bench(rules=guarded(foreseeing(lead_s=60.0), mode=mode, limit=LIMIT))
    bench.own.trend = trend_of(Verdict.LEAKING, 1.0)
    return bench, bench.see(100)


def by_exhaustion(mode: Mode) -> tuple[Bench, Step]:
    """Let the limit be full in a second."""
    bench = Bench(rules=guarded(foreseeing(lead_s=60.0), mode=mode, limit=LIMIT))
    bench.own.trend = trend_of(Verdict.LEAKING, 30.0)
    return bench, bench.see(100)


def by_schedule(mode: Mode) -> tuple[Bench, Step]:
    """Let its time come."""
    bench = Bench(rules=guarded(scheduled(ScheduleRule(cron=CRON)), mode=mode))
    bench.see(100)
    now = bench.clock.now().wall_s + 1.0
    return bench, bench.see(100, requests=(ScheduleDue(service=NAME, cron=CRON, due_wall_s=now),))


def by_max_age(mode: Mode) -> tuple[Bench, Step]:
    """Let it have run for long."""
    bench = Bench(rules=guarded(Policy(forecast=None, max_age_s=60.0), mode=mode))
    return bench, bench.see(100)


TRIGGERS: dict[Trigger, Callable[[Mode], tuple[Bench, Step]]] = {
    Trigger.THRESHOLD: by_threshold,
    Trigger.FORECAST: by_forecast,
    Trigger.EXHAUSTION: by_exhaustion,
    Trigger.SCHEDULE: by_schedule,
    Trigger.MAX_AGE: by_max_age,
}


def told(made: Step, kind: EventKind) -> Event:
    """Give the one event of a kind."""
    (event,) = [event for event in made.events if event.kind is kind]
    return event


def test_every_trigger_that_observe_mode_holds_is_looked_at() -> None:
    """A new trigger has a row here."""
    assert set(TRIGGERS) == HOLDS[Guard.OBSERVE] - {Trigger.DEPENDENCY}


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_event_says_what_act_mode_does(trigger: Trigger) -> None:
    """The same reason and the same numbers; a warning, and nothing is done."""
    (_, acted), (_, observed) = (TRIGGERS[trigger](mode) for mode in MODES)
    decided = told(acted, EventKind.RESTART_DECIDED)
    would = told(observed, EventKind.RESTART_VETOED)
    reason = decided.message.removeprefix("restarting worker: ")
    assert would.message == (
        f"would have restarted worker: {reason} (mode is observe: would have restarted)"
    )
    assert (would.severity, would.details["trigger"]) == (Severity.WARNING, trigger.value)
    own = {"action_id", "restarts_left", "guard"}
    assert {k: v for k, v in would.details.items() if k not in own} == {
        k: v for k, v in decided.details.items() if k not in own
    }
    assert [len(one.actions) for one in (acted, observed)] == [1, 0]
    assert isinstance(acted.actions[0], RestartService)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_same_people_are_told(trigger: Trigger) -> None:
    """The headline of the alert says what would have been done, and so does its text."""
    (_, acted), (_, observed) = (TRIGGERS[trigger](mode) for mode in MODES)
    kinds = {EventKind.RESTART_DECIDED, EventKind.RESTART_VETOED}
    did, would = (
        next(alert for alert in made.alerts if alert.kind in kinds) for made in (acted, observed)
    )
    assert did.title == "restarting worker on localhost"
    assert would.title == "would have restarted worker on localhost"
    assert would.summary.startswith("would have restarted worker: ")
    assert did.channels == would.channels == (CHANNEL,)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_all_other_events_are_the_same(trigger: Trigger) -> None:
    """What is seen and foreseen does not depend on the mode."""
    decisions = {EventKind.RESTART_DECIDED, EventKind.RESTART_VETOED}
    seen = []
    for mode in MODES:
        bench, _ = TRIGGERS[trigger](mode)
        seen.append([(e.kind, e.message) for e in bench.events if e.kind not in decisions])
    assert seen[0] == seen[1]


def test_each_scheduled_time_is_told_anew() -> None:
    """Each is a restart that would have been."""
    bench, _ = by_schedule(Mode.OBSERVE)
    bench.clock.advance(86400.0)
    due = ScheduleDue(service=NAME, cron=CRON, due_wall_s=bench.clock.now().wall_s)
    made = bench.see(100, requests=(due,))
    assert told(made, EventKind.RESTART_VETOED).message.startswith("would have restarted worker")


def test_what_another_guard_holds_would_not_have_been() -> None:
    """What act mode could not have done is not claimed."""
    rules = guarded(threshold(200), mode=Mode.OBSERVE, restart=RestartRules(driver=""))
    bench = Bench(rules=rules)
    event = told(bench.see(300), EventKind.RESTART_VETOED)
    assert event.message.startswith("did not restart worker: ")


def observing(rules: ServiceRules) -> ServiceRules:
    """Give the same rules in observe mode."""
    return replace(rules, mode=Mode.OBSERVE)


def test_dependents_that_would_have_been_stopped_are_named() -> None:
    """As in the event of act mode."""
    shop = Several.of(member("web", needs=("db",)), observing(member("db")))
    shop.look()
    shop.mib["db"] = HARD_MIB + 100
    event = told(shop.look(), EventKind.RESTART_VETOED)
    assert "; would have stopped web first (mode is observe" in event.message
