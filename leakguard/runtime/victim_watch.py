"""Looks, beside the loop, at whom the kernel would kill in the domains that are running out.

A look at the whole host reads every process, so it is made in a thread, for domains whose end is
foreseen, and the oftener the nearer that is. What reads and models is imported with the first look:
a guard of healthy services never pays for it.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping

from leakguard.core.engine import Step
from leakguard.core.errors import LeakguardError
from leakguard.core.facts import HOST, caused_by
from leakguard.core.forecast import Forecast
from leakguard.core.foretold import Foretold
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.core.state import ServiceState
from leakguard.core.trend import Verdict
from leakguard.core.watch import FORESEE_S
from leakguard.linux.cgroupfs import CgroupDir
from leakguard.linux.procfs import ProcFs

log = logging.getLogger("leakguard.victims")

SOONEST_S = 2.0
LATEST_S = 300.0
YOUNG_S = 300.0
"""Of a series without a verdict only an end this near is believed."""
SHARE = 0.05
"""A domain is looked at again after this share of the time that it has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The processes of one guarded service, and how fast it grows, in bytes a second."""

    pids: tuple[int, ...]
    slope: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One domain to look at: the host where `cgroup` is None. Times in seconds from now.

    What grows until the end is the headroom, whether that takes long or not: a slope that is too
    steep ends too soon. So sizes are projected to the median, and not to the edges of the forecast.
    """

    key: str
    cgroup: CgroupDir | None
    early_s: float
    median_s: float


Look = Callable[[Question, Mapping[str, Tree], Instant], Foretold]
"""Looks at one domain; raises ReadingError when it cannot be read."""


class VictimWatch:
    """Asks for a look when one is due, one at a time; answers go to `post`, from a thread."""

    def __init__(
        self,
        proc: ProcFs,
        clock: Clock,
        post: Callable[[Foretold], None],
        look_of: Callable[[ProcFs], Look] | None = None,
    ) -> None:
        """Start with nothing looked at; `look_of` makes what looks, when it is first needed."""
        self._proc = proc
        self._clock = clock
        self._post = post
        self._busy = threading.Lock()
        self._looked: dict[str, float] = {}
        self._troubled = ""
        self._look_of = look_of or _real_look
        self._look: Look | None = None

    def after(
        self,
        made: Step,
        cgroups: Callable[[], frozenset[CgroupDir]],
        members: Callable[[str], tuple[int, ...]],
    ) -> None:
        """Begin a look at what is due after a tick; never waits for it."""
        due = [q for q in _questions(made, cgroups) if self._is_due(q, made.at)]
        if not due or not self._busy.acquire(blocking=False):
            return
        trees = _trees(made, members)
        now = made.at.boot_s
        self._looked = {key: at for key, at in self._looked.items() if now - at < LATEST_S}
        self._looked |= dict.fromkeys((question.key for question in due), now)
        try:
            threading.Thread(
                target=self._work, args=(due, trees), name="victims", daemon=True
            ).start()
        except RuntimeError:  # no thread to be had now: the next tick asks again
            self._looked.clear()
            self._busy.release()

    def _is_due(self, question: Question, now: Instant) -> bool:
        pause = min(LATEST_S, max(SOONEST_S, SHARE * question.early_s))
        return now.boot_s - self._looked.get(question.key, float("-inf")) >= pause

    def _work(self, due: list[Question], trees: Mapping[str, Tree]) -> None:
        try:
            problems = [self._ask(question, trees) for question in due]
            self._tell("; ".join(problem for problem in problems if problem))
        except Exception:  # the edge of a thread: a look that fails must not end all others
            log.exception("whom the kernel would kill could not be found out")
        finally:
            self._busy.release()

    def _ask(self, question: Question, trees: Mapping[str, Tree]) -> str:
        """Look at one domain; gives what was wrong."""
        try:
            look = self._look = self._look or self._look_of(self._proc)
            self._post(look(question, trees, self._clock.now()))
        except LeakguardError as error:
            return str(error)
        return ""

    def _tell(self, problem: str) -> None:
        if problem and problem != self._troubled:
            log.warning("whom the kernel would kill is not known: %s", problem)
        self._troubled = problem


def _real_look(proc: ProcFs) -> Look:
    from leakguard.runtime.victim_look import VictimLook

    return VictimLook(proc).at


def _questions(made: Step, cgroups: Callable[[], frozenset[CgroupDir]]) -> Iterator[Question]:
    """Give the domains that some service fills within the time that people are told of."""
    nearest: dict[str, tuple[float, Forecast]] = {}
    for service in made.state.services.values():
        for foreseen in service.assessment.forecasts if service.assessment is not None else ():
            key, early = foreseen.room.domain, _worth_a_look(service, foreseen)
            if key and early <= min(FORESEE_S, nearest.get(key, (FORESEE_S,))[0]):
                nearest[key] = early, foreseen
    groups = {group.key: group for group in cgroups()} if nearest else {}
    for key, (early, foreseen) in nearest.items():
        if key == HOST or key in groups:
            median_s = foreseen.median_s or 0.0
            yield Question(key=key, cgroup=groups.get(key), early_s=early, median_s=median_s)


def _worth_a_look(service: ServiceState, foreseen: Forecast) -> float:
    """Give the early edge of a forecast that is believed, and infinity for the others.

    What a young series seems to promise for tomorrow is no reason to read every process.
    """
    early, facts = foreseen.early_edge_s(), service.assessment
    if early is None or facts is None or not caused_by(facts.trend, foreseen):
        return math.inf
    sure = facts.trend.verdict is Verdict.LEAKING
    return early if sure or early <= YOUNG_S else math.inf


def _trees(made: Step, members: Callable[[str], tuple[int, ...]]) -> dict[str, Tree]:
    trees = {}
    for name, service in made.state.services.items():
        trend = service.assessment.trend if service.assessment is not None else None
        trees[name] = Tree(
            pids=members(name),
            slope=(trend.slope_bytes_per_s if trend is not None else None) or 0.0,
            error=trend.error_bytes_per_s if trend is not None else 0.0,
        )
    return trees
