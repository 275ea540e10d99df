"""A real daemon under test: start it, read its events, kill it, and receive what it sends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
Event = dict[str, Any]

EVERY_S = 0.01


def seconds() -> float:
    """Give the seconds on a clock that nobody sets."""
    return time.monotonic()  # noqa: TID251  tests wait for real processes


def until(check: Callable[[], T], limit_s: float = 15.0, what: str = "") -> T:
    """Give the first true answer of `check`, asked again and again; fails at the deadline."""
    deadline, pause = seconds() + limit_s, threading.Event()
    while not (answer := check()):
        if seconds() > deadline:
            raise AssertionError(f"not within {limit_s:g} s: {what or check}")
        pause.wait(EVERY_S)
    return answer


def started_at(pid: int) -> int | None:
    """Give the start time of a running process in ticks since boot, None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2]
    except OSError:
        return None
    fields = stat.split()
    return None if fields[0] in "ZX" else int(fields[19])


def kill(pid: int, started: int | None = None) -> None:
    """Kill one process; with `started`, only that very one."""
    if started is None or started_at(pid) == started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def json_lines(text: str) -> list[Event]:
    """Read JSON objects, one a line; what a child says and a line in the making are left out."""
    lines = text.splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


@dataclass(slots=True)
class Daemon:
    """`leakguard run` on a configuration; every run appends to the same two files."""

    folder: Path
    config: Mapping[str, Any]
    extra: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    runs: int = 0

    @property
    def config_file(self) -> Path:
        """Where the configuration is (JSON is YAML)."""
        return self.folder / "config.yaml"

    @property
    def state_file(self) -> Path:
        """Where its state is kept."""
        return self.folder / "state.db"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the configuration, with a state file and a socket of its own and no TCP port."""
        common = {
            "state": {"path": str(self.state_file)},
            "socket": str(self.folder / "control.sock"),
            "http": {"listen": "off"},
            "host": "testhost",
        }
        self.config_file.write_text(json.dumps({**common, **config}, indent=1), "utf-8")

    def start(self) -> Self:
        """Start it."""
        if not self.config_file.exists():
            self.write_config(self.config)
        self.runs = len(self.events("DaemonStarted"))
        argv = [sys.executable, "-m", "leakguard", "run", "-c", str(self.config_file), "--json"]
        with (self.folder / "events").open("ab") as out, (self.folder / "log").open("ab") as err:
            self.process = subprocess.Popen(
                [*argv, *self.extra],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **self.env},
            )
        return self

    def ready(self) -> Self:
        """Wait until the run that was started last has ticked and answers."""
        self.wait_for("DaemonStarted", count=self.runs + 1)
        return self

    def events(self, kind: str = "", service: str = "") -> list[Event]:
        """Give what it printed so far, of all its runs."""
        path = self.folder / "events"
        lines = json_lines(path.read_text("utf-8")) if path.exists() else []
        return [
            e
            for e in lines
            if kind in {"", e["event"]} and (not service or e["service"] == service)
        ]

    def log(self) -> str:
        """Give what it said on stderr so far, of all its runs."""
        return (self.folder / "log").read_text("utf-8")

    def wait_for(
        self, kind: str, service: str = "", *, count: int = 1, limit_s: float = 15.0
    ) -> Event:
        """Wait until there are `count` events of a kind; gives the last of these."""

        def enough() -> list[Event]:
            found = self.events(kind, service)
            return found if len(found) >= count else []

        try:
            return until(enough, limit_s)[count - 1]
        except AssertionError as error:
            seen = [(e["event"], e["message"]) for e in self.events()[-12:]]
            raise AssertionError(
                f"no {kind} (number {count}) of {service!r} in {limit_s:g} s: {seen}\n"
                f"{self.log()[-2000:]}"
            ) from error

    def stop(self, signum: int = signal.SIGTERM, limit_s: float = 20.0) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing running: stop it, which ends its children; kill it when it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.stop(limit_s=30.0)


@dataclass(frozen=True, slots=True)
class Received:
    """One request that arrived, and what it was answered."""

    path: str
    id: str
    body: dict[str, Any]
    answer: int
    at: float


class Receiver:
    """A web server on loopback that takes alerts. `answer` may refuse them, or take its time.

    The id of an alert is in the header of a webhook, and in backquotes at the end of a Slack text.
    """

    def __init__(self, answer: Callable[[str], int] = lambda _path: 200) -> None:
        """Serve at once; `answer` gives the status for a path."""
        self.answer = answer
        self.received: list[Received] = []
        self.begun = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                came = seconds()  # before it is thought about for as long as the test wants
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.begun += 1
                status = receiver.answer(self.path)
                receiver.note(self.path, self.headers.get("webhook-id", ""), body, status, came)
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Say nothing of a client that was killed in the middle."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def note(
        self, path: str, identity: str, body: dict[str, Any], status: int, came: float
    ) -> None:
        """Remember a request."""
        if not identity:
            footer = body["blocks"][-1]["elements"][0]["text"]
            identity = footer.split("`")[-2]
        self.received.append(Received(path, identity, body, status, came))

    def accepted(self, path: str) -> list[Received]:
        """Give what was answered with 200 on a path."""
        return [r for r in tuple(self.received) if r.path == path and r.answer == 200]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.close()
