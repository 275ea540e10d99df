"""Say what a service's plain status means, in the words of a person; shared by status and why."""

from datetime import datetime, timedelta
from typing import Any

from leakguard.cli._output import UNKNOWN, instant
from leakguard.core.units import format_bytes, format_rate

Plain = dict[str, Any]  # a JSON object is untyped
BEYOND = "beyond 30 days"
PASSED = "passed"
NOW = "now"
AT_ONCE = timedelta(seconds=1)


def memory(service: Plain) -> str:
    """Give the measured size and the name of its measure: `812 MiB (auto)`."""
    size = bare_memory(service)
    return size if size == UNKNOWN else f"{size} ({service['measure']})"


def bare_memory(service: Plain) -> str:
    """Give the measured size alone."""
    size = service["value_bytes"]
    return UNKNOWN if size is None else format_bytes(size)


def limit(service: Plain) -> str:
    """Give the limit that comes first and its kind: `1.00 GiB (cgroup)`."""
    near = service["nearest"]
    return bare_limit(service) if near is None else f"{bare_limit(service)} ({near['kind']})"


def bare_limit(service: Plain) -> str:
    """Give the limit that comes first without its kind."""
    near = service["nearest"]
    size = service["effective_limit_bytes"] if near is None else near["limit_bytes"]
    return UNKNOWN if size is None else format_bytes(size)


def victim(service: Plain) -> str:
    """Give whom the kernel would kill at that limit: `postgres (pid 77)`, with `?` if not sure."""
    oom = (service["nearest"] or {}).get("oom")
    if oom is None or oom["victim"] is None:
        return UNKNOWN
    return suspect(oom["victim"]) + ("" if oom["certain"] else " ?")


def suspect(one: Plain) -> str:
    """Name a process: by the service that it belongs to, else by its program and pid."""
    return str(one["service"] or f"{one['name']} (pid {one['pid']})")


def slope(service: Plain) -> str:
    """Give the growth in a readable unit of time."""
    rate = service["slope_bytes_per_s"]
    return UNKNOWN if rate is None else format_rate(rate)


def full_at(service: Plain) -> str:
    """Give when the limit is reached, with its range: `Mon 23 Nov 07:05 (01:40 to 12:30)`."""
    shown = about_full_at(service)
    times = forecast(service)
    if times is None or shown in (UNKNOWN, PASSED, NOW):
        return shown
    early, middle, late = times
    other = middle or early
    if other is None:
        return UNKNOWN
    return f"{shown} ({_near(early, other)} to {_near(late, other)})"


def about_full_at(service: Plain) -> str:
    """Give when the limit is reached, without the range; `passed` and `now` where it is."""
    near, times = service["nearest"], forecast(service)
    if near is not None and near["headroom_bytes"] < 0:
        return PASSED
    if times is None:
        return UNKNOWN
    early, middle, late = times
    shown = middle or early
    if shown is None:
        return UNKNOWN
    if late is not None and late <= instant(service["sampled_at"]) + AT_ONCE:
        return NOW
    return _day(shown)


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
