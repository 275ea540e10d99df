"""The kernel's own words about running out of memory, from 2.6.9 to 7.x, each as a pattern.

Every pattern is matched at the start of the kernel's text, so that a program that quotes a kill
line is not believed. A number counts only when the text goes on behind it: a cut line must not
turn pid 16547 into 165.
"""

import re

from leakguard.core.frozen import dataclass

_D = r"\d{1,18}"
_SCOPE = (
    r"(?P<scope>(?:Out of [Mm]emory|Memory cgroup out of memory|No available memory)[^:]{0,60})"
)
_NAME = r"\((?P<name>.{0,64})\)"

HEADER = re.compile(
    r"(?:(?P<invoker>.{0,64}?) invoked )?oom-killer: gfp_mask=(?P<gfp>0x[0-9a-f]+(?:\([^)]*\))?)"
    rf"(?:,\s+nodemask=(?:\(null\)|[\d,-]*\d))?(?:,\s+order=(?P<order>-?{_D})(?=,|\s*$))?(?P<rest>.*)",
    re.DOTALL,
)
HEADER_REST = re.compile(
    rf"(?:gfp_mask=\S+ +)?(?:order=(?P<order>-?{_D})(?=,|\s*$))?(?P<rest>,? *(?:oom\w*adj=.*)?)$",
    re.DOTALL,
)
CPU = re.compile(
    rf"(?:CPU: {_D} (?P<uid>UID: {_D} )?PID: (?P<pid>{_D}) Comm: |Pid: (?P<old_pid>{_D}), comm: )"
    r".{0,64}?(?:Not tainted|Tainted: .{1,200}?) (?P<kernel>\d{1,2}\.\d{1,3}\S{0,80})"
)
TABLE = re.compile(r"\[ *pid *\] +(?P<columns>uid +tgid +total_vm +[a-z_ ]*)")
ROW = re.compile(rf"\[ *(?P<pid>\d{{1,9}})\] +{_D} +{_D} +{_D} +{_D} +\d")
_CONSTRAINT = re.compile(r"oom-kill:constraint=(?P<constraint>CONSTRAINT_\w+),")
_CONSTRAINT_END = re.compile(rf",pid=(?P<pid>{_D}),uid=(?P<uid>{_D})")
TASK_IN = re.compile(
    r"Task (?:in )?(?P<cgroup>/.*?) killed as a result of limit of (?P<domain>/.*)", re.DOTALL
)
STATS_OF = re.compile(r"Memory cgroup stats for (?P<domain>/.*?):(?: cache:.*|\s*$)", re.DOTALL)
GROUP = re.compile(r"Tasks in (?P<domain>.*) are going to be killed due to memory\.oom\.group set")
SELECTED = re.compile(
    rf"{_SCOPE}: (?P<verb>[Kk]ill) process (?P<pid>{_D}) {_NAME}"
    rf" score (?P<score>-?{_D}) (?P<child>or|and)?",
    re.DOTALL,
)
SELECTED_CUT = re.compile(
    rf"{_SCOPE}: [Kk]ill process (?P<pid>{_D}) \((?P<name>.{{0,64}}?)\)",
    re.DOTALL,
)
_KILLED = rf"(?:{_SCOPE}: )?Killed process (?P<pid>{_D})(?:, UID (?P<uid>{_D}),)? "
KILLED = (
    re.compile(rf"{_KILLED}{_NAME} (?P<sizes>(?:total-vm|vsz):.*)", re.DOTALL),
    re.compile(
        rf"{_KILLED}\((?P<name>.*?)\)(?P<sizes>(?: sharing same memory)?\.?\s*)$", re.DOTALL
    ),
    re.compile(rf"{_KILLED}\((?P<name>.{{0,64}}?)\)(?P<sizes>.*)", re.DOTALL),
)
SHARES = re.compile(rf"Kill process (?P<pid>{_D}) \((?P<name>.*)\) sharing same memory", re.DOTALL)
SPARED = re.compile(
    rf"[^:]{{1,60}}: OOM victim (?P<pid>{_D}) \((?P<name>.*)\) is already exiting", re.DOTALL
)
REAPED = re.compile(rf"oom_reaper: reaped process (?P<pid>{_D}) \((?P<name>.*)\), now anon-rss:")
PANIC = re.compile(r"Kernel panic - not syncing: (?:[Oo]ut of memory|System is deadlocked on mem)")
BEGUN = re.compile(
    r"[^:]{1,60}emory[^:]{0,60}: [Kk]ill|Killed process |oom-kill:constraint=|Task in /"
    rf"|CPU: {_D} (?:UID: {_D} )?PID: |Pid: \d|\[ *pid *\] |\[ *\d{{1,9}}\] [ \d-]*$"
    r"|.{1,64} invoked oom-killer:"
)
"""Beginnings that a mailer, or a newline in a name, may have separated from their end."""

OWN = re.compile(r"^\[|[Kk]ill(?:ed)? process \d|oom-kill:|oom-killer:|oom_reaper:")
"""A line of its own, never the end of another."""

MORE_SIZES = re.compile(r"(?:total-vm|anon-rss|file-rss|shmem-rss|UID|pgtables|oom_score_adj):")

_FACTS = re.compile(
    rf"(?P<ram>{_D}) pages (?:of )?RAM\b|(?P<reserved>{_D}) (?:pages reserved|reserved pages)\b"
    rf"|Total swap *= *(?P<swap>{_D})kB"
    rf"|memory: usage (?P<usage>{_D})kB, limit (?P<limit>{_D})kB"
    rf"|memory\+swap: usage {_D}kB, limit (?P<memsw>{_D})kB"
    rf"|swap: usage {_D}kB, limit (?P<vswap>{_D})kB"
)
FACT_NAMES = {
    "ram": "ram_pages",
    "reserved": "reserved_pages",
    "swap": "swap_total_kb",
    "usage": "usage_kb",
    "limit": "limit_kb",
    "memsw": "memsw_limit_kb",
    "vswap": "swap_limit_kb",
}
_TRAITS = {
    "total_vm_kb": re.compile(rf"\b(?:total-vm|vsz):({_D})kB"),
    "anon_rss_kb": re.compile(rf"\banon-rss:({_D})kB"),
    "file_rss_kb": re.compile(rf"\bfile-rss:({_D})kB"),
    "shmem_rss_kb": re.compile(rf"\bshmem-rss:({_D})kB"),
    "pgtables_kb": re.compile(rf"\bpgtables:({_D})kB"),
    "uid": re.compile(rf"\bUID:({_D}) "),
    "oom_score_adj": re.compile(rf"\boom_score_adj:(-?{_D})(?!\S)"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A line that names a victim."""

    pid: int
    name: str
    scope: str | None = None
    uid: int | None = None
    score: int | None = None
    child_words: str | None = None
    numbers: dict[str, int]
    """What the end of the line says: sizes in kB, `oom_score_adj`."""


def is_worth_a_look(raw: str) -> bool:
    """Tell whether a line may begin something; all others are skipped unread."""
    return (
        "oom" in raw
        or "emory" in raw
        or "Killed" in raw
        or "pages RAM" in raw
        or "Total swap" in raw
        or "limit of /" in raw
    )


def killed(text: str, *, cut: bool = False) -> Named | None:
    """Read a "Killed process" line of any version; `cut`: its end is known to be missing."""
    tries = KILLED if cut else KILLED[:2]
    match = next((found for one in tries if (found := one.match(text)) is not None), None)
    if match is None:
        return None
    numbers = sizes(match["sizes"])
    uid = int(match["uid"]) if match["uid"] else numbers.get("uid")
    numbers.pop("uid", None)
    return Named(
        pid=int(match["pid"]), name=match["name"], scope=match["scope"], uid=uid, numbers=numbers
    )


_CHILD_WORDS = {
    "Kill and": "and children",
    "kill or": "or a child",
    "Kill or": "or sacrifice child",
}


def selected(text: str, *, cut: bool = False) -> Named | None:
    """Read "Kill process P (n) score S or sacrifice child" and what came before it."""
    match = SELECTED.match(text) or (SELECTED_CUT.match(text) if cut else None)
    if match is None:
        return None
    found = match.groupdict()
    score = found.get("score")
    return Named(
        pid=int(match["pid"]),
        name=match["name"],
        scope=match["scope"],
        score=None if score is None else int(score),
        child_words=_CHILD_WORDS.get(f"{found.get('verb')} {found.get('child')}"),
        numbers={},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What the `oom-kill:` line of 5.0 and later says."""

    constraint: str
    oom_memcg: str | None
    task_memcg: str
    name: str
    pid: int
    uid: int


def constraint(text: str) -> Constraint | None:
    """Read the `oom-kill:` line by searching: paths and names may hold commas."""
    head, end = _CONSTRAINT.match(text), text.rfind(",pid=")
    tail = None if end < 0 else _CONSTRAINT_END.match(text, end)
    cgroup = text.find(",task_memcg=")
    name = text.find(",task=", cgroup)
    if head is None or tail is None or not 0 < cgroup < name < end:
        return None
    _, _, domain = text[:cgroup].partition(",oom_memcg=")
    return Constraint(
        constraint=head["constraint"],
        oom_memcg=domain or None,
        task_memcg=text[cgroup + len(",task_memcg=") : name],
        name=text[name + len(",task=") : end],
        pid=int(tail["pid"]),
        uid=int(tail["uid"]),
    )


def sizes(text: str) -> dict[str, int]:
    """Give the numbers at the end of a kill line that are there in full."""
    found = ((key, trait.search(text)) for key, trait in _TRAITS.items())
    return {key: int(match[1]) for key, match in found if match is not None}


def facts(text: str) -> dict[str, int]:
    """Give the size of the domain that a line states, under its name in `Memory`."""
    match = _FACTS.match(text)
    if match is None:
        return {}
    return {FACT_NAMES[key]: int(value) for key, value in match.groupdict().items() if value}
