"""What a configuration would do on this machine, found out without acting: the work of `check`."""

from collections.abc import Callable, Iterator
from dataclasses import field, replace

from leakguard.core.errors import LeakguardError, ReadingError, TargetError
from leakguard.core.events import EventKind
from leakguard.core.facts import Surroundings, effective_limit, rooms
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.core.pace import not_guardable
from leakguard.core.plan import Plan, ServicePlan
from leakguard.core.policy import Mode, ServiceRules
from leakguard.core.sample import Absent, Location, Sample, Snapshot
from leakguard.core.units import format_bytes
from leakguard.drivers.base import Driver
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.bending import Bender
from leakguard.runtime.bootstrap import Machine, Parts, build
from leakguard.runtime.calendars import windows_in_words
from leakguard.runtime.check_report import CheckReport, LimitReport, MatchReport, ServiceReport
from leakguard.runtime.collect import Collector
from leakguard.runtime.errand_words import after_in_words, before_in_words, errand_problems
from leakguard.runtime.overlaps import tell_overlaps
from leakguard.runtime.places import look_at_places
from leakguard.runtime.schedule_words import report
from leakguard.runtime.slot_rules import SlotRules
from leakguard.runtime.trigger_words import guards_in_words, triggers_in_words
from leakguard.runtime.unseen import unseen_restarts

CANNOT_SEE = "limits above it cannot be seen from here: they are unknown, not absent"
NOTHING = "nothing now"


@dataclass(slots=True)
class _Findings:
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unmatched: str = NOTHING


def this_machine(plan: Plan, clock: Clock) -> Machine:
    """Give the machine as `plan` says that it is to be read."""
    proc = ProcFs(plan.proc_root)
    return Machine(
        clock=clock,
        proc=proc,
        cgroups=CgroupFs(proc, plan.cgroup_root),
        children=Children(run_here, clock),
    )


def check(
    plan: Plan, now: Instant, machine: Machine | None, *, daemon_pid: int | None = None
) -> CheckReport:
    """Look at every service without acting; without a machine, only at what the file says.

    `daemon_pid`: the leakguard daemon that answers on the plan's socket.
    """
    problems: list[str] = []
    notes: list[str] = []
    if machine is not None:
        places = look_at_places(plan, machine.proc, daemon_pid)
        problems, notes = places.problems, places.notes
        _attempt(
            lambda: build(replace(plan, services=()), machine, {}, _never_seen), problems, "alerts"
        )
    return CheckReport(
        host=plan.host,
        sources=plan.sources,
        machine=machine is not None,
        services=tell_overlaps(_service(plan, service, now, machine) for service in plan.services),
        channels=tuple(f"{c.name} ({c.notifier.key})" for c in plan.channels),
        state=plan.state.path,
        socket=plan.socket_path,
        http=plan.http.listen,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _service(
    plan: Plan, service: ServicePlan, now: Instant, machine: Machine | None
) -> ServiceReport:
    rules = service.rules
    said = ServiceReport(
        name=rules.name,
        where=service.where,
        mode=rules.mode.value,
        measure=rules.measure.value,
        driver=rules.restart.driver,
        triggers=triggers_in_words(rules),
        guards=guards_in_words(rules),
        before=tuple(before_in_words(service.errands)),
        after=tuple(after_in_words(service.errands)),
        schedules=tuple(report(rule, now) for rule in rules.policy.schedules),
        windows=tuple(windows_in_words(rules.policy.windows, now)),
        blackouts=tuple(windows_in_words(rules.guards.blackouts, now)),
    )
    if machine is None:
        return said
    only = replace(plan, services=(service,), channels=())
    found = _Findings()
    parts = _attempt(lambda: build(only, machine, {}, _never_seen), found.problems, rules.name)
    if parts is None:
        return replace(said, problems=tuple(found.problems))
    seen = _Look(parts, service, machine, found).run(now)
    return replace(
        said,
        target=seen.target,
        matches=seen.matches,
        unmatched="" if seen.matches else found.unmatched,
        restart=seen.restart,
        who_starts=seen.who_starts,
        problems=tuple(dict.fromkeys(found.problems)),
        notes=tuple(dict.fromkeys(found.notes)),
    )


def _attempt(work: Callable[[], Parts], problems: list[str], what: str) -> Parts | None:
    try:
        return work()
    except (LeakguardError, OSError, ValueError) as error:
        problems.append(f"{what}: {error}")
        return None


def _never_seen(_service: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _Seen:
    target: str
    matches: tuple[MatchReport, ...]
    restart: str
    who_starts: str


class _Look:
    """One look at one service."""

    def __init__(
        self, parts: Parts, service: ServicePlan, machine: Machine, found: _Findings
    ) -> None:
        self._parts, self._service, self._machine, self._found = parts, service, machine, found
        self._collector = Collector(parts.roster, machine.proc, machine.cgroups)

    def run(self, now: Instant) -> _Seen:
        """Sample, rehearse and describe."""
        roster, name = self._parts.roster, self._service.rules.name
        roster.scan(now)
        snapshot = self._collector.collect(roster.names(), now).snapshot
        self._read_labels()
        matches = tuple(self._matches(snapshot))
        driver = next(iter(self._parts.drivers.values()), None)
        self._rehearse()
        return _Seen(
            target=roster.entry(name).target.describe(),
            matches=matches,
            restart=driver.describe() if driver else "",
            who_starts=driver.who_starts() if driver else "",
        )

    def _read_labels(self) -> None:
        """Go by the rules that labels of the matches change, and say so."""
        change = SlotRules().change(self._parts)
        if change is None:
            return
        self._parts = replace(self._parts, rules=change.rules)
        for notice in change.notices:
            wrong = notice.kind == EventKind.LABELS_REJECTED.value
            to = self._found.problems if wrong else self._found.notes
            to.append(f"{notice.service}: {notice.message}")

    def _to(self, service: str) -> list[str]:
        """Give where what hinders a restart belongs: to observe, none is needed."""
        acts = self._rules(service).mode is Mode.ACT
        return self._found.problems if acts else self._found.notes

    def _rules(self, service: str) -> ServiceRules:
        return self._parts.rules.of(service) or self._service.rules

    def _matches(self, snapshot: Snapshot) -> Iterator[MatchReport]:
        for reading in snapshot.readings:
            if isinstance(reading, Sample):
                yield self._measured(reading, snapshot)
                continue
            reason = reading.reason
            if not isinstance(reading, Absent):
                self._found.unmatched = f"not known: {reason}"
            elif reading.ambiguous:
                self._found.unmatched = reason.removeprefix(f"{reading.service}: ")
            if isinstance(reading, Absent) and self._service.rules.restart.starts:
                self._found.notes.append("leakguard starts it when it runs")
            else:
                self._found.problems.append(reason)

    def _measured(self, sample: Sample, snapshot: Snapshot) -> MatchReport:
        rules = self._rules(sample.service)
        around = Surroundings(host=snapshot.host, domains=snapshot.domains)
        effective = effective_limit(sample, around, rules)
        limits = tuple(
            LimitReport(
                source=room.kind.value,
                limit_bytes=room.limit_bytes,
                headroom_bytes=room.headroom_bytes,
                path=room.path,
            )
            for room in rooms(sample, around, rules)
        )
        nearest = next((limit for limit in limits if limit.limit_bytes == effective), None)
        location = self._location(sample)
        self._judge(sample, nearest)
        burst = not_guardable(sample, around, rules)
        self._found.notes += [burst] if burst else []
        return MatchReport(
            service=sample.service,
            pid=sample.incarnation.pid,
            name=location.name if location else "",
            processes=sample.processes,
            value_bytes=sample.value_bytes,
            pss_bytes=self._pss(location),
            effective_limit_bytes=effective,
            effective_source=_source(nearest),
            limits=limits,
        )

    def _judge(self, sample: Sample, limit: LimitReport | None) -> None:
        value, rules = sample.value_bytes, self._rules(sample.service)
        measured = f"{sample.service} uses {format_bytes(value)} ({rules.measure.value})"
        if limit is not None and value >= limit.limit_bytes:
            self._found.problems.append(
                f"{measured}, which is above its limit of {format_bytes(limit.limit_bytes)} "
                f"({_source(limit)}): raise the limit, or restart it first"
            )
        rule = rules.policy.threshold
        above = rule.above.resolve(limit.limit_bytes if limit else None) if rule else None
        if above is not None and value >= above:
            self._found.notes.append(
                f"{measured}, which is above its threshold of {format_bytes(above)}: "
                "it would be restarted at once"
            )

    def _location(self, sample: Sample) -> Location | None:
        try:
            return self._parts.roster.where(sample.service, sample.at)
        except LeakguardError:  # it ended since it was sampled
            return None

    def _pss(self, location: Location | None) -> int | None:
        if location is None:
            return None
        proc, total = self._machine.proc, 0
        try:
            for pid in self._machine.processes(location):
                total += proc.smaps_rollup(pid)[0]
        except LeakguardError:
            self._found.notes.append(
                "PSS cannot be read by this user: run `leakguard check` as root to see it"
            )
            return None
        return total

    def _rehearse(self) -> None:
        self._to(self._service.rules.name).extend(errand_problems(self._service.errands))
        for name in self._parts.roster.names():
            to = self._to(name)
            driver = self._parts.drivers.get(name)
            if driver is None:
                continue
            try:
                location = self._parts.roster.fresh(name)
            except (TargetError, ReadingError):
                continue  # what cannot be located is said already
            if location is None and not driver.starts:
                continue  # and so is what does not run
            try:
                found = driver.rehearse(location)
                self._found.notes += driver.cautions(location)
            except (LeakguardError, OSError) as error:
                found = (str(error),)
            to += [f"cannot act on {name}: {problem}" for problem in found]
            if location is not None and self._service.rules.restart.buy_time is not None:
                to += self._rehearse_buying(name, driver)
            if location is not None:
                self._hidden_limits(location)
                self._found.notes += unseen_restarts(
                    location, self._service.rules.restart.driver, self._machine.proc
                )

    def _rehearse_buying(self, name: str, driver: Driver) -> tuple[str, ...]:
        bender = Bender(self._machine.cgroups, self._parts.roster.fresh)
        problem = bender.problem(name, driver)
        return (problem,) if problem else ()

    def _hidden_limits(self, location: Location) -> None:
        if not self._complete(location):
            self._found.notes.append(CANNOT_SEE)

    def _complete(self, location: Location) -> bool:
        cgroups = self._machine.cgroups
        try:
            group = cgroups.memory_dir(location.root.pid)
            return group is not None and all(one.complete for one in cgroups.ancestors(group))
        except (LeakguardError, TargetError):
            return False


def _source(limit: LimitReport | None) -> str:
    if limit is None:
        return ""
    return f"{limit.source} {limit.path}".strip()
