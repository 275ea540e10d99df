"""What comes in from outside a tick: outcomes of actions, requests of people, due schedules."""

from enum import StrEnum

from leakguard.core.frozen import dataclass
from leakguard.core.limits import MemoryLimits
from leakguard.core.sample import Incarnation

LONGEST_PAUSE_S = 366 * 86400.0
"""What is to be left alone for longer is better taken out of the configuration."""


class OutcomeKind(StrEnum):
    """How an action ended, as far as the executor knows; success is judged by the next sample."""

    PREPARED = "prepared"
    """Drain and hooks are over (`told`), and the driver acts now."""
    DONE = "done"
    """The driver carried out its part."""
    FAILED = "failed"
    """The driver could not; `message` says why."""
    STALE = "stale"
    """Nothing was done: another incarnation runs than the one that was meant."""
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    GRANTED = "granted"
    """The service gives leave to restart it, or could not be asked."""
    REFUSED = "refused"
    """It is busy; `again_s` says when to ask again, where it said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of one errand round a restart: the drain, or a hook.

    `output` is the directory with what it printed and wrote; empty when nothing is kept.
    """

    message: str
    ok: bool = True
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back of an action, through the inbox."""

    TAGGED = True

    action_id: str
    service: str
    kind: OutcomeKind
    message: str = ""
    permanent: bool = False
    again_s: float | None = None
    stop_s: float | None = None
    """Seconds from the first signal to the end of the old incarnation, where the driver saw it."""
    started: Incarnation | None = None
    """The process that the driver itself started: it ran, even if it ended before a sample."""
    told: tuple[Told, ...] = ()
    """What came of drain and hooks."""
    kept_root: bool = False
    """The driver replaced what runs below the root, which goes on."""
    limits: MemoryLimits | None = None
    """The limits in force, where they were asked for; `place` is the directory of their cgroup."""
    place: str = ""
    elsewhere: str = ""
    """Who took the service over where leakguard does not see it; its manager says it is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRequest:
    """A person asks for a restart. `force` overrides pause and breaker, never an act in flight."""

    TAGGED = True

    id: str
    service: str
    by: str = ""
    reason: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunRequest:
    """A person asks what a restart would do now; nothing is done, counted or told."""

    TAGGED = True

    id: str
    service: str
    by: str = ""
    reason: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequest:
    """A person takes a service out of automatic restarts, for `for_s` seconds or until resumed."""

    TAGGED = True

    id: str
    service: str
    by: str = ""
    reason: str = ""
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequest:
    """A person puts a service back under guard; also closes its breaker."""

    TAGGED = True

    id: str
    service: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDue:
    """A cron moment has come. `due_wall_s` is the moment itself, not when it was noticed."""

    TAGGED = True

    service: str
    cron: str
    due_wall_s: float


Request = RestartRequest | DryRunRequest | PauseRequest | ResumeRequest | ScheduleDue
