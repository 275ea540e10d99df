"""`leakguard restart --dry-run`: what it prints, and that a real service is none the wiser."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakguard.cli.main import main
from leakguard.core.dry_run import DryRun, HeldBy, NamedProcess
from leakguard.core.inbox import DryRunRequest
from leakguard.core.plan import HttpPlan
from leakguard.testing.web import FakeBack
from leakguard.web.server import WebServer
from tests.workloads.guarded import Daemon, started_at, until

Capture = pytest.CaptureFixture[str]
RESPAWN = Path(__file__).resolve().parent.parent / "workloads" / "respawn.py"
LIMIT_S = 30.0
PAUSED = HeldBy(guard="paused", reason="paused by bob", yields_to_force=True)
FULL = DryRun(
    service="worker",
    running=True,
    restarts_left=3,
    deadline_s=90.0,
    stops_first=("web", "api"),
    starts_after=("api", "web"),
    driver="signal",
    how="TERM to the process, KILL after 20s",
    ends=(NamedProcess(pid=4711, name="python3"),),
    processes=3,
    stop_within_s=20.0,
    started_by="runit",
    asks_leave=True,
    before=("asks whether it suits: POST http://127.0.0.1/leave", "runs 'dump', at most 30s"),
    after=("runs 'look', at most 30s",),
    health="http://127.0.0.1/healthz must be well within 60s",
)


# ---- the command, against a served FakeBack


@pytest.fixture
def back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBack]:
    """Serve a daemon where the commands look."""
    path, daemon = str(tmp_path / "leakguard.sock"), FakeBack(dry_run=FULL)
    monkeypatch.setenv("LEAKGUARD_SOCKET", path)
    monkeypatch.setenv("SUDO_USER", "alice")
    server = WebServer(daemon, HttpPlan(listen=""), path)
    server.start()
    yield daemon
    server.close()


def test_it_prints_each_step_in_its_order(back: FakeBack, capsys: Capture) -> None:
    """Verdict, question, dependents, hooks, driver, processes, times, gate, and back up."""
    back.message = "would be asked for leave, and restarted if it gives it: asked for by alice"
    assert main(["restart", "worker", "--dry-run", "--reason", "new release"]) == 0
    request = back.asked[0]
    assert isinstance(request, DryRunRequest)
    assert (request.by, request.reason, request.force) == ("alice", "new release", False)
    captured = capsys.readouterr()
    assert (captured.out.splitlines(), captured.err) == (
        [
            "worker would be asked for leave, and restarted if it gives it: asked for by alice",
            "  before it    asks whether it suits: POST http://127.0.0.1/leave",
            "  stops first  web, api",
            "  before it    runs 'dump', at most 30s",
            "  restart by   signal: TERM to the process, KILL after 20s",
            "  ends         pids 4711 python3 and 2 more",
            "  started by   runit",
            "  within       20s to stop, 1m 30s in all",
            "  health gate  http://127.0.0.1/healthz must be well within 60s",
            "  starts then  api, web",
            "  after it     runs 'look', at most 30s",
            "  breaker      3 restarts left before this one",
            "this was a dry run: nothing was done",
        ],
        "",
    )


def test_what_holds_it_back_is_exit_code_1(back: FakeBack, capsys: Capture) -> None:
    """As a refused restart; each guard says whether force helps."""
    back.accepts, back.message = False, "paused: paused by bob"
    back.dry_run = DryRun(service="worker", running=True, held_by=(PAUSED,))
    assert main(["restart", "worker", "--dry-run"]) == 1
    assert capsys.readouterr().out.splitlines()[:2] == [
        "worker would not be restarted: paused: paused by bob",
        "  held back by paused: paused by bob (--force overrides it)",
    ]


def test_force_shows_what_it_overrides(back: FakeBack, capsys: Capture) -> None:
    """The guard is named all the same."""
    back.dry_run = DryRun(service="worker", running=True, overridden=(PAUSED,))
    assert main(["restart", "worker", "--dry-run", "--force"]) == 0
    assert "  overridden   paused: paused by bob" in capsys.readouterr().out.splitlines()


def test_what_would_make_it_fail_is_exit_code_1(back: FakeBack, capsys: Capture) -> None:
    """The daemon would try it, and the driver could not: a script must not go on."""
    back.dry_run = DryRun(service="worker", running=True, problems=("no bus: start it",))
    assert main(["restart", "worker", "--dry-run"]) == 1
    assert "  problem      no bus: start it" in capsys.readouterr().out.splitlines()


def test_a_service_that_a_reload_has_just_removed(back: FakeBack, capsys: Capture) -> None:
    """There is nothing to describe; the refusal is told as a restart's."""
    back.accepts, back.message, back.dry_run = False, "no service named 'worker' is guarded", None
    assert main(["restart", "worker", "--dry-run"]) == 1
    assert capsys.readouterr().err == (
        "leakguard: worker would not be restarted: no service named 'worker' is guarded\n"
    )


def test_json_is_the_document_of_the_api(back: FakeBack, capsys: Capture) -> None:
    """One document on stdout and nothing else, whatever the answer."""
    back.accepts = False
    assert main(["restart", "worker", "--dry-run", "--json"]) == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["accepted"], document["dry_run"]["processes"], captured.err) == (False, 3, "")


def test_without_a_daemon_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """As a restart does: exit code 1 and how to start one."""
    monkeypatch.setenv("LEAKGUARD_SOCKET", str(tmp_path / "nobody.sock"))
    assert main(["restart", "worker", "--dry-run"]) == 1
    assert "start `leakguard run`" in capsys.readouterr().err


# ---- real services

OF_RESTARTS = (
    "incarnation", "restarts", "flight", "pause", "breaker_open", "probation", "failures",
    "retry_at", "rounds", "futility", "due", "leave", "flight_ended", "problems",
    "restart_counts", "veto_counts",
)  # fmt: skip
"""Fields of a record that a restart changes, and looking on alone does not."""


def ask(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask a daemon over its socket."""
    argv = [sys.executable, "-m", "leakguard", *words]
    argv += ["--socket", str(daemon.folder / "control.sock")]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def dry(daemon: Daemon, service: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Run dry; gives the exit code and the document."""
    asked = ask(daemon, "restart", service, "--dry-run", "--json", *words)
    return asked.returncode, json.loads(asked.stdout) if asked.stdout else {}


def pid_of(daemon: Daemon, service: str) -> int:
    """Give the process of a service; 0 when there is none."""
    asked = ask(daemon, "status", service, "--json")
    services = json.loads(asked.stdout)["services"] if asked.returncode == 0 else []
    return int(services[0]["pid"] or 0) if services else 0


def runs_as(daemon: Daemon, service: str) -> int:
    """Wait until a service runs; gives its process."""
    return until(lambda: pid_of(daemon, service), what=f"{service} runs")


def kept(daemon: Daemon) -> dict[str, Any]:
    """Give what the state file knows of restarts, and how many events services had."""
    uri = f"file:{daemon.state_file}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
        rows = database.execute("SELECT service, record FROM records WHERE service != ''")
        records = {name: json.loads(record) for name, record in rows}
        told = database.execute("SELECT count(*) FROM events WHERE service != ''").fetchone()
    found = {name: {key: record[key] for key in OF_RESTARTS} for name, record in records.items()}
    return {**found, "events": told}


def child(*argv: str, **restart: Any) -> dict[str, Any]:
    """Give a guarded child."""
    return {"target": {"child": {"argv": list(argv)}}, "mode": "act", "restart": restart}


def test_a_child_and_its_dependents_are_left_alone(tmp_path: Path) -> None:
    """The pids are the same, no record and no event is new, and no hook has run."""
    hook = ["/bin/sh", "-c", f"echo ran >> {tmp_path}/hooks"]
    services = {
        "db": child(
            "sleep", "1000", before=[{"command": hook}], drain={"command": hook},
            health={"command": hook, "within": "5s"},
        ),
        "web": child("sleep", "1001", depends_on=["db"]),
    }  # fmt: skip
    with Daemon(tmp_path, {"services": services}) as daemon:
        daemon.wait_for("ServiceStarted", "web", limit_s=LIMIT_S)
        pids = {name: runs_as(daemon, name) for name in services}
        started = {pid: started_at(pid) for pid in pids.values()}
        (tmp_path / "hooks").unlink()  # the health gate of the start has run
        before = kept(daemon)
        code, told = dry(daemon, "db")
        assert (code, told["accepted"], told["dry_run"]["problems"]) == (0, True, [])
        assert [one["pid"] for one in told["dry_run"]["ends"]] == [pids["db"]]
        assert (told["dry_run"]["stops_first"], told["dry_run"]["starts_after"]) == (
            ["web"],
            ["web"],
        )
        assert len(told["dry_run"]["before"]) == 2
        assert {name: pid_of(daemon, name) for name in services} == pids
        assert {pid: started_at(pid) for pid in pids.values()} == started
        assert (kept(daemon), (tmp_path / "hooks").exists()) == (before, False)


def test_a_signal_service_is_not_signalled(tmp_path: Path) -> None:
    """It would be ended by TERM; the dry run sends nothing, also when asked again and again."""
    script = f"trap 'echo term >> {tmp_path}/term; exit 0' TERM; while :; do sleep 0.05; done"
    manager = subprocess.Popen(
        [sys.executable, str(RESPAWN), "0.1", "/bin/sh", "-c", script, "dry-run-me"]
    )
    driver = {"signal": {"respawned_by": "respawn.py", "stop": [{"signal": "TERM", "wait": "3s"}]}}
    service = {"target": {"cmdline": "dry-run-me$"}, "mode": "act", "restart": {"driver": driver}}
    try:
        target = {"cmdline": "^/bin/sh .*dry-run-me$"}
        with Daemon(tmp_path, {"services": {"w": {**service, "target": target}}}) as daemon:
            pid = runs_as(daemon, "w")
            before = kept(daemon)
            for _ in range(3):
                code, told = dry(daemon, "w")
                found = told["dry_run"]
                assert (code, found["how"], found["stop_within_s"]) == (
                    0,
                    "TERM to the process, KILL after 3s",
                    3.0,
                )
            assert [one["pid"] for one in found["ends"]] == [pid]
            assert (pid_of(daemon, "w"), started_at(pid) is None) == (pid, False)
            assert (kept(daemon), (tmp_path / "term").exists()) == (before, False)
            assert ask(daemon, "restart", "w").returncode == 0
            assert runs_as(daemon, "w") != pid
    finally:
        manager.terminate()
        manager.wait(LIMIT_S)


def test_one_of_many_is_asked_by_its_own_name(tmp_path: Path) -> None:
    """A slot of an entry, as a restart takes it; the entry itself is told its slots."""
    runs = [subprocess.Popen(["sleep", "4242"]) for _ in range(2)]
    try:
        each = {
            "target": {"cmdline": "^sleep 4242$"},
            "each": True,
            "restart": {"driver": {"signal": {"respawned_by": "nobody, this is a test"}}},
        }
        with Daemon(tmp_path, {"services": {"pool": each}}) as daemon:
            runs_as(daemon, "pool:2")
            ends = [dry(daemon, f"pool:{slot}")[1]["dry_run"]["ends"] for slot in (1, 2)]
            assert sorted(one["pid"] for (one,) in ends) == sorted(run.pid for run in runs)
            refused = ask(daemon, "restart", "pool", "--dry-run")
            assert (refused.returncode, "did you mean pool:1" in refused.stderr) == (1, True)
            assert [run.poll() for run in runs] == [None, None]
    finally:
        for run in runs:
            run.kill()
            run.wait()


def test_it_sees_what_the_restart_would_run_into(tmp_path: Path) -> None:
    """Paused: held back; forced: not; a hook that is gone: a problem and exit code 1."""
    gone = tmp_path / "gone"
    gone.write_text("#!/bin/sh\n")
    gone.chmod(0o755)
    service = child("sleep", "1000", before=[{"command": [str(gone)]}])
    with Daemon(tmp_path, {"services": {"w": service}}) as daemon:
        daemon.wait_for("ServiceStarted", "w", limit_s=LIMIT_S)
        assert dry(daemon, "w")[0] == 0
        assert ask(daemon, "pause", "w", "--reason", "load test").returncode == 0
        code, told = dry(daemon, "w")
        assert (code, [held["guard"] for held in told["dry_run"]["held_by"]]) == (1, ["paused"])
        assert ask(daemon, "restart", "w").stderr.strip().endswith(told["message"])
        assert dry(daemon, "w", "--force")[0] == 0
        os.unlink(gone)  # noqa: PTH108  as a person would
        code, told = dry(daemon, "w", "--force")
        assert (code, told["accepted"]) == (1, True)
        assert str(gone) in told["dry_run"]["problems"][0]
