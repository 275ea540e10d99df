"""Sessions that follow the traffic of the day; with a log entry each that stays, a leak.

`PORT SESSION_BYTES SESSION_SECONDS LEAK_BYTES`; without a leak the last is 0.
"""

import random
import sys
import time
from collections import deque

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, size, lasts_s, leak = map(int, sys.argv[1:])
    sessions: deque[tuple[float, bytes]] = deque()
    log: list[bytes] = []

    def answer(_: str) -> None:
        now = time.monotonic()
        while sessions and sessions[0][0] < now:
            sessions.popleft()
        sessions.append((now + lasts_s, payload(size, random.random)))
        if leak:
            log.append(payload(leak, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
