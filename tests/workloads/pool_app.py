"""A WSGI application of which one worker leaks: the one that is asked for `/leak` first.

`/` answers the worker's pid; in the worker that leaks each answer costs 256 KiB for ever. `/slow`
takes half a second, as requests do that a worker should be let finish. POOL_APP_LOADS bytes are
loaded by every worker at its start.
"""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

COST = 256 * 1024
FIRST = Path(os.environ.get("POOL_APP_LEAKER", "leaker"))
_kept: list[bytes] = [os.urandom(int(os.environ.get("POOL_APP_LOADS", "0")))]
_leaks = False


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request."""
    global _leaks  # noqa: PLW0603  a worker leaks or not, for its life
    path = environ["PATH_INFO"]
    if path == "/leak" and not FIRST.exists():
        FIRST.write_text(str(os.getpid()))
        _leaks = True
    if path == "/slow":
        threading.Event().wait(0.5)
    if _leaks:
        _kept.append(os.urandom(COST))
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


application = app
