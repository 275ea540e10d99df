"""A cluster for tests: an API server on loopback, a kubelet, drivers and targets for it."""

import json
import sys
from pathlib import Path
from threading import Event
from typing import Any

from leakguard import plugins
from leakguard.core.instant import Clock
from leakguard.core.plan import PluginSpec
from leakguard.core.sample import Incarnation, Location
from leakguard.drivers.base import DriverContext, RestartOrder
from leakguard.drivers.kubernetes import KubernetesDriver
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.runtime.clock import SystemClock
from leakguard.targets.base import Target, TargetContext
from leakguard.testing.kube_cluster import Plain
from leakguard.testing.kube_server import Asked, KubeServer
from leakguard.testing.kubelet import Kubelet, PodProc

DESCRIPTION = Path(__file__).parent / "data/kubernetes-openapi.json"
SLEEPER = (sys.executable, "-S", "-c", "import signal; signal.pause()")
EVICT = Asked("create", "pods/eviction")
GET_POD = Asked("get", "pods")
SELECTOR = {"selector": "shop/app=worker", "container": "app"}


class KubeBench:
    """What a test of the driver or the target needs; everything in it ends with `close`."""

    def __init__(self, folder: Path) -> None:
        self.server = KubeServer(json.loads(DESCRIPTION.read_text("utf-8")))
        self.cluster = self.server.cluster
        self.proc = PodProc()
        self.kubelet = Kubelet(self.server, self.proc, SLEEPER)
        self.folder = folder
        self.api = self.server.account(folder)
        self.clock: Clock = SystemClock()
        self.guarded: dict[str, Any] = SELECTOR

    def close(self) -> None:
        """End the processes and the server."""
        self.kubelet.close()
        self.server.close()

    def worker(self, name: str = "worker-5d9c7-x1", **changes: object) -> Plain:
        """Put a pod of the Deployment `worker` and run its container."""
        if ("deployments", "shop", "worker") not in self.cluster.objects:
            self.cluster.deployment()
        pod = self.cluster.pod(name, ("ReplicaSet", "worker-5d9c7"), **changes)
        self.kubelet.run(pod)
        return pod

    def runs(self, name: str = "worker-5d9c7-x1") -> Incarnation:
        """Give the last run of a pod's container."""
        return self.proc.incarnation(self.kubelet.starts[name][-1])

    def driver(self, **options: Any) -> KubernetesDriver:
        """Make a driver for what `guarded` names: pods of a node, unless told otherwise."""
        target = PluginSpec(key="pod", options={**self.guarded, "api": self.api})
        context = DriverContext(
            service="worker",
            proc=self.proc,
            children=Children(run_here, self.clock),
            clock=self.clock,
            locate=lambda: Location(root=self.runs()),
            target=target,
        )
        made = plugins.load("drivers", "kubernetes").make(options, context)
        assert isinstance(made, KubernetesDriver)
        return made

    def target(self, **options: Any) -> Target:
        """Make a target."""
        context = TargetContext(
            service="worker",
            proc=self.proc,
            cgroups=CgroupFs(self.proc),
            children=Children(run_here, self.clock),
        )
        made = plugins.load("targets", "pod").make({"api": self.api, **options}, context)
        assert isinstance(made, Target)
        return made


def order(run: Incarnation | None, deadline_s: float = 15.0) -> RestartOrder:
    """Make an order."""
    return RestartOrder(incarnation=run, reason="a test", deadline_s=deadline_s, cancelled=Event())
