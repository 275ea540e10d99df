"""`leakguard notify`: the exact request, the answers, and what waits in the outbox."""

import contextlib
import json
import socketserver
import threading
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from leakguard.cli.main import main
from leakguard.core.errors import NotifyError
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert
from leakguard.testing.ticks import tick

SERVICES = "services:\n  worker:\n    target: {pid: 1}\n"


@pytest.fixture(name="config")
def a_config(tmp_path: Path, httpserver: HTTPServer) -> str:
    """A configuration with a Slack and a webhook channel."""
    secret = tmp_path / "slack"
    secret.write_text(httpserver.url_for("/services/T0SECRET/x"))
    path = tmp_path / "config.yaml"
    path.write_text(
        SERVICES
        + "alerts:\n  channels:\n"
        + f"    ops: {{slack: {{webhook_url_file: {secret}}}}}\n"
        + f"    hook: {{webhook: {{url: '{httpserver.url_for('/hook')}'}}}}\n"
        + f"state: {{path: {tmp_path / 'state.db'}}}\n"
    )
    return str(path)


def test_dry_run_prints_the_requests_and_sends_nothing(
    config: str, httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both channels, secrets masked."""
    assert main(["notify", "test", "--dry-run", "-c", config]) == 0
    out = capsys.readouterr().out
    assert httpserver.log == []
    assert "T0SECRET" not in out
    assert "ops (slack) would be sent:" in out
    assert "POST http://localhost" in out
    assert '"specversion": "1.0"' in out


def test_every_channel_is_tried_and_one_failure_is_exit_1(
    config: str, httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken channel does not hide a working one."""
    httpserver.expect_request("/services/T0SECRET/x").respond_with_data("no_service", status=404)
    httpserver.expect_request("/hook").respond_with_data("thanks")
    assert main(["notify", "test", "--json", "-c", config]) == 1
    document = json.loads(capsys.readouterr().out)
    answers = {c["channel"]: (c["ok"], c["answer"]) for c in document["channels"]}
    assert answers == {
        "ops": (False, "slack answered 404 no_service"),
        "hook": (True, "200 thanks"),
    }


def test_one_channel(
    config: str, httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """--channel leaves the others alone."""
    httpserver.expect_request("/hook").respond_with_data("ok")
    assert main(["notify", "test", "--channel", "hook", "-c", config]) == 0
    assert "hook (webhook): sent, answer: 200 ok" in capsys.readouterr().out
    assert len(httpserver.log) == 1


def test_an_unknown_channel_names_the_right_ones(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, with the names there are."""
    assert main(["notify", "test", "--channel", "opps", "-c", config]) == 2
    assert "no channel named 'opps' (there are: ops, hook)" in capsys.readouterr().err


def test_outbox_lists_what_waits_and_what_was_given_up(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while the daemon runs."""
    clock = FakeClock()
    store = SqliteStore(str(tmp_path / "state.db"), clock)
    alerts = tuple(alert(f"i-{n}") for n in range(3))
    store.commit(tick(clock.now(), alerts=alerts))
    sent, failed, gone = store.due(clock.wall_s)
    store.delivered(sent, "ok")
    store.failed(failed, str(NotifyError("500")), clock.wall_s + 5)
    store.failed(gone, "404 no_service", None)
    assert main(["notify", "outbox", "--json", "-c", config]) == 0
    rows = json.loads(capsys.readouterr().out)["deliveries"]
    assert [(r["alert"], r["state"], r["attempts"], r["answer"]) for r in rows] == [
        ("i-2", "gave_up", 1, "404 no_service"),
        ("i-1", "pending", 1, "500"),
    ]
    assert main(["notify", "outbox", "--state", str(tmp_path / "state.db")]) == 0
    assert "404 no_service" in capsys.readouterr().out
    store.close()


class OldDaemon(socketserver.StreamRequestHandler):
    """Knows no page but says so as a daemon does."""

    def handle(self) -> None:
        """Answer one request."""
        self.rfile.readline()
        body = b'{"error": "there is nothing at /api/v1/deliveries"}'
        self.wfile.write(b"HTTP/1.0 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize("daemon", [False, True], ids=["no daemon", "old daemon"])
def test_outbox_falls_back_to_the_state_file(
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    daemon: bool,
) -> None:
    """Where no daemon can tell, the file of the configuration is read."""
    path = f"{tmp_path}/daemon.sock"
    monkeypatch.setenv("LEAKGUARD_SOCKET", path)
    monkeypatch.setenv("LEAKGUARD_CONFIG", config)
    clock = FakeClock()
    store = SqliteStore(str(tmp_path / "state.db"), clock)
    store.commit(tick(clock.now(), alerts=(alert("i-1"),)))
    store.close()
    with contextlib.ExitStack() as stack:
        if daemon:
            server = stack.enter_context(socketserver.UnixStreamServer(path, OldDaemon))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        assert main(["notify", "outbox", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["deliveries"]
    assert [(row["alert"], row["state"]) for row in rows] == [("i-1", "pending")]


def test_outbox_without_daemon_and_configuration_names_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line: start the daemon, or name the file."""
    monkeypatch.setenv("LEAKGUARD_SOCKET", f"{tmp_path}/none.sock")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LEAKGUARD_CONFIG", raising=False)
    assert main(["notify", "outbox"]) == 1
    assert capsys.readouterr().err == (
        f"leakguard: no daemon answers on {tmp_path}/none.sock: start `leakguard run`, or give "
        "--socket PATH, or name the state file by --state PATH\n"
    )


def test_outbox_of_a_socket_that_was_named_needs_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another daemon's file is never shown in its place."""
    assert main(["notify", "outbox", "--socket", f"{tmp_path}/none.sock"]) == 1
    assert "no daemon answers on" in capsys.readouterr().err


def test_outbox_without_a_file_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading makes no file."""
    path = tmp_path / "none.db"
    assert main(["notify", "outbox", "--state", str(path)]) == 1
    assert f"there is no state file {path}" in capsys.readouterr().err
    assert not path.exists()
