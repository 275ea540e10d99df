"""Limits that somebody enforces, and limits that were bent to buy time, as plain values."""

from enum import StrEnum

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.sample import Incarnation


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """What a manager, or a cgroup, allows a service, in bytes; None: no limit.

    `high_bytes`: from here on the kernel slows it down. `max_bytes`: here the kernel kills.
    """

    high_bytes: int | None = None
    max_bytes: int | None = None


class BentStage(StrEnum):
    """How far buying time has come."""

    LOOKING = "looking"
    """The limits in force are being asked for; nothing is changed."""
    BENDING = "bending"
    """They are written down, and being changed."""
    BENT = "bent"
    RESTORING = "restoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bent:
    """Time that is being bought for one run, or was; `before` is what is to be put back.

    `path` is the limited cgroup as it is sampled, `place` the directory in which the limits are
    changed; empty when the driver does that.
    """

    stage: BentStage
    action_id: str
    asked: Instant
    run: Incarnation
    path: str
    until_wall_s: float
    awaits: str
    """What the time is bought for, in words."""
    after: MemoryLimits
    before: MemoryLimits | None = None
    place: str = ""
    failures: int = 0
    """How often putting them back failed."""
