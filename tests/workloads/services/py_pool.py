"""One step: when the traffic of the morning begins, a pool of connections grows and stays.

`PORT STEP_SECONDS CONNECTIONS CONNECTION_BYTES`
"""

import random
import sys
import time

from tests.workloads.services.serving import payload, serve

AT_FIRST = 4


def main() -> None:
    """Serve for ever."""
    port, step_s, most, size = map(int, sys.argv[1:])
    began = time.monotonic()
    pool = [payload(size, random.random) for _ in range(AT_FIRST)]

    def answer(_: str) -> None:
        if len(pool) < most and time.monotonic() - began > step_s:
            pool.append(payload(size, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
