"""The nightly batch: at fixed times a table is read within seconds, worked on, and given back.

`PORT EVERY_SECONDS READ_SECONDS WORK_SECONDS TABLE_BYTES`
"""

import random
import sys
import threading

from tests.workloads.services.serving import serve

PIECE_BYTES = 256 * 1024  # beyond the allocator's threshold: the system gets it back at once


def nights(every_s: int, read_s: int, work_s: int, size: int) -> None:
    """Run the batch again and again."""
    never = threading.Event()
    while not never.wait(every_s * random.uniform(0.95, 1.05) - read_s - work_s):
        pieces = int(size * random.uniform(0.85, 1.15) / PIECE_BYTES)
        table = []
        for _ in range(pieces):
            table.append(b"\x01" * PIECE_BYTES)
            never.wait(read_s / pieces)
        never.wait(work_s)
        del table


def main() -> None:
    """Serve for ever."""
    port, *numbers = map(int, sys.argv[1:])
    threading.Thread(target=nights, args=numbers, daemon=True).start()
    serve(port, lambda _: None)


if __name__ == "__main__":
    main()
