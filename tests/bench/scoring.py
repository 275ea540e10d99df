"""How right a rule was: what it said of each series against what came, and sums over many.

A leak is found when an alarm comes between its onset and its end with five minutes to go, or 30 %
of a life that is shorter than that allows. Errors and bands are those of the last word before
50 % and 80 % of the way from onset to end.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from leakguard.testing.shapes import DAY_S, HOUR_S, Shape

NOTICE_S, NOTICE_SHARE = 300.0, 0.3
ONCE_S = 6 * HOUR_S
"""Alarms that are nearer to the one before count as one."""
WAYS = (0.5, 0.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a rule says at one instant."""

    t_s: float
    alarm: bool
    p50_s: float | None = None
    """Seconds until the limit; None: not foreseen."""
    band: tuple[float, float] | None = None
    """p05 and p95; inf: beyond the horizon. None: the rule has no band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What was foreseen at one point of the way, and how long it really took."""

    true_s: float
    p50_s: float | None
    band: tuple[float, float] | None

    @property
    def error(self) -> float | None:
        """Absolute error of p50, as a share of the true time."""
        return None if self.p50_s is None else abs(self.p50_s - self.true_s) / self.true_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One rule over one series."""

    family: str
    rule: str
    leak: bool
    weeks: float
    alarms: int = 0
    """Of a series that does not leak, those within six hours counted once."""
    found: bool = False
    early: bool = False
    """It alarmed before the leak had begun."""
    lead: float | None = None
    """What was left of the leak's life at the first alarm, as a share."""
    guesses: tuple[Guess, ...] = ()
    """At `WAYS`; empty where the limit is never reached."""


def judge(shape: Shape, rule: str, words: Iterable[Said]) -> Outcome:
    """Hold what a rule said against what is true of a series."""
    span_s = shape.times[-1] - shape.times[0]
    frame: dict[str, Any] = {"family": shape.family, "rule": rule, "weeks": span_s / DAY_S / 7}
    said = list(words)
    alarms = [word.t_s for word in said if word.alarm]
    if shape.onset_s is None:
        return Outcome(**frame, leak=False, alarms=episodes(alarms))
    early = any(t < shape.onset_s for t in alarms)
    first = next((t for t in alarms if t >= shape.onset_s), None)
    if shape.end_s is None:
        return Outcome(**frame, leak=True, early=early, found=first is not None)
    life_s = shape.end_s - shape.onset_s
    found = first is not None and shape.end_s - first >= min(NOTICE_S, NOTICE_SHARE * life_s)
    lead = (shape.end_s - first) / life_s if found and first is not None else None
    guesses = tuple(_guess(said, shape.onset_s + way * life_s, shape.end_s) for way in WAYS)
    return Outcome(**frame, leak=True, early=early, found=found, lead=lead, guesses=guesses)


def _guess(said: Sequence[Said], at_s: float, end_s: float) -> Guess:
    last = next((word for word in reversed(said) if word.t_s <= at_s), None)
    if last is None:
        return Guess(true_s=end_s - at_s, p50_s=None, band=None)
    return Guess(true_s=end_s - last.t_s, p50_s=last.p50_s, band=last.band)


def episodes(alarms: Iterable[float]) -> int:
    """Count alarms, each that follows another within six hours not at all."""
    count, before = 0, -math.inf
    for t in alarms:
        count += t - before > ONCE_S
        before = t
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """How good the times were at one point of the way; None where there were none."""

    leaks: int
    foreseen: int
    error: float | None
    """Median absolute error of p50."""
    covered: float | None
    """Share of true times inside [p05, p95], of those that had a band."""
    safe: float | None
    """Share of true times that were not before p05."""
    width: float | None
    """Median of p95 - p05, as a share of the true time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One rule over many series; None where nothing speaks."""

    leaks: int
    found: int
    benign: int
    alarmed: int
    weeks: float
    false: int
    """Alarms over the series that do not leak."""
    early: int
    lead: float | None
    ways: tuple[Forecasts, ...]

    @property
    def recall(self) -> float | None:
        """Share of leaks that were found."""
        return self.found / self.leaks if self.leaks else None

    @property
    def precision(self) -> float | None:
        """Share of alarmed series that leak; an alarm before the onset counts as a wrong one."""
        told = self.found + self.alarmed + self.early
        return self.found / told if told else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two."""
        recall, precision = self.recall, self.precision
        if recall is None or precision is None or not recall + precision:
            return None
        return 2 * recall * precision / (recall + precision)

    @property
    def per_week(self) -> float | None:
        """Alarms per week of a series that does not leak."""
        return self.false / self.weeks if self.weeks else None

    def plain(self) -> dict[str, Any]:
        """Give everything as JSON-ready data; a width without an end is null."""
        made = {
            **asdict(self),
            "recall": self.recall,
            "precision": self.precision,
            "f1": self.f1,
            "per_week": self.per_week,
        }
        for way in made["ways"]:
            way["width"] = None if way["width"] == math.inf else way["width"]
        return made


def score(outcomes: Iterable[Outcome]) -> Score:
    """Sum up."""
    all_ = list(outcomes)
    leaks = [o for o in all_ if o.leak]
    benign = [o for o in all_ if not o.leak]
    ended = [o.guesses for o in leaks if o.guesses]
    return Score(
        leaks=len(leaks),
        found=sum(o.found for o in leaks),
        benign=len(benign),
        alarmed=sum(o.alarms > 0 for o in benign),
        weeks=sum(o.weeks for o in benign),
        false=sum(o.alarms for o in benign),
        early=sum(o.early for o in leaks),
        lead=middle(o.lead for o in leaks),
        ways=tuple(forecasts([guesses[i] for guesses in ended]) for i in range(len(WAYS))),
    )


def forecasts(guesses: Sequence[Guess]) -> Forecasts:
    """Sum up what was foreseen at one point of the way."""
    banded = [(g.true_s, *g.band) for g in guesses if g.band is not None]
    return Forecasts(
        leaks=len(guesses),
        foreseen=sum(g.p50_s is not None for g in guesses),
        error=middle(g.error for g in guesses),
        covered=share(banded, lambda true, low, high: low <= true <= high),
        safe=share(banded, lambda true, low, _: low <= true),
        width=middle((high - low) / true for true, low, high in banded),
    )


def middle(values: Iterable[float | None]) -> float | None:
    """Give the median of those that are there."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def share(
    banded: Sequence[tuple[float, float, float]], holds: Callable[[float, float, float], bool]
) -> float | None:
    """Give how many of (true, low, high) meet a condition, as a share."""
    return sum(holds(*times) for times in banded) / len(banded) if banded else None
