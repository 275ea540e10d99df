"""An LRU cache of bounded length; with a statistics record for every request, a leak beside it.

`PORT ENTRIES ENTRY_BYTES LEAK_BYTES`; without a leak the last is 0.
"""

import random
import sys
from collections import OrderedDict

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, most, size, leak = map(int, sys.argv[1:])
    cache: OrderedDict[str, bytes] = OrderedDict()
    statistics: list[bytes] = []

    def answer(path: str) -> None:
        if path in cache:
            cache.move_to_end(path)
        else:
            cache[path] = payload(size, random.random)
            if len(cache) > most:
                cache.popitem(last=False)
        if leak:
            statistics.append(payload(leak, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
