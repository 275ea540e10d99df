"""An API server for tests: each request must be as Kubernetes published it, and allowed by RBAC."""

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from leakguard.testing.kube_cluster import Cluster, Plain, Refused
from leakguard.testing.kube_schema import BODIES, Description, Operation

VERBS = {"GET": "get", "POST": "create", "DELETE": "delete", "PATCH": "patch"}
JSON = "application/json"
STRATEGIC = "application/strategic-merge-patch+json"


class Asked(NamedTuple):
    """What a request needs, as RBAC names it."""

    verb: str
    resource: str
    group: str = ""


@dataclass(slots=True)
class Trouble:
    """What goes wrong with the next requests for `asked`, so many `times`.

    `status` is answered instead; 0: the connection ends without an answer, and `after` the request
    was carried out.
    """

    asked: Asked
    status: int = 0
    after: bool = False
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


class KubeServer:
    """Serves a cluster on a port of its own. `allowed` None: everything is."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.description = Description(document)
        self.cluster = Cluster(self.description)
        self.token = "first"  # noqa: S105  made up
        self.allowed: frozenset[Asked] | None = None
        self.offers_resize = True
        self.page = 0
        self.asked: list[tuple[Asked, int]] = []
        self.bodies: list[tuple[Asked, Any]] = []
        self.troubles: list[Trouble] = []
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def account(self, folder: Path) -> dict[str, str]:
        """Write what a pod is given to speak with the server; gives the options for it."""
        (folder / "token").write_text(f"{self.token}\n")
        (folder / "namespace").write_text("shop")
        return {
            "server": self.url,
            "token_file": str(folder / "token"),
            "namespace_file": str(folder / "namespace"),
        }

    def used(self) -> frozenset[Asked]:
        """Give every right that was used so far."""
        return frozenset(asked for asked, _ in self.asked)

    def count(self, asked: Asked) -> int:
        """Count the requests of one kind that were carried out."""
        return sum(1 for one, status in self.asked if one == asked and status < 300)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> "Answer":
        """Answer one request."""
        url = urlsplit(target)
        operation = self.description.find(method, unquote(url.path))
        if operation is None:
            return _status(Refused(404, "NotFound", "the server could not find the resource"))
        asked = _asked(method, url.path, operation)
        trouble = next((t for t in self.troubles if t.asked == asked and t.times > 0), None)
        if trouble is not None:
            trouble.times -= 1
            if not trouble.after:
                return Answer(trouble.status, {}, trouble.headers)
        try:
            answer = self._carry_out(asked, operation, url.query, headers, body)
        except Refused as refused:
            answer = _status(refused)
        self.asked.append((asked, answer.status))
        return answer if trouble is None else Answer(trouble.status, {}, trouble.headers)

    def _carry_out(
        self,
        asked: Asked,
        operation: Operation,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> "Answer":
        if headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        values = _query(operation, query)
        given = self._body(operation, headers, body)
        self._allow(asked, operation)
        self.bodies.append((asked, given))
        namespace = operation.values.get("namespace", "")
        name = operation.values.get("name", "")
        cluster = self.cluster
        match asked.verb, asked.resource:
            case "list", "pods":
                return Answer(200, self._list(namespace, values))
            case "get", "":
                return Answer(200, self._offers())
            case "get", plural:
                return Answer(200, cluster.get(plural, namespace, name))
            case "create", "pods/eviction":
                cluster.evict(namespace, name, given.get("deleteOptions") or {})
                return Answer(201, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
            case "create", "selfsubjectaccessreviews":
                return Answer(201, self._review(given))
            case "delete", "pods":
                return Answer(200, cluster.delete(namespace, name, given))
            case "patch", "pods/resize":
                return Answer(200, cluster.resize(namespace, name, given))
            case "patch", plural:
                return Answer(200, cluster.patch(plural, namespace, name, given))
        raise Refused(405, "MethodNotAllowed", f"{asked} is not built")

    def _body(self, operation: Operation, headers: Mapping[str, str], body: bytes) -> Any:  # noqa: ANN401  JSON
        published = operation.published
        kind = published.get("body", "")
        if not body:
            if "body" in published.get("required", ()):
                raise Refused(400, "BadRequest", "a body is required")
            return {}
        if not kind:
            raise Refused(400, "BadRequest", "no body belongs here")
        media = headers.get("Content-Type", "")
        if media not in published.get("consumes", (JSON,)):
            raise Refused(415, "UnsupportedMediaType", f"{media} is not taken here")
        try:
            given = json.loads(body)
        except ValueError:
            raise Refused(400, "BadRequest", "the body is not JSON") from None
        if kind in BODIES:
            problems = list(self.description.problems(BODIES[kind], given))
            if problems:
                raise Refused(400, "BadRequest", "; ".join(problems))
        elif media != STRATEGIC or not isinstance(given, dict):
            raise Refused(415, "UnsupportedMediaType", f"this server does not merge {media}")
        return given

    def _allow(self, asked: Asked, operation: Operation) -> None:
        free = asked.resource in ("", "selfsubjectaccessreviews")
        if free or self.allowed is None or asked in self.allowed:
            return
        where = operation.values.get("namespace", "")
        what = f'resource "{asked.resource}" in API group "{asked.group}"'
        raise Refused(
            403,
            "Forbidden",
            f'pods is forbidden: User "system:serviceaccount:shop:leakguard" cannot {asked.verb} '
            f'{what} in the namespace "{where}"',
        )

    def _list(self, namespace: str, query: Mapping[str, str]) -> Plain:
        pods = self.cluster.pods(
            namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
        )
        begin = int(query.get("continue") or 0)
        most = self.page or int(query.get("limit") or 0) or len(pods)
        more = {"continue": str(begin + most)} if begin + most < len(pods) else {}
        answer = {
            "apiVersion": "v1",
            "kind": "PodList",
            "metadata": {"resourceVersion": "1", **more},
            "items": pods[begin : begin + most],
        }
        problems = list(self.description.problems("core.v1.PodList", answer))
        if problems:
            raise Refused(500, "InternalError", "; ".join(problems))
        return answer

    def _review(self, given: Plain) -> Plain:
        wanted = given["spec"]["resourceAttributes"]
        part = f"/{wanted['subresource']}" if "subresource" in wanted else ""
        asked = Asked(wanted["verb"], f"{wanted['resource']}{part}", wanted.get("group", ""))
        allowed = self.allowed is None or asked in self.allowed
        return {**given, "status": {"allowed": allowed}}

    def _offers(self) -> Plain:
        names = ["pods", "pods/eviction", *(["pods/resize"] if self.offers_resize else [])]
        return {
            "kind": "APIResourceList",
            "groupVersion": "v1",
            "resources": [
                {"name": n, "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]}
                for n in names
            ],
        }


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: Plain
    headers: Mapping[str, str] = {}


class _Handler(BaseHTTPRequestHandler):
    server_of: ClassVar[KubeServer]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server_of.lock:
            answer = self.server_of.answer(
                self.command, self.path, dict(self.headers.items()), body
            )
            data = json.dumps(answer.body).encode()
        self.close_connection = True
        if not answer.status:
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(data)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815  names of the standard library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class
        """Say nothing."""


def rules_of(rules: Iterable[Mapping[str, Any]]) -> frozenset[Asked]:
    """Give what the rules of a Role allow."""
    return frozenset(
        Asked(verb, resource, group)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def _asked(method: str, path: str, operation: Operation) -> Asked:
    parts = path.strip("/").split("/")
    group = parts[1] if parts[0] == "apis" else ""
    rest = parts[3:] if group else parts[2:]
    if rest[:1] == ["namespaces"]:
        rest = rest[2:]
    resource = "/".join([rest[0], *rest[2:]]) if rest else ""
    lists = method == "GET" and bool(resource) and "name" not in operation.values
    return Asked("list" if lists else VERBS[method], resource, group)


def _query(operation: Operation, query: str) -> dict[str, str]:
    published = operation.published["query"]
    values = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    for name, value in values.items():
        if name not in published:
            raise Refused(400, "BadRequest", f"query parameter {name} is not in the description")
        if published[name] == "number" and not value.isdecimal():
            raise Refused(400, "BadRequest", f"{name}={value} is no number")
    return values


def _status(refused: Refused) -> Answer:
    details: Plain = {"causes": list(refused.causes)} if refused.causes else {}
    return Answer(
        refused.code,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(refused),
            "reason": refused.reason,
            "details": details,
            "code": refused.code,
        },
    )
