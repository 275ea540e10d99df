"""SIGHUP: compile the configuration in a short-lived child; a bad file cannot hurt the guard."""

import logging
import os
import subprocess
import threading
from collections.abc import Callable

from leakguard.core.errors import LeakguardError
from leakguard.core.frozen import dataclass
from leakguard.linux.children import Children
from leakguard.runtime.handover import Launch, memory_file, read_plan

log = logging.getLogger("leakguard.reload")

TIMEOUT_S = 30.0
LAST_WAIT_S = 5.0
"""How long a compiler that was killed may take to be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What came of a reload: a new launch, or why there is none."""

    launch: Launch | None = None
    problem: str = ""


class Reloader:
    """Runs at most one compiler at a time, beside the loop."""

    def __init__(self, argv: tuple[str, ...], children: Children, wake: Callable[[], None]) -> None:
        """Compile by `argv`, to which the descriptor to write to is added."""
        self._argv = argv
        self._children = children
        self._wake = wake
        self._running = False
        self._again = False
        self._result: Reloaded | None = None
        self._lock = threading.Lock()

    def begin(self, current: Launch) -> None:
        """Start to compile; a request during a run makes another run follow it."""
        with self._lock:
            if self._running:
                self._again = True
                return
            self._running = True
        thread = threading.Thread(target=self._run, args=(current,), name="reload", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had now
            with self._lock:
                self._running = self._again = False
                self._result = Reloaded(problem=f"no thread to compile it in: {error}; try again")
            self._wake()

    def take(self) -> Reloaded | None:
        """Give what came of the last run, once."""
        with self._lock:
            result, self._result = self._result, None
        return result

    def _run(self, current: Launch) -> None:
        again = True
        while again:
            try:
                result = self._compile(current)
            except Exception as error:  # whatever it is: the next SIGHUP must find us ready
                log.exception("a reload failed")
                result = Reloaded(problem=f"{type(error).__name__}: {error}")
            with self._lock:
                self._result, again, self._again = result, self._again, False
                self._running = again
            self._wake()

    def _compile(self, current: Launch) -> Reloaded:
        if not self._argv:
            return Reloaded(problem="this daemon was not started from a configuration")
        fd = memory_file(current)
        try:
            problem = self._run_compiler(fd)
            return Reloaded(problem=problem) if problem else Reloaded(launch=read_plan(fd))
        except (LeakguardError, OSError, ValueError, subprocess.SubprocessError) as error:
            return Reloaded(problem=f"{type(error).__name__}: {error}")
        finally:
            os.close(fd)

    def _run_compiler(self, fd: int) -> str:
        """Let the compiler write its launch into `fd`; gives what it complained about."""
        process = subprocess.Popen(
            [*self._argv, str(fd)],
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._children.shield(process.pid)
        try:
            return self._wait_for(process)
        finally:
            self._children.unshield(process.pid)
            if process.stderr is not None:
                process.stderr.close()

    def _wait_for(self, process: subprocess.Popen[str]) -> str:
        try:
            _, complaint = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(LAST_WAIT_S)
            return f"the configuration was not compiled within {TIMEOUT_S:.0f} s"
        if process.returncode == 0:
            return ""
        return complaint.strip() or f"the compiler ended with code {process.returncode}"
