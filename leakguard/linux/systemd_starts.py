"""The starts of units that were seen, and when systemd would refuse the next one.

systemd counts every start, also ours, and refuses more than StartLimitBurst within
StartLimitIntervalUSec, which begins with the first of them. It does not tell the count, so starts
are counted as they are seen: by their times, and by NRestarts for those between two looks. Starts
before the first look are known as a number only, and taken for as late as the last.
"""

from dataclasses import field

from leakguard.core.frozen import dataclass
from leakguard.linux.systemd_unit import Unit

_MOST = 64


@dataclass(slots=True)
class Starts:
    """The starts of one unit, in seconds since boot."""

    unit: Unit
    at: list[float] = field(default_factory=list)


class StartBook:
    """What was last seen of each unit. Looks add to it from any thread."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._known: dict[str, Starts] = {}

    def seen(self, unit: Unit, started_boot_s: float | None = None) -> None:
        """Take a look at a unit; `started_boot_s` is when its main process was started."""
        known = self._known.get(unit.name)
        at = list(known.at) if known is not None else []
        if unit.started_us and (known is None or unit.started_us != known.unit.started_us):
            when = unit.started_us / 1e6 if started_boot_s is None else started_boot_s
            at += [when] * _new_starts(known.unit if known is not None else None, unit)
        self._known[unit.name] = Starts(unit, at[-_MOST:])

    def last(self, name: str) -> Unit | None:
        """Give a unit as it was last seen."""
        known = self._known.get(name)
        return known.unit if known is not None else None

    def started_s(self, name: str) -> float:
        """Give when a unit was last seen to start, seconds since boot; 0 where it never was."""
        known = self._known.get(name)
        return known.at[-1] if known is not None and known.at else 0.0

    def left(self, name: str, now_boot_s: float) -> int | None:
        """Count the starts that systemd still allows in its running interval; None: no limit."""
        known = self._known.get(name)
        if known is None or not known.unit.burst or known.unit.interval_s == 0:
            return None
        began_s, count = _interval(known)
        if now_boot_s - began_s > _span_s(known.unit):
            return known.unit.burst
        return max(0, known.unit.burst - count)

    def wait_s(self, name: str, now_boot_s: float) -> float:
        """Give the seconds until systemd would start it again; 0: now."""
        known = self._known.get(name)
        if known is None or self.left(name, now_boot_s) != 0:
            return 0.0
        return max(0.0, _interval(known)[0] + _span_s(known.unit) - now_boot_s)


def _interval(known: Starts) -> tuple[float, int]:
    """Give when the interval of the last start began, and the starts in it."""
    began_s, count = float("-inf"), 0
    for at in known.at:
        if at - began_s > _span_s(known.unit):
            began_s, count = at, 0
        count += 1
    return began_s, count


def _span_s(unit: Unit) -> float:
    return float("inf") if unit.interval_s is None else unit.interval_s


def _new_starts(before: Unit | None, now: Unit) -> int:
    """Count the starts since the last look; a start by hand sets NRestarts back to nothing."""
    if before is None:
        return 1 + min(now.restarts, _MOST)
    if now.restarts > before.restarts:
        return min(now.restarts - before.restarts, _MOST)
    return 1 if now.restarts == before.restarts else 1 + min(now.restarts, _MOST)
