"""What a dry run of a restart asks of driver, hooks and health gate; nothing is acted on.

Drivers ask their managers, and one that hangs must not keep the person, nor a thread of the API,
for long: each look has a thread of its own, which is left behind when its time is over.
"""

import threading
from collections.abc import Iterator
from dataclasses import replace

from leakguard.core.decision import Reply
from leakguard.core.dry_run import DryRun, DryRunReply, NamedProcess
from leakguard.core.errors import LeakguardError, ReadingError
from leakguard.core.plan import HealthSpec, ServicePlan
from leakguard.core.sample import Location
from leakguard.core.units import format_duration
from leakguard.drivers.base import Driver
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.bootstrap import Machine, Parts
from leakguard.runtime.errand_words import after_in_words, before_in_words
from leakguard.runtime.health_gate import whom_it_asks

LOOK_S = 4.0
"""How long a driver may take to say what it would do; `leakguard restart` waits for 15 s in all."""
MOST_NAMED = 20
"""So many of the processes are named; all are counted."""


def complete_reply(reply: Reply, parts: Parts, machine: Machine) -> Reply:
    """Add to a reply what it lacks; of a service that is not guarded any more there is nothing."""
    if not isinstance(reply, DryRunReply) or parts.rules.of(reply.dry_run.service) is None:
        return reply
    return replace(reply, dry_run=complete(reply.dry_run, parts, machine))


def complete(found: DryRun, parts: Parts, machine: Machine, *, within_s: float = LOOK_S) -> DryRun:
    """Add what driver, hooks and health gate of the service would do."""
    plan = parts.roster.entry(found.service).plan
    found = replace(
        found,
        driver=plan.driver.key if plan.driver is not None else "",
        before=tuple(_before(found, plan)),
        after=tuple(after_in_words(plan.errands)) if not found.first else (),
        health=_gate(parts.health.get(plan.rules.name)),
        problems=parts.errand_problems(found.service),
    )
    look = _Look(found, parts, machine)
    thread = threading.Thread(target=look.run, name="dry-run", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # no thread to be had
        return _with_problem(found, f"the driver was not asked: {error}")
    thread.join(within_s)
    if thread.is_alive():
        span = format_duration(within_s)
        why = f"the driver {found.driver} did not say within {span} what it would do: see the log"
        return _with_problem(found, why)
    return look.found


def _before(found: DryRun, plan: ServicePlan) -> Iterator[str]:
    """Say what comes before the driver; what does not run is only started."""
    errands = plan.errands if found.running else replace(plan.errands, drain=None, before=())
    yield from before_in_words(errands if found.asks_leave else replace(errands, ask=None))


def _gate(spec: HealthSpec | None) -> str:
    if spec is None:
        return ""
    return f"{whom_it_asks(spec)} must be well within {format_duration(spec.within_s)}"


def _with_problem(found: DryRun, *problems: str) -> DryRun:
    return replace(found, problems=tuple(dict.fromkeys((*found.problems, *problems))))


class _Look:
    """One look at one driver; `found` is replaced when it is over."""

    def __init__(self, found: DryRun, parts: Parts, machine: Machine) -> None:
        self.found = found
        self._parts = parts
        self._machine = machine

    def run(self) -> None:
        """Ask; whatever goes wrong is a problem that the person reads."""
        try:
            driver = self._parts.drivers.get(self.found.service)
            if driver is not None:
                self.found = self._ask(driver)
        except LeakguardError as error:
            self.found = _with_problem(self.found, str(error))
        except Exception as error:  # noqa: BLE001  the edge of a thread: a broken driver is an answer
            self.found = _with_problem(self.found, f"{type(error).__name__}: {error}")

    def _ask(self, driver: Driver) -> DryRun:
        location = self._parts.roster.fresh(self.found.service)
        problems = driver.rehearse(location)  # first, since it shows the driver what it describes
        found = replace(
            self.found,
            how=driver.describe(),
            started_by=driver.who_starts(),
            cautions=driver.cautions(location),
        )
        found = _with_problem(found, *problems)
        return found if location is None else self._ends(found, driver, location)

    def _ends(self, found: DryRun, driver: Driver, location: Location) -> DryRun:
        try:
            ending = driver.ending(location)
            pids = ending.pids
            if pids is None:
                pids = self._machine.processes(location)
        except LeakguardError as error:
            return _with_problem(found, str(error))
        named = tuple(_named(self._machine.proc, pid) for pid in pids[:MOST_NAMED])
        return replace(found, ends=named, processes=len(pids), stop_within_s=ending.within_s)


def _named(proc: ProcFs, pid: int) -> NamedProcess:
    try:
        return NamedProcess(pid=pid, name=proc.stat(pid).name)
    except ReadingError:  # it ended meanwhile
        return NamedProcess(pid=pid, name="")
