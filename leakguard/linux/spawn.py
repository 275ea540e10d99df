"""Start a process through `spawn_child.py`, and know for certain whether its exec succeeded."""

import contextlib
import errno
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from leakguard.core.errors import DriverError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock

WRAPPER = Path(__file__).with_name("spawn_child.py")
START_LIMIT_S = 30.0
"""Longest time between fork and exec; it takes 20 ms, unless the disk or the cgroup hangs."""
TRANSIENT = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY, errno.EBUSY, errno.EIO}
)
OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""Addressed to leakguard by systemd: a child that answered them would speak in our name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """A command to start, and the place to put it in.

    `env` is added to leakguard's own environment, less leakguard's settings (they may hold
    secrets). `user` is `name`, `uid`, `name:group` or `uid:gid`. `cgroup_dir` is a directory with
    a `cgroup.procs`. `oom_score_adj` None: inherited, but never negative. `descriptors`: its soft
    RLIMIT_NOFILE, None: inherited. `die_with_parent`: the kernel kills it when leakguard dies.
    `mark`: what `find_marked` finds it by.
    """

    argv: tuple[str, ...]
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    cgroup_dir: str = ""
    oom_score_adj: int | None = None
    descriptors: int | None = None
    die_with_parent: bool = False
    mark: str = ""


class Launch:
    """A process between fork and exec. The constructor forks; `confirm` waits for the exec."""

    def __init__(
        self, spec: ChildSpec, *, output: int | None = None, stdin: int | None = None
    ) -> None:
        """Fork in this thread; stdin, stdout and stderr are ours, or null and `output` twice.

        `stdin` is taken in the place of null.

        Raises:
            DriverError: no process or descriptor is to be had.
        """
        self._spec = spec
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as close:
            try:
                self._report, report_w = os.pipe()
                undo.callback(os.close, self._report)
                close.callback(os.close, report_w)
                spec_fd = _memory_file(_plain(spec))
                close.callback(os.close, spec_fd)
                self.popen = _fork(spec_fd, report_w, output, stdin)
            except OSError as error:
                raise DriverError(
                    f"cannot start {spec.argv[0]!r}: fork failed: {error.strerror}"
                ) from error
            undo.pop_all()

    def confirm(self, clock: Clock) -> None:
        """Wait until the command runs.

        Raises:
            DriverError: it does not, and why; the process is gone and reaped then.
        """
        try:
            report = self._read(clock)
        finally:
            os.close(self._report)
        lines = report.decode(errors="replace").splitlines()
        if lines == ["exec"]:
            return
        if self.popen.poll() is None:
            self.popen.kill()
        code = self.popen.wait(timeout=START_LIMIT_S)
        if not lines or not lines[-1].startswith("{"):
            raise DriverError(_died(self._spec, code))
        failure = json.loads(lines[-1])
        raise DriverError(
            _explain(self._spec, failure["failed"], failure["error"]),
            permanent=failure["errno"] not in TRANSIENT,
        )

    def _read(self, clock: Clock) -> bytes:
        began, report = clock.now(), b""
        poller = select.poll()
        poller.register(self._report, select.POLLIN)
        while (left_s := START_LIMIT_S - clock.now().since(began)) > 0:
            if not poller.poll(left_s * 1000):
                break
            data = os.read(self._report, 4096)
            if not data:
                return report
            report += data
        return b""


def _fork(
    spec_fd: int, report_fd: int, output: int | None, stdin: int | None
) -> "subprocess.Popen[bytes]":
    null = None if output is None else subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(WRAPPER), str(spec_fd), str(report_fd)],
        stdin=null if stdin is None else stdin,
        stdout=output,
        stderr=output,
        pass_fds=(spec_fd, report_fd),
    )


def environment(spec: ChildSpec) -> dict[str, str]:
    """Give the environment that the command will have."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key not in OURS and not (key.startswith("LEAKGUARD_") and "__" in key)
    }
    return {**inherited, **spec.env}


def missing_program(spec: ChildSpec) -> str:
    """Say why the command could not be started, with the fix; empty when it could."""
    name = spec.argv[0]
    where = os.path.join(spec.cwd, name) if "/" in name else name  # keeps a leading ./
    if shutil.which(where, path=environment(spec).get("PATH", os.defpath)) is not None:
        return ""
    if Path(where).exists():
        return f"{name} is not executable for uid {os.geteuid()}: chmod +x it"
    return f"{name} does not exist: correct argv, or PATH"


def _plain(spec: ChildSpec) -> bytes:
    return json.dumps(
        {
            "argv": spec.argv,
            "cwd": spec.cwd,
            "env": environment(spec),
            "given_env": sorted(spec.env),
            "user": spec.user,
            "cgroup_dir": spec.cgroup_dir,
            "oom_score_adj": spec.oom_score_adj,
            "descriptors": spec.descriptors,
            "parent": os.getpid() if spec.die_with_parent else 0,
            "starter": os.getpid(),
            "mark": spec.mark,
        }
    ).encode()


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("leakguard-child")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


def _died(spec: ChildSpec, code: int) -> str:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"cannot start {spec.argv[0]!r}: its starter ended with {how} before the command ran"


def _explain(spec: ChildSpec, step: str, error: str) -> str:
    what = f"cannot start {spec.argv[0]!r}"
    match step:
        case "exec":
            return f"{what}: {error}: check that argv names an executable, and PATH"
        case "cgroup":
            return f"{what}: cannot join cgroup {spec.cgroup_dir}: {error}: make it, and writable"
        case "user":
            return (
                f"{what}: cannot become user {spec.user!r}: {error}: check the name; to change the "
                f"user leakguard must run as root (it runs as uid {os.geteuid()})"
            )
        case "cwd":
            return f"{what}: cannot change to {spec.cwd}: {error}: check cwd"
        case "oom_score_adj":
            return (
                f"{what}: cannot set oom_score_adj to {spec.oom_score_adj}: {error}: lowering it "
                "needs CAP_SYS_RESOURCE"
            )
        case _:
            return f"{what}: {step}: {error}"
