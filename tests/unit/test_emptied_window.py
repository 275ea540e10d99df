"""After a restart nothing of the old life counts: not for `for`, not for the trend, nor at all."""

import pytest

from leakguard.core.facts import HOST
from leakguard.core.policy import ForecastRule, GuardRules, Policy
from leakguard.core.sample import HostSample
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import (
    CGROUP,
    Bench,
    ScriptedDetector,
    guarded,
    sample_of,
    threshold,
    trend_of,
)
from leakguard.testing.ticks import run_of


@pytest.mark.parametrize("pid", [100, 101], ids=["the same run", "a new run"])
def test_for_begins_anew(pid: int) -> None:
    """Two minutes above the threshold are two minutes of one life."""
    bench = Bench(rules=guarded(threshold(200, for_s=120.0)))
    for _ in range(12):
        bench.see(300, after_s=10.0)
    made = bench.see(300, pid=pid, after_s=10.0)
    assert (len(made.actions) == 1) is (pid == 100)
    if pid == 101:
        quiet = [bench.see(300, pid=pid, after_s=10.0).actions for _ in range(11)]
        assert quiet == [()] * 11
        assert len(bench.see(300, pid=pid, after_s=10.0).actions) == 1


def test_the_series_of_the_service_begins_anew() -> None:
    """Its trend is fitted to the new life alone; only what it was like is remembered."""
    bench = Bench()
    for mib in range(100, 130):
        bench.see(mib, after_s=10.0)
    assert len(bench.service.series) == 30
    bench.see(100, pid=101, after_s=10.0)
    assert (len(bench.service.series), bench.service.fastest_bytes_per_s) == (1, 0.0)


def test_the_series_of_host_and_cgroup_begin_anew() -> None:
    """What its domains held includes the old life."""
    bench = Bench(shared=ScriptedDetector(trend=trend_of()))
    host = HostSample(total_bytes=1000 * MIB, available_bytes=500 * MIB)
    for pid in (100, 100, 100, 101):
        now = bench.clock.advance(10.0)
        bench.step(
            sample_of(now, 100, run=run_of(pid), domains=(CGROUP,)),
            domains={},
            host=host,
        )
    assert len(bench.state.domains[HOST].series) == 1


def test_a_young_run_is_in_grace_for_a_forecast_that_can_wait() -> None:
    """Five minutes by default; then it acts."""
    policy = Policy(forecast=ForecastRule(lead_s=600.0))
    rules = guarded(policy, limit=Amount(size_bytes=512 * MIB), guards=GuardRules())
    bench = Bench(rules=rules)
    bench.own.trend = trend_of(Verdict.LEAKING, 1.0)
    assert bench.see(100, age_s=100.0).actions == ()
    assert "of grace left" in bench.service.last_decision
    assert len(bench.see(100, after_s=200.0, age_s=300.0).actions) == 1
