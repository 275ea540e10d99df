"""One decision per service with a sentence of reason, and the actions that carry it out."""

from enum import StrEnum

from leakguard.core.frozen import dataclass
from leakguard.core.guards import Veto
from leakguard.core.instant import Instant
from leakguard.core.limits import MemoryLimits
from leakguard.core.policy import Trigger
from leakguard.core.sample import Incarnation


class Verb(StrEnum):
    """What was decided."""

    RESTART = "restart"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided for one service in one tick, when anything was proposed."""

    service: str
    at: Instant
    verb: Verb
    trigger: Trigger
    reason: str
    vetoes: tuple[Veto, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartService:
    """Restart (or, when `incarnation` is None, start) one service.

    `id` is unique over the life of a state file. The executor looks again before it acts: when
    `incarnation` is not what runs now, it does nothing and says so. `end_s`: how long after
    `decided` the memory may run out at the earliest; None when nothing is foreseen.
    """

    TAGGED = True

    id: str
    service: str
    incarnation: Incarnation | None
    trigger: Trigger
    reason: str
    decided: Instant
    deadline_s: float
    end_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopService:
    """Stop a service that depends on another one, so that nobody starts it meanwhile.

    `trigger` is that of the other one's restart.
    """

    TAGGED = True

    id: str
    service: str
    reason: str
    trigger: Trigger
    decided: Instant
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StartService:
    """Start a service that was stopped for another one's restart; nothing happens if it runs."""

    TAGGED = True

    id: str
    service: str
    reason: str
    decided: Instant
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckHealth:
    """Ask the health gate of a service that came back, until it passes or `within_s` is over."""

    TAGGED = True

    id: str
    service: str
    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAfter:
    """Run the hooks that follow a restart. `outcome`: succeeded, failed or abandoned."""

    TAGGED = True

    id: str
    service: str
    trigger: Trigger
    reason: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLeave:
    """Ask a service whether it may be restarted now; it must answer within `within_s`."""

    TAGGED = True

    id: str
    service: str
    trigger: Trigger
    reason: str
    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpLimits:
    """Ask which limits of a service are in force, and where: what is going to be put back."""

    TAGGED = True

    id: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BendLimits:
    """Put limits into force while a service runs; `restores`: those that it had before.

    `place`: the directory of its cgroup, empty when its driver does it.
    """

    TAGGED = True

    id: str
    service: str
    limits: MemoryLimits
    place: str = ""
    restores: bool = False


Action = (
    RestartService
    | StopService
    | StartService
    | CheckHealth
    | RunAfter
    | AskLeave
    | LookUpLimits
    | BendLimits
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The engine's answer to a person's request: accepted, or refused by a named guard."""

    request_id: str
    accepted: bool
    message: str
    action_id: str = ""
