"""Leak: every request opens a session in a dict, and none is ever closed. `PORT SESSION_BYTES`."""

import random
import sys

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, size = map(int, sys.argv[1:])
    sessions: dict[str, dict[str, object]] = {}

    def answer(path: str) -> None:
        name = f"{path}#{len(sessions)}"
        sessions[name] = {"user": path, "basket": payload(size, random.random)}

    serve(port, answer)


if __name__ == "__main__":
    main()
