"""Services on several drivers round the real engine: acts are lost, late or half done, daemons die.

What happens is told to it one thing at a time; `Watch` sees every step, and knows the truth.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.decision import (
    Action,
    CheckHealth,
    RestartService,
    RunAfter,
    StartService,
    StopService,
)
from leakguard.core.engine import Inputs, Rules, Step, step
from leakguard.core.inbox import Outcome, OutcomeKind, Request
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import Absent, Incarnation, Reading, Snapshot
from leakguard.core.state import ServiceRecord, State
from leakguard.runtime.held_down import held_down
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.store.loading import LEAP
from leakguard.testing.bench import OLD_S, sample_of
from leakguard.testing.clock import FakeClock


class Kind(StrEnum):
    """Who starts a service again."""

    SIGNAL = "signal"
    """A manager of its own, whatever ended it."""
    CHILD = "child"
    """leakguard alone."""
    COMMAND = "command"
    """A command of leakguard's, and nobody else."""


@dataclass(slots=True, kw_only=True)
class Unit:
    """One service as it is, and as it was last seen."""

    kind: Kind
    pid: int | None
    born_s: float
    mib: float = 100.0
    seen: Reading | None = None
    held_down: bool = False
    """It was stopped for another one's restart, and nobody has started it since."""


class Watch(Protocol):
    """Sees what was asked and what came of it."""

    def step(self, plant: "Plant", inputs: Inputs, made: Step) -> None:
        """Look at one step that was written down, before its actions are carried out."""
        ...

    def ended(self, plant: "Plant") -> None:
        """Hear that leakguard has ended as it should."""
        ...

    def stop_failed(self, name: str) -> None:
        """Hear that a service could not be stopped, or came back by itself."""
        ...


@dataclass(slots=True)
class Plant:
    """Units by name, rules by entry (`web:2` follows those of `web`).

    `queue` is what the executor has still to do, first come first served.
    """

    rules: Mapping[str, ServiceRules]
    kinds: Mapping[str, Kind]
    watch: Watch
    clock: FakeClock = field(default_factory=FakeClock)
    state: State = field(default_factory=lambda: State(instance="plant"))
    disk: dict[str, ServiceRecord] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    queue: list[Action] = field(default_factory=list)
    half: set[str] = field(default_factory=set)
    """Restarts that have ended the old run and not begun the new one."""
    adrift: list[Action] = field(default_factory=list)
    """What a leakguard that is gone had begun: whoever carries it out may still do so."""
    mail: list[Outcome] = field(default_factory=list)
    _pid: int = 100
    _begins: bool = True
    """The daemon has not looked yet: at first it reads everything."""

    def __post_init__(self) -> None:
        """Everything runs, and has been seen."""
        for name, kind in self.kinds.items():
            self._pid += 1
            self.units[name] = Unit(kind=kind, pid=self._pid, born_s=self.clock.boot_s - OLD_S)
        self.look()

    def rules_of(self, name: str) -> ServiceRules:
        """Give the rules of a service."""
        return self.rules[name.partition(":")[0]]

    def look(self, *requests: Request, after_s: float = 0.0, only: tuple[str, ...] = ()) -> None:
        """Let time pass, read everything or `only` some, and deal with one tick."""
        self.clock.advance(after_s)
        names = tuple(self.units) if self._begins or not only else only
        self._take(*self._tick(names, requests))
        self._begins = False

    def die_in_tick(self, *requests: Request) -> None:
        """Kill leakguard after it has decided and before it has written that down."""
        self.clock.advance(1.0)
        self._tick(tuple(self.units), requests)
        self.crash()

    def end(self) -> None:
        """End leakguard as it should: what is down is started, what else is not begun is given up.

        Its children end with it.
        """
        for action in self.queue:
            if isinstance(action, StopService):
                self.watch.stop_failed(action.service)
            starts = isinstance(action, StartService)
            kind = self._carry_out(action, "done") if starts else OutcomeKind.FAILED
            if not isinstance(action, CheckHealth):
                self.mail.append(self._outcome(action, kind))
        self._last_tick()
        self._start_held_down()
        self._last_tick()
        for name in [n for n, unit in self.units.items() if unit.kind is Kind.CHILD]:
            self._end(name)
        self._last_tick()
        self.crash()
        self.watch.ended(self)

    def _start_held_down(self) -> None:
        for name in held_down(self.state, Rules(services=self.rules, detectors={})):
            self.revive(name)

    def _last_tick(self) -> None:
        flying = tuple(n for n, s in self.state.services.items() if s.record.flight)
        self._take(*self._tick(flying, ending=True))
        self.queue.clear()

    def _tick(
        self, names: tuple[str, ...], requests: tuple[Request, ...] = (), *, ending: bool = False
    ) -> tuple[Inputs, Step]:
        now = self.clock.now()
        readings = tuple(self._reading(name) for name in names)
        for reading in readings:
            self.units[reading.service].seen = reading
        mail, self.mail = tuple(self.mail), []
        inputs = Inputs(
            now=now,
            snapshot=Snapshot(at=now, readings=readings),
            outcomes=mail,
            requests=requests,
            ending=ending,
        )
        return inputs, step(self.state, inputs, Rules(services=self.rules, detectors={}))

    def _take(self, inputs: Inputs, made: Step) -> None:
        """Write a step down, and hand out what it wants done."""
        self.watch.step(self, inputs, made)
        self.state = made.state
        self.disk |= {record.name: record for record in made.records}
        self.queue += made.actions

    def answer(self, which: int, how: str) -> None:
        """Let the executor deal with one of its actions: done, silent, failed, lost or half."""
        if not self.queue:
            return
        wanted = self.queue[which % len(self.queue)].service
        action = next(one for one in self.queue if one.service == wanted)
        if how == "half" and isinstance(action, RestartService) and action.id not in self.half:
            if self.is_meant(action):
                self._end(wanted)
                self.half.add(action.id)
            return
        self.queue.remove(action)
        if how == "lost" or isinstance(action, RunAfter):
            return
        kind = self._carry_out(action, how)
        if how != "silent":
            self.mail.append(self._outcome(action, kind))

    def answer_of(self, name: str, how: str) -> None:
        """Let the executor deal with the first action of one service, if there is one."""
        for place, action in enumerate(self.queue):
            if action.service == name:
                self.answer(place, how)
                return

    def is_meant(self, action: RestartService) -> bool:
        """Whether what runs is what an action was decided for."""
        unit = self.units[action.service]
        if unit.pid is None:
            return action.incarnation is None or unit.kind is Kind.CHILD
        return self._incarnation(unit) == action.incarnation

    def die(self, name: str) -> None:
        """Let a service end by itself."""
        self._end(name)

    def revive(self, name: str) -> None:
        """Let somebody else start a service, unless it runs or is a child of leakguard."""
        unit = self.units[name]
        if unit.pid is None and unit.kind is not Kind.CHILD:
            self.watch.stop_failed(name)
            self._begin(name)

    def crash(self) -> None:
        """Kill leakguard: the next one knows what was written, and nothing else."""
        first: dict[str, Action] = {}
        for action in self.queue:  # a command goes on, leakguard's own hands do not
            if self.units[action.service].kind is Kind.COMMAND:
                first.setdefault(action.service, action)
        self.adrift += first.values()
        self._begins = True
        self.queue.clear()
        self.mail.clear()
        plain = json.loads(json.dumps({n: to_plain(r) for n, r in self.disk.items()}))
        records = {name: from_plain(ServiceRecord, one) for name, one in plain.items()}
        serial = self.state.serial + LEAP
        saved = Saved(instance="plant", serial=serial, records=records)
        self.state = restore(saved, now=self.clock.now())

    def drift(self, which: int) -> None:
        """Let something be done that a leakguard had begun which is gone: nobody hears of it."""
        if self.adrift:
            self._carry_out(self.adrift.pop(which % len(self.adrift)), "done")

    def reboot(self, down_s: float) -> None:
        """Start the machine anew: what has a manager is started with it."""
        self.clock.reboot(down_s)
        self.crash()
        self.adrift.clear()
        self.half.clear()
        for name, unit in self.units.items():
            self._end(name)
            unit.seen = None
            if unit.kind is not Kind.CHILD:
                self.revive(name)

    def children_down(self) -> set[str]:
        """Give the services that do not run and that only leakguard starts."""
        return {n for n, unit in self.units.items() if unit.kind is Kind.CHILD and not unit.pid}

    def calm(self, is_over: Callable[[], bool], at_most_s: float, every_s: float = 20.0) -> None:
        """Let everything go well for a while: acts are carried out, managers do their work."""
        passed_s = 0.0
        while passed_s < at_most_s and not is_over():
            for _ in range(len(self.queue)):
                self.answer(0, "done")
            for name, unit in self.units.items():
                unit.mib = 100.0
                if unit.kind is Kind.SIGNAL:
                    self.revive(name)
            self.look(after_s=every_s)
            passed_s += every_s

    def _carry_out(self, action: Action, how: str) -> OutcomeKind:
        name = action.service
        if self._is_late(action) and action.id not in self.half:
            how = "failed"
        match action:
            case CheckHealth():
                return OutcomeKind.UNHEALTHY if how == "failed" else OutcomeKind.HEALTHY
            case StopService():
                if how == "failed":
                    self.watch.stop_failed(name)
                    return OutcomeKind.FAILED
                self._end(name)
                self.units[name].held_down = True
            case StartService():
                if how == "failed":
                    return OutcomeKind.FAILED
                if self.units[name].pid is None:
                    self._begin(name)
            case RestartService():
                return self._restart(action, how)
            case _:
                pass
        return OutcomeKind.DONE

    def _outcome(self, action: Action, kind: OutcomeKind) -> Outcome:
        unit = self.units[action.service]
        began = isinstance(action, RestartService | StartService) and unit.kind is Kind.CHILD
        run = self._incarnation(unit) if began and kind is OutcomeKind.DONE and unit.pid else None
        return Outcome(
            action_id=action.id, service=action.service, kind=kind, message="a test", started=run
        )

    def _is_late(self, action: Action) -> bool:
        """Whether an action is not begun any more: its deadline has passed."""
        if not isinstance(action, RestartService | StopService | StartService):
            return False
        return self.clock.now().since(action.decided) > action.deadline_s

    def _restart(self, action: RestartService, how: str) -> OutcomeKind:
        if action.id in self.half:
            if self.units[action.service].pid is None and how != "failed":
                self._begin(action.service)
        elif not self.is_meant(action):
            return OutcomeKind.STALE
        elif how != "failed":
            self._end(action.service)
            self._begin(action.service)
        return OutcomeKind.FAILED if how == "failed" else OutcomeKind.DONE

    def _begin(self, name: str) -> None:
        unit = self.units[name]
        self._pid += 1
        unit.pid, unit.born_s, unit.held_down = self._pid, self.clock.boot_s, False

    def _end(self, name: str) -> None:
        self.units[name].pid = None

    def _incarnation(self, unit: Unit) -> Incarnation:
        return Incarnation(
            boot_id=self.clock.boot_id, pid=unit.pid or 0, start_ticks=(unit.pid or 0) * 10
        )

    def _reading(self, name: str) -> Reading:
        now, unit = self.clock.now(), self.units[name]
        if unit.pid is None:
            code = 1 if unit.kind is Kind.CHILD else None
            return Absent(service=name, at=now, reason="none", exit_code=code)
        age_s = now.boot_s - unit.born_s
        run = self._incarnation(unit)
        return sample_of(now, unit.mib, run=run, age_s=age_s, service=name)
