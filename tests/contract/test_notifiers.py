"""What every notifier must do; each is found by its name and needs a case in `CASES`."""

import json
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from leakguard import plugins
from leakguard.core.alerts import Alert
from leakguard.core.errors import NotifyError
from leakguard.core.units import Secret
from leakguard.notifiers import _http
from leakguard.notifiers.base import Notifier, NotifierContext
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert

SECRET_PATH = "T0SECRET/B0SECRET/x0SECRET"
SIGNING = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISE="
TOKEN = "Bearer x0SECRET"
HTTP = ("slack", "webhook")


@dataclass(frozen=True, slots=True)
class Case:
    """How to set up one notifier, and the path it posts to."""

    options: Callable[[HTTPServer, Path], dict[str, Any]]
    path: str = ""


CASES = {
    "log": Case(lambda _, folder: {"path": str(folder / "alerts.log"), "format": "json"}),
    "slack": Case(
        lambda server, _: {"webhook_url": server.url_for(f"/services/{SECRET_PATH}")},
        f"/services/{SECRET_PATH}",
    ),
    "webhook": Case(
        lambda server, _: {
            "url": server.url_for("/hook"),
            "secret": SIGNING,
            "headers": {"Authorization": TOKEN},
        },
        "/hook",
    ),
}

SECRETS = ("SECRET", "c2VjcmV0", TOKEN)


def make(name: str, options: dict[str, Any]) -> Notifier:
    """Make a notifier as the daemon does."""
    context = NotifierContext(channel="ops", clock=FakeClock())
    notifier: Notifier = plugins.load("notifiers", name).make(options, context)
    return notifier


@pytest.fixture(name="every", params=plugins.names("notifiers"))
def every_notifier(
    request: pytest.FixtureRequest, httpserver: HTTPServer, tmp_path: Path
) -> Notifier:
    """Each notifier with a receiver that takes everything."""
    case = CASES[request.param]
    if case.path:
        httpserver.expect_request(case.path, method="POST").respond_with_data("ok")
    return make(request.param, case.options(httpserver, tmp_path))


@pytest.fixture(name="posting", params=HTTP)
def posting_notifier(
    request: pytest.FixtureRequest, httpserver: HTTPServer, tmp_path: Path
) -> tuple[Notifier, str]:
    """Each notifier that posts, and its path; the test sets what is answered."""
    case = CASES[request.param]
    return make(request.param, case.options(httpserver, tmp_path)), case.path


def received(httpserver: HTTPServer) -> list[Any]:
    """Give the documents that arrived."""
    return [json.loads(request.get_data()) for request, _ in httpserver.log]


def huge() -> Alert:
    """An alert with everything too long, too odd and too many."""
    text = "ünïcödé \U0001f4a5 <&> \udce9 \x00\n" * 9_000
    base = alert(service=text, summary=text)
    facts = tuple((text[:400], text) for _ in range(30))
    fields = {name: getattr(base, name) for name in type(base).__dataclass_fields__}
    fields |= {
        "title": text,
        "host": text,
        "facts": facts,
        "details": {"x": float("nan"), "y": text},
    }
    return Alert(**fields)


def test_every_notifier_has_a_case() -> None:
    """A new notifier is added here as well."""
    assert sorted(CASES) == [n for n in plugins.names("notifiers") if n in CASES]
    assert set(plugins.names("notifiers")) <= set(CASES)


def test_options_are_documented() -> None:
    """Each setting is explained once, beside its field."""
    for name in plugins.names("notifiers"):
        options = plugins.load("notifiers", name).options
        for field in options.__dataclass_fields__.values():
            assert field.metadata["doc"]


def test_send_gives_the_answer(every: Notifier) -> None:
    """A delivered alert says what the receiver said."""
    assert every.send(alert()) in {"200 ok", "written"}


def test_preview_sends_nothing_and_shows_no_secret(every: Notifier, httpserver: HTTPServer) -> None:
    """What a dry run prints may be pasted anywhere."""
    shown = every.preview(alert())
    assert httpserver.log == []
    assert "worker" in shown
    assert [secret for secret in SECRETS if secret in shown] == []


def test_repr_shows_no_secret(every: Notifier) -> None:
    """Nor does a traceback or a log of objects."""
    texts = [repr(every), str(every), repr(vars(every).get("_options"))]
    assert [s for s in SECRETS for text in texts if s in text] == []


def test_huge_and_odd_text_is_sent(every: Notifier, httpserver: HTTPServer) -> None:
    """Whatever a process calls itself, the message is whole and is no larger than may be."""
    every.send(huge())
    every.preview(huge())
    for request, _ in httpserver.log:
        assert len(request.get_data()) < 64 * 1024
        assert json.loads(request.get_data())


def test_an_alert_without_service_is_sent(every: Notifier) -> None:
    """Events of the daemon itself have none."""
    assert every.send(alert(service=""))


def test_a_server_error_is_tried_again_later(
    posting: tuple[Notifier, str], httpserver: HTTPServer
) -> None:
    """500 is an error that may pass; the same alert then arrives, with the same id."""
    notifier, path = posting
    httpserver.expect_ordered_request(path).respond_with_data("oops", status=500)
    httpserver.expect_ordered_request(path).respond_with_data("ok")
    with pytest.raises(NotifyError, match="500 oops") as failed:
        notifier.send(alert())
    assert not failed.value.permanent
    notifier.send(alert())
    first, second = received(httpserver)
    assert first == second


def test_retry_after_in_seconds(posting: tuple[Notifier, str], httpserver: HTTPServer) -> None:
    """429 says when to come back, and nobody waits in here for it."""
    notifier, path = posting
    httpserver.expect_request(path).respond_with_data(
        "slow down", status=429, headers={"Retry-After": "90"}
    )
    with pytest.raises(NotifyError) as failed:
        notifier.send(alert())
    assert (failed.value.retry_after_s, failed.value.permanent) == (90, False)
    assert len(httpserver.log) == 1


def test_retry_after_as_a_date(posting: tuple[Notifier, str], httpserver: HTTPServer) -> None:
    """The other form of the header; 1,795,000,060 is a minute after the clock of these tests."""
    notifier, path = posting
    httpserver.expect_request(path).respond_with_data(
        status=503, headers={"Retry-After": "Wed, 18 Nov 2026 10:27:40 GMT"}
    )
    with pytest.raises(NotifyError) as failed:
        notifier.send(alert())
    expected = _http.retry_after_s("Wed, 18 Nov 2026 10:27:40 GMT", FakeClock().wall_s)
    assert failed.value.retry_after_s == expected


def test_gone_is_permanent(posting: tuple[Notifier, str], httpserver: HTTPServer) -> None:
    """410 means: never again."""
    notifier, path = posting
    httpserver.expect_request(path).respond_with_data("gone", status=410)
    with pytest.raises(NotifyError) as failed:
        notifier.send(alert())
    assert failed.value.permanent


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_failures(
    posting: tuple[Notifier, str], httpserver: HTTPServer, status: int
) -> None:
    """Alerts go where the configuration says, nowhere else."""
    notifier, path = posting
    httpserver.expect_request(path).respond_with_data(
        "", status=status, headers={"Location": httpserver.url_for("/elsewhere")}
    )
    with pytest.raises(NotifyError, match=str(status)):
        notifier.send(alert())
    assert [request.path for request, _ in httpserver.log] == [path]


def test_a_hanging_receiver_ends(
    posting: tuple[Notifier, str], httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has a deadline, and is not sent twice by itself: the first may have arrived."""
    notifier, path = posting
    monkeypatch.setattr(_http, "READ_TIMEOUT_S", 0.2)
    hold = _hold(httpserver, path)
    with pytest.raises(NotifyError, match="no answer within") as failed:
        notifier.send(alert())
    hold.close()
    assert not failed.value.permanent
    assert [s for s in SECRETS if s in str(failed.value)] == []


def _hold(httpserver: HTTPServer, path: str) -> socket.socket:
    """Answer only when the returned socket is closed."""
    ours, theirs = socket.socketpair()

    def answer(_: Request) -> Response:
        theirs.settimeout(10)
        theirs.recv(1)
        theirs.close()
        return Response("late")

    httpserver.expect_request(path).respond_with_handler(answer)
    return ours


@pytest.mark.parametrize("name", HTTP)
def test_nobody_listens(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Error and log name host and reason, and nothing secret of the address."""
    caplog.set_level(logging.DEBUG)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    path = f"services/{SECRET_PATH}" if name == "slack" else "hook"
    url = f"http://user:x0SECRET@127.0.0.1:{port}/{path}?token=x0SECRET"
    options: dict[str, Any] = {"webhook_url" if name == "slack" else "url": url}
    notifier = make(name, options)
    with pytest.raises(NotifyError) as failed:
        notifier.send(alert())
    assert str(failed.value) == f"127.0.0.1:{port}: connection refused"
    assert failed.value.__cause__ is None
    shown = notifier.preview(alert())
    assert "x0SECRET" not in shown
    assert "x0SECRET" not in caplog.text


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize(
    "url", ["htps://h/x0SECRET", "hooks.slack.com/x0SECRET", "https:///x0SECRET", "http://a:b:c/"]
)
def test_a_wrong_address_is_refused_at_once(name: str, url: str) -> None:
    """A typo in the scheme is found when the configuration is read, and is not repeated."""
    value = Secret(url) if name == "slack" else url
    options = plugins.load("notifiers", name).options
    with pytest.raises(ValueError, match="url must") as refused:
        options(**{"webhook_url" if name == "slack" else "url": value})
    assert "SECRET" not in str(refused.value)
