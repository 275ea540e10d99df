"""A service manager in miniature: start a command again and again, until TERM.

`python tests/workloads/respawn.py PAUSE_S COMMAND…`; the command is ended together with it.
"""

import signal
import subprocess
import sys
import threading
from types import FrameType


def main() -> None:
    """Start the command, wait for its end, begin again."""
    stop = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for process in running:
            process.kill()

    signal.signal(signal.SIGTERM, end)
    while not stop.is_set():
        running[:] = [subprocess.Popen(sys.argv[2:])]
        if stop.is_set():
            running[0].kill()
        running[0].wait()
        stop.wait(float(sys.argv[1]))


if __name__ == "__main__":
    main()
