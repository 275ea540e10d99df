"""Leak of threads: for some of the requests one waits for an answer that never comes.

`PORT PERCENT`. Much of what a thread takes is the kernel's: its stack, page tables.
"""

import random
import sys
import threading

from tests.workloads.services.serving import serve


def main() -> None:
    """Serve for ever."""
    port, percent = map(int, sys.argv[1:])

    def answer(_: str) -> None:
        if random.random() * 100 < percent:
            threading.Thread(target=threading.Event().wait, daemon=True).start()

    serve(port, answer)


if __name__ == "__main__":
    main()
