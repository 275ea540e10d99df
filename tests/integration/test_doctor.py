"""`doctor` on this machine: real cgroups, real services, a real daemon; nothing is killed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from leakguard.cli._client import Client
from leakguard.cli.main import main
from leakguard.core.plan import HttpPlan
from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.own_cgroup import OwnCgroup
from leakguard.linux.procfs import ProcFs
from leakguard.testing.web import FakeBack
from leakguard.web.server import WebServer
from tests.workloads.guarded import Daemon, until

WORKLOADS = Path(__file__).parents[1] / "workloads"
Capture = pytest.CaptureFixture[str]
Document = dict[str, Any]


class Cage:
    """A limited memory cgroup and what runs in it."""

    def __init__(self, group: OwnCgroup, path: str, folder: Path) -> None:
        self.group, self.path, self._folder = group, path, folder
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, name: str, program: str, *options: str) -> Path:
        """Run a workload in there; gives its pidfile once its memory is taken."""
        pidfile = self._folder / f"{name}.pid"
        place, enter = str(self.group.directory / "cgroup.procs"), 'echo $$ > "$0"; exec "$@"'
        argv = [sys.executable, "-S", str(WORKLOADS / program), *options]
        process = subprocess.Popen(
            ["/bin/sh", "-c", enter, place, *argv, "--pidfile", str(pidfile)],
            stdout=subprocess.PIPE,
        )
        self._running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready ")
        return pidfile

    def close(self) -> None:
        """End what runs in there and take the group away."""
        for process in self._running:
            with suppress(ProcessLookupError):
                process.kill()
            process.communicate()
        self.group.remove()


@pytest.fixture(autouse=True)
def _no_other_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for no daemon but that of the test."""
    monkeypatch.setenv("LEAKGUARD_SOCKET", str(tmp_path / "control.sock"))


@pytest.fixture
def cage(tmp_path: Path) -> Iterator[Callable[[int], Cage]]:
    """Give a function that makes cages."""
    cgroups = CgroupFs(ProcFs())
    with ExitStack() as stack:
        stack.callback(cgroups.close)

        def make(limit_bytes: int) -> Cage:
            top = cgroups.tops()[0]
            group = OwnCgroup(Path(top.directory), f"lg-doctor-{os.getpid()}", limit_bytes)
            made = Cage(group, cgroups.directory(str(group.directory)).path, tmp_path)
            stack.callback(made.close)
            return made

        yield make


def doctor(capsys: Capture, *options: str) -> tuple[int, Document]:
    """Run it; gives exit code and document."""
    capsys.readouterr()
    code = main(["doctor", "--json", *options])
    said = capsys.readouterr()
    assert said.err == ""
    return code, json.loads(said.out)


def domain_of(document: Document, path: str) -> Document:
    """Give one domain by its path."""
    found: Document = next(d for d in document["domains"] if d["path"] == path and d["version"])
    return found


def test_it_looks_at_the_machine_without_daemon_and_configuration(capsys: Capture) -> None:
    """Host, kernel, ourselves and the biggest processes are there, and the trend is not."""
    code, document = doctor(capsys)
    host = document["domains"][0] if document["domains"] else {}
    assert code == (0 if document["ok"] else 1)
    assert (document["daemon"], document["services"]) == (None, [])
    assert document["machine"]["total_bytes"] > 0
    assert document["guard"]["pid"] == os.getpid()
    kinds = [domain["kind"] for domain in document["domains"]]
    assert kinds.count("host") == 1
    assert host["kind"] == "host"
    assert 0 < host["headroom_bytes"]["low"] <= host["headroom_bytes"]["high"]
    assert host["victim"]["pid"] != os.getpid()
    assert len(host["tenants"]) > 1
    assert host["trend_unknown"] == "sizes are those of now, and no trend is known"


def test_every_finding_is_whole(capsys: Capture) -> None:
    """Each says what is so, why it matters, and what to do, and the loudest come first."""
    _, document = doctor(capsys)
    ranks = [("info", "warning", "critical").index(f["severity"]) for f in document["findings"]]
    assert ranks == sorted(ranks, reverse=True)
    for finding in document["findings"]:
        assert all(finding[part] for part in ("key", "what", "why", "fix"))


def test_the_report_begins_with_the_end(capsys: Capture) -> None:
    """A person reads first what would happen, then why, then what surprises."""
    main(["doctor"])
    out = capsys.readouterr().out
    first, second = out.splitlines()[:2]
    assert first == "When memory runs out"
    assert second.startswith("host: ")
    assert out.index("\nCause\n") < out.index("\nWhat surprises here\n")
    # The path of a cgroup is not folded: a container's is longer than a line.
    assert [line for line in out.splitlines() if len(line) > 92 and "cgroup /" not in line] == []


def test_a_configuration_gives_the_services(tmp_path: Path, capsys: Capture) -> None:
    """With -c and no daemon, what the file guards is measured; what does not run is a note."""
    holder = [sys.executable, "-S", str(WORKLOADS / "steady.py"), "--size", "32MiB"]
    with subprocess.Popen(holder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        config = tmp_path / "config.yaml"
        services = {
            "holder": {"target": {"pid": process.pid}},
            "gone": {"target": {"pidfile": str(tmp_path / "gone.pid")}},
        }
        config.write_text(json.dumps({"services": services}))
        _, document = doctor(capsys, "-c", str(config))
        process.kill()
    (holder_facts,) = document["services"]
    assert (holder_facts["name"], holder_facts["pid"]) == ("holder", process.pid)
    assert 32 * MIB <= holder_facts["size_bytes"] < 64 * MIB
    assert any("gone" in note for note in document["notes"])
    tenants = {t["name"]: t["guarded"] for t in document["domains"][0]["tenants"]}
    assert tenants["holder"] is True


def test_a_wrong_configuration_is_said_so(tmp_path: Path, capsys: Capture) -> None:
    """It ends as `check` does."""
    config = tmp_path / "config.yaml"
    config.write_text("services: {a: {targett: 1}}")
    assert main(["doctor", "-c", str(config)]) == 78
    assert "targett" in capsys.readouterr().err


def test_a_daemon_that_was_named_must_answer(tmp_path: Path, capsys: Capture) -> None:
    """Without --socket it may be missing; a socket that was given and is silent is an error."""
    assert main(["doctor", "--socket", str(tmp_path / "none.sock")]) == 1
    assert "no daemon answers" in capsys.readouterr().err


def test_a_daemon_of_another_namespace_gives_numbers_only(tmp_path: Path, capsys: Capture) -> None:
    """Its pids would be somebody else's here; what does not run is a note."""
    socket = str(tmp_path / "control.sock")
    server = WebServer(FakeBack(), HttpPlan(listen=""), socket)
    server.start()
    try:
        _, document = doctor(capsys, "--socket", socket)
    finally:
        server.close()
    by_name = {service["name"]: service for service in document["services"]}
    assert by_name["worker"]["slope_bytes_per_s"] == 21 * MIB / 3600
    assert by_name["worker"]["processes"] == []
    assert document["guard"]["daemon"] is False
    assert any("is not seen from here" in note for note in document["notes"])
    assert "cache is starting" in document["notes"]


@pytest.mark.root
def test_a_cgroup_that_does_not_kill_is_told(cage: Callable[[int], Cage], capsys: Capture) -> None:
    """v1 with oom_kill_disable stands still, v2 with memory.high is slowed down."""
    inside = cage(64 * MIB)
    inside.run("holder", "steady.py", "--size", "16MiB")
    control = inside.group.directory / "memory.oom_control"
    if control.exists():
        control.write_text("1")
    else:
        (inside.group.directory / "memory.high").write_text(str(32 * MIB))
    code, document = doctor(capsys)
    domain = domain_of(document, inside.path)
    found = {f["key"]: f for f in document["findings"] if f["about"] == inside.path}
    if control.exists():
        assert (code, domain["end"]) == (1, "hang")
        assert "1 process in it stand" in domain["text"]
        assert found["oom_kill_disabled"]["severity"] == "critical"
        assert found["oom_kill_disabled"]["fix"].startswith(f"echo 0 > {control}")
    else:
        assert domain["throttled_from_bytes"] == 32 * MIB
        assert "slowed down" in domain["text"]
        assert found["throttled"]["severity"] == "warning"


@pytest.mark.root
def test_a_guard_in_the_cgroup_of_its_target_is_told(
    cage: Callable[[int], Cage], tmp_path: Path, capsys: Capture
) -> None:
    """Daemon and service share a limit: it takes leakguard along."""
    shared = cage(256 * MIB)
    pidfile = shared.run("holder", "steady.py", "--size", "16MiB")
    config = {"services": {"holder": {"target": {"pidfile": str(pidfile)}}}}
    with Daemon(tmp_path, config) as daemon:
        daemon.ready()
        (shared.group.directory / "cgroup.procs").write_text(str(daemon.pid))
        _, document = doctor(capsys, "--socket", str(tmp_path / "control.sock"))
    assert document["daemon"] == daemon.pid == document["guard"]["pid"]
    (found,) = [f for f in document["findings"] if f["key"] == "guard_in_target_cgroup"]
    assert found["what"] == f"leakguard is in cgroup {shared.path}, beside holder"
    assert found["severity"] == "warning"
    assert domain_of(document, shared.path)["guard_inside"] is True


@pytest.mark.root
def test_the_leaker_and_its_slope_are_named(
    cage: Callable[[int], Cage], tmp_path: Path, capsys: Capture
) -> None:
    """The daemon knows the trend: the cause is the leak, not the number of services."""
    room = cage(512 * MIB)
    leak = room.run("leaker", "leak.py", "--rate", "1MiB", "--to", "400MiB", "--start", "20MiB")
    calm = room.run("calm", "steady.py", "--size", "60MiB")
    config = {
        "defaults": {
            "sample_every": "250ms",
            "detector": {"envelope": {"young": "5s", "young_reach": 20}},
            "restart": {"driver": {"command": ["/bin/true"]}},
        },
        "services": {
            "leaker": {"target": {"pidfile": str(leak)}},
            "calm": {"target": {"pidfile": str(calm)}},
        },
    }
    socket = str(tmp_path / "control.sock")
    with Daemon(tmp_path, config) as daemon:
        daemon.ready().wait_for("LeakSuspected", "leaker", limit_s=60.0)
        _, document = doctor(capsys, "--socket", socket)
        assert main(["doctor", "--socket", socket]) in (0, 1)
        shown = " ".join(capsys.readouterr().out.split())
    domain = domain_of(document, room.path)
    (cause,) = domain["causes"]
    assert (cause["key"], cause["about"]) == ("leak", "leaker")
    assert cause["evidence"]["slope_bytes_per_s"] == pytest.approx(MIB, rel=0.3)
    assert "`mode: act`" in cause["fix"]
    assert cause["evidence"]["steady_bytes"] < cause["evidence"]["size_bytes"]
    assert domain["victim_service"] in {"leaker", "calm"}
    assert "leaker leaks" in shown
    assert f"too many services for cgroup {room.path}" not in shown


@pytest.mark.root
def test_steady_services_that_fill_their_domain_are_too_many(
    cage: Callable[[int], Cage], tmp_path: Path, capsys: Capture
) -> None:
    """Three that do not grow fill 95 %: not a leak, and the numbers say what to add."""
    full = cage(256 * MIB)
    names = ("one", "two", "three")
    pidfiles = {name: full.run(name, "steady.py", "--size", "71MiB") for name in names}
    config = {
        "defaults": {"sample_every": "200ms", "detector": {"envelope": {"young": "2s"}}},
        "services": {name: {"target": {"pidfile": str(path)}} for name, path in pidfiles.items()},
    }
    socket = str(tmp_path / "control.sock")
    with Daemon(tmp_path, config) as daemon:
        daemon.ready()

        client = Client(socket)

        def judged() -> bool:
            services = client.get("/api/v1/status")["services"]
            return all(service["verdict"] == "stable" for service in services)

        until(judged, limit_s=60.0, what="three stable services")
        _, document = doctor(capsys, "--socket", socket)
    (cause,) = domain_of(document, full.path)["causes"]
    assert cause["key"] == "too_many_services"
    assert cause["what"].startswith(f"too many services for cgroup {full.path}: ")
    assert "Not certain" not in cause["why"]
    assert cause["evidence"]["steady_bytes"] >= 0.9 * 256 * MIB
    assert cause["evidence"]["leaked_bytes"] == 0
    assert cause["evidence"]["add_bytes"] >= 25 * MIB
    assert cause["fix"].startswith("raise its limit by ")
