"""The workbench of one step: the states under change, and what is going to be in the Step."""

from collections.abc import Mapping
from dataclasses import field, replace

from leakguard.core.alerts import (
    ONE_OF_MANY,
    Alert,
    AlertRules,
    AlertStatus,
    alert_for,
    channels_for,
    remind_after_s,
    topic_key,
)
from leakguard.core.decision import Action, Decision, Reply
from leakguard.core.events import Detail, Event, EventKind
from leakguard.core.frozen import dataclass
from leakguard.core.guards import restarts_today
from leakguard.core.instant import Instant
from leakguard.core.policy import ServiceRules, rules_among
from leakguard.core.sample import Sample
from leakguard.core.series import Series
from leakguard.core.severity import Severity
from leakguard.core.state import Problem, ServiceRecord, ServiceState, State


@dataclass(slots=True, kw_only=True)
class Tick:
    """Mutable for the length of one step, seen by nobody else. `own` is the daemon's record."""

    now: Instant
    instance: str
    serial: int
    services: dict[str, ServiceState]
    own: ServiceRecord
    alert_rules: AlertRules
    durable: bool
    rules: Mapping[str, ServiceRules] = field(default_factory=dict)
    """By the names under `services`: what a service must know of the others."""
    changed: set[str] = field(default_factory=set)
    samples: list[Sample] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    pace: dict[str, float] = field(default_factory=dict)
    came_back_ill: set[str] = field(default_factory=set)
    """Whose health gate failed in this tick."""

    @classmethod
    def of(
        cls,
        state: State,
        now: Instant,
        alerts: AlertRules,
        rules: Mapping[str, ServiceRules],
        *,
        durable: bool,
    ) -> "Tick":
        """Lay out the workbench for `state`."""
        return cls(
            now=now,
            instance=state.instance,
            serial=state.serial,
            services=dict(state.services),
            own=state.own,
            alert_rules=alerts,
            durable=durable,
            rules=rules,
        )

    def rules_of(self, service: str) -> ServiceRules | None:
        """Give the rules of a guarded service; `worker:2` follows those of `worker`."""
        return rules_among(self.rules, service)

    def next_id(self) -> str:
        """Give an id that is unique over the life of the state and equal in a replay."""
        self.serial += 1
        return f"{self.instance}-{self.serial:08d}"

    def service(self, name: str) -> ServiceState:
        """Give the state of a service; a new one when it is seen for the first time."""
        found = self.services.get(name)
        if found is None:
            found = ServiceState(record=ServiceRecord(name=name), series=Series())
            self.services[name] = found
        return found

    def put(self, service: ServiceState) -> ServiceState:
        """Take a changed state; its record is written when it differs."""
        name = service.record.name
        before = self.services.get(name)
        if before is None or before.record != service.record:
            self.changed.add(name)
        self.services[name] = service
        return service

    def amend(self, name: str, **changes: object) -> ServiceState:
        """Replace fields of a service's record."""
        service = self.service(name)
        return self.put(replace(service, record=replace(service.record, **changes)))  # type: ignore[arg-type]  # checked by the record's own fields

    def forget(self, name: str) -> None:
        """Drop a service that is no longer guarded; its problems are nobody's any more."""
        service = self.services.pop(name, None)
        if service is None:
            return
        for topic, problem in service.record.problems.items():
            self._tell_again(service.record, topic, problem, AlertStatus.RESOLVED)

    def event(
        self,
        kind: EventKind,
        service: str,
        severity: Severity,
        message: str,
        **details: Detail,
    ) -> Event:
        """Record an event and tell whoever is to be told."""
        known: Mapping[str, Detail] = {k: v for k, v in details.items() if v is not None}
        event = Event(
            id=self.next_id(),
            kind=kind,
            service=service,
            wall_s=self.now.wall_s,
            severity=severity,
            message=message,
            details=known,
        )
        self.events.append(event)
        if not self._is_one_of_many(event):
            self._tell(event)
        return event

    def _is_one_of_many(self, event: Event) -> bool:
        """Whether it is about one restart of a service that is restarted often."""
        if event.kind not in ONE_OF_MANY:
            return False
        today = restarts_today(self.service(event.service).record, self.now)
        return len(today) > self.alert_rules.restarts_singly

    def remind(self) -> None:
        """Say standing problems again where a route asks for it."""
        if not any(r.remind_s is not None for r in self.alert_rules.routes):
            return
        for record in [self.own, *(s.record for s in self.services.values())]:
            for topic, problem in record.problems.items():
                self._remind(record, topic, problem)

    def _remind(self, record: ServiceRecord, topic: str, problem: Problem) -> None:
        after = remind_after_s(problem.severity, self.alert_rules)
        if after is None or self.now.wall_s - problem.told_wall_s < after:
            return
        self._tell_again(record, topic, problem, AlertStatus.FIRING)
        self._set_problem(record.name, topic, replace(problem, told_wall_s=self.now.wall_s))

    def _tell_again(
        self, record: ServiceRecord, topic: str, problem: Problem, status: AlertStatus
    ) -> None:
        """Tell of a standing problem without a new event, to those who heard of it."""
        channels = channels_for(problem.severity, self.alert_rules)
        if not channels:
            return
        name, still = record.name or "leakguard", status is AlertStatus.FIRING
        self.alerts.append(
            Alert(
                id=self.next_id(),
                key=f"leakguard/{self.alert_rules.host}/{name}/{topic}"[:255],
                status=status,
                severity=problem.severity,
                kind=EventKind(problem.kind),
                service=record.name,
                host=self.alert_rules.host,
                title=f"{'still' if still else 'no longer guarded'}: {problem.title}"[:120],
                summary=problem.title,
                wall_s=self.now.wall_s,
                channels=channels,
            )
        )

    def _tell(self, event: Event) -> None:
        topic = topic_key(event)
        if topic is None:
            self._send(event, AlertStatus.NOTICE)
            return
        standing = self._record(event.service).problems.get(topic.name)
        if topic.resolves:
            if standing is not None:
                self._send(event, AlertStatus.RESOLVED, told_as=standing.severity)
                self._set_problem(event.service, topic.name, None)
            elif topic.notice:
                self._send(event, AlertStatus.NOTICE)
            return
        known = standing is not None and standing.severity.rank >= event.severity.rank
        if known and not topic.again:
            return
        title = self._send(event, AlertStatus.FIRING)
        problem = Problem(
            since_wall_s=standing.since_wall_s if standing else event.wall_s,
            told_wall_s=event.wall_s,
            severity=event.severity,
            kind=event.kind.value,
            title=title or event.message,
        )
        self._set_problem(event.service, topic.name, problem)

    def _send(self, event: Event, status: AlertStatus, told_as: Severity | None = None) -> str:
        alert = alert_for(event, self.alert_rules, status=status, told_as=told_as)
        if alert is None:
            return ""
        self.alerts.append(alert)
        return alert.title

    def _record(self, service: str) -> ServiceRecord:
        return self.service(service).record if service else self.own

    def _set_problem(self, service: str, topic: str, problem: Problem | None) -> None:
        problems = {k: v for k, v in self._record(service).problems.items() if k != topic}
        if problem is not None:
            problems[topic] = problem
        if service:
            self.amend(service, problems=problems)
        else:
            self.own = replace(self.own, problems=problems)
            self.changed.add("")
