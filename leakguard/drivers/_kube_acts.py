"""What is asked of the API server for a restart: an eviction, a deletion, a rollout.

Each carries the pod's uid, or the version of the workload that was read, as its condition: so it
hits what was meant, once, or nothing. When an answer is lost, the pod itself says whether it was
taken.
"""

from dataclasses import field
from threading import Event

from leakguard.core.errors import DriverError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.core.units import format_duration
from leakguard.drivers.base import Stopped
from leakguard.linux.kube_api import STRATEGIC, ApiError, KubeApi, Plain, Right
from leakguard.linux.kube_pods import GET_POD, LIST_PODS, Pod, list_pods, pod_of, read_pod

LOOK_S = 1.0
ASK_AGAIN_S = 30.0
"""A disruption budget that refuses is asked again after this, where the server names no time."""
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
EVICT = Right("create", "pods/eviction")
DELETE = Right("delete", "pods")
GET_REPLICASET = Right("get", "replicasets", "apps")
WORKLOADS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
_LOST = (0, 500, 502, 503, 504)
"""After these nobody knows whether the request was carried out."""


@dataclass(slots=True, kw_only=True)
class Replace:
    """Has one pod replaced, and watches until its successor is ready."""

    api: KubeApi
    pod: Pod
    clock: Clock
    deadline_s: float
    cancelled: Event
    grace_s: float | None = None
    _began: Instant = field(init=False)
    _before: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        self._began = self.clock.now()

    def evict(self) -> Stopped:
        """Ask for an eviction, which the disruption budgets may refuse."""
        self._look_around()
        body: Plain = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": self.pod.name, "namespace": self.pod.namespace},
            "deleteOptions": self._options(),
        }
        try:
            self._ask(EVICT, body)
        except ApiError as error:
            if error.status == 429:
                raise DriverError(
                    f"{self.pod.name} is not evicted now: {error}",
                    retry_after_s=error.retry_after_s or ASK_AGAIN_S,
                ) from error
            raise
        return self._await_successor("evicted")

    def delete(self) -> Stopped:
        """Delete the pod; whoever owns it makes another."""
        self._look_around()
        self._ask(DELETE, {"apiVersion": "v1", "kind": "DeleteOptions", **self._options()})
        return self._await_successor("deleted")

    def roll(self) -> Stopped:
        """Begin a rollout of the workload, as `kubectl rollout restart` does."""
        kind, name = self._workload()
        found = self._workload_now(kind, name)
        if refusal := cannot_roll(kind, found):
            raise DriverError(f"{kind} {name}: {refusal}", permanent=True)
        if is_rolling(kind, found):
            raise DriverError(
                f"a rollout of {kind} {name} is under way, it may replace {self.pod.name}: nothing "
                "was done",
                retry_after_s=ASK_AGAIN_S,
            )
        self._look_around()
        self._annotate(kind, name, found)
        return self._await_successor(f"replaced by a rollout of {kind} {name}")

    def _annotate(self, kind: str, name: str, found: Plain) -> None:
        at = self.clock.now().rfc3339()
        body: Plain = {
            "metadata": {k: found["metadata"][k] for k in ("uid", "resourceVersion")},
            "spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at}}}},
        }
        right = Right("patch", WORKLOADS[kind], "apps")
        try:
            self.api.do(right, self.pod.namespace, name, body=body, media=STRATEGIC)
        except ApiError as error:
            if error.status == 409:
                raise DriverError(
                    f"{kind} {name} was changed by others meanwhile: nothing was done",
                    retry_after_s=ASK_AGAIN_S,
                ) from error
            if error.status not in _LOST or _restarted_at(self._workload_now(kind, name)) != at:
                raise

    def _workload_now(self, kind: str, name: str) -> Plain:
        return self.api.do(Right("get", WORKLOADS[kind], "apps"), self.pod.namespace, name)

    def _workload(self) -> tuple[str, str]:
        owner = self.pod.owner
        if owner is not None and owner.kind == "ReplicaSet":
            found = self.api.do(GET_REPLICASET, self.pod.namespace, owner.name)
            owner = pod_of(found).owner
        if owner is None or owner.kind not in WORKLOADS:
            raise DriverError(
                f"{self.pod.name} belongs to no Deployment, StatefulSet or DaemonSet: use how: "
                "signal, or how: evict where a controller makes it anew",
                permanent=True,
            )
        return owner.kind, owner.name

    def _options(self) -> Plain:
        options: Plain = {"preconditions": {"uid": self.pod.uid}}
        if self.grace_s is not None:
            options["gracePeriodSeconds"] = max(1, round(self.grace_s))
        return options

    def _look_around(self) -> None:
        """Note which pods there are, so that a new one is known as such."""
        alike = list_pods(self.api, self.pod.namespace, self.pod.alike)
        self._before = frozenset(pod.uid for pod in alike)

    def _ask(self, right: Right, body: Plain) -> None:
        """Send the request once; where the answer is lost, the pod tells whether it was taken."""
        try:
            self.api.do(right, self.pod.namespace, self.pod.name, body=body)
        except ApiError as error:
            if error.status in (404, 409):
                raise DriverError(f"{self.pod.name} is another pod by now: {error}") from error
            if error.status not in _LOST:
                raise
            now = self._now()
            if now is not None and not now.over:
                raise

    def _now(self) -> Pod | None:
        """Give the pod as it is now, None when it is gone."""
        try:
            pod = read_pod(self.api, self.pod.namespace, self.pod.name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return pod if pod.uid == self.pod.uid else None

    def _await_successor(self, what: str) -> Stopped:
        stop_s: float | None = None
        said = "it still runs"
        while (left_s := self.deadline_s - self._elapsed_s()) > 0:
            try:
                if stop_s is None and self._now() is None:
                    stop_s, said = self._elapsed_s(), "no pod that replaces it is ready"
                if stop_s is not None and (successor := self._successor()):
                    return self._done(what, stop_s, successor)
            except ApiError as error:  # the next look may get an answer
                if error.permanent:
                    raise
                said = str(error)
            if self.cancelled.wait(min(LOOK_S, left_s)):
                raise DriverError(f"leakguard is ending: {self.pod.name} was {what}, {said}")
        after = format_duration(self._elapsed_s())
        raise DriverError(f"{self.pod.name} was {what}, but {said} after {after}")

    def _done(self, what: str, stop_s: float, successor: Pod) -> Stopped:
        """Tell the end; a successor on the same node is seen by the next sample, and proves it."""
        told = f"{successor.name} on {successor.node} replaces {self.pod.name}"
        return Stopped(
            stop_s=stop_s,
            message=f"{self.pod.name} was {what}: {told}",
            elsewhere=told if successor.node != self.pod.node else "",
        )

    def _successor(self) -> Pod | None:
        for pod in list_pods(self.api, self.pod.namespace, self.pod.alike):
            if pod.uid not in self._before and pod.ready and not pod.over:
                return pod
        return None

    def _elapsed_s(self) -> float:
        return self.clock.now().since(self._began)


def _restarted_at(workload: Plain) -> str:
    template = workload.get("spec", {}).get("template", {}).get("metadata", {})
    return str((template.get("annotations") or {}).get(RESTARTED_AT, ""))


def cannot_roll(kind: str, workload: Plain) -> str:
    """Say why a new annotation would replace no pod; empty when it would."""
    spec = workload.get("spec", {})
    if spec.get("paused"):
        return "it is paused, so nothing would be replaced: `kubectl rollout resume` it"
    if kind != "Deployment" and spec.get("updateStrategy", {}).get("type") == "OnDelete":
        return "its updateStrategy is OnDelete, so nothing would be replaced: use how: evict"
    return ""


def is_rolling(kind: str, workload: Plain) -> bool:
    """Tell whether the pods of a workload are being replaced already."""
    meta, status = workload.get("metadata", {}), workload.get("status", {})
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        return True
    if kind == "DaemonSet":
        wanted, new = status.get("desiredNumberScheduled", 0), "updatedNumberScheduled"
        return bool(status.get(new, 0) < wanted)
    wanted = workload.get("spec", {}).get("replicas", 1)
    new, every = status.get("updatedReplicas", 0), status.get("replicas", 0)
    if kind == "StatefulSet" and status.get("updateRevision") == status.get("currentRevision"):
        return False
    return bool(new < wanted or every > new)


def rights(how: str, *, own: bool) -> tuple[Right, ...]:
    """Name every right that a way to restart needs; `own`: leakguard's own pod, found by name."""
    if how == "signal":
        return (GET_POD,) if own else (LIST_PODS,)
    asks = {
        "evict": (EVICT,),
        "delete": (DELETE,),
        "rollout": (
            GET_REPLICASET,
            *(
                Right(verb, resource, "apps")
                for resource in WORKLOADS.values()
                for verb in ("get", "patch")
            ),
        ),
    }
    return (GET_POD, LIST_PODS, *asks[how])
