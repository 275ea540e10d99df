"""A small web service that leaks, with every request and all the time: the patient of the demo.

It is what a decent service is otherwise: on TERM it takes no new requests, answers those in hand
and ends with code 0. It never grows beyond `--most` and never lives longer than `--life`.
"""

import argparse
import ctypes
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

from leakguard.core.instant import Clock
from leakguard.core.units import parse_bytes, parse_duration
from leakguard.runtime.clock import SystemClock

PIECE_BYTES = 64 * 1024  # below the allocator's mmap threshold: the heap grows evenly
LEAK_EVERY_S = 0.05
M_ARENA_MAX = -8  # glibc, malloc.h


class Diary:
    """Notes each start and stop with the boot clock, so that a watcher can tell them exactly."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def note(self, what: str) -> None:
        """Append one JSON line; without a file, do nothing."""
        if self._path is None:
            return
        line = {"pid": os.getpid(), "what": what, "boot_s": self._clock.now().boot_s}
        with self._path.open("a", encoding="utf-8") as diary:
            diary.write(json.dumps(line) + "\n")


class Leak:
    """Memory that is kept for ever, up to a bound."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._size_bytes = 0
        self._kept: list[bytes] = []
        self._lock = threading.Lock()

    def grow(self, size_bytes: int) -> None:
        """Keep `size_bytes` more, every page written to; running out ends the process."""
        try:
            with self._lock:
                self._grow(size_bytes)
        except MemoryError:
            run_out()

    def _grow(self, size_bytes: int) -> None:
        while size_bytes > 0 and self._size_bytes < self._most_bytes:
            piece = min(size_bytes, PIECE_BYTES)
            self._kept.append(b"\x01" * piece)
            self._size_bytes += piece
            size_bytes -= piece

    def grow_steadily(self, bytes_per_s: int, stop: threading.Event, clock: Clock) -> None:
        """Grow at a steady rate until `stop`, catching up after a stall."""
        started, grown = clock.now(), 0
        while not stop.wait(LEAK_EVERY_S):
            due = int(bytes_per_s * clock.now().since(started))
            self.grow(due - grown)
            grown = due


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with its pid, after some work and a leak."""

    server: "Server"

    def do_GET(self) -> None:
        """Work, leak, answer."""
        threading.Event().wait(self.server.work_s)
        self.server.leak.grow(self.server.per_request_bytes)
        body = json.dumps({"pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """An HTTP server that can stop without losing a request that it was given."""

    daemon_threads = False  # server_close waits for the answers in hand
    request_queue_size = 128

    def __init__(self, port: int, leak: Leak, *, per_request_bytes: int, work_s: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.leak = leak
        self.per_request_bytes = per_request_bytes
        self.work_s = work_s
        self._queue_empty = False

    def handle_timeout(self) -> None:
        """Notice that nobody waits to be accepted any more."""
        self._queue_empty = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Run out of memory loudly; a client that went away is no error."""
        if isinstance(sys.exception(), MemoryError):
            run_out()

    def finish(self) -> None:
        """Stop accepting, answer whoever was already connected, wait for the answers in hand."""
        self.shutdown()
        self.timeout = 0
        while not self._queue_empty:
            self.handle_request()
        self.server_close()


def run_out() -> NoReturn:
    """End at once, as a process does that meets MemoryError in the middle of its work."""
    os.write(2, b"MemoryError\n")
    os._exit(1)


def cap_address_space(room_bytes: int) -> None:
    """Leave room for `room_bytes` of memory; beyond that allocations fail with MemoryError.

    One arena for all threads: glibc reserves 64 MiB of addresses for every further one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
    size_pages, resident_pages = Path("/proc/self/statm").read_text("ascii").split()[:2]
    overhead = (int(size_pages) - int(resident_pages)) * resource.getpagesize()
    ceiling = room_bytes + overhead
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until TERM, INT or the end of the allotted life."""
    options = _parser().parse_args(arguments)
    clock, stop = SystemClock(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.stack_size(256 * 1024)  # the default of 8 MiB a thread would eat an address space cap
    diary, leak = Diary(options.diary, clock), Leak(options.most)
    server = Server(options.port, leak, per_request_bytes=options.per_request, work_s=options.work)
    if options.address_space:
        cap_address_space(options.address_space)
    threads = (
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}),
        threading.Thread(target=leak.grow_steadily, args=(options.rate, stop, clock)),
    )
    for thread in threads:
        thread.start()
    diary.note("started")
    stop.wait(options.life)
    diary.note("stopping")
    stop.set()
    server.finish()
    for thread in threads:
        thread.join()
    diary.note("stopped")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--port", type=int, required=True, metavar="PORT", help="on 127.0.0.1")
    add("--rate", type=parse_bytes, default=0, metavar="SIZE", help="leaked a second, steadily")
    add("--per-request", type=parse_bytes, default=0, metavar="SIZE", help="leaked by a request")
    add("--work", type=parse_duration, default=0.0, metavar="DURATION", help="time of a request")
    add("--most", type=parse_bytes, required=True, metavar="SIZE", help="never leak more")
    add("--life", type=parse_duration, required=True, metavar="DURATION", help="then end")
    add("--address-space", type=parse_bytes, metavar="SIZE", help="cap memory by RLIMIT_AS")
    add("--diary", type=Path, metavar="FILE", help="append a line at start and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
