"""Scenarios as data: a memory, rules, and what must come of them.

memory = "100MiB+1MiBx600"      one value a tick, anew for each incarnation (see series.py)
tick = "10s"
limit = "512MiB"                the machine kills the service there
kills = 0                       how often it may, exactly
restarts = 1                    how often leakguard restarts it, exactly
cpu = 0.5                       so much of a CPU it uses; 0: not known
never = ["LeakSuspected"]       kinds that must not occur

[rules]                         ServiceRules; sizes and durations carry units
threshold = {above = "80%", for = "2m"}

[[do]]                          what happens from outside
at = "10m"
request = "pause"

[[expect]]                      events in this order; others may lie between them
event = "RestartDecided"
trigger = "forecast"
after = "5m"
before = "9m"
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from leakguard.core.codec import from_plain
from leakguard.core.errors import UsageError
from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import PauseRequest, Request, RestartRequest, ResumeRequest, ScheduleDue
from leakguard.core.policy import (
    CatchUp,
    ForecastRule,
    GuardRules,
    Mode,
    Policy,
    Respawn,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.units import parse_amount, parse_bytes, parse_duration, parse_share
from leakguard.testing.series import Point, parse_series
from leakguard.testing.simulation import Simulation

NAME = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One event that must come, in this order; times in seconds since the beginning."""

    event: EventKind
    trigger: str = ""
    guard: str = ""
    after_s: float = 0.0
    before_s: float = float("inf")
    says: str = ""
    """A part of its message."""

    def fits(self, event: Event, began_wall_s: float) -> bool:
        """Whether `event` is what is meant."""
        return (
            event.kind is self.event
            and self.trigger in ("", event.details.get("trigger"))
            and self.guard in ("", event.details.get("guard"))
            and self.after_s <= event.wall_s - began_wall_s <= self.before_s
            and self.says in event.message
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What happens from outside, in seconds since the beginning."""

    at_s: float
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One file, read."""

    name: str
    memory: tuple[Point, ...]
    rules: ServiceRules
    ticks: int
    tick_s: float = 10.0
    limit_bytes: int | None = None
    kills: int = 0
    restarts: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    never: tuple[str, ...] = ()
    ignores_restarts: bool = False
    unhealthy: bool = False
    crashes: bool = False
    """The service ends when its series does; leakguard is told of its absence."""
    cpu: float = 0.0
    does: tuple[Deed, ...] = ()
    expect: tuple[Expected, ...] = ()


def load(path: Path) -> Scenario:
    """Read a scenario; UsageError names a key that is not known."""
    text = tomllib.loads(path.read_text(encoding="utf-8"))
    memory, tick_s = parse_series(text.pop("memory")), parse_duration(text.pop("tick", "10s"))
    lasts = text.pop("lasts", None)
    ticks = int(parse_duration(lasts) / tick_s) if lasts is not None else len(memory)
    limit = text.pop("limit", None)
    does = tuple(
        Deed(at_s=parse_duration(d["at"]), request=d["request"]) for d in text.pop("do", [])
    )
    expect = tuple(_expected(entry) for entry in text.pop("expect", []))
    rules = _rules(text.pop("rules", {}))
    plain = {"kills", "restarts", "counts", "never"}
    plain |= {"ignores_restarts", "unhealthy", "crashes", "cpu"}
    unknown = set(text) - plain
    if unknown:
        raise UsageError(f"{path.name}: unknown {', '.join(sorted(unknown))}")
    text["never"] = tuple(text.get("never", ()))
    return Scenario(
        name=path.stem, memory=memory, rules=rules, ticks=ticks, tick_s=tick_s,
        limit_bytes=parse_bytes(limit) if limit is not None else None,
        does=does, expect=expect, **text,
    )  # fmt: skip


def play(scenario: Scenario) -> Simulation:
    """Run a scenario to its end."""
    simulation = Simulation(
        rules=scenario.rules,
        life=scenario.memory,
        tick_s=scenario.tick_s,
        limit_bytes=scenario.limit_bytes,
        ignores_restarts=scenario.ignores_restarts,
        unhealthy=scenario.unhealthy,
        crashes=scenario.crashes,
        cpu=scenario.cpu,
    )
    began = simulation.clock.now()
    waiting = sorted(scenario.does, key=lambda deed: deed.at_s)
    for _ in range(scenario.ticks):
        elapsed = simulation.clock.now().since(began) + scenario.tick_s
        due = [deed for deed in waiting if deed.at_s <= elapsed]
        waiting = waiting[len(due) :]
        wall_s = began.wall_s + elapsed
        simulation.tick(*(_request(deed, wall_s) for deed in due))
    return simulation


def unmet(scenario: Scenario, simulation: Simulation) -> list[str]:
    """Say in sentences what did not come as it must; empty when all did."""
    events = list(simulation.events)
    began = simulation.clock.wall_s - scenario.ticks * scenario.tick_s
    found = [f"{kind} must not occur" for kind in scenario.never if kind in simulation.kinds()]
    if simulation.kills != scenario.kills:
        found.append(f"{simulation.kills} kills instead of {scenario.kills}")
    if scenario.restarts is not None and len(simulation.restarts) != scenario.restarts:
        found.append(f"{len(simulation.restarts)} restarts instead of {scenario.restarts}")
    for kind, count in scenario.counts.items():
        if simulation.kinds().count(kind) != count:
            found.append(f"{simulation.kinds().count(kind)} × {kind} instead of {count}")
    for expected in scenario.expect:
        at = next((i for i, e in enumerate(events) if expected.fits(e, began)), None)
        if at is None:
            found.append(f"missing, or not in this order: {expected}")
            continue
        events = events[at + 1 :]
    return found


def _request(deed: Deed, wall_s: float) -> Request:
    words = deed.request.split(maxsplit=1)
    match words:
        case ["restart"]:
            return RestartRequest(id=f"restart-{deed.at_s:g}", service=NAME)
        case ["pause"]:
            return PauseRequest(id=f"pause-{deed.at_s:g}", service=NAME)
        case ["resume"]:
            return ResumeRequest(id=f"resume-{deed.at_s:g}", service=NAME)
        case ["schedule", cron]:
            return ScheduleDue(service=NAME, cron=cron, due_wall_s=wall_s)
        case _:
            raise UsageError(f"{deed.request!r} is no request: restart, pause, resume, schedule …")


def _expected(entry: Mapping[str, Any]) -> Expected:
    plain = dict(entry)
    known = {f.name.removesuffix("_s") for f in fields(Expected)}
    if set(plain) - known:
        raise UsageError(f"unknown in [[expect]]: {', '.join(sorted(set(plain) - known))}")
    return Expected(
        event=EventKind(plain["event"]),
        trigger=plain.get("trigger", ""),
        guard=plain.get("guard", ""),
        says=plain.get("says", ""),
        after_s=parse_duration(plain.get("after", "0s")),
        before_s=parse_duration(plain["before"]) if "before" in plain else float("inf"),
    )


def _rules(plain: dict[str, Any]) -> ServiceRules:
    known = {
        "mode", "threshold", "forecast", "schedule", "max_age", "grace", "max_restarts",
        "limit", "starts", "respawn", "deadline", "health_within", "driver",
    }  # fmt: skip
    if set(plain) - known:
        raise UsageError(f"unknown in [rules]: {', '.join(sorted(set(plain) - known))}")
    limit, age = plain.get("limit"), plain.get("max_age")
    return ServiceRules(
        name=NAME,
        mode=Mode(plain.get("mode", "act")),
        limit=parse_amount(limit) if limit is not None else None,
        policy=Policy(
            threshold=_threshold(plain.get("threshold")),
            forecast=_forecast(plain.get("forecast", {})),
            schedules=_schedules(plain.get("schedule")),
            max_age_s=parse_duration(age) if age is not None else None,
        ),
        guards=_guards(plain),
        restart=_restart(plain),
    )


def _threshold(plain: Mapping[str, str] | None) -> ThresholdRule | None:
    if plain is None:
        return None
    for_s = parse_duration(plain.get("for", "0s"))
    return ThresholdRule(above=parse_amount(plain["above"]), for_s=for_s)


def _forecast(plain: Mapping[str, str] | Literal[False]) -> ForecastRule | None:
    if plain is False:
        return None
    lead = plain.get("lead")
    return ForecastRule(
        risk=parse_share(plain.get("risk", "5%")),
        lead_s=parse_duration(lead) if lead is not None else None,
    )


def _schedules(plain: Mapping[str, str] | None) -> tuple[ScheduleRule, ...]:
    if plain is None:
        return ()
    below = plain.get("skip_below")
    return (
        ScheduleRule(
            cron=plain["cron"],
            skip_below=parse_amount(below) if below is not None else None,
            catch_up=from_plain(CatchUp, plain.get("catch_up", "run")),
        ),
    )


def _guards(plain: Mapping[str, Any]) -> GuardRules:
    most = plain.get("max_restarts", {"count": 4, "per": "6h"})
    return GuardRules(
        grace_s=parse_duration(plain.get("grace", "5m")),
        max_restarts=most["count"],
        per_s=parse_duration(most["per"]),
    )


def _restart(plain: Mapping[str, Any]) -> RestartRules:
    within = plain.get("health_within")
    return RestartRules(
        driver=plain.get("driver", "simulated"),
        deadline_s=parse_duration(plain.get("deadline", "60s")),
        health_within_s=parse_duration(within) if within is not None else None,
        starts=plain.get("starts", False),
        respawn=Respawn(plain.get("respawn", "always")),
    )
