"""What the killers in user space write about their kills, as named kills.

earlyoom (1.1 to 1.9), nohang and systemd-oomd, by the message alone: who said it must be known.
"""

import re
from collections.abc import Iterable

from leakguard.core.kills import Killer, NamedKill
from leakguard.core.units import MIB

_EARLYOOM = (
    re.compile(
        r'sending SIG(?:TERM|KILL) to process (?P<pid>\d+)(?: uid (?P<uid>\d+))? "(?P<name>.*?)": '
        r"(?:badness|oom_score) -?\d+,.*?VmRSS (?P<mib>\d+) MiB",
        re.DOTALL,
    ),
    re.compile(
        r'[Kk]illing process (?P<pid>\d+) "(?P<name>.*?)" with signal (?:9|15): .*?'
        r"VmRSS (?P<mib>\d+) MiB",
        re.DOTALL,
    ),
    re.compile(
        r"Killing process '(?P<name>.*?)' with signal (?:9|15), pid: (?P<pid>\d+),.*?"
        r"VmRSS: (?P<mib>\d+) MiB",
        re.DOTALL,
    ),
)
_OOMD = re.compile(r"(?:Killed|Marked) (?P<path>/.*?) (?:for killing )?due to memory ", re.DOTALL)
_NOHANG_VICTIM = re.compile(
    r"(?:.*\n)*?\s*(?:PID: (?P<pid>\d+), [Nn]ame: (?P<name>.*), badness: "
    r"|New victim is cached victim (?P<again>\d+) \((?P<cached>.*)\))"
)
_NOHANG_ACT = re.compile(
    r"(?:.*\n)*?\s*(?:Sending SIG(?:TERM|KILL) to the victim|Executing the command: |"
    r"Run the command: )"
)


class KillerLog:
    """Reads what the killers wrote, message by message, oldest first."""

    def __init__(self) -> None:
        """Start with no victim in sight."""
        self._chosen: tuple[int, str] | None = None

    def read(self, killer: Killer, message: str, boot_s: float | None) -> NamedKill | None:
        """Give the kill that a message of `killer` tells of; None when it tells of none."""
        match killer:
            case Killer.EARLYOOM:
                return _by_earlyoom(message, boot_s)
            case Killer.SYSTEMD_OOMD:
                return _by_oomd(message, boot_s)
            case Killer.NOHANG:
                return self._by_nohang(message, boot_s)
            case Killer.KERNEL:
                return None

    def _by_nohang(self, message: str, boot_s: float | None) -> NamedKill | None:
        """Nohang names its choice in one message and the act, without a name, in a later one."""
        victim = _NOHANG_VICTIM.match(message)
        if victim is not None:
            pid, name = victim["pid"] or victim["again"], victim["name"] or victim["cached"]
            self._chosen = int(pid), name
        if self._chosen is None or _NOHANG_ACT.match(message) is None:
            return None
        pid, name = self._chosen
        return NamedKill(killer=Killer.NOHANG, pid=pid, name=name, boot_s=boot_s, counted=False)


def without_repeats(kills: Iterable[NamedKill]) -> tuple[NamedKill, ...]:
    """Leave out what is said twice: SIGTERM then SIGKILL, "marked" then "killed"."""
    kept: list[NamedKill] = []
    for kill in kills:
        if not any(kill.is_same(known) for known in kept):
            kept.append(kill)
    return tuple(kept)


def _by_earlyoom(message: str, boot_s: float | None) -> NamedKill | None:
    for pattern in _EARLYOOM:
        match = pattern.match(message)
        if match is not None:
            found = match.groupdict()
            return NamedKill(
                killer=Killer.EARLYOOM,
                pid=int(match["pid"]),
                name=match["name"],
                uid=int(found["uid"]) if found.get("uid") else None,
                rss_bytes=int(match["mib"]) * MIB,
                boot_s=boot_s,
                counted=False,
            )
    return None


def _by_oomd(message: str, boot_s: float | None) -> NamedKill | None:
    """systemd-oomd kills cgroups, with all that is in them."""
    match = _OOMD.match(message)
    if match is None:
        return None
    path = match["path"]
    return NamedKill(
        killer=Killer.SYSTEMD_OOMD,
        pid=None,
        name=path.rpartition("/")[2],
        task_memcg=path,
        boot_s=boot_s,
        counted=False,
    )
