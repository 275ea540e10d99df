"""Restarts a container, or has its pod replaced, through Kubernetes.

`signal` ends the container's root process and the kubelet starts the container again in the same
pod, on the same node: what a restart is for a sidecar, and the mildest for a node agent. The others
replace the whole pod, and the new one may start on any node:

* A node agent waits until a new pod of the same workload is ready, wherever that is, and its answer
  (`Stopped.elsewhere`) ends the restart as a success once the old process is gone here. When the
  new pod starts on this node, it is sampled as usual, and so is the proof.
* A sidecar dies with its own pod. The API server has taken the request by then and needs no more
  help; nobody is left to tell the end, and the new pod's leakguard begins with an empty state, or,
  where its state is on a volume, sees a new incarnation and calls it a success.

Who refuses for now (a disruption budget, a rollout under way, the kubelet's back-off) is asked
again later: that is no failure.
"""

from collections.abc import Iterator
from dataclasses import field
from enum import StrEnum
from typing import ClassVar

from leakguard.core.codec import from_plain
from leakguard.core.errors import DriverError, LeakguardError, ReadingError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import Seconds, counted, format_duration
from leakguard.drivers import _kube_acts, _kube_room
from leakguard.drivers._kube_acts import Replace
from leakguard.drivers._stop import Stop, StopStep, To
from leakguard.drivers.base import (
    Driver,
    DriverContext,
    Ending,
    MemoryLimits,
    RestartOrder,
    Stopped,
)
from leakguard.linux.kube_api import ApiAddress, ApiError, KubeApi, Right
from leakguard.linux.kube_pods import Container, Pod, list_pods, read_pod
from leakguard.linux.kubepods import Place, place_of
from leakguard.linux.pidfd import open_checked
from leakguard.linux.procfs import ProcessGone
from leakguard.plugins import doc

CALM_S = 600.0
"""A container that has run so long is started again at once (twice the longest back-off)."""
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 10.0, 300.0
USUAL_GRACE_S = 30.0
REVIEW = Right("create", "selfsubjectaccessreviews", "authorization.k8s.io")


class How(StrEnum):
    """What a restart is, from the mildest."""

    SIGNAL = "signal"
    EVICT = "evict"
    DELETE = "delete"
    ROLLOUT = "rollout"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `kubernetes`."""

    how: How = field(
        default=How.SIGNAL,
        metadata=doc(
            "`signal`: end the container's process, the kubelet starts it again; `evict`: replace "
            "the pod as its disruption budgets allow; `delete`: replace it whatever they say; "
            "`rollout`: replace every pod of its workload, as `kubectl rollout restart` does"
        ),
    )
    grace: Seconds | None = field(
        default=None,
        metadata=doc(
            "how long the container gets to end; left out: the pod's terminationGracePeriodSeconds"
        ),
    )
    restart_policy: str = field(
        default="",
        metadata=doc(
            "`Always`: take the pod's restartPolicy for known and ask no API server (how: signal "
            "alone), for a pod without a token"
        ),
    )
    api: ApiAddress | None = field(
        default=None,
        metadata=doc("where the API server is; left out: what the target `pod` says"),
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.grace is not None and self.grace < 1:
            raise UnitError("grace must be 1s or more")
        if self.restart_policy not in ("", "Always"):
            raise UnitError(
                f"restart_policy {self.restart_policy!r}: only containers that are always started "
                "again can be restarted by a signal; write Always, or leave it out"
            )
        if self.restart_policy and self.how is not How.SIGNAL:
            raise UnitError(f"restart_policy is for how: signal, not for {self.how}")


class KubernetesDriver(Driver):
    """Acts on the container, or on its pod, and leaves the start to the kubelet."""

    managed: ClassVar[bool] = True
    bends: ClassVar[bool] = True

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the service of `context`."""
        self._options = options
        self._context = context
        named = dict(context.target.options) if context.target is not None else {}
        self._selector = str(named.get("selector", ""))
        self._api = KubeApi(options.api or from_plain(ApiAddress, named.get("api", {})))
        self._blind = bool(options.restart_policy)

    def restart(self, order: RestartOrder) -> Stopped:
        """Carry out one restart of the run that was meant."""
        if order.incarnation is None:
            raise DriverError(self.refuses(running=False))
        try:
            if self._options.how is How.SIGNAL:
                return self._signal(order, order.incarnation)
            return self._replace(order, order.incarnation)
        except ApiError as error:
            raise DriverError(str(error), permanent=error.permanent) from error
        except ProcessGone as error:
            raise DriverError(f"{self._context.service}: {error}: nothing was done") from error
        except ReadingError as error:
            raise DriverError(str(error)) from error

    def limits(self) -> MemoryLimits:
        """Give the memory limit that is in force."""
        try:
            return _kube_room.limits_of(self._here()[1])
        except ReadingError as error:
            raise _failed(error) from error

    def bend(self, limits: MemoryLimits) -> None:
        """Change the memory limit in place."""
        try:
            pod, container = self._here()
            if why := _kube_room.refusal(pod, container, limits):
                raise DriverError(why, permanent=True)
            _kube_room.resize(self._api, pod, container, limits.max_bytes or 0)
        except ReadingError as error:
            raise _failed(error) from error

    def refuses(self, *, running: bool) -> str:
        """Refuse what does not run: the kubelet starts it when it may."""
        if running:
            return ""
        return f"{self._context.service} does not run: the kubelet starts it, nobody else can"

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Ask the server for each right that is needed, and the kernel for the signal."""
        try:
            return tuple(self._problems(location))
        except LeakguardError as error:
            return (str(error),)

    def ending(self, location: Location) -> Ending:
        """Give the grace period of the pod, or what the options put in its place."""
        if self._options.grace is not None:
            return Ending(within_s=self._options.grace)
        own = USUAL_GRACE_S if self._blind else self._find(location.root)[0].grace_s
        return Ending(within_s=own)

    def describe(self) -> str:
        """Say what a restart does."""
        if self._options.how is How.SIGNAL:
            grace = self._options.grace
            after = format_duration(grace) if grace else "the pod's grace period"
            return f"TERM to the container's process, KILL after {after}"
        return {
            How.EVICT: "evicts the pod, as its disruption budgets allow",
            How.DELETE: "deletes the pod",
            How.ROLLOUT: "begins a rollout of the pod's workload",
        }[self._options.how]

    def who_starts(self) -> str:
        """Say who starts the container, or another pod."""
        return "the kubelet" if self._options.how is How.SIGNAL else "the pod's controller"

    def _signal(self, order: RestartOrder, run: Incarnation) -> Stopped:
        if run.pid == 1:
            raise DriverError(
                f"{self._context.service} is PID 1 of the namespace that leakguard is in, which "
                "would end with it: set shareProcessNamespace: true in the pod",
                permanent=True,
            )
        pod, container = (None, None) if self._blind else self._find(run)
        said = ""
        if pod is not None and container is not None:
            said = self._may_signal(pod, container, order.deadline_s)
        grace = self._options.grace or (pod.grace_s if pod is not None else USUAL_GRACE_S)
        stop = Stop(
            proc=self._context.proc,
            clock=self._context.clock,
            root=run,
            steps=(StopStep(signal="TERM", wait=Seconds(grace)), StopStep(signal="KILL")),
            to=To.PROCESS,
            cancelled=order.cancelled,
            deadline_s=order.deadline_s,
        )
        return Stopped(stop_s=stop.run(), message=said)

    def _may_signal(self, pod: Pod, container: Container, deadline_s: float) -> str:
        """Read the kubelet's own budget before it is spent; gives what is worth saying of it."""
        policy = container.restart_policy or pod.restart_policy
        if policy != "Always":
            raise DriverError(
                f"the restartPolicy of {pod.name} is {policy}: the kubelet may not start "
                f"{container.name} again; use how: evict where a controller makes the pod anew",
                permanent=True,
            )
        wall_s = self._context.clock.now().wall_s
        wait_s = back_off_s(container, wall_s)
        if not wait_s:
            return ""
        said = (
            f"the kubelet may hold the next start of {container.name} back for up to "
            f"{format_duration(wait_s)} ({counted(container.restarts, 'restart')} so far)"
        )
        if wait_s >= deadline_s / 2:
            calm_s = CALM_S - (wall_s - (container.started_s or wall_s))
            raise DriverError(f"{said}: not before that is over", retry_after_s=max(1.0, calm_s))
        return said

    def _replace(self, order: RestartOrder, run: Incarnation) -> Stopped:
        pod, _ = self._find(run)
        if pod.owner is None or pod.owner.kind == "Node":
            raise DriverError(
                f"pod {pod.name} has no controller that would make another: use how: signal",
                permanent=True,
            )
        replace = Replace(
            api=self._api,
            pod=pod,
            clock=self._context.clock,
            deadline_s=order.deadline_s * 0.95,
            cancelled=order.cancelled,
            grace_s=self._options.grace,
        )
        with open_checked(self._context.proc, run):  # the very run that was meant, until now
            pass
        match self._options.how:
            case How.DELETE:
                return replace.delete()
            case How.ROLLOUT:
                return replace.roll()
            case _:
                return replace.evict()

    def _here(self) -> tuple[Pod, Container]:
        location = self._context.locate()
        if location is None:
            raise DriverError(f"{self._context.service} does not run")
        return self._find(location.root)

    def _find(self, run: Incarnation) -> tuple[Pod, Container]:
        """Ask for the pod of a process: leakguard's own by name, another by uid."""
        self._api.token()
        proc = self._context.proc
        place = place_of(proc, run.pid)
        if place is None:
            raise DriverError(
                f"{run} is in no container that a kubelet started: use the target `pod`",
                permanent=True,
            )
        own = place_of(proc, proc.self_pid())
        same_pod = own is not None and own.pod_uid == place.pod_uid
        pod = self._own_pod(place) if same_pod else self._selected_pod(place)
        container = pod.containers.get(place.container)
        if container is None:
            raise DriverError(f"pod {pod.name} knows no container {place.container}")
        return pod, container

    def _own_pod(self, place: Place) -> Pod:
        namespace, name = self._api.namespace(), self._api.pod()
        pod = read_pod(self._api, namespace, name)
        if pod.uid != place.pod_uid:
            raise DriverError(
                f"pod {name} in namespace {namespace} is another pod than this one: give leakguard "
                "POD_NAME and POD_NAMESPACE (fieldRef metadata.name, metadata.namespace)",
                permanent=True,
            )
        return pod

    def _selected_pod(self, place: Place) -> Pod:
        namespace, _, labels = self._selector.partition("/")
        if not labels:
            raise DriverError(
                "the process belongs to another pod than leakguard: name pods by the target `pod` "
                "with a selector",
                permanent=True,
            )
        for pod in list_pods(self._api, namespace, labels, self._api.node()):
            if pod.uid == place.pod_uid:
                return pod
        raise DriverError(f"no pod {self._selector} has the uid {place.pod_uid}: nothing was done")

    def _problems(self, location: Location | None) -> Iterator[str]:
        if not self._blind:
            yield from self._missing_rights()
        if location is None:
            return
        if self._options.how is How.SIGNAL:
            with open_checked(self._context.proc, location.root) as handle:
                handle.send(0)
        if not self._blind:
            self._find(location.root)

    def _missing_rights(self) -> Iterator[str]:
        namespace = self._selector.partition("/")[0] or self._api.namespace()
        for right in _kube_acts.rights(self._options.how, own=not self._selector):
            if not self._allowed(right, namespace):
                yield (
                    f"leakguard may not `{right}` in namespace {namespace}: add {right.rule()} to "
                    "its Role"
                )

    def _allowed(self, right: Right, namespace: str) -> bool:
        resource, _, part = right.resource.partition("/")
        asked = {"verb": right.verb, "resource": resource, "group": right.group}
        asked |= {"namespace": namespace} | ({"subresource": part} if part else {})
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        return bool(self._api.do(REVIEW, body=body).get("status", {}).get("allowed"))


def back_off_s(container: Container, wall_s: float) -> float:
    """Give how long the kubelet may at most wait before it starts a container that ends now.

    It starts at once what never ended before, or has run for ten minutes since; else it waits 10 s,
    twice that after each further end, 5 minutes at most.
    """
    if not container.crashed_before or container.restarts <= 0:
        return 0.0
    if container.started_s is not None and wall_s - container.started_s >= CALM_S:
        return 0.0
    doubled = FIRST_BACK_OFF_S * 2.0 ** min(container.restarts - 1, 10)
    return min(LONGEST_BACK_OFF_S, doubled)


def _failed(error: ReadingError) -> DriverError:
    return DriverError(str(error), permanent=isinstance(error, ApiError) and error.permanent)
