"""When a restart is cheap and when it is forbidden: spans of wall-clock time, as plain values.

Cron expressions and time zones are read by the shell, which hands over what is coming; `words`
is each span as the service's own zone shows it.
"""

from collections.abc import Iterable

from leakguard.core.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time from `begin_wall_s` up to, and without, `end_wall_s` (Unix time)."""

    begin_wall_s: float
    end_wall_s: float
    words: str = ""

    def holds(self, wall_s: float) -> bool:
        """Tell whether a moment lies within."""
        return self.begin_wall_s <= wall_s < self.end_wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """What is coming for one entry, each in the order of its beginnings.

    `schedules` are the moments of its restart schedules, spans of no length.
    """

    windows: tuple[Span, ...] = ()
    blackouts: tuple[Span, ...] = ()
    schedules: tuple[Span, ...] = ()


NOTHING = Calendar()


def span_at(spans: Iterable[Span], wall_s: float) -> Span | None:
    """Give the span that holds a moment, the longest lasting if several do."""
    found = [span for span in spans if span.holds(wall_s)]
    return max(found, key=lambda span: span.end_wall_s, default=None)


def next_after(spans: Iterable[Span], wall_s: float) -> Span | None:
    """Give the next span that begins after a moment."""
    return min(
        (span for span in spans if span.begin_wall_s > wall_s),
        key=lambda span: span.begin_wall_s,
        default=None,
    )


def free_at(blackouts: Iterable[Span], wall_s: float) -> float:
    """Give the first moment from `wall_s` on that no blackout holds; they may overlap."""
    for span in sorted(blackouts, key=lambda span: span.begin_wall_s):
        if span.holds(wall_s):
            wall_s = span.end_wall_s
    return wall_s


def without(spans: Iterable[Span], blackouts: Iterable[Span]) -> tuple[Span, ...]:
    """Cut blackouts out of spans; a span may fall into several pieces."""
    pieces = list(spans)
    for dark in blackouts:
        pieces = [piece for span in pieces for piece in _cut(span, dark)]
    return tuple(sorted(pieces, key=lambda span: span.begin_wall_s))


def _cut(span: Span, dark: Span) -> Iterable[Span]:
    if dark.end_wall_s <= span.begin_wall_s or span.end_wall_s <= dark.begin_wall_s:
        yield span
        return
    for begin, end in (
        (span.begin_wall_s, dark.begin_wall_s),
        (dark.end_wall_s, span.end_wall_s),
    ):
        if begin < end:
            yield Span(begin_wall_s=begin, end_wall_s=end, words=span.words)
