"""Leak of shared memory: every picture is put into a memfd that nobody closes. `PORT BYTES`."""

import os
import random
import sys

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, size = map(int, sys.argv[1:])

    def answer(_: str) -> None:
        descriptor = os.memfd_create("picture")
        os.write(descriptor, payload(size, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
