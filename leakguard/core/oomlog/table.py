"""The task table: its columns are read from its header, its rows by white space, never by width.

A uid of ten digits or a size of eleven overflows its column; a name may hold spaces.
"""

from collections.abc import Callable, Sequence

from leakguard.core.oomlog.patterns import ROW
from leakguard.core.oomlog.report import TaskRow

_FIELDS = {
    "uid": "uid",
    "tgid": "tgid",
    "total_vm": "total_vm_pages",
    "rss": "rss_pages",
    "rss_anon": "rss_anon_pages",
    "rss_file": "rss_file_pages",
    "rss_shmem": "rss_shmem_pages",
    "cpu": "cpu",
    "nr_ptes": "nr_ptes",
    "nr_pmds": "nr_pmds",
    "nr_puds": "nr_puds",
    "pgtables_bytes": "pgtables_bytes",
    "swapents": "swapents_pages",
    "oom_adj": "oom_adj",
    "oom_score_adj": "oom_score_adj",
}
_NEEDED = {"uid", "tgid", "total_vm", "rss"}


def columns_of(text: str) -> tuple[str, ...] | None:
    """Give the columns between pid and name; None while the header is not complete."""
    names = text.split()
    if not _NEEDED.issubset(names) or names[-1] != "name":
        return None
    return tuple(names[:-1])


def split_row(
    text: str, columns: Sequence[str], *, cut: bool = True
) -> tuple[int, list[int], str] | None:
    """Give pid, numbers and name of a row; None when it is no row of this table.

    `cut`: a row without a name is one too; a process may have an empty name.

    Other lines that begin with `[ 3 ]` and numbers stand between the rows of some kernels.
    """
    match = ROW.match(text)
    if match is None:
        return None
    parts = text[text.index("]") + 1 :].split(None, len(columns))
    if len(parts) < len(columns) + (not cut):
        return None
    name = parts[len(columns)].rstrip() if len(parts) > len(columns) else ""
    try:
        numbers = [int(part) for part in parts[: len(columns)]]
    except ValueError:
        return None
    if " " in name and name.replace(" ", "").isdigit():
        return None
    return int(match["pid"]), numbers, name


def parse_row(text: str, columns: Sequence[str]) -> TaskRow | None:
    """Read one row; None when it is no row of this table or says what cannot be."""
    found = split_row(text, columns)
    if found is None:
        return None
    pid, numbers, name = found
    values = {
        _FIELDS[column]: n for column, n in zip(columns, numbers, strict=True) if column in _FIELDS
    }
    if not all(check(values) for check in _PLAUSIBLE):
        return None
    return TaskRow(pid=pid, name=name, **values)


_PLAUSIBLE: tuple[Callable[[dict[str, int]], bool], ...] = (
    lambda row: -1000 <= row.get("oom_score_adj", 0) <= 1000,
    lambda row: -17 <= row.get("oom_adj", 0) <= 15,
    lambda row: min(row[key] for key in ("uid", "tgid", "total_vm_pages", "rss_pages")) >= 0,
)
