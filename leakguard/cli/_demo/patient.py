"""The leaking service as both acts run it: the same command, the same cage, the same diary."""

import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakguard.cli._demo.cage import Cage
from leakguard.cli._demo.tally import Stop
from leakguard.core.units import MIB

LIMIT_BYTES = 96 * MIB
RATE = "4MiB"
PER_REQUEST = "64KiB"
WORK = "200ms"
REQUESTS_PER_S = 20
LIFE = "100s"  # it ends by itself even if everybody forgets it
PORTS = range(20_000, 30_000)  # below the range that the kernel takes for outgoing connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """How to run the service on `port`; its starts and stops are noted in `diary`."""

    port: int
    diary: Path
    cage: Cage

    def argv(self) -> list[str]:
        """Give the command line of the service; outside a cgroup it caps itself."""
        argv = [sys.executable, "-m", "leakguard.cli._demo.service", "--port", str(self.port)]
        argv += ["--rate", RATE, "--per-request", PER_REQUEST, "--work", WORK, "--life", LIFE]
        argv += ["--most", str(4 * LIMIT_BYTES) + "B", "--diary", str(self.diary)]
        if self.cage.directory is None:
            argv += ["--address-space", f"{self.cage.limit_bytes}B"]
        return argv

    def notes(self) -> tuple[dict[str, Any], ...]:
        """Read the diary: one object per start, begun stop and finished stop."""
        try:
            lines = self.diary.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return ()
        return tuple(json.loads(line) for line in lines)

    def stops(self) -> tuple[Stop, ...]:
        """List the graceful stops that were begun."""
        return tuple(
            Stop(pid=note["pid"], at_s=note["boot_s"])
            for note in self.notes()
            if note["what"] == "stopping"
        )

    def pid(self) -> int | None:
        """Give the process that serves now, None before the first start."""
        started = [note["pid"] for note in self.notes() if note["what"] == "started"]
        return started[-1] if started else None


def free_port(first: int) -> int:
    """Find a port to listen on.

    A port from the kernel's own range could be taken by a caller's end of a connection while the
    service is down, and a connection to it could even meet itself.
    """
    for offset in range(len(PORTS)):
        port = PORTS[(first + offset) % len(PORTS)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port on 127.0.0.1 from {PORTS.start} to {PORTS.stop}")
