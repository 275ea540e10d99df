"""`memory.high` above a service: when it slows it down, and what people are told of it."""

from dataclasses import replace

import pytest

from leakguard.core import facts
from leakguard.core.engine import Inputs, Rules
from leakguard.core.events import Event, EventKind
from leakguard.core.forecast import LimitKind
from leakguard.core.sample import DomainSample, HostSample, Snapshot, ThrottleSample
from leakguard.core.status import project
from leakguard.core.throttling import LEAST_S
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import GIB, MIB
from leakguard.core.watch import CALM_S, FORGET_S, THROTTLED_S
from leakguard.testing.bench import (
    NAME,
    Bench,
    ScriptedDetector,
    guarded,
    sample_of,
    service_of,
    trend_of,
)
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
KEY = "v2:/a"
LIMIT = DomainSample(path="/a", version=2, limit_bytes=512 * MIB, usage_bytes=100 * MIB)
HOST = HostSample(total_bytes=64 * GIB, available_bytes=60 * GIB)


def high(
    high_mib: float = 400, usage_mib: float = 100, *, hits: int | None = 0, limited: bool = True
) -> ThrottleSample:
    """Make a cgroup with `memory.high`."""
    return ThrottleSample(
        path="/a", high_bytes=int(high_mib * MIB), usage_bytes=int(usage_mib * MIB), hits=hits,
        limited=limited,
    )  # fmt: skip


def look(
    bench: Bench, group: ThrottleSample, *, after_s: float = 1.0, limited: bool = True
) -> list[Event]:
    """Let time pass and read a service of 100 MiB in such a cgroup; give the new events."""
    now = bench.clock.advance(after_s)
    sample = sample_of(now, 100, domains=(KEY,) if limited else ())
    snapshot = Snapshot(
        at=now,
        readings=(replace(sample, throttles=(KEY,)),),
        domains={KEY: LIMIT} if limited else {},
        throttles={KEY: group},
        host=HOST,
    )
    return list(bench.deal(Inputs(now=now, snapshot=snapshot)).events)


def throttle(bench: Bench, times: int = 8, *, limited: bool = True) -> list[Event]:
    """Hold the service at `memory.high`, the counter rising, for some seconds; give the events."""
    told = []
    for hits in range(times):
        told += look(bench, high(usage_mib=399, hits=hits, limited=limited), limited=limited)
    return told


def trend_seen(bench: Bench) -> Trend:
    """Give the trend that people see."""
    assert bench.service.assessment is not None
    return bench.service.assessment.trend


def foreseen(bench: Bench) -> tuple[float | None, float | None]:
    """Give the median times to the throttling and to the nearest limit."""
    found = bench.service.assessment
    assert found is not None
    assert found.throttle is not None
    assert found.nearest is not None
    return found.throttle.foreseen.median_s, found.nearest.median_s


# ---- when it comes


def test_it_is_foreseen_and_moves_no_limit() -> None:
    """`memory.high` is 300 MiB away, the limit 412: the limit alone is a limit."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=1.0)
    look(bench, high())
    assert foreseen(bench) == (300.0, 412.0)
    found = bench.service.assessment
    assert found is not None
    assert LimitKind.HIGH not in {one.room.kind for one in found.forecasts}
    assert found.effective_limit_bytes == 512 * MIB


def test_the_alert_of_an_exhaustion_tells_it() -> None:
    """Before the victim, and with its number."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=1.0)
    told = [*look(bench, high()), *look(bench, high(), after_s=4.0)]
    (event,) = [one for one in told if one.kind is EventKind.EXHAUSTION_PREDICTED]
    assert event.message.startswith("worker fills cgroup /a (512 MiB) in ")
    assert event.message.endswith("; is throttled from 400 MiB (memory.high) in about 5m")
    assert event.details["throttled_from_bytes"] == 400 * MIB
    assert event.details["time_to_throttle_s"] == 300.0


def test_what_comes_after_the_limit_is_not_told() -> None:
    """An ancestor's `memory.high` that is never reached is nobody's concern."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=1.0)
    look(bench, high(high_mib=900))
    assert bench.service.assessment is not None
    assert facts.throttle_words(bench.service.assessment) == ""


def test_without_a_limit_the_leak_tells_it() -> None:
    """The host is far away, so nothing else would."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=0.1)
    look(bench, high(limited=False), limited=False)
    told = look(bench, high(limited=False), limited=False)
    (event,) = [one for one in told if one.kind is EventKind.LEAK_SUSPECTED]
    assert event.message == "worker scripted; is throttled from 400 MiB (memory.high) in about 50m"


def test_a_cgroup_without_a_limit_has_a_trend_of_its_own() -> None:
    """Others in it fill it too; where it has a limit, the series there is enough."""
    alone = Bench(shared=ScriptedDetector(trend_of(mib_per_s=2.0)))
    look(alone, high(), limited=False)
    assert (set(alone.state.domains), set(alone.state.quiet)) == ({facts.HOST}, {KEY})
    assert foreseen(alone)[0] == 150.0
    beside = Bench(shared=ScriptedDetector(trend_of(mib_per_s=3.0)))
    look(beside, high())
    assert beside.state.quiet[KEY].trend.slope_bytes_per_s is None
    assert foreseen(beside)[0] == 100.0


def test_the_first_of_several_counts() -> None:
    """By time, and one that is passed before all others."""
    groups = {"v2:/a": high(200), "v2:/": high(150), "v2:/c": high(900)}
    sample = replace(sample_of(NOW, 100), throttles=(*groups, "v2:/unread"))
    around = facts.Surroundings(throttles=groups)
    found = facts.assess(service_of(sample), trend_of(), around, guarded(), NOW).throttle
    assert found is not None
    assert found.foreseen.room.limit_bytes == 150 * MIB
    passed = replace(around, throttled=frozenset({"v2:/c"}))
    found = facts.assess(service_of(sample), trend_of(), passed, guarded(), NOW).throttle
    assert found is not None
    assert (found.now, found.foreseen.room.limit_bytes) == (True, 900 * MIB)


def test_a_cgroup_that_nobody_is_in_any_more_is_forgotten() -> None:
    """As any domain."""
    bench = Bench()
    look(bench, high())
    bench.see(100, after_s=FORGET_S + 1)
    assert bench.state.quiet == {}


# ---- that it is so


def test_who_is_slowed_down_is_not_stable() -> None:
    """That it does not grow there says nothing; a verdict of growth stays."""
    bench = Bench()
    bench.own.trend = trend_of(Verdict.STABLE, None)
    throttle(bench)
    seen = trend_seen(bench)
    assert seen.verdict is Verdict.UNKNOWN
    assert seen.reason == (
        "is throttled at memory.high (400 MiB) of cgroup /a: "
        "that it does not grow there says nothing"
    )
    bench.own.trend = trend_of(Verdict.LEAKING)
    throttle(bench)
    assert trend_seen(bench) == trend_of(Verdict.LEAKING)


@pytest.mark.parametrize(
    ("usage_mib", "hits"),
    [(399.0, (5, 5)), (380.0, (5, 6)), (399.0, (None, None))],
)
def test_a_cgroup_that_is_full_is_not_slowed_down_yet(
    usage_mib: float, hits: tuple[int | None, int | None]
) -> None:
    """Nobody asks for more; or only file pages are dropped; or the kernel does not count."""
    bench = Bench()
    bench.own.trend = trend_of(Verdict.STABLE, None)
    for count in hits:
        look(bench, high(usage_mib=usage_mib, hits=count))
    assert trend_seen(bench).verdict is Verdict.STABLE


def test_people_are_told_once_and_of_its_end() -> None:
    """After some seconds; it is over when it was not seen for long, so that it does not flap."""
    bench = Bench()
    bench.own.trend = trend_of(Verdict.STABLE, None)
    told = throttle(bench, times=int(LEAST_S) + 1)
    assert [event.kind for event in told] == []
    told = throttle(bench)
    assert [event.kind for event in told] == [EventKind.SERVICE_THROTTLED]
    assert told[0].message == (
        "worker is throttled: cgroup /a is at memory.high (400 MiB), where the kernel slows it "
        "down and kills nobody"
    )
    assert look(bench, high(), after_s=THROTTLED_S) == []
    (over,) = look(bench, high(), after_s=CALM_S)
    assert over.kind is EventKind.SERVICE_UNTHROTTLED


def test_what_need_not_end_is_said() -> None:
    """Without a limit no kill and no restart ever ends it."""
    bench = Bench()
    told = [e for e in throttle(bench, limited=False) if e.kind is EventKind.SERVICE_THROTTLED]
    assert told[0].message.endswith("; it has no limit, so this need not end")


def test_neither_leak_nor_exhaustion_is_over_while_it_is_slowed_down() -> None:
    """They only do not show."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=1.0)
    look(bench, high())
    look(bench, high(), after_s=5.0)
    assert set(bench.service.record.problems) == {"leak", "exhaustion"}
    bench.own.trend = trend_of(Verdict.STABLE, None)
    for hits in range(40):
        look(bench, high(usage_mib=399, hits=hits), after_s=CALM_S / 20)
    assert set(bench.service.record.problems) == {"leak", "exhaustion", "throttled"}


def test_a_new_run_is_not_slowed_down() -> None:
    """The restart that others made has ended it."""
    bench = Bench()
    throttle(bench)
    bench.see(10, pid=101)
    assert bench.service.throttled_since is None


def test_the_status_shows_it() -> None:
    """Where, how much is left, and that it is now."""
    bench = Bench()
    bench.own.trend = trend_of(mib_per_s=1.0)
    throttle(bench)
    rules = Rules(services={NAME: bench.rules}, detectors={})
    (shown,) = project(bench.state, rules, bench.clock.now(), {})
    assert shown.throttle is not None
    assert (shown.throttle.path, shown.throttle.high_bytes) == ("/a", 400 * MIB)
    assert (shown.throttle.headroom_bytes, shown.throttle.now) == (MIB, True)
    assert shown.throttle.time_to_throttle is not None
