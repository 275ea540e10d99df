"""The memory limit of a running container: read, and changed in place (Kubernetes 1.33 on)."""

import re
from threading import Event

from leakguard.core.errors import DriverError
from leakguard.drivers.base import MemoryLimits
from leakguard.linux.kube_api import STRATEGIC, ApiError, KubeApi, Plain, Right
from leakguard.linux.kube_pods import Container, Pod, read_pod

RESIZE = Right("patch", "pods/resize")
LOOKS = 30
LOOK_S = 1.0
"""The kubelet puts a change into force within seconds, or says why it does not."""
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([0-9]+)|([mkKMGTPE]?i?))")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3}
_UNITS |= {letter: 1000.0**power for power, letter in enumerate("MGTPE", start=2)}
_UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)}


def bytes_of(quantity: str) -> int | None:
    """Read `512Mi`, `1G` or `1e9`; None for what is no quantity."""
    match = _QUANTITY.fullmatch(quantity.strip())
    if match is None or (match.group(3) or "") not in _UNITS:
        return None
    factor = 10.0 ** int(match.group(2)) if match.group(2) else _UNITS[match.group(3)]
    return int(float(match.group(1)) * factor)


def limits_of(container: Container) -> MemoryLimits:
    """Give the limit that the kubelet says is in force, or that the pod asks for."""
    return MemoryLimits(max_bytes=bytes_of(container.in_force or container.memory_limit))


def refusal(pod: Pod, container: Container, limits: MemoryLimits) -> str:
    """Say why a limit cannot be changed in place; empty when it can be tried."""
    named = f"container {container.name} of {pod.name}"
    if limits.high_bytes is not None:
        return "Kubernetes knows no memory.high: leave it out"
    if limits.max_bytes is None or not container.memory_limit:
        return f"{named}: a memory limit is neither given nor taken away while a pod runs"
    if container.resize_restarts:
        return (
            f"{named} is restarted when its memory limit changes: set its resizePolicy for memory "
            "to NotRequired"
        )
    return ""


def offers_resize(api: KubeApi) -> bool:
    """Ask the server whether a pod's resources can be changed in place.

    Raises:
        ApiError: there was no answer.
    """
    status, _, answer = api.send("GET", "/api/v1/")
    if status >= 300:
        raise ApiError(f"Kubernetes answered {status} when asked what it offers", status)
    return any(one.get("name") == "pods/resize" for one in answer.get("resources") or ())


def resize(api: KubeApi, pod: Pod, container: Container, max_bytes: int) -> None:
    """Change the limit, and wait until it is in force; a change that cannot be is taken back.

    Raises:
        DriverError: the node has no room for it now (try again), or never.
        ApiError: the server refused.
    """
    if not offers_resize(api):
        raise DriverError(
            "this API server offers no pods/resize (Kubernetes 1.33 and newer do): a limit cannot "
            "be changed while the pod runs",
            permanent=True,
        )
    _patch(api, pod, container, str(max_bytes))
    waits = Event()
    for _ in range(LOOKS):
        now = read_pod(api, pod.namespace, pod.name)
        here = now.containers.get(container.name)
        if now.uid != pod.uid or here is None:
            raise DriverError(f"{pod.name} was replaced meanwhile")
        why = now.conditions.get("PodResizePending", "")
        if why:
            _patch(api, pod, container, container.memory_limit)
            raise DriverError(
                f"the node does not grant {pod.name} {max_bytes} bytes ({why}): taken back",
                permanent=why == "Infeasible",
            )
        if bytes_of(here.in_force) == max_bytes:
            return
        waits.wait(LOOK_S)
    raise DriverError(f"the kubelet has not put {pod.name}'s new limit into force yet")


def _patch(api: KubeApi, pod: Pod, container: Container, memory: str) -> None:
    resources: Plain = {"limits": {"memory": memory}}
    if pod.qos == "Guaranteed":  # a change of the class is refused: both stay equal
        resources["requests"] = {"memory": memory}
    spec = {container.listed: [{"name": container.name, "resources": resources}]}
    body: Plain = {"metadata": {"uid": pod.uid}, "spec": spec}
    api.do(RESIZE, pod.namespace, pod.name, body=body, media=STRATEGIC)
