"""HTTP over a unix socket; `cli._socket` has its own, since `health` loads nothing else of ours."""

import http.client
import socket


class UnixConnection(http.client.HTTPConnection):
    """A connection to the server that listens on a socket file."""

    def __init__(self, path: str, timeout_s: float) -> None:
        """Connect to `path` with the first request."""
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket file instead of a TCP connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
