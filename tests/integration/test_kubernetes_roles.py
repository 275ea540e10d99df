"""The Roles that are shipped are what the driver asks for, no less and no more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from leakguard.core.sample import Location
from leakguard.core.units import MIB
from leakguard.drivers.base import MemoryLimits
from leakguard.testing.kube_cluster import ready_status
from leakguard.testing.kube_server import Asked, rules_of
from tests.kube import KubeBench, order

ROLES = Path(__file__).parents[2] / "config/kubernetes/roles.yaml"
FREE = {Asked("get", ""), Asked("create", "selfsubjectaccessreviews", "authorization.k8s.io")}
"""What every account may: ask what a server offers, and what it is allowed."""


def shipped() -> dict[str, frozenset[Asked]]:
    """Give what each shipped Role allows."""
    documents: list[Any] = list(yaml.safe_load_all(ROLES.read_text("utf-8")))
    return {role["metadata"]["name"]: rules_of(role["rules"]) for role in documents}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[KubeBench]:
    """Give a cluster with nothing in it."""
    made = KubeBench(tmp_path)
    yield made
    made.close()


def restart(bench: KubeBench, pod: str, **options: object) -> None:
    """Rehearse and restart, with no right but those that were granted."""
    driver = bench.driver(**options)
    assert driver.rehearse(None) == ()
    driver.restart(order(bench.runs(pod)))


@pytest.mark.parametrize("how", ["evict", "delete"])
def test_a_pod_is_replaced_with_its_role_alone(bench: KubeBench, how: str) -> None:
    """Every rule is used, and none is missing."""
    role = shipped()[f"leakguard-{how}"]
    bench.server.allowed = role
    bench.worker()
    restart(bench, "worker-5d9c7-x1", how=how)
    assert bench.server.used() - FREE == role


def test_a_rollout_needs_its_role_alone(bench: KubeBench) -> None:
    """For each kind of workload."""
    role = shipped()["leakguard-rollout"]
    bench.server.allowed = role
    bench.worker()
    restart(bench, "worker-5d9c7-x1", how="rollout")
    bench.cluster.stateful_set("db")
    bench.kubelet.run(bench.cluster.pod("db-0", ("StatefulSet", "db")))
    restart(bench, "db-0", how="rollout")
    bench.cluster.daemon_set("agent")
    bench.kubelet.run(bench.cluster.pod("agent-z9", ("DaemonSet", "agent")))
    restart(bench, "agent-z9", how="rollout")
    assert bench.server.used() - FREE == role


def test_a_node_agent_that_signals_only_lists(bench: KubeBench) -> None:
    """The target asks the same."""
    role = shipped()["leakguard-signal-node"]
    bench.server.allowed = role
    bench.worker()
    bench.target(selector="shop/app=worker").locate()
    restart(bench, "worker-5d9c7-x1")
    assert bench.server.used() - FREE == role


def test_a_sidecar_that_signals_reads_its_own_pod(
    bench: KubeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else."""
    role = shipped()["leakguard-signal-sidecar"]
    bench.server.allowed = role
    pod = bench.worker()
    bench.kubelet.sidecar(pod, bench.proc.self_pid())
    monkeypatch.setenv("POD_NAME", "worker-5d9c7-x1")
    bench.target(container="app").locate()
    bench.guarded = {"container": "app"}
    driver = bench.driver()
    assert driver.rehearse(Location(root=bench.runs())) == ()
    driver.restart(order(bench.runs()))
    assert bench.server.used() - FREE == role


def test_room_is_bought_with_its_role_alone(bench: KubeBench) -> None:
    """A node agent lists, a sidecar would get."""
    role = shipped()["leakguard-resize"]
    bench.server.allowed = role
    bench.worker(status=ready_status())
    bench.driver().bend(MemoryLimits(max_bytes=96 * MIB))
    assert bench.server.used() - FREE == role
