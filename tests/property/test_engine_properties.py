"""Whatever happens, and in whatever order: limits on restarts, one act at a time, equal replays.

Random lives of one service: samples, absences, unreadable moments, lost and late acts, failed and
stale outcomes, crashes between commit and act (after which only the durable records are known),
clocks that are set, reboots, vanished processes, people.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings, strategies as st

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.decision import Action, CheckHealth, RestartService, Verb
from leakguard.core.engine import Inputs, Rules, Step, step
from leakguard.core.events import EventKind
from leakguard.core.flight import resumed
from leakguard.core.inbox import (
    Outcome,
    OutcomeKind,
    PauseRequest,
    Request,
    RestartRequest,
    ResumeRequest,
    ScheduleDue,
)
from leakguard.core.instant import Instant
from leakguard.core.policy import (
    ForecastRule,
    GuardRules,
    Mode,
    Policy,
    Respawn,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
    Trigger,
)
from leakguard.core.sample import Absent, Incarnation, Reading, Snapshot, Unreadable
from leakguard.core.state import ServiceRecord, State
from leakguard.core.trend import UNKNOWN, Verdict
from leakguard.core.units import MIB, Amount
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.store.loading import LEAP
from leakguard.testing.bench import NAME, ScriptedDetector, sample_of, trend_of
from leakguard.testing.clock import FakeClock

CRON = "0 3 * * *"
DEADLINE_S = 60.0
PER_S = 600.0
ENDS = {
    EventKind.RESTART_SUCCEEDED,
    EventKind.RESTART_FAILED,
    EventKind.RESTART_ABANDONED,
    EventKind.SERVICE_STARTED,
}
AUTOMATIC = {Trigger.THRESHOLD, Trigger.EXHAUSTION, Trigger.FORECAST, Trigger.MAX_AGE}


@dataclass
class Act:
    """One restart that was given to the executor."""

    action: RestartService
    counted: bool
    refused: bool = False
    """The driver said that it did nothing, or could not."""


@dataclass
class World:
    """A service, an executor and a store around the engine; checks every step."""

    rules: ServiceRules
    clock: FakeClock = field(default_factory=FakeClock)
    detector: ScriptedDetector = field(default_factory=ScriptedDetector)
    state: State = field(default_factory=lambda: State(instance="prop"))
    disk: dict[str, ServiceRecord] = field(default_factory=dict)
    serial: int = 0
    pid: int | None = 100
    pids: int = 100
    born_s: float = 0.0
    value: float = 100.0
    queue: list[Action] = field(default_factory=list)
    mail: list[Outcome] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    acts: list[Act] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    # ---- what may happen

    def live(self, how: str, after_s: float, mib: float) -> None:
        """Let time pass and look: see, miss, fail or do not look."""
        self.clock.advance(after_s)
        self.value = mib
        self.look(how)

    def look(self, how: str, *requests: Request, durable: bool = True) -> None:
        """Deal with one tick."""
        now = self.clock.now()
        reading: Reading
        if how == "nothing":
            readings: tuple[Reading, ...] = ()
        else:
            if how == "unreadable" and self.pid is not None:
                reading = Unreadable(service=NAME, at=now, reason="permission denied")
            elif self.pid is None:
                reading = Absent(service=NAME, at=now, reason="none", exit_code=1)
            else:
                age = max(0.0, now.boot_s - self.born_s)
                reading = sample_of(now, self.value, run=self.incarnation(), age_s=age)
            readings = (reading,)
        mail, self.mail = tuple(self.mail), []
        self.step(
            Inputs(
                now=now,
                snapshot=Snapshot(at=now, readings=readings),
                outcomes=mail,
                requests=requests,
                durable=durable,
            )
        )

    def incarnation(self) -> Incarnation:
        """Give the run there is."""
        return Incarnation(
            boot_id=self.clock.boot_id, pid=self.pid or 0, start_ticks=int(self.born_s)
        )

    def reborn(self) -> None:
        """Start a new run."""
        self.pids += 1
        self.pid, self.born_s = self.pids, self.clock.boot_s

    def answer(self, how: str) -> None:
        """Let the executor deal with its oldest action in one of many ways."""
        if not self.queue:
            return
        action = self.queue.pop(0)
        if how == "lost":
            return
        if isinstance(action, CheckHealth):
            kind = OutcomeKind.HEALTHY if how == "done" else OutcomeKind.UNHEALTHY
            self.mail.append(Outcome(action_id=action.id, service=NAME, kind=kind))
            return
        if not isinstance(action, RestartService):
            return
        here = self.incarnation() if self.pid is not None else None
        if here is not None and action.incarnation != here:
            how = "stale"
        answered: OutcomeKind | None = {
            "done": OutcomeKind.DONE,
            "silent": None,
            "failed": OutcomeKind.FAILED,
            "stale": OutcomeKind.STALE,
        }[how]
        if how in ("done", "silent"):
            self.reborn()
        if answered is not None:
            self.mail.append(Outcome(action_id=action.id, service=NAME, kind=answered))
        for act in self.acts:
            if act.action.id == action.id and how in ("failed", "stale"):
                act.refused = True

    def crash(self) -> None:
        """End the daemon; the next one knows what was committed and nothing else."""
        self.queue.clear()
        self.mail.clear()
        saved = Saved(instance="prop", serial=self.serial + LEAP, records=dict(self.disk))
        self.state = restore(saved)

    def reboot(self, wall_s: float) -> None:
        """Start the machine anew; everything runs as new processes."""
        self.clock.wall_s += wall_s
        self.clock.boot_s = 30.0
        self.clock.boot_id = f"boot-{self.pids}"
        self.crash()
        self.reborn()

    # ---- what must hold

    def step(self, inputs: Inputs) -> None:
        """Step, compare with a replay, check, commit, hand out."""
        rules = Rules(
            services={NAME: self.rules}, detectors={NAME: self.detector, "": self.detector}
        )
        before, recorded = json.dumps(to_plain(self.state)), json.dumps(to_plain(inputs))
        known = {n: s.record for n, s in self.state.services.items()}
        made = step(self.state, inputs, rules)
        again = step(
            from_plain(State, json.loads(before)), from_plain(Inputs, json.loads(recorded)), rules
        )
        assert json.dumps(to_plain(again)) == json.dumps(to_plain(made))
        self.check(made, inputs, known.get(NAME))
        self.state = made.state
        self.disk |= {r.name: r for r in made.records}
        self.serial = made.state.serial
        for name, service in made.state.services.items():
            kept = self.disk.get(name, ServiceRecord(name=name))
            assert service.record in (kept, resumed(kept))
        self.queue += [a for a in made.actions if isinstance(a, RestartService | CheckHealth)]

    def check(self, made: Step, inputs: Inputs, record: ServiceRecord | None) -> None:
        """Check one step."""
        new_ids = [e.id for e in made.events] + [
            a.id for a in made.actions if isinstance(a, RestartService)
        ]
        assert len(new_ids) == len(set(new_ids))
        assert self.ids.isdisjoint(new_ids)
        self.ids |= set(new_ids)
        if any(isinstance(r, ResumeRequest) for r in inputs.requests):
            for act in self.acts:
                act.counted = False
        self.open -= {
            str(e.details.get("action_id"))
            for e in made.events
            if e.kind in ENDS or e.kind is EventKind.RESTART_SKIPPED
        }
        restarts = [a for a in made.actions if isinstance(a, RestartService)]
        decided = {
            str(e.details["action_id"]) for e in made.events if e.kind is EventKind.RESTART_DECIDED
        }
        assert {a.id for a in restarts} == decided
        assert len(restarts) == sum(d.verb is Verb.RESTART for d in made.decisions)
        for action in restarts:
            self.check_restart(action, made.at, inputs, record)

    def check_restart(
        self, action: RestartService, now: Instant, inputs: Inputs, record: ServiceRecord | None
    ) -> None:
        """Check one restart against all before it."""
        assert not self.open, "two acts in flight"
        self.open.add(action.id)
        last = self.acts[-1] if self.acts else None
        if last is not None and last.action.incarnation == action.incarnation is not None:
            waited = now.since(last.action.decided) > last.action.deadline_s
            assert last.refused or waited, "a second act before the deadline of the first"
        forced = any(isinstance(r, RestartRequest) and r.force for r in inputs.requests)
        known = record.incarnation if record is not None else None
        first = known is None and action.incarnation is None
        if not first and not (forced and action.trigger is Trigger.MANUAL):
            recent = [a for a in self.acts if a.counted and now.since(a.action.decided) < PER_S]
            assert len(recent) < self.rules.guards.max_restarts, "more restarts than allowed"
        cleared = any(isinstance(r, ResumeRequest) for r in inputs.requests)
        if record is not None and record.breaker_open and not (forced or cleared):
            trial = record.probation
            assert not trial.action_id, "a second restart while one is on probation"
            assert trial.until is None or now.since(trial.until) >= 0, "a restart before its time"
        if action.trigger in AUTOMATIC:
            assert any(not isinstance(r, Absent | Unreadable) for r in inputs.snapshot.readings)
        self.acts.append(Act(action, counted=not first))


LOOKS = st.sampled_from(["see", "see", "see", "unreadable", "nothing"])
TIMES = st.sampled_from([0.0, 0.1, 1.0, 5.0, 20.0, 61.0, 301.0, 700.0])
SIZES = st.sampled_from([50.0, 150.0, 250.0, 390.0, 500.0])
OPERATIONS = st.one_of(
    st.tuples(st.just("live"), LOOKS, TIMES, SIZES),
    st.tuples(st.just("live"), st.just("see"), TIMES, st.just(250.0)),
    st.tuples(st.just("answer"), st.sampled_from(["done", "silent", "lost", "failed", "stale"])),
    st.tuples(st.just("ask"), st.sampled_from(["restart", "force", "pause", "resume", "due"])),
    st.tuples(st.just("trend"), st.sampled_from(["unknown", "leaking", "young"])),
    st.tuples(st.just("wall"), st.sampled_from([-86400.0, -3600.0, 3600.0, 86400.0])),
    st.tuples(st.sampled_from(["crash", "vanish", "reborn", "undurable"])),
    st.tuples(st.just("reboot"), st.sampled_from([-3600.0, 0.0, 30.0, 86400.0])),
)


@st.composite
def service_rules(draw: st.DrawFn) -> ServiceRules:
    """Draw rules of one service."""
    return ServiceRules(
        name=NAME,
        mode=draw(st.sampled_from([Mode.ACT, Mode.ACT, Mode.ACT, Mode.OBSERVE])),
        limit=Amount(size_bytes=400 * MIB),
        policy=Policy(
            threshold=ThresholdRule(
                above=Amount(size_bytes=200 * MIB), for_s=draw(st.sampled_from([0.0, 10.0]))
            ),
            forecast=draw(st.sampled_from([None, ForecastRule(), ForecastRule(lead_s=60.0)])),
            schedules=(ScheduleRule(cron=CRON),),
            max_age_s=draw(st.sampled_from([None, 600.0])),
        ),
        guards=GuardRules(
            grace_s=draw(st.sampled_from([0.0, 30.0])),
            max_restarts=draw(st.integers(0, 3)),
            per_s=PER_S,
        ),
        restart=RestartRules(
            driver=draw(st.sampled_from(["fake", "fake", "fake", ""])),
            deadline_s=DEADLINE_S,
            health_within_s=draw(st.sampled_from([None, 30.0])),
            starts=draw(st.booleans()),
            respawn=draw(st.sampled_from(Respawn)),
        ),
    )


def request(world: World, what: str) -> Request:
    """Make what a person or the scheduler asks for."""
    name = f"req-{len(world.ids)}"
    match what:
        case "pause":
            return PauseRequest(id=name, service=NAME, for_s=300.0)
        case "resume":
            return ResumeRequest(id=name, service=NAME)
        case "due":
            return ScheduleDue(service=NAME, cron=CRON, due_wall_s=world.clock.wall_s)
        case _:
            return RestartRequest(id=name, service=NAME, force=what == "force")


TRENDS = {
    "unknown": UNKNOWN,
    "leaking": trend_of(Verdict.LEAKING, 2.0),
    "young": trend_of(Verdict.WARMING_UP, 20.0),
}


DEEDS: dict[str, Callable[..., None]] = {
    "live": World.live,
    "answer": World.answer,
    "ask": lambda world, what: world.look("see", request(world, what)),
    "trend": lambda world, which: setattr(world.detector, "trend", TRENDS[which]),
    "wall": lambda world, by_s: world.clock.set_wall(world.clock.wall_s + by_s),
    "crash": World.crash,
    "vanish": lambda world: setattr(world, "pid", None),
    "reborn": World.reborn,
    "undurable": lambda world: world.look("see", durable=False),
    "reboot": World.reboot,
}


def happen(world: World, operation: tuple[Any, ...]) -> None:
    """Let one thing happen."""
    DEEDS[operation[0]](world, *operation[1:])


@settings(max_examples=200, deadline=None)
@given(rules=service_rules(), life=st.lists(OPERATIONS, min_size=5, max_size=50))
def test_nothing_exceeds_the_breaker_nor_acts_twice(
    rules: ServiceRules, life: list[tuple[Any, ...]]
) -> None:
    """No life of a service breaks a promise of the engine; `World` lists them."""
    world = World(rules)
    for operation in life:
        happen(world, operation)


@settings(max_examples=60, deadline=None)
@given(life=st.lists(OPERATIONS, min_size=5, max_size=50))
def test_observe_mode_never_acts_by_itself(life: list[tuple[Any, ...]]) -> None:
    """Only a person does, and what nobody else would start."""
    rules = ServiceRules(
        name=NAME,
        policy=Policy(threshold=ThresholdRule(above=Amount(size_bytes=200 * MIB)), max_age_s=1.0),
        restart=RestartRules(driver="fake"),
    )
    world = World(rules)
    for operation in life:
        happen(world, operation)
    assert {a.action.trigger for a in world.acts} <= {Trigger.MANUAL}


@settings(max_examples=60, deadline=None)
@given(readings=st.lists(st.sampled_from(["unreadable", "nothing"]), max_size=30), mib=SIZES)
def test_unreadable_never_restarts(readings: list[str], mib: float) -> None:
    """However large the last readable value was, and however often reading fails."""
    rules = ServiceRules(
        name=NAME,
        mode=Mode.OBSERVE,
        policy=Policy(threshold=ThresholdRule(above=Amount(size_bytes=1)), max_age_s=1.0),
        restart=RestartRules(driver="fake"),
    )
    world = World(rules)
    world.live("see", 1.0, mib)
    world.rules = replace(rules, mode=Mode.ACT)
    for how in readings:
        world.live(how, 100.0, mib)
    assert world.acts == []
