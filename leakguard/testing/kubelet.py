"""A kubelet for tests: real processes are its containers, and it starts them again."""

import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from leakguard.linux.procfs import ProcFs
from leakguard.testing.kube_cluster import Plain, ready_status, run_id
from leakguard.testing.kube_server import KubeServer

GIVE_UP_S = 10.0


class PodProc(ProcFs):
    """The real /proc, with mounts and cgroups of some processes as in a container of a pod."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, tuple[str, str, str]] = {}
        """pid → pod's uid, container, id of its run."""

    def read(self, pid: int, name: str) -> bytes:
        """Read one file of a process."""
        place = self.places.get(pid)
        if place is None or name not in {"mountinfo", "cgroup"}:
            return super().read(pid, name)
        super().read(pid, "stat")  # is it there at all?
        text = mounts(*place[:2]) if name == "mountinfo" else cgroup(place[0], place[2])
        return text.encode()


def mounts(pod_uid: str, container: str) -> str:
    """Give what /proc/PID/mountinfo shows in a container."""
    mine = f"/var/lib/kubelet/pods/{pod_uid}"
    return (
        "733 635 0:120 / / rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/b\n"
        f"741 733 8:1 {mine}/etc-hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw\n"
        f"742 733 8:1 {mine}/containers/{container}/1f2e3d4c /dev/termination-log rw,relatime - "
        "ext4 /dev/sda1 rw\n"
        f"743 733 0:99 {mine}/volumes/kubernetes.io~empty-dir/x /x rw - tmpfs tmpfs rw\n"
    )


def cgroup(pod_uid: str, run: str) -> str:
    """Give what /proc/PID/cgroup shows of a container."""
    pod = f"kubepods-burstable-pod{pod_uid.replace('-', '_')}.slice"
    return f"0::/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{run}.scope\n"


class Kubelet:
    """Runs the container `app` of the pods of `node`, each by `argv`.

    `box` gives the beginning of a command that puts the rest of it into a container, from the pod
    and the id of the run; without it, `proc` says what is in one.
    """

    node = "node-a"

    def __init__(
        self,
        server: KubeServer,
        proc: PodProc,
        argv: Sequence[str],
        box: Callable[[Plain, str], Sequence[str]] = lambda _pod, _run: (),
    ) -> None:
        self.starts: dict[str, list[int]] = {}
        """Pod's name → pids of the runs of its container."""
        self._server = server
        self._proc = proc
        self.argv = argv
        self._box = box
        self._ends = threading.Event()
        self._threads: list[threading.Thread] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        server.cluster.on_delete = self._stop
        server.cluster.on_create = self._take

    def run(self, pod: Plain) -> int:
        """Start the pod's container and keep it running; gives the first pid."""
        pid = self._start(pod)
        name = str(pod["metadata"]["name"])
        watch = threading.Thread(target=self._keep, args=(name,), daemon=True)
        self._threads.append(watch)
        watch.start()
        return pid

    def sidecar(self, pod: Plain, pid: int) -> None:
        """Let a process be the container `leakguard` of a pod."""
        self._proc.places[pid] = (str(pod["metadata"]["uid"]), "leakguard", run_id(999_999))

    def close(self) -> None:
        """Stop all of them, for good."""
        with self._server.lock:  # nothing is started from here on
            self._ends.set()
            for process in self._processes.values():
                process.kill()
        for thread in self._threads:
            thread.join(GIVE_UP_S)

    def _start(self, pod: Plain) -> int:
        name = str(pod["metadata"]["name"])
        run = run_id(secrets.randbits(200))
        argv = (*self._box(pod, run), *self.argv)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.starts.setdefault(name, []).append(process.pid)
        self._processes[name] = process
        self._proc.places[process.pid] = (str(pod["metadata"]["uid"]), "app", run)
        return process.pid

    def _take(self, pod: Plain) -> None:
        if pod["spec"].get("nodeName") == self.node:
            self.run(pod)

    def _keep(self, name: str) -> None:
        while not self._ends.is_set():
            self._processes[name].wait()
            with self._server.lock:
                pod = self._server.cluster.objects.get(("pods", "shop", name))
                if self._ends.is_set() or pod is None or "deletionTimestamp" in pod["metadata"]:
                    return
                self._start(pod)
                runs = len(self.starts[name])
                pod["status"] = ready_status(1000 + runs, restarts=runs - 1)

    def _stop(self, pod: Plain) -> None:
        process = self._processes.get(str(pod["metadata"]["name"]))
        if process is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, 15)
