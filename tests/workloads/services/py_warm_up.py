"""Warm-up: the results for a finite number of keys are remembered. `PORT RESULT_BYTES`."""

import random
import sys

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, size = map(int, sys.argv[1:])
    results: dict[str, bytes] = {}

    def answer(path: str) -> None:
        if path not in results:
            results[path] = payload(size, random.random)

    serve(port, answer)


if __name__ == "__main__":
    main()
