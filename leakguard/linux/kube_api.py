"""Requests to the API server of Kubernetes: one each, with a time-out and a token read anew.

By `http.client`: with TLS 1.7 MiB where `requests` is 5.3. A right is named once, as RBAC names it,
and gives the path, the method and the words for the Role that lacks it. Proxies are not used: a
token goes to the server that was meant and to nobody else.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.plugins import doc

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TIMEOUT_S = 35.0
"""A server may wait 30 s for its store before it answers; a request is never repeated by us."""
MAX_BYTES = 32 * 1024**2
JSON = "application/json"
STRATEGIC = "application/strategic-merge-patch+json"
_METHODS = {"get": "GET", "list": "GET", "create": "POST", "delete": "DELETE", "patch": "PATCH"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the API server is and who leakguard is there; in a pod nothing has to be set."""

    server: str = field(
        default="",
        metadata=doc("address of the API server; empty: that of the cluster leakguard runs in"),
    )
    token_file: str = field(
        default=f"{ACCOUNT}/token",
        metadata=doc("file with the bearer token; read for each request, since it is rotated"),
    )
    ca_file: str = field(
        default=f"{ACCOUNT}/ca.crt",
        metadata=doc("certificates that the API server's own must be signed by"),
    )
    namespace_file: str = field(
        default=f"{ACCOUNT}/namespace",
        metadata=doc("file with the namespace of leakguard's own pod"),
    )


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that RBAC allows or refuses; `resource` may hold a subresource."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        """Say it as `kubectl auth can-i` does."""
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"

    def rule(self) -> str:
        """Give the line that a Role lacks."""
        return (
            f'{{apiGroups: ["{self.group}"], resources: [{self.resource}], verbs: [{self.verb}]}}'
        )

    def path(self, namespace: str, name: str) -> str:
        """Give the path of a request that needs this right."""
        plural, _, part = self.resource.partition("/")
        version = f"/apis/{self.group}/v1" if self.group else "/api/v1"
        inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        named = f"/{quote(name, safe='')}" if name else ""
        return f"{version}{inside}/{plural}{named}{'/' if part else ''}{part}"


class ApiError(ReadingError):
    """The API server refused (`status`), or gave no answer (status 0)."""

    def __init__(
        self, message: str, status: int = 0, *, retry_after_s: float | None = None
    ) -> None:
        """Hold the words, the status, and when the server asked to be asked again."""
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def permanent(self) -> bool:
        """Whether the same request would be refused again: no token, no right, nonsense."""
        return self.status in (400, 403, 405, 415, 422) or self.status < 0


NO_TOKEN = -1
"""The `status` of an ApiError for what is wrong on our side, before anything is sent."""


class KubeApi:
    """Asks one API server; holds nothing open, so that a rotated certificate needs no care."""

    def __init__(self, address: ApiAddress, environ: Mapping[str, str] = os.environ) -> None:
        self._address = address
        self._environ = environ

    def namespace(self) -> str:
        """Give the namespace of leakguard's own pod; empty when that is not known."""
        if named := self._environ.get("POD_NAMESPACE", ""):
            return named
        try:
            with open(self._address.namespace_file, encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            return ""

    def pod(self) -> str:
        """Give the name of leakguard's own pod: POD_NAME, or the host name it has by default."""
        return self._environ.get("POD_NAME") or socket.gethostname()

    def node(self) -> str:
        """Give the name of leakguard's own node (NODE_NAME); empty when it was not given."""
        return self._environ.get("NODE_NAME", "")

    def do(
        self,
        right: Right,
        namespace: str = "",
        name: str = "",
        *,
        body: Plain | None = None,
        query: Mapping[str, str] | None = None,
        media: str = JSON,
    ) -> Plain:
        """Make the one request that `right` is needed for, and give the answer.

        Raises:
            ApiError: no token, no answer, or a refusal; its words name the right that is missing.
        """
        path = right.path(namespace, name) + (f"?{urlencode(query)}" if query else "")
        status, headers, answer = self.send(_METHODS[right.verb], path, body, media)
        if status < 300:
            return answer
        where = f" in namespace {namespace}" if namespace else ""
        raise ApiError(
            _refusal(right, where, status, answer),
            status,
            retry_after_s=_seconds(headers.get("retry-after", "")),
        )

    def send(
        self, method: str, path: str, body: Plain | None = None, media: str = JSON
    ) -> tuple[int, dict[str, str], Plain]:
        """Send one request; gives status, headers by small letters, and the JSON of the answer.

        Raises:
            ApiError: no token, or no answer.
        """
        headers = {"Accept": JSON, "Authorization": f"Bearer {self.token()}"}
        if body is not None:
            headers["Content-Type"] = media
        connection = self._connect()
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            return _read(connection.getresponse())
        except (OSError, HTTPException, ValueError) as error:
            raise ApiError(f"the API server {self._server()}: {_words(error)}") from None
        finally:
            connection.close()

    def _connect(self) -> HTTPConnection:
        parts = urlsplit(self._server())
        host = parts.hostname or ""
        if parts.scheme == "http" and host in _LOOPBACK:
            return HTTPConnection(host, parts.port or 80, timeout=TIMEOUT_S)
        if parts.scheme != "https" or not host:
            raise ApiError(
                f"{self._server()!r} is no address for a token: write https://host:port",
                NO_TOKEN,
            )
        import ssl  # 1.7 MiB, for those who ask a server

        try:
            context = ssl.create_default_context(cafile=self._address.ca_file)
        except OSError as error:
            raise ApiError(
                f"cannot read {self._address.ca_file}: {error.strerror}: correct ca_file", NO_TOKEN
            ) from None
        return HTTPSConnection(host, parts.port or 443, timeout=TIMEOUT_S, context=context)

    def _server(self) -> str:
        if self._address.server:
            return self._address.server.rstrip("/")
        host = self._environ.get("KUBERNETES_SERVICE_HOST", "")
        port = self._environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise ApiError(
                "leakguard does not run in a pod of Kubernetes: name the API server (server, "
                "token_file, ca_file)",
                NO_TOKEN,
            )
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def token(self) -> str:
        """Read the token.

        Raises:
            ApiError: there is none, and nothing can be asked.
        """
        path = self._address.token_file
        try:
            with open(path, encoding="ascii") as file:
                token = file.read(1 << 16).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ApiError(
                f"cannot read the token {path}: {why}: let the pod mount one "
                "(automountServiceAccountToken), or correct token_file",
                NO_TOKEN,
            ) from None
        if not token or not token.isprintable():
            raise ApiError(f"the token {path} is empty: correct token_file", NO_TOKEN)
        return token


def _read(response: HTTPResponse) -> tuple[int, dict[str, str], Plain]:
    data = response.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"its answer is larger than {MAX_BYTES} bytes")
    headers = {name.lower(): value for name, value in response.getheaders()}
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        if response.status < 300:
            raise ValueError("its answer is not JSON: is it an API server?") from None
        answer = {"message": data[:200].decode("utf-8", "replace").strip()}
    return response.status, headers, answer if isinstance(answer, dict) else {}


def _refusal(right: Right, where: str, status: int, answer: Plain) -> str:
    said = str(answer.get("message") or "no reason was given").splitlines()[0][:300]
    if status == 403:
        return (
            f"Kubernetes refuses `{right}`{where}: {said}: add {right.rule()} to leakguard's Role"
        )
    if status == 401:
        return f"Kubernetes does not take leakguard's token ({said}): look at token_file"
    causes = (answer.get("details") or {}).get("causes") or ()
    words = "; ".join(str(cause.get("message", ""))[:300] for cause in causes)
    return (
        f"Kubernetes answered {status} to `{right}`{where}: {said}{f' ({words})' if words else ''}"
    )


def _seconds(text: str) -> float | None:
    return float(text[:9]) if text.isascii() and text.isdigit() else None


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    verify = getattr(error, "verify_message", "")
    if verify:
        return f"its certificate was refused ({verify}): look at ca_file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or "the connection broke before an answer came"
