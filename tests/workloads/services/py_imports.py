"""Leak in steps: every so many requests a table is read in again, and the old one stays.

`PORT EVERY_REQUESTS TABLE_BYTES`
"""

import random
import sys

from tests.workloads.services.serving import payload, serve

ROW_BYTES = 16 * 1024


def main() -> None:
    """Serve for ever."""
    port, every, size = map(int, sys.argv[1:])
    tables: list[list[bytes]] = []
    seen = 0

    def answer(_: str) -> None:
        nonlocal seen
        seen += 1
        if seen % every == 0:
            rows = int(size / ROW_BYTES * random.uniform(0.4, 1.6))
            tables.append([payload(ROW_BYTES, random.random) for _ in range(rows)])

    serve(port, answer)


if __name__ == "__main__":
    main()
