"""Ask journald who was killed for memory lately: the kernel's lines, and the killers' own."""

import glob
import json
import os
import shutil
from dataclasses import replace
from typing import Any

from leakguard.core.instant import Instant
from leakguard.core.kills import Killer, NamedKill, named_kills

JOURNALCTL = "journalctl"
MOST_LINES = 4000
PLACES = ("/run/log/journal", "/var/log/journal")
UNITS = {
    "earlyoom.service": Killer.EARLYOOM,
    "nohang.service": Killer.NOHANG,
    "nohang-desktop.service": Killer.NOHANG,
    "systemd-oomd.service": Killer.SYSTEMD_OOMD,
}
"""Known by their unit, which journald itself writes down: a name anybody can log under."""
_DIGITS = 18
_FIELDS = "MESSAGE,_TRANSPORT,_SYSTEMD_UNIT,_SOURCE_MONOTONIC_TIMESTAMP"


def is_there(root: str = "") -> bool:
    """Tell whether there is a journal that we may read, and the program that reads it."""
    if shutil.which(JOURNALCTL) is None:
        return False
    return any(
        os.access(path, os.R_OK)
        for place in PLACES
        for path in glob.iglob(f"{glob.escape(root)}{place}/*/system.journal")
    )


def question(since_wall_s: float, *, kernel: bool) -> tuple[str, ...]:
    """Give the command that prints the entries since a moment of this boot; `kernel`: its too."""
    wanted = [f"_SYSTEMD_UNIT={unit}" for unit in UNITS]
    if kernel:
        wanted.insert(0, "_TRANSPORT=kernel")
    return (
        JOURNALCTL,
        "--quiet",
        "--no-pager",
        "--boot",
        "--output=json",
        f"--output-fields={_FIELDS}",
        f"--lines={MOST_LINES}",
        f"--since=@{int(since_wall_s)}",
        *" + ".join(wanted).split(" "),
    )


def answer(text: str, now: Instant, *, foreign: bool = False) -> tuple[NamedKill, ...]:
    """Give the kills that the entries tell of; what is no entry is left out.

    Their times are journald's wall clock, turned back from `now`: the kernel's own stamps drift
    from all other clocks, and stand still while the machine sleeps.
    """
    from leakguard.core.killers import KillerLog, without_repeats  # 1 MB with the parser,
    from leakguard.core.oomlog.parse import read_reports  # and most guards never ask

    kernel: list[str] = []
    offsets: list[float] = []
    said = KillerLog()
    found: list[NamedKill] = []
    for line in text.splitlines():
        entry = _entry(line)
        if entry is None:
            continue
        at = _boot_s(entry, now)
        if entry.get("_TRANSPORT") == "kernel":
            kernel.append(line)
            stamp = _seconds(entry.get("_SOURCE_MONOTONIC_TIMESTAMP"))
            offsets += [at - stamp] if at is not None and stamp is not None else []
            continue
        killer, message = UNITS.get(str(entry.get("_SYSTEMD_UNIT"))), entry.get("MESSAGE")
        kill = said.read(killer, message, at) if killer and isinstance(message, str) else None
        if kill is not None:
            found.append(kill)
    named = [k for report in read_reports(kernel) for k in named_kills(report, foreign=foreign)]
    shift = min(offsets, default=0.0)
    return (*(_later(kill, shift) for kill in named), *without_repeats(found))


def _later(kill: NamedKill, seconds: float) -> NamedKill:
    return kill if kill.boot_s is None else replace(kill, boot_s=kill.boot_s + seconds)


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _boot_s(entry: dict[str, Any], now: Instant) -> float | None:
    """Give when journald took an entry, in seconds since boot."""
    wall_s = _seconds(entry.get("__REALTIME_TIMESTAMP"))
    return None if wall_s is None else now.boot_s - (now.wall_s - wall_s)


def _seconds(stamp: object) -> float | None:
    if not isinstance(stamp, str) or not stamp.isascii() or not stamp.isdigit():
        return None
    return int(stamp) / 1e6 if len(stamp) <= _DIGITS else None
