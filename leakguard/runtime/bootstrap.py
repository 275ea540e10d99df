"""From a plan to the plug-ins, rules and roster it names; the only reader of plug-in specs."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from leakguard import plugins
from leakguard.core.engine import Rules
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock
from leakguard.core.plan import ErrandPlan, HealthSpec, Plan, ServicePlan
from leakguard.core.sample import Incarnation, Location, Scope
from leakguard.drivers.base import Driver, DriverContext
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, ChildSpec
from leakguard.linux.procfs import ProcFs
from leakguard.notifiers.base import Notifier, NotifierContext
from leakguard.runtime.record import RecordedRules
from leakguard.runtime.replay import engine_rules
from leakguard.runtime.restore import mark_of
from leakguard.runtime.roster import Entry, Roster
from leakguard.targets.base import Target, TargetContext

DRIVER_RESERVE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What every part reads the machine through."""

    clock: Clock
    proc: ProcFs
    cgroups: CgroupFs
    children: Children

    def processes(self, location: Location) -> tuple[int, ...]:
        """List the processes of a service where it runs now.

        Raises:
            ReadingError: they are gone, or may not be seen.
        """
        if location.scope is Scope.CGROUP:
            return self.cgroups.procs(self.cgroups.directory(location.cgroup_path))
        root = location.root.pid
        return (root,) if location.scope is Scope.PROCESS else self.proc.tree(root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a plan was built into. `health` goes by the name under `services`."""

    plan: Plan
    rules: Rules
    roster: Roster
    drivers: "DriverBook"
    health: Mapping[str, HealthSpec]
    notifiers: Mapping[str, Notifier]

    def errand_problems(self, service: str) -> tuple[str, ...]:
        """Find what could not be done round a restart of a service."""
        plan = self.roster.entry(service).plan.errands
        if plan == ErrandPlan():
            return ()
        from leakguard.runtime.errand_words import errand_problems  # few have hooks

        return errand_problems(plan)


def build(
    plan: Plan,
    machine: Machine,
    known: Mapping[str, Incarnation],
    respawn_seen: Callable[[str], bool],
    *,
    die_with_us: bool = False,
) -> Parts:
    """Build everything a plan names.

    `known` are the incarnations of an earlier daemon or configuration. `die_with_us`: children
    get the parent-death signal.

    Raises:
        PluginError, CodecError, DriverError, TargetError: an option that only its plug-in could
            check is wrong.
    """
    entries = {s.rules.name: Entry(plan=s, target=_target(s, machine)) for s in plan.services}
    roster = Roster(entries, known)
    return Parts(
        plan=plan,
        rules=engine_rules(RecordedRules.of(plan)),
        roster=roster,
        drivers=DriverBook(plan, machine, roster, respawn_seen, die_with_us=die_with_us),
        health={s.rules.name: s.health for s in plan.services if s.health is not None},
        notifiers={
            channel.name: plugins.load("notifiers", channel.notifier.key).make(
                dict(channel.notifier.options),
                NotifierContext(channel=channel.name, clock=machine.clock),
            )
            for channel in plan.channels
        },
    )


class DriverBook(Mapping[str, Driver]):
    """The driver of each guarded service, made when it is first asked for.

    Entries with `each` gain services as they match more processes, so the drivers cannot all be
    made in advance; one of each entry is, so that wrong options stop the start.
    """

    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        roster: Roster,
        respawn_seen: Callable[[str], bool],
        *,
        die_with_us: bool,
    ) -> None:
        """Make the drivers of `plan`."""
        self._plan = plan
        self._plans = {s.rules.name: s for s in plan.services if s.driver is not None}
        self._machine = machine
        self._roster = roster
        self._respawn_seen = respawn_seen
        self._die_with_us = die_with_us
        self._made: dict[str, Driver] = {}
        for name in roster.names():
            self.get(name)

    def __getitem__(self, service: str) -> Driver:
        """Give the driver of a guarded service; KeyError when it has none."""
        if service not in self._made:
            self._made[service] = self._make(service, self._plans[service.partition(":")[0]])
        return self._made[service]

    def __iter__(self) -> Iterator[str]:
        """Go over the services whose driver was made."""
        return iter(tuple(self._made))

    def __len__(self) -> int:
        """Count the drivers made."""
        return len(self._made)

    def _make(self, service: str, plan: ServicePlan) -> Driver:
        if plan.driver is None:
            raise KeyError(service)
        context = DriverContext(
            service=service,
            proc=self._machine.proc,
            children=self._machine.children,
            clock=self._machine.clock,
            locate=lambda: self._roster.fresh(service),
            respawn_seen=lambda: self._respawn_seen(service),
            child=_child_spec(self._plan, plan, die_with_us=self._die_with_us),
            member=self._roster.member(service),
            target=plan.target,
            deadline_s=plan.rules.restart.deadline_s,
        )
        made: Driver = plugins.load("drivers", plan.driver.key).make(
            dict(plan.driver.options), context
        )
        return made

    def rehearse(self, service: str, location: Location | None) -> tuple[str, ...]:
        """Rehearse the driver of a service; nothing to say when it has none."""
        driver = self.get(service)
        return driver.rehearse(location) if driver is not None else ()


def _target(plan: ServicePlan, machine: Machine) -> Target:
    context = TargetContext(
        service=plan.rules.name,
        proc=machine.proc,
        cgroups=machine.cgroups,
        children=machine.children,
    )
    made: Target = plugins.load("targets", plan.target.key).make(dict(plan.target.options), context)
    return made


def _child_spec(whole: Plan, plan: ServicePlan, *, die_with_us: bool) -> ChildSpec | None:
    """Give what the target `child` says is to be started."""
    if plan.target.key != "child":
        return None
    options: Mapping[str, Any] = plan.target.options
    return ChildSpec(
        argv=tuple(options.get("argv", ())),
        cwd=options.get("cwd", ""),
        env=dict(options.get("env", {})),
        user=options.get("user", ""),
        cgroup_dir=options.get("cgroup", ""),
        die_with_parent=die_with_us,
        mark="" if die_with_us else mark_of(whole, plan.rules.name),
    )
