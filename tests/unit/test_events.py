"""Events: names on the wire, and the flat line that `--json` prints."""

import re

from leakguard.core.events import Event, EventKind
from leakguard.core.severity import Severity


def test_kinds_are_words_in_the_past_tense_form_of_their_names() -> None:
    """The value is the name on the wire: `LEAK_SUSPECTED` is `LeakSuspected`."""
    assert [k.value for k in EventKind] == [
        "".join(word.capitalize() for word in k.name.split("_")) for k in EventKind
    ]


def test_a_line_is_flat_and_its_details_hide_nothing() -> None:
    """Details come after the fixed names and never replace them."""
    event = Event(
        id="i-1",
        kind=EventKind.RESTART_SUCCEEDED,
        service="worker",
        wall_s=1_795_000_000.9,
        severity=Severity.INFO,
        message="worker was restarted",
        details={"took_s": 2.5, "event": "other", "id": "x"},
    )
    assert event.to_line() == {
        "event": "RestartSucceeded",
        "service": "worker",
        "at": "2026-11-18T11:06:40Z",
        "id": "i-1",
        "severity": "info",
        "message": "worker was restarted",
        "took_s": 2.5,
    }


def test_an_event_of_the_daemon_has_no_service() -> None:
    """Null, not an empty text."""
    event = Event(
        id="i-1",
        kind=EventKind.DAEMON_STARTED,
        service="",
        wall_s=0.0,
        severity=Severity.INFO,
        message="up",
    )
    assert event.to_line()["service"] is None


def test_severities_are_ordered() -> None:
    """From quiet to loud."""
    assert [s.rank for s in Severity] == [0, 1, 2]


def test_every_kind_is_camel_case() -> None:
    """They are part of CloudEvents types."""
    assert [k for k in EventKind if not re.fullmatch(r"([A-Z][a-z]+)+", k.value)] == []
