"""Whatever happens while time is bought: what is bent is written down, and is put back in the end.

Random lives of one leaking service in a cgroup: acts that are lost, fail, or are done although
nobody hears of it; crashes of the guard between commit and act, after which only the durable record
is known; new runs, leaks that end, a setting that goes and comes.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings, strategies as st

from leakguard.core.calendar import Calendar, Span
from leakguard.core.decision import Action, BendLimits, LookUpLimits, RestartService
from leakguard.core.engine import Inputs, Rules, step
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.limits import MemoryLimits
from leakguard.core.policy import (
    BuyTimeRule,
    ForecastRule,
    Policy,
    RestartRules,
    ServiceRules,
    WindowRule,
)
from leakguard.core.sample import DomainSample, HostSample, Snapshot
from leakguard.core.state import ServiceRecord, State
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.store.loading import LEAP
from leakguard.testing.bench import CGROUP, NAME, ScriptedDetector, guarded, sample_of, trend_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

LIMIT = 512 * MIB
OLD = MemoryLimits(max_bytes=LIMIT)
LEAK = trend_of(Verdict.LEAKING, 1 / 60)


def rules_of(*, buys: bool) -> ServiceRules:
    """Make rules that act ten minutes ahead, with a window and what to do until it comes."""
    windows = (WindowRule(cron="0 3 * * *", length_s=3600.0),)
    rule = BuyTimeRule(raise_by=0.5, throttle_below=0.05) if buys else None
    return guarded(
        Policy(forecast=ForecastRule(lead_s=600.0), windows=windows),
        restart=RestartRules(driver="fake", buy_time=rule),
    )


@dataclass
class World:
    """A leaking service in a cgroup, an executor and a store round the engine."""

    clock: FakeClock = field(default_factory=FakeClock)
    detector: ScriptedDetector = field(default_factory=lambda: ScriptedDetector(trend=LEAK))
    state: State = field(default_factory=lambda: State(instance="prop"))
    rules: ServiceRules = field(default_factory=lambda: rules_of(buys=True))
    limits: MemoryLimits = OLD
    mib: float = 480.0
    pid: int = 100
    disk: dict[str, ServiceRecord] = field(default_factory=dict)
    serial: int = 0
    queue: list[Action] = field(default_factory=list)
    mail: list[Outcome] = field(default_factory=list)

    def look(self, mib: float, after_s: float) -> None:
        """Sample the service, and commit what follows."""
        now, self.mib = self.clock.advance(after_s), mib
        most = self.limits.max_bytes or 0
        group = DomainSample(
            path="/worker", version=2, limit_bytes=most, usage_bytes=int(mib * MIB)
        )
        sample = sample_of(now, mib, run=run_of(self.pid), domains=(CGROUP,))
        host = HostSample(total_bytes=16_000 * MIB, available_bytes=8_000 * MIB)
        mail, self.mail = tuple(self.mail), []
        begin = now.wall_s + 1800.0
        window = Span(begin_wall_s=begin, end_wall_s=begin + 3600.0)
        snapshot = Snapshot(at=now, readings=(sample,), domains={CGROUP: group}, host=host)
        calendars = {NAME: Calendar(windows=(window,))}
        inputs = Inputs(now=now, snapshot=snapshot, outcomes=mail, calendars=calendars)
        rules = Rules(services={NAME: self.rules}, detectors={NAME: self.detector})
        made = step(self.state, inputs, rules)
        self.state, self.serial = made.state, made.state.serial
        self.disk |= {record.name: record for record in made.records}
        self.queue += made.actions

    def act(self, how: str) -> None:
        """Carry the oldest action out: well, in vain, or so that nobody hears of it."""
        if not self.queue:
            return
        action = self.queue.pop(0)
        if how == "lost":
            return
        if isinstance(action, BendLimits) and how in ("done", "unheard"):
            self.limits = action.limits
        if isinstance(action, RestartService) and how in ("done", "unheard"):
            self.reborn()
        if how == "unheard":
            return
        looked = self.limits if isinstance(action, LookUpLimits) else None
        kind = OutcomeKind.DONE if how == "done" else OutcomeKind.FAILED
        self.mail.append(Outcome(action_id=action.id, service=NAME, kind=kind, limits=looked))

    def reborn(self) -> None:
        """Let another run follow."""
        self.pid, self.mib = self.pid + 1, 50.0

    def crash(self) -> None:
        """End the guard; the next one knows what was committed."""
        self.queue.clear()
        self.mail.clear()
        saved = Saved(instance="prop", serial=self.serial + LEAP, records=dict(self.disk))
        self.state = restore(saved)

    def check(self) -> None:
        """What is bent now is written down, with what is to be put back."""
        if self.limits != OLD:
            bent = self.disk[NAME].bent
            assert bent is not None
            assert bent.before == OLD


OPERATIONS = st.one_of(
    st.tuples(
        st.just("look"), st.sampled_from([100.0, 450.0, 507.0, 700.0]), st.sampled_from([0.1, 5.0])
    ),
    st.tuples(st.just("look"), st.just(507.0), st.just(1.0)),
    st.tuples(st.just("act"), st.sampled_from(["done", "done", "failed", "lost", "unheard"])),
    st.tuples(st.just("act"), st.just("done")),
    st.tuples(st.sampled_from(["crash", "reborn"])),
    st.tuples(st.just("leak"), st.booleans()),
    st.tuples(st.just("buys"), st.booleans()),
)


def happen(world: World, operation: tuple[object, ...]) -> None:
    """Let one thing happen."""
    match operation:
        case ("look", float(mib), float(after_s)):
            world.look(mib, after_s)
        case ("act", str(how)):
            world.act(how)
        case ("leak", bool(leaks)):
            world.detector.trend = LEAK if leaks else trend_of(Verdict.STABLE, None)
        case ("buys", bool(buys)):
            world.rules = rules_of(buys=buys)
        case ("crash",):
            world.crash()
        case _:
            world.reborn()


@settings(max_examples=200, deadline=None)
@given(life=st.lists(OPERATIONS, min_size=5, max_size=50))
def test_what_is_bent_is_written_down_and_put_back(life: list[tuple[object, ...]]) -> None:
    """At every moment, and once the run that needed it is gone."""
    world = World()
    for operation in life:
        happen(world, operation)
        world.check()
    world.detector.trend = trend_of(Verdict.STABLE, None)
    world.reborn()
    for _ in range(12):
        world.look(50.0, 700.0)
        while world.queue:
            world.act("done")
    world.look(50.0, 700.0)
    assert world.limits == OLD
    assert world.disk[NAME].bent is None
