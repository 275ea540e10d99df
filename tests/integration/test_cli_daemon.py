"""The commands that talk to the daemon, against a served FakeBack: output, JSON and exit codes."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard.cli.main import main
from leakguard.core.events import EventKind
from leakguard.core.inbox import PauseRequest, RestartRequest
from leakguard.core.plan import HttpPlan
from leakguard.testing.web import FakeBack, sample_event, sample_status, worker
from leakguard.web.server import WebServer

Capture = pytest.CaptureFixture[str]
NOBODY = 65534


@pytest.fixture
def back() -> FakeBack:
    """The daemon that is asked."""
    return FakeBack(happened=[sample_event(i) for i in range(1, 8)])


@pytest.fixture(autouse=True)
def socket_path(back: FakeBack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve it where the commands look, in UTC and without colours."""
    path = str(tmp_path / "leakguard.sock")
    monkeypatch.setenv("LEAKGUARD_SOCKET", path)
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    server = WebServer(back, HttpPlan(listen=""), path)
    server.start()
    yield path
    server.close()
    monkeypatch.undo()
    time.tzset()


def test_status_is_one_aligned_line_a_service(capsys: Capture) -> None:
    """In a pipe, status is a plain table: header, then one line for each service."""
    assert main(["status"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "SERVICE"
    assert " ".join(first.split()) == (
        "worker act watching leaking 812 MiB (auto) 1.00 GiB (cgroup) 21.0 MiB/h Mon 23 Nov 07:05 "
        "(01:40 to beyond 30 days) 3 hold (forecast): the window at 03:00 comes first"
    )
    assert " ".join(second.split()) == "cache observe starting unknown - - - - 4 -"
    assert first.index("812 MiB") == header.index("MEMORY")


def test_status_json_is_the_document_of_the_api(capsys: Capture) -> None:
    """`--json` prints the status with the services that were asked for."""
    assert main(["status", "cache", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["host"], [s["name"] for s in document["services"]]) == ("db1", ["cache"])


def test_status_of_an_entry_shows_its_instances(back: FakeBack, capsys: Capture) -> None:
    """`pool` stands for `pool:1` and `pool:2`."""
    services = (worker(name="pool:1"), worker(name="pool:2"), worker(name="other"))
    back.state = sample_status(services=services)
    assert main(["status", "pool"]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == ["pool:1", "pool:2"]


def test_status_says_what_is_wrong_with_the_guard(back: FakeBack, capsys: Capture) -> None:
    """Problems of the daemon are on stderr and leave stdout to the table."""
    back.state = sample_status(
        ready=False, not_ready_because="no sample", store="disk full", config_ok=False
    )
    assert main(["status"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "leakguard: not ready: no sample",
        "leakguard: state file: disk full",
        "leakguard: the last reload was refused; the configuration before it is in force",
    ]


@pytest.mark.parametrize("command", ["status", "why", "history", "restart", "pause", "resume"])
def test_a_typo_is_told_the_right_name(command: str, capsys: Capture) -> None:
    """Every command that takes a service names the nearest one and fails."""
    assert main([command, "wroker"]) == 1
    assert capsys.readouterr().err == "leakguard: no service 'wroker': did you mean worker?\n"


def test_why_tells_the_story_with_its_numbers(capsys: Capture) -> None:
    """One paragraph, then what would change it, the evidence and the latest events."""
    assert main(["why", "worker"]) == 0
    out = capsys.readouterr().out
    paragraph = " ".join(out.partition("\n\n")[0].split())
    assert paragraph == (
        "worker (pid 4711, 3d 3h old, watching) held 812 MiB (auto) at Sun 22 Nov 21:00:00. "
        "It is judged leaking (grows in 41 of 42 bins), growing by 21.0 MiB/h. 212 MiB are left "
        "below the cgroup limit of /jobs/worker, gone by Mon 23 Nov 07:05 (01:40 to beyond 30 "
        "days). Of its last 20 forecasts 18 came inside the range, 1 came before it. "
        "The last decision: hold (forecast): the window at 03:00 comes first. Next: the "
        "threshold of 920 MiB is 108 MiB away, the next scheduled restart is Mon 23 Nov 02:00:00, "
        "3 restarts are left before the breaker opens; a restart is carried out."
    )
    titles = [line for line in out.splitlines() if line and not line.startswith(" ")][-3:]
    assert titles == ["What would change it", "Evidence", "Lately"]
    assert "limit (cgroup)      212 MiB (222298112 B) of 1.00 GiB" in out
    assert "Sun 22 Nov 21:00:07  event 7 of worker" in out


def test_why_json_has_text_and_facts(capsys: Capture) -> None:
    """`--json` is one document with the service, its events and the text."""
    assert main(["why", "worker", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert sorted(document) == ["changes", "events", "service", "text"]
    assert document["service"]["value_bytes"] == 812 * 1024**2


def test_history_is_newest_last(capsys: Capture) -> None:
    """The newest events are taken and printed in the order in which they happened."""
    assert main(["history", "--limit", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Sun 22 Nov 21:00:06  worker        LeakSuspected        event 6 of worker",
        "Sun 22 Nov 21:00:07  worker        LeakSuspected        event 7 of worker",
    ]


def test_history_json_is_one_event_a_line(back: FakeBack, capsys: Capture) -> None:
    """`--json` prints the same lines as `run --json`."""
    assert main(["history", "worker", "--json", "--limit", "3"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [event.to_line() for event in back.happened[-3:]]


def test_history_goes_through_pages(back: FakeBack, capsys: Capture) -> None:
    """More events than fit in one answer are fetched page by page, each once."""
    back.happened = [sample_event(i) for i in range(1, 1203)]
    assert main(["history", "--json", "--limit", "1100"]) == 0
    ids = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert ids == [f"e{i}" for i in range(103, 1203)]


def test_history_without_events_says_so(back: FakeBack, capsys: Capture) -> None:
    """An empty history is no error, and no empty line on stdout."""
    back.happened = []
    assert main(["history"]) == 0
    assert capsys.readouterr() == ("", "leakguard: nothing has happened yet\n")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (EventKind.RESTART_SUCCEEDED, 0),
        (EventKind.SERVICE_STARTED, 0),
        (EventKind.RESTART_FAILED, 1),
        (EventKind.RESTART_ABANDONED, 1),
        (EventKind.RESTART_SKIPPED, 1),
    ],
)
def test_restart_waits_for_its_own_outcome(
    back: FakeBack, capsys: Capture, kind: EventKind, code: int
) -> None:
    """The event that ends this very action decides the exit code; others are passed over."""
    other = sample_event(20, EventKind.RESTART_FAILED, action_id="a0")
    back.after_ask = [sample_event(21, kind, action_id="a1"), other]
    assert main(["restart", "worker", "--reason", "new release", "--force"]) == code
    request = back.asked[0]
    assert isinstance(request, RestartRequest)
    assert (request.by, request.reason, request.force) == ("alice", "new release", True)
    captured = capsys.readouterr()
    assert "event 21 of worker" in (captured.err if code else captured.out)


def test_restart_json_has_the_outcome(back: FakeBack, capsys: Capture) -> None:
    """`--json` prints the daemon's answer and the event that ended it, and nothing else."""
    back.after_ask = [sample_event(21, EventKind.RESTART_SUCCEEDED, action_id="a1", took_s=1.5)]
    assert main(["restart", "worker", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["accepted"], document["action_id"]) == (True, "a1")
    assert (document["outcome"]["event"], document["outcome"]["took_s"]) == (
        "RestartSucceeded",
        1.5,
    )
    assert captured.err == ""


def test_outbox_asks_the_daemon(back: FakeBack, capsys: Capture) -> None:
    """What waits is known to the daemon, also where it keeps no file; no configuration is read."""
    back.outbox = [
        {
            "alert": "i-1", "channel": "ops", "state": "pending", "attempts": 2,
            "created_at": "2026-11-22T21:00:00Z", "next_try_at": "2026-11-22T21:05:00Z",
            "answer": "500", "title": "worker is leaking", "severity": "warning",
            "service": "worker",
        }
    ]  # fmt: skip
    assert main(["notify", "outbox", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deliveries": back.outbox}
    assert main(["notify", "outbox"]) == 0
    assert " ".join(capsys.readouterr().out.splitlines()[1].split()) == (
        "Sun 22 Nov 21:00:00 ops pending 2 Sun 22 Nov 21:05:00 worker is leaking 500"
    )


def test_restart_that_is_refused_names_the_guard(back: FakeBack, capsys: Capture) -> None:
    """A refusal is exit code 1 and shows the guard's words."""
    back.accepts, back.message = False, "paused: paused by bob until it is resumed"
    assert main(["restart", "worker"]) == 1
    assert capsys.readouterr().err == (
        "leakguard: worker is not restarted: paused: paused by bob until it is resumed\n"
    )


def test_restart_need_not_wait(capsys: Capture) -> None:
    """`--no-wait` ends when the daemon has accepted."""
    assert main(["restart", "worker", "--no-wait"]) == 0
    assert capsys.readouterr().out == "accepted: restarting worker: asked by alice (a1)\n"


def test_restart_gives_up_waiting(capsys: Capture) -> None:
    """Without an outcome in time, the exit code is 1 and the way on is named."""
    assert main(["restart", "worker", "--timeout", "250ms"]) == 1
    assert "`leakguard history worker` will show it" in capsys.readouterr().err


def test_pause_and_resume(back: FakeBack, capsys: Capture) -> None:
    """Both send who asked; pause sends how long and why."""
    back.message = "paused by alice"
    back.state = sample_status(services=(worker(paused="paused by alice until it is resumed"),))
    assert main(["pause", "worker", "--for", "2h", "--reason", "load test"]) == 0
    request = back.asked[0]
    assert isinstance(request, PauseRequest)
    assert (request.for_s, request.reason, request.by) == (7200.0, "load test", "alice")
    assert main(["resume", "worker", "--json"]) == 0
    first, *rest = capsys.readouterr().out.split("\n", 1)
    assert first == "worker: paused by alice"
    assert json.loads(rest[0])["accepted"] is True


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"restarts": ()}, "it was not paused and its breaker was not open: nothing to resume"),
        (
            {},
            (
                "it was not paused and its breaker was not open; its restarts are counted from 0"
                " again"
            ),
        ),
        ({"paused": "paused by bob"}, "resumed by alice"),
        ({"breaker": "open", "breaker_open": True}, "resumed by alice"),
        ({"breaker": "half-open"}, "resumed by alice"),
    ],
)
def test_resume_says_when_there_was_nothing_to_resume(
    back: FakeBack, capsys: Capture, changes: dict[str, object], said: str
) -> None:
    """It is no error, and people learn that the pause was not what they thought."""
    back.message = "resumed by alice"
    back.state = sample_status(services=(worker(**changes),))
    assert main(["resume", "worker"]) == 0
    assert capsys.readouterr().out == f"worker: {said}\n"


def test_a_refused_pause_fails(back: FakeBack, capsys: Capture) -> None:
    """What the daemon refuses is exit code 1."""
    back.accepts, back.message = False, "the store is not writable"
    assert main(["pause", "worker"]) == 1
    assert capsys.readouterr().err == "leakguard: worker: the store is not writable\n"


@pytest.mark.parametrize(
    ("liveness", "code", "out", "err"),
    [
        ((True, ""), 0, "ok\n", ""),
        ((False, "no tick for 40s"), 1, "", "leakguard: 503: no tick for 40s\n"),
    ],
)
def test_health(
    back: FakeBack, capsys: Capture, liveness: tuple[bool, str], code: int, out: str, err: str
) -> None:
    """Alive is 0; not alive is 1 with the reason."""
    back.liveness = liveness
    assert main(["health"]) == code
    assert capsys.readouterr() == (out, err)


def test_health_over_tcp(back: FakeBack, tmp_path: Path, capsys: Capture) -> None:
    """`--url` asks a listener instead of the socket."""
    server = WebServer(back, HttpPlan(listen="127.0.0.1:0"), str(tmp_path / "second.sock"))
    server.start()
    assert server.address is not None
    url = f"http://127.0.0.1:{server.address[1]}"
    there = main(["health", "--url", url])
    server.close()
    gone = main(["health", "--url", url])
    captured = capsys.readouterr()
    assert (there, gone) == (0, 1)
    assert captured.err == f"leakguard: no daemon answers on {url}\n"


@contextlib.contextmanager
def without_rights(path: str) -> Iterator[None]:
    """Be a user who may not use the socket, root or not."""
    if os.geteuid() != 0:
        Path(path).chmod(0)
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("command", ["status", "health"])
def test_a_socket_that_is_not_ours_to_use(socket_path: str, capsys: Capture, command: str) -> None:
    """Without the right to connect, the exit code is 77 and says as whom to run."""
    main([command])  # what it imports may be out of reach afterwards
    capsys.readouterr()
    with without_rights(socket_path):
        code = main([command])
    captured = capsys.readouterr()
    assert (code, captured.out) == (77, "")
    assert captured.err.startswith("leakguard: not allowed to use ")


def test_a_socket_that_hangs_up_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """What answers no HTTP, or nothing at all, is named."""
    monkeypatch.setenv("LEAKGUARD_SOCKET", str(tmp_path / "none.sock"))
    assert main(["status"]) == 1
    assert capsys.readouterr().err == (
        f"leakguard: no daemon answers on {tmp_path}/none.sock: start `leakguard run`, "
        "or give --socket PATH\n"
    )


def test_a_reader_that_has_seen_enough(socket_path: str) -> None:
    """`leakguard status | head -c 1` is quiet on stderr."""
    command = f"{sys.executable} -m leakguard status --socket {socket_path} | head -c 0"
    result = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert (result.stdout, result.stderr) == ("", "")
