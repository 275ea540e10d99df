"""Real OOM kills in a memory cgroup: whom the model names, the kernel kills, and not before."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.badness import WhyNot
from tests.bench import oom_kills
from tests.workloads.guarded import started_at, until
from tests.workloads.oom_group import Stage

pytestmark = pytest.mark.root

MIB = 1 << 20
SEED = int(os.environ.get("LG_TEST_SEED", "0")) or random.SystemRandom().randrange(10**6)
"""Printed by a failing test; LG_TEST_SEED=… runs the same cases again."""


@pytest.mark.parametrize("kind", oom_kills.KINDS, ids=lambda kind: kind.__name__)
def test_the_kernel_kills_whom_we_name(kind: oom_kills.Kind, tmp_path: Path) -> None:
    """Where the gap exceeds the error of the counters, and where what was left is used up."""
    result = oom_kills.measure(kind, random.Random(f"{SEED}-{kind.__name__}"), tmp_path)
    assert (result.right or not result.certain, result.headroom_ok) == (True, True), (SEED, result)


def victims(path: Path) -> dict[str, Any]:
    """Ask the command for one domain."""
    command = [sys.executable, "-m", "leakguard", "victims", "--json", "--cgroup", str(path)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    domain: dict[str, Any] = json.loads(said.stdout)["domains"][0]
    return domain


def test_the_scale_of_the_host_names_another() -> None:
    """`oom_score` counts +100 as a tenth of the host; in a small cgroup the large one dies."""
    with Stage(128 * MIB, "test-scale") as stage:
        large, adjusted = stage.start(), stage.start(100)
        large.do(f"anon {60 * 256}")
        adjusted.do(f"anon {20 * 256}")
        domain = victims(stage.group.directory)
        assert (domain["next_victim"], domain["certain"]) == (large.pid, True)
        assert stage.highest_oom_score() == adjusted.pid
        assert stage.grow_until_killed(stage.start()).victims[0] == large.pid


def test_a_vfork_pair_counts_once() -> None:
    """The child is no candidate, and dies with its parent."""
    with Stage(128 * MIB, "test-vfork") as stage:
        parent = stage.start()
        parent.do(f"anon {80 * 256}")
        parent.do("vfork")
        report = stage.look(top=None)
        (child,) = (one for one in report.candidates if one.parent == parent.pid)
        assert (child.why_not, child.shares_mm_with) == (WhyNot.VFORK, parent.pid)
        kill = stage.grow_until_killed(stage.start())
        assert kill.victims[0] == kill.predicted == parent.pid
        assert kill.last.prediction.kills == (parent.pid, child.pid)
        until(lambda: started_at(child.pid) is None, what="the child is gone too")


def test_a_group_that_does_not_kill() -> None:
    """With the OOM killer turned off the victim is nobody."""
    with Stage(64 * MIB, "test-hang") as stage:
        control = stage.group.directory / "memory.oom_control"
        if not control.exists():  # version 2 always kills
            return
        control.write_text("1")
        stage.start()
        domain = victims(stage.group.directory)
        assert (domain["end"], domain["next_victim"]) == ("hang", None)
        assert len(domain["candidates"]) == 1


def test_a_group_is_found_by_its_path() -> None:
    """As /proc/PID/cgroup shows it; a group without a limit is answered by the one above."""
    with Stage(64 * MIB, "test-path") as stage:
        below = stage.child("below")
        member = stage.start(group=below)
        lines = Path(f"/proc/{member.pid}/cgroup").read_text("utf-8").splitlines()
        version = stage.cgroup.version
        mark = ":memory:" if version == 1 else "0::"
        (line,) = (line for line in lines if mark in line)
        command = [sys.executable, "-m", "leakguard", "victims", "--json", "--cgroup", line]
        said = subprocess.run(command, capture_output=True, check=True)
        domain = json.loads(said.stdout)["domains"][0]
        assert (domain["path"], domain["next_victim"]) == (stage.cgroup.path, member.pid)
        assert b"has no memory limit of its own" in said.stderr


def test_watching_prints_a_document_a_second() -> None:
    """One line each, until the reader has had enough."""
    command = [sys.executable, "-m", "leakguard", "victims", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        documents = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.terminate()
    assert [document["domains"][0]["kind"] for document in documents] == ["host", "host"]
