"""One service's settings become its plan; what only shows across settings is found here."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from leakguard.config.buying import buy_time_rule, wrong_buy_time
from leakguard.config.choices import Choice, Choices
from leakguard.config.errands import (
    deadline_s,
    errand_plan,
    leave_rules,
    prelude_s,
    wrong_errands,
)
from leakguard.config.lines import Loc, Origins
from leakguard.config.problems import Problem, nearest
from leakguard.config.restarting import Ask, Drain, Health, Restart, Schedule, Window
from leakguard.config.schema import Defaults, Service
from leakguard.config.values import Model
from leakguard.core.errors import PluginError
from leakguard.core.plan import HealthSpec, PluginSpec, ServicePlan
from leakguard.core.policy import (
    DEADLINE_S,
    Budget,
    ForecastRule,
    GroupRules,
    GuardRules,
    Mode,
    Pacing,
    Policy,
    Respawn,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
    WindowRule,
)
from leakguard.core.units import Amount, format_duration
from leakguard.plugins import Plugin, load

M = TypeVar("M", bound=Model)
_DRIVER: Loc = ("restart", "driver")


def inherit(base: Model, own: M) -> M:
    """Fill what `own` leaves out from `base`, mapping by mapping."""
    update: dict[str, object] = {}
    taken = own.model_fields_set
    if isinstance(own, Health | Drain | Ask) and taken & set(own.GATES):
        taken = taken | set(own.GATES)  # a gate of its own replaces the inherited one
    for name in base.model_fields_set:
        theirs, mine = getattr(base, name), getattr(own, name)
        if name not in taken:
            update[name] = theirs
        elif isinstance(theirs, Model) and isinstance(mine, Model):
            update[name] = inherit(theirs, mine)
    return own.model_copy(update=update)


@dataclass(slots=True, kw_only=True)
class ServiceCompiler:
    """Turns services into plans; `problems` and `warnings` grow with each."""

    defaults: Defaults
    choices: Choices
    origins: Origins
    timezone: str
    host: str
    groups: Mapping[str, GroupRules]
    budget: Budget | None
    problems: list[Problem]
    warnings: list[str]

    def compile(self, name: str, written: Service) -> ServicePlan | None:
        """Give the plan of one service, None when its plug-ins cannot be known."""
        loc: Loc = ("services", name)
        service = inherit(self.defaults, written)
        self._report(loc, _wrong_numbers(service))
        target = self.choices.found.get((*loc, "target"))
        if target is None:
            return None
        driver = self._driver(loc, target)
        each = bool(service.each if target.each is None else target.each)
        if not (self._is_broken((*loc, *_DRIVER)) or self._is_broken(("defaults", *_DRIVER))):
            self._report(loc, _wrong_combination(service, target, driver, each=each))
            if driver:
                self._report(loc, _wrong_driver(written, target, driver))
            if service.restart.depends_on:
                self._report(loc, _cannot_stop(driver))
        self._warn(loc, service)
        return ServicePlan(
            rules=replace(
                self._rules(name, service, driver), group=self._group(loc, written, service)
            ),
            target=target.spec,
            each=each,
            driver=driver.spec if driver else None,
            detector=self._detector(loc),
            health=_health(service.restart.health),
            errands=errand_plan(service.restart),
            timezone=service.timezone or self.timezone,
            where=self.origins.place(loc),
        )

    def _group(self, loc: Loc, written: Service, service: Service) -> GroupRules | None:
        name = service.restart.group
        if name is None or name in self.groups:
            return self.groups.get(name or "")
        own = "group" in written.restart.model_fields_set
        text = f"no group {name!r} - {nearest(name, tuple(self.groups))}"
        wrong = Problem((*(loc if own else ("defaults",)), "restart", "group"), text)
        if wrong not in self.problems:
            self.problems.append(wrong)
        return None

    def _detector(self, loc: Loc) -> PluginSpec:
        found = self.choices.found
        choice = found.get((*loc, "detector")) or found.get(("defaults", "detector"))
        return choice.spec if choice else PluginSpec(key="envelope")

    def _driver(self, loc: Loc, target: Choice) -> Choice | None:
        """Choose the driver: the service's own, the target's if it starts, the inherited one."""
        at: Loc = (*loc, *_DRIVER)
        if at in self.choices.found or self._is_broken(at):
            return self.choices.found.get(at)
        usual = self._usual(target, at)
        inherited = self.choices.found.get(("defaults", "restart", "driver"))
        if inherited is None or (usual and usual.cls.starts):
            return self.choices.check(usual, None, at) if usual else None
        return inherited

    def _is_broken(self, at: Loc) -> bool:
        known = (*self.choices.problems, *self.problems)
        return any(problem.loc[: len(at)] == at for problem in known)

    def _usual(self, target: Choice, at: Loc) -> Plugin | None:
        key = target.plugin.cls.default_driver
        try:
            return load("drivers", key) if key else None
        except PluginError as error:
            self.problems.append(Problem(at, str(error)))
            return None

    def _report(self, loc: Loc, found: Iterable[tuple[Loc, str]]) -> None:
        self.problems += [Problem((*loc, *at), text) for at, text in found]

    def _warn(self, loc: Loc, service: Service) -> None:
        restart, place = service.restart, self.origins.place(loc)
        if not (restart.forecast or restart.threshold or restart.schedule or restart.max_age):
            self.warnings.append(
                f"{place}: {loc[0]}.{loc[1]}: nothing here ever restarts it - "
                "set restart.forecast, threshold, schedule or max_age"
            )
        if restart.max_age is not None and restart.max_age < restart.grace:
            self.warnings.append(
                f"{place}: {loc[0]}.{loc[1]}.restart.max_age: is shorter than grace "
                f"({format_duration(restart.grace)}), which holds it back - make one of them fit"
            )

    def _rules(self, name: str, service: Service, driver: Choice | None) -> ServiceRules:
        restart = service.restart
        return ServiceRules(
            name=name,
            mode=service.mode,
            measure=service.measure,
            limit=service.limit,
            policy=_policy(restart, service.timezone or self.timezone, f"{self.host}/{name}"),
            guards=GuardRules(
                grace_s=restart.grace,
                max_restarts=restart.max_restarts.count,
                per_s=restart.max_restarts.per,
                budget=self.budget,
                windows_only=restart.windows_only,
                blackouts=_spans(restart.blackouts, service.timezone or self.timezone),
                blackouts_yield=restart.blackouts_yield,
            ),
            pacing=Pacing(
                idle_s=service.sample_every,
                floor_s=min(service.sample_floor, service.sample_every),
            ),
            restart=RestartRules(
                driver=driver.spec.key if driver else "",
                deadline_s=deadline_s(restart, _usual_deadline_s(driver)),
                health_within_s=restart.health.within if restart.health else None,
                starts=bool(driver and driver.plugin.cls.starts),
                respawn=restart.respawn or Respawn.ALWAYS,
                prelude_s=prelude_s(restart),
                after=bool(restart.after),
                buy_time=buy_time_rule(restart.buy_time),
                depends_on=tuple(restart.depends_on),
                leave=leave_rules(restart),
            ),
        )


def _wrong_driver(service: Service, target: Choice, driver: Choice) -> Iterator[tuple[Loc, str]]:
    key, usual, name = target.spec.key, target.plugin.cls.default_driver, driver.spec.key
    starts = driver.plugin.cls.starts
    if starts and usual != name:
        yield _DRIVER, f"starts the service itself - use it with the target {name} alone"
    if not starts and usual and usual != name and _starts(usual):
        yield _DRIVER, f"leakguard itself starts the target {key} - leave driver out"
    if name != "command" and key == "pid" and not driver.plugin.cls.keeps_root:
        yield (
            _DRIVER,
            (
                f"{name} ends the process, and no new run is ever found by a pid - "
                "use the driver command, or a target such as cmdline or pidfile"
            ),
        )
    if not starts and "respawn" in service.restart.model_fields_set:
        yield (*_DRIVER[:1], "respawn"), f"{name} starts nothing by itself - leave respawn out"


def _cannot_stop(driver: Choice | None) -> Iterator[tuple[Loc, str]]:
    at: Loc = ("restart", "depends_on")
    if driver is None:
        yield at, "needs a driver that can stop and start it - add restart.driver, or leave it out"
        return
    why = driver.plugin.cls.cannot_stop(driver.spec.options)
    if why:
        name = driver.spec.key
        yield at, f"{name}: {why} - use a driver that can, such as command with stop and start"


def _wrong_combination(
    service: Service, target: Choice, driver: Choice | None, *, each: bool
) -> Iterator[tuple[Loc, str]]:
    key = target.spec.key
    if driver is None and service.mode is Mode.ACT:
        yield (
            ("mode",),
            (
                f"act needs a driver, and the target {key} has none of its own - "
                "add restart.driver, or write mode: observe"
            ),
        )
    if driver and driver.plugin.cls.starts and each:
        yield ("each",), f"the target {key} is always one process - leave each out"


def _starts(driver: str) -> bool:
    try:
        return bool(load("drivers", driver).cls.starts)
    except PluginError:
        return False


def _wrong_numbers(service: Service) -> Iterator[tuple[Loc, str]]:
    yield from _wrong_sizes(service)
    yield from _wrong_health(service.restart.health)
    yield from wrong_errands(service.restart)
    moments = service.restart.windows or service.restart.schedule or service.restart.blackouts
    yield from wrong_buy_time(service.restart.buy_time, windows=bool(moments))
    if service.sample_floor > service.sample_every and "sample_floor" in service.model_fields_set:
        every = format_duration(service.sample_every)
        yield ("sample_floor",), f"is longer than sample_every ({every}) - make it shorter"


def _wrong_sizes(service: Service) -> Iterator[tuple[Loc, str]]:
    restart, at = service.restart, ("restart", "threshold", "above")
    above = restart.threshold.above if restart.threshold else None
    if restart.windows_only and not restart.windows:
        yield ("restart", "windows_only"), "needs windows - add restart.windows, or leave it out"
    if restart.threshold and above is None:
        yield at, "is missing - add a size such as 900MiB, or a share of the limit such as 80%"
    if _not_below(above, service.limit):
        yield at, f"{above} is not below the limit {service.limit} - make it smaller"
    for i, schedule in enumerate(restart.schedule):
        skip = schedule.skip_below
        if _not_below(skip, above) and skip != above:
            where = ("restart", "schedule", *((i,) if len(restart.schedule) > 1 else ()))
            yield (
                (*where, "skip_below"),
                (
                    f"{skip} is above the threshold {above}, so the schedule never acts - "
                    "make it smaller"
                ),
            )


def _not_below(amount: Amount | None, other: Amount | None) -> bool:
    if amount is None or other is None:
        return False
    if amount.size_bytes is not None and other.size_bytes is not None:
        return amount.size_bytes >= other.size_bytes
    if amount.share is not None and other.share is not None:
        return amount.share >= other.share
    return False


def _wrong_health(health: Health | None) -> Iterator[tuple[Loc, str]]:
    at: Loc = ("restart", "health")
    if health is None:
        return
    named = [gate for gate in Health.GATES if getattr(health, gate) is not None]
    if len(named) != 1:
        found = ", ".join(named) or "none"
        yield at, f"must have exactly one of http, tcp and command, found {found}"
    if health.command == ():
        yield (*at, "command"), "must not be empty - write [/path/to/program, argument]"
    if health.every > health.within:
        yield (*at, "every"), "is longer than within - make it shorter"


def _policy(restart: Restart, timezone: str, whose: str) -> Policy:
    forecast, threshold = restart.forecast, restart.threshold
    return Policy(
        threshold=ThresholdRule(above=threshold.above, for_s=threshold.for_)
        if threshold and threshold.above
        else None,
        forecast=ForecastRule(
            risk=forecast.risk,
            lead_s=forecast.lead,
            start_up_s=forecast.start_up,
            act=forecast.act,
            quiet=forecast.quiet,
        )
        if forecast
        else None,
        schedules=tuple(_schedule(schedule, timezone, whose) for schedule in restart.schedule),
        max_age_s=restart.max_age,
        windows=_spans(restart.windows, timezone),
    )


def _spans(windows: Iterable[Window], timezone: str) -> tuple[WindowRule, ...]:
    return tuple(
        WindowRule(cron=window.cron, length_s=window.length, timezone=timezone)
        for window in windows
    )


def _schedule(schedule: Schedule, timezone: str, whose: str) -> ScheduleRule:
    return ScheduleRule(
        cron=schedule.cron,
        timezone=timezone,
        skip_below=schedule.skip_below,
        catch_up=schedule.catch_up,
        splay_s=schedule.splay,
        delay_s=share_of(schedule.splay, f"{whose}/{schedule.cron}"),
    )


def share_of(splay_s: float, whose: str) -> float:
    """Give a whole number of seconds below `splay_s` that depends on `whose` alone.

    No chance is in it: `check` can say today when tomorrow's restart comes, and a restart of
    leakguard does not draw another time.
    """
    if splay_s < 1:
        return 0.0
    digest = hashlib.sha256(whose.encode()).digest()
    return float(int.from_bytes(digest[:8]) % int(splay_s))


def _usual_deadline_s(driver: Choice | None) -> float:
    return float(driver.plugin.cls.usual_deadline_s) if driver else DEADLINE_S


def _health(health: Health | None) -> HealthSpec | None:
    if health is None:
        return None
    return HealthSpec(
        http=health.http or "",
        tcp=health.tcp or "",
        command=health.command or (),
        within_s=health.within,
        every_s=health.every,
    )
