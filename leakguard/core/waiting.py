"""What the restart of a leaking service waits for, as a plain value."""

from enum import StrEnum

from leakguard.core.calendar import Span
from leakguard.core.frozen import dataclass


class PlanKind(StrEnum):
    """What a restart for a leak waits for."""

    SCHEDULE = "schedule"
    WINDOW = "window"
    QUIET = "quiet"
    BLACKOUT = "blackout"
    """The last moment before a blackout that the memory does not outlast."""
    EDGE = "edge"
    """The moment at which the accepted risk is reached: nothing cheap comes before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """When a leaking service is going to be restarted, as of now.

    `sure`: the chance that the memory lasts until the end of the span and the restart in it.
    """

    what: PlanKind
    span: Span
    sure: float

    def is_due(self, wall_s: float) -> bool:
        """Tell whether its time has come; schedule and edge have triggers of their own."""
        own = self.what in (PlanKind.WINDOW, PlanKind.QUIET, PlanKind.BLACKOUT)
        return own and self.span.holds(wall_s)
