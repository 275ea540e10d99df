"""Forecasts of a service are held to its samples, kills and restarts; its band learns."""

from dataclasses import dataclass, replace

from leakguard.core import learning
from leakguard.core.alerts import AlertRules
from leakguard.core.calibration import UNPROMISED, Came, Outcomes, Promise, Promises
from leakguard.core.engine import Step
from leakguard.core.forecast import EARLY, PRIOR
from leakguard.core.instant import Instant
from leakguard.core.kill_book import SeenKill
from leakguard.core.kills import Killer, NamedKill
from leakguard.core.series import Series
from leakguard.core.state import State
from leakguard.core.tick import Tick
from leakguard.core.trend import Growth, Trend, Verdict
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import NAME, Bench, ScriptedDetector, guarded, service_of
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
SAID_MIB_PER_S = 0.1
LIMIT_MIB = 400.0
WAITING = Promise(
    made_boot_s=NOW.boot_s - 1000.0, from_bytes=100.0, level_bytes=200.0, median_s=1000.0,
    sigma=0.2, early_s=700.0, late_s=1320.0,
)  # fmt: skip


@dataclass(slots=True)
class Steady(ScriptedDetector):
    """Says of everything that it leaks at one pace."""

    def fit(self, series: Series, now: Instant, room_bytes: float | None = None) -> Trend:
        """Give a line through the newest sample."""
        at_s, value = series.last() or (0.0, 0.0)
        line = Growth(
            at_boot_s=at_s, window_s=2820.0, bucket_s=60.0, points=48, level_bytes=value,
            slope_bytes_per_s=SAID_MIB_PER_S * MIB, z=100.0, noise_bytes=0.1 * MIB,
            rise_bytes=282.0 * MIB,
        )  # fmt: skip
        return Trend(
            verdict=Verdict.LEAKING, reason="scripted", value_bytes=value, at_boot_s=at_s,
            slope_bytes_per_s=SAID_MIB_PER_S * MIB, growths=(line,),
        )  # fmt: skip


def bench() -> Bench:
    """Make a bench with a limit that nothing enforces, and nothing that restarts."""
    return Bench(rules=guarded(limit=Amount(size_bytes=int(LIMIT_MIB * MIB))), own=Steady())


def leak(made: Bench, mib_per_s: float, *, pid: int = 100, to_mib: float = 390.0) -> list[Step]:
    """Let the memory grow from 100 MiB on."""
    steps, mib = [], 100.0
    while mib < to_mib:
        steps.append(made.see(mib, after_s=5.0, pid=pid))
        mib += 5.0 * mib_per_s
    return steps


def test_a_pace_that_was_foreseen_comes_inside() -> None:
    """Every level of the way, and in the daemon's own record too."""
    made = bench()
    leak(made, SAID_MIB_PER_S)
    found = made.service.record.outcomes
    assert len(found) >= 4
    assert found.count(Came.INSIDE) == len(found)
    assert made.state.own.outcomes == found


def test_a_leak_that_is_always_faster_makes_p05_earlier() -> None:
    """Already within its first life, without a kill."""
    made = bench()
    leak(made, 2 * SAID_MIB_PER_S)
    facts = made.service.assessment
    assert facts is not None
    assert made.service.record.outcomes.count(Came.EARLY) >= 4
    assert facts.edges.early > EARLY
    assert facts.nearest is not None
    assert facts.nearest.early_sigma > leaking_with_prior(made)


def leaking_with_prior(made: Bench) -> float:
    """Give the early deviation of the same forecast, as if nothing had been learned."""
    facts = made.service.assessment
    assert facts is not None
    assert facts.nearest is not None
    return facts.nearest.early_sigma / facts.edges.early * EARLY


def test_an_outcome_is_written_with_the_tick_that_brought_it() -> None:
    """The service's record and the daemon's own."""
    made = bench()
    changed = [
        {record.name for record in step.records}
        for step in leak(made, SAID_MIB_PER_S)
        if any(record.outcomes.scores for record in step.records)
    ]
    assert changed[0] == {NAME, ""}


def test_what_a_service_knows_helps_one_that_knows_nothing() -> None:
    """The outcomes of all services move its p05 outwards, never inwards."""
    made = bench()
    early = Outcomes(scores=(-4.0,) * 8, came=(Came.EARLY,) * 8)
    made.state = replace(made.state, own=replace(made.state.own, outcomes=early))
    made.see(100.0)
    facts = made.service.assessment
    assert facts is not None
    assert facts.edges.early > PRIOR.early


def test_a_restart_ends_what_was_foreseen() -> None:
    """It says nothing of levels that were still in time; the next life begins with none of them."""
    made = bench()
    made.see(100.0)
    assert len(made.service.promises.open) == 1
    made.see(50.0, pid=101)
    assert (made.service.record.outcomes.scores, len(made.service.promises.open)) == ((), 1)
    assert made.service.promises.open[0].from_bytes == 50 * MIB


def test_a_restart_tells_of_levels_that_are_late() -> None:
    """They were not reached when they should have been."""
    made = bench()
    made.see(100.0)
    made.see(100.0, after_s=2400.0)
    made.see(50.0, after_s=1.0, pid=101)
    assert made.service.record.outcomes.came == (Came.LATE,)


def killed(killer: Killer = Killer.KERNEL, *, service: str = NAME) -> Tick:
    """Tell of a kill in a service that has a forecast open."""
    state = service_of(promises=Promises(open=(WAITING,), leaked=True))
    tick = Tick.of(State(instance="t", services={NAME: state}), NOW, AlertRules(), {}, durable=True)
    kill = NamedKill(pid=7, name="a", boot_s=NOW.boot_s, killer=killer)
    learning.hear(tick, [SeenKill(at=NOW, key="v2:/web", kill=kill, service=service)])
    return tick


def test_a_kill_reached_every_level() -> None:
    """The memory was full."""
    tick = killed()
    assert tick.service(NAME).record.outcomes.came == (Came.INSIDE,)
    assert tick.service(NAME).promises == UNPROMISED
    assert tick.changed == {NAME, ""}


def test_other_killers_and_other_victims_tell_nothing() -> None:
    """A daemon that kills early did not wait for the limit."""
    for tick in (killed(Killer.EARLYOOM), killed(service="other")):
        assert tick.service(NAME).record.outcomes.scores == ()
        assert tick.service(NAME).promises.open == (WAITING,)
