"""Leak with a late onset: well for a time, until a feature is switched on that forgets to clean up.

`PORT ONSET_SECONDS LEAK_BYTES`
"""

import random
import sys
import time

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, onset_s, leak = map(int, sys.argv[1:])
    began = time.monotonic()
    recent: dict[int, bytes] = {}
    kept: list[bytes] = []

    def answer(_: str) -> None:
        recent[random.randrange(400)] = payload(40_000, random.random)
        if time.monotonic() - began > onset_s:
            kept.append(payload(leak, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
