"""Why a guarded service died: noticed when its root process is gone, told when evidence is in.

What a restart of ours ended is that restart's affair. For all else the counters, the kernel's log
and the logs of the killers in user space have some seconds to speak; then one `ServiceDied` says
what they said. It is what people are woken by: `ServiceMissing` and the kill itself are notes
beside it. A child that ends with code 0 did not die.
"""

from collections.abc import Iterable
from dataclasses import replace

from leakguard.core.kill_book import KillBook
from leakguard.core.sample import Absent, Incarnation, Reading, Sample
from leakguard.core.state import Death, ServiceState
from leakguard.core.tick import Tick


def notice(tick: Tick, reading: Reading, *, still_running: bool) -> None:
    """See whether a reading shows that a service died; called before the reading is observed.

    `still_running`: what ran last runs on, and only the target names another process, or none.
    """
    service = tick.services.get(reading.service)
    if service is None:
        return
    record, old = service.record, service.record.incarnation
    if old is None or record.flight is not None or old.boot_id != tick.now.boot_id:
        return
    known = (service.absent_since is not None or record.missing) and not service.let_go
    let_go = still_running and isinstance(reading, Absent)
    if service.let_go != let_go:
        service = tick.put(replace(service, let_go=let_go))
    if known or still_running:
        return
    match reading:
        case Sample() if reading.incarnation != old:
            _pend(tick, service, old, exit_code=None)
        case Absent() if reading.ambiguous or reading.taken_away or reading.exit_code == 0:
            pass
        case Absent():
            _pend(tick, service, old, exit_code=reading.exit_code)
        case _:
            pass


def conclude(tick: Tick, book: KillBook, *, no_names: str = "", ending: bool = False) -> None:
    """Tell of the deaths that are explained, or that have waited long enough."""
    dying = [name for name, service in tick.services.items() if service.record.dying]
    if not dying:
        return
    from leakguard.core.death_teller import tell_ripe  # most guards never see a death

    for name in dying:
        tell_ripe(tick, book, name, no_names=no_names, ending=ending)


def unexplained(services: Iterable[tuple[str, ServiceState]]) -> tuple[tuple[str, int], ...]:
    """Give service and pid of the deaths that wait, for whoever can look into a journal."""
    return tuple((n, death.incarnation.pid) for n, s in services for death in s.record.dying)


def _pend(tick: Tick, service: ServiceState, old: Incarnation, *, exit_code: int | None) -> None:
    last = service.last if service.last is not None and service.last.incarnation == old else None
    death = Death(incarnation=old, noticed=tick.now, last=last, exit_code=exit_code)
    tick.amend(service.record.name, dying=(*service.record.dying, death))
