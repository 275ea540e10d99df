"""Containers of a real engine, Docker or Podman, for the time of a test."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.e2e import base_image
from tests.workloads.guarded import until

LEAK = Path(__file__).with_name("leak.py")
READY = "ready "
START_S = 60.0
STOP_S = 30.0
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
"""Podman asks for more than a container of CI may give."""


@dataclass(slots=True)
class Lab:
    """An engine, the image that was put into it, and the containers to be removed."""

    host: str
    image: str
    made: list[str] = field(default_factory=list)

    @property
    def socket(self) -> str:
        """The engine's socket."""
        return self.host.removeprefix("unix://")

    def __call__(self, *arguments: str, may_fail: bool = False) -> str:
        """Run one docker command and give what it said."""
        done = subprocess.run(
            ["docker", *arguments],
            env=os.environ | {"DOCKER_HOST": self.host},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert may_fail or done.returncode == 0, f"docker {arguments}: {done.stdout}"
        return done.stdout

    def leak(self, name: str, *leak: str, run: tuple[str, ...] = ()) -> str:
        """Start a container that runs the leaking program; gives its full name."""
        full = f"lg-{os.getpid()}-{name}"
        self.made.append(full)
        mounted = ("-v", f"{LEAK}:/leak.py:ro", "--network", "none", *ULIMITS, *run)
        self("run", "-d", "--name", full, *mounted, self.image, "python3", "-S", "/leak.py", *leak)
        return full

    def inspect(self, name: str) -> dict[str, Any]:
        """Give all that the engine knows of a container."""
        found: list[dict[str, Any]] = json.loads(self("inspect", "--type", "container", name))
        return found[0]

    def run_of(self, name: str) -> tuple[int, str]:
        """Name the run of a container: pid and start."""
        state = self.inspect(name)["State"]
        return state["Pid"], state["StartedAt"]

    def starts(self, name: str) -> int:
        """Count how often the program in a container has started."""
        return sum(line.startswith(READY) for line in self("logs", name).splitlines())

    def clear(self) -> None:
        """Remove the containers."""
        for name in self.made:
            self("rm", "-f", "-v", name, may_fail=True)
        self.made.clear()


@contextmanager
def lab_at(host: str) -> Iterator[Lab]:
    """Give a laboratory in an engine that runs: this machine's Python is its image."""
    image = f"leakguard-test-python:{os.getpid()}"
    lab = Lab(host, image)
    with tempfile.TemporaryDirectory() as folder:
        base_image.write(Path(folder) / "base.tar")
        lab("import", f"{folder}/base.tar", image)
    try:
        yield lab
    finally:
        lab.clear()
        lab("rmi", "-f", image, may_fail=True)


@dataclass(slots=True)
class PrivateEngine:
    """An engine of our own below a folder, to be stopped and killed as a test likes."""

    folder: Path
    kind: str = "docker"
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"unix://{self.folder}/engine.sock"

    def start(self) -> Self:
        """Start it and wait until it answers."""
        # Of a containerd that nobody reaped after a kill, dockerd would believe that it runs.
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        argv = self._docker() if self.kind == "docker" else self._podman()
        with (self.folder / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,  # conmon notes an OOM kill by a file where it was started
            )
        until(self._answers, START_S, (self.folder / "engine.log").read_text("utf-8")[-2000:])
        return self

    def kill(self) -> None:
        """Kill it: containers run on, requests break off."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> None:
        """Stop it in order, and take away the mounts that a killed one leaves behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(STOP_S)
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
        for place in sorted((m for m in mounted if m.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=False)

    def _answers(self) -> bool:
        asked = ["docker", "-H", self.host, "version"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def _docker(self) -> list[str]:
        roots = [f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec"]
        network = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--live-restore"]
        placed = ["-H", self.host, f"--pidfile={self.folder}/pid", "--storage-driver=vfs"]
        return ["dockerd", *roots, *network, *placed]

    def _podman(self) -> list[str]:
        roots = [f"--root={self.folder}/data", f"--runroot={self.folder}/run"]
        usual = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"]
        return ["podman", *roots, *usual, "system", "service", "--time=0", self.host]
