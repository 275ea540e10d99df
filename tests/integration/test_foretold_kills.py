"""A guarded service leaks in a limited cgroup: its neighbour dies, and the daemon had said so."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leakguard.cli._client import Client
from leakguard.core.units import MIB
from leakguard.linux.procfs import PAGE_BYTES
from tests.workloads.guarded import Daemon, until
from tests.workloads.oom_group import Member, Stage

pytestmark = pytest.mark.root

LIMIT = 192 * MIB
NEIGHBOUR = 110 * MIB
LEAK_PAGES_PER_S = 2 * MIB // PAGE_BYTES
STEPS_PER_S = 10


def leak_until(member: Member, stage: Stage) -> None:
    """Grow by two MiB a second until the kernel kills somebody."""
    pause, before = 1 / STEPS_PER_S, stage.kills()
    member.do(f"reserve {2 * LIMIT // PAGE_BYTES}")

    def killed() -> bool:
        member.send(f"grow {LEAK_PAGES_PER_S // STEPS_PER_S}")
        member.answer()
        time.sleep(pause)
        return stage.kills() > before

    until(killed, limit_s=90.0, what="a kill")


def status_of(daemon: Daemon) -> dict[str, Any]:
    """Ask the daemon."""
    argv = [sys.executable, "-m", "leakguard", "status", "--json"]
    socket = str(daemon.folder / "control.sock")
    out = subprocess.run([*argv, "--socket", socket], stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_victim_is_named_before_it_dies(tmp_path: Path) -> None:
    """Who leaks is told apart from who dies; afterwards the prediction is counted as right."""
    with Stage(LIMIT, "foretold") as stage:
        neighbour, leaker = stage.start(), stage.start()
        neighbour.do(f"anon {NEIGHBOUR // PAGE_BYTES}")
        name = Path(f"/proc/{neighbour.pid}/comm").read_text("utf-8").strip()
        service = {
            "target": {"pid": leaker.pid},
            "detector": {"envelope": {"young": "10s"}},
            "sample_every": "500ms",
        }
        with Daemon(tmp_path, {"services": {"leaker": service}}) as daemon:
            daemon.ready()
            leak_until(leaker, stage)
            until(lambda: status_of(daemon)["predictions"], what="the kill is compared")
            told = daemon.wait_for("ExhaustionPredicted", "leaker")
            counted = status_of(daemon)["predictions"]
            looks = Client(str(daemon.folder / "control.sock")).get("/api/v1/victims")["domains"]
    who = f"the kernel would kill {name} (pid {neighbour.pid}), not leaker"
    assert told["message"].endswith(who), told["message"]
    assert (told["victim_pid"], told["victim_certain"]) == (neighbour.pid, True)
    assert counted == {"victim_right": 1, "time_inside": 1}
    (look,) = [one for one in looks if one["path"] == stage.cgroup.path]
    assert (look["limit_bytes"], look["oom"]["victim"]["pid"]) == (LIMIT, neighbour.pid)
    assert look["oom"]["leaker"]["service"] == "leaker"
    (killed,) = daemon.events("OomKillObserved", "leaker")
    assert (killed["pid"], killed["cause"]) == (neighbour.pid, "own_limit")
