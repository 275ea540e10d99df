"""One service of systemd as its manager tells it, from D-Bus values or the words of systemctl."""

import re
from collections.abc import Mapping

from leakguard.core.frozen import dataclass

PROPERTIES = {
    "org.freedesktop.systemd1.Unit": (
        "Id",
        "LoadState",
        "ActiveState",
        "SubState",
        "UnitFileState",
        "InactiveExitTimestampMonotonic",
        "RefuseManualStart",
        "RefuseManualStop",
        "StartLimitBurst",
        "StartLimitIntervalUSec",
        "Transient",
        "RequiredBy",
        "BoundBy",
        "ConsistsOf",
    ),
    "org.freedesktop.systemd1.Service": (
        "Type",
        "MainPID",
        "ControlGroup",
        "ExecMainStartTimestampMonotonic",
        "NRestarts",
        "Restart",
        "Result",
        "OOMPolicy",
        "TimeoutStartUSec",
        "TimeoutStopUSec",
        "MemoryHigh",
        "MemoryMax",
    ),
}
"""What is asked of a unit, by interface."""

SUFFIX = ".service"
_INFINITY = 2**64 - 1
_SPAN = re.compile(r"([0-9.]+)\s*([a-z]+)")
_UNITS_S = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "month": 2629800.0,
    "y": 31557600.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A service unit. Spans are in seconds, None: without end; sizes in bytes, None: no limit.

    `started_us` is when the main process was last started, `began_us` when its start was begun,
    both on systemd's monotonic clock (0: never). `held_by`: units that go down with it.
    """

    name: str
    load_state: str = "loaded"
    active_state: str = ""
    sub_state: str = ""
    file_state: str = ""
    transient: bool = False
    kind: str = ""
    main_pid: int = 0
    control_group: str = ""
    result: str = ""
    restart: str = ""
    restarts: int = 0
    started_us: int = 0
    began_us: int = 0
    start_s: float | None = None
    stop_s: float | None = None
    burst: int = 0
    interval_s: float | None = 0.0
    refuses_start: bool = False
    refuses_stop: bool = False
    oom_policy: str = ""
    high_bytes: int | None = None
    max_bytes: int | None = None
    held_by: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """Say the state in words: `failed (oom-kill)`, `activating (auto-restart)`."""
        more = self.result if self.active_state == "failed" else self.sub_state
        return f"{self.active_state} ({more})" if more else self.active_state


def unit_of(said: Mapping[str, object]) -> Unit:
    """Read what a manager said of a unit; what it did not say is at its default."""
    return Unit(
        name=_text(said.get("Id")),
        load_state=_text(said.get("LoadState")),
        active_state=_text(said.get("ActiveState")),
        sub_state=_text(said.get("SubState")),
        file_state=_text(said.get("UnitFileState")),
        transient=_flag(said.get("Transient")),
        kind=_text(said.get("Type")),
        main_pid=_number(said.get("MainPID")) or 0,
        control_group=_text(said.get("ControlGroup")),
        result=_text(said.get("Result")),
        restart=_text(said.get("Restart")),
        restarts=_number(said.get("NRestarts")) or 0,
        started_us=_number(said.get("ExecMainStartTimestampMonotonic")) or 0,
        began_us=_number(said.get("InactiveExitTimestampMonotonic")) or 0,
        start_s=_span(said.get("TimeoutStartUSec")),
        stop_s=_span(said.get("TimeoutStopUSec")),
        burst=_number(said.get("StartLimitBurst")) or 0,
        interval_s=_span(said.get("StartLimitIntervalUSec", 0)),
        refuses_start=_flag(said.get("RefuseManualStart")),
        refuses_stop=_flag(said.get("RefuseManualStop")),
        oom_policy=_text(said.get("OOMPolicy")),
        high_bytes=_number(said.get("MemoryHigh")),
        max_bytes=_number(said.get("MemoryMax")),
        held_by=tuple(
            dict.fromkeys(
                name
                for key in ("RequiredBy", "BoundBy", "ConsistsOf")
                for name in _names(said.get(key))
                if name.endswith(SUFFIX)
            )
        ),
    )


def full_name(written: str) -> str:
    """Give the name of a service unit as systemd has it: `worker` is `worker.service`."""
    return written if re.search(r"\.[a-z]+$", written) else f"{written}{SUFFIX}"


def is_in(paths: Mapping[str, str], name: str) -> bool:
    """Tell whether a process is in a unit; `paths` as in /proc/PID/cgroup."""
    path = paths.get("name=systemd", paths.get("", ""))
    return name in (part.removeprefix("_") for part in path.split("/"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _flag(value: object) -> bool:
    return value is True or value == "yes"


def _number(value: object) -> int | None:
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) and 0 <= value < _INFINITY else None


def _span(value: object) -> float | None:
    """Read microseconds, or `1min 30s`; None for `infinity` and what cannot be read."""
    if isinstance(value, int):
        return value / 1e6 if value < _INFINITY else None
    if value == "0":
        return 0.0
    parts = _SPAN.findall(value) if isinstance(value, str) else []
    if not parts or any(unit not in _UNITS_S for _, unit in parts):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()
