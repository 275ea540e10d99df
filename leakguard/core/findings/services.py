"""What of a guarded service, or of a process beside it, surprises when memory runs out."""

from leakguard.core.findings.facts import ADJ_NEVER, Case, DomainFacts, ProcessFacts, ServiceFacts
from leakguard.core.findings.finding import Finding, listed, processes
from leakguard.core.findings.units import own_unit
from leakguard.core.severity import Severity
from leakguard.core.units import format_bytes
from leakguard.core.victims import End

_LARGE = 0.05
"""A process above this share of the machine matters to everybody when it cannot be chosen."""
_USUAL_PARENTS = "sshd, a container monitor (conmon, crun) or a guard"


def adj_inherited(service: ServiceFacts) -> Finding | None:
    """-1000 that nobody asked for: it came from the process that started the service."""
    unit = own_unit(service)
    if unit is not None and unit.oom_score_adjust == ADJ_NEVER:
        return None  # its unit says so
    never = [one for one in service.processes if one.oom_score_adj == ADJ_NEVER]
    if not never:
        return None
    parent = next((one.parent for one in never if one.parent), "")
    return Finding(
        key="adj_inherited",
        severity=Severity.WARNING,
        what=f"{_who(never, service)} {'has' if len(never) == 1 else 'have'} oom_score_adj -1000",
        why="The kernel never chooses what has it, so others die for its leak. No unit asks for "
        + (
            f"it: it was inherited from {parent}."
            if parent
            else f"it: it was inherited from whoever started it, often {_USUAL_PARENTS}."
        ),
        fix=f"now: choom -p {never[0].pid} -n 0; for good: start it through its service manager, "
        "or `choom -n 0 -- COMMAND`",
        about=service.name,
        evidence={"processes": len(never), "pid": never[0].pid, "oom_score_adj": ADJ_NEVER},
    )


def unkillable(case: Case) -> tuple[Finding, ...]:
    """Large processes that nobody guards and the kernel never chooses."""
    guarded = {one.pid for service in case.services for one in service.processes}
    least = _LARGE * case.machine.total_bytes
    return tuple(
        Finding(
            key="unkillable_process",
            severity=Severity.INFO,
            what=f"{one.name} (pid {one.pid}) has oom_score_adj -1000",
            why=f"It holds {format_bytes(one.size_bytes)} and the kernel never chooses it, so "
            "others die when it grows." + (f" {one.parent} has it too." if one.parent else ""),
            fix=f"choom -p {one.pid} -n 0 makes it a candidate like any other",
            about=one.name,
            evidence={"pid": one.pid, "size_bytes": one.size_bytes, "oom_score_adj": ADJ_NEVER},
        )
        for one in case.biggest
        if one.oom_score_adj == ADJ_NEVER and one.pid not in guarded and one.size_bytes >= least
    )


def group_kill(service: ServiceFacts) -> Finding | None:
    """`memory.oom.group` on the cgroup of a service or above it."""
    group, unit = service.group_kill, own_unit(service)
    own_setting = unit is not None and unit.oom_policy == "kill"
    if group is None or (own_setting and group.path == service.cgroup):
        return None  # said by `oom_policy_kill`
    others = [name for name in group.names if name != service.name]
    return Finding(
        key="oom_group",
        severity=Severity.WARNING if others else Severity.INFO,
        what=f"memory.oom.group is 1 on cgroup {group.path}",
        why=f"When the kernel chooses one process in there, all of them die: {service.name}"
        + (f", and with it {listed(others)}." if others else " as a whole."),
        fix=f"echo 0 > {group.directory}/memory.oom.group; a unit: OOMPolicy=continue or stop",
        about=service.name,
        evidence={"cgroup": group.path, "others": len(others)},
    )


def kill_disabled(domain: DomainFacts) -> Finding | None:
    """`oom_kill_disable` of cgroup v1: a standstill instead of a kill."""
    if domain.domain.end is not End.HANG:
        return None
    path = domain.domain.path
    docker = "docker" in path or "libpod" in path
    return Finding(
        key="oom_kill_disabled",
        severity=Severity.CRITICAL if domain.processes else Severity.WARNING,
        what=f"cgroup {path} has oom_kill_disable 1",
        why=f"At its limit nobody is killed: {processes(domain.processes)} would stand still in "
        "state D, without a line in any log, until memory is given back or the limit is raised.",
        fix=f"echo 0 > {domain.directory}/memory.oom_control"
        + ("; for good: make the container again without --oom-kill-disable" if docker else ""),
        about=path,
        evidence={"processes": domain.processes, "limit_bytes": domain.domain.limit_bytes},
    )


def throttled(domain: DomainFacts) -> Finding | None:
    """`memory.high` below the limit, or without one: slow instead of dead."""
    high = domain.domain.throttled_from_bytes
    if high is None:
        return None
    now = domain.domain.usage_bytes >= high
    if domain.is_guards_own and not now:
        return None
    for_ever = domain.domain.end is End.THROTTLED
    limit = format_bytes(domain.domain.limit_bytes)
    upto = "there on" if for_ever else f"there to its limit of {limit}"
    return Finding(
        key="throttled",
        severity=Severity.WARNING,
        what=f"cgroup {domain.domain.path} has memory.high {format_bytes(high)}"
        + (" and no limit" if for_ever else ""),
        why=f"From {upto} the kernel slows it down instead of killing"
        + (", and that is now" if now else "")
        + ": a leak shows as latency and pressure, and the restart after a kill never comes.",
        fix="let leakguard restart it below that (threshold or `limit:`), or "
        + ("set MemoryMax= a little above it" if for_ever else "raise MemoryHigh= to the limit"),
        about=domain.domain.path,
        evidence={
            "memory_high_bytes": high,
            "limit_bytes": None if for_ever else domain.domain.limit_bytes,
            "usage_bytes": domain.domain.usage_bytes,
        },
    )


def other_killers(case: Case) -> tuple[Finding, ...]:
    """Programs beside the kernel that kill before it does."""
    return tuple(
        Finding(
            key="other_killer",
            severity=Severity.WARNING,
            what=f"{killer.name} (pid {killer.pid}) runs too",
            why=f"It kills before the kernel does, and by a rule of its own: {killer.rule}. What "
            "is predicted here holds only for what it leaves to the kernel.",
            fix=f"let it spare the guarded services, or stop it: systemctl disable --now "
            f"{killer.name}",
            about=killer.name,
            evidence={"pid": killer.pid},
        )
        for killer in case.machine.killers
    )


def _who(never: list[ProcessFacts], service: ServiceFacts) -> str:
    if len(never) == len(service.processes) > 1:
        return f"all processes of {service.name}"
    if len(never) == 1:
        return f"{service.name} ({never[0].name}, pid {never[0].pid})"
    return f"{len(never)} of {len(service.processes)} processes of {service.name}"


SERVICE_RULES = (adj_inherited, group_kill)
DOMAIN_RULES = (kill_disabled, throttled)
CASE_RULES = (unkillable, other_killers)
