"""Services that are one process under several names: a restart of one is a restart of all.

Two entries may match the same process, each with rules of its own. Whichever wants a restart
first has it; the others wait for its end, and then see another process.
"""

from collections.abc import Iterator

from leakguard.core.sample import Incarnation
from leakguard.core.tick import Tick

_LATELY_S = 60.0
"""A restart that ended so long ago may be the one whose new process is only now seen."""


def in_the_way(tick: Tick, name: str) -> str:
    """Say under which other name the process of a service is being restarted; empty when none."""
    sample = tick.service(name).sample
    for other in _twins(tick, name, sample.incarnation if sample is not None else None):
        if tick.services[other].record.flight is not None:
            return f"it is being restarted as {other}, which is the same process"
    return ""


def restarted_as(tick: Tick, name: str, run: Incarnation) -> str:
    """Give the other name under which leakguard restarted a service; empty when it did not."""
    for other in _twins(tick, name, run, tick.service(name).record.incarnation):
        record = tick.services[other].record
        ended = record.flight_ended
        if record.flight is not None or (ended is not None and tick.now.since(ended) < _LATELY_S):
            return other
    return ""


def _twins(tick: Tick, name: str, *runs: Incarnation | None) -> Iterator[str]:
    """Give the other services that are, or in a restart under way were, one of these runs."""
    own = {run.process for run in runs if run is not None}
    for other, service in tick.services.items():
        flight = service.record.flight
        theirs = (service.record.incarnation, flight.old if flight is not None else None)
        if other != name and any(run.process in own for run in theirs if run is not None):
            yield other
