"""The document of `doctor --json`. Sizes in bytes, durations in seconds; `docs/doctor.md`."""

from typing import Any

from leakguard.cli._domain_json import domain_to_plain
from leakguard.core.badness import Candidate
from leakguard.core.codec import to_plain
from leakguard.core.findings import need_of, trend_gap, worst
from leakguard.core.findings.facts import ServiceFacts
from leakguard.core.findings.finding import Finding
from leakguard.core.severity import Severity
from leakguard.runtime.doctor.diagnosis import Diagnosis, DomainDiagnosis

Plain = dict[str, Any]  # a JSON object is untyped
_TENANTS = 20


def document(diagnosis: Diagnosis, status: Plain | None) -> Plain:
    """Give the whole diagnosis as plain data."""
    case, loudest = diagnosis.case, worst(diagnosis.everything())
    return {
        "ok": loudest is not Severity.CRITICAL,
        "worst": loudest.value if loudest else None,
        "daemon": None if status is None else status.get("pid"),
        "machine": to_plain(case.machine),
        "guard": to_plain(case.guard),
        "services": [_service(service) for service in case.services],
        "domains": [_domain(domain, case.services) for domain in diagnosis.domains],
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "notes": list(diagnosis.notes),
    }


def _service(service: ServiceFacts) -> Plain:
    return {**to_plain(service), "leaked_bytes": service.leaked_bytes}


def _domain(one: DomainDiagnosis, services: tuple[ServiceFacts, ...]) -> Plain:
    facts, domain, need = one.facts, one.facts.domain, need_of(one.facts, services)
    prediction = facts.prediction
    return {
        **domain_to_plain(domain),
        "throttled_from_bytes": domain.throttled_from_bytes,
        "capacity_bytes": need.capacity,
        "steady_bytes": need.steady,
        "leaked_bytes": need.leaked,
        "end": domain.end.value,
        "end_reason": domain.end_reason,
        "victim": _candidate(prediction.victim),
        "victim_service": facts.victim_service or None,
        "victim_unit": facts.victim_unit.name if facts.victim_unit else None,
        "runner_up": _candidate(prediction.runner_up),
        "kills": [candidate.pid for candidate in facts.killed],
        "group_kill": facts.group_kill or None,
        "certain": prediction.certain,
        "why_uncertain": prediction.why_uncertain,
        "processes": facts.processes,
        "hidden_processes": facts.hidden,
        "guard_inside": facts.guard_inside,
        "tenants": [to_plain(tenant) for tenant in facts.tenants[:_TENANTS]],
        "trend_unknown": trend_gap(facts, services),
        "text": one.text,
        "causes": [_finding(cause) for cause in one.causes],
    }


def _candidate(candidate: Candidate | None) -> Plain | None:
    if candidate is None:
        return None
    return {
        "pid": candidate.pid,
        "name": candidate.name,
        "oom_score_adj": candidate.oom_score_adj,
        "rss_pages": candidate.rss_pages,
    }


def _finding(finding: Finding) -> Plain:
    plain: Plain = to_plain(finding)
    return plain
