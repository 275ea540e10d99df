"""A restart that leaves the root alone and replaces what runs below it."""

from dataclasses import replace

from leakguard.core.events import EventKind
from leakguard.core.guards import grace_left_s
from leakguard.core.inbox import Outcome, OutcomeKind, RestartRequest
from leakguard.core.policy import Policy, RestartRules
from leakguard.core.sample import DomainSample
from leakguard.core.state import FlightStage, State
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved, SavedSamples
from leakguard.testing.bench import CGROUP, NAME, OLD_S, Bench, guarded, sample_of

ASK = (RestartRequest(id="r", service=NAME),)


def done(bench: Bench) -> Outcome:
    """Say that the driver has replaced workers."""
    outcome = bench.outcome(OutcomeKind.DONE, "worker 7 was replaced by 8")
    return replace(outcome, kept_root=True, stop_s=1.0)


def rolled(rules: Policy | None = None, restart: RestartRules | None = None) -> Bench:
    """Give a bench whose restart has just replaced workers of the same master."""
    bench = Bench(rules=guarded(rules, restart=restart))
    for _ in range(20):
        bench.see(800)
    bench.see(812, requests=ASK)
    bench.see(700, outcomes=(done(bench),))
    return bench


def test_the_same_master_is_success_once_the_driver_saw_new_workers() -> None:
    """And the event says whom it replaced."""
    bench = rolled()
    event = next(e for e in bench.events if e.kind is EventKind.RESTART_SUCCEEDED)
    assert event.message.endswith("asked for; worker 7 was replaced by 8")
    assert bench.service.record.flight is None


def test_before_the_driver_is_done_the_same_master_is_no_end() -> None:
    """A sample that was taken in between proves nothing."""
    bench = Bench(rules=guarded())
    bench.see(800)
    bench.see(812, requests=ASK)
    bench.see(500)
    assert bench.service.record.flight is not None


def test_the_series_begins_anew() -> None:
    """What the workers before held is no trend of the ones now."""
    bench = rolled()
    assert len(bench.service.series.recent.times) == 1
    assert bench.service.record.renewed == bench.clock.now()


def test_grace_and_age_begin_anew() -> None:
    """`max_age` counts from then on as well, or it would come due for ever."""
    bench = rolled(Policy(forecast=None, max_age_s=2 * OLD_S))
    now = bench.clock.now()
    assert grace_left_s(bench.service, bench.rules, now) == bench.rules.guards.grace_s
    bench.see(700, after_s=OLD_S + 400, age_s=2 * OLD_S + 400)
    kinds = [e.kind for e in bench.events if e.kind is EventKind.RESTART_DECIDED]
    assert len(kinds) == 1
    bench.see(700, after_s=OLD_S, age_s=3 * OLD_S + 400)
    decided = [e for e in bench.events if e.kind is EventKind.RESTART_DECIDED]
    assert [e.details["trigger"] for e in decided] == ["manual", "max_age"]


def test_what_the_memory_became_is_told_a_moment_later() -> None:
    """Not at once: the new workers are still loading."""
    bench = rolled()
    assert EventKind.MEMORY_RECOVERED not in bench.kinds()
    bench.see(620, after_s=6.0)
    (event,) = [e for e in bench.events if e.kind is EventKind.MEMORY_RECOVERED]
    assert (event.details["before_bytes"], event.details["after_bytes"]) == (
        812 * 2**20,
        620 * 2**20,
    )


def test_another_master_later_is_a_new_run() -> None:
    """Then its own age counts again."""
    bench = rolled()
    bench.see(100, pid=101, age_s=1.0)
    assert bench.service.record.renewed is None


def test_a_health_gate_is_asked_all_the_same() -> None:
    """New workers may be ill."""
    bench = rolled(restart=RestartRules(driver="fake", health_within_s=30.0))
    flight = bench.service.record.flight
    assert flight is not None
    assert flight.stage is FlightStage.HEALTH
    assert len(bench.service.series.recent.times) == 1


def test_after_a_crash_samples_from_before_are_no_past() -> None:
    """The state file still has them, of the same incarnation."""
    bench = rolled()
    record = bench.service.record
    assert record.renewed is not None
    at = record.renewed.boot_s
    kept = SavedSamples(
        incarnation=sample_of(bench.clock.now(), 1).incarnation,
        measure=sample_of(bench.clock.now(), 1).measure,
        recent=((at - 10, 900), (at, 700), (at + 1, 701)),
    )
    state: State = restore(
        Saved(instance="i", records={NAME: record}, samples={NAME: kept}),
    )
    assert list(state.services[NAME].series.recent.values) == [700, 701]


def _domain(mib: float) -> DomainSample:
    usage = int(mib * 2**20)
    return DomainSample(path="/worker", version=2, limit_bytes=2**30, usage_bytes=usage)


def test_its_domain_begins_anew_too() -> None:
    """The cgroup held what the workers held."""
    bench = Bench(rules=guarded())

    def look(mib: float, *, requests: bool = False, over: bool = False) -> None:
        now = bench.clock.advance(1.0)
        reading = sample_of(now, mib, domains=(CGROUP,))
        bench.step(
            reading,
            requests=ASK if requests else (),
            outcomes=(done(bench),) if over else (),
            domains={CGROUP: _domain(mib)},
        )

    for _ in range(5):
        look(400)
    look(410, requests=True)
    look(300, over=True)
    assert len(bench.state.domains[CGROUP].series.recent.times) == 1
    look(301)
    assert len(bench.state.domains[CGROUP].series.recent.times) == 2
