"""A service fills its cgroup with shmem: files of a tmpfs mount stay, a memfd goes with it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.units import MIB
from tests.workloads.guarded import Daemon, until
from tests.workloads.oom_group import Stage

pytestmark = pytest.mark.root

LIMIT = 128 * MIB
LEAK = Path(__file__).parents[1] / "workloads" / "shmem_leak.py"
CURE = "a restart does not cure it: "
STEADY = {"envelope": {"young": "5s", "young_reach": 20}}
WAIT_S = 40.0


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Mount a tmpfs of its own."""
    place = tmp_path / "files"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "lg-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@contextmanager
def leaking(kind: str, group: Path) -> Iterator[int]:
    """Leak 4 MiB a second, of 128 MiB no more than 100, in a cgroup; gives the pid."""
    argv = [sys.executable, "-S", str(LEAK), kind, "--rate", "4", "--to", "100"]
    script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    process = subprocess.Popen(["/bin/sh", "-c", script, str(group), *argv], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def service(group: Path, pid: int, measure: str) -> dict[str, Any]:
    """Guard the cgroup; to restart it is to end the leak."""
    return {
        "mode": "act",
        "target": {"cgroup": str(group)},
        "measure": measure,
        "detector": STEADY,
        "sample_every": "500ms",
        "restart": {
            "driver": {"command": {"argv": ["/bin/kill", str(pid)]}},
            "grace": "1s",
            "forecast": {"start_up": "6s"},
        },
    }


@pytest.mark.parametrize("measure", ["auto", "cgroup"])
def test_files_of_tmpfs_are_no_reason_to_restart(
    tmp_path: Path, mounted: Path, measure: str
) -> None:
    """People are told that a restart does not cure it, and by which share; nothing is restarted."""
    with Stage(LIMIT, "tmpfs") as stage:
        group = stage.group.directory
        with leaking(f"file={mounted / 'log'}", group) as pid:
            config = {"services": {"writer": service(group, pid, measure)}}
            with Daemon(tmp_path, config) as daemon:
                daemon.ready()
                vetoed = daemon.wait_for("RestartVetoed", "writer", limit_s=WAIT_S)
                leak = daemon.wait_for("LeakSuspected", "writer", limit_s=WAIT_S)
                until(lambda: Path(f"/proc/{pid}").exists(), what="it runs on")
    assert vetoed["guard"] == "futile", vetoed["message"]
    assert CURE in vetoed["message"]
    assert vetoed["tmpfs_share"] > 0.9
    assert vetoed["tmpfs_bytes"] > 10 * MIB
    assert CURE in leak["message"]
    assert daemon.events("RestartDecided") == []


@pytest.mark.parametrize("kind", ["memfd", "unmapped"])
def test_a_memfd_is_cured_by_a_restart(tmp_path: Path, mounted: Path, kind: str) -> None:
    """It lies on no mount, mapped or not, whatever others keep there; it goes with its process."""
    (mounted / "of others").write_bytes(bytes(LIMIT))
    with Stage(LIMIT, "memfd") as stage:
        group = stage.group.directory
        with leaking(kind, group) as pid:
            config = {"services": {"sharer": service(group, pid, "auto")}}
            with Daemon(tmp_path, config) as daemon:
                daemon.ready()
                decided = daemon.wait_for("RestartDecided", "sharer", limit_s=WAIT_S)
        used = until(lambda: _usage(group) < 30 * MIB, what="it is free")
    assert CURE not in decided["message"]
    assert decided.get("tmpfs_share", 0.0) < 0.1
    assert used


def _usage(group: Path) -> int:
    for name in ("memory.usage_in_bytes", "memory.current"):
        if (group / name).exists():
            return int((group / name).read_text("ascii"))
    raise AssertionError(f"{group} has no usage")
