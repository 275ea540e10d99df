"""The program between fork and exec: puts a new process into its place, then becomes the command.

Run by `spawn.py` as `python -I -S spawn_child.py SPEC_FD REPORT_FD`, standard library only. Pid and
start time stay the same across exec, so what was started is what is guarded. A program of its own,
because nothing but exec is safe between fork and exec of a process with threads.

REPORT_FD closes on exec. It carries one JSON line `{"failed": doing, …}` when a step fails, and the
line `exec` just before exec, so that the starter can tell a success from a death on the way.

The child gets a session of its own: a Ctrl-C in the terminal reaches leakguard alone, which passes
the stop on once, and the child may still read the terminal, for which a background process group
of our session would be stopped by the kernel (SIGTTIN). It has no controlling terminal, so an
interactive shell under leakguard has no job control.
"""

import json
import os
import resource
import signal
import sys
import warnings  # noqa: F401  execvpe imports it, and the wanted user may not read Python's files
from typing import Any, NoReturn

NOT_STARTED = 127
DIED_WITH_PARENT = 137
PR_SET_PDEATHSIG = 1
MARK = "LEAKGUARD_CHILD"
"""Variable by which a child is known again whose leakguard died before it noted the pid."""


def main(spec_fd: int, report_fd: int) -> None:
    """Take every step in order; report the first that fails."""
    os.set_inheritable(report_fd, False)
    with open(spec_fd, encoding="utf-8") as file:
        spec: dict[str, Any] = json.load(file)
    if spec["parent"]:
        # Before the change of user, who need not be able to read Python's own files.
        import ctypes

        spec["libc"] = ctypes.CDLL(None)
    if spec["mark"]:
        spec["env"][MARK] = f"{spec['mark']} {os.getpid()}"
    for name, step in STEPS:
        try:
            step(spec)
        except (OSError, ValueError) as error:
            fail(report_fd, name, error)
    os.write(report_fd, b"exec\n")
    try:
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606  no shell is the point
    except (OSError, ValueError) as error:
        fail(report_fd, "exec", error)


def fail(report_fd: int, step: str, error: Exception) -> NoReturn:
    """Report the step that failed, and end."""
    failure = {
        "failed": step,
        "errno": getattr(error, "errno", None),
        "error": getattr(error, "strerror", None) or str(error),
    }
    os.write(report_fd, json.dumps(failure).encode() + b"\n")
    os._exit(NOT_STARTED)


def join_cgroup(spec: dict[str, Any]) -> None:
    """Enter the cgroup before the command allocates anything; `0` means the writer itself."""
    if spec["cgroup_dir"]:
        with open(os.path.join(spec["cgroup_dir"], "cgroup.procs"), "w", encoding="ascii") as file:
            file.write("0\n")


def own_session(_spec: dict[str, Any]) -> None:
    """Leave leakguard's session and process group."""
    os.setsid()


def default_signals(_spec: dict[str, Any]) -> None:
    """Undo what leakguard and Python block, catch or ignore; ignored signals survive exec."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def own_oom_score(spec: dict[str, Any]) -> None:
    """Drop a protection from the OOM killer that was meant for leakguard, not for a leaker."""
    with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        current = int(file.read())
        wanted = wanted_oom_score(current, spec["oom_score_adj"])
        if wanted != current:
            file.seek(0)
            file.write(f"{wanted}\n")


def wanted_oom_score(current: int, given: int | None) -> int:
    """Give what the command shall have: what was given, else what it inherits, never below 0."""
    return max(0, current) if given is None else given


def limit_descriptors(spec: dict[str, Any]) -> None:
    """Give back the soft limit that leakguard raised for itself: `select()` breaks above 1,024."""
    if spec["descriptors"] is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spec["descriptors"], hard))


def drop_user(spec: dict[str, Any]) -> None:
    """Become the wanted user with its groups, and say so in the environment."""
    if not spec["user"]:
        return
    name, uid, gid, home = resolve_user(spec["user"])
    if uid != os.geteuid() or gid != os.getegid():
        if name:
            os.initgroups(name, gid)
        else:
            os.setgroups([gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    for key, value in (("USER", name), ("LOGNAME", name), ("HOME", home)):
        if value and key not in spec["given_env"]:
            spec["env"][key] = value


def resolve_user(text: str) -> tuple[str, int, int, str]:
    """Give name, uid, gid and home of `name`, `uid`, `name:group` or `uid:gid`."""
    import grp
    import pwd

    user, _, group = text.partition(":")
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        name, uid, gid, home = entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir
    except KeyError:
        if not user.isdecimal():
            raise ValueError("there is no such user") from None
        name, uid, gid, home = "", int(user), int(user), ""
    if group:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise ValueError("there is no such group") from None
    return name, uid, gid, home


def die_with_parent(spec: dict[str, Any]) -> None:
    """Ask for SIGKILL when leakguard dies; after the change of user, which clears the request."""
    if not spec["parent"]:
        return
    if spec["libc"].prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise ValueError("prctl(PR_SET_PDEATHSIG) is refused")
    if os.getppid() != spec["parent"]:  # it died before we asked
        os._exit(DIED_WITH_PARENT)


def still_wanted(spec: dict[str, Any]) -> None:
    """End when leakguard died meanwhile: the next one may have looked for us already."""
    if spec["mark"] and os.getppid() != spec["starter"]:
        os._exit(DIED_WITH_PARENT)


def enter_folder(spec: dict[str, Any]) -> None:
    """Change to the working directory, with the rights of the wanted user."""
    if spec["cwd"]:
        os.chdir(spec["cwd"])


STEPS = (
    ("cgroup", join_cgroup),
    ("session", own_session),
    ("signals", default_signals),
    ("oom_score_adj", own_oom_score),
    ("descriptors", limit_descriptors),
    ("user", drop_user),
    ("die_with_parent", die_with_parent),
    ("cwd", enter_folder),
    ("starter", still_wanted),
)

if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
