"""Slack: an incoming webhook, as Block Kit, with a plain text for push and screen readers."""

import json
from dataclasses import field
from typing import Any

from leakguard.core.alerts import Alert, AlertStatus
from leakguard.core.errors import NotifyError
from leakguard.core.events import Severity
from leakguard.core.frozen import dataclass
from leakguard.core.instant import rfc3339
from leakguard.core.units import Secret
from leakguard.notifiers import _http
from leakguard.notifiers._text import ELLIPSIS, clean, one_line
from leakguard.notifiers.base import Notifier, NotifierContext
from leakguard.plugins import doc

HEADER_LIMIT = 150
SECTION_LIMIT = 3_000
FIELD_LIMIT = 2_000
FIELDS = 10
BLOCKS_LIMIT = 12_000
"""All texts together; Slack refuses messages of about 13,200 characters."""

PERMANENT_STATUS = frozenset({404, 410})
PERMANENT_WORDS = frozenset(
    {
        "action_prohibited",
        "channel_is_archived",
        "channel_not_found",
        "invalid_payload",
        "invalid_token",
        "no_active_hooks",
        "no_service",
        "no_service_id",
        "no_team",
        "no_text",
        "posting_to_general_channel_denied",
        "team_disabled",
        "too_many_attachments",
        "user_not_found",
    }
)

_ICONS = {
    Severity.CRITICAL: "\N{POLICE CARS REVOLVING LIGHT}",
    Severity.WARNING: "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}",
    Severity.INFO: "\N{BELL}",
}
_RESOLVED_ICON = "\N{WHITE HEAVY CHECK MARK}"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of the channel `slack`."""

    webhook_url: Secret = field(
        metadata=doc("Address of the incoming webhook; better from a file: webhook_url_file.")
    )
    mention: str = field(
        default="",
        metadata=doc("Whom to call when a problem begins: <!here>, <!channel>, <@U0123ABCD>."),
    )

    def __post_init__(self) -> None:
        """Refuse an address that cannot work."""
        _http.check_url("webhook_url", self.webhook_url.reveal())


class SlackNotifier(Notifier):
    """Posts one message per alert; a webhook can neither thread nor edit."""

    spacing_s = 1.0
    """Slack takes one message a second and webhook."""

    def __init__(self, options: Options, context: NotifierContext) -> None:
        """Keep the options."""
        self._options = options
        self._context = context

    def send(self, alert: Alert) -> str:
        """Post the alert."""
        answer = _http.post(
            self._options.webhook_url.reveal(),
            _body(self._message(alert)),
            {"content-type": "application/json; charset=utf-8"},
        )
        if answer.ok:
            return str(answer)
        word = answer.text.lower()
        raise NotifyError(
            f"slack answered {answer}",
            permanent=answer.status in PERMANENT_STATUS or word in PERMANENT_WORDS,
            retry_after_s=_http.retry_after_s(answer.retry_after, self._context.clock.now().wall_s),
        )

    def preview(self, alert: Alert) -> str:
        """Show the request with the secret path of the address masked."""
        return _http.shown_request(
            _http.shown_url(self._options.webhook_url.reveal(), path=False),
            {"content-type": "application/json; charset=utf-8"},
            json.dumps(self._message(alert), ensure_ascii=False, indent=1),
        )

    def _message(self, alert: Alert) -> dict[str, Any]:
        mention = self._options.mention if alert.status is AlertStatus.FIRING else ""
        return message_of(alert, mention=mention)


def message_of(alert: Alert, *, mention: str = "") -> dict[str, Any]:
    """Build the message. Facts are dropped before text when it would be too long."""
    icon = _RESOLVED_ICON if alert.status is AlertStatus.RESOLVED else _ICONS[alert.severity]
    title, summary = f"{icon} {one_line(alert.title)}", clean(alert.summary).strip()
    said = _escaped(summary, SECTION_LIMIT - len(mention) - 1) or "-"
    section = {"type": "section", "text": _mrkdwn(f"{mention} {said}".strip())}
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {**_plain(_escaped(title, HEADER_LIMIT)), "emoji": True}},
        section,
    ]
    context = {"type": "context", "elements": [_mrkdwn(_footer(alert))]}
    facts = _fields(alert, BLOCKS_LIMIT - _length([*blocks, context]))
    if facts:
        blocks.append({"type": "section", "fields": facts})
    push = _escaped(f"{title}: {summary}", SECTION_LIMIT - len(mention) - 1)
    return {"text": f"{mention} {push}".strip(), "blocks": [*blocks, context]}


def _fields(alert: Alert, room: int) -> list[dict[str, str]]:
    fields: list[dict[str, str]] = []
    for name, value in alert.facts[:FIELDS]:
        title = _escaped(one_line(name), 80)
        text = f"*{title}*\n{_escaped(clean(value), FIELD_LIMIT - len(title) - 3)}"
        room -= len(text)
        if room < 0:
            break
        fields.append(_mrkdwn(text))
    return fields


def _footer(alert: Alert) -> str:
    """Say who speaks and when, in each reader's own time zone."""
    at = int(alert.wall_s)
    when = f"<!date^{at}^{{date_short_pretty}} {{time}}|{rfc3339(at)}>"
    parts = ("leakguard", _escaped(one_line(alert.host), 200), when)
    return " · ".join([*parts, f"`{_escaped(one_line(alert.id), 200)}`"])


def _escaped(text: str, limit: int) -> str:
    """Escape & < > and cut so that the result fits, never in the middle of an escape."""
    pieces = [_ESCAPES.get(char, char) for char in text[: limit + 1]]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    room, kept = limit - len(ELLIPSIS), []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + ELLIPSIS


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def _mrkdwn(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def _length(blocks: list[dict[str, Any]]) -> int:
    texts = [b["text"]["text"] for b in blocks if "text" in b]
    texts += [e["text"] for b in blocks for e in b.get("elements", ())]
    return sum(map(len, texts))


def _body(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
