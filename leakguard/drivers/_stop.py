"""The stop sequence that `signal` and `child` share: a signal, a wait, the next, KILL last.

Every process is held by a pidfd from the moment it was seen as part of the tree, so one that is
handed to init when its parent ends is not lost, and a reused pid is never hit. The tree is read
again before every step, for processes that were started meanwhile.
"""

import os
import re
import signal
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import field
from enum import StrEnum
from threading import Event

from leakguard.core.errors import DriverError, ReadingError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.core.sample import Incarnation
from leakguard.core.units import Seconds, format_duration
from leakguard.linux.pidfd import Pidfd, open_checked, wait_all
from leakguard.linux.procfs import ProcFs, descendants
from leakguard.plugins import doc

KILL_WAIT_S = 10.0
"""A killed process is gone in milliseconds, or hangs in the kernel."""
RESERVE_S = 2.0
"""Kept back from gentle waits, so that KILL comes before the deadline (a tenth of it at most)."""
_NEVER = frozenset({"STOP", "TSTP", "TTIN", "TTOU"})
_REAL_TIME = re.compile(r"RTMIN\+([0-9]{1,2})")


class To(StrEnum):
    """Whom the signals of a stop sequence go to."""

    PROCESS = "process"
    TREE = "tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopStep:
    """One step of a stop sequence."""

    signal: str = field(metadata=doc("name of the signal: TERM, INT, QUIT, HUP, USR1, KILL …"))
    wait: Seconds = field(
        default=Seconds(0.0), metadata=doc("how long to wait for the end before the next step")
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be a step."""
        signal_number(self.signal)
        if self.wait < 0:
            raise UnitError(
                f"wait {self.wait:g}s after {self.signal} is negative: write 0s or more"
            )

    @property
    def number(self) -> int:
        """The signal's number."""
        return signal_number(self.signal)


def signal_number(name: str) -> int:
    """Read `TERM`, `SIGTERM` or `RTMIN+3`; UnitError for what does not end a process."""
    bare = name.upper().removeprefix("SIG")
    if bare in _NEVER:
        raise UnitError(f"{name} halts a process and does not end it: use TERM")
    if (match := _REAL_TIME.fullmatch(bare)) and (
        (number := signal.SIGRTMIN + int(match.group(1))) <= signal.SIGRTMAX
    ):
        return number
    try:
        return signal.Signals[f"SIG{bare}"].value
    except KeyError:
        raise UnitError(f"{name!r} is not a signal: write TERM, INT, QUIT, HUP or KILL") from None


def sequence(steps: Iterable[StopStep]) -> tuple[StopStep, ...]:
    """Give the whole sequence, KILL last; UnitError when a step would come after KILL."""
    given = tuple(steps)
    if any(step.number == signal.SIGKILL for step in given[:-1]):
        raise UnitError("a step after KILL never comes: put KILL last")
    if given and given[-1].number == signal.SIGKILL:
        return given
    return (*given, StopStep(signal="KILL"))


def describe_stop(steps: tuple[StopStep, ...], to: To) -> str:
    """Say the sequence in words: `TERM to the tree, KILL after 20s`."""
    first, *rest = sequence(steps)
    words, wait_s = [f"{_bare(first)} to the {to}"], first.wait
    for step in rest:
        words.append(f"{_bare(step)} after {format_duration(wait_s)}")
        wait_s = step.wait
    return ", ".join(words)


def patience_s(steps: tuple[StopStep, ...]) -> float:
    """Give how long a sequence waits before its KILL."""
    return sum(step.wait for step in sequence(steps)[:-1])


@dataclass(slots=True, kw_only=True)
class Stop:
    """One run of a stop sequence against one incarnation. `sweep`: end what the root leaves.

    Without `sweep` and to the process alone, its descendants are left in peace when it ends by a
    gentle signal (sshd's sessions outlive sshd); when it took a KILL, they go with it.
    """

    proc: ProcFs
    clock: Clock
    root: Incarnation
    steps: tuple[StopStep, ...]
    to: To
    cancelled: Event
    deadline_s: float
    sweep: bool = False
    _held: dict[int, Pidfd] = field(default_factory=dict, init=False)
    _began: Instant | None = field(default=None, init=False)
    _stop_s: float | None = field(default=None, init=False)

    def run(self) -> float:
        """Carry it out; gives the seconds until the root had ended.

        Raises:
            ProcessGone: it had ended before.
            DriverError: not permitted, cancelled, or not even KILL helped.
        """
        self._began = self.clock.now()
        with ExitStack() as stack:
            self._hold_root(stack)
            for step in sequence(self.steps):
                self._hold_tree(stack)
                if self._take(step):
                    break
            else:
                raise DriverError(self._hangs())
        return self._stop_s if self._stop_s is not None else self._elapsed_s()

    def _take(self, step: StopStep) -> bool:
        kill = step.number == signal.SIGKILL
        everyone = kill or self.to is To.TREE
        targets = self._alive(everyone=everyone)
        if targets or kill:
            for handle in targets:
                self._send(handle, step.number)
            self._wait(self._patience(step, kill=kill), everyone=everyone or self.sweep)
        left = self._alive(everyone=everyone or self.sweep)
        if left and self.cancelled.is_set():
            raise DriverError(
                f"leakguard is ending: {step.signal} was sent, {self.root} may still be stopping"
            )
        return not left

    def _patience(self, step: StopStep, *, kill: bool) -> float:
        left_s = self.deadline_s - self._elapsed_s()
        if kill:
            return min(KILL_WAIT_S, max(left_s, 0.5))
        return min(step.wait, left_s - min(RESERVE_S, self.deadline_s / 10))

    def _wait(self, patience_s: float, *, everyone: bool) -> None:
        began_s = self._elapsed_s()
        if self._held[self.root.pid].wait(patience_s, self.cancelled) and self._stop_s is None:
            self._stop_s = self._elapsed_s()
        if everyone:
            left_s = patience_s - (self._elapsed_s() - began_s)
            wait_all(self._held.values(), left_s, self.cancelled)

    def _hold_root(self, stack: ExitStack) -> None:
        if self.root.pid == os.getpid():
            raise DriverError("that is leakguard itself: correct the target", permanent=True)
        self._held[self.root.pid] = stack.enter_context(open_checked(self.proc, self.root))

    def _hold_tree(self, stack: ExitStack) -> None:
        parents = self.proc.parents()
        own = descendants(os.getpid(), parents)
        for top in [pid for pid, handle in self._held.items() if not handle.ended()]:
            tree = descendants(top, parents)
            if os.getpid() in tree and self.to is To.TREE:
                raise DriverError(
                    f"leakguard runs inside the tree of {self.root}: signal the process alone "
                    "(to: process), or start leakguard outside it",
                    permanent=True,
                )
            for pid in tree:
                if pid not in self._held and pid not in own:
                    self._hold(pid, stack)

    def _hold(self, pid: int, stack: ExitStack) -> None:
        with suppress(ReadingError, DriverError):
            handle = stack.enter_context(open_checked(self.proc, self.proc.incarnation(pid)))
            # Read again now that the handle pins it: the number may be another process's since.
            if self.proc.stat(pid).ppid in self._held:
                self._held[pid] = handle

    def _alive(self, *, everyone: bool) -> list[Pidfd]:
        scope = self._held.values() if everyone else (self._held[self.root.pid],)
        return [handle for handle in scope if not handle.ended()]

    def _send(self, handle: Pidfd, number: int) -> None:
        try:
            handle.send(number)
            if self.proc.stat(handle.incarnation.pid).state == "T":
                handle.send(signal.SIGCONT)  # a stopped process sees nothing but KILL and CONT
        except ReadingError:  # it ended meanwhile
            return
        except DriverError:
            if handle.incarnation == self.root:
                raise
            del self._held[handle.incarnation.pid]  # a helper of another user: not ours to end

    def _hangs(self) -> str:
        names = ", ".join(str(handle.incarnation) for handle in self._alive(everyone=True))
        why = (
            "PID 1 of a namespace cannot be killed from inside it and must handle the signal itself"
            if self.root.pid == 1
            else "it hangs in the kernel (see its state and /proc/PID/stack)"
        )
        return f"{names} still runs after KILL: {why}"

    def _elapsed_s(self) -> float:
        now = self.clock.now()
        return now.since(self._began or now)


def _bare(step: StopStep) -> str:
    return step.signal.upper().removeprefix("SIG")
