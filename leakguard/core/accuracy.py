"""What the last prediction said of a kill that happened: the product's own hits and misses."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum

from leakguard.core.facts import HOST
from leakguard.core.forecast import Forecast
from leakguard.core.foretold import Foretold
from leakguard.core.instant import Instant
from leakguard.core.kill_book import SeenKill, path_of
from leakguard.core.kills import Killer
from leakguard.core.oomlog.report import Domain as KernelDomain
from leakguard.core.state import DomainState, Expected
from leakguard.core.tick import Tick

CLOCK_SLACK_S = 1.0
"""Clock ticks, sampling and the kernel's own time stamps are this far apart."""


class Hit(StrEnum):
    """How a kill compares with the last prediction of its domain: one of each kind, or `UNSEEN`."""

    VICTIM_RIGHT = "victim_right"
    VICTIM_RUNNER_UP = "victim_runner_up"
    """The one behind, and the prediction had said that it is not sure."""
    VICTIM_WRONG = "victim_wrong"
    TIME_INSIDE = "time_inside"
    TIME_EARLY = "time_early"
    """It came before the forecast's 5 % quantile."""
    TIME_LATE = "time_late"
    """It came after the forecast's 95 % quantile."""
    UNSEEN = "unforeseen"
    """No end of that domain was foreseen."""


def expect(
    domains: Mapping[str, DomainState], forecasts: Iterable[Forecast], now: Instant
) -> dict[str, DomainState]:
    """Note when each domain is going to end, by the nearest of the forecasts of this tick."""
    nearest: dict[str, Expected | None] = {}
    for foreseen in forecasts:
        key, found = foreseen.room.domain, _expected(foreseen, now)
        if key in domains and (key not in nearest or _is_sooner(found, nearest[key])):
            nearest[key] = found
    noted = dict(domains)
    for key, found in nearest.items():
        noted[key] = replace(noted[key], expected=found)
    return noted


def score(tick: Tick, told: Iterable[SeenKill], domains: Mapping[str, DomainState]) -> None:
    """Count how the kernel's kills of this tick compare with what was foretold before it.

    Only those chosen by badness count, in domains that a guarded service is in.
    """
    counts = dict(tick.own.predictions)
    for seen in told:
        for hit in _hits(seen, domains):
            counts[hit.value] = counts.get(hit.value, 0) + 1
    if counts != dict(tick.own.predictions):
        tick.own = replace(tick.own, predictions=counts)
        tick.changed.add("")


def _hits(seen: SeenKill, domains: Mapping[str, DomainState]) -> Iterator[Hit]:
    kill = seen.kill
    if kill is None or kill.killer is not Killer.KERNEL or not kill.chosen:
        return
    domain = _domain_of(seen, domains)
    if domain is None:
        return
    foretold, expected = domain.foretold, domain.expected
    if foretold is None and expected is None:
        yield Hit.UNSEEN
    if foretold is not None and foretold.is_fresh(seen.at) and not kill.foreign:
        yield from _victim_hit(kill.pid, foretold)
    if expected is not None:
        yield _time_hit(seen.boot_s, expected)


def _victim_hit(pid: int | None, foretold: Foretold) -> Iterator[Hit]:
    if foretold.victim is None:
        return
    behind = foretold.runner_up
    if foretold.victim.pid == pid:
        yield Hit.VICTIM_RIGHT
    elif not foretold.certain and behind is not None and behind.pid == pid:
        yield Hit.VICTIM_RUNNER_UP
    else:
        yield Hit.VICTIM_WRONG


def _time_hit(boot_s: float, expected: Expected) -> Hit:
    if boot_s < expected.early_boot_s - CLOCK_SLACK_S:
        return Hit.TIME_EARLY
    late = expected.late_boot_s
    return Hit.TIME_INSIDE if late is None or boot_s <= late + CLOCK_SLACK_S else Hit.TIME_LATE


def _domain_of(seen: SeenKill, domains: Mapping[str, DomainState]) -> DomainState | None:
    if not seen.path:
        whole_host = seen.kill is not None and seen.kill.scope in {KernelDomain.HOST, None}
        return domains.get(HOST) if whole_host else None
    return next((d for key, d in domains.items() if path_of(key) == seen.path), None)


def _expected(foreseen: Forecast, now: Instant) -> Expected | None:
    early, times = foreseen.early_edge_s(), foreseen.quantiles()
    if early is None or times is None:
        return None
    late = None if times.p95_s is None else now.boot_s + times.p95_s
    return Expected(early_boot_s=now.boot_s + early, late_boot_s=late)


def _is_sooner(found: Expected | None, than: Expected | None) -> bool:
    if found is None or than is None:
        return than is None
    return found.early_boot_s < than.early_boot_s
