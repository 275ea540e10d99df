"""Containers, as a Docker or Podman engine tells of them, and what it can do with them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from threading import Event
from typing import Any
from urllib.parse import quote

from leakguard.core.errors import UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.units import parse_duration
from leakguard.linux.engine_api import Engine, EngineError

USUAL_STOP_S = 10.0
"""What an engine gives a container to stop in, where nobody said otherwise."""
MARGIN_S = 30.0
"""How much longer than a stop may take we wait for the engine's answer: it must not look failed
while the engine goes on."""
PREFIX = "leakguard."
STOP_LABEL = f"{PREFIX}stop-timeout"
NOT_FOUND = 404
NO_LIMIT = 2**63 - 4096
"""What the kernel takes for no limit: an engine has no other way to take one back."""
_LONGEST_STOP_S = 86400.0
_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as the engine knows it; sizes in bytes, 0: no limit."""

    id: str
    name: str
    status: str = ""
    """created, running, paused, restarting, removing, exited, dead."""
    pid: int = 0
    """Of its first process, in the engine's PID namespace; 0 when it does not run."""
    started_at: str = ""
    restart_policy: str = ""
    most_retries: int = 0
    restart_count: int = 0
    auto_remove: bool = False
    stop_s: float = USUAL_STOP_S
    """How long the engine waits for it to stop before it kills."""
    memory_bytes: int = 0
    swap_bytes: int = 0
    """Memory and swap together; -1: swap without limit."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def labelled_stop_s(self) -> float | None:
        """Give the stop time-out of its label; None without one that can be read."""
        try:
            return min(parse_duration(self.labels[STOP_LABEL]), _LONGEST_STOP_S)
        except (KeyError, UnitError):  # a bad label is told where labels are read
            return None

    def stop_within_s(self) -> float:
        """Give how long its stop may take."""
        labelled = self.labelled_stop_s()
        return self.stop_s if labelled is None else labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How a container is stopped: KILL after `after_s`.

    The answer is waited for until `deadline_s`, and longer where the stop may take longer.
    """

    cancelled: Event
    after_s: float = USUAL_STOP_S
    deadline_s: float = 0.0


class Containers:
    """The containers of one engine."""

    def __init__(self, engine: Engine) -> None:
        """Ask this engine."""
        self.engine = engine

    def find(self, name_or_id: str) -> Container | None:
        """Give a container by its name, or its id or the beginning of it; None: there is none.

        Raises:
            EngineError: the engine gave no good answer.
        """
        try:
            return _container(self.engine.get(f"/containers/{quote(name_or_id, safe='')}/json"))
        except EngineError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def names(self) -> tuple[str, ...]:
        """Give the names of all containers, running or not.

        Raises:
            EngineError: the engine gave no good answer.
        """
        listed = self.engine.get("/containers/json", {"all": "1"})
        return tuple(sorted(_name(one.get("Names")) for one in _objects(listed)))

    def labelled(self, labels: Iterable[str]) -> dict[str, str]:
        """Give id → name of the running containers that carry every label (`key` or `key=value`).

        Raises:
            EngineError: the engine gave no good answer.
        """
        query = {"filters": json.dumps({"label": list(labels)})}
        listed = _objects(self.engine.get("/containers/json", query))
        return {
            str(one.get("Id", "")): _name(one.get("Names"))
            for one in listed
            if str(one.get("State", "running")).lower() in {"running", "paused"}
        }

    def restart(self, container: Container, stop: Stop) -> None:
        """Stop a container and start it again; KILL follows when it does not stop in time."""
        self._act(container, "restart", stop)

    def stop(self, container: Container, stop: Stop) -> None:
        """Stop a container; one that does not run is left alone."""
        self._act(container, "stop", stop)

    def start(self, container: Container) -> None:
        """Start a container; one that runs is left alone."""
        self.engine.post(f"/containers/{container.id}/start", within_s=MARGIN_S)

    def set_memory(self, container: Container, memory_bytes: int, swap_bytes: int) -> None:
        """Change the memory limit of a container, and the one on memory and swap together."""
        body: dict[str, Any] = {"Memory": memory_bytes, "MemorySwap": swap_bytes}
        try:
            self.engine.post(f"/containers/{container.id}/update", body=body, within_s=MARGIN_S)
        except EngineError as error:
            if error.status != NOT_FOUND:
                raise
            self._set_memory_of_podman(container, {"limit": memory_bytes, "swap": swap_bytes})

    def _set_memory_of_podman(self, container: Container, memory: Mapping[str, int]) -> None:
        """Ask Podman by its own API; below 5.3 its Docker API has no update (4.3 was tried)."""
        path = f"/libpod/containers/{container.id}/update"
        self.engine.post(path, body={"memory": dict(memory)}, within_s=MARGIN_S)

    def _act(self, container: Container, verb: str, stop: Stop) -> None:
        self.engine.post(
            f"/containers/{container.id}/{verb}",
            {"t": str(int(stop.after_s))},  # without it, Podman 4.3 kills at once
            within_s=max(stop.after_s + MARGIN_S, stop.deadline_s),
            cancelled=stop.cancelled,
        )


def id_in(cgroup_path: str) -> str:
    """Give the container id in a cgroup's path (`/docker/ID`, `…/libpod-ID.scope`), or ""."""
    for part in reversed(cgroup_path.split("/")):
        word = part.removesuffix(".scope").rpartition("-")[2]
        if len(word) == _ID_LENGTH and _HEX.issuperset(word):
            return word
    return ""


def _container(told: object) -> Container:
    if not isinstance(told, dict) or not told.get("Id"):
        raise EngineError("the engine's answer does not describe a container")
    state, host, config = (_part(told, key) for key in ("State", "HostConfig", "Config"))
    policy = _part(host, "RestartPolicy")
    memory = _number(host.get("Memory"))
    running = state.get("Running") and not state.get("Restarting")
    return Container(
        id=str(told["Id"]),
        name=str(told.get("Name") or "").lstrip("/"),
        status=str(state.get("Status") or "").lower(),
        pid=_number(state.get("Pid")) if running else 0,
        started_at=str(state.get("StartedAt") or ""),
        restart_policy=str(policy.get("Name") or "no"),
        most_retries=_number(policy.get("MaximumRetryCount")),
        restart_count=_number(told.get("RestartCount")),
        auto_remove=bool(host.get("AutoRemove")),
        stop_s=_stop_s(config.get("StopTimeout")),
        memory_bytes=0 if memory >= NO_LIMIT // 2 else memory,
        swap_bytes=_number(host.get("MemorySwap")),
        labels={str(key): str(value) for key, value in _part(config, "Labels").items()},
    )


def _stop_s(told: object) -> float:
    """Give the seconds of a container's own stop time-out; a negative one means for ever.

    Zero is what Podman tells where nobody chose one.
    """
    if not isinstance(told, int) or told == 0:
        return USUAL_STOP_S
    return float(told) if told > 0 else _LONGEST_STOP_S


def _objects(told: object) -> list[dict[str, Any]]:
    if not isinstance(told, list):
        raise EngineError("the engine's answer is no list of containers")
    return [one for one in told if isinstance(one, dict)]


def _part(whole: dict[str, Any], key: str) -> dict[str, Any]:
    found = whole.get(key)
    return found if isinstance(found, dict) else {}


def _name(names: object) -> str:
    """Give a container's own name; links add others, with a slash inside."""
    found = [str(name).lstrip("/") for name in names] if isinstance(names, list) else []
    return min(found, key=lambda name: (name.count("/"), name), default="")


def _number(told: object) -> int:
    return told if isinstance(told, int) else 0
