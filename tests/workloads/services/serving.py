"""Answer HTTP requests on loopback: what the small Python services have in common."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer


def serve(port: int, answer: Callable[[str], None]) -> None:
    """Call `answer` with the path of every request, one at a time, for ever."""

    class Handler(BaseHTTPRequestHandler):
        """One connection, kept open."""

        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_GET(self) -> None:
            """Answer a request."""
            answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"ok\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  name of the base
            """Say nothing."""

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def payload(mean_bytes: float, draw: Callable[[], float]) -> bytes:
    """Make bytes of a random size between half and one and a half times the mean."""
    return b"\x01" * max(1, int(mean_bytes * (0.5 + draw())))
