"""`python -m leakguard` is the command `leakguard`."""

import sys

from leakguard.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
