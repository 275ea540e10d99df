"""Every rule, applied to everything that is known."""

from collections.abc import Iterator

from leakguard.core.findings import ending_settings, services, sight, units
from leakguard.core.findings.facts import Case
from leakguard.core.findings.finding import Finding, by_severity
from leakguard.core.findings.guard import guard_findings


def examine(case: Case) -> tuple[Finding, ...]:
    """Give all findings, the loudest first; the causes of each domain are told apart from them."""
    return by_severity(finding for finding in _all(case) if finding is not None)


def _all(case: Case) -> Iterator[Finding | None]:
    for machine_rule in (*ending_settings.RULES, *sight.MACHINE_RULES):
        yield machine_rule(case.machine)
    for case_rule in sight.CASE_RULES:
        yield case_rule(case)
    for list_rule in services.CASE_RULES:
        yield from list_rule(case)
    for service in case.services:
        for service_rule in (*units.SERVICE_RULES, *services.SERVICE_RULES):
            yield service_rule(service)
        yield units.managed_by_oomd(service, case.machine)
    for domain in case.domains:
        for domain_rule in services.DOMAIN_RULES:
            yield domain_rule(domain)
    if case.guard is not None:
        yield from guard_findings(case, case.guard)
        for guard_rule in sight.GUARD_RULES:
            yield guard_rule(case.guard)
