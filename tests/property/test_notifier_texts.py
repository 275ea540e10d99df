"""Whatever text an alert holds, its messages are whole, within limits, and one line in a log."""

import json
from dataclasses import replace

from hypothesis import given, strategies as st

from leakguard.core.alerts import Alert
from leakguard.notifiers.base import NotifierContext
from leakguard.notifiers.log import LogNotifier, Options
from leakguard.notifiers.slack import message_of
from leakguard.notifiers.webhook import body_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert

TEXT = st.text(st.characters(), max_size=200)  # surrogates and control characters included
LONG = st.builds(lambda text, n: text * n, TEXT, st.sampled_from([1, 1, 20, 500]))
DETAIL = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-(2**70), 2**70), TEXT)
ALERTS = st.builds(
    lambda service, host, title, summary, facts, details: replace(
        alert(service=service, summary=summary),
        host=host,
        title=title,
        facts=tuple(facts),
        details=details,
    ),
    TEXT,
    TEXT,
    LONG,
    LONG,
    st.lists(st.tuples(TEXT, LONG), max_size=12),
    st.dictionaries(TEXT, DETAIL, max_size=5),
)


@given(ALERTS)
def test_webhook_body_is_small_strict_json(told: Alert) -> None:
    """UTF-8, less than 64 KiB, no NaN."""
    body = body_of(told)
    assert len(body) < 64 * 1024
    assert json.loads(body, parse_constant=lambda _: 1 / 0)["specversion"] == "1.0"


@given(ALERTS)
def test_slack_limits_hold(told: Alert) -> None:
    """No text is empty or too long, and the message can be encoded."""
    message = message_of(told)
    assert json.dumps(message, ensure_ascii=False).encode()
    assert 0 < len(message["text"]) <= 3_000
    assert 0 < len(message["blocks"][0]["text"]["text"]) <= 150
    assert 0 < len(message["blocks"][1]["text"]["text"]) <= 3_000
    for block in message["blocks"]:
        assert all(0 < len(field["text"]) <= 2_000 for field in block.get("fields", ()))


@given(ALERTS)
def test_a_log_line_is_one_printable_line(told: Alert) -> None:
    """Also a terminal takes no harm."""
    context = NotifierContext(channel="log", clock=FakeClock())
    line = LogNotifier(Options(), context).preview(told)
    assert line.isascii()
    assert line.isprintable()
