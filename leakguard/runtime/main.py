"""The lean daemon: `python -m leakguard.runtime.main FD` reads its plan from an inherited file."""

import os
import sys

from leakguard.core.errors import LeakguardError, PermissionRefused
from leakguard.runtime import log
from leakguard.runtime.guard import Guard
from leakguard.runtime.handover import read_plan, restore_environment

FAILED = 1
PERMISSION = 77


def main(argv: list[str]) -> int:
    """Run the daemon whose plan is in descriptor `argv[1]`; gives the exit code."""
    fd = int(argv[1])
    launch = read_plan(fd)
    os.close(fd)
    restore_environment(argv)
    log.set_up(launch.options.log_level)
    try:
        return Guard(launch).run()
    except PermissionRefused as error:
        sys.stderr.write(f"leakguard: {error}\n")
        return PERMISSION
    except (LeakguardError, OSError) as error:
        sys.stderr.write(f"leakguard: {error}\n")
        return FAILED


if __name__ == "__main__":
    code = main(sys.argv)
    log.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # no pool thread may hold the exit; everything that must be written was
