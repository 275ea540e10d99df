"""A leaking service that logs its life: each start, each TERM, and whether it was alone.

`python tests/workloads/logged.py LOG [PIDFILE]` writes one line each time: `start`, `term` or
`end`, then its pid and start time; `double` when another one of its kind still ran, seen by a lock.
It leaks as soon as it runs, up to a bound, and takes a random moment to end on TERM.
"""

import fcntl
import os
import random
import signal
import sys
import threading
from pathlib import Path

PIECE_BYTES = 1024**2
MOST = 64
EVERY_S = 0.02
LONGEST_STOP_S = 0.3


def main() -> None:
    """Run until TERM."""
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    started = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()[19]

    def say(word: str) -> None:
        os.write(log, f"{word} {os.getpid()} {started}\n".encode())

    stop = threading.Event()

    def on_term(_number: int, _frame: object) -> None:
        say("term")
        stop.set()

    signal.signal(signal.SIGTERM, on_term)
    alone = os.open(sys.argv[1] + ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("double")
    say("start")
    if len(sys.argv) > 2:
        Path(sys.argv[2] + ".new").write_text(f"{os.getpid()}\n", "ascii")
        Path(sys.argv[2] + ".new").replace(sys.argv[2])
    kept: list[bytes] = []
    while not stop.wait(EVERY_S):
        if len(kept) < MOST:
            kept.append(b"\x01" * PIECE_BYTES)
    threading.Event().wait(random.uniform(0.0, LONGEST_STOP_S))
    say("end")


if __name__ == "__main__":
    main()
