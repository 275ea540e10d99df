"""The WSGI application: one small table of routes over what the daemon shows of itself."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl

from leakguard.core.codec import to_plain
from leakguard.core.errors import DaemonError
from leakguard.web import orders, page
from leakguard.web.access import READING, Access
from leakguard.web.base import Back, HttpError, HttpRequest, HttpResponse, as_json, as_json_rows
from leakguard.web.metrics import Metrics
from leakguard.web.names import find_service

MAX_BODY_BYTES = 65536
ASK_TIMEOUT_S = 10.0
MAX_EVENTS = 1000
MAX_POINTS = 2000

EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

Handler = Callable[..., HttpResponse]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Environ = dict[str, Any]  # WSGI says so

log = logging.getLogger("leakguard.web")


class WebApp:
    """Answers requests from a Back; `access` decides who may ask."""

    def __init__(self, back: Back, access: Access, metrics: Metrics | None = None) -> None:
        """Serve `back`; listeners may share one `metrics`."""
        self._back = back
        self._access = access
        self._metrics = metrics or Metrics(back.status)
        # A service of a pod has two slashes in its name, none has one: `worker:shop/worker-0/app`.
        name = r"(?P<name>[^/]+(?:/[^/]+/[^/]+)?)"
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
            ("GET", re.compile(r"/"), self._page),
            ("GET", re.compile(r"/healthz"), self._healthz),
            ("GET", re.compile(r"/readyz"), self._readyz),
            ("GET", re.compile(r"/metrics"), self._metrics_text),
            ("GET", re.compile(r"/api/v1/status"), self._status),
            ("GET", re.compile(r"/api/v1/events"), self._events),
            ("GET", re.compile(r"/api/v1/deliveries"), self._deliveries),
            ("GET", re.compile(r"/api/v1/victims"), self._victims),
            ("GET", re.compile(rf"/api/v1/services/{name}"), self._service),
            ("GET", re.compile(rf"/api/v1/services/{name}/series"), self._series),
            (
                "POST",
                re.compile(rf"/api/v1/services/{name}/(?P<verb>restart|pause|resume)"),
                self._order,
            ),
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, as WSGI asks for it."""
        response = self._answer(environ)
        headers = {
            **EVERY_ANSWER,
            "Content-Type": response.content_type,
            **response.headers,
            "Content-Length": str(len(response.body)),
        }
        if response.status is HTTPStatus.NOT_MODIFIED:
            del headers["Content-Type"], headers["Content-Length"]
        status = f"{response.status.value} {response.status.phrase}"
        start_response(status, list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def _answer(self, environ: Environ) -> HttpResponse:
        try:
            request = read_request(environ)
            self._access.check(request)
            handler, values = self._route(request)
            return handler(request, **values)
        except HttpError as error:
            return as_json(error.document, error.status, error.headers)
        except DaemonError as error:
            return as_json({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:  # the edge of a pool: one bad answer must not end the server
            log.exception("event=WebRequestFailed path=%r", environ.get("PATH_INFO"))
            return as_json(
                {"error": "leakguard failed to answer: see its log"},
                HTTPStatus.INTERNAL_SERVER_ERROR,
            )

    def _route(self, request: HttpRequest) -> tuple[Handler, dict[str, str]]:
        method = "GET" if request.method in READING else request.method
        allowed = []
        for known, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match and known == method:
                return handler, match.groupdict()
            if match:
                allowed.append("GET, HEAD" if known == "GET" else known)
        if allowed:
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{request.method} is not possible here, only {allowed[0]}",
                headers={"Allow": allowed[0]},
            )
        raise HttpError(HTTPStatus.NOT_FOUND, f"there is nothing at {request.path}")

    def _page(self, request: HttpRequest) -> HttpResponse:
        return page.render(self._back.status())

    def _healthz(self, request: HttpRequest) -> HttpResponse:
        alive, problem = self._back.alive()
        return _probe("alive", problem, holds=alive)

    def _readyz(self, request: HttpRequest) -> HttpResponse:
        alive, problem = self._back.alive()
        status = self._back.status()
        because = problem if not alive else status.not_ready_because
        return _probe("ready", because, holds=alive and status.ready)

    def _metrics_text(self, request: HttpRequest) -> HttpResponse:
        content_type, body = self._metrics.render(request.accept)
        return HttpResponse(body=body, content_type=content_type)

    def _status(self, request: HttpRequest) -> HttpResponse:
        status = self._back.status()
        frame = to_plain(replace(status, services=()))
        del frame["services"]
        rows = map(to_plain, status.services)
        return _tagged(request, as_json_rows(frame, "services", rows))

    def _service(self, request: HttpRequest, name: str) -> HttpResponse:
        return _tagged(request, as_json(to_plain(find_service(self._back.status(), name))))

    def _series(self, request: HttpRequest, name: str) -> HttpResponse:
        service = find_service(self._back.status(), name)
        points = _whole(request, "points", default=300, highest=MAX_POINTS)
        rows = self._back.series(service.name, _since(request), points)
        return as_json(
            {"service": service.name, "measure": service.measure, "points": to_plain(list(rows))}
        )

    def _events(self, request: HttpRequest) -> HttpResponse:
        service = request.query.get("service", "")
        limit = _whole(request, "limit", default=100, highest=MAX_EVENTS)
        events = self._back.events(service, limit, request.query.get("before", ""))
        if service and not events and "before" not in request.query:
            self._must_be_known(service)
        return as_json(
            {
                "events": [event.to_line() for event in events],
                "before": events[-1].id if len(events) == limit else None,
            }
        )

    def _deliveries(self, request: HttpRequest) -> HttpResponse:
        limit = _whole(request, "limit", default=100, highest=MAX_EVENTS)
        return as_json({"deliveries": [dict(row) for row in self._back.deliveries(limit)]})

    def _victims(self, request: HttpRequest) -> HttpResponse:
        at = self._back.status().at
        return as_json({"at": at, "domains": to_plain(list(self._back.victims()))})

    def _must_be_known(self, service: str) -> None:
        status = self._back.status()
        if all(s.name.partition(":")[0] != service for s in status.services):
            find_service(status, service)

    def _order(self, request: HttpRequest, name: str, verb: str) -> HttpResponse:
        fields = orders.read_body(request)
        service = find_service(self._back.status(), name)
        order = orders.ORDERS[verb](service.name, fields)
        reply = self._back.ask(order, ASK_TIMEOUT_S)
        return as_json(to_plain(reply), HTTPStatus.OK if reply.accepted else HTTPStatus.CONFLICT)


def read_request(environ: Environ) -> HttpRequest:
    """Read what the pages need out of a WSGI environment; HttpError when it is too much."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number") from error
    if length > MAX_BODY_BYTES:
        raise HttpError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is longer than {MAX_BODY_BYTES} bytes",
        )
    body = cast("BinaryIO", environ["wsgi.input"]).read(length) if length > 0 else b""
    query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True, max_num_fields=20)
    return HttpRequest(
        method=environ["REQUEST_METHOD"],
        path=_utf8(environ.get("PATH_INFO") or "/"),
        query=dict(query),
        host=environ.get("HTTP_HOST"),
        origin=environ.get("HTTP_ORIGIN"),
        authorization=environ.get("HTTP_AUTHORIZATION", ""),
        accept=environ.get("HTTP_ACCEPT", ""),
        content_type=environ.get("CONTENT_TYPE", ""),
        if_none_match=environ.get("HTTP_IF_NONE_MATCH", ""),
        body=body,
    )


def _utf8(text: str) -> str:
    """Undo WSGI's latin-1; what is no UTF-8 matches no name."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _probe(word: str, problem: str, *, holds: bool) -> HttpResponse:
    status = HTTPStatus.OK if holds else HTTPStatus.SERVICE_UNAVAILABLE
    return as_json({word: holds, "problem": "" if holds else problem or "not known"}, status)


def _tagged(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Answer 304 when the client has these very bytes."""
    tag = f'"{hashlib.blake2b(response.body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    seen = {part.strip().removeprefix("W/") for part in request.if_none_match.split(",")}
    if seen & {tag, "*"}:
        return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return HttpResponse(body=response.body, headers=headers)


def _whole(request: HttpRequest, name: str, *, default: int, highest: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= highest):
        raise HttpError(
            HTTPStatus.BAD_REQUEST, f"`{name}` must be a whole number from 1 to {highest}"
        )
    return int(text)


def _since(request: HttpRequest) -> float:
    text = request.query.get("since") or "0"
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        raise HttpError(
            HTTPStatus.BAD_REQUEST, "`since` must be a number of seconds since the epoch"
        )
    return float(text)
