"""A reload is taken as a whole or not at all; what it removes is ended if leakguard started it."""

import threading
from collections.abc import Iterator, Mapping

import pytest

from leakguard.core.plan import HttpPlan, Plan, PluginSpec, ServicePlan, StatePlan
from leakguard.core.policy import Policy, RestartRules, ScheduleRule, ServiceRules
from leakguard.runtime.assembly import Assembly
from leakguard.runtime.handover import Launch, Options
from leakguard.runtime.scheduler import Schedule
from leakguard.runtime.takeover import Takeover
from leakguard.runtime.wake import Wake

SLEEPER = ["sleep", "60"]


def child(name: str, *, zone: str = "UTC") -> ServicePlan:
    """Make a guarded child with a schedule."""
    schedule = ScheduleRule(cron="0 3 * * *", timezone=zone)
    return ServicePlan(
        rules=ServiceRules(
            name=name,
            policy=Policy(forecast=None, schedules=(schedule,)),
            restart=RestartRules(driver="child", starts=True),
        ),
        target=PluginSpec(key="child", options={"argv": SLEEPER}),
        driver=PluginSpec(key="child"),
    )


def launch(*services: ServicePlan) -> Launch:
    """Make a launch with neither files nor listeners."""
    plan = Plan(host="h", services=services, http=HttpPlan(listen=""), state=StatePlan(path=""))
    return Launch(plan=plan, options=Options())


class Bench:
    """Everything of a daemon that guards `old`, and nothing of it started but its scheduler."""

    def __init__(self) -> None:
        self.wake = Wake()
        first = launch(child("old"))
        self.all = Assembly(first, self.wake)
        self.takeover = Takeover(self.all, first)
        self.all.scheduler.start([], {})
        self.takeover.take(first)

    def in_force(self) -> tuple[object, ...]:
        """Give what each part works by."""
        parts = self.all.live.parts
        return (
            parts.roster.names(),
            sorted(parts.drivers),
            [s.rules.name for s in self.takeover.launch.plan.services],
            {n: self.all.scheduler.next_due(n) is not None for n in ("old", "new")},
        )

    def close(self) -> None:
        """End it."""
        children, wait = self.all.machine.children, threading.Event()
        for name in ("old", "new"):
            if children.find(name) is not None:
                children.signal(name, 9)
            while children.find(name) is not None:
                wait.wait(0.01)
        self.takeover.leaving.finish(wait)
        self.all.scheduler.close()
        self.all.kernel.close()
        self.all.kills.close()
        self.all.store.close()
        self.wake.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a bench and end it."""
    made = Bench()
    yield made
    made.close()


OLD = (("old",), ["old"], ["old"], {"old": True, "new": False})
NEW = (("new",), ["new"], ["new"], {"old": False, "new": True})


def test_a_good_configuration_is_taken_as_a_whole(bench: Bench) -> None:
    """Roster, drivers, schedules and what the next reload begins from."""
    assert bench.in_force() == OLD
    assert bench.takeover.take(launch(child("new"))) == ()
    assert bench.in_force() == NEW


def test_a_schedule_that_cannot_be_used_changes_nothing(bench: Bench) -> None:
    """It is the last part, and would be found when the others are in force already."""
    with pytest.raises(Exception, match="Nowhere"):
        bench.takeover.take(launch(child("new", zone="Mars/Nowhere")))
    assert bench.in_force() == OLD


def test_a_swap_that_fails_halfway_is_taken_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever nobody thought of."""
    scheduler, replace = bench.all.scheduler, bench.all.scheduler.replace
    failures = [RuntimeError("oops")]

    def fail_once(schedules: list[Schedule], fired: Mapping[str, float]) -> None:
        replace(schedules, fired)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(scheduler, "replace", fail_once)
    with pytest.raises(RuntimeError, match="oops"):
        bench.takeover.take(launch(child("new")))
    assert bench.in_force() == OLD


def test_a_child_that_is_no_longer_guarded_is_ended(bench: Bench) -> None:
    """By its own stop sequence, and it is named."""
    driver = bench.all.live.parts.drivers["old"]
    spec = driver._context.child  # type: ignore[attr-defined]  # noqa: SLF001  what it would start
    running = bench.all.machine.children.start("old", spec)
    assert bench.takeover.take(launch(child("new"))) == (f"old ({running})",)
    bench.takeover.leaving.finish(threading.Event())
    assert bench.all.machine.children.find("old") is None


def test_a_child_that_stays_goes_on(bench: Bench) -> None:
    """A reload is no restart."""
    driver = bench.all.live.parts.drivers["old"]
    spec = driver._context.child  # type: ignore[attr-defined]  # noqa: SLF001  what it would start
    running = bench.all.machine.children.start("old", spec)
    assert bench.takeover.take(launch(child("new"), child("old"))) == ()
    bench.takeover.leaving.finish(threading.Event())
    assert bench.all.machine.children.find("old") == running
