"""A small cluster in memory: pods with owners and budgets, and controllers that make pods anew."""

import itertools
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from leakguard.testing.kube_schema import KINDS, Description

Plain = dict[str, Any]
Key = tuple[str, str, str]
CREATED = "2026-11-22T20:00:00Z"
VERSIONS = {"pods": "v1", "poddisruptionbudgets": "policy/v1"}


class Refused(Exception):  # noqa: N818  what happened, in one word
    """The server's answer is a Status with this code."""

    def __init__(
        self, code: int, reason: str, message: str, *, causes: tuple[Plain, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.causes = code, reason, causes


class Cluster:
    """Objects by plural, namespace and name; whatever is put in must fit the description.

    `looks`: a deleted pod is still there for so many looks. `on_delete` is told of each one, and
    `on_create` of each that a controller makes.
    `successor_ready`: whether pods that controllers make become ready.
    """

    def __init__(self, description: Description) -> None:
        self.objects: dict[Key, Plain] = {}
        self.looks = 1
        self.successor_ready = True
        self.successor_node = "node-b"
        self.resize_answer = ""
        self.on_delete: Callable[[Plain], None] = lambda _pod: None
        self.on_create: Callable[[Plain], None] = lambda _pod: None
        self.deleted: list[str] = []
        self._description = description
        self._going: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def put(self, plural: str, plain: Plain) -> Plain:
        """Store an object as the server would give it."""
        meta = plain["metadata"]
        meta.setdefault("namespace", "shop")
        meta.setdefault("uid", uid(next(self._numbers)))
        meta.setdefault("creationTimestamp", CREATED)
        meta["resourceVersion"] = str(next(self._numbers))
        kind = KINDS[plural].rpartition(".")[2]
        full = {"apiVersion": VERSIONS.get(plural, "apps/v1"), "kind": kind, **plain}
        problems = list(self._description.problems(KINDS[plural], full))
        if problems:
            raise Refused(422, "Invalid", "; ".join(problems))
        self.objects[plural, meta["namespace"], meta["name"]] = full
        return full

    def pod(self, name: str, owner: tuple[str, str] | None = None, **changes: object) -> Plain:
        """Put a pod with one container `app` of 64Mi that runs; `changes` replace whole parts."""
        labels = {"app": "worker"}
        meta: Plain = {"name": name, "labels": labels}
        if owner is not None:
            kind, owned_by = owner
            if kind == "ReplicaSet":
                labels["pod-template-hash"] = owned_by.rpartition("-")[2]
            meta["ownerReferences"] = [_reference(kind, owned_by)]
        memory = {"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}}
        plain: Plain = {
            "metadata": meta,
            "spec": {
                "containers": [{"name": "app", "image": "worker:1", "resources": memory}],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 5,
                "nodeName": "node-a",
            },
            "status": ready_status(),
        }
        for path, value in changes.items():
            _set(plain, path.split("__"), value)
        return self.put("pods", plain)

    def deployment(self, name: str = "worker", replicas: int = 1) -> Plain:
        """Put a Deployment and its ReplicaSet, all rolled out; its pods are put by `pod`."""
        owned = _workload(f"{name}-5d9c7", {"replicas": replicas, "observedGeneration": 1})
        owned["spec"]["replicas"] = replicas
        owned["metadata"]["ownerReferences"] = [_reference("Deployment", name)]
        self.put("replicasets", owned)
        numbers = ("replicas", "updatedReplicas", "availableReplicas")
        rolled = _workload(name, {"observedGeneration": 1} | dict.fromkeys(numbers, replicas))
        rolled["spec"]["replicas"] = replicas
        return self.put("deployments", rolled)

    def stateful_set(self, name: str = "db") -> Plain:
        """Put a StatefulSet of one pod, all rolled out."""
        status: Plain = {"replicas": 1, "updatedReplicas": 1, "observedGeneration": 1}
        status |= {"currentRevision": "a", "updateRevision": "a"}
        workload = _workload(name, status)
        workload["spec"] |= {"replicas": 1, "serviceName": name}
        return self.put("statefulsets", workload)

    def daemon_set(self, name: str = "agent") -> Plain:
        """Put a DaemonSet of two nodes, all rolled out."""
        numbers = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled")
        status = dict.fromkeys((*numbers, "numberReady"), 2)
        status |= {"numberMisscheduled": 0, "observedGeneration": 1}
        return self.put("daemonsets", _workload(name, status))

    def budget(self, name: str, allowed: int, labels: Mapping[str, str] | None = None) -> Plain:
        """Put a disruption budget that allows so many disruptions now."""
        selector = {"matchLabels": dict(labels or {"app": "worker"})}
        numbers = {"currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2}
        return self.put(
            "poddisruptionbudgets",
            {
                "metadata": {"name": name},
                "spec": {"minAvailable": 2, "selector": selector},
                "status": {"disruptionsAllowed": allowed, **numbers},
            },
        )

    def get(self, plural: str, namespace: str, name: str) -> Plain:
        """Give an object; a pod that is being deleted goes after some looks."""
        self._settle()
        found = self.objects.get((plural, namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{plural} "{name}" not found')
        return found

    def pods(self, namespace: str, labels: str, fields: str) -> list[Plain]:
        """List pods, by label and node."""
        self._settle()
        wanted = dict(part.split("=", 1) for part in labels.split(",") if part)
        node = dict(part.split("=", 1) for part in fields.split(",") if part).get("spec.nodeName")
        return [
            pod
            for pod in self._of("pods", namespace)
            if wanted.items() <= pod["metadata"].get("labels", {}).items()
            and node in (None, pod["spec"].get("nodeName"))
        ]

    def evict(self, namespace: str, name: str, options: Plain) -> None:
        """Delete a pod if the one budget that covers it allows."""
        pod = self.get("pods", namespace, name)
        _check_uid(pod, options)
        labels = pod["metadata"].get("labels", {})
        covers = [
            budget
            for budget in self._of("poddisruptionbudgets", namespace)
            if budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        ]
        if len(covers) > 1:
            text = "This pod has more than one PodDisruptionBudget, which is not supported."
            raise Refused(500, "InternalError", text)
        for budget in covers:
            if budget["status"]["disruptionsAllowed"] <= 0:
                raise _no_disruption(budget)
            budget["status"]["disruptionsAllowed"] -= 1
        self.delete(namespace, name, options)

    def delete(self, namespace: str, name: str, options: Plain) -> Plain:
        """Begin to delete a pod: it goes after some looks, and its controller makes another."""
        pod = self.get("pods", namespace, name)
        _check_uid(pod, options)
        if pod["metadata"]["uid"] not in self._going:
            pod["metadata"]["deletionTimestamp"] = CREATED
            self._going[pod["metadata"]["uid"]] = self.looks
            self.deleted.append(name)
            self.on_delete(pod)
        return pod

    def patch(self, plural: str, namespace: str, name: str, change: Plain) -> Plain:
        """Merge a strategic patch into an object; a changed template replaces every pod."""
        old = self.get(plural, namespace, name)
        for field in ("uid", "resourceVersion"):
            meant = change.get("metadata", {}).get(field)
            if meant not in (None, old["metadata"][field]):
                text = f'{plural} "{name}": the object has been modified; try again'
                raise Refused(409, "Conflict", text)
        new = merged(old, change)
        if plural != "pods" and new["spec"] != old["spec"]:
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
            new["status"]["observedGeneration"] = new["metadata"]["generation"]
        stored = self.put(plural, new)
        if plural != "pods" and new["spec"]["template"] != old["spec"]["template"]:
            for pod in self._of("pods", namespace):
                self.delete(namespace, pod["metadata"]["name"], {})
        return stored

    def resize(self, namespace: str, name: str, change: Plain) -> Plain:
        """Change resources of containers, as the node allows (`resize_answer` is its refusal)."""
        before = self.get("pods", namespace, name)
        for listed in change["spec"].values():
            for one in listed:
                if set(one) != {"name", "resources"}:
                    raise Refused(422, "Invalid", "pod resize may only change resources")
        pod = self.patch("pods", namespace, name, change)
        if qos(pod) != pod["status"]["qosClass"]:
            self.put("pods", before)
            raise Refused(422, "Invalid", "Pod QOS Class may not change as a result of resizing")
        pod["status"]["conditions"] = [
            c for c in pod["status"]["conditions"] if c["type"] != "PodResizePending"
        ]
        if self.resize_answer:
            pending = {"type": "PodResizePending", "status": "True", "reason": self.resize_answer}
            pod["status"]["conditions"].append(pending)
        else:
            for spec, status in zip(
                pod["spec"]["containers"], pod["status"]["containerStatuses"], strict=True
            ):
                status["resources"] = deepcopy(spec["resources"])
        return pod

    def _of(self, plural: str, namespace: str) -> list[Plain]:
        return [o for (p, n, _), o in self.objects.items() if (p, n) == (plural, namespace)]

    def _settle(self) -> None:
        """Let time pass for pods that are being deleted."""
        for key, pod in list(self.objects.items()):
            left = self._going.get(pod["metadata"]["uid"])
            if left is None:
                continue
            if left > 0:
                self._going[pod["metadata"]["uid"]] = left - 1
                continue
            del self.objects[key], self._going[pod["metadata"]["uid"]]
            self._make_another(pod)

    def _make_another(self, gone: Plain) -> None:
        owners = gone["metadata"].get("ownerReferences")
        if not owners:
            return
        fresh = deepcopy(gone)
        meta = fresh["metadata"]
        for field in ("uid", "deletionTimestamp", "creationTimestamp"):
            meta.pop(field)
        if owners[0]["kind"] != "StatefulSet":
            meta["name"] = f"{meta['name'].rpartition('-')[0]}-{next(self._numbers):05d}"
        fresh["spec"]["nodeName"] = self.successor_node
        fresh["status"] = ready_status(ready=self.successor_ready)
        self.on_create(self.put("pods", fresh))


def uid(number: int) -> str:
    """Give an object's uid."""
    return f"00000000-0000-4000-8000-{number:012d}"


def run_id(number: int) -> str:
    """Give the id of a container's run."""
    return f"{number:064x}"


def ready_status(run: int = 1, *, ready: bool = True, restarts: int = 0) -> Plain:
    """Give the status of a pod whose container `app` runs for the `restarts + 1`st time."""
    running: Plain = {"running": {"startedAt": CREATED}}
    container: Plain = {
        "name": "app",
        "image": "worker:1",
        "imageID": "worker@sha256:0",
        "ready": ready,
        "restartCount": restarts,
        "containerID": f"containerd://{run_id(run)}",
        "state": running,
    }
    if restarts:
        ended = {"exitCode": 143, "reason": "Error", "finishedAt": CREATED}
        container["lastState"] = {"terminated": ended}
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "phase": "Running",
        "qosClass": "Burstable",
        "conditions": [condition],
        "containerStatuses": [container],
    }


def merged(old: Any, change: Any) -> Any:  # noqa: ANN401  JSON is untyped
    """Merge as a strategic merge patch does: objects by key, lists of named things by name."""
    if isinstance(old, dict) and isinstance(change, dict):
        both = {k: merged(old.get(k), v) for k, v in change.items() if v is not None}
        return {k: v for k, v in {**deepcopy(old), **both}.items() if change.get(k, v) is not None}
    if isinstance(old, list) and isinstance(change, list):
        if not all(isinstance(x, dict) and "name" in x for x in (*old, *change)):
            return deepcopy(change)
        changes = {x["name"]: x for x in change}
        kept = [merged(x, changes.pop(x["name"], {})) for x in old]
        return [*kept, *changes.values()]
    return deepcopy(change)


def qos(pod: Plain) -> str:
    """Give a pod's class by its memory alone."""
    parts = [c.get("resources", {}) for c in pod["spec"]["containers"]]
    if all(p.get("limits") and p.get("requests") == p["limits"] for p in parts):
        return "Guaranteed"
    return "Burstable" if any(p.get("limits") or p.get("requests") for p in parts) else "BestEffort"


def _workload(name: str, status: Plain) -> Plain:
    labels = {"app": "worker"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app"}]}}
    return {
        "metadata": {"name": name, "generation": 1},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
        "status": status,
    }


def _reference(kind: str, name: str) -> Plain:
    version = "v1" if kind == "Node" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid(0), "controller": True}


def _set(plain: Plain, path: list[str], value: object) -> None:
    part: Any = plain
    for name in path[:-1]:
        part = part[int(name)] if isinstance(part, list) else part.setdefault(name, {})
    part[path[-1]] = value


def _check_uid(pod: Plain, options: Plain) -> None:
    meant = (options.get("preconditions") or {}).get("uid")
    if meant not in (None, pod["metadata"]["uid"]):
        there = pod["metadata"]["uid"]
        text = f"Precondition failed: UID in precondition: {meant}, UID in object meta: {there}"
        raise Refused(409, "Conflict", text)


def _no_disruption(budget: Plain) -> Refused:
    name, status = budget["metadata"]["name"], budget["status"]
    text = (
        f"The disruption budget {name} needs {status['desiredHealthy']} healthy pods and has "
        f"{status['currentHealthy']} currently"
    )
    return Refused(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        causes=({"reason": "DisruptionBudget", "message": text},),
    )
