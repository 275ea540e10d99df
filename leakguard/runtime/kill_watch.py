"""Where the names of kills come from: the kernel's log each tick, the journal when it is asked.

The journal is asked in a thread, and only when there is something to explain: a guarded service
died and nothing says why, or a counter of kills rose and the kernel's log cannot be read.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from leakguard.core.deaths import unexplained
from leakguard.core.engine import Step
from leakguard.core.errors import LeakguardError, ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.core.kills import NamedKill, named_kills
from leakguard.core.state import State
from leakguard.linux import journal
from leakguard.linux.children import Children, ChildSpec
from leakguard.linux.kernel_log import KMSG, KernelLog
from leakguard.linux.procfs import ProcFs
from leakguard.linux.run_command import run_command

log = logging.getLogger("leakguard.kills")

LOOK_BACK_S = 15.0
"""Services are looked at every ten seconds at least: what killed them is not older."""
ASK_EVERY_S = 1.0
LOOK_EVERY_S = 1.0
ASK_TWICE = 2
"""journald may not have written it down yet at the first time."""
ANSWER_S = 5.0
ANSWER_BYTES = 1 << 20
_KTHREADD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KillNews:
    """What came since the last tick; `no_names` says why names cannot be had."""

    kills: tuple[NamedKill, ...] = ()
    no_names: str = ""


class Journal:
    """Asks journald, one question at a time; the answer comes by `tell`, from a thread."""

    def __init__(
        self, children: Children, clock: Clock, tell: Callable[[tuple[NamedKill, ...]], None]
    ) -> None:
        """Start with nothing asked."""
        self._children = children
        self._clock = clock
        self._tell = tell
        self._busy = threading.Lock()
        self._cancelled = threading.Event()

    @property
    def exists(self) -> bool:
        """Whether there is a journal that may be read."""
        return journal.is_there()

    def ask(self, since_wall_s: float, *, kernel: bool, foreign: bool) -> bool:
        """Ask what was killed since a moment; False while an earlier question is open."""
        if not self._busy.acquire(blocking=False):
            return False
        argv = journal.question(since_wall_s, kernel=kernel)

        def look() -> None:
            try:
                self._tell(self._look(argv, foreign=foreign))
            except LeakguardError as error:
                log.warning("the journal gave no answer: %s", error)
            finally:
                self._busy.release()

        try:
            threading.Thread(target=look, name="journal", daemon=True).start()
        except RuntimeError:  # no thread to be had now
            self._busy.release()
            return False
        return True

    def close(self) -> None:
        """Wait for no answer any more."""
        self._cancelled.set()

    def _look(self, argv: tuple[str, ...], *, foreign: bool) -> tuple[NamedKill, ...]:
        ended = run_command(
            self._children,
            ChildSpec(argv=argv, env={"LC_ALL": "C"}),
            timeout_s=ANSWER_S,
            clock=self._clock,
            cancelled=self._cancelled,
            keep_bytes=ANSWER_BYTES,
        )
        return journal.answer(ended.tail, self._clock.now(), foreign=foreign)


class KillWatch:
    """Gives each tick the kills that were newly named. Without any source it gives none."""

    def __init__(
        self,
        kernel: KernelLog | None = None,
        *,
        journal_of: Callable[[Callable[[tuple[NamedKill, ...]], None]], Journal] | None = None,
        wake: Callable[[], None] = lambda: None,
        foreign: bool = False,
        no_names: str = "",
    ) -> None:
        """Read `kernel`; `no_names` says why there is none. `foreign`: its pids are not ours."""
        self._kernel = kernel
        self._wake = wake
        self._foreign = foreign
        self._lock = threading.Lock()
        self._told: list[NamedKill] = []
        self._given: list[NamedKill] = []
        self._heard_at: Instant | None = None
        self._asked: dict[tuple[str, int], int] = {}
        self._asked_at: Instant | None = None
        self._read_boot_s = float("-inf")
        self._lost = 0
        asked = journal_of(self._hear) if journal_of is not None else None
        self._journal = asked if asked is not None and asked.exists else None
        self.no_names = "" if kernel is not None or self._journal is not None else no_names

    def take(self, now: Instant, owner_of: Callable[[int], str]) -> KillNews:
        """Give what came since the last time; `owner_of` tells which service had a process.

        What a tick took that then failed is given once more.
        """
        found = [*self._given, *self._from_kernel(now)]
        with self._lock:
            found += self._told
            self._told = []
        self._given = found[len(self._given) :]
        kills = tuple(
            replace(k, member_of=owner_of(k.pid)) if k.pid is not None and not k.foreign else k
            for k in found
        )
        return KillNews(kills=kills, no_names=self.no_names)

    def after(self, made: Step) -> bool:
        """Take note that a tick succeeded; ask the journal if it left something unexplained.

        Gives True when all services are to be looked at now: somebody was killed.
        """
        self._given = []
        self._ask(made)
        heard = made.kills or any(rise.since == made.at for rise in made.state.kills.rises)
        if not heard or (self._heard_at and made.at.since(self._heard_at) < LOOK_EVERY_S):
            return False
        self._heard_at = made.at
        return True

    def _ask(self, made: Step) -> None:
        open_ones = _questions(made.state, counters=self._kernel is None)
        self._asked = {key: n for key, n in self._asked.items() if key in open_ones}
        due = [key for key in open_ones if self._asked.get(key, 0) < ASK_TWICE]
        lately = self._asked_at is not None and made.at.since(self._asked_at) < ASK_EVERY_S
        if self._journal is None or not due or lately:
            return
        since = made.at.wall_s - LOOK_BACK_S
        kernel = self._kernel is None
        if self._journal.ask(since, kernel=kernel, foreign=self._foreign):
            self._asked_at = made.at
            self._asked |= {key: self._asked.get(key, 0) + 1 for key in due}

    def close(self) -> None:
        """Let go of the kernel's log; a question that is open is not waited for."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None
        if self._journal is not None:
            self._journal.close()

    def _from_kernel(self, now: Instant) -> list[NamedKill]:
        if self._kernel is None:
            return []
        try:
            reports = self._kernel.read(now.boot_s)
        except ReadingError as error:
            log.warning("kills have no names from now on: %s", error)
            self._kernel.close()
            self._kernel = None
            self.no_names = "" if self._journal is not None else str(error)
            return []
        if self._kernel.lost > self._lost:
            self._lost = self._kernel.lost
            log.warning("records of the kernel's log were lost before they were read")
        since, self._read_boot_s = self._read_boot_s, now.boot_s
        kills = (k for report in reports for k in named_kills(report, foreign=self._foreign))
        return [replace(kill, boot_s=_when(kill, since, now)) for kill in kills]

    def _hear(self, kills: tuple[NamedKill, ...]) -> None:
        """Take an answer of the journal, in its thread."""
        if not kills:
            return
        with self._lock:
            self._told += kills
        self._wake()


def open_kill_watch(
    proc: ProcFs, children: Children, clock: Clock, wake: Callable[[], None], path: str = KMSG
) -> KillWatch:
    """Open what can be had on this machine, and say so when it is nothing."""
    kernel, problem = None, ""
    try:
        kernel = KernelLog(path)
    except ReadingError as error:
        problem = str(error)
    watch = KillWatch(
        kernel,
        journal_of=lambda tell: Journal(children, clock, tell),
        wake=wake,
        foreign=not _sees_the_machine(proc),
        no_names=problem,
    )
    if watch.no_names:
        log.warning("OOM kills will be counted, not named: %s, and there is no journal", problem)
    return watch


def _questions(state: State, *, counters: bool) -> Iterable[tuple[str, int]]:
    """Give what a journal could explain; without the kernel's log, what counters show too."""
    found = dict.fromkeys(unexplained(state.services.items()))
    if counters:
        found |= dict.fromkeys((rise.key, int(rise.since.boot_s)) for rise in state.kills.rises)
    return found


def _when(kill: NamedKill, since_boot_s: float, now: Instant) -> float:
    """Give the time of a kill: the kernel's stamp, where it fits between two looks at the log.

    That clock drifts from the others, and stands still while the machine sleeps.
    """
    stamp = kill.boot_s
    return stamp if stamp is not None and since_boot_s <= stamp <= now.boot_s else now.boot_s


def _sees_the_machine(proc: ProcFs) -> bool:
    """Tell whether pids here are those of the kernel's log: its second one is kthreadd then."""
    try:
        return proc.stat(_KTHREADD).name == "kthreadd"
    except ReadingError:
        return False
