"""Settings of systemd units that surprise when a service is killed."""

from leakguard.core.findings.facts import ADJ_NEVER, MachineFacts, ServiceFacts, UnitFacts
from leakguard.core.findings.finding import Finding
from leakguard.core.severity import Severity

_OOMD = "systemd-oomd"


def oom_policy_stop(service: ServiceFacts) -> Finding | None:
    """`OOMPolicy=stop`, the default: one kill stops the whole unit."""
    unit = own_unit(service)
    if unit is None or unit.oom_policy != "stop":
        return None
    many = len(service.processes) > 1
    whole = "all its processes" if many else "the unit"
    after = (
        f"starts it again (Restart={unit.restart})"
        if unit.comes_back
        else f"does not start it again: Restart={unit.restart or 'no'} does not count a kill by "
        "the OOM killer"
    )
    return Finding(
        key="oom_policy_stop",
        severity=Severity.INFO if unit.comes_back else Severity.WARNING,
        what=f"{unit.name} has OOMPolicy=stop",
        why=f"When the kernel kills any one process of {service.name}, systemd stops {whole} and "
        f"{after}.",
        fix=f"systemctl edit {unit.name}: [Service] OOMPolicy=continue keeps the others running"
        + ("" if unit.comes_back else "; Restart=on-failure starts it again"),
        about=service.name,
        evidence=_evidence(unit),
    )


def oom_policy_kill(service: ServiceFacts) -> Finding | None:
    """`OOMPolicy=kill`: the kernel kills the whole unit at once."""
    unit = own_unit(service)
    if unit is None or unit.oom_policy != "kill":
        return None
    after = "starts it again" if unit.comes_back else "does not start it again"
    return Finding(
        key="oom_policy_kill",
        severity=Severity.INFO if unit.comes_back else Severity.WARNING,
        what=f"{unit.name} has OOMPolicy=kill",
        why=f"When one process of {service.name} is chosen, the kernel kills all of them "
        f"(memory.oom.group), and systemd {after} (Restart={unit.restart or 'no'}).",
        fix=f"right where the processes are no use without each other; else systemctl edit "
        f"{unit.name}: [Service] OOMPolicy=continue",
        about=service.name,
        evidence=_evidence(unit),
    )


def score_adjust_never(service: ServiceFacts) -> Finding | None:
    """`OOMScoreAdjust=-1000` on a guarded service: others die for its leak."""
    unit = own_unit(service)
    if unit is None or unit.oom_score_adjust != ADJ_NEVER:
        return None
    return Finding(
        key="oom_score_adjust_never",
        severity=Severity.WARNING,
        what=f"{unit.name} has OOMScoreAdjust=-1000",
        why=f"The kernel never chooses {service.name}: when it leaks, everybody else in its "
        "domain is killed first, and in a cgroup of its own the limit ends in a standstill.",
        fix=f"systemctl edit {unit.name}: [Service] OOMScoreAdjust=-500 still favours it",
        about=service.name,
        evidence=_evidence(unit),
    )


def managed_by_oomd(service: ServiceFacts, machine: MachineFacts) -> Finding | None:
    """`ManagedOOM…=kill` on the unit or a slice above it: systemd-oomd may kill it first."""
    unit = own_unit(service)
    holder = next((other for other in reversed(service.units) if other.watched_by_oomd), None)
    if holder is None or unit is None or unit.preference == "omit":
        return None
    runs = any(killer.name == _OOMD for killer in machine.killers)
    settings = {
        "ManagedOOMSwap": holder.managed_swap,
        "ManagedOOMMemoryPressure": holder.managed_pressure,
    }
    rules = " and ".join(f"{name}=kill" for name, value in settings.items() if value == "kill")
    state = "may" if runs else "does not run now; once it does, it may"
    # The unit that carries the setting is no candidate itself, only the cgroups below it are.
    prey = f"a cgroup below {unit.name}" if holder is unit else f"all of {service.name}"
    return Finding(
        key="managed_oom",
        severity=Severity.WARNING if runs and holder is not unit else Severity.INFO,
        what=f"{holder.name} has {rules}",
        why=f"systemd-oomd {state} kill {prey} under pressure, before a limit is reached and "
        "whatever the kernel would choose.",
        fix=f"systemctl edit {unit.name}: [Service] ManagedOOMPreference=omit (or avoid)",
        about=service.name,
        evidence={"holder": holder.name, "oomd_runs": runs, **_evidence(unit)},
    )


def own_unit(service: ServiceFacts) -> UnitFacts | None:
    """Give the unit that the service is, None where it is none or only lies in a slice."""
    return next((unit for unit in service.units if not unit.name.endswith(".slice")), None)


def _evidence(unit: UnitFacts) -> dict[str, int | float | str | bool | None]:
    return {
        "unit": unit.name,
        "oom_policy": unit.oom_policy,
        "oom_score_adjust": unit.oom_score_adjust,
        "restart": unit.restart,
    }


SERVICE_RULES = (oom_policy_stop, oom_policy_kill, score_adjust_never)
