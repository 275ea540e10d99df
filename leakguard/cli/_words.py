"""Say what a service's plain status means, in the words of a person; shared by status and why."""

from datetime import datetime, timedelta
from typing import Any

from leakguard.cli._output import UNKNOWN, instant
from leakguard.core.units import format_bytes, format_rate

Plain = dict[str, Any]  # a JSON object is untyped
BEYOND = "beyond 30 days"


def memory(service: Plain) -> str:
    """Give the measured size and the name of its measure: `812 MiB (auto)`."""
    size = service["value_bytes"]
    return UNKNOWN if size is None else f"{format_bytes(size)} ({service['measure']})"


def limit(service: Plain) -> str:
    """Give the limit that comes first and its kind: `1.00 GiB (cgroup)`."""
    near = service["nearest"]
    if near is not None:
        return f"{format_bytes(near['limit_bytes'])} ({near['kind']})"
    size = service["effective_limit_bytes"]
    return UNKNOWN if size is None else format_bytes(size)


def slope(service: Plain) -> str:
    """Give the growth in a readable unit of time."""
    rate = service["slope_bytes_per_s"]
    return UNKNOWN if rate is None else format_rate(rate)


def full_at(service: Plain) -> str:
    """Give when the limit is reached, with its range: `Mon 23 Nov 07:05 (01:40 to 12:30)`."""
    times = forecast(service)
    if times is None:
        return UNKNOWN
    early, middle, late = times
    shown = middle or early
    if shown is None:
        return UNKNOWN
    return f"{_day(shown)} ({_near(early, shown)} to {_near(late, shown)})"


def forecast(service: Plain) -> tuple[datetime | None, datetime | None, datetime | None] | None:
    """Give p05, p50 and p95 of when the first limit is reached, in the reader's zone."""
    near = service["nearest"] or {}
    times = near.get("time_to_limit")
    if times is None or service["sampled_at"] is None:
        return None
    start = instant(service["sampled_at"]).astimezone()
    early, middle, late = (
        None if times[name] is None else (start + timedelta(seconds=times[name])).astimezone()
        for name in ("p05_s", "p50_s", "p95_s")
    )
    return early, middle, late


def _day(moment: datetime) -> str:
    return moment.strftime("%a %d %b %H:%M")


def _near(moment: datetime | None, other: datetime) -> str:
    """Leave out the day where it is that of `other`."""
    if moment is None:
        return BEYOND
    return moment.strftime("%H:%M") if moment.date() == other.date() else _day(moment)
