"""Cron expressions: what they mean, when they fire, and that they fire at all.

The rules around daylight saving are those of Debian's cron, by CronSim: a moment that the clock
skips fires as soon as the clock goes on, one that the clock repeats fires once; an expression
with `*` as minute or hour follows the clock as it runs.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from leakguard.core.errors import UnitError

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names that stand for an expression, as crontab has them."""

_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_LONGEST = 200
# A whole cycle of leap years and weekdays begins here: what never fires from here never fires.
_CYCLE_START = datetime(2001, 1, 1, tzinfo=UTC)


def parse(expr: str) -> str:
    """Give the expression with aliases expanded and one space between its five fields.

    Raises:
        UnitError: it is no cron expression, or it never fires.
    """
    text = ALIASES.get(expr.strip().lower(), expr)
    fields = text.split()
    if text.startswith("@"):
        raise UnitError(f"{expr!r} is not known: use one of {', '.join(ALIASES)}")
    if len(fields) != len(_FIELDS) or len(text) > _LONGEST:
        raise UnitError(
            f"{expr[:_LONGEST]!r} is not a cron expression: "
            f"write five fields ({', '.join(_FIELDS)}), such as '0 3 * * *'"
        )
    normal = " ".join(fields)
    if not _fires(normal):
        raise UnitError(f"{expr!r} never fires: no month has such a day")
    return normal


def upcoming(
    expr: str, timezone: str, after: datetime, n: int, *, delay_s: float = 0.0
) -> list[datetime]:
    """Give the next `n` moments after `after`, in `timezone`, each later than the one before.

    `delay_s`: each of them comes so much later than the expression says.
    """
    if delay_s:
        by = timedelta(seconds=delay_s)
        found = upcoming(expr, timezone, after.astimezone(UTC) - by, n)
        return [(one.astimezone(UTC) + by).astimezone(one.tzinfo) for one in found]
    return list(islice(moments(expr, timezone, after), n))


def moments(expr: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """Give the moments after `after`, in `timezone`, each later than the one before."""
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    last = after.astimezone(UTC)
    # CronSim looks at the naive clock: in a repeated hour it may give a moment that has been, and
    # two moments of a skipped hour fall on the same instant.
    for moment in CronSim(parse(expr), after.astimezone(zone)):
        if moment.astimezone(UTC) > last:
            last = moment.astimezone(UTC)
            yield moment


def explain(expr: str) -> str:
    """Say in words when it fires: `At 03:00 on Monday through Friday`."""
    return CronSim(parse(expr), _CYCLE_START).explain()


def _fires(normal: str) -> bool:
    try:
        return next(CronSim(normal, _CYCLE_START), None) is not None
    except CronSimError as error:
        if _day_never_comes(normal):
            return False
        field = str(error).removeprefix("Bad ").replace("-", " ")
        raise UnitError(
            f"{normal!r} is not a cron expression: its {field} cannot be read"
        ) from error
    except (ValueError, AssertionError, TypeError, RecursionError) as error:
        raise UnitError(f"{normal!r} is not a cron expression") from error


def _day_never_comes(normal: str) -> bool:
    """Tell a day that its months do not have from a day that cannot be read."""
    minute, hour, day, _, _ = normal.split()
    try:
        CronSim(f"{minute} {hour} {day} * *", _CYCLE_START)
        CronSim(f"{minute} {hour} * {normal.split()[3]} {normal.split()[4]}", _CYCLE_START)
    except (CronSimError, ValueError, AssertionError):
        return False
    return True
