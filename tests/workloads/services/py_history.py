"""Leak that accelerates: an undo history that keeps the whole text at every edit.

`PORT EDIT_BYTES`
"""

import random
import sys

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, size = map(int, sys.argv[1:])
    history = [b""]

    def edit(_: str) -> None:
        history.append(history[-1] + payload(size, random.random))

    serve(port, edit)


if __name__ == "__main__":
    main()
