"""When the daemon looks at whom the kernel would kill, and what becomes of a look that fails."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from leakguard.core.assessment import Assessment
from leakguard.core.badness import Outcome
from leakguard.core.engine import Step
from leakguard.core.errors import ReadingError
from leakguard.core.facts import HOST
from leakguard.core.forecast import Forecast, LimitKind, Room
from leakguard.core.foretold import Foretold
from leakguard.core.instant import Instant
from leakguard.core.state import State
from leakguard.core.trend import Trend, Verdict
from leakguard.core.units import MIB
from leakguard.core.watch import FORESEE_S
from leakguard.linux.cgroupfs import CgroupDir
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.victim_watch import LATEST_S, SOONEST_S, Question, Tree, VictimWatch
from leakguard.testing.bench import NAME, sample_of, service_of, trend_of
from leakguard.testing.clock import FakeClock

GROUP = CgroupDir(version=2, path="/web", directory="/none", top="/none", complete=True)


@dataclass
class Looks:
    """A watch whose looks are made by us; each is waited for."""

    clock: FakeClock = field(default_factory=FakeClock)
    asked: list[Question] = field(default_factory=list)
    trees: list[Mapping[str, Tree]] = field(default_factory=list)
    heard: list[Foretold] = field(default_factory=list)
    trouble: Exception | None = None
    trend: Trend = field(default_factory=lambda: trend_of(mib_per_s=2.0, error=0.5))

    def __post_init__(self) -> None:
        self.watch = VictimWatch(ProcFs(), self.clock, self.heard.append, lambda _proc: self.look)

    def look(self, question: Question, trees: Mapping[str, Tree], now: Instant) -> Foretold:
        """Answer."""
        self.asked.append(question)
        self.trees.append(trees)
        if self.trouble is not None:
            raise self.trouble
        return Foretold(domain=question.key, at=now, outcome=Outcome.KILL)

    def after(self, *forecasts: Forecast, wait_s: float = 0.0) -> list[str]:
        """Let time pass, tick, and give the domains that were looked at because of that."""
        now, before = self.clock.advance(wait_s), len(self.asked)
        found = Assessment(at=now, trend=self.trend, forecasts=forecasts)
        service = service_of(sample_of(now, 100), assessment=found)
        made = Step(at=now, state=State(instance="t", services={NAME: service}))
        self.watch.after(made, lambda: frozenset({GROUP}), lambda _service: (41, 42))
        for thread in [t for t in threading.enumerate() if t.name == "victims"]:
            thread.join(10.0)
        return [question.key for question in self.asked[before:]]


def ending(median_s: float | None, *, key: str = GROUP.key) -> Forecast:
    """Make a forecast of a domain."""
    kind = LimitKind.HOST if key == HOST else LimitKind.CGROUP
    room = Room(kind=kind, limit_bytes=MIB, headroom_bytes=MIB, path="/web", domain=key)
    return Forecast(
        room=room, slope_bytes_per_s=1.0, median_s=median_s, early_sigma=0.001, late_sigma=0.001
    )


@pytest.mark.parametrize(
    ("forecasts", "looked"),
    [
        ((), []),
        ((ending(None),), []),
        ((ending(FORESEE_S * 1.1),), []),
        ((ending(60.0),), [GROUP.key]),
        ((ending(60.0, key=HOST),), [HOST]),
        ((ending(60.0, key=""),), []),
        ((ending(60.0, key="v2:/hidden"),), []),
        ((ending(90.0), ending(60.0, key=HOST), ending(60.0)), [GROUP.key, HOST]),
    ],
)
def test_only_what_runs_out_is_looked_at(
    forecasts: tuple[Forecast, ...], looked: list[str]
) -> None:
    """Once each; a cgroup that cannot be seen cannot be looked at."""
    looks = Looks()
    assert sorted(looks.after(*forecasts)) == sorted(looked)
    assert sorted(one.domain for one in looks.heard) == sorted(looked)


@pytest.mark.parametrize(
    ("median_s", "pause_s"), [(10.0, SOONEST_S), (1000.0, 50.0), (FORESEE_S, LATEST_S)]
)
def test_a_domain_is_looked_at_the_oftener_the_nearer_its_end(
    median_s: float, pause_s: float
) -> None:
    """A look at a whole host is not free."""
    looks, soon = Looks(), ending(0.99 * median_s)
    looks.after(soon)
    assert looks.after(soon, wait_s=0.9 * pause_s) == []
    assert looks.after(soon, wait_s=0.2 * pause_s) == [GROUP.key]


@pytest.mark.parametrize(
    ("verdict", "mib_per_s", "median_s", "looked"),
    [
        (Verdict.WARMING_UP, 2.0, 200.0, [GROUP.key]),
        (Verdict.WARMING_UP, 2.0, 900.0, []),
        (Verdict.LEAKING, 2.0, 900.0, [GROUP.key]),
        (Verdict.LEAKING, None, 200.0, []),
    ],
)
def test_only_what_is_believed_is_looked_at(
    verdict: Verdict, mib_per_s: float | None, median_s: float, looked: list[str]
) -> None:
    """A young series, and a domain that others fill, are no reason to read every process."""
    looks = Looks()
    looks.trend = trend_of(verdict, mib_per_s)
    assert looks.after(ending(median_s)) == looked


def test_a_look_knows_the_trees_and_their_growth() -> None:
    """The slope of a service goes to one of its processes."""
    looks = Looks()
    looks.after(ending(60.0))
    assert looks.trees == [{NAME: Tree(pids=(41, 42), slope=2.0 * MIB, error=0.5 * MIB)}]
    (asked,) = looks.asked
    assert (asked.cgroup, asked.median_s) == (GROUP, 60.0)


@pytest.mark.parametrize("trouble", [ReadingError("no right"), ValueError("odd")])
def test_a_look_that_fails_is_said_once_and_made_again(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The guard goes on without it."""
    looks, soon = Looks(trouble=trouble), ending(10.0)
    first, again = looks.after(soon), looks.after(soon, wait_s=SOONEST_S)
    said = [r for r in caplog.records if r.name == "leakguard.victims"]
    assert (first, again, looks.heard) == ([GROUP.key], [GROUP.key], [])
    assert len(said) == (1 if isinstance(trouble, ReadingError) else 2)
    looks.trouble = None
    looks.after(soon, wait_s=SOONEST_S)
    assert [one.domain for one in looks.heard] == [GROUP.key]


def test_a_service_without_facts_is_passed_over() -> None:
    """It was not read yet, or is gone."""
    looks = Looks()
    service = replace(service_of(), assessment=None)
    made = Step(at=looks.clock.now(), state=State(instance="t", services={NAME: service}))
    looks.watch.after(made, frozenset, lambda _service: ())
    assert looks.asked == []
