"""A book of its own on what leakguard does, kept from events and actions: no promise is broken.

It knows the truth (`Plant`) and what stands on what, and asks nothing of the rules that it holds
leakguard to: how many restarts are under way, who is well, who goes down before whom, and what each
restart was for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakguard.core.decision import RestartService, StartService, StopService
from leakguard.core.engine import Inputs, Step
from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import PauseRequest, RestartRequest, ResumeRequest, ScheduleDue
from leakguard.core.instant import Instant
from leakguard.core.sample import Sample
from leakguard.testing.plant import Kind, Plant

LATELY_S = 3 * 10.0 + 10.0
"""A member counts as well for so long after it was sampled, at the default pace."""
AT_MOST_S = 1800.0
"""Restarts that follow one another keep a dependent down no longer than this."""
CHILD_S = 120.0
"""So long after the decision a child that ended by itself is waited for."""
LEAST_TRIES = 5
"""So often a dependent is ordered to start before it is given up."""
ENDS = {
    EventKind.RESTART_SUCCEEDED,
    EventKind.RESTART_FAILED,
    EventKind.RESTART_ABANDONED,
    EventKind.RESTART_SKIPPED,
    EventKind.SERVICE_STARTED,
}
CANNOT_WAIT = {"threshold", "exhaustion"}
NOT_BUDGETED = {"manual", "respawn"}


class BrokenPromiseError(AssertionError):
    """What leakguard did is not what it promises."""


@dataclass(kw_only=True)
class Act:
    """A restart that was decided."""

    service: str
    trigger: str
    at: Instant
    counted: bool = True
    handed_out: bool = False
    stood_on: frozenset[str] = frozenset()
    """What depended on it and ran when it was decided."""


@dataclass
class Ledger:
    """What is under way, and the rules. `needs`: what each service cannot live without, in full."""

    needs: Mapping[str, frozenset[str]]
    open: dict[str, Act] = field(default_factory=dict)
    all: dict[str, Act] = field(default_factory=dict)
    along: dict[str, str] = field(default_factory=dict)
    """Dependents → the restart they went down for."""
    stopped: dict[str, Instant] = field(default_factory=dict)
    """When each dependent was last told to stop."""
    not_stopped: set[str] = field(default_factory=set)
    ill: dict[str, int] = field(default_factory=dict)
    """Whose health gate failed, as which process."""
    ran: dict[str, int] = field(default_factory=dict)
    """What ran when the step before looked."""
    last_end: dict[str, Instant] = field(default_factory=dict)
    """When the last restart in each group was over."""
    tries: dict[str, int] = field(default_factory=dict)
    """How often each dependent was ordered to start."""
    came_of: dict[str, EventKind] = field(default_factory=dict)
    """How the last restart of each service ended."""
    given_up: set[str] = field(default_factory=set)
    due: set[str] = field(default_factory=set)
    """Whose moment has come since it was last restarted."""
    paused: dict[str, float] = field(default_factory=dict)
    """Until when (wall clock) people want a service left alone."""

    lived: dict[Instant, float] = field(default_factory=dict)
    """The true time of every step, or an earlier one that leakguard may have taken it for."""

    def under_way(self) -> set[str]:
        """Give the restarts that have not come to their end, or whose dependents have not."""
        return {*self.open, *self.along.values()}

    def ended(self, plant: Plant) -> None:
        """Nothing is left down that only leakguard would start; its children end with it."""
        for name, unit in plant.units.items():
            left = unit.held_down and unit.kind is not Kind.CHILD and name not in self.given_up
            _hold(not left, f"{name} was left down at the end")

    def stop_failed(self, name: str) -> None:
        """Remember whom nobody can wait for."""
        self.not_stopped.add(name)

    def step(self, plant: Plant, inputs: Inputs, made: Step) -> None:
        """Hold one step to the book."""
        self.pass_time(plant, made.at)
        self.hear(plant, inputs)
        for event in made.events:
            self.event(plant, inputs, made, event)
        for action in made.actions:
            match action:
                case RestartService():
                    self.check_restart(plant, made, action)
                case StopService():
                    self.check_stop(plant, made, action)
                case StartService():
                    self.check_start(plant, made, action)
                case _:
                    pass
        flights = {n: s.record.flight for n, s in made.state.services.items()}
        for name in [n for n in self.along if flights[n] is None]:
            del self.along[name]
        seen = {name: unit.seen for name, unit in plant.units.items()}
        self.ran = {n: s.incarnation.pid for n, s in seen.items() if isinstance(s, Sample)}
        own = {f.action_id for f in flights.values() if f is not None and not f.for_service}
        _hold(own == set(self.open), "a restart begins and ends with an event")

    def pass_time(self, plant: Plant, now: Instant) -> None:
        """Note the time; across a reboot leakguard cannot know better than the wall clock."""
        self.lived[now] = plant.clock.lived_s
        for at in [at for at in self.lived if at.boot_id != now.boot_id]:
            self.lived[at] = min(self.lived[at], self.lived[now] - now.since(at))

    def ago(self, now: Instant, at: Instant) -> float:
        """Give how long ago a step was."""
        return self.lived[now] - self.lived[at]

    def hear(self, plant: Plant, inputs: Inputs) -> None:
        """Take what people and schedules want into the book."""
        for request in inputs.requests:
            match request:
                case PauseRequest():
                    self.paused[request.service] = inputs.now.wall_s + (request.for_s or 0.0)
                case ResumeRequest():
                    self.paused.pop(request.service, None)
                    self.ill.pop(request.service, None)
                    for act in self.all.values():
                        act.counted = act.counted and act.service != request.service
                case ScheduleDue():
                    self.due |= {n for n in plant.units if request.service in {n, entry_of(n)}}
                case RestartRequest():
                    pass
        for name in [n for n, until in self.paused.items() if inputs.now.wall_s >= until]:
            del self.paused[name]

    def event(self, plant: Plant, inputs: Inputs, made: Step, event: Event) -> None:
        """Take one event into the book."""
        action_id = str(event.details.get("action_id", ""))
        if event.kind is EventKind.RESTART_DECIDED:
            self.decided(plant, inputs, made, event)
        elif event.kind in ENDS and action_id in self.open:
            self.over(plant, made, event, self.open.pop(action_id))
        elif event.kind in ENDS and event.details.get("dependency"):
            again = "next try in" in event.message
            if event.kind is EventKind.RESTART_FAILED and not again:
                self.check_given_up(plant, event)
            if not again:
                self.along.pop(event.service, None)
                self.note_end(plant, event.service, made.at)

    def check_given_up(self, plant: Plant, event: Event) -> None:
        """Nobody is given up before it was tried often enough; what is ill runs all the same."""
        if "health gate" in event.message:
            self.note_ill(event.service)
            return
        _hold(self.tries.get(event.service, 0) >= LEAST_TRIES, "given up too soon")
        self.given_up.add(event.service)

    def over(self, plant: Plant, made: Step, event: Event, act: Act) -> None:
        """Close a restart."""
        self.came_of[act.service] = event.kind
        if event.kind is EventKind.RESTART_FAILED and "health gate" in event.message:
            self.note_ill(act.service)
        if event.kind is EventKind.RESTART_SUCCEEDED:
            self.ill.pop(act.service, None)
        if event.kind is not EventKind.RESTART_SKIPPED:
            self.note_end(plant, act.service, made.at)

    def note_ill(self, name: str) -> None:
        """Remember the run that was asked as one that is not well."""
        if name in self.ran:
            self.ill[name] = self.ran[name]

    def note_end(self, plant: Plant, name: str, at: Instant) -> None:
        """Remember when a group was last disturbed."""
        group = plant.rules_of(name).group
        if group is not None:
            self.last_end[group.name] = at

    def decided(self, plant: Plant, inputs: Inputs, made: Step, event: Event) -> None:
        """Hold a decision to its cause, to groups, breaker and dependencies."""
        name, trigger = event.service, str(event.details["trigger"])
        action_id = str(event.details["action_id"])
        asked = [r for r in inputs.requests if isinstance(r, RestartRequest) and r.service == name]
        forced = trigger == "manual" and any(request.force for request in asked)
        self.check_cause(plant, event, asked=bool(asked))
        _hold(forced or name not in self.paused, f"{name} is paused")
        busy = {act.service for act in self.open.values()}
        _hold(name not in busy, "two at once")
        _hold(not self.needs.get(name, frozenset()) & busy, "what it stands on is in a restart")
        if not forced:
            self.check_bounds(plant, name, trigger, made.at)
        flights = {n: s.record.flight for n, s in made.state.services.items()}
        taken = {n for n, f in flights.items() if f is not None and f.for_action == action_id}
        if trigger != "respawn":
            waits = not forced and trigger not in CANNOT_WAIT
            self.check_groups(plant, made, {name, *taken}, waits=waits)
        running = {n for n in self.stand_on(name) if isinstance(plant.units[n].seen, Sample)}
        runs = isinstance(plant.units[name].seen, Sample)
        stood_on = frozenset(running - busy - set(self.along)) if runs else frozenset[str]()
        _hold(stood_on == taken, "dependents that run go down with it, and no others")
        act = Act(service=name, trigger=trigger, at=made.at, stood_on=stood_on)
        self.open[action_id] = self.all[action_id] = act
        self.take_along(action_id, taken)
        self.due.discard(name)

    def check_cause(self, plant: Plant, event: Event, *, asked: bool) -> None:
        """What the event gives as the cause is the truth, and it is told in words."""
        name, seen = event.service, plant.units[event.service].seen
        rules = plant.rules_of(name).policy.threshold
        above = rules.above.size_bytes if rules is not None else None
        held = seen.value_bytes if isinstance(seen, Sample) else 0
        true = {
            "manual": asked,
            "threshold": above is not None and held >= above,
            "schedule": name in self.due,
            "respawn": plant.units[name].kind is Kind.CHILD and not isinstance(seen, Sample),
        }
        trigger = str(event.details["trigger"])
        _hold(true.get(trigger, False), f"{name}: no {trigger} explains it")
        _hold(event.message.partition(": ")[2] != "", "an event without a reason")

    def take_along(self, action_id: str, taken: set[str]) -> None:
        """Note who goes down with a restart."""
        self.along |= dict.fromkeys(taken, action_id)
        self.not_stopped -= taken
        for one in taken:
            self.stopped.pop(one, None)
            self.tries.pop(one, None)
            self.given_up.discard(one)

    def stand_on(self, name: str) -> set[str]:
        """Give what cannot live without a service."""
        return {other for other, needs in self.needs.items() if name in needs}

    def check_bounds(self, plant: Plant, name: str, trigger: str, now: Instant) -> None:
        """Never more restarts of one service than its breaker allows, nor of all together."""
        guards = plant.rules_of(name).guards
        counted = [act for act in self.all.values() if act.counted]
        own = [act for act in counted if act.service == name]
        _hold(self.lately(own, guards.per_s, now) < guards.max_restarts, f"too many of {name}")
        if guards.budget is not None and trigger not in NOT_BUDGETED:
            all_of_them = [act for act in counted if act.trigger not in NOT_BUDGETED]
            count = self.lately(all_of_them, guards.budget.per_s, now)
            _hold(count < guards.budget.max_restarts, "too many of all services")

    def lately(self, acts: list[Act], per_s: float, now: Instant) -> int:
        """Count the restarts that were decided within some time."""
        return sum(self.ago(now, act.at) < per_s for act in acts)

    def check_groups(self, plant: Plant, made: Step, taken: set[str], *, waits: bool) -> None:
        """Never above `max_parallel`, never below `min_healthy`, never before its turn."""
        groups = {n: rules.group for n in plant.units if (rules := plant.rules_of(n)).group}
        for group in {one for n, one in groups.items() if n in taken and one is not None}:
            members = {n for n, one in groups.items() if one == group}
            acts = {i for i, act in self.open.items() if act.service in members}
            acts |= {i for n, i in self.along.items() if n in members}
            _hold(len(acts) < group.max_parallel, f"{acts} are under way")
            if not waits:
                continue
            well = {n for n in members if self.is_well(plant, n, made.at)}
            left = well - taken
            _hold(left == well or len(left) >= group.min_healthy, f"only {left} are left")
            last = self.last_end.get(group.name)
            _hold(last is None or self.ago(made.at, last) >= group.stagger_s, "too soon")

    def is_well(self, plant: Plant, name: str, now: Instant) -> bool:
        """Whether a member ran when it was last seen, and nothing is the matter with it."""
        seen = plant.units[name].seen
        if not isinstance(seen, Sample) or now.since(seen.at) > LATELY_S:
            return False
        if name in self.along or name in {act.service for act in self.open.values()}:
            return False
        return self.ill.get(name) != seen.incarnation.pid

    def check_restart(self, plant: Plant, made: Step, action: RestartService) -> None:
        """A restart was decided and told, is ordered once, and what stood on it is down."""
        _hold(action.id in self.open, "no event explains it")
        act = self.open[action.id]
        _hold(
            (act.service, act.trigger) == (action.service, action.trigger.value),
            "another restart than was told",
        )
        _hold(not act.handed_out, "ordered twice")
        act.handed_out = True
        late = self.ago(made.at, act.at) > plant.rules_of(act.service).restart.deadline_s
        for name in act.stood_on:
            down = not isinstance(plant.units[name].seen, Sample)
            excused = act.trigger in CANNOT_WAIT and (late or name in self.not_stopped)
            _hold(down or excused, f"{name} still stands on {act.service}")

    def check_stop(self, plant: Plant, made: Step, action: StopService) -> None:
        """A dependent is stopped for an open restart, after what stands on it."""
        name = action.service
        _hold(self.along.get(name) in self.open, "no event explains it")
        for other in self.stand_on(name):
            if self.along.get(other) != self.along[name]:
                continue
            down = not isinstance(plant.units[other].seen, Sample)
            since = self.stopped.get(other)
            deadline_s = plant.rules_of(other).restart.deadline_s
            late = since is not None and self.ago(made.at, since) > deadline_s
            _hold(down or late or other in self.not_stopped, f"{other} stands on {name}")
        self.stopped[name] = made.at

    def check_start(self, plant: Plant, made: Step, action: StartService) -> None:
        """A dependent is started when nothing below it is in a restart."""
        name = action.service
        _hold(name in self.along, "no event explains it")
        self.tries[name] = self.tries.get(name, 0) + 1
        since = self.all[self.along[name]].at
        if self.ago(made.at, since) > AT_MOST_S:
            return
        under = self.needs.get(name, frozenset())
        _hold(not under & {act.service for act in self.open.values()}, "it is not up yet")
        told = {other for other in self.along if other in self.stopped}
        _hold(not under & told, "what it stands on is not up yet")
        coming = under & plant.children_down() if self.ago(made.at, since) <= CHILD_S else set()
        gone = {other for other in coming if not isinstance(plant.units[other].seen, Sample)}
        _hold(not gone, "what it stands on is about to be started")


def entry_of(name: str) -> str:
    """Give the name under `services`: `web` of `web:2`."""
    return name.partition(":")[0]


def _hold(kept: bool, promise: str) -> None:  # noqa: FBT001  it stands where `assert` would
    if not kept:
        raise BrokenPromiseError(promise)
