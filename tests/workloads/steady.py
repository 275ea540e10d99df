"""Hold a steady amount of memory and wait: the service without a leak. Standard library only.

`python tests/workloads/steady.py --size 50MiB --pidfile /tmp/steady.pid`

It prints `ready PID` when the memory is taken. `--wave` adds a sawtooth, as a garbage collector
makes; `--port` answers HTTP GETs with `{"pid": …}`, for health gates.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
EVERY_S = 0.05


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with the pid."""

    def do_GET(self) -> None:
        """Say who is there."""
        body = json.dumps({"pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        """Keep quiet."""


def size(text: str) -> int:
    """Read a size with its unit: `4MiB`."""
    number = text.rstrip("BKMGi")
    unit = text[len(number) :]
    if unit not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} needs a unit: {', '.join(UNITS)}")
    return int(float(number) * UNITS[unit])


def hold(options: argparse.Namespace, stop: threading.Event) -> None:
    """Keep the memory, and the wave on top of it, until `stop`."""
    kept, wave = b"\x01" * options.size, b""
    print(f"ready {os.getpid()}", flush=True)  # noqa: T201  whoever started it waits for this
    began = time.monotonic()  # noqa: TID251  a program of its own, not part of leakguard
    while not stop.wait(EVERY_S):
        elapsed_s = time.monotonic() - began  # noqa: TID251  as above
        phase = elapsed_s / options.period % 1
        wave = b"\x01" * int(options.wave * phase)
    del kept, wave


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold memory until TERM, INT or the end of `--life`."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watchdog = threading.Timer(options.life, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()
    if options.port:
        server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    if options.pidfile:
        options.pidfile.write_text(f"{os.getpid()}\n", "ascii")
    hold(options, stop)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--size", type=size, default=size("20MiB"), metavar="SIZE", help="held all the time")
    add("--wave", type=size, default=0, metavar="SIZE", help="height of a sawtooth on top")
    add("--period", type=float, default=10.0, metavar="SECONDS", help="length of one tooth")
    add("--life", type=float, default=300.0, metavar="SECONDS", help="end after this, always")
    add("--port", type=int, default=0, metavar="PORT", help="answer HTTP on 127.0.0.1")
    add("--pidfile", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
