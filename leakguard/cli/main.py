"""The command `leakguard`: `health` answers at once, everything else goes through click."""

import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command and give its exit code; the console entry and `python -m leakguard`."""
    args = sys.argv[1:] if argv is None else argv
    if args[:1] == ["health"]:  # container probes run it every few seconds: no click, no core
        from leakguard.cli import health

        return health.main(args[1:])
    from leakguard.cli import _group

    try:
        code = _group.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # `leakguard history | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
