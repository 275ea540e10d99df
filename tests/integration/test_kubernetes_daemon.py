"""A real daemon as a node agent: leaking processes in containers as a kubelet makes them."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.own_cgroup import OwnCgroup
from leakguard.linux.procfs import ProcFs
from leakguard.testing.kube_cluster import Plain
from leakguard.testing.kubelet import Kubelet
from tests.kube import EVICT, KubeBench
from tests.workloads.guarded import Daemon, started_at, until

pytestmark = pytest.mark.root

LEAK = str(Path(__file__).parents[1] / "workloads/leak.py")
LIMIT = 64 * MIB
SLOT = "workers:shop/worker/app"
ENTER = 'echo $$ > "$3/cgroup.procs" && mount --bind "$1" "$2" && shift 3 && exec "$@"'


def leaking(*options: str) -> tuple[str, ...]:
    """Give a command that leaks."""
    return (sys.executable, "-S", LEAK, "--to", "60MiB", *options)


class Boxes:
    """Makes containers: a mount namespace with the kubelet's file in it, and a memory cgroup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._groups: list[OwnCgroup] = []
        (self._top, *_) = CgroupFs(ProcFs()).tops()
        (folder / "termination-log").touch()

    def box(self, pod: Plain, run: str) -> Sequence[str]:
        """Give the beginning of a command that puts the rest of it into a new container."""
        words = self._folder / "pods" / pod["metadata"]["uid"] / "containers/app/1f2e3d4c"
        words.parent.mkdir(parents=True, exist_ok=True)
        words.touch()
        group = OwnCgroup(Path(self._top.directory), f"cri-containerd-{run}.scope", LIMIT)
        self._groups.append(group)
        inside = (str(words), str(self._folder / "termination-log"), str(group.directory))
        return ("unshare", "--mount", "sh", "-c", ENTER, "sh", *inside)

    def remove(self) -> None:
        """Take the cgroups away."""
        for group in self._groups:
            group.remove()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[KubeBench]:
    """Give a cluster whose kubelet makes real containers."""
    made, boxes = KubeBench(tmp_path), Boxes(tmp_path)
    made.kubelet = Kubelet(made.server, made.proc, leaking("--rate", "8MiB"), boxes.box)
    yield made
    made.close()
    boxes.remove()


def agent(bench: KubeBench, **restart: Any) -> Daemon:
    """Give a daemon that guards the pods of `worker`, with a threshold at 60 % of the limit."""
    target = {"selector": "shop/app=worker", "api": bench.api}
    service = {
        "mode": "act",
        "target": {"pod": target},
        "sample_every": "200ms",
        "restart": {"forecast": False, "threshold": {"above": "60%"}, "grace": "0s", **restart},
    }
    return Daemon(bench.folder, {"services": {"workers": service}}, env={"NODE_NAME": "node-a"})


def neighbour(bench: KubeBench) -> int:
    """Run a second pod of the workload that does not leak; gives its pid."""
    bench.kubelet.argv = leaking("--rate", "1B")
    bench.worker("worker-5d9c7-x2")
    return bench.kubelet.starts["worker-5d9c7-x2"][0]


def test_a_leaking_container_is_restarted_once(bench: KubeBench) -> None:
    """By its own limit, in its own pod, exactly once; its neighbour of the same workload is not."""
    bench.kubelet.argv = leaking("--rate", "24MiB", "--delay", "3")
    bench.worker()
    other = neighbour(bench)
    with agent(bench, driver={"kubernetes": {"grace": "5s"}}) as daemon:
        told = daemon.wait_for("RestartSucceeded", SLOT)
        daemon.wait_for("MemoryRecovered", SLOT)
        assert len(daemon.events("RestartDecided")) == 1
    assert told["trigger"] == "threshold"
    assert len(bench.kubelet.starts["worker-5d9c7-x1"]) == 2
    assert bench.kubelet.starts["worker-5d9c7-x2"] == [other]
    assert started_at(other) is not None


@pytest.mark.parametrize("how", ["signal", "evict", "delete"])
def test_a_service_that_starts_full_is_not_restarted_for_ever(bench: KubeBench, how: str) -> None:
    """`max_restarts` bounds it, also where each restart brings another pod; one alert says so."""
    bench.kubelet.argv = (sys.executable, "-S", LEAK, "--start", "50MiB", "--to", "51MiB")
    bench.cluster.successor_node = "node-a"
    bench.worker()
    rules = {"driver": {"kubernetes": {"how": how, "grace": "5s"}}}
    with agent(bench, **rules, max_restarts={"count": 2, "per": "1h"}) as daemon:
        daemon.wait_for("RestartLimitHit", SLOT, limit_s=60)
        until(lambda: len(daemon.events("RestartSucceeded")) == 2)
        starts = sum(len(pids) for pids in bench.kubelet.starts.values())
        assert (starts, len(daemon.events("RestartLimitHit"))) == (3, 1)
        assert {e["service"] for e in daemon.events("RestartDecided")} == {SLOT}
        assert daemon.events("RestartFailed") == []


def test_a_pod_that_moves_to_another_node_is_a_success(bench: KubeBench) -> None:
    """The event says where it went; nobody is woken for the place that it left."""
    bench.worker()
    with agent(bench, driver={"kubernetes": {"how": "evict"}}) as daemon:
        told = daemon.wait_for("RestartSucceeded", SLOT)
        missing = daemon.wait_for("ServiceMissing", SLOT)
    assert "on node-b replaces worker-5d9c7-x1" in told["message"]
    assert missing["severity"] == "info"
    assert (bench.server.count(EVICT), bench.cluster.deleted) == (1, ["worker-5d9c7-x1"])
