"""Hands each service the calendar of its entry."""

from collections.abc import Mapping
from dataclasses import replace

from leakguard.core.calendar import NOTHING, Calendar
from leakguard.core.tick import Tick


def take(
    tick: Tick, known: Mapping[str, Calendar], news: Mapping[str, Calendar]
) -> Mapping[str, Calendar]:
    """Take what is new, for the services that are not read in this tick too."""
    if not news:
        return known
    calendars = {**known, **news}
    for name in tuple(tick.services):
        mark(tick, name, calendars)
    return calendars


def mark(tick: Tick, name: str, calendars: Mapping[str, Calendar]) -> None:
    """Hand a service the calendar of its entry."""
    service, calendar = tick.service(name), calendars.get(name, NOTHING)
    if calendar == NOTHING:
        calendar = calendars.get(name.partition(":")[0], NOTHING)
    if service.calendar is not calendar:
        tick.put(replace(service, calendar=calendar))
