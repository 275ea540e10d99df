"""Where the daemon's unix socket is and how to speak HTTP over it; standard library only."""

import http.client
import os
import socket
from collections.abc import Mapping

ENVIRONMENT = "LEAKGUARD_SOCKET"
SYSTEM_SOCKET = "/run/leakguard/leakguard.sock"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket file instead of a TCP connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def candidates(given: str | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Give the socket paths to try: the one that was named, else the usual places in order."""
    named = given or environ.get(ENVIRONMENT)
    if named:
        return (named,)
    runtime = environ.get("XDG_RUNTIME_DIR", "").rstrip("/")
    own = (f"{runtime}/leakguard/leakguard.sock",) if runtime else ()
    return (SYSTEM_SOCKET, *own)


def default_socket(environ: Mapping[str, str], *, root: bool) -> str:
    """Give where a daemon serves when nothing says otherwise; empty when there is no place."""
    named = environ.get(ENVIRONMENT)
    if named:
        return named
    if root or os.access(os.path.dirname(SYSTEM_SOCKET), os.W_OK):  # noqa: PTH120  no pathlib: `health` is light
        return SYSTEM_SOCKET
    own = candidates(None, environ)[1:]
    return own[0] if own else ""
