"""What `doctor` finds on this machine: its domains, who lives in them, and every finding."""

from collections.abc import Iterator, Sequence

from leakguard.core.errors import LeakguardError
from leakguard.core.findings import Finding, causes, ending, examine
from leakguard.core.findings.facts import Case, DomainFacts, GuardFacts
from leakguard.core.frozen import dataclass
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.machine_facts import guard_facts, machine_facts
from leakguard.linux.oom_machine import OomMachine
from leakguard.linux.procfs import ProcFs
from leakguard.linux.systemd_units import SystemdUnits
from leakguard.runtime.doctor.domains import DomainReader
from leakguard.runtime.doctor.processes import Processes
from leakguard.runtime.doctor.services import ServiceReader
from leakguard.runtime.doctor.watched import Watched

_BIGGEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDiagnosis:
    """One domain: its facts, how it ends, and why it would run out."""

    facts: DomainFacts
    text: str
    causes: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything. `notes`: what could not be looked at."""

    case: Case
    domains: tuple[DomainDiagnosis, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def everything(self) -> Iterator[Finding]:
        """Give the findings and the causes of every domain."""
        yield from self.findings
        for domain in self.domains:
            yield from domain.causes


@dataclass(frozen=True, slots=True, kw_only=True)
class Us:
    """This very process, which ends soon and counts for nothing, and the daemon where one is."""

    pid: int
    daemon: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Where the machine is read; other places are trees of files, for tests."""

    sys: str = "/sys"
    files: str = ""
    """Prefix of /dev, /var and /run."""


def diagnose(
    proc: ProcFs,
    cgroups: CgroupFs,
    watched: Sequence[Watched],
    us: Us,
    units: SystemdUnits,
    *,
    roots: Roots | None = None,
    notes: Sequence[str] = (),
) -> Diagnosis:
    """Look at the machine without acting.

    Raises:
        ReadingError: there is no /proc to read.
    """
    places = roots or Roots()
    oom = OomMachine(proc, cgroups, places.sys)
    facts = machine_facts(proc, cgroups, oom.kernel, root=places.files)
    reports = list(oom.look(top=None, leave_out={us.pid}))
    processes = Processes(proc, oom.kernel.rules.page_bytes)
    processes.measure(one for report in reports for one in report.candidates)
    services = ServiceReader(proc, cgroups, units, processes).read(
        watched, [report.domain for report in reports]
    )
    guard = _guard(proc, cgroups, us)
    reader = DomainReader(proc, cgroups, oom, units, processes, machine=facts, sys_root=places.sys)
    domains = tuple(reader.read(report, services, watched, guard) for report in reports)
    case = Case(
        machine=facts,
        guard=guard,
        services=services,
        domains=domains,
        biggest=processes.biggest(_BIGGEST),
    )
    return _conclude(case, notes)


def _conclude(case: Case, notes: Sequence[str]) -> Diagnosis:
    """Say what follows from all that was read."""
    said = (
        DomainDiagnosis(
            facts=domain, text=ending(domain, case), causes=causes(domain, case.services)
        )
        for domain in case.domains
    )
    return Diagnosis(case=case, domains=tuple(said), findings=examine(case), notes=tuple(notes))


def _guard(proc: ProcFs, cgroups: CgroupFs, us: Us) -> GuardFacts | None:
    pid = us.pid if us.daemon is None else us.daemon
    try:
        return guard_facts(proc, cgroups, pid, daemon=us.daemon is not None)
    except LeakguardError:
        return None
