"""When a restart is cheap: at the moments of the policy's schedules, and in windows people name."""

from collections.abc import Iterable
from datetime import UTC, datetime

from leakguard import cron
from leakguard.core.errors import UnitError, UsageError
from leakguard.core.frozen import dataclass
from leakguard.core.policy import ScheduleRule, WindowRule
from leakguard.core.units import parse_duration


def parse_window(text: str, timezone: str) -> WindowRule:
    """Read a window such as `0 2 * * * 2h`: a cron expression and how long it lasts.

    Raises:
        UsageError: it is none; says what to write.
    """
    expression, _, length = text.strip().rpartition(" ")
    try:
        return WindowRule(
            cron=cron.parse(expression), length_s=parse_duration(length), timezone=timezone
        )
    except UnitError as error:
        raise UsageError(
            f"{text!r} is not a window: write when it begins and how long it lasts, such as "
            f"'0 2 * * * 2h' ({error})"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The cheap moments of one policy. Times are Unix time."""

    schedules: tuple[ScheduleRule, ...] = ()
    windows: tuple[WindowRule, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is any cheap moment."""
        return bool(self.schedules or self.windows)

    def in_window(self, wall_s: float) -> bool:
        """Tell whether a moment lies in one of the windows."""
        return any(
            _next(window.cron, window.timezone, 0.0, wall_s - window.length_s) <= wall_s
            for window in self.windows
        )

    def next_after(self, wall_s: float) -> float | None:
        """Give the next scheduled moment or beginning of a window; None when there is none."""
        begins = [(rule.cron, rule.timezone, rule.delay_s) for rule in self.schedules]
        begins += [(window.cron, window.timezone, 0.0) for window in self.windows]
        return min((_next(*begin, wall_s) for begin in begins), default=None)


@dataclass(slots=True)
class Due:
    """Goes through the scheduled moments of one policy, in their order."""

    _next: list[tuple[float, str, str, float]]

    @classmethod
    def after(cls, schedules: Iterable[ScheduleRule], wall_s: float) -> "Due":
        """Begin after a moment."""
        rules = [(rule.cron, rule.timezone, rule.delay_s) for rule in schedules]
        return cls([(_next(*rule, wall_s), *rule) for rule in rules])

    def soonest(self) -> float:
        """Give the next moment; infinity when there is no schedule."""
        return min((entry[0] for entry in self._next), default=float("inf"))

    def take(self) -> tuple[str, float]:
        """Give expression and time of the next moment, and go on behind it."""
        entry = min(self._next)
        moment, expr, zone, delay_s = entry
        later = _next(expr, zone, delay_s, moment)
        self._next[self._next.index(entry)] = (later, expr, zone, delay_s)
        return expr, moment


def _next(expr: str, timezone: str, delay_s: float, wall_s: float) -> float:
    after = datetime.fromtimestamp(wall_s, UTC)
    return cron.upcoming(expr, timezone, after, 1, delay_s=delay_s)[0].timestamp()
