"""Pods as the API server tells of them: who owns them, how their containers are, who is ready."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from leakguard.core.frozen import dataclass
from leakguard.linux.kube_api import ApiError, KubeApi, Plain, Right

GET_POD = Right("get", "pods")
LIST_PODS = Right("list", "pods")
PAGE = "200"
_EXPIRED = 410
_SIDECARS = "initContainers"
_HASH = "pod-template-hash"
_VOLATILE = frozenset(
    {
        _HASH,
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The controller that makes a pod anew."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a pod, and how its runs went. Times in seconds since 1970."""

    name: str
    run_id: str = ""
    restart_policy: str = ""
    """What holds for it alone; empty: what holds for its pod."""
    restarts: int = 0
    waits_for: str = ""
    """Why it does not run: CrashLoopBackOff, ImagePullBackOff …"""
    started_s: float | None = None
    crashed_before: bool = False
    """The kubelet remembers a run before this one."""
    memory_limit: str = ""
    memory_request: str = ""
    resize_restarts: bool = False
    """A change of its memory limit would restart it (resizePolicy)."""
    listed: str = "containers"
    """Where the pod's spec lists it."""
    in_force: str = ""
    """The memory limit that the kubelet says is in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod, with those containers that run as long as it does."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: Owner | None = None
    node: str = ""
    restart_policy: str = "Always"
    grace_s: float = 30.0
    created: str = ""
    over: bool = False
    """It is being deleted, or has ended for good."""
    ready: bool = False
    qos: str = ""
    containers: Mapping[str, Container] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Condition → reason, of those that hold."""

    @property
    def place(self) -> str:
        """Name what stays when the pod is replaced: its own name, or its workload's."""
        if self.owner is None or self.owner.kind in {"StatefulSet", "Node"}:
            return self.name
        suffix = f"-{self.labels[_HASH]}" if self.labels.get(_HASH) else ""
        return self.owner.name.removesuffix(suffix)

    @property
    def alike(self) -> str:
        """Give a label selector for the pod and for whatever replaces it."""
        labels = sorted((k, v) for k, v in self.labels.items() if k not in _VOLATILE)
        return ",".join(f"{key}={value}" for key, value in labels)


def read_pod(api: KubeApi, namespace: str, name: str) -> Pod:
    """Ask for one pod.

    Raises:
        ApiError: there is none (404), or no answer.
    """
    return pod_of(api.do(GET_POD, namespace, name))


def list_pods(api: KubeApi, namespace: str, selector: str = "", node: str = "") -> tuple[Pod, ...]:
    """Ask for the pods of a namespace, page by page; begins anew, once, when a page came too late.

    Raises:
        ApiError: there was no answer.
    """
    query = {"limit": PAGE}
    if selector:
        query["labelSelector"] = selector
    if node:
        query["fieldSelector"] = f"spec.nodeName={node}"
    try:
        return tuple(_pages(api, namespace, query))
    except ApiError as error:
        if error.status != _EXPIRED:
            raise
    return tuple(_pages(api, namespace, query))


def pod_of(plain: Plain) -> Pod:
    """Read a pod."""
    meta, spec, status = (_part(plain, name) for name in ("metadata", "spec", "status"))
    said = {one.get("name"): one for one in _each(status, "containerStatuses")}
    said |= {one.get("name"): one for one in _each(status, "initContainerStatuses")}
    sidecars = [c for c in _each(spec, _SIDECARS) if c.get("restartPolicy") == "Always"]
    holds = [c for c in _each(status, "conditions") if c.get("status") == "True"]
    return Pod(
        namespace=meta.get("namespace", ""),
        name=meta.get("name", ""),
        uid=meta.get("uid", ""),
        labels=_part(meta, "labels"),
        owner=_owner(meta),
        node=spec.get("nodeName", ""),
        restart_policy=spec.get("restartPolicy") or "Always",
        grace_s=float(spec.get("terminationGracePeriodSeconds") or 30),
        created=meta.get("creationTimestamp", ""),
        over="deletionTimestamp" in meta or status.get("phase") in {"Succeeded", "Failed"},
        ready=any(c.get("type") == "Ready" for c in holds),
        qos=status.get("qosClass", ""),
        containers={
            c["name"]: _container(c, said.get(c["name"], {}), listed)
            for listed, them in (("containers", _each(spec, "containers")), (_SIDECARS, sidecars))
            for c in them
        },
        conditions={c.get("type", ""): c.get("reason", "") for c in holds},
    )


def _pages(api: KubeApi, namespace: str, query: Mapping[str, str]) -> Iterator[Pod]:
    page = ""
    while True:
        asked = dict(query) | ({"continue": page} if page else {})
        answer = api.do(LIST_PODS, namespace, query=asked)
        yield from (pod_of(item) for item in _each(answer, "items"))
        page = _part(answer, "metadata").get("continue", "")
        if not page:
            return


def _container(spec: Plain, status: Plain, listed: str) -> Container:
    state, resources = _part(status, "state"), _part(spec, "resources")
    policies = {p.get("resourceName"): p.get("restartPolicy") for p in _each(spec, "resizePolicy")}
    return Container(
        name=spec["name"],
        listed=listed,
        run_id=str(status.get("containerID") or "").rpartition("//")[2],
        restart_policy=spec.get("restartPolicy", ""),
        restarts=status.get("restartCount", 0),
        waits_for=_part(state, "waiting").get("reason", ""),
        started_s=_seconds(_part(state, "running").get("startedAt")),
        crashed_before=bool(_part(status, "lastState").get("terminated")),
        memory_limit=str(_part(resources, "limits").get("memory", "")),
        memory_request=str(_part(resources, "requests").get("memory", "")),
        resize_restarts=policies.get("memory") == "RestartContainer",
        in_force=str(_part(_part(status, "resources"), "limits").get("memory", "")),
    )


def _owner(meta: Plain) -> Owner | None:
    for one in _each(meta, "ownerReferences"):
        if one.get("controller"):
            return Owner(kind=one.get("kind", ""), name=one.get("name", ""))
    return None


def _part(plain: Plain, name: str) -> Plain:
    part = plain.get(name)
    return part if isinstance(part, dict) else {}


def _each(plain: Plain, name: str) -> list[dict[str, Any]]:
    return plain.get(name) or []


def _seconds(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
