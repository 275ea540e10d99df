"""A daemon for tests of whatever reads one: what it shows and answers is set beforehand."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple

from leakguard.core.decision import Reply
from leakguard.core.domain_victims import DomainVictim
from leakguard.core.dry_run import DryRun, DryRunReply
from leakguard.core.events import Event, EventKind
from leakguard.core.forecast import TimeToLimit
from leakguard.core.inbox import DryRunRequest, Request, RestartRequest, ScheduleDue
from leakguard.core.severity import Severity
from leakguard.core.status import LimitStatus, RestartStatus, ServiceStatus, Status

MIB = 1024**2
AT = "2026-11-22T21:00:00Z"
AT_WALL_S = 1795381200.0


def worker(**changes: object) -> ServiceStatus:
    """Give a service that leaks 21 MiB/h in a 1 GiB cgroup."""
    values: dict[str, object] = {
        "name": "worker",
        "mode": "act",
        "phase": "watching",
        "measure": "auto",
        "driver": "signal",
        "value_bytes": 812 * MIB,
        "rss_bytes": 830 * MIB,
        "anon_bytes": 800 * MIB,
        "swap_bytes": 0,
        "processes": 3,
        "pid": 4711,
        "age_s": 270000.0,
        "sampled_at": AT,
        "verdict": "leaking",
        "verdict_reason": "grows in 41 of 42 bins",
        "slope_bytes_per_s": 21 * MIB / 3600,
        "effective_limit_bytes": 1024 * MIB,
        "nearest": CGROUP_LIMIT,
        "limits": (CGROUP_LIMIT, HOST_LIMIT),
        "threshold_bytes": 920 * MIB,
        "next_schedule": "2026-11-23T02:00:00Z",
        "last_decision": "hold (forecast): the window at 03:00 comes first",
        "restarts": (RestartStatus(at="2026-11-20T03:00:00Z", reason="schedule"),),
        "restarts_left": 3,
        "restart_counts": {"schedule/succeeded": 2, "others/succeeded": 1},
        "veto_counts": {"grace": 4},
        "sample_errors": 1,
        "oom_kills": 2,
        "oom_causes": {"own_limit": 2},
        "deaths": {"oom_own_limit": 1, "crash": 1},
        "outcomes": {"early": 1, "inside": 18, "late": 1},
        "next_sample_s": 10.0,
    }
    return ServiceStatus(**{**values, **changes})  # type: ignore[arg-type]  # tests choose the fields


CGROUP_LIMIT = LimitStatus(
    kind="cgroup",
    path="/jobs/worker",
    limit_bytes=1024 * MIB,
    headroom_bytes=212 * MIB,
    time_to_limit=TimeToLimit(p05_s=16800.0, p50_s=36342.0, p95_s=None),
)
HOST_LIMIT = LimitStatus(
    kind="host", path="", limit_bytes=8192 * MIB, headroom_bytes=4096 * MIB, time_to_limit=None
)


def quiet() -> ServiceStatus:
    """Give a service of which almost nothing is known yet."""
    return ServiceStatus(
        name="cache", mode="observe", phase="starting", measure="rss", driver="", restarts_left=4
    )


def sample_status(**changes: object) -> Status:
    """Give a status with `worker`, which leaks, and `cache`, which was not read yet."""
    values: dict[str, object] = {
        "host": "db1",
        "version": "0.1.0",
        "pid": 99,
        "at": AT,
        "started_at": "2026-11-19T18:00:00Z",
        "ready": True,
        "services": (worker(), quiet()),
        "deliveries": {"ops": {"ok": 5, "failed": 1, "pending": 2}},
    }
    return Status(**{**values, **changes})  # type: ignore[arg-type]  # tests choose the fields


def sample_event(
    serial: int,
    kind: EventKind = EventKind.LEAK_SUSPECTED,
    service: str = "worker",
    **details: object,
) -> Event:
    """Give one event; `serial` makes its id and its time."""
    return Event(
        id=f"e{serial}",
        kind=kind,
        service=service,
        wall_s=AT_WALL_S + serial,
        severity=Severity.WARNING,
        message=f"event {serial} of {service or 'the daemon'}",
        details=details,  # type: ignore[arg-type]  # tests choose the details
    )


@dataclass
class FakeBack:
    """Follows the contract of `web.base.Back`; fields may be changed while it is served.

    `asked` collects the requests. `hold` makes `ask` wait until it is set; `entered` is released
    once for each call that came so far. `after_ask` are
    events that appear when a request was answered, as the outcome of a restart does.
    """

    state: Status = field(default_factory=sample_status)
    happened: list[Event] = field(default_factory=list)
    outbox: list[dict[str, object]] = field(default_factory=list)
    points: Sequence[tuple[float, ...]] = ()
    looks: Sequence[DomainVictim] = ()
    liveness: tuple[bool, str] = (True, "")
    accepts: bool = True
    message: str = "restarting worker: asked by alice"
    action_id: str = "a1"
    dry_run: DryRun | None = field(default_factory=lambda: DryRun(service="worker", running=True))
    after_ask: list[Event] = field(default_factory=list)
    hold: threading.Event | None = None
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    error: Exception | None = None
    asked: list[Request] = field(default_factory=list)

    def status(self) -> Status:
        """Give the status that was set."""
        if self.error is not None:
            raise self.error
        return self.state

    def events(self, service: str, limit: int, before: str) -> list[Event]:
        """Give the newest first, as the store does."""
        newest = list(reversed(self.happened))
        if before:
            ids = [event.id for event in newest]
            newest = newest[ids.index(before) + 1 :] if before in ids else []
        return [e for e in newest if service in ("", e.service)][:limit]

    def deliveries(self, limit: int) -> Sequence[Mapping[str, object]]:
        """Give what was set."""
        return self.outbox[:limit]

    def victims(self) -> Sequence[DomainVictim]:
        """Give what was set."""
        return self.looks

    def series(self, service: str, since_wall_s: float, points: int) -> Sequence[tuple[float, ...]]:
        """Give the last `points` of what was set."""
        return [point for point in self.points if point[0] >= since_wall_s][-points:]

    def ask(self, request: Request, timeout_s: float) -> Reply:
        """Remember the request and answer as told."""
        self.entered.release()
        if self.hold is not None:
            self.hold.wait(timeout_s)
        if self.error is not None:
            raise self.error
        self.asked.append(request)
        self.happened += self.after_ask
        if isinstance(request, DryRunRequest) and self.dry_run is not None:
            return DryRunReply(
                request_id=request.id,
                accepted=self.accepts,
                message=self.message,
                dry_run=self.dry_run,
            )
        restart = isinstance(request, RestartRequest)
        return Reply(
            request_id="" if isinstance(request, ScheduleDue) else request.id,
            accepted=self.accepts,
            message=self.message,
            action_id=self.action_id if restart and self.accepts else "",
        )

    def alive(self) -> tuple[bool, str]:
        """Give what was set."""
        return self.liveness


class Answer(NamedTuple):
    """What a WSGI application answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask_wsgi(
    app: Callable[..., Iterable[bytes]],
    method: str,
    target: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Call a WSGI application once, without a socket."""
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {  # WSGI says so
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
        "HTTP_HOST": "127.0.0.1:9847",
    }
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        environ[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
    seen: list[tuple[str, list[tuple[str, str]]]] = []
    parts = app(environ, lambda status, found: seen.append((status, found)))
    status, found = seen[0]
    return Answer(int(status.split()[0]), dict(found), b"".join(parts))
