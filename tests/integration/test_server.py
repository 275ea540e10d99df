"""The web server over real sockets: what it answers, what it refuses, and what cannot stop it."""

import contextlib
import http.client
import json
import logging
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard.cli._socket import UnixConnection
from leakguard.core.errors import ConfigError, DaemonError, LeakguardError
from leakguard.core.plan import HttpPlan
from leakguard.core.units import Secret
from leakguard.testing.web import FakeBack
from leakguard.web import listen
from leakguard.web.server import SETTINGS, WebServer, warnings

TIMEOUT_S = 10.0
TOKEN = "s3cret"
RESTART = "/api/v1/services/worker/restart"
MOST_THREADS = 5


@contextlib.contextmanager
def serving(back: FakeBack, http: HttpPlan, path: Path) -> Iterator[WebServer]:
    """Serve on a free port and a socket, and leave no thread behind."""
    server = WebServer(back, http, str(path))
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Where the control socket is."""
    return tmp_path / "run" / "leakguard.sock"


@pytest.fixture
def back() -> FakeBack:
    """The daemon behind the server."""
    return FakeBack()


@pytest.fixture
def server(back: FakeBack, socket_path: Path) -> Iterator[WebServer]:
    """A server on loopback with a token, and its control socket."""
    plan = HttpPlan(listen="127.0.0.1:0", token=Secret(TOKEN))
    with serving(back, plan, socket_path) as running:
        yield running


def address(server: WebServer) -> tuple[str, int]:
    """Where TCP is served."""
    assert server.address is not None
    return server.address


def over_tcp(server: WebServer) -> http.client.HTTPConnection:
    """Connect to the TCP listener."""
    return http.client.HTTPConnection(*address(server), timeout=TIMEOUT_S)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Make one request and close."""
    with contextlib.closing(connection):
        connection.request(method, target, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def raw(server: WebServer, data: bytes) -> bytes:
    """Send bytes as they are and read until the server closes."""
    with socket.create_connection(address(server), TIMEOUT_S) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/api/v1/status", 200),
        ("/api/v1/events", 200),
        ("/api/v1/services/worker", 200),
        ("/api/v1/services/worker/series", 200),
        ("/api/v1/services/w%6Frker", 200),
        ("/api/v1/services/%FF", 404),
        ("/api/v1/services/nobody", 404),
        ("/nowhere", 404),
    ],
)
def test_reading_is_the_same_over_both(
    server: WebServer, socket_path: Path, target: str, status: int
) -> None:
    """Each page has the same status over TCP and over the control socket."""
    tcp, _ = ask(over_tcp(server), "GET", target)
    control, _ = ask(UnixConnection(str(socket_path), TIMEOUT_S), "GET", target)
    assert (tcp, control) == (status, status)


@pytest.mark.parametrize("verb", ["restart", "pause", "resume"])
def test_acting_needs_the_token_over_tcp_only(
    server: WebServer, socket_path: Path, back: FakeBack, verb: str
) -> None:
    """A POST is refused over TCP without the token; the control socket needs none."""
    target = f"/api/v1/services/worker/{verb}"
    without, _ = ask(over_tcp(server), "POST", target)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with_token, _ = ask(over_tcp(server), "POST", target, headers=bearer)
    control, _ = ask(UnixConnection(str(socket_path), TIMEOUT_S), "POST", target)
    assert (without, with_token, control, len(back.asked)) == (401, 200, 200, 2)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("method", "body", "headers", "status"),
    [
        ("DELETE", None, {}, 405),
        ("POST", b"{", {"Content-Type": "application/json"}, 400),
        ("POST", b"a=1", {"Content-Type": "text/plain"}, 415),
        ("POST", None, {"Content-Length": str(SETTINGS["max_request_body_size"] + 1)}, 413),
        ("GET", None, {"X-Long": "x" * SETTINGS["max_request_header_size"]}, 431),
    ],
)
def test_limits_hold_over_the_wire(
    socket_path: Path,
    method: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
) -> None:
    """Bad requests are refused by their status, on the trusted socket too."""
    connection = UnixConnection(str(socket_path), TIMEOUT_S)
    assert ask(connection, method, RESTART, body, headers)[0] == status


def test_a_chunked_body_is_bounded_too(server: WebServer, back: FakeBack) -> None:
    """A body without a length is refused with the first byte beyond the limit."""
    limit = SETTINGS["max_request_body_size"]
    head = f"POST {RESTART} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    full = f"{limit:x}\r\n".encode() + b" " * limit + b"\r\n"
    answer = raw(server, head.encode() + full + b"1\r\n \r\n")
    assert answer.split(b"\r\n")[0].split()[1] == b"413"
    assert back.asked == []


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 99,
    ],
)
def test_garbage_does_not_stop_the_server(server: WebServer, data: bytes) -> None:
    """After bytes that are no request, the next request is answered."""
    raw(server, data)
    assert ask(over_tcp(server), "GET", "/healthz")[0] == 200


def test_the_server_does_not_name_itself(server: WebServer) -> None:
    """There is no Server header to look up advisories for."""
    with contextlib.closing(over_tcp(server)) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().getheader("Server") is None


def test_unchanged_status_is_304_over_the_wire(server: WebServer) -> None:
    """A kept connection can go on after a 304, which has no body."""
    with contextlib.closing(over_tcp(server)) as connection:
        connection.request("GET", "/api/v1/status")
        first = connection.getresponse()
        first.read()
        connection.request(
            "GET", "/api/v1/status", headers={"If-None-Match": first.headers["ETag"]}
        )
        second = connection.getresponse()
        assert (second.status, second.read()) == (304, b"")
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_the_control_socket_answers_under_a_flood(server: WebServer, socket_path: Path) -> None:
    """With every TCP connection held half-open and more asking, the socket answers each time."""
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                ask(http.client.HTTPConnection(*address(server), timeout=0.5), "GET", "/metrics")

    hammers = [threading.Thread(target=hammer) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for _ in range(SETTINGS["connection_limit"] + 20):
            half = stack.enter_context(socket.create_connection(address(server), TIMEOUT_S))
            half.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        for thread in hammers:
            thread.start()
        try:
            answers = [
                ask(UnixConnection(str(socket_path), TIMEOUT_S), "GET", "/healthz")[0]
                for _ in range(20)
            ]
            asked = ask(UnixConnection(str(socket_path), TIMEOUT_S), "POST", RESTART)[0]
        finally:
            stop.set()
            for thread in hammers:
                thread.join(TIMEOUT_S)
    assert (answers, asked) == ([200] * 20, 200)


def test_a_hanging_tcp_request_does_not_hold_the_control_socket(
    server: WebServer, socket_path: Path, back: FakeBack
) -> None:
    """While a POST over TCP waits for the engine, the socket answers, even beside a second one."""
    back.hold = threading.Event()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    waiting = [
        threading.Thread(target=ask, args=(over_tcp(server), "POST", RESTART, None, bearer)),
        threading.Thread(
            target=ask, args=(UnixConnection(str(socket_path), TIMEOUT_S), "POST", RESTART)
        ),
    ]
    for thread in waiting:
        thread.start()
    assert all(back.entered.acquire(timeout=TIMEOUT_S) for _ in waiting)
    status, _ = ask(UnixConnection(str(socket_path), TIMEOUT_S), "GET", "/healthz")
    back.hold.set()
    for thread in waiting:
        thread.join(TIMEOUT_S)
    assert (status, len(back.asked)) == (200, 2)


@pytest.mark.usefixtures("server")
def test_half_a_request_on_the_control_socket_holds_nobody(socket_path: Path) -> None:
    """Clients of the socket that send half a request do not stop the others."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            half = stack.enter_context(socket.socket(socket.AF_UNIX))
            half.connect(str(socket_path))
            half.sendall(b"POST " + RESTART.encode() + b" HTTP/1.1\r\nContent-Length: 50\r\n\r\n{")
        assert ask(UnixConnection(str(socket_path), TIMEOUT_S), "GET", "/healthz")[0] == 200


def test_threads_are_few_and_go_away(back: FakeBack, socket_path: Path) -> None:
    """At most five threads serve, none of them holds the exit, and none is left after close."""
    before = set(threading.enumerate())
    with serving(back, HttpPlan(listen="127.0.0.1:0"), socket_path):
        ours = set(threading.enumerate()) - before
        assert all(thread.daemon for thread in ours)
        assert len(ours) <= MOST_THREADS
    for thread in ours:
        thread.join(TIMEOUT_S)
    assert set(threading.enumerate()) - before == set()


def test_descriptors_are_given_back(back: FakeBack, socket_path: Path) -> None:
    """Starting and closing again and again keeps no descriptor."""
    counts = []
    for _ in range(4):
        with serving(back, HttpPlan(listen="127.0.0.1:0"), socket_path) as running:
            ask(over_tcp(running), "GET", "/healthz")
        counts.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208  names are enough
    assert counts[1:] == counts[:1] * 3


def test_close_does_not_wait_for_a_hanging_request(
    back: FakeBack, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that waits for the engine is left behind as a daemon thread, and that is logged."""
    back.hold = threading.Event()
    server = WebServer(back, HttpPlan(listen=""), str(socket_path))
    server.start()
    connection = UnixConnection(str(socket_path), TIMEOUT_S)
    connection.request("POST", RESTART)
    assert back.entered.acquire(timeout=TIMEOUT_S)
    with caplog.at_level(logging.WARNING, "leakguard.web"):
        server.close()
    back.hold.set()
    connection.close()
    assert "WebWorkersLeft" in caplog.text
    assert not socket_path.exists()


@pytest.mark.usefixtures("server")
def test_the_socket_is_for_its_owner_only(socket_path: Path) -> None:
    """The mode of the control socket is 0600."""
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600


def test_the_socket_file_goes_with_the_server(back: FakeBack, socket_path: Path) -> None:
    """After close there is no socket file; closing twice is harmless."""
    server = WebServer(back, HttpPlan(listen=""), str(socket_path))
    server.start()
    there = socket_path.exists()
    server.close()
    server.close()
    assert (there, socket_path.exists()) == (True, False)


def test_a_stale_socket_is_replaced(back: FakeBack, socket_path: Path) -> None:
    """A socket file that nobody listens on, as after a crash, does not stop the start."""
    socket_path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(socket_path))
    with serving(back, HttpPlan(listen=""), socket_path):
        assert ask(UnixConnection(str(socket_path), TIMEOUT_S), "GET", "/healthz")[0] == 200


@pytest.mark.usefixtures("server")
def test_a_socket_in_use_is_left_alone(socket_path: Path) -> None:
    """A second daemon is refused, and the first goes on answering at its path."""
    with pytest.raises(DaemonError, match="another daemon answers on"):
        WebServer(FakeBack(), HttpPlan(listen=""), str(socket_path)).start()
    assert ask(UnixConnection(str(socket_path), TIMEOUT_S), "GET", "/healthz")[0] == 200


def test_a_file_that_is_no_socket_is_left_alone(back: FakeBack, tmp_path: Path) -> None:
    """leakguard never deletes a file that is not its socket."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(DaemonError, match="is no socket"):
        WebServer(back, HttpPlan(listen=""), str(path)).start()
    assert path.read_text() == "data"


@pytest.mark.parametrize("name", ["x" * 120, "file/leakguard.sock"])
def test_a_path_that_cannot_be_a_socket_is_explained(
    back: FakeBack, tmp_path: Path, name: str
) -> None:
    """A path that is too long, or below a file, is named in the error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DaemonError, match=r"use (a shorter|another) "):
        WebServer(back, HttpPlan(listen=""), str(tmp_path / name)).start()


def test_a_port_in_use_names_the_fix(back: FakeBack, server: WebServer, tmp_path: Path) -> None:
    """The error names the address and the setting, and the control socket is not left open."""
    taken = f"127.0.0.1:{address(server)[1]}"
    path = tmp_path / "second.sock"
    with pytest.raises(DaemonError, match=rf"{taken} is in use.*http\.listen"):
        WebServer(back, HttpPlan(listen=taken), str(path)).start()
    assert not path.exists()


@pytest.mark.parametrize(
    ("address_text", "error"),
    [
        ("9847", ConfigError),
        ("localhost:", ConfigError),
        ("127.0.0.1:70000", ConfigError),
        ("127.0.0.1:http", ConfigError),
        ("a..b:0", ConfigError),
        ("[fe80::1%nosuch0]:0", ConfigError),
        ("192.0.2.1:0", ConfigError),
    ],
)
def test_a_bad_address_is_a_configuration_error(
    address_text: str, error: type[LeakguardError]
) -> None:
    """What cannot be listened on is said with the name of the setting."""
    with pytest.raises(error, match=r"http\.listen"):
        listen.tcp(address_text)


@pytest.mark.parametrize(
    ("address_text", "loopback"),
    [("127.0.0.1:0", True), ("localhost:0", True), ("0.0.0.0:0", False)],
)
def test_loopback_is_seen_by_the_address(address_text: str, *, loopback: bool) -> None:
    """Whether only this machine can connect follows from what was bound, not from the name."""
    with listen.tcp(address_text) as opened:
        assert listen.is_loopback(opened) == loopback


@pytest.mark.parametrize(
    ("plan", "loopback", "words"),
    [
        (HttpPlan(), True, ""),
        (HttpPlan(token=Secret(TOKEN), allow_no_token=True), False, ""),
        (HttpPlan(allow_no_token=True), True, "every process on this machine can restart"),
        (HttpPlan(allow_no_token=True), False, "everybody who reaches it can restart"),
        (HttpPlan(), False, "only /healthz and /readyz are answered"),
        (HttpPlan(open_metrics=True), False, "only /healthz, /readyz and /metrics are answered"),
    ],
)
def test_a_dangerous_listener_is_warned_about(
    plan: HttpPlan, words: str, *, loopback: bool
) -> None:
    """The operator hears at each start what anybody can do, or what nobody can."""
    assert words in " ".join(warnings(plan, loopback=loopback))


def test_beyond_loopback_reading_needs_the_token(back: FakeBack, socket_path: Path) -> None:
    """On all addresses, probes are free and everything else needs the token."""
    plan = HttpPlan(listen="0.0.0.0:0", token=Secret(TOKEN))
    with serving(back, plan, socket_path) as running:
        port = address(running)[1]

        def status(target: str, **headers: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            return ask(connection, "GET", target, headers=headers)[0]

        seen = [status("/healthz"), status("/readyz"), status("/metrics"), status("/api/v1/status")]
        bearer = status("/api/v1/status", Authorization=f"Bearer {TOKEN}")
    assert (seen, bearer) == ([200, 200, 401, 401], 200)


def test_without_tcp_there_is_no_port(back: FakeBack, socket_path: Path) -> None:
    """`http.listen` empty serves the control socket alone."""
    with serving(back, HttpPlan(listen=""), socket_path) as running:
        _, body = ask(UnixConnection(str(socket_path), TIMEOUT_S), "GET", "/api/v1/status")
        assert (running.address, json.loads(body)["host"]) == (None, "db1")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_metrics(server: WebServer) -> None:
    """Prometheus' own linter finds nothing to say."""
    _, text = ask(over_tcp(server), "GET", "/metrics")
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, b"")
