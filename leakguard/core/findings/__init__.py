"""The rules of `leakguard doctor`: facts in, findings out. Pure.

finding           what a finding is
facts             what the rules look at
ending_settings   settings that make a lack of memory end otherwise
sight             what cannot be seen
units, services   what surprises about guarded services
guard             leakguard itself
causes            a leak, or too many services for the memory
ending            what would happen, in words
examine           every rule at once
"""

from leakguard.core.findings.causes import causes, need_of, trend_gap
from leakguard.core.findings.ending import ending, title
from leakguard.core.findings.examine import examine
from leakguard.core.findings.finding import Finding, by_severity, worst

__all__ = [
    "Finding",
    "by_severity",
    "causes",
    "ending",
    "examine",
    "need_of",
    "title",
    "trend_gap",
    "worst",
]
