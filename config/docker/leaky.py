"""The app of compose.yaml: leaks 4 MiB a second, and ends when it is asked to."""  # noqa: INP001  a program of its own, in no package

import signal
import sys
import threading

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
kept: list[bytes] = []
while not stop.wait(0.05) and len(kept) < 4096:
    kept.extend(b"\x01" * 65536 for _ in range(3))
stop.wait()
sys.exit(0)
