"""Kills of this tick: counted once, attributed, and told to those whom they concern.

Whoever dies is told by one alert. The death of a guarded service has its own event
(`deaths.py`), so a kill of its root is told at the severity of a note; the kill of another of its
processes is critical; that of a neighbour in a domain that it shares is a warning; kills that
concern no guarded service are notes, gathered for a minute.
"""

from collections.abc import Mapping
from dataclasses import replace

from leakguard.core import kill_book
from leakguard.core.frozen import dataclass
from leakguard.core.kill_book import HOST, KillBook, SeenKill
from leakguard.core.kills import NamedKill
from leakguard.core.sample import Snapshot
from leakguard.core.state import DomainState
from leakguard.core.tick import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one tick brings of kills."""

    snapshot: Snapshot
    kills: tuple[NamedKill, ...] = ()
    no_names: str = ""
    """Why names cannot be had; empty when they can."""
    ending: bool = False
    """The last tick: nothing is waited for."""


def hear(
    tick: Tick, book: KillBook, heard: Heard, domains: Mapping[str, DomainState]
) -> tuple[KillBook, tuple[SeenKill, ...]]:
    """Take counters and names, tell what is new; gives what to remember, and what was told."""
    book = kill_book.read_counters(book, _readings(heard.snapshot), tick.now)
    if not (heard.kills or book.rises or book.credits or book.hushed):
        return kill_book.remember(book, (), tick.now), ()
    return _tell(tick, book, heard, domains)


def _tell(
    tick: Tick, book: KillBook, heard: Heard, domains: Mapping[str, DomainState]
) -> tuple[KillBook, tuple[SeenKill, ...]]:
    from leakguard.core.kill_teller import Teller, without_known  # most guards never see a kill

    book, fresh = without_known(tick, book, heard.kills)
    book = kill_book.settle(book, tick.now)
    book, due = kill_book.take_unnamed(book, tick.now, at_once=heard.ending)
    teller = Teller(tick, domains, dict(book.hushed))
    told = [*teller.named(fresh), *(teller.unnamed(rise, heard.no_names) for rise in due)]
    teller.break_silence(at_once=heard.ending)
    book = replace(book, hushed=teller.hushed)
    return kill_book.remember(book, told, tick.now), tuple(told)


def _readings(snapshot: Snapshot) -> dict[str, int]:
    readings = dict(snapshot.kill_counts)
    for key, sample in snapshot.domains.items():
        if sample.oom_kills is not None:
            readings[key] = max(sample.oom_kills, readings.get(key, 0))
    if snapshot.host is not None and snapshot.host.oom_kills is not None:
        readings[HOST] = snapshot.host.oom_kills
    return readings
