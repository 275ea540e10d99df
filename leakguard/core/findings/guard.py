"""leakguard itself: will it still be there when it is needed?"""

from leakguard.core.findings.facts import Case, DomainFacts, GuardFacts
from leakguard.core.findings.finding import Finding, listed
from leakguard.core.severity import Severity
from leakguard.core.units import format_bytes
from leakguard.core.victims import DomainKind

_GUARD = "leakguard"
_PROTECT = "OOMScoreAdjust=-900 in its unit"


def guard_in_target_cgroup(case: Case, guard: GuardFacts) -> tuple[Finding, ...]:
    """leakguard below the same limit as what it guards."""
    return tuple(
        _shared(domain, names, guard)
        for domain in case.domains
        if domain.domain.kind is DomainKind.MEMCG and domain.guard_inside
        if (names := [s.name for s in case.services if domain.key in s.domains])
    )


def _shared(domain: DomainFacts, names: list[str], guard: GuardFacts) -> Finding:
    together = bool(domain.group_kill)
    return Finding(
        key="guard_in_target_cgroup",
        severity=Severity.CRITICAL if together else Severity.WARNING,
        what=f"{_subject(guard)} is in cgroup {domain.domain.path}, beside {listed(names)}",
        why=f"Its limit of {format_bytes(domain.domain.limit_bytes)} counts leakguard's own memory "
        "too"
        + (
            ", and memory.oom.group kills leakguard together with the service."
            if together
            else ", and at the limit leakguard waits for memory like the leaker, and can be the "
            "one who is killed."
        ),
        fix="run leakguard in a unit, container or cgroup of its own; `leakguard exec --cgroup` "
        "puts the command into one",
        about=_GUARD,
        evidence={"cgroup": domain.domain.path, "limit_bytes": domain.domain.limit_bytes},
    )


def _subject(guard: GuardFacts) -> str:
    return "leakguard" if guard.daemon else "a leakguard that is started from here"


def guard_is_victim(case: Case, guard: GuardFacts) -> tuple[Finding, ...]:
    """leakguard among those who would be killed, except for its own size."""
    if not guard.daemon:
        return ()
    return tuple(
        Finding(
            key="guard_is_victim",
            severity=Severity.CRITICAL,
            what=f"the kernel would kill leakguard (pid {guard.pid}) when {domain.words} is full",
            why="Nobody is watched any more then, and the leak goes on.",
            fix=_protection(guard),
            about=_GUARD,
            evidence={"pid": guard.pid, "oom_score_adj": guard.oom_score_adj},
        )
        for domain in case.domains
        if not domain.is_guards_own and guard.pid in {candidate.pid for candidate in domain.killed}
    )


def guard_unprotected(guard: GuardFacts) -> Finding | None:
    """leakguard ranked like any other process."""
    if not guard.daemon or guard.oom_score_adj < 0:
        return None
    able = "" if guard.can_lower else " It cannot lower that itself: it lacks CAP_SYS_RESOURCE."
    return Finding(
        key="guard_unprotected",
        severity=Severity.INFO,
        what=f"leakguard has oom_score_adj {guard.oom_score_adj}",
        why=f"The kernel ranks it like any other process, and it is small: it comes late.{able}",
        fix=_protection(guard),
        about=_GUARD,
        evidence={"oom_score_adj": guard.oom_score_adj, "can_lower": guard.can_lower},
    )


def guard_adj_handed_down(case: Case, guard: GuardFacts) -> Finding | None:
    """leakguard's own `oom_score_adj` in the children that it starts."""
    children = [s for s in case.services if s.started_by_guard]
    wrong = [
        service.name
        for service in children
        if any(one.oom_score_adj == guard.oom_score_adj != 0 for one in service.processes)
    ]
    if not guard.daemon or not wrong:
        return None
    protects = guard.oom_score_adj < 0
    return Finding(
        key="guard_adj_handed_down",
        severity=Severity.WARNING if protects else Severity.INFO,
        what=f"{listed(wrong)} {'has' if len(wrong) == 1 else 'have'} leakguard's own "
        f"oom_score_adj {guard.oom_score_adj}",
        why="leakguard starts its children at 0 where its own is below that; these were started "
        "otherwise, and are now protected like the guard itself."
        if protects
        else "Children inherit a positive value, so the kernel takes them first, and their "
        "leaks harm nobody else. leakguard itself is taken first as well.",
        fix="restart it through leakguard" if protects else f"set {_PROTECT}",
        about=_GUARD,
        evidence={"oom_score_adj": guard.oom_score_adj, "services": len(wrong)},
    )


def _protection(guard: GuardFacts) -> str:
    if guard.can_lower:
        return _PROTECT
    return f"{_PROTECT}: systemd sets it, leakguard cannot; in a container: --oom-score-adj=-900"


def _one(finding: Finding | None) -> tuple[Finding, ...]:
    return () if finding is None else (finding,)


def guard_findings(case: Case, guard: GuardFacts) -> tuple[Finding, ...]:
    """Apply every rule about leakguard itself."""
    victim = guard_is_victim(case, guard)
    return (
        *guard_in_target_cgroup(case, guard),
        *victim,
        *(() if victim else _one(guard_unprotected(guard))),
        *_one(guard_adj_handed_down(case, guard)),
    )
