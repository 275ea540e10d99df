"""The target `pod`: containers found as the kubelet arranged them, in a /proc of files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard import plugins
from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.sample import Location, Scope
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.kubepods import Place, place_of, run_id
from leakguard.linux.procfs import ProcFs
from leakguard.targets.base import Target, TargetContext
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import CgroupFiles, ProcFiles
from leakguard.testing.kube_cluster import run_id as id_of, uid
from leakguard.testing.kube_server import Asked, KubeServer, Trouble
from leakguard.testing.kubelet import cgroup, mounts
from tests.kube import DESCRIPTION

OWN = uid(900)


class Node:
    """A node of files; leakguard is pid 2."""

    def __init__(self, folder: Path) -> None:
        self.files = ProcFiles(folder / "proc")
        self.groups = CgroupFiles(folder / "cgroup", 2)
        self.proc = ProcFs(str(self.files.root))
        self.server = KubeServer(json.loads(DESCRIPTION.read_text("utf-8")))
        self.cluster = self.server.cluster
        self.api = self.server.account(folder)

    def target(self, **options: object) -> Target:
        """Make a target as the daemon does."""
        context = TargetContext(
            service="app",
            proc=self.proc,
            cgroups=CgroupFs(self.proc, str(self.groups.root)),
            children=Children(run_here, FakeClock(), self.proc),
        )
        made = plugins.load("targets", "pod").make({"api": self.api, **options}, context)
        assert isinstance(made, Target)
        return made

    def run(
        self, pid: int, pod: str, container: str = "app", *, parent: int = 1, start: int = 100
    ) -> None:
        """Let a process run in a container."""
        self.files.add(pid, container, parent=parent, start=start, cgroups=cgroup(pod, id_of(pid)))
        self.files.write(f"{pid}/mountinfo", mounts(pod, container))

    def sidecar(self) -> None:
        """Let leakguard be a container of the pod OWN, which shares its process namespace."""
        self.files.add(1, "pause", parent=0, cgroups=cgroup(OWN, id_of(1)))
        self.run(2, OWN, "leakguard")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Give a node on which nothing but leakguard runs."""
    made = Node(tmp_path)
    yield made
    made.server.close()


def roots(found: tuple[Location, ...]) -> dict[str, int]:
    """Give member → root pid."""
    return {location.member: location.root.pid for location in found}


@pytest.mark.parametrize(
    ("path", "run"),
    [
        ("/kubepods/burstable/pod{uid}/{id}", True),
        ("/kubepods.slice/kubepods-pod{uid_}.slice/cri-containerd-{id}.scope", True),
        ("/kubepods.slice/kubepods-pod{uid_}.slice/crio-{id}.scope/container", True),
        ("/kubepods.slice/kubepods-pod{uid_}.slice/docker-{id}.scope/init.scope", True),
        ("/docker/{outer}/kubelet/kubepods/besteffort/pod{uid}/{id}", True),
        ("/kubepods/pod{uid}/{id}/docker/{outer}", True),
        ("/../cri-containerd-{id}.scope", True),
        ("/../../pod{uid}/{id}", True),
        ("/system.slice/kubelet.service", False),
        ("/", False),
    ],
)
def test_the_run_of_a_container_is_in_its_cgroup(node: Node, path: str, run: bool) -> None:
    """Whatever the runtime and the cgroup driver call it, on either version."""
    names = {"uid": OWN, "uid_": OWN.replace("-", "_"), "id": "a" * 64, "outer": "b" * 64}
    line = path.format(**names)
    for text in (f"0::{line}\n", f"9:memory:{line}\n8:cpu,cpuacct:/other\n"):
        node.files.add(10, cgroups=text)
        assert run_id(node.proc, 10) == ("a" * 64 if run else "")


def test_the_last_words_name_pod_and_container(node: Node) -> None:
    """A static pod's uid has no dashes; two such mounts, or none, say nothing."""
    plain = OWN.replace("-", "")
    shown = (
        mounts(OWN, "app"),
        mounts(plain, "etcd-0"),
        mounts(OWN, "app") + mounts(uid(2), "other"),
        "1 2 8:1 /pods/x/containers/app/1 /x rw - ext4 /dev/sda rw\n",
    )
    for pid, text in enumerate(shown, start=10):
        node.files.add(pid)
        node.files.write(f"{pid}/mountinfo", text)
    places = [place_of(node.proc, pid) for pid in (10, 11, 12, 13)]
    assert places == [Place(OWN, "app"), Place(plain, "etcd-0"), None, None]


def test_a_sidecar_finds_the_app_and_asks_nobody(node: Node) -> None:
    """Its root is the oldest process that came from outside."""
    node.sidecar()
    node.run(21, OWN, parent=20, start=150)
    node.run(20, OWN, start=120)
    node.run(30, OWN, "proxy", start=90)
    (found,) = node.target(container="app").locate()
    assert (found.root.pid, found.scope, found.member) == (20, Scope.TREE, "")
    assert node.server.asked == []


def test_a_container_that_has_a_cgroup_is_measured_by_it(node: Node) -> None:
    """Where the node's cgroups can be seen."""
    node.sidecar()
    node.run(20, OWN)
    path = cgroup(OWN, id_of(20)).strip().removeprefix("0::")
    node.groups.add(path, limit=64, procs=(20,))
    (found,) = node.target(container="app").locate()
    assert found.scope is Scope.CGROUP
    assert found.cgroup_path.endswith(f"cri-containerd-{id_of(20)}.scope")


def test_what_a_sidecar_cannot_see_is_said(node: Node) -> None:
    """Outside a pod, without the shared namespace, with another container's name, or its own."""

    def refusal(name: str) -> str:
        with pytest.raises(TargetError) as caught:
            node.target(container=name).locate()
        return str(caught.value)

    assert "does not run in a container of Kubernetes" in refusal("app")
    node.sidecar()
    assert "shareProcessNamespace: true" in refusal("app")
    assert "leakguard itself" in refusal("leakguard")
    node.run(30, OWN, "proxy")
    node.run(31, uid(5), "app")
    assert "seen: proxy" in refusal("app")


def test_a_node_agent_finds_every_selected_pod(node: Node) -> None:
    """Called by what stays: the pod's name, or its workload's; other pods are left out."""
    web = node.cluster.pod("web-5d9c7-x1", ("ReplicaSet", "web-5d9c7"))
    data = node.cluster.pod("db-0", ("StatefulSet", "db"))
    agent = node.cluster.pod("agent-z9", ("DaemonSet", "agent"))
    other = node.cluster.pod("other", metadata__labels={"app": "other"})
    for pid, pod in enumerate((web, data, agent, other), start=40):
        node.run(pid, pod["metadata"]["uid"])
    target = node.target(selector="shop/app=worker")
    assert roots(target.locate()) == {"shop/web/app": 40, "shop/db-0/app": 41, "shop/agent/app": 42}


def test_pods_of_one_workload_share_a_name(node: Node) -> None:
    """The roster tells them apart."""
    for pid, name in ((40, "web-5d9c7-x1"), (41, "web-5d9c7-x2")):
        pod = node.cluster.pod(name, ("ReplicaSet", "web-5d9c7"))
        node.run(pid, pod["metadata"]["uid"])
    found = node.target(selector="shop/app=worker").locate()
    assert [(one.member, one.root.pid) for one in found] == [
        ("shop/web/app", 40),
        ("shop/web/app", 41),
    ]


def test_who_is_awaited(node: Node) -> None:
    """A pod of this node without a process is; one that was deleted, or has ended, is not."""
    here = node.cluster.pod("db-0", ("StatefulSet", "db"))
    node.run(40, here["metadata"]["uid"])
    node.cluster.pod("db-1", ("StatefulSet", "db"))
    node.cluster.pod("db-2", ("StatefulSet", "db"), status__phase="Succeeded")
    target = node.target(selector="shop/app=worker")
    target.locate()
    names = ("shop/db-0/app", "shop/db-1/app", "shop/db-2/app", "shop/db-3/app")
    assert [target.awaits(name) for name in names] == [False, True, False, False]


def test_a_node_agent_leaves_itself_out(node: Node) -> None:
    """Its own pod may carry the labels too."""
    own = node.cluster.pod("agent-z9", ("DaemonSet", "agent"))
    node.run(2, own["metadata"]["uid"])
    with pytest.raises(TargetError) as caught:
        node.target(selector="shop/app=worker").locate()
    assert caught.value.taken_away is True


def test_pods_without_a_process_say_what_is_missing(node: Node) -> None:
    """The pods are there; leakguard does not see them."""
    node.cluster.pod("db-0", ("StatefulSet", "db"))
    with pytest.raises(TargetError, match="hostPID: true") as caught:
        node.target(selector="shop/app=worker").locate()
    assert caught.value.taken_away is False


def test_an_answer_outlives_the_server(node: Node) -> None:
    """Sampling goes on with the pods that were known; without any answer nothing is known."""
    list_pods = Asked("list", "pods")
    silent = node.target(selector="shop/app=worker")
    node.server.troubles.append(Trouble(list_pods, 503, times=100))
    with pytest.raises(ReadingError, match="503"):
        silent.locate()
    node.server.troubles.clear()
    pod = node.cluster.pod("db-0", ("StatefulSet", "db"))
    node.run(40, pod["metadata"]["uid"])
    target = node.target(selector="shop/app=worker")
    target.locate()
    node.server.troubles.append(Trouble(list_pods, 503, times=100))
    assert [roots(target.locate()) for _ in range(3)] == [{"shop/db-0/app": 40}] * 3


def test_only_pods_of_the_own_node_are_asked_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where leakguard was told its node's name."""
    pod = node.cluster.pod("db-0", ("StatefulSet", "db"))
    node.run(40, pod["metadata"]["uid"])
    monkeypatch.setenv("NODE_NAME", "node-b")
    with pytest.raises(TargetError, match="no pod shop/app=worker runs on this node"):
        node.target(selector="shop/app=worker").locate()
    monkeypatch.setenv("NODE_NAME", "node-a")
    assert roots(node.target(selector="shop/app=worker").locate()) == {"shop/db-0/app": 40}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"container": "shop/app"},
        {"container": "App"},
        {"selector": "app=worker"},
        {"selector": "shop/"},
        {"selector": "/app=worker"},
    ],
)
def test_options_that_name_nothing(node: Node, options: dict[str, object]) -> None:
    """The file alone shows it."""
    with pytest.raises(TargetError, match=r"name a container|is not the name|selects no pods"):
        node.target(**options)


def test_a_pod_that_was_just_deleted_is_not_awaited(node: Node) -> None:
    """The server is asked in that moment: what it said before would be a false alarm."""
    for pid, name in ((40, "db-0"), (41, "db-1")):
        pod = node.cluster.pod(name, ("StatefulSet", "db"))
        node.run(pid, pod["metadata"]["uid"])
    target = node.target(selector="shop/app=worker")
    target.locate()
    node.files.end(41)
    node.cluster.delete("shop", "db-1", {})
    target.locate()
    assert target.awaits("shop/db-1/app") is False
