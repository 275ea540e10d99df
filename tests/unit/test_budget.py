"""All services together are restarted no more often than the budget allows, and people hear it."""

from dataclasses import replace

import pytest

from leakguard.core.events import EventKind
from leakguard.core.inbox import RestartRequest
from leakguard.core.policy import Budget
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.testing.several import HARD_MIB, Several, member, restarted

SPENT, FREE = EventKind.RESTART_BUDGET_SPENT, EventKind.RESTART_BUDGET_FREE
NAMES = tuple("abcde")
HOUR_S = 3600.0


def many(count: int | None = 3) -> Several:
    """Give five services, of which `count` together may be restarted within an hour."""
    budget = Budget(max_restarts=count, per_s=HOUR_S) if count else None
    rules = (member(name) for name in NAMES)
    return Several.of(*(replace(r, guards=replace(r.guards, budget=budget)) for r in rules))


def grow(several: Several, *names: str) -> list[str]:
    """Let services cross their thresholds; gives those that are restarted."""
    for name in names:
        several.mib[name] = HARD_MIB + 1
    found = restarted(several.look())
    for name in found:
        several.run(name)
        several.mib[name] = 100.0
    several.look(after_s=10.0)
    return found


def test_what_is_beyond_it_is_held() -> None:
    """All five want a restart at once; three get one, and the others are watched."""
    several = many()
    assert grow(several, *NAMES) == ["a", "b", "c"]
    held = [
        name for name in NAMES if "of all services" in several.state.services[name].last_decision
    ]
    assert held == ["d", "e"]


def test_without_one_all_may() -> None:
    """It is off unless it is set."""
    assert grow(many(None), *NAMES) == list(NAMES)


def test_people_hear_it_once() -> None:
    """However many services want one, and for how long."""
    several = many()
    grow(several, *NAMES)
    for _ in range(20):
        several.look(after_s=60.0)
    ((service, message),) = several.told(SPENT)
    assert service == ""
    assert message.startswith(
        "3 restarts of all services within 1h, the next one is allowed in 1h; d wants one because"
    )


def test_it_is_free_again_when_the_oldest_is_long_ago() -> None:
    """Then who still wants one gets it, and the problem is over."""
    several = many()
    grow(several, *NAMES)
    several.look(after_s=HOUR_S)
    assert (len(several.told(FREE)), several.state.own.problems) == (1, {})
    assert set(several.flying()) == {"d", "e"}


def test_a_person_is_neither_held_nor_counted() -> None:
    """Whoever asks has looked."""
    several = many(1)
    assert grow(several, "a") == ["a"]
    asked = several.look(RestartRequest(id="r1", service="b"))
    assert restarted(asked) == ["b"]
    several.run("b")
    several.look(after_s=HOUR_S)
    assert grow(several, "c") == ["c"]


def test_it_survives_the_daemon() -> None:
    """The count is in the records of the services, and that it was told in the daemon's own."""
    several = many()
    grow(several, *NAMES)
    records = {name: several.record(name) for name in NAMES}
    saved = Saved(
        instance="several", serial=several.state.serial, records={**records, "": several.state.own}
    )
    several.state = restore(saved)
    several.look()
    assert (several.flying(), len(several.told(SPENT))) == ([], 1)


@pytest.mark.parametrize("gone", [True, False], ids=["budget", "service"])
def test_a_budget_that_was_taken_away_is_no_problem_any_more(*, gone: bool) -> None:
    """By a new configuration without it; while it is there the problem stands."""
    several = many()
    grow(several, *NAMES)
    if gone:
        several.rules = many(None).rules
    several.look()
    assert bool(several.state.own.problems) is not gone


def test_one_service_alone_may_spend_it() -> None:
    """All of its restarts that count are remembered, also where its own breaker counts few."""
    several = many(40)
    several.rules = {
        name: replace(rules, guards=replace(rules.guards, max_restarts=4, per_s=5.0))
        for name, rules in several.rules.items()
    }
    assert [grow(several, "a") for _ in range(41)] == [["a"]] * 40 + [[]]
