"""The driver `kubernetes` against a server that takes only what Kubernetes published."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.errors import DriverError
from leakguard.core.sample import Location
from leakguard.drivers.base import MemoryLimits
from leakguard.linux.kube_api import ApiError, Right
from leakguard.testing.clock import FakeClock
from leakguard.testing.kube_cluster import ready_status, uid
from leakguard.testing.kube_server import Asked, Trouble
from tests.kube import EVICT, GET_POD, KubeBench, order
from tests.workloads.guarded import until

MIB = 1024**2


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[KubeBench]:
    """Give a cluster with nothing in it."""
    made = KubeBench(tmp_path)
    yield made
    made.close()


def refused(bench: KubeBench, **options: object) -> DriverError:
    """Give the error with which a restart of the worker is refused."""
    with pytest.raises(DriverError) as caught:
        bench.driver(**options).restart(order(bench.runs()))
    return caught.value


def test_a_signal_restarts_one_container_once(bench: KubeBench) -> None:
    """The kubelet starts it in the same pod; its neighbour is left alone; nothing is written."""
    bench.worker()
    bench.worker("worker-5d9c7-x2")
    stopped = bench.driver().restart(order(bench.runs()))
    until(lambda: len(bench.kubelet.starts["worker-5d9c7-x1"]) == 2)
    assert len(bench.kubelet.starts["worker-5d9c7-x2"]) == 1
    assert (stopped.stop_s is not None, stopped.elsewhere) == (True, "")
    assert bench.server.used() == {Asked("list", "pods")}


@pytest.mark.parametrize("how", ["evict", "delete"])
def test_a_pod_is_replaced_once(bench: KubeBench, how: str) -> None:
    """By uid, never its neighbour; the end is told once another pod is ready somewhere."""
    bench.worker()
    bench.worker("worker-5d9c7-x2")
    stopped = bench.driver(how=how).restart(order(bench.runs()))
    assert bench.cluster.deleted == ["worker-5d9c7-x1"]
    assert "on node-b replaces worker-5d9c7-x1" in stopped.elsewhere
    assert stopped.stop_s is not None


def test_an_eviction_names_the_pod_it_means(bench: KubeBench) -> None:
    """The uid is its condition, and the grace is the pod's own unless told."""
    pod = bench.worker()
    bench.driver(how="evict", grace=7).restart(order(bench.runs()))
    (body,) = [body for asked, body in bench.server.bodies if asked == EVICT]
    assert body["deleteOptions"] == {
        "preconditions": {"uid": pod["metadata"]["uid"]},
        "gracePeriodSeconds": 7,
    }


def test_a_disruption_budget_holds_and_grants_later(bench: KubeBench) -> None:
    """Its refusal is no failure: it names the budget and when to ask again."""
    bench.worker()
    budget = bench.cluster.budget("two-workers", 0)
    error = refused(bench, how="evict")
    assert (error.permanent, error.retry_after_s) == (False, 30.0)
    assert "two-workers needs 2 healthy pods" in str(error)
    assert bench.cluster.deleted == []
    budget["status"]["disruptionsAllowed"] = 1
    bench.driver(how="evict").restart(order(bench.runs()))
    assert bench.cluster.deleted == ["worker-5d9c7-x1"]


def test_the_server_says_when_to_ask_again(bench: KubeBench) -> None:
    """Retry-After of a 429 is kept."""
    bench.worker()
    bench.server.troubles.append(Trouble(EVICT, 429, headers={"Retry-After": "10"}))
    assert refused(bench, how="evict").retry_after_s == 10.0


def test_two_budgets_are_a_failure_with_words(bench: KubeBench) -> None:
    """Kubernetes refuses such an eviction; the pod lives on."""
    bench.worker()
    bench.cluster.budget("one", 1)
    bench.cluster.budget("other", 1)
    assert "more than one PodDisruptionBudget" in str(refused(bench, how="evict"))
    assert bench.cluster.deleted == []


@pytest.mark.parametrize("how", ["evict", "delete"])
def test_a_lost_answer_is_no_second_request(bench: KubeBench, how: str) -> None:
    """The pod says whether the request was carried out."""
    bench.worker()
    asked = EVICT if how == "evict" else Asked("delete", "pods")
    bench.server.troubles.append(Trouble(asked, 0, after=True))
    stopped = bench.driver(how=how).restart(order(bench.runs()))
    assert (bench.server.count(asked), bool(stopped.elsewhere)) == (1, True)


def test_a_request_that_never_came_is_a_failure(bench: KubeBench) -> None:
    """The connection broke before; the pod lives, and trying again may help."""
    bench.worker()
    bench.server.troubles.append(Trouble(EVICT, 0))
    error = refused(bench, how="evict")
    assert (error.permanent, bench.cluster.deleted) == (False, [])


def test_a_missing_right_is_named_with_its_rule(bench: KubeBench) -> None:
    """What the Role lacks, ready to be pasted; trying again cannot help."""
    bench.worker()
    bench.server.allowed = frozenset({GET_POD, Asked("list", "pods")})
    error = refused(bench, how="evict")
    assert error.permanent is True
    assert '{apiGroups: [""], resources: [pods/eviction], verbs: [create]}' in str(error)
    assert "in namespace shop" in str(error)


def test_the_rehearsal_names_each_missing_right(bench: KubeBench) -> None:
    """Before anything is needed, and without acting."""
    bench.worker()
    bench.server.allowed = frozenset({Asked("list", "pods")})
    problems = bench.driver(how="rollout").rehearse(None)
    assert [p.split("`")[1] for p in problems] == [
        "get pods",
        "get replicasets.apps",
        "get deployments.apps",
        "patch deployments.apps",
        "get statefulsets.apps",
        "patch statefulsets.apps",
        "get daemonsets.apps",
        "patch daemonsets.apps",
    ]
    bench.server.allowed = None
    assert bench.driver(how="rollout").rehearse(None) == ()


@pytest.mark.parametrize("how", ["signal", "evict"])
def test_a_dry_run_tells_the_grace_and_touches_no_pod(bench: KubeBench, how: str) -> None:
    """The pod's own, unless the options name another; the container runs on."""
    bench.worker()
    location = Location(root=bench.runs())
    own, named = (bench.driver(how=how, **more) for more in ({}, {"grace": 3.0}))
    assert (own.ending(location).within_s, named.ending(location).within_s) == (5.0, 3.0)
    assert (bench.runs(), bench.cluster.deleted) == (location.root, [])


def test_the_token_is_read_for_each_request(bench: KubeBench) -> None:
    """The kubelet rotates it; a server that no longer takes it says so in words."""
    bench.worker()
    driver = bench.driver(how="evict")
    bench.server.token = "second"
    with pytest.raises(DriverError, match=r"does not take leakguard's token"):
        driver.restart(order(bench.runs()))
    (bench.folder / "token").write_text("second")
    driver.restart(order(bench.runs()))
    assert bench.cluster.deleted == ["worker-5d9c7-x1"]


def test_a_rollout_replaces_the_pods_of_a_deployment(bench: KubeBench) -> None:
    """Through its ReplicaSet's owner, as kubectl does, on the version that was read."""
    bench.worker()
    stopped = bench.driver(how="rollout").restart(order(bench.runs()))
    patch = Asked("patch", "deployments", "apps")
    (body,) = [body for asked, body in bench.server.bodies if asked == patch]
    assert set(body["metadata"]) == {"uid", "resourceVersion"}
    (name,) = body["spec"]["template"]["metadata"]["annotations"]
    assert name == "kubectl.kubernetes.io/restartedAt"
    assert "a rollout of Deployment worker" in stopped.message


def test_a_rollout_of_a_stateful_set(bench: KubeBench) -> None:
    """Its pods belong to it directly, and come back under their names."""
    bench.cluster.stateful_set("db")
    bench.kubelet.run(bench.cluster.pod("db-0", ("StatefulSet", "db")))
    stopped = bench.driver(how="rollout").restart(order(bench.runs("db-0")))
    assert stopped.elsewhere == "db-0 on node-b replaces db-0"


def test_a_rollout_under_way_is_waited_for(bench: KubeBench) -> None:
    """It may replace the pod anyway; a second annotation would restart everything twice."""
    bench.worker()
    deployment = bench.cluster.objects["deployments", "shop", "worker"]
    deployment["status"]["updatedReplicas"] = 0
    error = refused(bench, how="rollout")
    assert (error.retry_after_s, bench.cluster.deleted) == (30.0, [])


def test_of_two_rollouts_at_once_one_is_refused(bench: KubeBench) -> None:
    """Two node agents read the same version: the second patch is a conflict, and does nothing."""
    bench.worker()
    bench.server.troubles.append(Trouble(Asked("patch", "deployments", "apps"), 409))
    error = refused(bench, how="rollout")
    assert (error.retry_after_s, bench.cluster.deleted) == (30.0, [])


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("deployments", {"paused": True}, "it is paused"),
        ("statefulsets", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
    ],
)
def test_a_rollout_that_would_replace_nothing(
    bench: KubeBench, kind: str, spec: dict[str, object], said: str
) -> None:
    """Is refused for good, with what to do."""
    if kind == "deployments":
        bench.worker()
        name, pod = "worker", "worker-5d9c7-x1"
    else:
        bench.cluster.stateful_set("db")
        name, pod = "db", "db-0"
        bench.kubelet.run(bench.cluster.pod(pod, ("StatefulSet", "db")))
    bench.cluster.objects[kind, "shop", name]["spec"] |= spec
    with pytest.raises(DriverError, match=said) as caught:
        bench.driver(how="rollout").restart(order(bench.runs(pod)))
    assert caught.value.permanent is True


@pytest.mark.parametrize("how", ["evict", "delete", "rollout"])
@pytest.mark.parametrize("owner", [None, ("Node", "node-a")])
def test_what_nobody_makes_anew_is_not_taken_away(
    bench: KubeBench, how: str, owner: tuple[str, str] | None
) -> None:
    """A bare pod would be gone for good; a static pod's mirror is nothing."""
    bench.kubelet.run(bench.cluster.pod("bare", owner))
    with pytest.raises(DriverError, match="no controller") as caught:
        bench.driver(how=how).restart(order(bench.runs("bare")))
    assert (caught.value.permanent, bench.cluster.deleted) == (True, [])


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_container_that_may_not_come_back_gets_no_signal(bench: KubeBench, policy: str) -> None:
    """The kubelet would not start what ends well."""
    bench.worker(spec__restartPolicy=policy)
    error = refused(bench)
    assert (error.permanent, f"restartPolicy of worker-5d9c7-x1 is {policy}" in str(error)) == (
        True,
        True,
    )
    assert len(bench.kubelet.starts["worker-5d9c7-x1"]) == 1


def test_the_kubelet_s_back_off_is_not_spent(bench: KubeBench) -> None:
    """A container that began a moment ago for the sixth time would wait five minutes."""
    clock = FakeClock()
    bench.clock = clock
    status = ready_status(restarts=6)
    running = status["containerStatuses"][0]["state"]["running"]
    running["startedAt"] = FakeClock(clock.wall_s - 40).now().rfc3339()
    bench.worker(status=status)
    error = refused(bench)
    assert error.retry_after_s == pytest.approx(560.0)
    assert "up to 5m (6 restarts so far)" in str(error)
    assert len(bench.kubelet.starts["worker-5d9c7-x1"]) == 1


def test_a_token_is_not_needed_where_the_policy_is_said(bench: KubeBench) -> None:
    """The most hardened pod has none: nothing is asked then."""
    bench.worker()
    (bench.folder / "token").unlink()
    error = refused(bench)
    assert (error.permanent, "automountServiceAccountToken" in str(error)) == (True, True)
    driver = bench.driver(restart_policy="Always")
    driver.restart(order(bench.runs()))
    until(lambda: len(bench.kubelet.starts["worker-5d9c7-x1"]) == 2)
    assert bench.server.asked == []


def test_a_successor_that_is_not_ready_is_told(bench: KubeBench) -> None:
    """The eviction was granted; whether the service is back is another question."""
    bench.worker()
    bench.cluster.successor_ready = False
    with pytest.raises(DriverError, match="no pod that replaces it is ready"):
        bench.driver(how="evict").restart(order(bench.runs(), deadline_s=4.0))
    assert bench.cluster.deleted == ["worker-5d9c7-x1"]


def test_the_end_of_leakguard_cuts_the_wait_short(bench: KubeBench) -> None:
    """The eviction is the server's by then."""
    bench.worker()
    bench.cluster.successor_ready = False
    asked = order(bench.runs())
    asked.cancelled.set()
    with pytest.raises(DriverError, match="leakguard is ending: worker-5d9c7-x1 was evicted"):
        bench.driver(how="evict").restart(asked)


def test_a_sidecar_acts_on_its_own_pod(bench: KubeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for it by name, and finds out when it was given another's."""
    pod = bench.worker()
    bench.kubelet.sidecar(pod, bench.proc.self_pid())
    monkeypatch.setenv("POD_NAME", "worker-5d9c7-x1")
    bench.driver().restart(order(bench.runs()))
    assert bench.server.used() == {GET_POD}
    until(lambda: len(bench.kubelet.starts["worker-5d9c7-x1"]) == 2)
    bench.worker("worker-5d9c7-x2")
    monkeypatch.setenv("POD_NAME", "worker-5d9c7-x2")
    assert "give leakguard POD_NAME" in str(refused(bench))


def test_a_process_of_no_pod_is_refused(bench: KubeBench) -> None:
    """A pattern may match what no kubelet started."""
    bench.worker()
    del bench.proc.places[bench.runs().pid]
    error = refused(bench)
    assert (error.permanent, "no container that a kubelet started" in str(error)) == (True, True)


def test_room_is_bought_and_given_back(bench: KubeBench) -> None:
    """The limit of the running container is changed in place, and read from what is in force."""
    bench.worker(status=ready_status() | {"qosClass": "Burstable"})
    driver = bench.driver()
    before = driver.limits()
    driver.bend(MemoryLimits(max_bytes=96 * MIB))
    during = driver.limits()
    driver.bend(before)
    assert (before, during, driver.limits()) == (
        MemoryLimits(max_bytes=64 * MIB),
        MemoryLimits(max_bytes=96 * MIB),
        MemoryLimits(max_bytes=64 * MIB),
    )
    assert len(bench.kubelet.starts["worker-5d9c7-x1"]) == 1


def test_a_guaranteed_pod_stays_guaranteed(bench: KubeBench) -> None:
    """Its request follows its limit; a change of the class would be refused."""
    same = {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}
    status = ready_status() | {"qosClass": "Guaranteed"}
    bench.worker(spec__containers__0__resources=same, status=status)
    bench.driver().bend(MemoryLimits(max_bytes=96 * MIB))
    assert bench.driver().limits() == MemoryLimits(max_bytes=96 * MIB)


@pytest.mark.parametrize(("reason", "permanent"), [("Infeasible", True), ("Deferred", False)])
def test_room_that_the_node_has_not_is_taken_back(
    bench: KubeBench, reason: str, permanent: bool
) -> None:
    """The pod asks again for what it had; the kubelet's reason is told."""
    pod = bench.worker(status=ready_status())
    bench.cluster.resize_answer = reason
    with pytest.raises(DriverError, match=reason) as caught:
        bench.driver().bend(MemoryLimits(max_bytes=96 * MIB))
    assert caught.value.permanent is permanent
    pod = bench.cluster.objects["pods", "shop", "worker-5d9c7-x1"]
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "64Mi"


def test_an_older_server_offers_no_room(bench: KubeBench) -> None:
    """Before 1.33 there is no resize; nothing is tried."""
    bench.worker()
    bench.server.offers_resize = False
    with pytest.raises(DriverError, match=r"1\.33") as caught:
        bench.driver().bend(MemoryLimits(max_bytes=96 * MIB))
    assert caught.value.permanent is True
    assert Asked("patch", "pods/resize") not in bench.server.used()


@pytest.mark.parametrize(
    ("limits", "part", "value", "said"),
    [
        (MemoryLimits(high_bytes=1), "name", "app", "memory.high"),
        (MemoryLimits(), "name", "app", "neither given nor taken away"),
        (MemoryLimits(max_bytes=1), "resources", {}, "neither given nor taken away"),
        (
            MemoryLimits(max_bytes=1),
            "resizePolicy",
            [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
            "restarted when its memory limit changes",
        ),
    ],
)
def test_what_cannot_be_bent_is_refused(
    bench: KubeBench, limits: MemoryLimits, part: str, value: object, said: str
) -> None:
    """With the reason, and without a request."""
    changes: dict[str, Any] = {f"spec__containers__0__{part}": value}
    bench.worker(**changes)
    with pytest.raises(DriverError, match=said):
        bench.driver().bend(limits)
    assert Asked("patch", "pods/resize") not in bench.server.used()


def test_a_list_that_came_too_late_is_begun_anew(bench: KubeBench) -> None:
    """410 says that the next page is no more to be had."""
    bench.worker()
    bench.worker("worker-5d9c7-x2")
    bench.server.page = 1
    bench.server.troubles.append(Trouble(Asked("list", "pods"), 410))
    bench.driver().restart(order(bench.runs()))
    until(lambda: len(bench.kubelet.starts["worker-5d9c7-x1"]) == 2)


def test_the_server_takes_only_what_is_published(bench: KubeBench) -> None:
    """The tests above mean something: wrong bodies, queries, types and paths are refused."""
    api = bench.driver()._api  # noqa: SLF001  the client under test
    bench.worker()
    wrong = {"kind": "Eviction", "apiVersion": "policy/v1beta1"}
    cases = [
        (EVICT, {"body": wrong}, 400),
        (EVICT, {"body": {"deleteOptions": {"uid": "x"}}}, 400),
        (EVICT, {"body": {}, "media": "text/plain"}, 415),
        (GET_POD, {"query": {"watch": "1"}}, 400),
        (Asked("get", "pods/exec"), {}, 404),
        (Asked("patch", "deployments", "apps"), {"body": {}, "media": "application/json"}, 415),
    ]
    for asked, given, status in cases:
        with pytest.raises(ApiError) as caught:
            api.do(Right(*asked), "shop", "worker-5d9c7-x1", **given)  # type: ignore[arg-type]
        assert (asked, caught.value.status) == (asked, status)


def test_a_pod_of_the_same_name_is_another(bench: KubeBench) -> None:
    """Its uid is not the one that was meant: the server refuses, and nothing is deleted."""
    bench.cluster.stateful_set("db")
    bench.kubelet.run(bench.cluster.pod("db-0", ("StatefulSet", "db")))
    driver = bench.driver(how="delete")
    bench.server.troubles.append(Trouble(Asked("delete", "pods"), 409))
    with pytest.raises(DriverError, match="another pod by now"):
        driver.restart(order(bench.runs("db-0")))
    assert (bench.cluster.deleted, uid(1)) == ([], uid(1))


def test_a_successor_on_the_same_node_is_for_the_next_sample(bench: KubeBench) -> None:
    """Only what leakguard cannot see is told by the driver."""
    bench.worker()
    bench.cluster.successor_node = "node-a"
    stopped = bench.driver(how="evict").restart(order(bench.runs()))
    assert (stopped.elsewhere, "on node-a replaces worker-5d9c7-x1" in stopped.message) == (
        "",
        True,
    )
