"""From the command to the daemon: the compiled plan goes by an inherited memory file, by exec.

The command that read the configuration replaces itself, so that the guard beside the leak does
not carry the libraries that only reading needs. Nothing goes by argv or environment, where
other users could read it.
"""

import json
import os
import sys
from typing import NoReturn

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.frozen import dataclass
from leakguard.core.plan import Plan

MODULE = "leakguard.runtime.main"
LEAN = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""How the C library keeps the daemon small; see mallopt(3).

Each thread would have a heap of its own: half a MiB. And the first large answer would raise the
threshold, which begins at this value, to many times as much, all of it kept: a quarter MiB.
"""
OURS = "ours="
"""Tells the daemon which variables are ours: what it starts must not inherit them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How this run of the daemon differs from others; not configuration.

    `events_to`: `stdout`, `stderr` or empty: where each event goes as a line of JSON.
    `alone`: the one service of `exec`: the daemon ends when it ends. `reload`: the argv that
    compiles the configuration anew on SIGHUP and prints nothing. `temporary`: a directory, and
    `cgroup`: a memory cgroup, to remove at the end.
    """

    events_to: str = ""
    log_level: str = "info"
    record: str = ""
    alone: str = ""
    reload: tuple[str, ...] = ()
    temporary: str = ""
    cgroup: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the daemon is started with."""

    plan: Plan
    options: Options


def become_daemon(launch: Launch) -> NoReturn:
    """Replace this process by the daemon."""
    fd = memory_file(launch)
    os.set_inheritable(fd, True)
    argv = [sys.executable, *_interpreter_flags(), "-m", MODULE, str(fd)]
    argv.append(OURS + ",".join(name for name in LEAN if name not in os.environ))
    sys.stdout.flush()
    sys.stderr.flush()
    env = {**LEAN, **os.environ}
    os.execve(sys.executable, argv, env)  # noqa: S606  our own interpreter, no shell


def memory_file(launch: Launch) -> int:
    """Write the launch into an anonymous memory file and give its descriptor."""
    fd = os.memfd_create("leakguard-plan")
    write_plan(fd, launch)
    return fd


def write_plan(fd: int, launch: Launch) -> None:
    """Write the launch into `fd`, secrets included, from its beginning."""
    data = json.dumps(to_plain(launch, secrets=True)).encode()
    os.lseek(fd, 0, os.SEEK_SET)
    os.ftruncate(fd, 0)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_plan(fd: int) -> Launch:
    """Read what `write_plan` wrote."""
    parts, offset = [], 0
    while chunk := os.pread(fd, 1 << 16, offset):
        parts.append(chunk)
        offset += len(chunk)
    return from_plain(Launch, json.loads(b"".join(parts)))


def restore_environment(argv: list[str]) -> None:
    """Take back, in the daemon, what `become_daemon` put into its environment."""
    for word in argv:
        if word.startswith(OURS):
            for name in word.removeprefix(OURS).split(","):
                os.environ.pop(name, None)


def _interpreter_flags() -> list[str]:
    """Keep the flags that change where modules come from."""
    return ["-I"] if sys.flags.isolated else []
