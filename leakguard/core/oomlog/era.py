"""Which formula the kernel ran, told from the words it printed.

The version is asked last: RHEL 6's "2.6.32" counts per mille, and RHEL 8's "4.18" prints what 5.x
prints and kills no children. Within one format it decides between eras that print the same.
"""

import re

from leakguard.core.eras import Era, era_of_version
from leakguard.core.oomlog.report import OomReport, Wording

_VERSION = re.compile(r"(\d+)\.(\d+)")


def era_of(report: OomReport) -> Era | None:
    """Give the era whose format the report has; None when it says too little."""
    wording = report.wording
    version = _version(wording.kernel)
    named = any(kill.confirmed for kill in report.kills)
    return (
        _by_table(wording, version, named=named)
        or _by_lines(wording, version)
        or (_after_children(wording, version, named=named) if _is_recent(report) else None)
        or (None if version is None else _by_version(version))
    )


def _is_recent(report: OomReport) -> bool:
    """Tell whether the `oom-kill:` line of 5.0 and later was printed."""
    return report.constraint is not None and report.wording.child_words is None


def _by_table(wording: Wording, version: tuple[int, int] | None, *, named: bool) -> Era | None:
    columns = set(wording.columns)
    if "rss_anon" in columns or wording.uid_in_cpu:
        return Era.SIGNED
    if wording.old_adj or ("oom_adj" in columns and "oom_score_adj" not in columns):
        return Era.LEGACY
    if "cpu" in columns:
        is_rhel6 = ".el6" in (wording.kernel or "")
        return (
            Era.PER_MILLE if is_rhel6 or version is None or version < (3, 5) else Era.ABSOLUTE_ROOT
        )
    if "nr_pmds" in columns:
        return Era.RELATIVE_ROOT
    if "nr_ptes" in columns:  # 3.7 to 4.0; without a version RHEL 7's 3.10, the most seen of them
        return (
            Era.RELATIVE_ROOT if version is not None and version >= (3, 14) else Era.ABSOLUTE_ROOT
        )
    if "pgtables_bytes" in columns and not wording.child_words:
        return _after_children(wording, version, named=named)
    return None


def _after_children(wording: Wording, version: tuple[int, int] | None, *, named: bool) -> Era:
    """Tell 5.1 and later apart; RHEL 8's 4.18 is built from 5.4 and printed no older words."""
    if version is not None and version >= (5, 9):
        return Era.SIGNED
    if version is not None and (version >= (5, 3) or ".el8" in (wording.kernel or "")):
        return Era.LAST_WINS
    if version is None and (wording.uid_in_kill or not named):
        return Era.SIGNED
    return Era.FIRST_WINS


def _by_lines(wording: Wording, version: tuple[int, int] | None) -> Era | None:
    if wording.child_words in {"or a child", "and children"} or wording.old_capitals:
        return Era.LEGACY
    if wording.child_words is not None:
        if version is None:
            return Era.PLAIN_CHILDREN if "pgtables_bytes" in wording.columns else None
        return min(_by_version(version), Era.PLAIN_CHILDREN, key=_AGES.index)
    return _after_children(wording, version, named=True) if wording.uid_in_kill else None


_AGES = tuple(Era)


def _by_version(version: tuple[int, int]) -> Era:
    era = era_of_version(version)
    return Era.PER_MILLE if era is Era.LEGACY else era  # the log says which 2.6 it is elsewhere


def _version(kernel: str | None) -> tuple[int, int] | None:
    match = _VERSION.match(kernel or "")
    return None if match is None else (int(match[1]), int(match[2]))
