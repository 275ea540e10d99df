"""A restart schedule in words: when it fires, the next times, what the clock changes do to it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from leakguard import cron
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant, rfc3339
from leakguard.core.policy import ScheduleRule
from leakguard.core.units import format_duration

NEXT = 5
_MINUTES = "%a %d %b %Y %H:%M %Z"
_SECONDS = "%a %d %b %Y %H:%M:%S %Z"
_AHEAD = timedelta(days=365)
_STEP = timedelta(hours=6)  # no zone changes its clock twice within this


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTime:
    """One coming restart: for people, and in RFC 3339."""

    text: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleReport:
    """One schedule. `notes`: what happens in the nights in which the clock changes."""

    cron: str
    words: str
    timezone: str
    next: tuple[NextTime, ...]
    notes: tuple[str, ...] = ()


def report(rule: ScheduleRule, now: Instant) -> ScheduleReport:
    """Explain one schedule as of `now`."""
    start = datetime.fromtimestamp(now.wall_s, UTC)
    words = f"{cron.explain(rule.cron)}{delay_words(rule)}"
    form = _SECONDS if rule.delay_s else _MINUTES
    moments = cron.upcoming(rule.cron, rule.timezone, start, NEXT, delay_s=rule.delay_s)
    return ScheduleReport(
        cron=rule.cron,
        words=words if rule.skip_below is None else f"{words}, unless below {rule.skip_below}",
        timezone=rule.timezone,
        next=tuple(NextTime(text=m.strftime(form), at=rfc3339(m.timestamp())) for m in moments),
        notes=tuple(clock_notes(rule.cron, rule.timezone, start)),
    )


def delay_words(rule: ScheduleRule) -> str:
    """Say how much later the moments of this service come than the expression says."""
    if not rule.splay_s:
        return ""
    return f", here {format_duration(rule.delay_s)} later (splay {format_duration(rule.splay_s)})"


def clock_notes(expr: str, timezone: str, start: datetime) -> Iterator[str]:
    """Say, for each clock change of the coming year that moves a restart, what happens."""
    if expr.split(maxsplit=1)[0].startswith("*") or expr.split()[1].startswith("*"):
        return  # these follow the clock as it runs
    for change in clock_changes(timezone, start, start + _AHEAD):
        zone = ZoneInfo(timezone)
        before = (change - timedelta(seconds=1)).astimezone(zone)
        after = change.astimezone(zone)
        # Both ends as the wall clock shows them: skipped between them, or shown twice.
        edges = sorted((_wall(before) + timedelta(seconds=1), _wall(after)))
        moment = next(iter(cron.upcoming(expr, "UTC", edges[0] - timedelta(seconds=1), 1)), None)
        if moment is None or moment >= edges[1]:
            continue
        span = f"{edges[0]:%H:%M} to {edges[1]:%H:%M}"
        day = f"{after:%a %d %b %Y}"
        if _wall(after) == edges[1]:
            yield f"on {day} the clock skips {span}: {moment:%H:%M} comes at {after:%H:%M}"
        else:
            yield f"on {day} the clock shows {span} twice: {moment:%H:%M} counts once, the first"


def clock_changes(timezone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """Give the instants at which the zone's offset changes, to the second."""
    zone, at = ZoneInfo(timezone), start
    while at < end:
        later = at + _STEP
        if at.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            yield _first_with_other_offset(zone, at, later)
        at = later


def _first_with_other_offset(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    offset = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _wall(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC, fold=0)
