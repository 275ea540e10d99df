"""A Docker engine without containers: it answers on a unix socket from a table, and takes notes."""

import json
import socketserver
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

POLL_S = 0.02


@dataclass(slots=True, kw_only=True)
class FakeContainer:
    """One container in the table; what a test changes is answered from then on."""

    id: str
    name: str
    pid: int = 0
    status: str = "running"
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: str = "no"
    retries: int = 0
    stop_timeout: int | None = None
    memory: int = 0
    swap: int = 0
    auto_remove: bool = False

    def listed(self) -> dict[str, Any]:
        """Give what a list of containers says of it."""
        return {
            "Id": self.id,
            "Names": [f"/other/{self.name}-link", f"/{self.name}"],
            "State": self.status,
            "Labels": dict(self.labels),
        }

    def inspected(self) -> dict[str, Any]:
        """Give what `docker inspect` says of it."""
        running = self.status in {"running", "paused", "restarting"}
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "RestartCount": 0,
            "State": {
                "Status": self.status,
                "Running": running,
                "Paused": self.status == "paused",
                "Restarting": self.status == "restarting",
                "Pid": self.pid if running else 0,
                "StartedAt": "2026-11-22T21:00:00.0Z",
            },
            "HostConfig": {
                "RestartPolicy": {"Name": self.policy, "MaximumRetryCount": self.retries},
                "Memory": self.memory,
                "MemorySwap": self.swap,
                "AutoRemove": self.auto_remove,
            },
            "Config": {"Labels": dict(self.labels), "StopTimeout": self.stop_timeout},
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that changes something, as it came in."""

    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]


class FakeEngine:
    """Serves while it is entered. `orders` are the POSTs in their order, less the version."""

    def __init__(self, socket: Path, *containers: FakeContainer, version: str = "1.41") -> None:
        """Answer on `socket` about `containers`, in API versions up to `version`."""
        self.socket, self.version, self.least = socket, version, "1.12"
        self.containers = list(containers)
        self.orders: list[Asked] = []
        self.paths: list[str] = []
        self.forbidden: frozenset[str] = frozenset()
        """Verbs (`restart`, `json`, …) that a proxy before the engine refuses."""
        self.hangs: frozenset[str] = frozenset()
        """Verbs that are not answered until the engine is left; `_ping` is one too."""
        self.breaks: frozenset[str] = frozenset()
        """Verbs at which the connection is closed without an answer."""
        self.unknown: frozenset[str] = frozenset()
        """Verbs that only Podman's own API has."""
        self.on_restart: Callable[[FakeContainer], None] = lambda _one: None
        self._left = Event()

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._server = _Server(str(self.socket), _handler(self))
        Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End as an engine that is stopped: its socket goes too."""
        self._left.set()
        self._server.shutdown()
        self._server.server_close()
        self.socket.unlink(missing_ok=True)

    def verbs(self) -> list[str]:
        """Give what was ordered: `restart web`."""
        return [" ".join(reversed(one.path.split("/")[2:])) for one in self.orders]

    def answer(self, method: str, target: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        """Answer one request; None: close the connection."""
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        self.paths.append(path)
        verb = path.rpartition("/")[2]
        if verb in self.hangs:
            self._left.wait()
            return None
        if verb in self.breaks:
            return None
        if verb in self.forbidden:
            return HTTPStatus.FORBIDDEN, {"message": "forbidden by the proxy"}
        if path == "/_ping":
            return HTTPStatus.OK, "OK"
        if path.startswith("/v"):
            wrong, path = self._versioned(path)
            if wrong:
                return HTTPStatus.BAD_REQUEST, {"message": wrong}
        if method == "POST":
            return self._carry_out(Asked(path, query, body), verb)
        if path == "/containers/json":
            return HTTPStatus.OK, self._list(query)
        return self._inspect(path)

    def _versioned(self, path: str) -> tuple[str, str]:
        version, _, rest = path[2:].partition("/")
        numbers = [tuple(map(int, v.split("."))) for v in (self.least, version, self.version)]
        if not numbers[0] <= numbers[1] <= numbers[2]:
            word = "new. Maximum" if numbers[1] > numbers[2] else "old. Minimum"
            return f"client version {version} is too {word} supported API version is …", ""
        return "", f"/{rest}"

    def _list(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        wanted = json.loads(query.get("filters", "{}")).get("label", [])
        running = {"running", "paused", "restarting"}
        return [
            one.listed()
            for one in self.containers
            if (query.get("all") or one.status in running)
            and all(_carries(one.labels, label) for label in wanted)
        ]

    def _find(self, path: str) -> FakeContainer | None:
        name = path.split("/")[2]
        for one in self.containers:
            if name in {one.id, one.name} or (len(name) > 3 and one.id.startswith(name)):
                return one
        return None

    def _inspect(self, path: str) -> tuple[int, Any]:
        one = self._find(path)
        if one is None:
            return HTTPStatus.NOT_FOUND, {"message": "No such container"}
        return HTTPStatus.OK, one.inspected()

    def _carry_out(self, asked: Asked, verb: str) -> tuple[int, Any]:
        own = asked.path.startswith("/libpod/")
        one = self._find(asked.path.removeprefix("/libpod"))
        if one is None or (verb in self.unknown and not own):
            return HTTPStatus.NOT_FOUND, {"message": "No such container"}
        self.orders.append(Asked(f"/containers/{one.name}/{verb}", asked.query, asked.body))
        match verb:
            case "restart":
                one.status = "running"
                self.on_restart(one)
            case "stop":
                one.status = "exited"
            case "start":
                one.status = "running"
                self.on_restart(one)
            case "update" if not own:
                one.memory, one.swap = asked.body["Memory"], asked.body["MemorySwap"]
                return HTTPStatus.OK, {"Warnings": None}
        return HTTPStatus.NO_CONTENT, None


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def get_request(self) -> tuple[Any, Any]:
        """Name the peer: the handler logs an address, and a unix socket has none."""
        connection, _ = super().get_request()
        return connection, ("unix", 0)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is part of many tests."""


def _handler(engine: FakeEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            found = engine.answer(self.command, self.path, body)
            if found is None:
                return
            status, document = found
            data = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Api-Version", engine.version)
            self.send_header("Min-Api-Version", engine.least)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  the base class's name
            del format

    return Handler


def _carries(labels: Mapping[str, str], wanted: str) -> bool:
    key, sign, value = wanted.partition("=")
    return key in labels and (not sign or labels[key] == value)
