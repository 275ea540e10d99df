"""What is coming: windows, blackouts and schedules as spans of wall time, worked out ahead.

Cron expressions follow the clock of their zone, daylight saving included; a span lasts its length
in real time. The engine is told only of calendars that changed, so that a recording stays small.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from leakguard import cron
from leakguard.core.calendar import NOTHING, Calendar, Span
from leakguard.core.instant import Instant
from leakguard.core.policy import ServiceRules, WindowRule
from leakguard.core.units import format_duration

AGAIN_S = 6 * 3600.0
"""A calendar is worked out anew after this, long before what it knows is over."""
AHEAD = timedelta(days=4)
FAR = timedelta(days=31)
"""All that begins within `AHEAD` is told; of rarer ones a few, as far as forecasts reach."""
FEW, MANY = 8, 64

Schedule = tuple[str, str, float]
"""Cron expression, time zone, and how much later it comes here."""
Key = tuple[tuple[WindowRule, ...], tuple[WindowRule, ...], tuple[Schedule, ...]]


class Calendars:
    """Works calendars out, and says which are news. Entries with equal rules share one."""

    def __init__(self) -> None:
        """Know nothing yet: every calendar is news."""
        self._told: dict[str, Calendar] = {}
        self._keys: dict[str, Key] = {}
        self._made_wall_s: float | None = None

    def news(self, rules: Iterable[ServiceRules], now: Instant) -> dict[str, Calendar]:
        """Give the calendars, by entry, that differ from what was told last."""
        keys = {rule.name: key for rule in rules if any(key := _key(rule))}
        made = self._made_wall_s
        if made is not None and 0 <= now.wall_s - made < AGAIN_S and keys == self._keys:
            return {}
        self._made_wall_s, self._keys = now.wall_s, keys
        shared = {key: _work_out(key, now) for key in set(keys.values())}
        calendars = {name: shared[key] for name, key in keys.items()}
        gone = self._told.keys() - calendars.keys()
        told, self._told = self._told, calendars
        changed = {n: c for n, c in calendars.items() if told.get(n) != c}
        return {**changed, **dict.fromkeys(sorted(gone), NOTHING)}


def calendar_of(rules: ServiceRules, now: Instant) -> Calendar:
    """Work out what is coming for one entry."""
    return _work_out(_key(rules), now)


def _key(rules: ServiceRules) -> Key:
    schedules = tuple((rule.cron, rule.timezone, rule.delay_s) for rule in rules.policy.schedules)
    return rules.policy.windows, rules.guards.blackouts, schedules


def _work_out(key: Key, now: Instant) -> Calendar:
    windows, blackouts, schedules = key
    return Calendar(
        windows=_sorted(span for rule in windows for span in _of_rule(rule, now)),
        blackouts=_sorted(span for rule in blackouts for span in _of_rule(rule, now)),
        schedules=_sorted(span for moment in schedules for span in _moments(moment, now)),
    )


def _sorted(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda span: (span.begin_wall_s, span.end_wall_s)))


def _moments(schedule: Schedule, now: Instant) -> Iterator[Span]:
    expr, timezone, delay_s = schedule
    start = datetime.fromtimestamp(now.wall_s, UTC)
    for moment in cron.upcoming(expr, timezone, start, FEW, delay_s=delay_s):
        at = moment.timestamp()
        yield Span(begin_wall_s=at, end_wall_s=at, words=f"{moment:%a %d %b %H:%M}")


def _of_rule(rule: WindowRule, now: Instant) -> Iterator[Span]:
    """Give the spans that have not ended, the one that is under way first."""
    start = datetime.fromtimestamp(now.wall_s, UTC)
    since = start - timedelta(seconds=rule.length_s)
    coming = islice(cron.moments(rule.cron, rule.timezone, since), MANY)
    for count, moment in enumerate(coming):
        if moment > start + FAR or (moment > start + AHEAD and count >= FEW):
            return
        yield _span(moment, rule)


def _span(moment: datetime, rule: WindowRule) -> Span:
    begin = moment.timestamp()
    end = begin + rule.length_s
    zone = UTC if rule.timezone == "UTC" else ZoneInfo(rule.timezone)
    last = datetime.fromtimestamp(end, zone)
    until = f"{last:%H:%M}" if last.date() == moment.date() else f"{last:%a %d %b %H:%M}"
    words = f"{moment:%a %d %b %H:%M} to {until}"
    return Span(begin_wall_s=begin, end_wall_s=end, words=words)


def windows_in_words(rules: Iterable[WindowRule], now: Instant) -> Iterator[str]:
    """Say each window, and when it is next."""
    for rule in rules:
        coming = next(_of_rule(rule, now), None)
        when = f", next {coming.words}" if coming is not None else ""
        yield f"{rule.cron} for {format_duration(rule.length_s)} in {rule.timezone}{when}"
