"""Commands that carry another command's words in their own: shells, sudo, env, timeout, grep."""

import re
from collections.abc import Sequence

_SHELLS = frozenset(("sh", "ash", "bash", "dash", "fish", "ksh", "mksh", "rbash", "zsh"))
_NAMES = (
    "ag awk cat chpst chroot chrt cpulimit dbus-run-session doas docker dumb-init eatmydata egrep "
    "emacs entr env envdir faketime fgrep flock gdb gosu grep head ionice journalctl kubectl "
    "leakguard less lldb ltrace mawk more nano nice nohup nsenter numactl parallel perf pgrep "
    "pidof pkexec pkill podman prlimit ps rg runuser screen script sed setarch setpriv setsid "
    "setuidgid softlimit ssh start-stop-daemon stdbuf strace su su-exec sudo systemd-cat "
    "systemd-inhibit systemd-run tail taskset tee time timeout tini tmux unbuffer unshare valgrind "
    "vi view vim watch xargs xvfb-run"
)
_CARRIERS = frozenset(_NAMES.split())
_INTERPRETER = re.compile(r"python[0-9.]*")
_SHELL_OPTIONS_WITH_VALUE = frozenset(("-o", "+o", "-O", "+O", "--rcfile", "--init-file"))


def merely_carries(pattern: re.Pattern[str], argv: Sequence[str]) -> bool:
    """Tell whether a command only holds the pattern in words that belong to another command.

    A wrapper that is meant by its own name (`^ssh -N`) is not refused, nor is a shell that runs
    a script file: that is a service of its own.
    """
    argv = _unwrapped(argv)
    program = _program(argv)
    if program in _SHELLS:
        return _has_command_string(argv) and pattern.search(" ".join(argv[1:])) is not None
    return program in _CARRIERS and pattern.search(" ".join(argv[1:])) is not None


def _unwrapped(argv: Sequence[str]) -> Sequence[str]:
    """Look through `busybox sh`, `python -m leakguard` and `python …/leakguard`."""
    if len(argv) > 1 and _program(argv) == "busybox":
        return argv[1:]
    if argv and _INTERPRETER.fullmatch(_program(argv)):
        for at, word in enumerate(argv[1:], start=1):
            if word == "-m" or not word.startswith("-"):
                module = at + 1 if word == "-m" else at
                if _program(argv[module : module + 1]).startswith("leakguard"):
                    return ("leakguard", *argv[module + 1 :])
                break
    return argv


def _program(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2].lstrip("-") if argv else ""


def _has_command_string(argv: Sequence[str]) -> bool:
    """Tell `bash -lc "…"` from `bash /path/script` and from a login shell."""
    words = iter(argv[1:])
    for word in words:
        if word in _SHELL_OPTIONS_WITH_VALUE:
            next(words, None)
        elif word.startswith("-") and not word.startswith("--"):
            if "c" in word:
                return True
        elif not word.startswith(("-", "+")):
            return False
    return False
