"""Who may ask what: file mode on the unix socket, Host, Origin and bearer token over TCP.

Reading on loopback is free, so a page in a browser on this machine could be made to read it by
DNS rebinding; the Host header then carries the attacker's name, and only known names and plain
addresses are let in (an address cannot be rebound). A request with the right token, which such
a page cannot have, needs no known name.
"""

import hmac
import ipaddress
from http import HTTPStatus
from urllib.parse import urlsplit

from leakguard.core.frozen import dataclass
from leakguard.core.units import Secret
from leakguard.web.base import HttpError, HttpRequest

PROBES = frozenset({"/healthz", "/readyz"})
METRICS = "/metrics"
READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules of one listener. `trusted` is the unix socket, where the file mode decides.

    `loopback` tells whether only this machine can connect. `host` is the name or address that
    the listener was given. `allow_no_token` counts only while no token is set.
    """

    trusted: bool = False
    loopback: bool = True
    token: Secret | None = None
    open_metrics: bool = False
    allow_no_token: bool = False
    host: str = ""

    def check(self, request: HttpRequest) -> None:
        """Let `request` pass, or raise the HttpError that refuses it."""
        if self.trusted:
            return
        holds_token = self._holds_token(request)
        if not holds_token:
            self._check_host(request)
        if request.method not in READING:
            _check_origin(request)
        if self._needs_token(request) and not holds_token:
            self._refuse()

    def _needs_token(self, request: HttpRequest) -> bool:
        if self.token is None and self.allow_no_token:
            return False
        if request.method not in READING:
            return True
        return not self.loopback and not self._is_free(request)

    def _is_free(self, request: HttpRequest) -> bool:
        return request.path in PROBES or (self.open_metrics and request.path == METRICS)

    def _holds_token(self, request: HttpRequest) -> bool:
        scheme, _, given = request.authorization.partition(" ")
        if self.token is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode("latin-1"), self.token.reveal().encode())

    def _check_host(self, request: HttpRequest) -> None:
        if request.host is None:  # HTTP/1.0 probes; no browser leaves it out
            return
        if not self.loopback and request.method in READING and self._is_free(request):
            return
        name = host_name(request.host)
        if name in {"localhost", self.host.lower()} or _is_address(name):
            return
        raise HttpError(
            HTTPStatus.FORBIDDEN,
            f"the name {name!r} in the Host header is not known here: "
            "ask by address, by localhost, by the name in http.listen, or with the token",
        )

    def _refuse(self) -> None:
        if self.token is None:
            raise HttpError(
                HTTPStatus.FORBIDDEN,
                "this needs a token over TCP and none is set: set http.token_file, "
                "or use the command line, which goes through the unix socket",
            )
        raise HttpError(
            HTTPStatus.UNAUTHORIZED,
            "this needs the header `Authorization: Bearer TOKEN` with the text of http.token_file",
            headers={"WWW-Authenticate": 'Bearer realm="leakguard"'},
        )


def host_name(host: str) -> str:
    """Give the name or address in a Host header, without port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _check_origin(request: HttpRequest) -> None:
    if request.origin is None:
        return
    if request.host is None or urlsplit(request.origin).netloc.lower() != request.host.lower():
        raise HttpError(
            HTTPStatus.FORBIDDEN, "a page of another origin may not change anything here"
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
