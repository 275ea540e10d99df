"""Where the recordings of a back-test are from: CSV files, a state file, a Prometheus server."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from leakguard.cli._output import instant
from leakguard.cli._series_file import STDIN, UNITS, read_limits, read_series
from leakguard.core.errors import UsageError
from leakguard.core.instant import rfc3339
from leakguard.core.units import GIB, format_bytes, format_duration, parse_bytes
from leakguard.runtime.backtest.recording import UNIX_FROM_S, Builder, Recording

PERCENT = "percent"
USUAL_RANGE_S = 14 * 86_400.0
_FROM_STATE = (
    "the state file holds samples of hours, then medians of minutes and of hours, and no peaks",
    "restarts that leakguard itself made then are left out: the policy under test has its own",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options that say what is read."""

    files: tuple[str, ...] = ()
    unit: str = "bytes"
    limit: str | None = None
    limits: str | None = None
    state: str | None = None
    prometheus: str | None = None
    query: str | None = None
    start: str | None = None
    end: str | None = None
    step: float = 60.0
    last: float | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What was read, and what had to be assumed for it."""

    recordings: tuple[Recording, ...]
    notes: tuple[str, ...] = ()
    dated: bool = True
    """The times are real ones; else they count from the beginning."""


def gather(asked: Asked, now_wall_s: float) -> Gathered:
    """Read the recordings that were asked for.

    Raises:
        UsageError: there is no one source, it cannot be read, or it holds nothing.
    """
    sources = [bool(asked.files), asked.state is not None, asked.prometheus is not None]
    if sum(sources) != 1:
        raise UsageError("name one source: CSV files, --state PATH, or --prometheus URL --query Q")
    _refuse_idle(asked)
    if asked.state is not None:
        gathered = _from_state(asked.state, asked)
    elif asked.prometheus is not None:
        gathered = _from_prometheus(asked.prometheus, asked, now_wall_s)
    else:
        gathered = _from_files(asked)
    recordings = tuple(one for one in gathered.recordings if len(one))
    if asked.last is not None:
        recordings = tuple(one.last_of(asked.last) for one in recordings)
    if not any(len(one) > 1 for one in recordings):
        raise UsageError("there is no series of at least two samples in what was read")
    return replace(gathered, recordings=tuple(one for one in recordings if len(one) > 1))


def _refuse_idle(asked: Asked) -> None:
    """Refuse what the source has no use for: it would be thought to matter."""
    if asked.prometheus is not None and asked.query is None:
        raise UsageError("--prometheus needs --query: what is to be read there")
    if asked.prometheus is None and (asked.query is not None or asked.end is not None):
        raise UsageError("--query and --end go with --prometheus URL")
    if asked.state is not None and (asked.start is not None or asked.unit != "bytes"):
        raise UsageError(
            "a state file says itself when and in what unit: leave out --start, --unit"
        )


def _from_files(asked: Asked) -> Gathered:
    builders: dict[str, Builder] = {}
    files = tuple(dict.fromkeys(asked.files))
    for path in files:
        for name, t, value in read_series(path, asked.unit):
            if not asked.names or name in asked.names:
                try:
                    builders.setdefault(name, Builder(name=name)).add(t, value)
                except UsageError as error:
                    shown = "standard input" if path == STDIN else path
                    raise UsageError(f"{shown}: {error}") from error
    _refuse_unknown(asked, builders)
    unix = [b.times[0] >= UNIX_FROM_S for b in builders.values() if b.times]
    if asked.start is not None and any(unix):
        raise UsageError("--start is for times that count from 0, and these are Unix times")
    start = _time(asked.start) if asked.start is not None else 0.0
    recordings, notes = _scaled(builders, asked, start)
    if not all(unix):
        notes += (_begins(asked.start, start),)
    return Gathered(recordings=recordings, notes=notes, dated=all(unix) or asked.start is not None)


def _begins(given: str | None, start: float) -> str:
    if given is not None:
        return f"time 0 is {rfc3339(start)}"
    return f"time 0 is taken for {rfc3339(start)}, for schedules and windows: give --start"


def _from_state(path: str, asked: Asked) -> Gathered:
    from leakguard.runtime.backtest.from_state import read_state

    limits = _limits(asked)
    usual = _limit(asked)
    recordings = tuple(
        replace(
            one, limit_bytes=round(limits.get(one.name) or usual or one.limit_bytes or 0) or None
        )
        for one in read_state(path, asked.names)
    )
    notes = tuple(
        f"{one.name}: limit {format_bytes(one.limit_bytes)}, as its last event says"
        for one in recordings
        if one.limit_bytes is not None and one.name not in limits and asked.limit is None
    )
    return Gathered(recordings=recordings, notes=(*notes, *_FROM_STATE))


def _from_prometheus(url: str, asked: Asked, now_wall_s: float) -> Gathered:
    from leakguard.runtime.backtest.from_prometheus import RangeQuery, read_prometheus

    end = _time(asked.end) if asked.end is not None else now_wall_s
    start = _time(asked.start) if asked.start is not None else end - USUAL_RANGE_S
    if start >= end or asked.step <= 0:
        raise UsageError("--start must be before --end, and --step longer than 0")
    query = RangeQuery(
        url=url, query=asked.query or "", start_s=start, end_s=end, step_s=asked.step
    )
    factor = UNITS[asked.unit]
    found = {}
    for builder in read_prometheus(query):
        if not asked.names or builder.name in asked.names:
            for i, value in enumerate(builder.values):
                builder.values[i] = value * factor
            found[builder.name] = builder
    _refuse_unknown(asked, found)
    recordings, notes = _scaled(found, asked, 0.0)
    step = format_duration(asked.step)
    note = f"the server gave one value every {step}: peaks between them are not seen"
    return Gathered(recordings=recordings, notes=(*notes, note))


def _scaled(
    builders: Mapping[str, Builder], asked: Asked, start: float
) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    """Give recordings in bytes with their limits; percents become shares of what 100 is."""
    limits, limit, factor = _limits(asked), _limit(asked), 1.0
    notes: tuple[str, ...] = ()
    if asked.unit == PERCENT:
        full = limit if limit is not None else GIB
        factor, limit = full / 100, full
        if asked.limit is None:
            notes = (
                "100 percent is taken for 1 GiB: sizes in a configuration are compared with that",
            )
    recordings = []
    for name, builder in builders.items():
        if factor != 1.0:
            for i, value in enumerate(builder.values):
                builder.values[i] = value * factor
        own = limits.get(name)
        known = round(own * factor) if own is not None else limit
        recordings.append(builder.recording(limit_bytes=known, start_wall_s=start))
    return tuple(recordings), notes


def _limits(asked: Asked) -> dict[str, float]:
    if asked.limits is None:
        return {}
    return read_limits(asked.limits, asked.unit)


def _limit(asked: Asked) -> int | None:
    return parse_bytes(asked.limit) if asked.limit is not None else None


def _refuse_unknown(asked: Asked, builders: Mapping[str, Builder]) -> None:
    missing = [name for name in asked.names if name not in builders]
    if missing:
        raise UsageError(f"there is no series named {missing[0]!r} in what was read")


def _time(text: str) -> float:
    """Read a time: ISO 8601, UTC unless it says otherwise, or Unix time."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return instant(text).timestamp()
    except ValueError:
        raise UsageError(f"{text!r} is not a time: write 2026-11-22T21:00:00Z") from None
