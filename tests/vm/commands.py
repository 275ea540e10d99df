"""Run a program that builds the lab; when it fails, say what it said."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SAID_LINES = 30


class LabError(Exception):
    """The lab cannot be built or did not end as it should."""


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    text_in: str = "",
    env: Mapping[str, str] | None = None,
) -> str:
    """Give what the program printed.

    Raises:
        LabError: it failed or took too long; the end of what it said is in the message.
    """
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=cwd,
            input=text_in,
            env=os.environ | dict(env or {}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise LabError(f"`{argv[0]}` took longer than {timeout_s:.0f} s") from late
    if done.returncode != 0:
        said = "\n".join(f"{done.stdout}\n{done.stderr}".splitlines()[-SAID_LINES:])
        raise LabError(f"`{' '.join(map(str, argv))}` ended with {done.returncode}:\n{said}")
    return done.stdout
