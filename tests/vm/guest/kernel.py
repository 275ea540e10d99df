"""What the kernel says: its log as it comes, its counters, and its settings."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

KILLED = re.compile(
    r"^(?P<scope>Out of memory|Memory cgroup out of memory)\b.*?: "
    r"Killed process (?P<pid>\d+) \((?P<name>.*?)\)(?=,? total-vm)"
)
DOMAIN = re.compile(r"^oom-kill:constraint=.*?,(?:global_oom|oom_memcg=(?P<group>.*?)),task_memcg=")
INVOKER = re.compile(r"^(?P<name>.+) invoked oom-killer: ")
RECORD_BYTES = 8192
KIB = 1024


class KernelLog:
    """/dev/kmsg from now on."""

    def __init__(self) -> None:
        """Skip what was said before."""
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)
        self.lost = 0

    def fileno(self) -> int:
        """Give the descriptor, which becomes readable when the kernel speaks."""
        return self._fd

    def lines(self) -> list[str]:
        """Give the records that came since the last call, as `dmesg` prints them."""
        found: list[str] = []
        while True:
            try:
                record = os.read(self._fd, RECORD_BYTES).decode("utf-8", errors="replace")
            except BlockingIOError:
                return found
            except BrokenPipeError:  # overwritten before it was read
                self.lost += 1
                continue
            header, _, text = record.partition(";")
            at_us = int(header.split(",")[2])
            first = text.split("\n", 1)[0]
            found.append(f"[{at_us // 10**6:5d}.{at_us % 10**6:06d}] {first}")


def kills_in(lines: list[str]) -> list[dict[str, object]]:
    """Find the kills: pid, name, scope, and the group whose limit was hit (host: none)."""
    found: list[dict[str, object]] = []
    group: str | None = None
    invoker = ""
    for line in lines:
        text = line.partition("] ")[2]
        if invoked := INVOKER.match(text):
            invoker = invoked["name"]
        elif domain := DOMAIN.match(text):
            group = domain["group"]
        elif killed := KILLED.match(text):
            found.append(
                {
                    "pid": int(killed["pid"]),
                    "name": killed["name"],
                    "kind": "memcg" if killed["scope"].startswith("Memory") else "host",
                    "group": group,
                    "invoker": invoker,
                }
            )
    return found


def numbers(path: str | Path) -> dict[str, int]:
    """Read a file of `name number` lines: vmstat, meminfo in bytes, memory.stat, memory.events."""
    found = {}
    for line in Path(path).read_text("ascii").splitlines():
        name, value, *unit = line.replace(":", " ").split()
        found[name] = int(value) * (KIB if unit == ["kB"] else 1)
    return found


def kernel_kills() -> int:
    """Count every kill since boot, of the host or of a cgroup."""
    return numbers("/proc/vmstat")["oom_kill"]


def growable_bytes() -> int:
    """Estimate how much more the host can give, swap included."""
    memory = numbers("/proc/meminfo")
    return memory["MemAvailable"] + memory["SwapFree"]


@contextlib.contextmanager
def settings(values: Mapping[str, int]) -> Iterator[None]:
    """Change settings below /proc/sys/vm, and change them back."""
    before = {name: _setting(name).read_text("ascii") for name in values}
    try:
        for name, value in values.items():
            _setting(name).write_text(str(value), "ascii")
        yield
    finally:
        for name, text in before.items():
            _setting(name).write_text(text, "ascii")


def _setting(name: str) -> Path:
    return Path("/proc/sys/vm", name)
