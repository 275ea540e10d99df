"""Real containers that leak, guarded by a real daemon: Docker's engine, and Podman's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.units import MIB
from leakguard.drivers.base import MemoryLimits
from leakguard.linux.containers import Containers
from leakguard.linux.engine_api import Engine
from leakguard.runtime.replay import replay
from tests.workloads.containers import Lab, PrivateEngine, lab_at
from tests.workloads.guarded import Daemon, started_at, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

LIMIT = ("--memory", "64m", "--memory-swap", "64m")
LEAKING = ("--rate", "4MiB", "--to", "200MiB")
STEADY = ("--to", "1MiB")
PAST = ("--since", "1m", "--until", "0s")
ENGINES = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("podman", marks=pytest.mark.podman),
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """Give an engine with an image."""
    if request.param == "docker":
        with lab_at(request.getfixturevalue("docker_host")) as lab:
            yield lab
        return
    private = PrivateEngine(tmp_path_factory.mktemp("podman"), "podman").start()
    try:
        with lab_at(private.host) as lab:
            yield lab
    finally:
        private.stop()


@pytest.fixture
def lab(engine: Lab) -> Iterator[Lab]:
    """Give the engine, and remove what a test has started in it."""
    yield engine
    engine.clear()


def service(lab: Lab, target: dict[str, Any], **restart: Any) -> dict[str, Any]:
    """Give an entry that restarts above 60 % of the limit."""
    return {
        "target": {"container": {"socket": lab.host, **target}},
        "mode": "act",
        "sample_every": "500ms",
        "restart": {
            "threshold": {"above": "60%"},
            "grace": "0s",
            "max_restarts": {"count": 100, "per": "1h"},
            **restart,
        },
    }


def kinds(daemon: Daemon, *wanted: str) -> int:
    """Count events of some kinds about services; other tests' kills are seen too."""
    return sum(event["event"] in wanted and bool(event["service"]) for event in daemon.events())


@pytest.mark.parametrize("policy", ["no", "always"])
def test_each_exhaustion_is_one_restart(lab: Lab, tmp_path: Path, policy: str) -> None:
    """Under both restart policies: no kill, no second start, and the neighbour runs on."""
    app = lab.leak("app", *LEAKING, run=(*LIMIT, "--restart", policy))
    neighbour = lab.leak("neighbour", *STEADY, run=LIMIT)
    before = lab.run_of(neighbour)
    with Daemon(tmp_path, {"services": {"app": service(lab, {"name": app})}}) as daemon:
        daemon.wait_for("RestartSucceeded", "app", count=2, limit_s=90)
    decided, done = (kinds(daemon, f"Restart{word}") for word in ("Decided", "Succeeded"))
    assert (decided, lab.starts(app)) == (done, done + 1)
    assert kinds(daemon, "OomKillObserved", "RestartedByOthers", "RestartFailed") == 0
    assert lab.inspect(app)["State"]["OOMKilled"] is False
    assert lab.run_of(neighbour) == before


def test_a_label_guards_each_container_apart(lab: Lab, tmp_path: Path) -> None:
    """One entry, two services by their containers' names; only the leaking one is restarted."""
    label = f"test.guarded={tmp_path.name}"
    leaking = lab.leak("leaking", *LEAKING, run=(*LIMIT, "--label", label))
    steady = lab.leak("steady", *STEADY, run=(*LIMIT, "--label", label))
    before = lab.run_of(steady)
    with Daemon(tmp_path, {"services": {"apps": service(lab, {"label": label})}}) as daemon:
        daemon.wait_for("RestartSucceeded", f"apps:{leaking}", limit_s=60)
    named = {event["service"] for event in daemon.events("RestartDecided")}
    assert (named, lab.run_of(steady)) == ({f"apps:{leaking}"}, before)


def test_labels_are_the_configuration_of_one_container(lab: Lab, tmp_path: Path) -> None:
    """One acts by its own threshold; a wrong label is told, restarts nothing; a replay agrees."""
    chosen = f"test.labels={tmp_path.name}"
    labels = ("leakguard.mode=act", "leakguard.threshold=24MiB", "leakguard.stop-timeout=90s")
    own = [part for label in (chosen, *labels) for part in ("--label", label)]
    wrong = [part for label in (chosen, "leakguard.threshold=1") for part in ("--label", label)]
    leaking = lab.leak("labelled", *LEAKING, run=(*LIMIT, *own))
    other = lab.leak("wrong", *STEADY, run=(*LIMIT, *wrong))
    before = lab.run_of(other)
    entry = service(lab, {"label": chosen}, threshold={"above": "99%"}, forecast=False)
    record = tmp_path / "record"
    config = {"services": {"apps": entry | {"mode": "observe"}}}
    with Daemon(tmp_path, config, extra=["--record", str(record)]) as daemon:
        done = daemon.wait_for("RestartSucceeded", f"apps:{leaking}", limit_s=60)
        (told,) = daemon.events("LabelsRejected")
    assert "is above 24.0 MiB" in done["message"]
    assert told["message"].startswith(f"container {other}: label leakguard.threshold: '1' is not")
    assert lab.run_of(other) == before
    ticks = list(replay(record.read_text("utf-8").splitlines(keepends=True)))
    assert [t.decisions for t in ticks] == [t.recorded for t in ticks]
    assert any(tick.decisions for tick in ticks)


def test_a_restart_loop_ends(lab: Lab, tmp_path: Path) -> None:
    """A service that starts near its limit gets at most `max_restarts`, then one clear alert."""
    full = ("--start", "46MiB", "--to", "47MiB")
    app = lab.leak("full", *full, run=(*LIMIT, "--restart", "always"))
    entry = service(lab, {"name": app}, max_restarts={"count": 3, "per": "1h"})
    with Daemon(tmp_path, {"services": {"app": entry}}) as daemon:
        until(lambda: kinds(daemon, "RestartLimitHit", "FutilityFound"), 60, daemon.log())
        daemon.wait_for("RestartVetoed", "app")
    held = len(daemon.events("RestartDecided"))
    told = [e for e in daemon.events() if e["event"] in {"RestartLimitHit", "FutilityFound"}]
    assert (held <= 3, len(told)) == (True, 1)
    until(lambda: lab.starts(app) == held + 1, 20, "one start for each restart")


def test_a_stop_that_takes_longer_than_ten_seconds_is_honoured(lab: Lab, tmp_path: Path) -> None:
    """The container's own stop time-out counts; the old run ends by itself, not by KILL."""
    slow = (*LEAKING, "--stop-takes", "12", "--exit-code", "7")
    app = lab.leak("slow", *slow, run=(*LIMIT, "--stop-timeout", "40", "-e", "LG=1"))
    entry = service(lab, {"name": app}, threshold={"above": "20MiB"})
    entry["limit"] = "60MiB"
    with Daemon(tmp_path, {"services": {"app": entry}}) as daemon:
        done = daemon.wait_for("RestartSucceeded", "app", limit_s=60)
    assert 12 <= done["took_s"] < 40
    assert (lab.starts(app), kinds(daemon, "RestartFailed", "OomKillObserved")) == (2, 0)


def test_a_limit_is_bent_and_given_back(lab: Lab) -> None:
    """The kernel's own file shows it, while the container runs on."""
    app = lab.leak("bent", *STEADY, run=LIMIT)
    containers = Containers(Engine(lab.host))
    found = containers.find(app)
    assert found is not None
    group = next(Path("/sys/fs/cgroup/memory").glob(f"*/*{found.id}"))
    seen = []
    for size in (96 * MIB, 64 * MIB):
        containers.set_memory(found, size, size)
        seen.append(int((group / "memory.limit_in_bytes").read_text("ascii")))
    assert (seen, lab.run_of(app)[0]) == ([96 * MIB, 64 * MIB], found.pid)
    assert MemoryLimits(max_bytes=found.memory_bytes) == MemoryLimits(max_bytes=64 * MIB)


@pytest.mark.docker
def test_an_engine_that_is_killed_in_the_middle(tmp_path: Path) -> None:
    """One clear error; when the engine is back, no order is left that restarts by surprise."""
    private = PrivateEngine(tmp_path).start()
    try:
        with lab_at(private.host) as lab:
            stubborn = (*LEAKING, "--ignore-term")
            app = lab.leak("app", *stubborn, run=("--memory", "256m", "--stop-timeout", "60"))
            pid = lab.run_of(app)[0]
            entry = service(lab, {"name": app}, max_restarts={"count": 1, "per": "1h"})
            entry |= {"limit": "64MiB"}
            with Daemon(tmp_path, {"services": {"app": entry}}) as daemon:
                daemon.wait_for("RestartDecided", "app", limit_s=60)
                until(lambda: "container kill" in lab("events", *PAST), 15, "no TERM was sent")
                private.kill()
                failed = daemon.wait_for("RestartFailed", "app", limit_s=20)
                assert "broke off" in failed["message"]
                assert started_at(pid) is not None
                private.start()
                daemon.wait_for("RestartVetoed", "app", limit_s=60)
                assert (kinds(daemon, "RestartDecided"), lab.starts(app)) == (1, 1)
                assert lab.run_of(app)[0] == pid
    finally:
        private.stop()
