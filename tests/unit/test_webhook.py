"""The webhook: CloudEvents body and Standard Webhooks signature, checked the receiver's way."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from leakguard.core.units import Secret
from leakguard.notifiers.base import NotifierContext
from leakguard.notifiers.webhook import Options, WebhookNotifier, body_of, event_of, sign
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert

KEY = bytes(range(32))
OLD = bytes(range(32, 64))


def whsec(key: bytes) -> str:
    """Write a key the way the configuration wants it."""
    return "whsec_" + base64.b64encode(key).decode()


def post(
    httpserver: HTTPServer, secret: str | None, **headers: str
) -> tuple[dict[str, str], bytes]:
    """Send one alert and give the headers and the bytes that arrived."""
    httpserver.expect_request("/hook").respond_with_data("", status=204)
    options = Options(
        url=httpserver.url_for("/hook"), secret=Secret(secret) if secret else None, headers=headers
    )
    context = NotifierContext(channel="hook", clock=FakeClock())
    assert WebhookNotifier(options, context).send(alert()) == "204 NO CONTENT"
    request = httpserver.log[0][0]
    return {k.lower(): v for k, v in request.headers.items()}, request.get_data()


def test_the_whole_event() -> None:
    """What a program receives of a leak."""
    assert event_of(alert()) == {
        "specversion": "1.0",
        "id": "i-1",
        "source": "/leakguard/host-1",
        "type": "leakguard.LeakSuspected.v1",
        "subject": "worker",
        "time": "2026-11-18T11:06:40Z",
        "datacontenttype": "application/json",
        "data": {
            "status": "firing",
            "severity": "warning",
            "event": "LeakSuspected",
            "service": "worker",
            "host": "host-1",
            "key": "leakguard/host-1/worker/leak",
            "title": "worker is leaking on host-1",
            "summary": "worker leaks 21.0 MiB/h",
            "facts": [
                {"name": "Memory", "value": "454 MiB (rss)"},
                {"name": "Trend", "value": "21.0 MiB/h"},
            ],
            "details": {"value_bytes": 476053504, "slope_bytes_per_s": 6116.7},
        },
    }


def test_events_of_the_daemon_have_no_subject() -> None:
    """An attribute of CloudEvents may be missing, never empty."""
    event = event_of(alert(service=""))
    assert ("subject" in event, event["data"]["service"]) == (False, None)


def test_source_is_a_uri() -> None:
    """A host of any name is escaped."""
    assert event_of(replace(alert(), host="höst /1"))["source"] == "/leakguard/h%C3%B6st%20%2F1"


def test_a_receiver_can_verify_it(httpserver: HTTPServer) -> None:
    """The signature covers id, time and the very bytes that arrived."""
    headers, body = post(httpserver, whsec(KEY))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-timestamp"] == "1795000000"
    assert headers["webhook-id"] == json.loads(body)["id"] == "i-1"
    assert headers["content-type"].startswith("application/cloudevents+json")


def test_the_published_example_of_the_signature() -> None:
    """The test vector of the Standard Webhooks specification."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets_while_one_is_rotated(httpserver: HTTPServer) -> None:
    """Receivers with the old and with the new one both accept it."""
    headers, body = post(httpserver, f"{whsec(KEY)} {whsec(OLD)}")
    both = [sign(key, "i-1", 1795000000, body) for key in (KEY, OLD)]
    assert headers["webhook-signature"].split() == both


def test_without_a_secret_there_is_no_signature(httpserver: HTTPServer) -> None:
    """Nothing that looks like one."""
    headers, _ = post(httpserver, None)
    assert "webhook-signature" not in headers


def test_own_headers_are_sent_but_cannot_forge_ours(httpserver: HTTPServer) -> None:
    """Authorization passes; the id stays the alert's, whatever its case."""
    own = {"Authorization": "Bearer x", "Webhook-Id": "forged", "Content-Type": "text/plain"}
    headers, _ = post(httpserver, None, **own)
    assert (headers["authorization"], headers["webhook-id"]) == ("Bearer x", "i-1")
    assert headers["content-type"].startswith("application/cloudevents+json")


@pytest.mark.parametrize("summary", [0, 1_000, 70_000, 300_000])
@pytest.mark.parametrize("fact", [1, 20_000])
def test_the_body_stays_below_64_kib(summary: int, fact: int) -> None:
    """Facts go before texts, and what is left is whole JSON."""
    facts = tuple(("n" * fact, "é" * fact) for _ in range(10))
    body = body_of(replace(alert(summary="ü" * summary), facts=facts))
    event: dict[str, Any] = json.loads(body)
    assert len(body) < 64 * 1024
    assert len(event["data"]["facts"]) == (10 if fact == 1 and summary < 30_000 else 0)
    assert event["data"]["summary"][:100] == ("ü" * summary)[:100] or None


@pytest.mark.parametrize(
    "secret", ["", "plain", "whsec_", "whsec_????", "whsec_" + "A" * 8, whsec(KEY) + " nonsense"]
)
def test_a_wrong_secret_is_refused_and_not_shown(secret: str) -> None:
    """The message says how to make a right one."""
    with pytest.raises(ValueError, match="secret") as refused:
        Options(url="https://example.org", secret=Secret(secret))
    material = secret.removeprefix("whsec_")
    assert material == "" or material not in str(refused.value)
