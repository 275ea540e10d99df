"""Ends without a kill, seen by a daemon that observes: throttled, and refused at CommitLimit."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.vm.guest import groups, kernel, worker
from tests.vm.guest.case import MIB, Leak
from tests.vm.guest.lab import Lab
from tests.vm.guest.predict import predict

HIGH_MIB = 64
MAX_MIB = 192
STEP_BYTES = MIB // 2
STEP_S = 0.5
GROW_S = 60.0
WAIT_S = 90.0
POLL_S = 0.5
SAID_CHARACTERS = 6000
OVERCOMMIT = {"overcommit_memory": 2, "overcommit_ratio": 95}


class Guard:
    """A daemon that watches one cgroup."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._process = process

    def service(self) -> dict[str, Any] | None:
        """Give the status of the one service, None before its first sample."""
        try:
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as channel:
                channel.settimeout(WAIT_S)
                channel.connect(str(self._folder / "control.sock"))
                asked = http.client.HTTPConnection("localhost")
                asked.sock = channel
                asked.request("GET", "/api/v1/status")
                (service,) = json.loads(asked.getresponse().read())["services"]
        except (OSError, ValueError, http.client.HTTPException):
            return None
        return dict(service) if service["value_bytes"] is not None else None

    def wait(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any] | None:
        """Ask until something holds of the service; give its last status in any case."""
        until, seen = time.monotonic() + WAIT_S, None
        while time.monotonic() < until and self._process.poll() is None:
            seen = self.service() or seen
            if seen is not None and holds(seen):
                break
            time.sleep(POLL_S)
        return seen

    def said(self) -> dict[str, Any]:
        """Stop it; give its events and its talk."""
        self._process.send_signal(signal.SIGTERM)
        out, talk = self._process.communicate(timeout=WAIT_S)
        lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
        return {"events": lines, "said": talk.decode()[-SAID_CHARACTERS:]}


@contextmanager
def guard(folder: Path, group: Path) -> Iterator[Guard]:
    """Run a daemon that looks twice a second."""
    folder.mkdir(mode=0o700)
    service = {
        "target": {"cgroup": groups.place(group)},
        "sample_every": "500ms",
        "detector": {"envelope": {"young": "8s", "young_reach": 20}},
    }
    configuration = {
        "services": {"leaky": service},
        "http": {"listen": "off"},
        "state": {"path": str(folder / "state.db")},
        "socket": str(folder / "control.sock"),
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps(configuration), "utf-8")  # JSON is YAML as well
    argv = [sys.executable, "-m", "leakguard", "run", "-c", str(config), "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield Guard(folder, process)
        finally:
            process.kill()


def memory_high(lab: Lab) -> None:
    """Leak slowly towards memory.high, then all at once against it."""
    sizes = {"memory.high": f"{HIGH_MIB}M", "memory.max": f"{MAX_MIB}M", "memory.swap.max": "0"}
    with _stage(lab, "watched-high", sizes) as (top, leaker, watch):
        before = _grow(leaker, watch, lambda seen: seen["throttle"]["time_to_throttle"])
        leaker.tell(f"grow anon {MAX_MIB * MIB}")
        after = watch.wait(lambda seen: seen["throttle"]["now"])
        time.sleep(2 * POLL_S + 8.0)  # people are told after five seconds
        _report(lab, "memory-high", watch, before=before, after=after, last=watch.service())
    with groups.tree(lab.top, "high-alone", {""}, {"": {"memory.high": f"{HIGH_MIB}M"}}) as top:
        lab.channel.send("alone", case="memory-high", prediction=predict(top))


def overcommit(lab: Lab) -> None:
    """Leak slowly under vm.overcommit_memory=2."""
    with _stage(lab, "watched-commit", {}) as (_, leaker, watch):
        watch.wait(bool)
        with kernel.settings(OVERCOMMIT):
            before = _grow(leaker, watch, _foresees_commit)
            memory = kernel.numbers("/proc/meminfo")
        _report(lab, "overcommit", watch, before=before, memory=memory)


@contextmanager
def _stage(
    lab: Lab, name: str, limits: Mapping[str, str]
) -> Iterator[tuple[Path, worker.Leaker, Guard]]:
    with ExitStack() as stack:
        top = stack.enter_context(groups.tree(lab.top, name, {""}, {"": dict(limits)}))
        leaker = worker.leak(Leak(), top, lab.shared)
        stack.callback(_end, top, leaker)
        yield top, leaker, stack.enter_context(guard(Path(f"/run/{name}"), top))


def _grow(
    leaker: worker.Leaker, watch: Guard, holds: Callable[[dict[str, Any]], object]
) -> dict[str, Any] | None:
    """Grow by some MiB a second until something holds; give the last status."""
    watch.wait(bool)
    until, seen = time.monotonic() + GROW_S, None
    while time.monotonic() < until:
        leaker.grow("anon", STEP_BYTES, WAIT_S)
        seen = watch.service() or seen
        if seen is not None and seen["verdict"] == "leaking" and holds(seen):
            break
        time.sleep(STEP_S)
    return seen


def _foresees_commit(seen: dict[str, Any]) -> bool:
    return any(one["kind"] == "commit" and one["time_to_limit"] for one in seen["limits"])


def _report(lab: Lab, case: str, watch: Guard, **fields: object) -> None:
    lab.channel.send("watched", case=case, log=lab.log.lines(), **fields, **watch.said())


def _end(top: Path, leaker: worker.Worker) -> None:
    (top / "cgroup.kill").write_text("1", "ascii")
    leaker.end()
