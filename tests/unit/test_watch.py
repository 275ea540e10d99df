"""Facts of one tick: domains, kernel kills, limits, and what people are told of them."""

from dataclasses import replace

import pytest

from leakguard.core import facts
from leakguard.core.badness import Outcome
from leakguard.core.events import EventKind
from leakguard.core.forecast import LimitKind, forecast
from leakguard.core.foretold import Foretold, Suspect
from leakguard.core.policy import Mode
from leakguard.core.sample import DomainSample, HostSample
from leakguard.core.state import State
from leakguard.core.trend import UNKNOWN, Verdict
from leakguard.core.units import GIB, MIB, Amount
from leakguard.core.watch import CALM_S, FORGET_S, LOOK_S, REFIT_S, hear_foretold
from leakguard.testing.bench import (
    NAME,
    Bench,
    ScriptedDetector,
    guarded,
    room_of,
    sample_of,
    service_of,
    threshold,
    trend_of,
)
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

NOW = FakeClock().now()
HOST = HostSample(total_bytes=GIB, available_bytes=600 * MIB, swap_free_bytes=50 * MIB)


def domain(
    limit_mib: float = 512, usage_mib: float = 100, *, path: str = "/a", kills: int | None = 0
) -> DomainSample:
    """Make a limited cgroup."""
    return DomainSample(
        path=path,
        version=2,
        limit_bytes=int(limit_mib * MIB),
        usage_bytes=int(usage_mib * MIB),
        oom_kills=kills,
    )


def in_domain(bench: Bench, sample: DomainSample, *, mib: float = 100, pid: int = 100) -> None:
    """Step with one reading inside one domain."""
    now = bench.clock.advance(1)
    reading = sample_of(now, mib, run=run_of(pid), domains=("d",))
    bench.step(reading, domains={"d": sample})


# ---- limits


def around(*limits_mib: float, host: HostSample | None = None) -> facts.Surroundings:
    """Make surroundings of cgroups `0`, `1`, …."""
    domains = {str(i): domain(mib, path=f"/{i}") for i, mib in enumerate(limits_mib)}
    return facts.Surroundings(host=host, domains=domains)


def test_every_real_limit_counts_and_the_smallest_is_effective() -> None:
    """The cgroup, its ancestors, the host and the address space."""
    sample = sample_of(NOW, 100, domains=("0", "1"), address=(80 * MIB, 300 * MIB))
    found = facts.rooms(sample, around(512, 400, host=HOST), guarded())
    assert [(r.kind, r.path, r.limit_bytes // MIB, r.headroom_bytes // MIB) for r in found] == [
        (LimitKind.CGROUP, "/0", 512, 412),
        (LimitKind.CGROUP, "/1", 400, 300),
        (LimitKind.RLIMIT, "", 300, 220),
        (LimitKind.HOST, "", 1024, 650),
    ]
    assert facts.effective_limit(sample, around(512, 400, host=HOST), guarded()) == 300 * MIB


def test_a_domain_that_was_not_read_is_unknown() -> None:
    """It is no limit and no zero."""
    sample = sample_of(NOW, 100, domains=("7",))
    assert facts.rooms(sample, around(), guarded()) == ()
    assert facts.effective_limit(sample, around(), guarded()) is None


def test_a_configured_size_is_one_more_limit() -> None:
    """Never a replacement of the real ones."""
    sample = sample_of(NOW, 100, domains=("0",))
    rules = guarded(limit=Amount(size_bytes=600 * MIB))
    found = facts.rooms(sample, around(512), rules)
    assert [(r.kind, r.limit_bytes // MIB, r.headroom_bytes // MIB) for r in found] == [
        (LimitKind.CGROUP, 512, 412),
        (LimitKind.CONFIGURED, 600, 500),
    ]
    assert facts.effective_limit(sample, around(512), rules) == 512 * MIB


def test_a_configured_share_is_one_of_the_real_limit() -> None:
    """80 % of 500 MiB is 400 MiB, and not 80 % of that again."""
    sample = sample_of(NOW, 100, domains=("0",))
    rules = guarded(limit=Amount(share=0.8))
    found = facts.rooms(sample, around(500), rules)
    assert [r.limit_bytes // MIB for r in found] == [500, 400]
    assert facts.effective_limit(sample, around(500), rules) == 400 * MIB


def test_a_configured_share_of_nothing_known_is_no_limit() -> None:
    """Unknown is not zero."""
    rules = guarded(limit=Amount(share=0.8))
    assert facts.effective_limit(sample_of(NOW, 100), around(), rules) is None


def test_the_first_domain_of_a_path_gives_the_trend() -> None:
    """Two domains, each forecast by its own trend."""
    slow, fast = trend_of(mib_per_s=1.0), trend_of(mib_per_s=4.0)
    surroundings = facts.Surroundings(
        domains={"0": domain(path="/0"), "1": domain(path="/1")}, trends={"0": slow, "1": fast}
    )
    service = service_of(sample_of(NOW, 100, domains=("9", "0", "1")))
    found = facts.assess(service, slow, surroundings, guarded(), NOW)
    assert [f.slope_bytes_per_s for f in found.forecasts] == [1.0 * MIB, 4.0 * MIB]


def test_a_domain_without_a_trend_is_forecast_by_the_service() -> None:
    """Its own slope is what is known."""
    surroundings = facts.Surroundings(domains={"0": domain()}, trends={"0": UNKNOWN})
    service = service_of(sample_of(NOW, 100, domains=("0",)))
    found = facts.assess(service, trend_of(mib_per_s=2.0), surroundings, guarded(), NOW)
    assert [f.slope_bytes_per_s for f in found.forecasts] == [2.0 * MIB]


@pytest.mark.parametrize(
    ("mib_per_s", "verdict", "slope"),
    [
        (0.001, Verdict.STABLE, 0.001 * MIB),
        (2.0, Verdict.STABLE, None),
        (2.0, Verdict.WARMING_UP, 2.0 * MIB),
    ],
)
def test_a_domain_that_holds_still_is_believed_when_a_rise_would_show(
    mib_per_s: float, verdict: Verdict, slope: float | None
) -> None:
    """A slow leak is too small to be seen in a large domain; a fast one is given back elsewhere."""
    still = trend_of(verdict, None)
    surroundings = facts.Surroundings(domains={"0": domain()}, trends={"0": still})
    service = service_of(sample_of(NOW, 100, domains=("0",)))
    found = facts.assess(service, trend_of(mib_per_s=mib_per_s), surroundings, guarded(), NOW)
    assert [f.slope_bytes_per_s for f in found.forecasts] == [slope]


def test_without_a_sample_there_is_only_a_trend() -> None:
    """Nothing is foreseen of what is not there."""
    found = facts.assess(service_of(), trend_of(), around(512), guarded(), NOW)
    assert (found.forecasts, found.nearest, found.effective_limit_bytes) == ((), None, None)


@pytest.mark.parametrize(
    ("kind", "own", "whole", "caused"),
    [
        (LimitKind.CGROUP, 0.3, 1.0, True),
        (LimitKind.CGROUP, 0.29, 1.0, False),
        (LimitKind.HOST, 0.29, 1.0, False),
        (LimitKind.CONFIGURED, 0.01, 1.0, True),
        (LimitKind.RLIMIT, 0.01, 1.0, True),
        (LimitKind.CONFIGURED, 0.0, 1.0, False),
        (LimitKind.CGROUP, None, 1.0, False),
    ],
)
def test_who_causes_it(kind: LimitKind, own: float | None, whole: float, caused: bool) -> None:
    """A limit of its own concerns a growing service; a shared one by its share of the slope."""
    foreseen = forecast(room_of(10, kind=kind), trend_of(mib_per_s=whole))
    assert facts.caused_by(trend_of(mib_per_s=own), foreseen) == caused


# ---- what is promised


PROMISING = replace(HOST, commit_limit_bytes=800 * MIB, committed_bytes=500 * MIB)


def promised(bench: Bench, mib_per_s: float | None) -> None:
    """Read once under overcommit 2, with a trend."""
    bench.own.trend = trend_of(mib_per_s=mib_per_s)
    now = bench.clock.advance(1)
    bench.step(sample_of(now, 100, address=(320 * MIB, 1024 * MIB)), host=PROMISING)


def test_commit_limit_is_a_limit() -> None:
    """The reserves are taken off; the host's own end stays beside it."""
    host = replace(PROMISING, admin_reserve_bytes=8 * MIB, user_reserve_bytes=128 * MIB)
    sample = sample_of(NOW, 100, address=(320 * MIB, 1024 * MIB))
    found = facts.rooms(sample, around(host=host), guarded())
    assert [(r.kind, r.domain, r.limit_bytes // MIB, r.headroom_bytes // MIB) for r in found] == [
        (LimitKind.RLIMIT, "", 1024, 704),
        (LimitKind.HOST, facts.HOST, 1024, 650),
        (LimitKind.COMMIT, facts.COMMIT, 800, 282),
    ]
    assert facts.effective_limit(sample, around(host=host), guarded()) == 800 * MIB


def test_what_is_promised_has_a_trend_of_its_own() -> None:
    """Kept apart from the domains in which the kernel kills, and begun anew with the service."""
    bench = Bench(shared=ScriptedDetector(trend_of(mib_per_s=3.0)))
    promised(bench, 2.0)
    assert set(bench.state.domains) == {facts.HOST}
    assert list(bench.state.quiet[facts.COMMIT].series.recent.values) == [500 * MIB]
    assert bench.service.assessment is not None
    slopes = {f.room.kind: f.slope_bytes_per_s for f in bench.service.assessment.forecasts}
    assert slopes[LimitKind.COMMIT] == 3.0 * MIB
    promised(bench, 2.0)
    bench.step(sample_of(bench.clock.advance(1), 10, run=run_of(101)), host=PROMISING)
    assert len(bench.state.quiet[facts.COMMIT].series) == 1


def test_what_is_promised_is_forgotten_when_the_mode_changes() -> None:
    """As any domain that is not read any more."""
    bench = Bench()
    promised(bench, None)
    bench.see(100, after_s=FORGET_S + 1)
    assert bench.state.quiet == {}


def test_the_end_of_what_is_promised_names_no_victim() -> None:
    """Nobody is killed: malloc fails. There is nobody to look for, so it is told at once."""
    bench = Bench()
    promised(bench, 0.5)
    told = next(e for e in bench.events if e.kind is EventKind.EXHAUSTION_PREDICTED)
    assert told.message.startswith("worker fills CommitLimit (800 MiB) in ")
    assert told.message.endswith(
        "; malloc then fails (ENOMEM) at CommitLimit, and nobody is killed"
    )
    assert (told.details["limit_kind"], told.details.get("victim")) == ("commit", None)


# ---- domains


def test_a_domain_has_a_series_of_what_it_cannot_drop() -> None:
    """And the host has one of what is used."""
    bench = Bench(shared=ScriptedDetector(trend_of(mib_per_s=3.0)))
    now = bench.clock.advance(1)
    bench.step(sample_of(now, 100, domains=("d",)), domains={"d": domain()}, host=HOST)
    held = {key: list(d.series.recent.values) for key, d in bench.state.domains.items()}
    assert held == {"d": [100 * MIB], facts.HOST: [424 * MIB]}
    assert bench.state.domains["d"].trend == trend_of(mib_per_s=3.0)


def test_a_domain_that_nobody_is_in_any_more_is_forgotten() -> None:
    """Containers come and go, each with a cgroup of its own."""
    bench = Bench()
    in_domain(bench, domain())
    bench.see(100, after_s=FORGET_S - 1)
    assert set(bench.state.domains) == {"d"}
    bench.see(100, after_s=2)
    assert set(bench.state.domains) == set()


def test_without_a_detector_a_domain_has_no_trend() -> None:
    """It is kept all the same."""
    bench = Bench()
    in_domain(bench, domain())
    assert bench.state.domains["d"].trend == UNKNOWN


def test_a_new_incarnation_starts_its_domains_anew() -> None:
    """What they held before is no trend."""
    bench = Bench()
    for _ in range(3):
        in_domain(bench, domain())
    in_domain(bench, domain(), pid=101)
    assert len(bench.state.domains["d"].series) == 1


def test_fits_are_spaced() -> None:
    """At ten samples a second not every one is worth a fit."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=1.0)
    bench.see(100)
    bench.own.trend = trend_of(mib_per_s=2.0)
    bench.see(100, after_s=REFIT_S / 3)
    early = bench.service.assessment
    bench.see(100, after_s=REFIT_S)
    late = bench.service.assessment
    assert early is not None
    assert late is not None
    assert (early.trend.slope_bytes_per_s, late.trend.slope_bytes_per_s) == (1 * MIB, 2 * MIB)


# ---- threshold


def kinds(bench: Bench) -> list[str]:
    """Give the kinds of events without decisions and vetoes."""
    return [k.value for k in bench.kinds() if not k.value.startswith("Restart")]


def watched(share: float | None = None) -> Bench:
    """Give a bench that only watches a threshold of 200 MiB or a share."""
    policy = threshold(200) if share is None else threshold(share=share)
    return Bench(rules=guarded(policy, mode=Mode.OBSERVE))


def test_a_threshold_is_told_when_crossed_and_when_cleared() -> None:
    """Once each."""
    bench = watched()
    for mib in (100, 201, 300, 200, 100):
        bench.see(mib)
    assert kinds(bench) == ["ThresholdCrossed", "ThresholdCleared"]


def test_a_threshold_is_cleared_by_the_restart() -> None:
    """The problem must not stand for ever because the series began anew."""
    bench = watched()
    bench.see(300)
    bench.see(100, pid=101)
    assert kinds(bench) == ["ThresholdCrossed", "ThresholdCleared"]
    assert bench.service.record.problems == {}


def test_a_new_run_that_is_above_too_is_the_same_problem() -> None:
    """And its time above begins anew."""
    bench = watched()
    bench.see(300)
    bench.see(300, pid=101)
    assert kinds(bench) == ["ThresholdCrossed"]
    assert bench.service.over_since == bench.clock.now()


def test_a_gap_begins_the_time_above_anew() -> None:
    """`for` means without a break."""
    bench = watched()
    bench.see(300)
    bench.miss()
    bench.see(300, after_s=30.0)
    assert bench.service.over_since == bench.clock.now()


def test_a_share_whose_limit_is_not_known_clears_nothing() -> None:
    """It is neither above nor below."""
    bench = watched(share=0.5)
    in_domain(bench, domain(limit_mib=400), mib=300)
    bench.see(300)
    assert kinds(bench) == ["ThresholdCrossed"]
    assert bench.service.over_since is None


# ---- a configured limit


def test_a_configured_limit_below_the_use_is_told() -> None:
    """It says little, or comes too late; nothing enforces it."""
    bench = Bench(rules=guarded(limit=Amount(size_bytes=200 * MIB)))
    for mib in (100, 300, 300, 200):
        bench.see(mib)
    assert [(e.kind, e.message) for e in bench.events] == [
        (
            EventKind.LIMIT_PASSED,
            "worker uses more than its configured limit of 200 MiB; nothing enforces it",
        ),
        (EventKind.LIMIT_KEPT, "worker is below its configured limit again"),
    ]


# ---- leak and exhaustion


def test_a_leak_is_told_after_two_fits_that_agree() -> None:
    """One fit may be luck."""
    bench = Bench()
    told = []
    for verdict in (Verdict.LEAKING, Verdict.STABLE, Verdict.LEAKING, Verdict.LEAKING):
        bench.own.trend = trend_of(verdict)
        told.append([e.kind.value for e in bench.see(100).events])
    assert told == [[], [], [], ["LeakSuspected"]]


@pytest.mark.parametrize(
    ("verdict", "cleared"),
    [(Verdict.STABLE, True), (Verdict.WARMING_UP, True), (Verdict.UNKNOWN, False)],
)
def test_a_leak_ends_when_something_else_is_known(verdict: Verdict, cleared: bool) -> None:
    """Not knowing is no end."""
    bench = Bench()
    bench.own.trend = trend_of()
    bench.see(100)
    bench.see(100)
    bench.own.trend = trend_of(verdict, None)
    assert bench.see(100).events == ()
    made = bench.see(100, after_s=CALM_S)
    assert ([e.kind for e in made.events] == [EventKind.LEAK_CLEARED]) == cleared


def leaking_domain(bench: Bench, mib_per_s: float | None, *, usage_mib: float = 100) -> list[str]:
    """Read twice with a trend inside a domain, and give the events."""
    bench.own.trend = trend_of(mib_per_s=mib_per_s)
    before = len(bench.events)
    in_domain(bench, domain(usage_mib=usage_mib), mib=usage_mib)
    return [e.kind.value for e in bench.events[before:] if "Exhaustion" in e.kind.value]


def test_the_victim_is_named_with_the_exhaustion() -> None:
    """A look that came meanwhile ends the wait: who dies is told apart from who leaks."""
    bench = Bench()
    assert leaking_domain(bench, 0.1) == []
    said = Foretold(
        domain="d", at=bench.clock.now(), outcome=Outcome.KILL, certain=True,
        victim=Suspect(pid=77, name="postgres"),
    )  # fmt: skip
    domains = hear_foretold(bench.state.domains, (said,))
    bench.state = replace(bench.state, domains=domains)
    assert leaking_domain(bench, 0.1) == ["ExhaustionPredicted"]
    told = next(e for e in bench.events if e.kind is EventKind.EXHAUSTION_PREDICTED)
    assert told.message.endswith("; the kernel would kill postgres (pid 77), not worker")
    assert (told.details["victim"], told.details["victim_pid"]) == ("postgres (pid 77)", 77)


def test_an_exhaustion_within_a_day_is_told_and_averted() -> None:
    """With its span; what lies further away is not told."""
    bench = Bench()
    assert leaking_domain(bench, 412 / 90_000) == []
    assert leaking_domain(bench, 412 / 80_000) == []
    bench.clock.advance(LOOK_S)
    assert leaking_domain(bench, 412 / 80_000) == ["ExhaustionPredicted"]
    assert leaking_domain(bench, 412 / 80_000) == []
    assert leaking_domain(bench, None) == []
    bench.clock.advance(CALM_S)
    assert leaking_domain(bench, None) == ["ExhaustionAverted"]


def test_the_exhaustion_is_named() -> None:
    """Where, how big and when."""
    bench = Bench()
    leaking_domain(bench, 0.1)
    bench.clock.advance(LOOK_S)
    leaking_domain(bench, 0.1)
    event = next(e for e in bench.events if e.kind is EventKind.EXHAUSTION_PREDICTED)
    assert event.message.startswith("worker fills cgroup /a (512 MiB) in 4")
    assert event.details["limit_path"] == "/a"


def test_a_full_limit_is_named_without_a_future() -> None:
    """It is a matter of now."""
    bench = Bench(rules=guarded(limit=Amount(size_bytes=100 * MIB)))
    bench.own.trend = trend_of(mib_per_s=1.0)
    bench.see(100)
    event = next(e for e in bench.events if e.kind is EventKind.EXHAUSTION_PREDICTED)
    assert event.message == "worker fills the configured limit (100 MiB) now"


def test_an_exhaustion_that_others_cause_is_not_told_of_this_service() -> None:
    """The domain's slope is not its own."""
    bench = Bench(shared=ScriptedDetector(trend_of(mib_per_s=10.0)))
    assert leaking_domain(bench, 0.1) == []


def test_an_uncertain_exhaustion_has_no_late_edge() -> None:
    """Beyond the horizon there is only `later`."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=0.005, error=0.02)
    in_domain(bench, domain(usage_mib=112), mib=112)
    bench.clock.advance(LOOK_S)
    in_domain(bench, domain(usage_mib=112), mib=112)
    event = next(e for e in bench.events if e.kind is EventKind.EXHAUSTION_PREDICTED)
    assert event.message.endswith(" to later")


def test_what_was_told_before_a_crash_is_known_after_it() -> None:
    """Told problems are in the durable record, so their end is told too."""
    bench = Bench()
    bench.own.trend = trend_of()
    bench.see(100)
    bench.see(100)
    record = bench.service.record
    after = Bench(clock=bench.clock)
    after.state = State(instance="bench", serial=99, services={NAME: service_of(record=record)})
    after.own.trend = trend_of(Verdict.STABLE, None)
    after.see(100)
    assert [k.value for k in after.kinds()] == ["LeakCleared"]
