"""Leak below noise: few large uploads are held for seconds, beside a small trace that stays.

`PORT LEAK_BYTES UPLOAD_BYTES UPLOAD_PERCENT`
"""

import random
import sys
import time

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, leak, upload, percent = map(int, sys.argv[1:])
    traces: list[bytes] = []
    uploads: list[tuple[float, bytes]] = []

    def answer(_: str) -> None:
        now = time.monotonic()
        uploads[:] = [held for held in uploads if held[0] > now]
        if random.random() * 100 < percent:
            until = now + random.expovariate(1 / 2.5)
            uploads.append((until, payload(upload, random.random)))
        traces.append(payload(leak, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
