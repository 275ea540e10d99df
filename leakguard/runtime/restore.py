"""From what the store kept to the state the engine goes on from."""

from collections.abc import Mapping

from leakguard.core import leave
from leakguard.core.earlier_boot import in_this_boot
from leakguard.core.flight import resumed
from leakguard.core.instant import Instant
from leakguard.core.plan import Plan
from leakguard.core.sample import Incarnation, Measure
from leakguard.core.series import Series
from leakguard.core.state import ServiceRecord, ServiceState, State
from leakguard.linux.children import Children
from leakguard.linux.marked import find_marked
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.same_run import is_same_run
from leakguard.store.base import Saved, SavedSamples


def restore(
    saved: Saved,
    *,
    measures: Mapping[str, Measure] | None = None,
    now: Instant | None = None,
) -> State:
    """Build the state: records as they were, series of the incarnations that are still known.

    `measures` are the ones that are configured now, by the name under `services`; a series of
    another one is not gone on with, nor one of another boot than that of `now`: its times say
    nothing then. Left out, neither is compared.
    """
    kept = {
        name: samples
        for name, samples in saved.samples.items()
        if (now is None or now.boot_id == samples.incarnation.boot_id)
        and (measures or {}).get(name.partition(":")[0], samples.measure) is samples.measure
    }
    records = {n: in_this_boot(r, now) if now else r for n, r in saved.records.items()}
    own = records.pop("", ServiceRecord(name=""))
    services = {
        name: ServiceState(
            record=leave.resumed(resumed(record)), series=_series(record, kept.get(name))
        )
        for name, record in records.items()
    }
    return State(instance=saved.instance, serial=saved.serial, services=services, own=own)


def known_incarnations(state: State) -> dict[str, Incarnation]:
    """Give the last incarnation of each service."""
    return {
        name: service.record.incarnation
        for name, service in state.services.items()
        if service.record.incarnation is not None
    }


def mark_of(plan: Plan, service: str) -> str:
    """Give the mark that the child of a service carries; without a state file it has none."""
    return f"{plan.state.path}:{service}" if plan.state.path else ""


def adopt_children(
    plan: Plan, known: Mapping[str, Incarnation], children: Children, proc: ProcFs
) -> None:
    """Take over children that outlived an earlier daemon, so that no second one is started.

    Those that it started but never got to note are known by their mark.
    """
    missed: dict[str, str] = {}
    for service in (s.rules.name for s in plan.services if s.rules.restart.starts):
        incarnation, mark = known.get(service), mark_of(plan, service)
        if incarnation is not None and proc.is_running(incarnation):
            children.adopt(service, incarnation)
        elif mark:
            missed[mark] = service
    for mark, found in find_marked(proc, missed).items():
        children.adopt(missed[mark], found)


def _series(record: ServiceRecord, samples: SavedSamples | None) -> Series:
    """Rebuild the series of the incarnation in the record; another one's samples are no past."""
    if samples is None or not is_same_run(samples.incarnation, record.incarnation):
        return Series(record.lives)
    if record.renewed is not None:
        samples = samples.since(record.renewed.boot_s)
    return samples.series(record.lives)
