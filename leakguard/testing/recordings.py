"""Recordings whose truth is known: leaks of a known slope that are killed at their limit."""

from collections.abc import Callable
from typing import Any

from leakguard.core.policy import Mode, Policy, RestartRules, ServiceRules
from leakguard.core.units import MIB
from leakguard.runtime.backtest.policies import Candidate, Rule
from leakguard.runtime.backtest.recording import Builder, Recording

START_S = 1_699_999_200.0
"""2023-11-14T22:00:00Z: two hours before midnight."""
DAY_S = 86_400.0


def recording(
    mib: Callable[[float], float],
    *,
    hours: float,
    spacing_s: float = 300.0,
    limit_mib: float | None = 512,
    start_s: float = START_S,
) -> Recording:
    """Record `mib`, a function of the seconds since the beginning, every `spacing_s`."""
    builder = Builder(name="worker")
    for i in range(int(hours * 3600 / spacing_s)):
        builder.add(start_s + i * spacing_s, mib(i * spacing_s) * MIB)
    limit = None if limit_mib is None else int(limit_mib * MIB)
    return builder.recording(limit_bytes=limit)


def leak(base: float, mib_per_h: float, life_h: float) -> Callable[[float], float]:
    """Give a leak that begins anew every `life_h` hours."""
    return lambda t: base + mib_per_h * (t % (life_h * 3600)) / 3600


def candidate(
    policy: Policy, config: str = "policy", **rules: Any
) -> Candidate:  # fields of the rules
    """Make a configuration under test of one policy; it acts by a driver unless told otherwise."""
    given = {"mode": Mode.ACT, "restart": RestartRules(driver="fake"), **rules}
    return Candidate(
        config=config, fallback=Rule(rules=ServiceRules(name="any", policy=policy, **given))
    )
