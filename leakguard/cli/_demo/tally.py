"""What the users of the service lived through, counted from the record of each request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """How one request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """Nobody listened: the caller knows at once and can go elsewhere."""
    CUT_OFF = "cut_off"
    """The service died with the request in hand."""
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: when it was sent and over (boot clock), how it ended, which process answered."""

    sent_s: float
    done_s: float
    fate: Fate
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A graceful stop: the process `pid` was asked at `at_s` to end."""

    pid: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The counts of one act."""

    sent: int
    lost: int
    cut_off: int
    refused: int
    lost_outside_restart: int
    longest_outage_s: float


def tally(requests: Iterable[Request], stops: Sequence[Stop] = ()) -> Tally:
    """Count; a loss belongs to a restart when it was sent from the stop to the next good answer."""
    record = sorted(requests, key=lambda request: request.sent_s)
    lost = [request for request in record if request.fate is not Fate.ANSWERED]
    windows = [(stop.at_s, _back_s(record, stop)) for stop in stops]
    outside = [r for r in lost if not any(a <= r.sent_s <= b for a, b in windows)]
    return Tally(
        sent=len(record),
        lost=len(lost),
        cut_off=sum(request.fate is Fate.CUT_OFF for request in lost),
        refused=sum(request.fate is Fate.REFUSED for request in lost),
        lost_outside_restart=len(outside),
        longest_outage_s=round(longest_outage_s(record), 3),
    )


def longest_outage_s(record: Sequence[Request]) -> float:
    """From the first request that was lost to the next good answer, at its longest."""
    longest, began = 0.0, None
    for request in record:
        if request.fate is not Fate.ANSWERED:
            began = request.sent_s if began is None else began
            longest = max(longest, request.done_s - began)
        elif began is not None:
            longest, began = max(longest, request.done_s - began), None
    return longest


def _back_s(record: Sequence[Request], stop: Stop) -> float:
    """When the next process gave its first answer; never: the restart did not end."""
    good = (
        request.done_s
        for request in record
        if request.sent_s >= stop.at_s and request.pid not in (None, stop.pid)
    )
    return min(good, default=float("inf"))
