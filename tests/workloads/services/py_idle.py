"""Next to nothing happens. `PORT`."""

import sys

from tests.workloads.services.serving import serve

if __name__ == "__main__":
    serve(int(sys.argv[1]), lambda _: None)
