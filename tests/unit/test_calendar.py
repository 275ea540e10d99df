"""Spans of wall time: which holds a moment, which is next, what blackouts leave of them."""

from leakguard.core.calendar import Span, next_after, span_at, without


def spans(*pairs: tuple[float, float]) -> tuple[Span, ...]:
    """Make spans."""
    return tuple(Span(begin_wall_s=begin, end_wall_s=end) for begin, end in pairs)


def pairs(found: tuple[Span, ...]) -> list[tuple[float, float]]:
    """Give the edges of spans."""
    return [(span.begin_wall_s, span.end_wall_s) for span in found]


def test_a_span_holds_its_beginning_and_not_its_end() -> None:
    """Two spans that touch hold each moment once."""
    (span,) = spans((10, 20))
    assert [span.holds(t) for t in (9.9, 10, 19.9, 20)] == [False, True, True, False]


def test_of_several_spans_the_longest_lasting_counts() -> None:
    """A blackout that overlaps another one ends with the later of them."""
    assert span_at(spans((0, 10), (5, 30), (6, 7)), 6.5) == spans((5, 30))[0]
    assert span_at(spans((0, 10)), 10) is None


def test_the_next_span_begins_later() -> None:
    """What is under way is not next."""
    assert next_after(spans((30, 40), (0, 20), (10, 12)), 5) == spans((10, 12))[0]
    assert next_after(spans((0, 20)), 5) is None


def test_blackouts_are_cut_out_of_windows() -> None:
    """A window may lose an end, its middle, or all of it."""
    windows = spans((0, 10), (20, 30), (40, 50))
    assert pairs(without(windows, spans((5, 25), (42, 44)))) == [
        (0, 5), (25, 30), (40, 42), (44, 50),
    ]  # fmt: skip
    assert without(spans((5, 10)), spans((0, 20))) == ()
    assert without(windows, ()) == windows
