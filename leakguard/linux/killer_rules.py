"""Programs that kill for memory from user space, and the rule of each, in words."""

from collections.abc import Sequence

_EARLYOOM_AT = 10.0
KILLERS = frozenset(
    ("earlyoom", "nohang", "nohang-desktop", "systemd-oomd", "oomd", "bustd", "lmkd")
)
"""By the name that the kernel knows them by."""
_RULES = {
    "systemd-oomd": "whole cgroups that are marked ManagedOOM…=kill, when pressure stays above "
    "60 % for 30 s or swap is used above 90 % (its defaults; `oomctl` shows yours)",
    "oomd": "whole cgroups, by pressure and swap as its configuration says",
    "nohang": "the highest oom_score after its own corrections, when memory and swap are low or "
    "pressure is high",
    "bustd": "by pressure, the highest oom_score",
    "lmkd": "by pressure and oom_score_adj",
}


def rule_of(name: str, argv: Sequence[str]) -> str:
    """Say by which rule a program kills, as far as its command line tells."""
    if name == "earlyoom":
        return _earlyoom(argv)
    return _RULES.get(name, _RULES["nohang"])


def _earlyoom(argv: Sequence[str]) -> str:
    memory, swap = _percent(argv, "-m"), _percent(argv, "-s")
    by = "the largest resident size" if "--sort-by-rss" in argv else "the highest oom_score"
    return (
        f"{by}, when available memory is below {memory} and free swap below {swap} "
        "(SIGTERM, then SIGKILL)"
    )


def _percent(argv: Sequence[str], option: str) -> str:
    """Give an option of earlyoom such as `-m 5,2` or `-m5`; its default is 10 %."""
    for at, word in enumerate(argv):
        value = word.removeprefix(option) if word.startswith(option) else None
        if value == "" and at + 1 < len(argv):
            value = argv[at + 1]
        first = (value or "").partition(",")[0]
        if value is not None and _is_number(first):
            return f"{float(first):g} %"
    return f"{_EARLYOOM_AT:g} %"


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).isdigit() and word.isascii()
