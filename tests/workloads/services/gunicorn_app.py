"""Leak in the workers of gunicorn: every request leaves its trace in a list of the module.

Started as `gunicorn 'gunicorn_app:make(TRACE_BYTES)'`; with `--max-requests` the workers are
replaced before it matters.
"""

import random
from collections.abc import Callable, Iterable

Start = Callable[[str, list[tuple[str, str]]], object]
App = Callable[[dict[str, object], Start], Iterable[bytes]]

traces: list[bytes] = []


def make(trace_bytes: int) -> App:
    """Give the application."""

    def app(_: dict[str, object], start: Start) -> Iterable[bytes]:
        traces.append(b"\x01" * int(trace_bytes * random.uniform(0.5, 1.5)))
        start("200 OK", [("Content-Length", "3")])
        return [b"ok\n"]

    return app
