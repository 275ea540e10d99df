"""Jobs wait in a queue whose length wanders about its mean. `PORT MEAN_JOBS JOB_BYTES`."""

import random
import sys

from tests.workloads.services.serving import payload, serve

BACK = 0.02
"""The share of the way back to the mean at each request."""
SPREAD = 0.35
"""Standard deviation of the length, as a share of the mean."""


def main() -> None:
    """Serve for ever."""
    port, mean, size = map(int, sys.argv[1:])
    jobs: list[bytes] = []
    length = float(mean)

    def answer(_: str) -> None:
        nonlocal length
        kick = random.gauss(0, SPREAD * mean * (2 * BACK) ** 0.5)
        length = min(max(0.0, length + BACK * (mean - length) + kick), 2.0 * mean)
        del jobs[int(length) :]
        while len(jobs) < int(length):
            jobs.append(payload(size, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
