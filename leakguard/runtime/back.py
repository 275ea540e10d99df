"""The daemon as the web layer sees it: the status of the last tick, the store, the inbox."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import leakguard
from leakguard.core.decision import Reply
from leakguard.core.engine import Step
from leakguard.core.events import Event
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import DryRunRequest, Request, ScheduleDue
from leakguard.core.instant import Clock, Instant
from leakguard.core.sample import HostSample
from leakguard.core.status import ServiceExtras, ServiceStatus, Status, project
from leakguard.runtime.agenda import Agenda
from leakguard.runtime.bootstrap import Parts
from leakguard.runtime.delivery_lines import WAITING, plain_delivery
from leakguard.runtime.inbox import Inbox
from leakguard.store.base import OK, Store

if TYPE_CHECKING:
    from leakguard.core.domain_victims import DomainVictim

STALLED_S = 30.0
"""A loop that has not ticked for this long is not alive; at rest it ticks every 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the loop publishes after each tick: never changed, only replaced."""

    step: Step
    parts: Parts
    host: HostSample | None


class DaemonBack:
    """Reads the published view. Every method may be called from any thread."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        inbox: Inbox,
        agenda: Agenda,
        next_schedule: Callable[[str], str | None],
        cannot_act: Callable[[str], tuple[str, ...]],
        complete: Callable[[Reply], Reply],
    ) -> None:
        """Answer from these and from what is published; `next_schedule` goes by entry.

        `complete` adds to the reply of a dry run what only drivers and hooks can say.
        """
        self._clock = clock
        self._store = store
        self._inbox = inbox
        self._agenda = agenda
        self._next_schedule = next_schedule
        self._cannot_act = cannot_act
        self._complete = complete
        self._started = clock.now()
        self._view: View | None = None
        self._status: Status | None = None
        self.config_problem = ""
        """Why the last reload was refused; empty when it was taken."""

    def publish(self, view: View) -> None:
        """Take the view of a new tick; its status is made when somebody asks."""
        self._view = view
        self._status = None

    def status(self) -> Status:
        """Give the status of the last tick."""
        made = self._status
        if made is None:
            made = self._status = self._make_status()
        return made

    def events(self, service: str, limit: int, before: str) -> Sequence[Event]:
        """Give stored events, newest first."""
        return self._store.events(service or None, limit, before or None)

    def deliveries(self, limit: int) -> Sequence[Mapping[str, object]]:
        """Give what waits in the outbox, and what was given up."""
        return [plain_delivery(one) for one in self._store.deliveries(WAITING, limit)]

    def victims(self) -> "Sequence[DomainVictim]":
        """Give the last look at each memory domain."""
        from leakguard.core.domain_victims import victims_by_domain  # few ever ask

        view = self._view
        if view is None:
            return ()
        return victims_by_domain(view.step.state, view.host, self._clock.now())

    def series(
        self, service: str, since_wall_s: float, points: int
    ) -> Sequence[tuple[float, float]]:
        """Give stored samples, oldest first."""
        found = self._store.series(service, since_wall_s, points)
        return [(point.wall_s, float(point.value_bytes)) for point in found]

    def ask(self, request: Request, timeout_s: float) -> Reply:
        """Post a person's request and wait for the engine's reply."""
        if isinstance(request, ScheduleDue):
            raise TypeError("schedules come from the scheduler, not from people")
        reply = self._inbox.ask(request, request.id, timeout_s)
        return self._complete(reply) if isinstance(request, DryRunRequest) else reply

    def alive(self) -> tuple[bool, str]:
        """Tell whether the loop ticks."""
        view = self._view
        if view is None:
            return False, "no tick yet"
        silent = self._clock.now().since(view.step.at)
        if silent > STALLED_S:
            return False, f"the loop has not ticked for {silent:.0f} s"
        return True, ""

    def _make_status(self) -> Status:
        view, now = self._view, self._clock.now()
        if view is None:
            return self._frame(now, ready=False, why="no tick yet")
        store = self._store.health
        unread = not view.step.state.services and bool(view.parts.plan.services)
        why = "no service was read yet" if unread else ("" if store == OK else f"store: {store}")
        status = self._frame(now, ready=not why, why=why)
        extras = {name: self._extras(name, now) for name in view.step.state.services}
        return self._fill(status, view, project(view.step.state, view.parts.rules, now, extras))

    def _extras(self, service: str, now: Instant) -> ServiceExtras:
        return ServiceExtras(
            next_schedule=self._next_schedule(service),
            cannot_act=self._cannot_act(service),
            next_sample_s=self._agenda.sample_in_s(service, now),
        )

    def _frame(self, now: Instant, *, ready: bool, why: str) -> Status:
        view = self._view
        return Status(
            host=view.parts.plan.host if view is not None else "",
            version=leakguard.__version__,
            pid=os.getpid(),
            at=now.rfc3339(),
            started_at=self._started.rfc3339(),
            ready=ready,
            not_ready_because=why,
        )

    def _fill(self, status: Status, view: View, services: tuple[ServiceStatus, ...]) -> Status:
        host = view.host
        deliveries: Mapping[str, Mapping[str, int]] = self._store.delivery_counts()
        return replace(
            status,
            services=services,
            store=self._store.health,
            config_ok=not self.config_problem,
            host_total_bytes=host.total_bytes if host else None,
            host_available_bytes=host.available_bytes if host else None,
            host_swap_free_bytes=host.swap_free_bytes if host else None,
            psi_some_avg10=host.psi_some_avg10 if host else None,
            predictions=view.step.state.own.predictions,
            deliveries=deliveries,
        )
