"""What a restart would do, as text: the verdict, then one line for each step and each hindrance."""

from collections.abc import Iterator
from typing import Any

from leakguard.cli._output import GAP, count, paint
from leakguard.core.units import format_duration

WIDTH = 13

Plain = dict[str, Any]  # a JSON object is untyped


def lines(service: str, reply: Plain) -> Iterator[str]:
    """Give the answer to a dry run as lines."""
    found = reply["dry_run"]
    if reply["accepted"]:
        yield f"{service} {reply['message']}"
    else:
        yield f"{service} would not be restarted: {reply['message']}"
    for name, texts in _rows(found):
        yield from (f"{GAP}{name:<{WIDTH}}{text}" for text in texts)
    for problem in found["problems"]:
        yield f"{GAP}{paint('problem'.ljust(WIDTH), 'red')}{problem}"
    yield "this was a dry run: nothing was done"


def _rows(found: Plain) -> Iterator[tuple[str, list[str]]]:
    yield "held back by", [_held(held) for held in found["held_by"]]
    yield "overridden", [f"{held['guard']}: {held['reason']}" for held in found["overridden"]]
    asks = 1 if found["asks_leave"] else 0  # the question comes before all else
    yield "before it", found["before"][:asks]
    yield "stops first", [", ".join(found["stops_first"])] if found["stops_first"] else []
    yield "before it", found["before"][asks:]
    if found["driver"]:
        yield "restart by", [f"{found['driver']}: {found['how']}".strip(": ")]
    yield "ends", [_ends(found)] if found["processes"] else []
    yield "started by", [found["started_by"]] if found["started_by"] else []
    yield "within", [_within(found)]
    yield "health gate", [found["health"]] if found["health"] else []
    yield "starts then", [", ".join(found["starts_after"])] if found["starts_after"] else []
    yield "after it", found["after"]
    yield "breaker", [f"{count(found['restarts_left'], 'restart')} left before this one"]
    yield "note", found["cautions"]


def _held(held: Plain) -> str:
    force = " (--force overrides it)" if held["yields_to_force"] else ""
    return f"{held['guard']}: {held['reason']}{force}"


def _ends(found: Plain) -> str:
    named = ", ".join(f"{one['pid']} {one['name']}".strip() for one in found["ends"])
    more = found["processes"] - len(found["ends"])
    pids = "pid" if found["processes"] == 1 else "pids"
    return f"{pids} {named}{f' and {more} more' if more else ''}"


def _within(found: Plain) -> str:
    deadline = f"{format_duration(found['deadline_s'])} in all"
    stop_s = found["stop_within_s"]
    if stop_s is None or not found["processes"]:
        return deadline
    return f"{format_duration(stop_s)} to stop, {deadline}"
