"""SIGHUP: compile the configuration in a short-lived child; a bad file cannot hurt the guard."""

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass

from leakguard.core.errors import LeakguardError
from leakguard.linux.children import Children
from leakguard.runtime.handover import Launch, memory_file, read_plan

TIMEOUT_S = 30.0


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
        threading.Thread(target=self._run, args=(current,), name="reload", daemon=True).start()

    def take(self) -> Reloaded | None:
        """Give what came of the last run, once."""
        with self._lock:
            result, self._result = self._result, None
        return result

    def _run(self, current: Launch) -> None:
        try:
            while True:
                result = self._compile(current)
                with self._lock:
                    self._result = result
                    if not self._again:
                        self._running = False
                        return
                    self._again = False
        finally:
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
        command = [*self._argv, str(fd)]
        with subprocess.Popen(
            command,
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self._children.shield(process.pid)
            try:
                _, complaint = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"the configuration was not compiled within {TIMEOUT_S:.0f} s"
            finally:
                self._children.unshield(process.pid)
        if process.returncode == 0:
            return ""
        return complaint.strip() or f"the compiler ended with code {process.returncode}"
