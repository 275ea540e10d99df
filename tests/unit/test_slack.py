"""The Slack message: Block Kit within its limits, escaped, with facts as fields."""

from dataclasses import replace
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from leakguard.core.alerts import AlertStatus
from leakguard.core.errors import NotifyError
from leakguard.core.events import Severity
from leakguard.core.units import Secret
from leakguard.notifiers.base import NotifierContext
from leakguard.notifiers.slack import Options, SlackNotifier, message_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert

ENTITIES = ("&amp;", "&lt;", "&gt;")


def texts(message: dict[str, Any]) -> list[str]:
    """Give every text of a message."""
    found = [message["text"]]
    for block in message["blocks"]:
        found += [block["text"]["text"]] if "text" in block else []
        found += [f["text"] for f in block.get("fields", ())]
        found += [e["text"] for e in block.get("elements", ())]
    return found


def test_the_whole_message() -> None:
    """What a person sees of a leak."""
    assert message_of(alert(), mention="<!here>") == {
        "text": "<!here> ⚠️ worker is leaking on host-1: worker leaks 21.0 MiB/h",
        "blocks": [
            {
                "type": "header",
                "text": {
                    "type": "plain_text",
                    "text": "⚠️ worker is leaking on host-1",
                    "emoji": True,
                },
            },
            {
                "type": "section",
                "text": {"type": "mrkdwn", "text": "<!here> worker leaks 21.0 MiB/h"},
            },
            {
                "type": "section",
                "fields": [
                    {"type": "mrkdwn", "text": "*Memory*\n454 MiB (rss)"},
                    {"type": "mrkdwn", "text": "*Trend*\n21.0 MiB/h"},
                ],
            },
            {
                "type": "context",
                "elements": [
                    {
                        "type": "mrkdwn",
                        "text": "leakguard · host-1 · <!date^1795000000^{date_short_pretty} {time}"
                        "|2026-11-18T11:06:40Z> · `i-1`",
                    }
                ],
            },
        ],
    }


@pytest.mark.parametrize(
    ("status", "severity", "icon"),
    [
        (AlertStatus.FIRING, Severity.CRITICAL, "\U0001f6a8"),
        (AlertStatus.FIRING, Severity.WARNING, "⚠️"),
        (AlertStatus.NOTICE, Severity.INFO, "\U0001f514"),
        (AlertStatus.RESOLVED, Severity.CRITICAL, "✅"),
    ],
)
def test_icon(status: AlertStatus, severity: Severity, icon: str) -> None:
    """How loud it is shows at the first glance; what is over is green."""
    message = message_of(replace(alert(), status=status, severity=severity))
    assert message["text"].split()[0] == icon


def test_only_three_characters_are_escaped() -> None:
    """& < > and nothing else."""
    message = message_of(alert(summary="""a & b <c> "d" 'e' *f* @g"""))
    section = message["blocks"][1]["text"]["text"]
    assert section == """a &amp; b &lt;c&gt; "d" 'e' *f* @g"""


def test_a_service_cannot_call_everybody() -> None:
    """A name is text, not a command to Slack."""
    message = message_of(alert(service="<!channel>", summary="<!channel> leaks"))
    assert [t for t in texts(message) if "<!channel>" in t] == []


def test_limits_hold_and_no_escape_is_cut() -> None:
    """Everything far too long: header 150, section 3,000, ten fields of 2,000, 12,000 in all."""
    long = "<&>" * 5_000
    facts = tuple((long, long) for _ in range(30))
    message = message_of(replace(alert(), title=long, summary=long, host=long, facts=facts))
    header, section, fields, _ = message["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3_000
    assert len(message["text"]) <= 3_000
    assert 1 <= len(fields["fields"]) <= 10
    assert all(len(field["text"]) <= 2_000 for field in fields["fields"])
    assert sum(map(len, texts(message)[1:])) <= 12_000
    for text in texts(message)[:-1]:
        rest = text
        for entity in ENTITIES:
            rest = rest.replace(entity, "")
        assert "&" not in rest
        assert "…" in rest


def test_ten_short_facts_all_fit() -> None:
    """Nothing is dropped without need."""
    facts = tuple((f"n{n}", "v") for n in range(10))
    message = message_of(replace(alert(), facts=facts))
    assert len(message["blocks"][2]["fields"]) == 10


def test_no_facts_no_empty_section() -> None:
    """Slack refuses a section without content."""
    kinds = [b["type"] for b in message_of(replace(alert(), facts=()))["blocks"]]
    assert kinds == ["header", "section", "context"]


def test_an_empty_summary_is_still_a_message() -> None:
    """Slack refuses empty texts."""
    assert all(texts(message_of(alert(summary=""))))


def test_mention_only_when_a_problem_begins() -> None:
    """Nobody is called for good news."""
    options = Options(webhook_url=Secret("https://example.org/s"), mention="<!here>")
    notifier = SlackNotifier(options, NotifierContext(channel="ops", clock=FakeClock()))
    assert "<!here>" in notifier.preview(alert())
    assert "<!here>" not in notifier.preview(replace(alert(), status=AlertStatus.RESOLVED))


@pytest.mark.parametrize(
    ("status", "word", "permanent"),
    [
        (404, "no_service", True),
        (404, "whatever", True),
        (410, "channel_is_archived", True),
        (403, "action_prohibited", True),
        (400, "invalid_payload", True),
        (403, "forbidden by some proxy", False),
        (500, "rollup_error", False),
    ],
)
def test_which_errors_are_permanent(
    httpserver: HTTPServer, status: int, word: str, permanent: bool
) -> None:
    """What trying again cannot mend is given up at once."""
    httpserver.expect_request("/s").respond_with_data(word, status=status)
    options = Options(webhook_url=Secret(httpserver.url_for("/s")))
    notifier = SlackNotifier(options, NotifierContext(channel="ops", clock=FakeClock()))
    with pytest.raises(NotifyError, match=f"slack answered {status} {word}") as failed:
        notifier.send(alert())
    assert failed.value.permanent is permanent
