"""The configurations of a back-test, as the rules of each service and of what has no entry."""

import os
from collections.abc import Sequence
from pathlib import Path

from leakguard.core.plan import ServicePlan
from leakguard.core.policy import Mode, ServiceRules
from leakguard.runtime.backtest.policies import Candidate, Rule

DEFAULTS = "backtest_defaults"
"""A service that is put beside those of a file, so that `defaults` alone are compiled too."""
BUILT_IN = "defaults"


def candidates(paths: Sequence[str]) -> tuple[Candidate, ...]:
    """Load the configurations; without any, leakguard's own defaults.

    Raises:
        ConfigError: everything that is wrong in one of them.
    """
    return tuple(_load(path) for path in paths) or (_built_in(),)


def _built_in() -> Candidate:
    rules = ServiceRules(name=DEFAULTS, mode=Mode.ACT)
    return Candidate(config=BUILT_IN, fallback=Rule(rules=rules))


def _load(path: str) -> Candidate:
    from leakguard.config import load

    added = {f"LEAKGUARD_SERVICES__{DEFAULTS.upper()}__TARGET": '{child: {argv: ["true"]}}'}
    plan = load(path, environ={**os.environ, **added}, cwd=Path.cwd()).plan
    services = {plan.rules.name: _rule(plan, plan.rules.name) for plan in plan.services}
    fallback = services.pop(DEFAULTS)
    return Candidate(config=path, fallback=fallback, services=services)


def _rule(plan: ServicePlan, name: str) -> Rule:
    source = "its defaults" if name == DEFAULTS else name
    return Rule(rules=plan.rules, detector=plan.detector, source=source)
