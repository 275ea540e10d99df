"""What people may see of a service: phases, numbers, limits, pauses."""

from dataclasses import replace

import pytest

from leakguard.core.engine import Rules
from leakguard.core.inbox import PauseRequest, RestartRequest
from leakguard.core.policy import GuardRules
from leakguard.core.state import Pause, Phase, Probation, ServiceRecord, ServiceState, State
from leakguard.core.status import ServiceExtras, ServiceStatus, phase_of, project
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import NAME, Bench, guarded, sample_of, service_of, threshold, trend_of
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()


def shown(bench: Bench, extras: ServiceExtras | None = None) -> ServiceStatus:
    """Give the one service as it is shown."""
    rules = Rules(services={NAME: bench.rules}, detectors={})
    found = {NAME: extras} if extras is not None else {}
    (status,) = project(bench.state, rules, bench.clock.now(), found)
    return status


OLD = sample_of(NOW, 100)
YOUNG = sample_of(NOW, 100, age_s=1.0)


def broken(waits_s: float = 60.0) -> ServiceRecord:
    """Make a record whose breaker is open for so long."""
    until = NOW.plus(waits_s)
    return ServiceRecord(name=NAME, breaker_open=True, probation=Probation(until=until))


PAUSED = Pause(by="", reason="", until_wall_s=None)


@pytest.mark.parametrize(
    ("service", "phase"),
    [
        (service_of(), Phase.STARTING),
        (service_of(OLD), Phase.WATCHING),
        (service_of(YOUNG), Phase.GRACE),
        (service_of(OLD, broken()), Phase.BREAKER_OPEN),
        (service_of(OLD, broken(waits_s=-1.0)), Phase.WATCHING),
        (
            service_of(OLD, replace(broken(), unreadable=True)),
            Phase.UNREADABLE,
        ),
        (
            service_of(OLD, ServiceRecord(name=NAME, unreadable=True, missing=True)),
            Phase.MISSING,
        ),
        (service_of(OLD, ServiceRecord(name=NAME, missing=True, pause=PAUSED)), Phase.PAUSED),
    ],
)
def test_what_matters_most_to_a_person_is_the_phase(service: ServiceState, phase: Phase) -> None:
    """One word."""
    assert phase_of(service, guarded(), NOW) is phase


def test_a_restart_in_flight_is_shown_before_all() -> None:
    """With its action."""
    bench = Bench()
    bench.see(100, requests=(RestartRequest(id="r", service=NAME),))
    status = shown(bench)
    assert (status.phase, status.in_flight, status.restarts_left) == (
        "restarting",
        "bench-00000001",
        3,
    )
    assert [r.reason for r in status.restarts] == ["manual"]


def test_a_service_without_a_sample_has_no_numbers() -> None:
    """Null, never zero."""
    bench = Bench(rules=guarded(threshold(200)))
    bench.miss()
    status = shown(bench)
    assert (status.value_bytes, status.pid, status.age_s, status.verdict) == (
        None,
        None,
        None,
        "unknown",
    )
    assert status.threshold_bytes == 200 * MIB


def test_a_sampled_service_shows_facts_and_limits() -> None:
    """The nearest limit first by time, and all of them."""
    bench = Bench(rules=guarded(limit=Amount(size_bytes=400 * MIB)))
    bench.own.trend = trend_of(mib_per_s=1.0)
    bench.see(100, age_s=60.0)
    bench.clock.advance(5)
    extras = ServiceExtras(next_schedule="soon", cannot_act=("fix it",), next_sample_s=2.0)
    status = shown(bench, extras)
    assert (status.value_bytes, status.age_s, status.verdict, status.effective_limit_bytes) == (
        100 * MIB,
        65.0,
        "leaking",
        400 * MIB,
    )
    assert status.nearest is not None
    assert status.nearest.time_to_limit is not None
    assert (status.nearest.kind, status.nearest.time_to_limit.p50_s) == ("configured", 300.0)
    assert status.limits == (status.nearest,)
    assert (status.next_schedule, status.cannot_act, status.next_sample_s) == (
        "soon",
        ("fix it",),
        2.0,
    )


def test_a_service_without_a_limit_has_no_nearest() -> None:
    """There is nothing to run into."""
    bench = Bench()
    bench.see(100)
    assert (shown(bench).nearest, shown(bench).limits) == (None, ())


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (PauseRequest(id="p", service=NAME), "paused until it is resumed"),
        (
            PauseRequest(id="p", service=NAME, by="ann", reason="sale", for_s=60.0),
            "paused by ann until 2026-11-18T11:07:41Z: sale",
        ),
    ],
)
def test_a_pause_is_shown_in_words(request_: PauseRequest, text: str) -> None:
    """Who, until when, why."""
    bench = Bench()
    bench.see(100, requests=(request_,))
    assert shown(bench).paused == text


def test_only_guarded_services_are_shown_in_the_order_of_their_names() -> None:
    """State of a removed entry may still be there."""
    services = {
        n: replace(service_of(), record=ServiceRecord(name=n))
        for n in ("worker:2", "gone", "worker:1")
    }
    rules = Rules(services={NAME: guarded(guards=GuardRules())}, detectors={})
    found = project(State(instance="i", services=services), rules, NOW, {})
    assert [status.name for status in found] == ["worker:1", "worker:2"]
