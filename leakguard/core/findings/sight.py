"""What leakguard cannot see here, and what blurs what it sees."""

from leakguard.core.findings.facts import Case, GuardFacts, MachineFacts, Psi
from leakguard.core.findings.finding import Finding, processes
from leakguard.core.severity import Severity
from leakguard.core.units import counted, format_bytes

_BLUR = 0.05
"""An error above this share of the smallest domain can change who is named."""


def psi(machine: MachineFacts) -> Finding | None:
    """Memory pressure that the kernel does not tell."""
    if machine.psi is Psi.ON:
        return None
    off = machine.psi is Psi.OFF
    return Finding(
        key="psi_off",
        severity=Severity.INFO,
        what=f"memory pressure (PSI) is {machine.psi.value}",
        why="Nothing says that programs already wait for memory, so sizes alone tell how near the "
        "end is; systemd-oomd cannot work either.",
        fix="add psi=1 to the kernel's command line and boot again; a kernel without CONFIG_PSI "
        "does not know it"
        if off
        else f"Linux 4.20 or newer has it; this is {machine.release}",
        evidence={"psi": machine.psi.value},
    )


def kernel_log(machine: MachineFacts) -> Finding | None:
    """No kernel log: kills are counted, but nobody is named."""
    if machine.kmsg_readable or machine.journal_readable:
        return None
    return Finding(
        key="kernel_log_unreadable",
        severity=Severity.WARNING,
        what="neither /dev/kmsg nor the journal can be read",
        why="OOM kills are then known by counters only: that one happened, not who was killed and "
        "why; predictions cannot be checked against it.",
        fix="run leakguard as root or with CAP_SYSLOG, or add its user to the group "
        "systemd-journal; in a container: --device /dev/kmsg --cap-add SYSLOG",
        evidence={"kmsg_readable": False, "journal_readable": False},
    )


def dump_tasks(machine: MachineFacts) -> Finding | None:
    """`vm.oom_dump_tasks=0`: the report of a kill has no table."""
    if machine.dump_tasks:
        return None
    return Finding(
        key="oom_dump_tasks_off",
        severity=Severity.INFO,
        what="vm.oom_dump_tasks is 0",
        why="The kernel's report of a kill then lacks the table of candidates, so nobody can tell "
        "afterwards why this process was chosen.",
        fix="sysctl -w vm.oom_dump_tasks=1, and the same in /etc/sysctl.d/",
        evidence={"oom_dump_tasks": 0},
    )


def hidden_processes(case: Case) -> Finding | None:
    """Processes that cannot be read: the victim may be one of them."""
    machine, guard = case.machine, case.guard
    hidden = max((domain.hidden for domain in case.domains), default=0)
    veiled = machine.hidepid > 0 and not (guard is None or guard.can_trace)
    if not hidden and not veiled:
        return None
    return Finding(
        key="processes_hidden",
        severity=Severity.WARNING,
        what=f"{processes(hidden)} cannot be read"
        if hidden
        else f"/proc is mounted with hidepid={machine.hidepid}, which hides other users' processes",
        why="Whom the kernel would kill can be one of them, so the prediction is not certain.",
        fix="run leakguard as root or with CAP_SYS_PTRACE, or mount /proc with gid= of its group",
        evidence={"hidden_processes": hidden, "hidepid": machine.hidepid},
    )


def pid_namespace(machine: MachineFacts) -> Finding | None:
    """A container's own view of the processes."""
    if machine.sees_all:
        return None
    return Finding(
        key="pid_namespace",
        severity=Severity.INFO,
        what="only the processes of this pid namespace are seen",
        why="When the host runs out, the kernel chooses among all processes of the machine; those "
        "outside of this container are not known here. Its own cgroup is not affected.",
        fix="ask on the host as well; or run the container with --pid=host",
        evidence={"sees_all": False},
    )


def hidden_ancestors(machine: MachineFacts) -> Finding | None:
    """Cgroups above the ones that can be seen."""
    if not machine.ancestors_hidden:
        return None
    return Finding(
        key="ancestors_hidden",
        severity=Severity.INFO,
        what="cgroups above this container cannot be seen",
        why="A limit up there is unknown, not absent: it may be reached before the ones shown "
        "here.",
        fix="ask on the host as well; or run with --cgroupns=host and -v "
        "/sys/fs/cgroup:/sys/fs/cgroup:ro",
        evidence={"ancestors_hidden": True},
    )


def counter_error(case: Case) -> Finding | None:
    """The OOM killer's rough count of resident memory, which differs from what is read."""
    error, machine = case.machine.counter_error_bytes, case.machine
    if not error:
        return None
    smallest = min(
        (domain.held.capacity_bytes for domain in case.domains), default=machine.total_bytes
    )
    large = error > _BLUR * smallest
    return Finding(
        key="counter_error",
        severity=Severity.WARNING if large else Severity.INFO,
        what=f"the OOM killer's sizes are off by up to {format_bytes(error)} a process",
        why=f"Linux {machine.release} with {counted(machine.cpus, 'CPU')} chooses by a rough "
        "counter: of two processes nearer to each other than that, either may be taken.",
        fix="keep sizes or oom_score_adj of those who matter further apart; Linux 7.0 counts "
        "exactly",
        evidence={"counter_error_bytes": error, "cpus": machine.cpus},
    )


def cannot_trace(guard: GuardFacts) -> Finding | None:
    """No CAP_SYS_PTRACE: pss, uss and shared memory of other users are unknown."""
    if guard.can_trace:
        return None
    return Finding(
        key="cannot_trace",
        severity=Severity.INFO,
        what="leakguard lacks CAP_SYS_PTRACE",
        why="Of other users' processes it cannot tell shared from own memory (measures pss and "
        "uss; shmem that several processes map counts once each).",
        fix="AmbientCapabilities=CAP_SYS_PTRACE in its unit; in a container: --cap-add SYS_PTRACE",
        about="leakguard",
        evidence={"can_trace": False},
    )


MACHINE_RULES = (psi, kernel_log, dump_tasks, pid_namespace, hidden_ancestors)
CASE_RULES = (hidden_processes, counter_error)
GUARD_RULES = (cannot_trace,)
