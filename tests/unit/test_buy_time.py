"""Time is bought when a window comes within it, and what was bent is always put back."""

from dataclasses import dataclass, field, replace

import pytest

from leakguard.core.calendar import Calendar, Span
from leakguard.core.codec import from_plain, to_plain
from leakguard.core.decision import BendLimits, LookUpLimits, RestartService
from leakguard.core.engine import Step
from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import Outcome, OutcomeKind, PauseRequest
from leakguard.core.limits import BentStage, MemoryLimits
from leakguard.core.policy import (
    BuyTimeRule,
    ForecastRule,
    Mode,
    Policy,
    RestartRules,
    ServiceRules,
    WindowRule,
)
from leakguard.core.sample import DomainSample, HostSample
from leakguard.core.state import ServiceRecord
from leakguard.core.trend import UNKNOWN, Verdict
from leakguard.core.units import MIB
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.testing.bench import CGROUP, NAME, Bench, guarded, sample_of, trend_of
from leakguard.testing.ticks import run_of

HOUR_S = 3600.0
WINDOW = WindowRule(cron="0 3 * * *", length_s=HOUR_S)
PARENT = "v2:/"


def rules_of(buy: BuyTimeRule | None, mode: Mode = Mode.ACT) -> ServiceRules:
    """Make rules that act ten minutes ahead and have a window."""
    return guarded(
        Policy(forecast=ForecastRule(lead_s=600.0), windows=(WINDOW,)),
        mode=mode,
        restart=RestartRules(driver="fake", buy_time=buy),
    )


RAISE = BuyTimeRule(raise_by=0.5)


@dataclass
class Lab:
    """A service that grows by 1 MiB a minute in a cgroup of 512 MiB, and a window in one hour."""

    rules: ServiceRules = field(default_factory=lambda: rules_of(RAISE))
    window_s: float | None = HOUR_S
    limit_mib: float = 512.0
    parent_mib: float | None = None
    host_mib: float = 8000.0
    bench: Bench = field(init=False)

    def __post_init__(self) -> None:
        """Begin below the limit, with the calendar known."""
        self.bench = Bench(rules=self.rules)
        self.bench.own.trend = trend_of(Verdict.LEAKING, 1 / 60)
        now = self.bench.clock.now().wall_s
        begin = now + self.window_s if self.window_s is not None else None
        spans = (
            (Span(begin_wall_s=begin, end_wall_s=begin + HOUR_S, words="03:00-04:00"),)
            if begin is not None
            else ()
        )
        self.bench.step(calendar=Calendar(windows=spans))

    def see(
        self,
        mib: float,
        *outcomes: Outcome,
        after_s: float = 1.0,
        pid: int = 100,
        age_s: float = HOUR_S,
        requests: tuple[PauseRequest, ...] = (),
    ) -> Step:
        """Let time pass and sample the service, its cgroup and the host."""
        now = self.bench.clock.advance(after_s)
        found = {CGROUP: self.group("/worker", self.limit_mib, mib)}
        if self.parent_mib is not None:
            found[PARENT] = self.group("/", self.parent_mib, mib)
        return self.bench.step(
            sample_of(now, mib, run=run_of(pid), age_s=age_s, domains=tuple(found)),
            domains=found,
            host=HostSample(
                total_bytes=16_000 * MIB,
                available_bytes=int(self.host_mib * MIB),
                swap_total_bytes=0,
                swap_free_bytes=0,
            ),
            outcomes=outcomes,
            requests=requests,
        )

    @staticmethod
    def group(path: str, limit_mib: float, mib: float) -> DomainSample:
        """Make a limited cgroup."""
        return DomainSample(
            path=path, version=2, limit_bytes=int(limit_mib * MIB), usage_bytes=int(mib * MIB)
        )

    def answer(self, kind: OutcomeKind = OutcomeKind.DONE, **more: object) -> Outcome:
        """Make what comes back of the step under way."""
        bent = self.bench.service.record.bent
        assert bent is not None
        outcome = Outcome(action_id=bent.action_id, service=NAME, kind=kind)
        return replace(outcome, **more)  # type: ignore[arg-type]  # the outcome's own fields

    def buy(self) -> Step:
        """Let the limit come near, be looked up and be raised to 768 MiB."""
        self.see(507)
        self.see(507, self.looked_up())
        self.limit_mib = 768.0
        return self.see(507, self.answer())

    def looked_up(self) -> Outcome:
        """Make the answer to the first step."""
        return self.answer(limits=MemoryLimits(max_bytes=512 * MIB), place="/cg/worker")

    def stage(self) -> str:
        """Give how far it has come."""
        bent = self.bench.service.record.bent
        return bent.stage.value if bent is not None else ""

    def told(self, kind: EventKind) -> list[Event]:
        """Give the events of a kind."""
        return [event for event in self.bench.events if event.kind is kind]


def refused(lab: Lab) -> str:
    """Give why no time was bought, of a lab whose service was restarted at once."""
    made = lab.see(507)
    assert [type(action) for action in made.actions] == [RestartService]
    return " ".join(event.message for event in lab.told(EventKind.TIME_NOT_BOUGHT))


# ---- bought


def test_the_limits_in_force_are_asked_for_first() -> None:
    """Nothing is changed that is not written down; the restart waits."""
    lab = Lab()
    made = lab.see(507)
    assert [type(action) for action in made.actions] == [LookUpLimits]
    assert lab.stage() == "looking"
    assert "hold (forecast)" in lab.bench.service.last_decision


def test_then_they_are_written_down_and_changed() -> None:
    """The record of the tick that orders it has what is to be put back."""
    lab = Lab()
    lab.see(507)
    made = lab.see(507, lab.looked_up())
    (action,) = made.actions
    assert isinstance(action, BendLimits)
    assert (action.limits, action.place, action.restores) == (
        MemoryLimits(max_bytes=768 * MIB),
        "/cg/worker",
        False,
    )
    (record,) = made.records
    assert record.bent is not None
    assert (record.bent.stage, record.bent.before) == (
        BentStage.BENDING,
        MemoryLimits(max_bytes=512 * MIB),
    )


def test_what_was_bought_is_told() -> None:
    """With both limits and the window, until it is undone."""
    lab = Lab()
    made = lab.buy()
    (event,) = lab.told(EventKind.LIMITS_RAISED)
    assert event.message == (
        "worker: its limit is raised from 512 MiB to 768 MiB, to last until its window 03:00-04:00"
    )
    assert [a.key.rpartition("/")[2] for a in made.alerts if a.kind is event.kind] == ["limits"]


def test_the_window_is_reached_and_the_limit_comes_back() -> None:
    """One restart, in the window; the new run has the old limit."""
    lab = Lab()
    lab.buy()
    assert [a for m in range(60) for a in lab.see(507 + m, after_s=60.0).actions] != []
    (restart,) = lab.told(EventKind.RESTART_DECIDED)
    assert "this window (03:00-04:00)" in restart.message
    lab.see(50, pid=101, age_s=1.0)
    made = lab.see(50, pid=101, age_s=2.0)
    back = [a for a in made.actions if isinstance(a, BendLimits)]
    if not back:
        back = [a for a in lab.see(50, pid=101, age_s=3.0).actions if isinstance(a, BendLimits)]
    lab.limit_mib = 512.0
    lab.see(50, lab.answer(), pid=101, age_s=4.0)
    assert lab.stage() == ""
    assert lab.told(EventKind.LIMITS_RESTORED)[0].message == (
        "worker has its old limits again: 512 MiB"
    )


# ---- not bought


@pytest.mark.parametrize(
    ("lab", "why"),
    [
        (Lab(window_s=8 * HOUR_S), "768 MiB would not last for 8h 9m, until its window"),
        (Lab(parent_mib=600), "the limit of cgroup /, above it, is 600 MiB"),
        (Lab(host_mib=900), "the host has only 900 MiB left for 256 MiB more"),
        (
            Lab(rules=rules_of(BuyTimeRule(at_most_bytes=516 * MIB))),
            "would not last for 1h 9m",
        ),
    ],
    ids=["too far", "ancestor", "host", "hardly any"],
)
def test_what_cannot_be_bought_is_said_and_the_restart_goes_on(lab: Lab, why: str) -> None:
    """No window in time, or nothing there to raise it from."""
    assert why in refused(lab)


@pytest.mark.parametrize(
    "lab",
    [Lab(rules=rules_of(None)), Lab(window_s=None)],
    ids=["not configured", "nothing to wait for"],
)
def test_without_setting_or_window_nothing_is_said(lab: Lab) -> None:
    """It restarts as ever."""
    assert refused(lab) == ""


def test_in_observe_mode_nothing_is_bent() -> None:
    """Nor is it in a pause. What would have been is told once a run, in place of the restart."""
    lab = Lab(rules=rules_of(RAISE, Mode.OBSERVE))
    made = [lab.see(507), lab.see(507)]
    assert [one.actions for one in made] == [(), ()]
    (event,) = lab.told(EventKind.TIME_NOT_BOUGHT)
    assert event.message == (
        "would have bought time for worker: its limit is raised from 512 MiB to 768 MiB, "
        "to last until its window 03:00-04:00 (mode is observe)"
    )
    assert lab.told(EventKind.RESTART_VETOED) == []
    lab = Lab()
    lab.see(400, requests=(PauseRequest(id="p", service=NAME),))
    assert lab.see(507).actions == ()


@pytest.mark.parametrize("step", [0, 1], ids=["looking", "bending"])
def test_a_step_that_fails_lets_the_restart_go_on(step: int) -> None:
    """At once, with the reason; what may have been changed is put back."""
    lab = Lab()
    lab.see(507)
    if step:
        lab.see(507, lab.looked_up())
    made = lab.see(507, lab.answer(OutcomeKind.FAILED, message="permission denied"))
    kinds = [type(action) for action in made.actions]
    assert kinds == ([BendLimits, RestartService] if step else [RestartService])
    assert "permission denied" in lab.told(EventKind.TIME_NOT_BOUGHT)[0].message


@pytest.mark.parametrize("step", [0, 1], ids=["looking", "bending"])
def test_no_answer_lets_the_restart_go_on(step: int) -> None:
    """It waits three seconds, not longer."""
    lab = Lab()
    lab.see(507)
    if step:
        lab.see(507, lab.looked_up())
    kinds = [type(a) for _ in range(5) for a in lab.see(508).actions]
    assert RestartService in kinds


def test_a_limit_that_is_not_its_own_is_not_bent() -> None:
    """Whoever manages it knows no limit: it is one above."""
    lab = Lab()
    lab.see(507)
    lab.see(507, lab.answer(limits=MemoryLimits()))
    assert "is not the service's own" in lab.told(EventKind.TIME_NOT_BOUGHT)[0].message


def test_one_run_is_bought_time_for_once() -> None:
    """When that does not last, it is restarted."""
    lab = Lab()
    lab.buy()
    made = lab.see(764)
    assert [type(action) for action in made.actions] == [RestartService]


# ---- throttled


def test_a_throttled_service_waits_while_that_holds_it() -> None:
    """`memory.high` just below the limit; half of the room above it used up is no hold."""
    lab = Lab(rules=rules_of(BuyTimeRule(throttle_below=0.05)))
    lab.see(480)
    made = lab.see(503)
    assert [type(action) for action in made.actions] == [LookUpLimits]
    (action,) = lab.see(503, lab.looked_up()).actions
    assert isinstance(action, BendLimits)
    high = int(0.95 * 512 * MIB)
    assert action.limits == MemoryLimits(high_bytes=high, max_bytes=512 * MIB)
    lab.see(487, lab.answer())
    assert (
        "it is throttled from 486 MiB on (memory.high)"
        in lab.told(EventKind.LIMITS_RAISED)[0].message
    )
    assert [a for _ in range(10) for a in lab.see(495).actions] == []
    assert [type(action) for action in lab.see(503).actions] == [RestartService]


# ---- put back


def over(lab: Lab, how: str) -> None:
    """Let what was bought be of no use any more."""
    match how:
        case "run":
            lab.see(50, pid=101, age_s=1.0)
        case "leak":
            lab.bench.own.trend = trend_of(Verdict.STABLE, None)
            lab.see(400)
        case "setting":
            lab.bench.rules = rules_of(None)
            lab.bench.own.trend = UNKNOWN
            lab.see(400)


@pytest.mark.parametrize("how", ["run", "leak", "setting"])
def test_it_is_put_back_when_it_is_of_no_use(how: str) -> None:
    """The run is gone, the leak is over, or nobody wants it any more."""
    lab = Lab()
    lab.buy()
    over(lab, how)
    assert lab.stage() == "restoring"


def test_it_is_not_put_back_below_what_is_in_use() -> None:
    """That would kill; it waits until it fits."""
    lab = Lab()
    lab.buy()
    lab.bench.own.trend = trend_of(Verdict.STABLE, None)
    lab.see(470)
    assert lab.stage() == "bent"
    lab.see(460)
    assert lab.stage() == "restoring"


def test_what_cannot_be_put_back_is_tried_again_and_told_once() -> None:
    """Later and later; people hear of it, and of its end."""
    lab = Lab()
    lab.buy()
    over(lab, "run")
    lab.see(50, lab.answer(OutcomeKind.FAILED, message="read-only"), pid=101)
    for wait_s in (30.0, 120.0, 600.0, 600.0):
        assert lab.see(50, pid=101, after_s=wait_s - 2.0).actions == ()
        made = lab.see(50, pid=101, after_s=2.0)
        assert [type(action) for action in made.actions] == [BendLimits]
        lab.see(50, lab.answer(OutcomeKind.FAILED, message="read-only"), pid=101, after_s=0.1)
    lab.see(50, pid=101, after_s=600.0)
    assert len(lab.told(EventKind.LIMITS_NOT_RESTORED)) == 1
    lab.see(50, lab.answer(), pid=101)
    assert len(lab.told(EventKind.LIMITS_RESTORED)) == 1


@pytest.mark.parametrize("at", ["bending", "bent", "restoring"])
def test_a_crash_of_the_guard_leaves_nothing_bent(at: str) -> None:
    """Whatever may have been changed is put back by the next daemon, when its run is gone."""
    lab = Lab()
    if at == "bending":
        lab.see(507)
        lab.see(507, lab.looked_up())
    else:
        lab.buy()
    if at == "restoring":
        over(lab, "run")
    assert lab.stage() == at
    record = from_plain(ServiceRecord, to_plain(lab.bench.service.record))
    lab.bench.state = restore(Saved(instance="b", serial=999, records={NAME: record}))
    orders = [a for _ in range(4) for a in lab.see(50, pid=101, after_s=5.0, age_s=30.0).actions]
    last = orders[-1]
    assert isinstance(last, BendLimits)
    assert (last.limits, last.restores) == (MemoryLimits(max_bytes=512 * MIB), True)
    lab.see(50, lab.answer(), pid=101, age_s=60.0)
    assert lab.stage() == ""


def test_a_service_that_is_dropped_gets_its_limit_back() -> None:
    """Nobody would do it later."""
    lab = Lab()
    lab.buy()
    made = lab.bench.step(dropped=(NAME,))
    assert [(type(a), getattr(a, "restores", None)) for a in made.actions] == [(BendLimits, True)]
