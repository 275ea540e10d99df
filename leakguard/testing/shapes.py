"""Memory as services show it, drawn from a seed: families of leaks, and of what looks like one.

Sizes are drawn as shares of the limit and given in bytes. Nothing after the exhaustion of a leak
is there. The same seed, family and number give the same series on every machine.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from leakguard.core.units import GIB, MIB

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
WEEK_S = 7 * DAY_S
FAST_S = 5.0
"""Seconds between two samples of what lives for minutes only."""
LIMITS = (256 * MIB, 512 * MIB, GIB, 4 * GIB, 16 * GIB)
OVERRUN = 1.7
"""A leak is drawn so many times its life long: noise may hold the exhaustion up."""

Path = Callable[[float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One series and what is true of it."""

    family: str
    name: str
    limit_bytes: float
    times: Sequence[float]
    values: Sequence[float]
    onset_s: float | None = None
    """When it begins to leak; None: it does not."""
    end_s: float | None = None
    """When it reaches the limit; None: it does not, or restarts prevent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Shares of the limit at equal steps."""

    shares: Sequence[float]
    step_s: float = MINUTE_S
    onset_s: float | None = None


def make(family: str, number: int, seed: int) -> Shape:
    """Draw one series of a family."""
    rng = Random(f"{seed} {family} {number}")  # noqa: S311  draws test data, not secrets
    limit = float(rng.choice(LIMITS))
    drawn = FAMILIES[family](rng)
    full = next((i for i, share in enumerate(drawn.shares) if share >= 1), None)
    leaks = drawn.onset_s is not None
    count = len(drawn.shares) if full is None or not leaks else full
    return Shape(
        family=family,
        name=f"{family} {number}",
        limit_bytes=limit,
        times=[i * drawn.step_s for i in range(count)],
        values=[limit * min(max(share, 0.001), 0.999) for share in drawn.shares[:count]],
        onset_s=drawn.onset_s,
        end_s=full * drawn.step_s if leaks and full is not None else None,
    )


# What series are made of


def noise(rng: Random, count: int, sigma: float, rho: float = 0.6) -> list[float]:
    """Give autoregressive noise of a stationary deviation."""
    new, value, values = sigma * math.sqrt(1 - rho * rho), rng.gauss(0, sigma), list[float]()
    for _ in range(count):
        values.append(value)
        value = rho * value + rng.gauss(0, new)
    return values


def sawtooth(rng: Random, count: int, step_s: float = MINUTE_S) -> list[float]:
    """Give what a garbage collector shows: an uneven climb and a fall, again and again."""
    height, period_s = rng.uniform(0.05, 0.22), rng.uniform(20 * MINUTE_S, 5 * HOUR_S)
    values, value, top = list[float](), 0.0, height
    for _ in range(count):
        values.append(value)
        value += height * step_s / period_s * rng.uniform(0.4, 1.6)
        if value > top:
            value, top = 0.0, height * rng.uniform(0.85, 1.15)
    return values


def days(rng: Random, count: int, step_s: float = MINUTE_S) -> list[float]:
    """Give a load that follows the day, less of it at week-ends."""
    height, phase, first = rng.uniform(0.04, 0.18), rng.uniform(0, math.tau), rng.uniform(0, 7)
    values = []
    for i in range(count):
        day = i * step_s / DAY_S
        turn = math.tau * day + phase
        wave = (1.35 + math.sin(turn) + 0.35 * math.sin(2 * turn)) / 2.7
        values.append(height * wave * (0.6 if (day + first) % 7 >= 5 else 1.0))
    return values


def _sum(*parts: Sequence[float]) -> list[float]:
    return [sum(values) for values in zip(*parts, strict=True)]


# Leaks


def leak(
    rng: Random,
    path: Path,
    sigma: float | None = None,
    over: Callable[[Random, int], list[float]] | None = None,
    life_s: float | None = None,
) -> Drawn:
    """Draw a leak along a path from 0 to 1, at once or some time after the start."""
    base = rng.uniform(0.15, 0.5)
    life_s = life_s or _between(rng, 6 * HOUR_S, 12 * DAY_S)
    onset_s = rng.choice((0.0, rng.uniform(0.1, 1.0) * life_s, rng.uniform(0.5, 2.5) * DAY_S))
    count = int((onset_s + OVERRUN * life_s) / MINUTE_S)
    growth = [
        base + (1 - base) * path(max(i * MINUTE_S - onset_s, 0.0) / life_s) for i in range(count)
    ]
    rough = noise(rng, count, rng.choice((0.002, 0.008)) if sigma is None else sigma)
    extra = over(rng, count) if over is not None else [0.0] * count
    return Drawn(shares=_sum(growth, rough, extra), onset_s=onset_s)


def _straight(share: float) -> float:
    return share


def _faster(rng: Random) -> Drawn:
    power = rng.uniform(1.5, 2.5)
    return leak(rng, lambda share: share**power)


def _in_steps(rng: Random) -> Drawn:
    steps = rng.randint(12, 50)
    at = sorted(rng.uniform(0, OVERRUN) for _ in range(int(steps * OVERRUN)))
    return leak(rng, lambda share: bisect_right(at, share) / steps if share > 0 else 0.0)


def _restarted(rng: Random) -> Drawn:
    base, span_s, share = rng.uniform(0.15, 0.5), rng.uniform(8, 40) * HOUR_S, rng.uniform(0.3, 0.7)
    count, shares = int(8 * DAY_S / MINUTE_S), list[float]()
    while len(shares) < count:
        life = int(span_s * rng.uniform(0.85, 1.15) / MINUTE_S)
        slope = share * (1 - base) * MINUTE_S / span_s
        shares += [base + slope * i for i in range(life)]
    return Drawn(shares=_sum(shares[:count], noise(rng, count, 0.005)), onset_s=0.0)


def _fast(rng: Random) -> Drawn:
    base, life_s = rng.uniform(0.1, 0.5), _between(rng, 2 * MINUTE_S, 25 * MINUTE_S)
    count = int(OVERRUN * life_s / FAST_S)
    growth = [base + (1 - base) * i * FAST_S / life_s for i in range(count)]
    rough = noise(rng, count, rng.choice((0.002, 0.01)))
    return Drawn(shares=_sum(growth, rough), step_s=FAST_S, onset_s=0.0)


# No leaks


def benign(rng: Random, path: Callable[[float], float], sigma: float = 0.006) -> Drawn:
    """Draw a week along a path, by seconds, with noise."""
    count = int(WEEK_S / MINUTE_S)
    level = [path(i * MINUTE_S) for i in range(count)]
    return Drawn(shares=_sum(level, noise(rng, count, sigma)))


def _warm_up(rng: Random) -> Drawn:
    base, height = rng.uniform(0.05, 0.3), rng.uniform(0.15, 0.55)
    tau = _between(rng, 0.3 * HOUR_S, 30 * HOUR_S)
    return benign(rng, lambda t: base - height * math.expm1(-t / tau))


def _cache(rng: Random) -> Drawn:
    base, height = rng.uniform(0.05, 0.3), rng.uniform(0.2, 0.55)
    tau, most = _between(rng, MINUTE_S, 3 * HOUR_S), height * rng.uniform(0.85, 1.2)
    scale = height / math.log1p(WEEK_S / tau)
    return benign(rng, lambda t: base + min(scale * math.log1p(t / tau), most))


def _walk(rng: Random) -> Drawn:
    low, high, step = 0.1, 0.85, rng.uniform(0.0008, 0.004)
    value, shares = rng.uniform(0.15, 0.5), list[float]()
    for _ in range(int(WEEK_S / MINUTE_S)):
        shares.append(value)
        value += rng.gauss(0, step)
        value = 2 * low - value if value < low else 2 * high - value if value > high else value
    return Drawn(shares=shares)


def _daily(rng: Random) -> Drawn:
    flat = benign(rng, _level(rng.uniform(0.15, 0.5)))
    return Drawn(shares=_sum(flat.shares, days(rng, len(flat.shares))))


def _step(rng: Random) -> Drawn:
    base, height, at = (
        rng.uniform(0.15, 0.5),
        rng.uniform(0.1, 0.35),
        WEEK_S * rng.uniform(0.1, 0.9),
    )
    return benign(rng, lambda t: base + (height if t >= at else 0.0))


def _collector(rng: Random) -> Drawn:
    flat = benign(rng, _level(rng.uniform(0.15, 0.5)), 0.004)
    return Drawn(shares=_sum(flat.shares, sawtooth(rng, len(flat.shares))))


def _wandering(rng: Random) -> Drawn:
    base, count = rng.uniform(0.15, 0.5), int(WEEK_S / MINUTE_S)
    rough = noise(rng, count, rng.choice((0.005, 0.02)), rng.choice((0.6, 0.98, 0.998)))
    return Drawn(shares=[base + value for value in rough])


def _high(rng: Random) -> Drawn:
    base, count = rng.uniform(0.78, 0.93), int(WEEK_S / MINUTE_S)
    return Drawn(
        shares=[base + value for value in noise(rng, count, 0.006, rng.choice((0.6, 0.98)))]
    )


def _nightly(rng: Random) -> Drawn:
    base, height = rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.3)
    at, span_s = rng.uniform(0, DAY_S), rng.uniform(0.5, 4) * HOUR_S
    return benign(rng, lambda t: base + (height if (t - at) % DAY_S < span_s else 0.0), 0.004)


def _young(rng: Random) -> Drawn:
    base, height = rng.uniform(0.05, 0.25), rng.uniform(0.1, 0.5)
    tau, count = rng.uniform(20, 400), int(rng.uniform(600, 7200) / FAST_S)
    level = [base - height * math.expm1(-i * FAST_S / tau) for i in range(count)]
    rough = noise(rng, count, rng.choice((0.002, 0.01)))
    return Drawn(shares=_sum(level, rough), step_s=FAST_S)


def _level(share: float) -> Callable[[float], float]:
    return lambda _: share


def _between(rng: Random, low: float, high: float) -> float:
    """Draw evenly on a logarithmic scale."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


LEAKS: dict[str, Callable[[Random], Drawn]] = {
    "leak, clean": lambda rng: leak(rng, _straight, 0.001),
    "leak, noise 2 %": lambda rng: leak(rng, _straight, 0.02),
    "leak, noise 8 %": lambda rng: leak(rng, _straight, 0.08),
    "leak, accelerating": _faster,
    "leak, GC sawtooth": lambda rng: leak(rng, _straight, over=sawtooth),
    "leak, daily cycle": lambda rng: leak(
        rng, _straight, over=days, life_s=rng.uniform(2, 12) * DAY_S
    ),
    "leak, in steps": _in_steps,
    "leak, restarted": _restarted,
    "leak, fast": _fast,
}
BENIGN: dict[str, Callable[[Random], Drawn]] = {
    "warm-up": _warm_up,
    "log cache": _cache,
    "random walk": _walk,
    "daily cycle": _daily,
    "one step": _step,
    "GC sawtooth": _collector,
    "flat, noise": _wandering,
    "flat, high": _high,
    "nightly batch": _nightly,
    "young and warm": _young,
}
FAMILIES = {**LEAKS, **BENIGN}
