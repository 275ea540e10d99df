"""A container of a pod: of leakguard's own pod, or of every pod of this node that has given labels.

As a sidecar, leakguard sees the app's processes where the pod has `shareProcessNamespace: true`;
which container a process is in, it reads from /proc and asks nobody. As a node agent (`hostPID:
true`) it finds every container of this node in the same way, and asks the API server only which
pods carry the labels: in a thread of its own, so that a server that hangs never holds up sampling.

A service is called by what stays: `namespace/pod/container` for a pod that comes back under its
name (StatefulSet), `namespace/workload/container` for one that does not (Deployment, DaemonSet),
with `#2`, `#3` … where this node runs several. So breaker, series and forecast outlive the pod.
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import field, replace
from typing import ClassVar

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location, Scope
from leakguard.linux.kube_api import ApiAddress, ApiError, KubeApi
from leakguard.linux.kube_pods import Pod, list_pods
from leakguard.linux.kubepods import Place, by_place, place_of, run_id
from leakguard.plugins import doc
from leakguard.targets._found import make_location, root_among
from leakguard.targets.base import Target, TargetContext

FIRST_ANSWER_S = 5.0
"""Only the first answer of the API server is waited for: until then nothing can be guarded."""
NEWS_S = 1.0
"""When a container has just ended, the server is asked whether its pod was deleted; it answers in
milliseconds, or not in time."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `pod`."""

    container: str = field(
        default="",
        metadata=doc(
            "name of a container: of leakguard's own pod, which must share its process namespace, "
            "or with `selector` of each pod that it selects"
        ),
    )
    selector: str = field(
        default="",
        metadata=doc(
            "for a node agent: `namespace/label selector`, such as shop/app=worker; every such "
            "pod of this node is a service of its own"
        ),
    )
    api: ApiAddress = field(
        default_factory=ApiAddress,
        metadata=doc("where the API server is; in a pod nothing has to be set"),
    )

    @property
    def many(self) -> bool:
        """Whether pods are selected: then each container is a service of its own."""
        return bool(self.selector)

    def __post_init__(self) -> None:
        """Refuse what can name no container."""
        namespace, slash, labels = self.selector.partition("/")
        if not self.container and not self.selector:
            raise TargetError("name a container of the own pod, or a selector of pods")
        if self.container and not _NAME.fullmatch(self.container):
            raise TargetError(
                f"{self.container!r} is not the name of a container: write it as in the pod, and "
                "`namespace/labels` under selector"
            )
        if self.selector and not (slash and labels.strip() and _NAME.fullmatch(namespace)):
            raise TargetError(
                f"{self.selector!r} selects no pods: write namespace/labels, as in shop/app=worker"
            )


class PodTarget(Target):
    """Finds the processes of containers that the kubelet started."""

    default_driver: ClassVar[str] = "kubernetes"

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._options = options
        self._proc = context.proc
        self._cgroups = context.cgroups
        self._book = _Book(options) if options.many else None
        self._awaited: frozenset[str] = frozenset()

    def locate(self) -> tuple[Location, ...]:
        """Give the container of the own pod, or each selected container of this node."""
        if self._book is None:
            return (self._locate_own(),)
        pods = self._book.pods()
        seen = by_place(self._proc, self._proc.pids())
        found, awaited = self._match(pods, seen)
        if awaited - self._awaited:  # it ended, or its pod was deleted: the server knows which
            pods = self._book.pods(NEWS_S)
            found, awaited = self._match(pods, seen)
        self._awaited = awaited
        if not found:
            raise TargetError(_none(self._options, pods), taken_away=not awaited)
        return tuple(sorted(found, key=lambda one: (one.root.start_ticks, one.root.pid)))

    def _match(
        self, pods: tuple[Pod, ...], seen: dict[Place, list[int]]
    ) -> tuple[list[Location], frozenset[str]]:
        """Give where selected containers run, and the names of those that should and do not."""
        found: list[Location] = []
        awaited = set()
        for pod, container in self._selected(pods):
            pids = seen.get(Place(pod.uid, container), [])
            if self._proc.self_pid() in pids:
                continue
            member = f"{pod.namespace}/{pod.place}/{container}"
            location = self._location(pids, member)
            if location is not None:
                found.append(location)
            elif not pod.over:
                awaited.add(member)
        return found, frozenset(awaited)

    def _selected(self, pods: tuple[Pod, ...]) -> Iterator[tuple[Pod, str]]:
        for pod in pods:
            for container in pod.containers:
                if self._options.container in ("", container):
                    yield pod, container

    def awaits(self, member: str) -> bool:
        """Tell whether a pod of that name is on this node without running."""
        return self._book is None or member in self._awaited

    def describe(self) -> str:
        """Say the container."""
        of = f" of pods {self._options.selector}" if self._options.selector else " of the own pod"
        return f"container {self._options.container}{of}" if self._options.container else of[4:]

    def _locate_own(self) -> Location:
        own = place_of(self._proc, self._proc.self_pid())
        if own is None:
            raise TargetError(
                "leakguard does not run in a container of Kubernetes: name pods by a selector, or "
                "use another target"
            )
        if own.container == self._options.container:
            raise TargetError(f"container {own.container} is leakguard itself: name the app's")
        found = by_place(self._proc, self._proc.pids())
        place = Place(own.pod_uid, self._options.container)
        location = self._location(found.get(place, []), "")
        if location is None:
            raise TargetError(self._unseen(own, found))
        return location

    def _location(self, pids: list[int], member: str) -> Location | None:
        root = root_among(self._proc, pids)
        if root is None:
            return None
        try:
            run = run_id(self._proc, root.pid)
            group = self._cgroups.memory_dir(root.pid)
        except ReadingError:  # it ended meanwhile
            return None
        whole = group is not None and bool(run) and run in group.path.rpartition("/")[2]
        return replace(
            make_location(self._proc, root),
            scope=Scope.CGROUP if whole else Scope.TREE,
            cgroup_path=group.directory if group is not None and whole else "",
            member=member,
        )

    def _unseen(self, own: Place, found: dict[Place, list[int]]) -> str:
        others = sorted({p.container for p in found if p.pod_uid == own.pod_uid} - {own.container})
        if others:
            return (
                f"no process of container {self._options.container} runs in this pod (seen: "
                f"{', '.join(others)}): correct the name, or wait for the kubelet to start it"
            )
        return (
            f"no process of container {self._options.container} can be seen: set "
            "shareProcessNamespace: true in the pod, or wait for the kubelet to start it"
        )


class _Book:
    """The selected pods as the API server last told of them; asked again in a thread."""

    def __init__(self, options: Options) -> None:
        self._namespace, _, self._labels = options.selector.partition("/")
        self._api = KubeApi(options.api)
        self._pods: tuple[Pod, ...] | None = None
        self._error = "the API server has not answered yet"
        self._thread: threading.Thread | None = None

    def pods(self, wait_s: float = 0.0) -> tuple[Pod, ...]:
        """Give the last answer, a new one if it comes within `wait_s`; else it is on its way.

        Raises:
            ReadingError: there was none so far.
        """
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._ask, name="leakguard-pods", daemon=True)
            self._thread.start()
        self._thread.join(FIRST_ANSWER_S if self._pods is None else wait_s)
        if self._pods is None:
            raise ReadingError(self._error)
        return self._pods

    def _ask(self) -> None:
        try:
            self._pods = list_pods(self._api, self._namespace, self._labels, self._api.node())
        except ApiError as error:
            self._error = str(error)


def _none(options: Options, pods: tuple[Pod, ...]) -> str:
    if not pods:
        return f"no pod {options.selector} runs on this node"
    names = ", ".join(pod.name for pod in pods[:3])
    return (
        f"no process of {names} can be seen: run leakguard with hostPID: true on the node of the "
        "pods, or correct the container's name"
    )
