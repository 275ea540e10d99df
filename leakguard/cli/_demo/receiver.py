"""A local stand-in for Slack and for a webhook receiver: keeps what arrives, checks signatures."""

import base64
import hashlib
import hmac
import json
import queue
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from leakguard.core.instant import Clock

SLACK_PATH = "/services/T000/B000/demo"
WEBHOOK_PATH = "/hook"
TOLERANCE_S = 300.0
MOST_BYTES = 1024 * 1024


def new_secret() -> str:
    """Make a secret in the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One payload that was accepted: `slack` or `webhook`, its headline, the whole of it."""

    channel: str
    headline: str
    payload: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Receiver:
    """An HTTP server on loopback; `url` is its address, `arrived` the queue of what came."""

    clock: Clock
    secret: str = field(default_factory=new_secret, repr=False)
    arrived: "queue.SimpleQueue[Delivery]" = field(default_factory=queue.SimpleQueue)
    refused: int = 0
    _server: ThreadingHTTPServer | None = None

    def start(self) -> str:
        """Listen on a free port and give the base URL."""
        receiver = self

        class Handler(_Handler):
            owner = receiver

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def accept(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Keep a good payload; give the HTTP status that Slack or a strict receiver would."""
        try:
            payload = json.loads(body)
        except ValueError:
            return self._refuse(400)
        if not isinstance(payload, dict):
            return self._refuse(400)
        if path == SLACK_PATH:
            return self._keep("slack", payload, payload.get("text"))
        if path != WEBHOOK_PATH:
            return self._refuse(404)
        if not is_signed(self.secret, headers, body, self.clock.now().wall_s):
            return self._refuse(401)
        return self._keep("webhook", payload, payload.get("type"))

    def _keep(self, channel: str, payload: Mapping[str, Any], headline: object) -> int:
        if not isinstance(headline, str) or not headline:
            return self._refuse(400)
        self.arrived.put(Delivery(channel=channel, headline=headline, payload=payload))
        return 200

    def _refuse(self, status: int) -> int:
        self.refused += 1
        return status


class _Handler(BaseHTTPRequestHandler):
    owner: Receiver

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), MOST_BYTES)
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.owner.accept(self.path, headers, self.rfile.read(length))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"ok" if status == 200 else b"refused")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        pass


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, wall_s: float) -> bool:
    """Check a Standard Webhooks signature, and that it is not an old one played again."""
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not stamp.isdecimal() or abs(wall_s - int(stamp)) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{stamp}.".encode() + body
    right = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(right, one) for one in given)
