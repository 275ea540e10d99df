"""A small client of the Docker Engine API, which Podman speaks too; every request has an end.

By http.client and not by requests: the health gate has http.client already (0.1 MiB of a daemon
without alert channels), requests costs such a daemon 3.3 MiB of its own memory and 4.9 MiB of RSS.
With target, driver and this client, a daemon has 0.2 MiB more RSS than with `cmdline` and `signal`.
A connection serves one request: opening a unix socket takes 30 µs, and nothing is held open while
the engine is restarted. The version is the newest that both sides know (Engine 29 refuses clients
below 1.44, Engine 20.10 those above 1.41), asked for once and again when the engine complains.
"""

import grp
import http.client
import json
import os
import select
import socket
import stat
from collections.abc import Mapping
from dataclasses import replace
from threading import Event
from typing import Any
from urllib.parse import urlencode

from leakguard.core.errors import ReadingError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.units import format_duration
from leakguard.linux.unix_http import UnixConnection

DEFAULT_SOCKET = "/var/run/docker.sock"
NEWEST = (1, 51)
"""The newest version of the API that this client was written for."""
LOOK_S = 2.0
"""A question about a container is answered within milliseconds, or the engine hangs."""
_SLICE_MS = 200
_BODY_S = 10.0
_LONGEST_BODY = 32 * 1024**2
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class EngineError(ReadingError):
    """The engine gave no answer (`status` 0), or one that is no good.

    `permanent`: asking again cannot help before a person changes something.
    """

    def __init__(self, message: str, *, status: int = 0, permanent: bool = False) -> None:
        """Hold the message, the HTTP status and whether asking again can help."""
        super().__init__(message)
        self.status = status
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens: a socket file, or a port of this machine."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Name it as $DOCKER_HOST does."""
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Give a connection, to be opened by its first request."""
        if self.path:
            return UnixConnection(self.path, timeout_s)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)


def read_address(text: str) -> Address:
    """Read `/path`, `unix:///path` or `tcp://127.0.0.1:2375`.

    Raises:
        UnitError: it is none of these; plain TCP is for this machine alone, since whoever may speak
            to an engine is root on its machine.
    """
    path = text.removeprefix("unix://")
    if path.startswith("/"):
        return Address(path=path)
    host, colon, port = text.removeprefix("tcp://").rstrip("/").rpartition(":")
    host = host.strip("[]")
    if not (text.startswith("tcp://") and colon and port.isdecimal()):
        raise UnitError(
            f"{text!r} is not where an engine listens: write /path/to/docker.sock, "
            "unix:///path/to/docker.sock or tcp://127.0.0.1:2375"
        )
    if host not in _LOOPBACK:
        raise UnitError(
            f"{text!r} leads to another machine without encryption, and whoever can speak to an "
            "engine is root there: use its socket, or a tunnel to 127.0.0.1"
        )
    return Address(host=host, port=int(port))


def usual_address(environ: Mapping[str, str]) -> Address:
    """Give $DOCKER_HOST, else the first socket that is there: Docker's, Podman's, the user's own.

    Raises:
        UnitError: $DOCKER_HOST cannot be used.
    """
    named = environ.get("DOCKER_HOST", "")
    if named:
        try:
            return read_address(named)
        except UnitError as error:
            raise UnitError(f"DOCKER_HOST: {error}") from error
    runtime = environ.get("XDG_RUNTIME_DIR", "").rstrip("/")
    own = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock") if runtime else ()
    for path in (DEFAULT_SOCKET, "/run/podman/podman.sock", *own):
        if os.path.exists(path):
            return Address(path=path)
    return Address(path=DEFAULT_SOCKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One request; `cancelled` ends the wait for its answer early."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    within_s: float
    cancelled: Event | None = None

    def send(self, connection: http.client.HTTPConnection) -> None:
        data = None if self.body is None else json.dumps(self.body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        connection.request(self.method, self.path, data, headers)

    def has_answer(self, sock: socket.socket) -> bool:
        """Wait for the first byte of the answer; slices are counted, so no clock is needed."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        for _ in range(max(1, int(self.within_s * 1000 / _SLICE_MS))):
            if poll.poll(_SLICE_MS):
                return True
            if self.cancelled is not None and self.cancelled.is_set():
                raise EngineError("leakguard is ending: the engine was left to finish alone")
        return False


class Engine:
    """One engine. Safe in several threads: each request has a connection of its own."""

    def __init__(self, named: str = "") -> None:
        """Use the engine at `named`, else the usual one; nothing is asked yet.

        Raises:
            UnitError: no engine can be there.
        """
        self._named = read_address(named) if named else None
        self._version: str | None = None

    @property
    def address(self) -> Address:
        """Where it listens; the usual socket may be there only later.

        Raises:
            EngineError: $DOCKER_HOST cannot be used.
        """
        if self._named is not None:
            return self._named
        try:
            return usual_address(os.environ)
        except UnitError as error:
            raise EngineError(str(error), permanent=True) from error

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401  JSON
        """Ask for a JSON document.

        Raises:
            EngineError: there was no good answer.
        """
        return self._call(_Request(method="GET", path=_with_query(path, query), within_s=LOOK_S))

    def post(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        within_s: float,
        cancelled: Event | None = None,
    ) -> None:
        """Have the engine do something, and wait for its answer for `within_s` at most.

        Raises:
            EngineError: it refused, or there was no answer.
        """
        self._call(
            _Request(
                method="POST",
                path=_with_query(path, query),
                body=body,
                within_s=within_s,
                cancelled=cancelled,
            )
        )

    def _call(self, request: _Request) -> Any:  # noqa: ANN401  JSON is untyped
        if self._version is None:
            self._version = self._negotiate()
        try:
            return self._ask(request)
        except EngineError as error:
            if error.status != http.client.BAD_REQUEST or "version" not in str(error):
                raise
        self._version = self._negotiate()  # the engine was replaced by another one
        return self._ask(request)

    def _negotiate(self) -> str:
        """Give the prefix of the paths; empty, which is the engine's own, where it names none."""
        answer, _ = self._exchange(_Request(method="GET", path="/_ping", within_s=LOOK_S))
        theirs = _numbers(answer.getheader("Api-Version") or "")
        if theirs is None:
            return ""
        known = theirs if _too_new(answer) else min(theirs, NEWEST)
        return f"/v{known[0]}.{known[1]}"

    def _ask(self, request: _Request) -> Any:  # noqa: ANN401  JSON is untyped
        full = replace(request, path=f"{self._version}{request.path}")
        answer, data = self._exchange(full)
        if answer.status >= http.client.BAD_REQUEST:
            raise self._refusal(answer.status, f"{full.method} {full.path}", data)
        if full.method != "GET":
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            raise EngineError(
                f"{self.address} does not speak as an engine: is it the right socket?",
                permanent=True,
            ) from error

    def _exchange(self, request: _Request) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.address.connect(min(request.within_s, _BODY_S))
        try:
            request.send(connection)
            if connection.sock is not None and not request.has_answer(connection.sock):
                raise self._silence(request.within_s)
            answer = connection.getresponse()
            return answer, answer.read(_LONGEST_BODY)
        except TimeoutError as error:
            raise self._silence(request.within_s) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _silence(self, within_s: float) -> EngineError:
        return EngineError(
            f"no answer from the engine at {self.address} within {format_duration(within_s)}: "
            "see whether `docker ps` answers"
        )

    def _unreachable(self, error: Exception) -> EngineError:
        if isinstance(error, FileNotFoundError):
            return EngineError(
                f"no engine at {self.address}: start Docker or Podman, or name the engine's "
                "socket (option socket, or $DOCKER_HOST)",
                permanent=True,
            )
        if isinstance(error, PermissionError):
            return EngineError(
                f"uid {os.geteuid()} may not use the engine's socket {self.address}"
                f"{_whose(self.address.path)}, or run leakguard as root",
                permanent=True,
            )
        if isinstance(error, ConnectionRefusedError):
            return EngineError(f"no engine answers at {self.address}: start it")
        said = str(error) or type(error).__name__
        return EngineError(f"the engine at {self.address} broke off: {said}")

    def _refusal(self, status: int, asked: str, data: bytes) -> EngineError:
        said = _message(data) or f"status {status}"
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            text = (
                f"{self.address} forbids `{asked.partition('?')[0]}` ({said}): allow it in the "
                "proxy before the engine, or use the engine's own socket"
            )
            return EngineError(text, status=status, permanent=True)
        return EngineError(said, status=status)


def _with_query(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _numbers(version: str) -> tuple[int, int] | None:
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def _too_new(ping: http.client.HTTPResponse) -> bool:
    """Tell an engine that no longer speaks what this client knows: its own version may do."""
    least = _numbers(ping.getheader("Min-Api-Version") or "")
    return least is not None and least > NEWEST


def _message(data: bytes) -> str:
    try:
        document = json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace").strip().partition("\n")[0][:200]
    said = document.get("message") if isinstance(document, dict) else None
    return " ".join(str(said).split())[:300] if said else ""


def _whose(path: str) -> str:
    """Say who may use a socket file, and how to become one of them."""
    try:
        found = os.stat(path)
        group = grp.getgrgid(found.st_gid).gr_name
    except (OSError, KeyError):
        return ": give it a right to that file"
    mode = stat.filemode(found.st_mode)
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        return f" ({mode}, group {group}): add its user to the group {group}"
    return f" ({mode}, group {group}): give that file a group that its user is in, mode 0660"
