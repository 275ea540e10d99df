"""What `leakguard victims --json` prints. Sizes in bytes or, where the name says so, in pages."""

from typing import Any

from leakguard.cli._domain_json import domain_to_plain
from leakguard.core.badness import Candidate, points, why_not
from leakguard.core.victims import KillerRules
from leakguard.linux.oom_machine import DomainReport
from leakguard.linux.oom_probe import OomKernel

Plain = dict[str, Any]  # a JSON object is untyped


def document(reports: tuple[DomainReport, ...], kernel: OomKernel) -> Plain:
    """Give every domain with its candidates, and how this kernel chooses."""
    return {
        "domains": [_domain(report, kernel.rules) for report in reports],
        "kernel": {
            "release": kernel.release,
            "era": kernel.rules.era,
            "rss_source": kernel.rss_source,
            "counter_error_pages": kernel.rules.counter_error_pages,
            "page_bytes": kernel.rules.page_bytes,
        },
    }


def _domain(report: DomainReport, rules: KillerRules) -> Plain:
    domain, prediction = report.domain, report.prediction
    projected = {scored.candidate.pid: scored.points for scored in prediction.ranked}
    rank = {pid: place for place, pid in enumerate(projected)}
    candidates = sorted(report.candidates, key=lambda one: rank.get(one.pid, len(rank)))
    return {
        **domain_to_plain(domain),
        "left_out_bytes": domain.left_out_bytes,
        "throttled_from_bytes": domain.throttled_from_bytes,
        "total_pages": domain.total_pages,
        "end": domain.end,
        "end_reason": domain.end_reason or None,
        "outcome": prediction.outcome,
        "next_victim": _pid(prediction.victim),
        "runner_up": _pid(prediction.runner_up),
        "dies_with_it": list(prediction.kills[1:]),
        "certain": prediction.certain,
        "why_uncertain": prediction.why_uncertain or None,
        "hidden": report.hidden,
        "candidates": [
            _candidate(one, domain.total_pages, rules, projected.get(one.pid)) for one in candidates
        ],
    }


def _candidate(
    candidate: Candidate, total_pages: int, rules: KillerRules, projected: int | None
) -> Plain:
    reason = why_not(candidate, rules.era)
    return {
        "pid": candidate.pid,
        "name": candidate.name,
        "badness_pages": points(candidate, total_pages, rules.era),
        "projected_badness_pages": projected,
        "oom_score_adj": candidate.oom_score_adj,
        "rss_pages": candidate.rss_pages,
        "file_pages": candidate.file_pages,
        "swap_pages": candidate.swap_pages,
        "pagetable_pages": candidate.pagetable_pages,
        "oom_group": candidate.group or None,
        "eligible": reason is None,
        "why_not": reason,
    }


def _pid(candidate: Candidate | None) -> int | None:
    return None if candidate is None else candidate.pid
