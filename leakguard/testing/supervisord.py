"""A supervisord without processes: programs, states and faults are what a test sets."""

import base64
import threading
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import TracebackType
from typing import Any, Self

STATES = {
    "STOPPED": 0, "STARTING": 10, "RUNNING": 20, "BACKOFF": 30, "STOPPING": 40, "EXITED": 100,
    "FATAL": 200,
}  # fmt: skip
ALIVE = ("STARTING", "RUNNING", "STOPPING")


@dataclass(slots=True)
class FakeProgram:
    """One program. `refusals`: faults by method, as (code, text). `pid` counts up at each start."""

    group: str
    name: str
    pid: int = 0
    state: str = "RUNNING"
    spawn_error: str = ""
    exit_status: int = 0
    stop_wait_s: int = 10
    start_s: int = 1
    start_retries: int = 3
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """Give what getProcessInfo gives."""
        return {
            "group": self.group,
            "name": self.name,
            "state": STATES[self.state],
            "statename": self.state,
            "pid": self.pid if self.state in ALIVE else 0,
            "spawnerr": self.spawn_error,
            "exitstatus": self.exit_status,
        }

    def config(self) -> dict[str, Any]:
        """Give its part of getAllConfigInfo."""
        return {
            "group": self.group,
            "name": self.name,
            "stopwaitsecs": self.stop_wait_s,
            "startsecs": self.start_s,
            "startretries": self.start_retries,
        }


class FakeSupervisord:
    """Answers on a unix socket. `calls`: what was asked of it, but for questions.

    `status`: the HTTP status of each answer. `cut`: only so many bytes of an answer are sent.
    `hold`: a stop waits until it is set.
    """

    def __init__(self, path: Path, *programs: FakeProgram, pid: int = 1) -> None:
        """Serve at once; `pid` is what it calls its own."""
        self.programs = {f"{one.group}:{one.name}": one for one in programs}
        self.pid = pid
        self.calls: list[tuple[str, str]] = []
        self.credentials = ""
        self.body: bytes | None = None
        self.status = 200
        self.cut: int | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.stopping = threading.Event()
        self._server = _Server(str(path), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, request: bytes) -> bytes:
        """Give the answer to one request."""
        if self.body is not None:
            return self.body
        params, _ = xmlrpc.client.loads(request)
        many: Any = params[0]
        answers = [self._call(one["methodName"], *one["params"]) for one in many]
        return xmlrpc.client.dumps((answers,), methodresponse=True).encode()

    def allows(self, header: str) -> bool:
        """Tell whether the credentials are right."""
        wanted = base64.b64encode(self.credentials.encode()).decode()
        return not self.credentials or header == f"Basic {wanted}"

    def _call(self, method: str, *args: Any) -> object:
        known: dict[str, Callable[..., object]] = {
            "supervisor.getPID": lambda: self.pid,
            "supervisor.getAllProcessInfo": lambda: [p.info() for p in self.programs.values()],
            "supervisor.getAllConfigInfo": lambda: [p.config() for p in self.programs.values()],
            "supervisor.getProcessInfo": lambda name: self._of(name).info(),
            "supervisor.startProcess": self._start,
            "supervisor.stopProcess": self._stop,
        }
        try:
            return known[method](*args)
        except _Refusal as refusal:
            return {"faultCode": refusal.code, "faultString": refusal.text}

    def _of(self, name: str) -> FakeProgram:
        full = name if ":" in name else f"{name}:{name}"
        if full not in self.programs:
            raise _Refusal(10, f"BAD_NAME: {name}")
        return self.programs[full]

    def _start(self, name: str, *_wait: bool) -> bool:
        self.calls.append(("start", name))
        program = self._of(name)
        _refuse(program, "startProcess")
        if program.state in ("STARTING", "RUNNING", "BACKOFF"):
            raise _Refusal(60, f"ALREADY_STARTED: {name}")
        program.state, program.pid = "RUNNING", program.pid + 1
        return True

    def _stop(self, name: str, *_wait: bool) -> bool:
        self.calls.append(("stop", name))
        program = self._of(name)
        _refuse(program, "stopProcess")
        if program.state not in ("STARTING", "RUNNING", "BACKOFF"):
            raise _Refusal(70, f"NOT_RUNNING: {name}")
        program.state = "STOPPING"
        self.stopping.set()
        self.hold.wait(30.0)
        program.state = "STOPPED"
        return True

    def close(self) -> None:
        """Stop serving; the socket file stays, as when a supervisord is killed."""
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self.close()


class _Refusal(Exception):  # noqa: N818  what supervisord answers, not an error of ours
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def _refuse(program: FakeProgram, method: str) -> None:
    if method in program.refusals:
        if method == "startProcess":
            program.state = "BACKOFF" if program.refusals[method][0] == 40 else "STOPPED"
        raise _Refusal(*program.refusals[method])


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


def _handler(fake: FakeSupervisord) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["content-length"]))
            status = fake.status
            if not fake.allows(self.headers.get("authorization", "")):
                status = 401
            body = fake.answer(request) if status == 200 else b"no"
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: fake.cut])

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
