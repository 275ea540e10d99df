"""Webhook: one CloudEvents 1.0 document per alert, signed the Standard Webhooks way."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import quote

from leakguard.core.alerts import Alert
from leakguard.core.errors import NotifyError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import rfc3339
from leakguard.core.units import Secret
from leakguard.notifiers import _http
from leakguard.notifiers._text import clean, cut, one_line, plain_details
from leakguard.notifiers.base import Notifier, NotifierContext
from leakguard.plugins import doc

BODY_LIMIT = 64 * 1024 - 1
"""The size of event that everything on the way must be able to pass on."""

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)
PERMANENT_STATUS = frozenset({410})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of the channel `webhook`."""

    url: str = field(repr=False, metadata=doc("Where to POST; redirects are not followed."))
    secret: Secret | None = field(
        default=None,
        metadata=doc(
            "Signing secret, `whsec_` and base64 of 24 to 64 bytes; several, separated by blanks,"
            " while it is rotated. Better from a file: secret_file."
        ),
    )
    headers: Mapping[str, str] = field(
        default_factory=dict, repr=False, metadata=doc("Further headers, such as Authorization.")
    )

    def __post_init__(self) -> None:
        """Refuse an address or a secret that cannot work."""
        _http.check_url("url", self.url)
        if self.secret is not None:
            keys_of(self.secret)


class WebhookNotifier(Notifier):
    """Posts each alert; the id is the same on every retry, so receivers can drop duplicates."""

    def __init__(self, options: Options, context: NotifierContext) -> None:
        """Keep the options and decode the keys."""
        self._options = options
        self._context = context
        self._keys = keys_of(options.secret) if options.secret is not None else []

    def send(self, alert: Alert) -> str:
        """Post the alert."""
        body = body_of(alert)
        answer = _http.post(self._options.url, body, self._headers(alert, body))
        if answer.ok:
            return str(answer)
        redirect = " (redirects are not followed)" if 300 <= answer.status < 400 else ""
        raise NotifyError(
            f"{_http.host_of(self._options.url)} answered {answer}{redirect}",
            permanent=answer.status in PERMANENT_STATUS,
            retry_after_s=_http.retry_after_s(answer.retry_after, self._context.clock.now().wall_s),
        )

    def preview(self, alert: Alert) -> str:
        """Show the request; signature, own headers, user and query of the address are masked."""
        body = body_of(alert)
        own = {name.lower() for name in self._options.headers} | {"webhook-signature"}
        headers = self._headers(alert, body)
        shown = {n: "****" if n.lower() in own else v for n, v in headers.items()}
        document = json.dumps(json.loads(body), ensure_ascii=False, indent=1)
        return _http.shown_request(_http.shown_url(self._options.url, path=True), shown, document)

    def _headers(self, alert: Alert, body: bytes) -> dict[str, str]:
        at = int(self._context.clock.now().wall_s)
        message_id = _header_safe(alert.id)
        headers = {
            **self._options.headers,
            "content-type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": message_id,
            "webhook-timestamp": str(at),
        }
        if self._keys:
            headers["webhook-signature"] = " ".join(
                sign(key, message_id, at, body) for key in self._keys
            )
        return headers


def sign(key: bytes, message_id: str, at_wall_s: int, body: bytes) -> str:
    """Sign the very bytes that are sent: `v1,` and base64 of HMAC-SHA256 over `id.time.body`."""
    signed = f"{message_id}.{at_wall_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def keys_of(secret: Secret) -> list[bytes]:
    """Decode each of the secrets; ValueError says what is wrong and never shows one."""
    keys = []
    for text in secret.reveal().split():
        try:
            key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not text.startswith(PREFIX) or len(key) not in KEY_BYTES:
            raise ValueError(
                f"secret must be {PREFIX} and base64 of {KEY_BYTES[0]} to {KEY_BYTES[-1]} bytes:"
                f' make one with `echo "{PREFIX}$(openssl rand -base64 32)"`'
            )
        keys.append(key)
    if not keys:
        raise ValueError("secret is empty")
    return keys


def event_of(alert: Alert) -> dict[str, Any]:
    """Build the CloudEvents document."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": _header_safe(alert.id),
        "source": f"/leakguard/{quote(clean(alert.host), safe='')}",
        "type": f"leakguard.{alert.kind.value}.v1",
        "subject": one_line(alert.service),
        "time": rfc3339(alert.wall_s),
        "datacontenttype": "application/json",
        "data": {
            "status": alert.status.value,
            "severity": alert.severity.value,
            "event": alert.kind.value,
            "service": clean(alert.service) or None,
            "host": clean(alert.host),
            "key": clean(alert.key),
            "title": clean(alert.title),
            "summary": clean(alert.summary),
            "facts": [{"name": clean(n), "value": clean(v)} for n, v in alert.facts],
            "details": plain_details(alert.details),
        },
    }
    if not event["subject"]:  # an attribute of CloudEvents may be missing, never empty
        del event["subject"]
    return event


def body_of(alert: Alert) -> bytes:
    """Encode the event in less than 64 KiB: facts go first, then details, then ends of texts."""
    event = event_of(alert)
    body = _encode(event)
    for name, empty in (("facts", list), ("details", dict)):
        if len(body) > BODY_LIMIT:
            event["data"][name] = empty()
            body = _encode(event)
    limit = 4_000
    while len(body) > BODY_LIMIT:
        for name in ("summary", "title", "key", "host", "service"):
            event["data"][name] = cut(event["data"][name] or "", limit) or None
        if "subject" in event:
            event["subject"] = cut(event["subject"], limit)
        event["source"] = event["source"][:limit]
        event["id"] = event["id"][:limit]
        body, limit = _encode(event), limit // 2
    return body


def _encode(event: dict[str, Any]) -> bytes:
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _header_safe(text: str) -> str:
    """Make an id that is the same in the header and in the document."""
    return "".join(c if c.isascii() and c.isprintable() and c != " " else "_" for c in text)[:255]
