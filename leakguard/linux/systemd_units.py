"""The units of systemd that hold a process, and what `systemctl show` says of them."""

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from leakguard.core.findings.facts import UnitFacts
from leakguard.core.frozen import dataclass

RUNS = "/run/systemd/system"
"""A directory that is there only when systemd is the machine's init."""
TIMEOUT_S = 5.0
_KINDS = (".service", ".scope", ".slice")
_PROPERTIES = (
    "Id",
    "OOMPolicy",
    "OOMScoreAdjust",
    "Restart",
    "ManagedOOMSwap",
    "ManagedOOMMemoryPressure",
    "ManagedOOMPreference",
)
_ROOT = "-.slice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """The units above a process, its own first. `user`: those of a user's manager, run by `uid`."""

    system: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    uid: int | None = None


def holders(paths: Mapping[str, str]) -> Holders:
    """Read the units out of /proc/PID/cgroup (controller → path)."""
    path = paths.get("name=systemd", paths.get("", ""))
    system: list[str] = [_ROOT] if path else []
    user: list[str] = []
    uid: int | None = None
    for part in path.split("/"):
        name = part.removeprefix("_")  # how systemd escapes names that a controller might take
        if not name.endswith(_KINDS):
            continue
        if uid is not None:
            user.append(name)
            continue
        system.append(name)
        number = name.removeprefix("user@").removesuffix(".service")
        if name.startswith("user@") and number.isdigit() and len(number) <= 10:
            uid = int(number)
    return Holders(system=tuple(reversed(system)), user=tuple(reversed(user)), uid=uid)


class SystemdUnits:
    """Asks systemd; remembers what it said. Where systemd does not run, nothing is known."""

    def __init__(self, systemctl: str = "systemctl", runs: str = RUNS) -> None:
        self._systemctl = systemctl
        self._runs = os.path.isdir(runs)
        self._known: dict[tuple[str, bool], UnitFacts] = {}

    def of(self, paths: Mapping[str, str]) -> tuple[UnitFacts, ...]:
        """Give the units that hold a process, nearest first; `paths` as in /proc/PID/cgroup."""
        if not self._runs:
            return ()
        found = holders(paths)
        if not found.user:
            return self._show(found.system, user=False)
        # The unit of the user's manager is no service of anybody; the slices above it count.
        above = [name for name in found.system if name.endswith(".slice")]
        own = found.user if found.uid == os.getuid() else ()
        return (*self._show(own, user=True), *self._show(above, user=False))

    def _show(self, names: Sequence[str], *, user: bool) -> tuple[UnitFacts, ...]:
        missing = [name for name in names if (name, user) not in self._known]
        if missing:
            for facts in parse_show(self._ask(missing, user=user)):
                self._known[facts.name, user] = facts
        return tuple(self._known[name, user] for name in names if (name, user) in self._known)

    def _ask(self, names: Iterable[str], *, user: bool) -> str:
        argv = show_argv(self._systemctl, names, _PROPERTIES, user=user)
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout


def show_argv(
    systemctl: str, names: Iterable[str], properties: Iterable[str], *, user: bool
) -> tuple[str, ...]:
    """Give the command that prints properties of units; names come behind `--`."""
    manager = ("--user",) if user else ()
    asked = f"--property={','.join(properties)}"
    return (systemctl, *manager, "show", asked, "--", *names)


def show_blocks(output: str) -> tuple[dict[str, str], ...]:
    """Read what `systemctl show` prints: one block of `Name=value` lines for each unit."""
    blocks = []
    for block in output.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if values.get("Id"):
            blocks.append(values)
    return tuple(blocks)


def parse_show(output: str) -> tuple[UnitFacts, ...]:
    """Read the settings that `doctor` looks at from what `systemctl show` prints."""
    return tuple(_unit(values) for values in show_blocks(output))


def _unit(values: Mapping[str, str]) -> UnitFacts:
    adjust = values.get("OOMScoreAdjust", "")
    return UnitFacts(
        name=values["Id"],
        oom_policy=values.get("OOMPolicy", ""),
        oom_score_adjust=int(adjust) if adjust.removeprefix("-").isdigit() else 0,
        restart=values.get("Restart", ""),
        managed_swap=values.get("ManagedOOMSwap") or "auto",
        managed_pressure=values.get("ManagedOOMMemoryPressure") or "auto",
        preference=values.get("ManagedOOMPreference") or "none",
    )
