"""Compare what was foretold before a kill with what the kernel did."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.vm.machine import Boot

PAGE_BYTES = 4096
MIB = 1024 * 1024
NEAR_PAGES = 256
"""Closer than this the kernel's own counters may order two processes either way."""
NEAR_SHARE = 0.01
"""Of the domain's limit: how far outside its interval a headroom may be and count as right."""
CHOSEN = ("kill", "group")
"""Outcomes in which the kernel looks for the one with the most points."""
GROWS_THE_LEAKER = ("anon", "sparse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The answer of `leakguard victims`, and where the growth of the leaker leads from there."""

    outcome: str
    """`kill` or `group` where the kernel chooses; otherwise nobody is foretold."""
    next_victim: int | None
    runner_up: int | None
    dies_with_it: frozenset[int]
    certain: bool
    victim: int | None
    """Who is on top when the leaker has taken the headroom."""
    sure: bool
    """Whether the same one is on top over the whole interval, and by more than a trifle."""
    low_bytes: int
    high_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One observed run out of memory; `forecast` is missing where leakguard gave none."""

    plan: str
    case: str
    kind: str
    domain: str | None
    names: dict[int, str]
    leaker: int
    victims: tuple[int, ...]
    """In order; with memory.oom.group the kernel names the first twice, here it stands once."""
    taken_bytes: int
    estimate_bytes: int
    forecast: Forecast | None
    why_none: str
    record: dict[str, Any]

    @property
    def victim(self) -> int | None:
        """The first who was killed."""
        return self.victims[0] if self.victims else None

    @property
    def right(self) -> bool:
        """Whether the forecast named the one who died."""
        return self.forecast is not None and self.forecast.victim == self.victim

    @property
    def inside(self) -> bool:
        """Whether the leaker could take about as much as was foretold."""
        if self.forecast is None:
            return False
        said, slack = self.forecast, NEAR_SHARE * self.forecast.limit_bytes
        return said.low_bytes - slack <= self.taken_bytes <= said.high_bytes + slack

    def name(self, pid: int | None) -> str:
        """Give the name of a process of the case."""
        return "-" if pid is None else self.names.get(pid, f"pid {pid}")


def kills(boots: Iterable[Boot]) -> list[Kill]:
    """List all kills of these boots."""
    return [_kill(boot.plan, record) for boot in boots for record in boot.of("kill")]


def _kill(plan: str, record: dict[str, Any]) -> Kill:
    prediction = record["prediction"]
    known = "error" not in prediction
    return Kill(
        plan=plan,
        case=record["case"],
        kind="memcg" if record["domain"] else "host",
        domain=record["domain"],
        names={int(pid): name for pid, name in record["members"].items()},
        leaker=record["leaker"],
        victims=tuple(dict.fromkeys(kill["pid"] for kill in record["kills"])),
        taken_bytes=record["taken_bytes"],
        estimate_bytes=record["estimate_bytes"],
        forecast=_forecast(record) if known else None,
        why_none=prediction.get("error", ""),
        record=record,
    )


def _forecast(record: dict[str, Any]) -> Forecast:
    said = record["prediction"]
    low, high = said["headroom_bytes"]["low"], said["headroom_bytes"]["high"]
    points = {
        one["pid"]: one["projected_badness_pages"] for one in said["candidates"] if one["eligible"]
    }
    grows = record["kind_of_leak"] in GROWS_THE_LEAKER
    (at_low, gap_low), (at_high, gap_high) = (
        _top(points, record["leaker"], size // PAGE_BYTES if grows else 0) for size in (low, high)
    )
    near = max(NEAR_PAGES, 2 * said["kernel"]["counter_error_pages"])
    chosen = said["outcome"] in CHOSEN
    return Forecast(
        outcome=said["outcome"],
        next_victim=said["next_victim"],
        runner_up=said["runner_up"],
        dies_with_it=frozenset(said["dies_with_it"]),
        certain=said["certain"],
        victim=at_high if chosen else None,
        sure=chosen and at_low == at_high and min(gap_low, gap_high) > near,
        low_bytes=low,
        high_bytes=high,
        limit_bytes=said["limit_bytes"],
    )


def _top(points: dict[int, int], leaker: int, more_pages: int) -> tuple[int | None, int]:
    """Give who has the most points, and by how many, when the leaker has so many pages more."""
    if not points:
        return None, 0
    then = {pid: value + (more_pages if pid == leaker else 0) for pid, value in points.items()}
    order = sorted(then, key=lambda pid: then[pid], reverse=True)
    gap = then[order[0]] - then[order[1]] if len(order) > 1 else NEAR_PAGES + 1
    return order[0], gap
