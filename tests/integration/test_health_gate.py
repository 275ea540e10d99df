"""The health gate against real sockets on loopback and real commands."""

import socket
from collections.abc import Iterator
from threading import Event, Thread, Timer

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from leakguard.core.plan import HealthSpec
from leakguard.linux.children import Children, run_here
from leakguard.runtime import health_gate
from leakguard.runtime.clock import SystemClock


def ask(spec: HealthSpec, within_s: float, cancelled: Event | None = None) -> tuple[bool, str]:
    """Ask a gate with a real clock."""
    clock = SystemClock()
    return health_gate.check(
        spec,
        within_s,
        clock=clock,
        cancelled=cancelled or Event(),
        children=Children(run_here, clock),
    )


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Give a socket that listens on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    """Give `host:port`."""
    host, port = server.getsockname()
    return f"{host}:{port}"


@pytest.mark.parametrize("status", [200, 204, 302])
def test_http_2xx_and_3xx_pass(httpserver: HTTPServer, status: int) -> None:
    """A redirect is an answer; it is not followed."""
    httpserver.expect_request("/healthz", query_string="deep=1").respond_with_data(status=status)
    passed, words = ask(HealthSpec(http=httpserver.url_for("/healthz?deep=1")), 10.0)
    assert (passed, "is well after" in words, "deep" in words) == (True, True, False)


def test_http_is_asked_until_it_answers_well(httpserver: HTTPServer) -> None:
    """A service that warms up fails at first and passes later, within the time."""
    answers = [503, 503, 200]
    httpserver.expect_request("/").respond_with_handler(lambda _: Response(status=answers.pop(0)))
    passed, _ = ask(HealthSpec(http=httpserver.url_for("/"), every_s=0.01), 20.0)
    assert (passed, answers) == (True, [])


def test_the_last_failure_is_told(httpserver: HTTPServer) -> None:
    """The message names what was asked, how long and what the service said."""
    httpserver.expect_request("/").respond_with_data("no", status=503)
    url = httpserver.url_for("/")
    passed, words = ask(HealthSpec(http=url, every_s=60.0), 2.0)
    said = f"{url} did not become well within 2s (1 try): answered 503 SERVICE UNAVAILABLE"
    assert (passed, words) == (False, said)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 20", b"HTTP/1.1\r\n"])
def test_what_is_not_http_fails(listener: socket.socket, said: bytes) -> None:
    """Another protocol or half an answer is not health."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(said)

    thread = Thread(target=serve)
    thread.start()
    passed, _ = ask(HealthSpec(http=f"http://{address(listener)}/", every_s=60.0), 0.3)
    thread.join()
    assert passed is False


def test_a_mute_service_cannot_hold_the_gate_open(listener: socket.socket) -> None:
    """A connection that is accepted and never answered ends with the time."""
    passed, words = ask(HealthSpec(http=f"http://{address(listener)}/"), 0.3)
    assert (passed, words.endswith("no answer in time")) == (False, True)


def test_plain_http_behind_https_fails(httpserver: HTTPServer) -> None:
    """https is verified; what is not TLS does not pass."""
    httpserver.expect_request("/").respond_with_data("hello")
    url = httpserver.url_for("/").replace("http://", "https://")
    assert ask(HealthSpec(http=url, every_s=60.0), 0.3)[0] is False


def test_tcp_passes_when_somebody_listens(listener: socket.socket) -> None:
    """A connection is enough."""
    assert ask(HealthSpec(tcp=address(listener)), 10.0)[0] is True


def test_tcp_fails_when_nobody_listens(listener: socket.socket) -> None:
    """A refused connection is told as such."""
    where = address(listener)
    listener.close()
    passed, words = ask(HealthSpec(tcp=where, every_s=0.05), 0.1)
    assert (passed, words.endswith("Connection refused")) == (False, True)


@pytest.mark.parametrize(
    ("argv", "passed", "words"),
    [
        (("true",), True, "true is well"),
        (("sh", "-c", "echo not yet; exit 4"), False, "exit code 4: not yet"),
        (("no-such-probe-here",), False, "No such file or directory"),
        (("sleep", "60"), False, "did not end within"),
    ],
)
def test_a_command_passes_by_exit_code_0(argv: tuple[str, ...], passed: bool, words: str) -> None:
    """Anything else, and a probe that hangs, is not health."""
    answer = ask(HealthSpec(command=argv, every_s=60.0), 5.0 if passed else 0.5)
    assert (answer[0], words in answer[1]) == (passed, True)


def test_a_cancelled_gate_ends_at_once(listener: socket.socket) -> None:
    """When leakguard ends or restarts the service again, nobody waits for the gate."""
    where, cancelled = address(listener), Event()
    listener.close()
    Timer(0.1, cancelled.set).start()
    passed, words = ask(HealthSpec(tcp=where, every_s=3600.0), 7200.0, cancelled)
    assert (passed, "stopped asking" in words) == (False, True)
