"""The way out of the machine: one JSON line per observation, over a virtio port."""

import json
import os
from pathlib import Path
from typing import Any

PORTS = Path("/sys/class/virtio-ports")
NAME = "leakguard.results"


class Channel:
    """Writes records to the host."""

    def __init__(self) -> None:
        """Open the port by the name that the host gave it."""
        (port,) = [p for p in PORTS.iterdir() if (p / "name").read_text().strip() == NAME]
        self._fd = os.open(f"/dev/{port.name}", os.O_WRONLY)

    def send(self, record: str, **fields: Any) -> None:
        """Write one record; `record` names its kind."""
        data = json.dumps({"record": record, **fields}).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
