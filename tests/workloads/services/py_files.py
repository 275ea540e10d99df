"""Files are read and written all the time: the page cache fills the limit, the service does not.

`PORT FOLDER FILES FILE_BYTES`
"""

import random
import sys
from pathlib import Path

from tests.workloads.services.serving import payload, serve


def main() -> None:
    """Serve for ever."""
    port, files, size = int(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
    folder = Path(sys.argv[2])

    def answer(_: str) -> None:
        read, written = (folder / str(random.randrange(files)) for _ in range(2))
        if read.exists():
            read.read_bytes()
        written.write_bytes(payload(size, random.random))

    serve(port, answer)


if __name__ == "__main__":
    main()
