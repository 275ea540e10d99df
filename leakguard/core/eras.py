"""The eras of the OOM killer's formula, and the two scales on which it was adjusted."""

import re
from enum import StrEnum

ADJ_MIN = -1000
ADJ_MAX = 1000
OLD_ADJ_DISABLE = -17
OLD_ADJ_MAX = 15


class Era(StrEnum):
    """A formula, and with it who is taken among equals and whether a child dies instead."""

    LEGACY = "legacy"
    """Up to 2.6.35: address space, divided by ages, shifted by `oom_adj`; the first child dies."""
    PER_MILLE = "per_mille"
    """2.6.36 to 3.4, and RHEL 6: whole thousandths of the total; root gets -30."""
    ABSOLUTE_ROOT = "absolute_root"
    """3.5 to 3.13: pages; root's adjustment is 30 lower."""
    RELATIVE_ROOT = "relative_root"
    """3.14 to 4.16: root has 3 % of its own points less."""
    PLAIN_CHILDREN = "plain_children"
    """4.17 to 5.0: no bonus for root; the worst child still dies instead of its parent."""
    FIRST_WINS = "first_wins"
    """5.1 to 5.2: the chosen process itself; of equals the first scanned."""
    LAST_WINS = "last_wins"
    """5.3 to 5.8: of equals the last scanned."""
    SIGNED = "signed"
    """5.9 to today: points may be negative and still count."""


FIRST_AMONG_EQUALS = frozenset(Era) - {Era.LAST_WINS, Era.SIGNED}
CHILD_DIES = frozenset(
    {Era.LEGACY, Era.PER_MILLE, Era.ABSOLUTE_ROOT, Era.RELATIVE_ROOT, Era.PLAIN_CHILDREN}
)
_FROM = (
    ((5, 9), Era.SIGNED),
    ((5, 3), Era.LAST_WINS),
    ((5, 1), Era.FIRST_WINS),
    ((4, 17), Era.PLAIN_CHILDREN),
    ((3, 14), Era.RELATIVE_ROOT),
    ((3, 5), Era.ABSOLUTE_ROOT),
    ((2, 6, 36), Era.PER_MILLE),
)
_BACKPORTED = ((".el6", Era.PER_MILLE), (".el8", Era.LAST_WINS))
"""Distributions whose kernel is newer inside than its number: 2.6.32 and 4.18."""


def era_of_release(release: str) -> Era | None:
    """Give the era by a kernel's version text (`6.1.0-18-amd64`), None when it is no version.

    Distributions bring later formulas into older numbers, so what a running kernel shows of itself
    weighs more: see `leakguard.linux.oom_probe`.
    """
    numbers = re.match(r"(\d{1,3})\.(\d{1,4})(?:\.(\d{1,4}))?", release)
    if numbers is None:
        return None
    for mark, era in _BACKPORTED:
        if mark in release:
            return era
    return era_of_version(tuple(int(number or 0) for number in numbers.groups()))


def era_of_version(version: tuple[int, ...]) -> Era:
    """Give the era of an unpatched kernel by its numbers: `(4, 17)`, `(2, 6, 36)`."""
    return next((era for since, era in _FROM if version >= since), Era.LEGACY)


def oom_adj_to_score_adj(oom_adj: int) -> int:
    """Convert as the kernel does when `oom_adj` is written."""
    if oom_adj == OLD_ADJ_MAX:
        return ADJ_MAX
    return _truncated(oom_adj * ADJ_MAX, -OLD_ADJ_DISABLE)


def score_adj_to_oom_adj(oom_score_adj: int) -> int:
    """Convert as the kernel does when `oom_adj` is read: 8 was written, 470 is kept, 7 is read."""
    if oom_score_adj == ADJ_MAX:
        return OLD_ADJ_MAX
    return min(OLD_ADJ_MAX, _truncated(oom_score_adj * -OLD_ADJ_DISABLE, ADJ_MAX))


def _truncated(dividend: int, divisor: int) -> int:
    """Divide as C does, towards zero."""
    quotient = abs(dividend) // divisor
    return -quotient if dividend < 0 else quotient
