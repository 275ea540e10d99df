"""What `check` found: the whole configuration, its services, their matches and limits."""

from leakguard.core.frozen import dataclass
from leakguard.runtime.schedule_words import ScheduleReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReport:
    """One limit of a match. `source` is a `LimitKind`; `path` that of a cgroup."""

    source: str
    limit_bytes: int
    headroom_bytes: int
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchReport:
    """One guarded service as it runs now. Sizes in bytes, None where they cannot be read."""

    service: str
    pid: int
    name: str
    processes: int | None = None
    value_bytes: int | None = None
    pss_bytes: int | None = None
    effective_limit_bytes: int | None = None
    effective_source: str = ""
    limits: tuple[LimitReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """One entry under `services`. `problems` make the check fail, `notes` do not."""

    name: str
    where: str
    mode: str
    measure: str
    target: str = ""
    matches: tuple[MatchReport, ...] = ()
    unmatched: str = ""
    """What is found where `matches` is empty: nothing, too much, or what cannot be read."""
    driver: str = ""
    restart: str = ""
    """What a restart does."""
    who_starts: str = ""
    """Who starts the service again; empty when that is not known."""
    triggers: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    """What is done before the driver acts."""
    after: tuple[str, ...] = ()
    """What follows a restart."""
    schedules: tuple[ScheduleReport, ...] = ()
    windows: tuple[str, ...] = ()
    blackouts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The whole configuration. `machine`: whether the machine was looked at, too."""

    host: str
    sources: tuple[str, ...]
    machine: bool
    services: tuple[ServiceReport, ...]
    channels: tuple[str, ...] = ()
    state: str = ""
    """The state file; empty: state is kept in memory."""
    socket: str = ""
    http: str = ""
    """The address; empty: off."""
    problems: tuple[str, ...] = ()
    """What is wrong beside the services."""
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems and not any(service.problems for service in self.services)
