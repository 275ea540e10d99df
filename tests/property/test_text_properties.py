"""Reading never crashes on any text, and what is printed can be read again."""

import contextlib
import json

import pytest
from hypothesis import given, settings, strategies as st

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.engine import Inputs
from leakguard.core.errors import CodecError, LeakguardError, UnitError, UsageError
from leakguard.core.events import Event, EventKind
from leakguard.core.plan import Plan
from leakguard.core.severity import Severity
from leakguard.core.state import ServiceRecord, State
from leakguard.core.units import (
    format_bytes,
    format_duration,
    format_rate,
    parse_amount,
    parse_bytes,
    parse_duration,
    parse_share,
)
from leakguard.runtime.replay import replay
from leakguard.testing.series import parse_series

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
LIKELY = st.text(alphabet="0123456789.+-x%?  KMGTiBbmshdw")


@given(text=st.text() | LIKELY)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but an error of ours."""
    for parse in (parse_bytes, parse_duration, parse_share, parse_amount):
        with contextlib.suppress(UnitError):
            parse(text)


@given(text=st.text() | LIKELY)
def test_any_text_is_a_series_or_refused(text: str) -> None:
    """The same for the notation of scenarios."""
    with contextlib.suppress(UnitError, UsageError):
        assert all(isinstance(point, int | str) for point in parse_series(text))


@given(size=st.integers(0, 2**53))
def test_a_printed_size_is_read_within_its_figures(size: int) -> None:
    """Three figures: half a percent."""
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.006, abs=1)


@given(seconds=st.floats(0, 1e8))
def test_a_printed_duration_is_read_within_its_units(seconds: float) -> None:
    """Two units, or tenths of a second, or milliseconds."""
    read = parse_duration(format_duration(seconds))
    assert read == pytest.approx(seconds, rel=0.1, abs=0.001)


@given(number=st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_any_number_can_be_printed(number: float) -> None:
    """Also a negative one."""
    assert all((format_bytes(number), format_rate(number), format_duration(number)))


@given(start=st.integers(1, 999), step=st.integers(0, 99), times=st.integers(1, 50))
def test_a_series_has_its_start_and_its_steps(start: int, step: int, times: int) -> None:
    """The last value is start and all steps."""
    points = parse_series(f"{start}KiB+{step}KiBx{times}")
    assert (len(points), points[0], points[-1]) == (
        times + 1,
        start * 1024,
        (start + step * times) * 1024,
    )


@settings(deadline=None)
@given(data=JSON)
def test_any_json_is_read_or_refused(data: object) -> None:
    """Whatever a state file, a recording or a hand-over holds."""
    for expected in (Inputs, State, ServiceRecord, Plan, Event):
        with contextlib.suppress(CodecError):
            from_plain(expected, data)


@settings(deadline=None)
@given(lines=st.lists(st.text() | JSON.map(json.dumps), max_size=5))
def test_any_recording_is_replayed_or_refused(lines: list[str]) -> None:
    """With an error of ours."""
    with contextlib.suppress(LeakguardError):
        list(replay(lines))


@given(
    kind=st.sampled_from(EventKind),
    texts=st.tuples(st.text(), st.text(), st.text()),
    details=st.dictionaries(
        st.text(),
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    ),
)
def test_an_event_survives_the_codec(
    kind: EventKind, texts: tuple[str, str, str], details: dict[str, str | float | bool | None]
) -> None:
    """Any text in any field."""
    event = Event(
        id=texts[0],
        kind=kind,
        service=texts[1],
        wall_s=1.5,
        severity=Severity.INFO,
        message=texts[2],
        details=details,
    )
    assert from_plain(Event, json.loads(json.dumps(to_plain(event)))) == event
