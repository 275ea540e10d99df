"""Leak memory at a steady rate up to a bound, every page written to. Standard library only.

`python tests/workloads/leak.py --rate 4MiB --to 400MiB --pidfile /tmp/leak.pid`

It prints one line `ready PID` on stdout when it begins to leak, ends with code 0 on TERM (unless
`--ignore-term`), and stays at its bound when that is reached.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
EVERY_S = 0.01
CATCH_UP_S = 0.1
PIECE_BYTES = 64 * 1024  # below the allocator's mmap threshold: resident memory grows evenly


def size(text: str) -> int:
    """Read a size with its unit: `4MiB`."""
    number = text.rstrip("BKMGi")
    unit = text[len(number) :]
    if unit not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} needs a unit: {', '.join(UNITS)}")
    return int(float(number) * UNITS[unit])


def grow(kept: list[bytes], size_bytes: int) -> None:
    """Keep that much more, every page of it written to."""
    while size_bytes > 0:
        piece = min(size_bytes, PIECE_BYTES)
        kept.append(b"\x01" * piece)
        size_bytes -= piece


def leak(options: argparse.Namespace, stop: threading.Event) -> None:
    """Grow at the rate until the bound or `stop`, catching up after a stall unless `--steady`."""
    kept: list[bytes] = []
    grow(kept, options.start)
    print(f"ready {os.getpid()}", flush=True)  # noqa: T201  whoever started it waits for this
    if stop.wait(options.delay):
        return
    began, grown = time.monotonic(), 0  # noqa: TID251  a program of its own, not part of leakguard
    while not stop.wait(EVERY_S):
        elapsed_s = time.monotonic() - began  # noqa: TID251  as above
        due = min(int(elapsed_s * options.rate), options.to - options.start)
        lost_s = (due - grown) / options.rate - CATCH_UP_S
        if options.steady and lost_s > 0:
            began, due = began + lost_s, grown + int(CATCH_UP_S * options.rate)
        grow(kept, due - grown)
        grown = max(due, grown)


def fork(count: int) -> None:
    """Become one of `count` workers; the master passes TERM on, waits for them and ends."""
    workers = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            return
        workers.append(pid)

    def pass_on(number: int, _: object) -> None:
        for pid in workers:
            os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    for pid in workers:
        os.waitpid(pid, 0)
    sys.exit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Leak until TERM, INT or the end of `--life`."""
    options = _parser().parse_args(arguments)
    if options.pidfile:
        options.pidfile.write_text(f"{os.getpid()}\n", "ascii")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        ignored = options.ignore_term and number == signal.SIGTERM
        signal.signal(number, signal.SIG_IGN if ignored else lambda *_: stop.set())
    if options.workers:
        fork(options.workers)
    watchdog = threading.Timer(options.life, os._exit, (options.exit_code,))
    watchdog.daemon = True
    watchdog.start()
    leak(options, stop)
    threading.Event().wait(options.stop_takes)
    return int(options.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--rate", type=size, default=size("4MiB"), metavar="SIZE", help="a second")
    add("--to", type=size, required=True, metavar="SIZE", help="grow no further than this")
    add("--steady", action="store_true", help="a stall is lost, not caught up with")
    add("--start", type=size, default=0, metavar="SIZE", help="taken at once")
    add("--delay", type=float, default=0.0, metavar="SECONDS", help="before the leak begins")
    add("--life", type=float, default=300.0, metavar="SECONDS", help="end after this, always")
    add("--pidfile", type=Path, metavar="FILE")
    add("--ignore-term", action="store_true", help="only KILL ends it")
    add("--stop-takes", type=float, default=0.0, metavar="SECONDS", help="from TERM to the end")
    add("--exit-code", type=int, default=0, metavar="CODE")
    add("--workers", type=int, default=0, metavar="N", help="leak in N children, each at the rate")
    return parser


if __name__ == "__main__":
    sys.exit(main())
