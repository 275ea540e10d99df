"""What the web layer asks of the daemon, and the request and response its pages work on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from leakguard.core.decision import Reply
from leakguard.core.events import Event
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import Request
from leakguard.core.status import Status

if TYPE_CHECKING:
    from leakguard.core.domain_victims import DomainVictim

JSON = "application/json; charset=utf-8"


class Back(Protocol):
    """The daemon as the web layer sees it. Every method may be called from several threads."""

    def status(self) -> Status:
        """Give the view of the last tick; the same object until the next one."""
        ...

    def events(self, service: str, limit: int, before: str) -> Sequence[Event]:
        """Give at most `limit` events, newest first.

        `service` empty: of all services and the daemon. `before` is the id of an event: only
        older ones; empty: from the newest. An id that is not known gives no events.
        """
        ...

    def deliveries(self, limit: int) -> Sequence[Mapping[str, object]]:
        """Give at most `limit` alerts that wait to be sent or were given up, newest first."""
        ...

    def victims(self) -> "Sequence[DomainVictim]":
        """Give whom the kernel would kill in each memory domain that was looked at."""
        ...

    def series(self, service: str, since_wall_s: float, points: int) -> Sequence[tuple[float, ...]]:
        """Give at most `points` of (wall_s, value, min, max in bytes) since then, oldest first."""
        ...

    def ask(self, request: Request, timeout_s: float) -> Reply:
        """Post `request` into the inbox and wait for the engine's answer.

        Raises:
            DaemonError: the loop did not answer in time.
        """
        ...

    def alive(self) -> tuple[bool, str]:
        """Tell whether the loop ticks, and when not, what is wrong. Must never block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, already bounded in size by the server."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    origin: str | None = None
    authorization: str = ""
    accept: str = ""
    content_type: str = ""
    if_none_match: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """One answer. `headers` are added to those that every answer carries."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpError(Exception):
    """Ends a request with a status and `{"error": message, …}`."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        """Hold what the answer says; `more` are further fields of its JSON."""
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.document: dict[str, Any] = {"error": message, **more}


def as_json(
    document: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Answer with a JSON document."""
    return HttpResponse(status=status, body=_json(document) + b"\n", headers=headers or {})


def as_json_rows(document: Mapping[str, object], name: str, rows: Iterable[object]) -> HttpResponse:
    """Answer with a JSON document whose last field, `name`, is a list of `rows`.

    Each row is written before the next one is made: as objects, those of a hundred services would
    take a MiB, and the daemon keeps what it once took.
    """
    body = bytearray(_json({**document, name: []}).removesuffix(b"]}"))
    for number, row in enumerate(rows):
        body += b"," * bool(number) + _json(row)
    return HttpResponse(body=bytes(body + b"]}\n"))


def _json(document: object) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()
