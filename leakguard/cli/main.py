"""The command `leakguard`: `health` answers at once, everything else goes through click."""

import os
import sys

FAILED = 1
INTERRUPTED = 130
READER_GONE = 141
"""128 + SIGPIPE, as with every other tool: `leakguard history | head` has been read enough."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and give its exit code; the console entry and `python -m leakguard`."""
    args = sys.argv[1:] if argv is None else argv
    try:
        code = _run(args)
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _silence()
        return READER_GONE
    except OSError as error:  # a full disk behind stdout
        _silence()
        sys.stderr.write(f"leakguard: output: {error.strerror}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _run(args: list[str]) -> int:
    if args[:1] == ["health"]:  # container probes run it every few seconds: no click, no core
        from leakguard.cli import health

        return health.main(args[1:])
    from leakguard.cli import _group

    return _group.run(args)


def _silence() -> None:
    """Let what cannot be written any more go nowhere, so that the interpreter ends in silence."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
