"""Every kill is compared with what was foretold of its domain, and counted as a hit or a miss."""

from dataclasses import replace

import pytest

from leakguard.core.accuracy import Hit, expect, score
from leakguard.core.alerts import AlertRules
from leakguard.core.badness import Outcome
from leakguard.core.facts import HOST
from leakguard.core.forecast import Forecast, LimitKind, Room
from leakguard.core.foretold import STALE_S, Foretold, Suspect
from leakguard.core.kill_book import SeenKill
from leakguard.core.kills import Killer, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.series import Series
from leakguard.core.state import DomainState, Expected, State
from leakguard.core.tick import Tick
from leakguard.core.units import MIB
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
KEY, PATH = "v2:/web", "/web"
SOON = Expected(early_boot_s=NOW.boot_s - 10, late_boot_s=NOW.boot_s + 10)


def told(
    victim: int | None = 7, *, runner_up: int = 8, certain: bool = True, old_s: float = 1.0
) -> Foretold:
    """Make what was foretold of the cgroup."""
    return Foretold(
        domain=KEY,
        at=NOW.plus(-old_s),
        outcome=Outcome.KILL,
        victim=None if victim is None else Suspect(pid=victim, name="a"),
        runner_up=Suspect(pid=runner_up, name="b"),
        certain=certain,
    )


def killed(pid: int = 7, *, path: str = PATH, **changes: object) -> SeenKill:
    """Make a kill that was just told."""
    scope = Domain.MEMCG if path else Domain.HOST
    kill = replace(NamedKill(pid=pid, name="a", scope=scope, boot_s=NOW.boot_s), **changes)  # type: ignore[arg-type]  # the kill's own fields
    return SeenKill(at=NOW, key=KEY, kill=kill, path=path)


def hits(
    kill: SeenKill,
    foretold: Foretold | None = None,
    expected: Expected | None = None,
    key: str = KEY,
) -> set[str]:
    """Give how a kill is counted."""
    tick = Tick.of(State(instance="t"), NOW, AlertRules(), {}, durable=True)
    domains = {key: DomainState(series=Series(), foretold=foretold, expected=expected)}
    score(tick, [kill], domains)
    assert set(tick.own.predictions.values()) <= {1}
    assert ("" in tick.changed) == bool(tick.own.predictions)
    return set(tick.own.predictions)


@pytest.mark.parametrize(
    ("pid", "foretold", "hit"),
    [
        (7, told(), Hit.VICTIM_RIGHT),
        (8, told(), Hit.VICTIM_WRONG),
        (8, told(certain=False), Hit.VICTIM_RUNNER_UP),
        (9, told(certain=False), Hit.VICTIM_WRONG),
    ],
)
def test_the_victim(pid: int, foretold: Foretold, hit: Hit) -> None:
    """The second one is half a hit, where the prediction had said that it is not sure."""
    assert hits(killed(pid), foretold) == {hit}


@pytest.mark.parametrize(
    ("early_s", "late_s", "hit"),
    [
        (-10, 10, Hit.TIME_INSIDE),
        (-10, None, Hit.TIME_INSIDE),
        (5, 10, Hit.TIME_EARLY),
        (-10, -5, Hit.TIME_LATE),
        (0.5, 10, Hit.TIME_INSIDE),
        (-10, -0.5, Hit.TIME_INSIDE),
    ],
)
def test_the_time(early_s: float, late_s: float | None, hit: Hit) -> None:
    """Inside the interval, but for what clocks and sampling cannot know."""
    late = None if late_s is None else NOW.boot_s + late_s
    expected = Expected(early_boot_s=NOW.boot_s + early_s, late_boot_s=late)
    assert hits(killed(), None, expected) == {hit}


def test_victim_and_time_are_counted_apart() -> None:
    """Each is a promise of its own."""
    assert hits(killed(8), told(), SOON) == {Hit.VICTIM_WRONG, Hit.TIME_INSIDE}


def test_a_kill_that_nobody_foresaw() -> None:
    """It is a miss, too."""
    assert hits(killed()) == {Hit.UNSEEN}


def test_a_host_wide_kill_is_compared_with_the_host_s_prediction() -> None:
    """It has no cgroup whose limit was hit."""
    assert hits(killed(path=""), told(), SOON, key=HOST) == {Hit.VICTIM_RIGHT, Hit.TIME_INSIDE}


@pytest.mark.parametrize(
    "kill",
    [
        killed(killer=Killer.EARLYOOM),
        killed(chosen=False),
        killed(path="/elsewhere"),
        killed(path="", scope=Domain.MEMCG),
        SeenKill(at=NOW, key=KEY),
    ],
)
def test_what_is_no_kernel_kill_of_a_known_domain_says_nothing(kill: SeenKill) -> None:
    """Killers in user space have rules of their own; who dies with a group was not chosen."""
    assert hits(kill, told(), SOON) == set()


@pytest.mark.parametrize(
    ("kill", "foretold"),
    [
        (killed(9), told(old_s=STALE_S)),
        (killed(9), told(None)),
        (killed(9, foreign=True), told()),
    ],
)
def test_a_victim_that_cannot_be_compared_is_not_counted(
    kill: SeenKill, foretold: Foretold
) -> None:
    """An old look, a domain where nobody could be named, and pids of another namespace."""
    assert hits(kill, foretold, SOON) == {Hit.TIME_INSIDE}


def ending(median_s: float | None, *, key: str = KEY) -> Forecast:
    """Make a forecast of a domain."""
    room = Room(kind=LimitKind.CGROUP, limit_bytes=MIB, headroom_bytes=MIB, path=PATH, domain=key)
    return Forecast(
        room=room, slope_bytes_per_s=1.0, median_s=median_s, early_sigma=0.1, late_sigma=0.1
    )


@pytest.mark.parametrize(
    "medians", [(100.0, 300.0), (300.0, 100.0), (None, 100.0), (100.0, None), (100.0,)]
)
def test_the_soonest_end_is_expected(medians: tuple[float | None, ...]) -> None:
    """Several services may be in one domain; what fills it first counts."""
    domains = {KEY: DomainState(series=Series())}
    found = expect(domains, [ending(m) for m in medians], NOW)[KEY].expected
    assert found is not None
    assert found.late_boot_s is not None
    assert found.early_boot_s < NOW.boot_s + 100 < found.late_boot_s < NOW.boot_s + 150


def test_an_end_that_is_not_foreseen_any_more_is_not_expected() -> None:
    """What was not read in this tick stays as it was."""
    domains = {
        KEY: DomainState(series=Series(), expected=SOON),
        "v2:/other": DomainState(series=Series(), expected=SOON),
    }
    found = expect(domains, [ending(None), ending(5.0, key=""), ending(5.0, key="v2:/new")], NOW)
    assert {key: one.expected for key, one in found.items()} == {KEY: None, "v2:/other": SOON}
