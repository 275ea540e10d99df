"""Real containers that leak, guarded by a real daemon, in a real Docker engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.units import MIB
from leakguard.drivers.base import MemoryLimits
from leakguard.linux.containers import Containers
from leakguard.linux.engine_api import Engine
from tests.workloads.containers import Lab, lab_at
from tests.workloads.guarded import Daemon, until

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.timeout(300)]

LIMIT = ("--memory", "64m", "--memory-swap", "64m")
LEAKING = ("--rate", "4MiB", "--to", "200MiB")
STEADY = ("--to", "1MiB")


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[Lab]:
    """Give an engine with an image."""
    with lab_at(docker_host) as lab:
        yield lab


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
    """Count events of some kinds."""
    return sum(event["event"] in wanted for event in daemon.events())


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


def test_a_restart_loop_ends(lab: Lab, tmp_path: Path) -> None:
    """A service that starts near its limit gets at most `max_restarts`, then one clear alert."""
    full = ("--start", "48MiB", "--to", "49MiB")
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
