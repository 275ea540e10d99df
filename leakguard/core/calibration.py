"""The band learns from its own outcomes: how earlier forecasts of a service came out.

While a leak goes on, a few forecasts are kept: when the memory will have taken half of the room
that it has now. Each is held to what came, so that nobody has to die for the guard to learn. What
stays is a score: the logarithm of true over foreseen time, in deviations of that forecast. The
edges of the band then move from those that hold everywhere (`EARLY`, `LATE`) to the quantiles of
the newest scores: conformal prediction, first with all services of the installation, then with the
service's own. The weight of n scores is n / (n + a doubt). The early edge is what is acted on: it
moves outwards at once, and inwards only after many scores of the service's own, and not far.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from leakguard.core.fitting import quantile
from leakguard.core.forecast import MOMENT_S, PRIOR, Edges, join
from leakguard.core.frozen import dataclass
from leakguard.core.trend import Trend, Verdict

KEPT = 32
"""Scores that a service keeps, and the installation."""
LEAST = 4
"""Fewer scores say nothing."""
OWN_DOUBT, POOL_DOUBT = 6.0, 32.0
MISSED = 0.05
"""Share of the scores that may lie beyond each edge."""
SURE = 24
"""So many scores of its own may bring a service's early edge nearer."""
NEAREST_EARLY, FURTHEST = 0.75, 2.0
NEAREST_LATE = 0.6
"""An edge lies between these shares of its prior."""
MOST_SCORE = 6.0
"""What comes later than this is not waited for."""
SHARE = 0.5
"""The level of a forecast that is kept is so much of the room away."""
OPEN = 4
"""Forecasts of one service that wait at the same time."""
SOONEST_S = 15.0
"""What comes sooner is not worth keeping: samples are as far apart."""


class Came(StrEnum):
    """Where in its band the truth lay."""

    EARLY = "early"
    INSIDE = "inside"
    LATE = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A forecast that is going to be held to what comes: the memory passes a level."""

    made_boot_s: float
    from_bytes: float
    level_bytes: float
    median_s: float
    sigma: float
    early_s: float
    """p05, as it was told."""
    late_s: float

    def score(self, took_s: float) -> float:
        """Give how far off it was, in its own deviations; below zero: it came early."""
        moment = max(self.median_s, MOMENT_S) / (self.median_s + MOMENT_S)
        off = math.log((max(took_s, 0.0) + MOMENT_S) / (self.median_s + MOMENT_S))
        return min(max(off / max(self.sigma * moment, 1e-9), -MOST_SCORE), MOST_SCORE)

    def came(self, took_s: float) -> Came:
        """Tell where in the band the truth lay."""
        if took_s < self.early_s:
            return Came.EARLY
        return Came.INSIDE if took_s <= self.late_s else Came.LATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """How the newest forecasts came out, oldest first: scores, and `Came` for each."""

    scores: tuple[float, ...] = ()
    came: tuple[Came, ...] = ()

    def __len__(self) -> int:
        """Count them."""
        return len(self.scores)

    def add(self, others: "Outcomes") -> "Outcomes":
        """Take newer ones; the oldest are forgotten."""
        scores, came = (*self.scores, *others.scores), (*self.came, *others.came)
        return Outcomes(scores=scores[-KEPT:], came=came[-KEPT:])

    def count(self, came: Came) -> int:
        """Count those that came so."""
        return self.came.count(came)


UNTRIED = Outcomes()
"""Nothing was held to anything yet."""


def learned(own: Outcomes, pool: Outcomes = UNTRIED) -> Edges:
    """Give the edges of the band for a service: by its own outcomes and the installation's."""
    found = _blended(PRIOR, pool, POOL_DOUBT)
    return _blended(found, own, OWN_DOUBT, sure=len(own) >= SURE)


def _blended(base: Edges, outcomes: Outcomes, doubt: float, *, sure: bool = False) -> Edges:
    n = len(outcomes)
    if n < LEAST:
        return base
    weight, ordered = n / (n + doubt), sorted(outcomes.scores)
    early = base.early + weight * (-_edge(ordered, MISSED) - base.early)
    late = base.late + weight * (_edge(ordered, 1 - MISSED) - base.late)
    nearest = NEAREST_EARLY * PRIOR.early if sure else base.early
    return Edges(
        early=min(max(early, nearest), FURTHEST * PRIOR.early),
        late=min(max(late, NEAREST_LATE * PRIOR.late), FURTHEST * PRIOR.late),
    )


def _edge(ordered: Sequence[float], share: float) -> float:
    """Give the quantile that one more of the same kind lies beyond with that chance."""
    n = len(ordered)
    place = min(max((n + 1) * share - 1, 0.0), n - 1.0)
    return quantile(ordered, place / (n - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """The forecasts of one life that wait for what comes, oldest first."""

    open: tuple[Promise, ...] = ()
    leaked: bool = False
    """It was called a leak in this life: growth that was never called one teaches nothing."""

    def made(self, trend: Trend, room_bytes: float | None, edges: Edges) -> "Promises":
        """Keep what is foreseen now, where that is a leak and enough is new since the last one."""
        leaked = self.leaked or trend.verdict is Verdict.LEAKING
        goes_on = trend.verdict in (Verdict.LEAKING, Verdict.UNKNOWN) and bool(trend.growths)
        made = None
        if leaked and goes_on and room_bytes is not None and self._is_due(trend.value_bytes):
            made = _made(trend, room_bytes, edges)
        if made is None:
            return self if leaked == self.leaked else replace(self, leaked=leaked)
        return Promises(open=(*self.open, made), leaked=True)

    def _is_due(self, value: float) -> bool:
        if not self.open:
            return True
        last = self.open[-1]
        return len(self.open) < OPEN and value >= (last.from_bytes + last.level_bytes) / 2

    def held_to(self, boot_s: float, value: float) -> tuple["Promises", Outcomes]:
        """Hold them to a sample: those whose level it reached, and those that come too late."""
        if not self.open:
            return self, UNTRIED
        left, settled = list[Promise](), list[tuple[Promise, float]]()
        for each in self.open:
            took_s = boot_s - each.made_boot_s
            if value >= each.level_bytes or each.score(took_s) >= MOST_SCORE:
                settled.append((each, took_s))
            else:
                left.append(each)
        if not settled:
            return self, UNTRIED
        return replace(self, open=tuple(left)), _outcomes(settled)

    def ended(self, boot_s: float, *, killed: bool = False) -> Outcomes:
        """Hold them to the end of the life: a kill reached every level, a restart only ended it."""
        took = [(each, boot_s - each.made_boot_s) for each in self.open]
        return _outcomes([(p, t) for p, t in took if killed or p.came(t) is Came.LATE])


UNPROMISED = Promises()


def _made(trend: Trend, room_bytes: float, edges: Edges) -> Promise | None:
    value, away = trend.value_bytes, SHARE * room_bytes
    if away <= 0:
        return None
    median_s, sigma = join(away, trend)
    if math.isinf(median_s) or median_s < SOONEST_S:
        return None
    return Promise(
        made_boot_s=trend.at_boot_s,
        from_bytes=value,
        level_bytes=value + away,
        median_s=median_s,
        sigma=sigma,
        early_s=median_s * math.exp(-edges.early * sigma),
        late_s=median_s * math.exp(edges.late * sigma),
    )


def _outcomes(settled: Sequence[tuple[Promise, float]]) -> Outcomes:
    return Outcomes(
        scores=tuple(round(each.score(took_s), 2) for each, took_s in settled),
        came=tuple(each.came(took_s) for each, took_s in settled),
    )
