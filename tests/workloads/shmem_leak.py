"""Leak shmem at a steady rate up to a bound. Standard library only.

`python tests/workloads/shmem_leak.py KIND --rate 4 --to 80` (MiB a second, MiB); the kind is
`file=PATH` (written to), `memfd` (mapped) or `unmapped` (a memfd that is only written to). It
prints `ready`.
"""

import argparse
import mmap
import os
import sys
import threading
import time

MIB = 1024**2
EVERY_S = 0.05
PAGE = mmap.PAGESIZE


def main() -> int:
    """Grow until the bound, then rest; end with the deadline in any case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind")
    parser.add_argument("--rate", type=int, default=4)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--life", type=float, default=90.0)
    options = parser.parse_args()
    rate, bound = options.rate * MIB, options.to * MIB
    kind, _, path = options.kind.partition("=")
    flags = os.O_RDWR | os.O_CREAT
    handle = os.open(path, flags, 0o600) if kind == "file" else os.memfd_create("leak")
    area = None
    if kind == "memfd":
        os.ftruncate(handle, bound)
        area = mmap.mmap(handle, bound)
    print("ready", flush=True)  # noqa: T201  whoever started it waits for this
    pause, written = threading.Event(), 0
    began = time.monotonic()  # noqa: TID251  a program of its own, not part of leakguard
    while (age := time.monotonic() - began) < options.life:  # noqa: TID251  as above
        due = min(int(age * rate), bound) // PAGE * PAGE
        if area is not None:
            area[written:due] = b"\x01" * (due - written)
        else:
            os.write(handle, b"\x01" * (due - written))
        written = due
        pause.wait(EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
