"""What each kind of kernel line adds to the report it belongs to."""

from collections.abc import Callable

from leakguard.core.frozen import dataclass
from leakguard.core.oomlog import patterns
from leakguard.core.oomlog.draft import By, Draft, KillDraft
from leakguard.core.oomlog.lines import Line
from leakguard.core.oomlog.patterns import Named
from leakguard.core.oomlog.table import columns_of, split_row
from leakguard.core.oomlog.voice import Voice


@dataclass(slots=True, kw_only=True)
class Place:
    """Where a line stands: who said it, its number, and what is known to be missing."""

    voice: Voice
    line: Line
    line_no: int
    cut: bool = False
    """The end of the line never came."""
    lost: bool = False
    """Records before this one were lost."""

    def current(self) -> Draft:
        """Give the report that a fact belongs to."""
        return self.voice.current(self.line, self.line_no)


def understood(at: Place, text: str) -> bool:
    """Read one line of the kernel; False when it says nothing about an OOM kill."""
    if text[:1] == "[":  # or a process whose name begins so has asked for memory
        return _row(at, text) or ("oom-killer: " in text and _header(at, text))
    return any(words in text and reader(at, text) for words, reader in _READERS)


def _header(at: Place, text: str) -> bool:
    match = patterns.HEADER.match(text)
    if match is None:
        return False
    draft = at.voice.open(at.line, at.line_no)
    draft.headed = True
    draft.invoker, draft.gfp_mask = match["invoker"], match["gfp"]
    _read_order(draft, match["order"], match["rest"])
    return True


def _header_rest(at: Place, text: str) -> bool:
    """Read the end of a header that a mailer wrapped."""
    draft = at.voice.drafts[-1] if at.voice.drafts else None
    if draft is None or not draft.headed or draft.kernel is not None or draft.kills:
        return False
    match = patterns.HEADER_REST.match(text)
    if match is None:
        return False
    _read_order(draft, match["order"], match["rest"])
    return True


def _read_order(draft: Draft, order: str | None, rest: str) -> None:
    if order is not None:
        draft.order = int(order)
    if "adj=" in rest:
        draft.old_adj = "oom_score_adj=" not in rest


def _cpu(at: Place, text: str) -> bool:
    draft = at.voice.drafts[-1] if at.voice.drafts else None
    if draft is None or not draft.headed or draft.kernel is not None or draft.kills:
        return False
    match = patterns.CPU.match(text)
    if match is None:
        return False
    draft.touch(at.line, at.line_no)
    draft.kernel, draft.uid_in_cpu = match["kernel"], match["uid"] is not None
    draft.invoker_pid = int(match["pid"] or match["old_pid"])
    return True


def _row(at: Place, text: str) -> bool:
    """Read a row of the task table, or its header."""
    draft = at.voice.with_table()
    if draft is not None and not draft.is_stale(at.line, at.line_no):
        found = split_row(text, draft.columns, cut=at.cut)
        if found is not None:
            draft.add_row(text, found[0])
            draft.gaps = draft.gaps or at.lost or draft is not at.voice.drafts[-1]
            draft.touch(at.line, at.line_no)
            return True
    match = patterns.TABLE.match(text)
    columns = None if match is None else columns_of(match["columns"])
    if columns is None:
        return False
    _table(at, columns)
    return True


def _table(at: Place, columns: tuple[str, ...]) -> None:
    draft = at.current()
    if draft.columns:  # a second table and nobody died: two reports are mixed
        draft.gaps = True
        draft = at.voice.open(at.line, at.line_no)
        draft.gaps = True
    draft.columns = columns


def _facts(at: Place, text: str) -> bool:
    found = patterns.facts(text)
    if not found:
        return False
    draft = at.current()
    draft.facts = found | draft.facts
    return True


def _more_sizes(at: Place, text: str) -> bool:
    """Read the end of a kill line that a mailer wrapped."""
    kill = at.voice.last_kill
    if kill is None or at.line_no > at.voice.last_kill_no + 2:
        return False
    if patterns.MORE_SIZES.match(text) is None:
        return False
    numbers = patterns.sizes(text)
    uid = numbers.pop("uid", None)
    kill.uid = uid if kill.uid is None else kill.uid
    kill.numbers = numbers | kill.numbers
    return True


def _task_in(at: Place, text: str) -> bool:
    match = patterns.TASK_IN.match(text)
    if match is None:
        return False
    draft = at.current()
    draft.oom_memcg, draft.task_memcg = match["domain"].rstrip(), match["cgroup"]
    return True


def _stats_of(at: Place, text: str) -> bool:
    match = patterns.STATS_OF.match(text)
    if match is None:
        return False
    draft = at.current()
    draft.oom_memcg = draft.oom_memcg or match["domain"]
    return True


def _constraint(at: Place, text: str) -> bool:
    found = patterns.constraint(text)
    if found is None:
        return False
    if found.pid in at.voice.spared:
        return True
    place = _name(at, Named(pid=found.pid, name=found.name, numbers={}), By.CONSTRAINT)
    if place is None:
        return True
    kill, draft = place
    kill.loose_uid, kill.task_memcg = found.uid, found.task_memcg
    draft.constraint = found.constraint
    draft.oom_memcg = found.oom_memcg or draft.oom_memcg
    return True


def _killed(at: Place, text: str) -> bool:
    named = patterns.killed(text, cut=at.cut)
    if named is None:
        return False
    place = _name(at, named, By.KILLED)
    at.voice.last_kill, at.voice.last_kill_no = (place and place[0]), at.line_no
    return True


def _selected(at: Place, text: str) -> bool:
    named = patterns.selected(text, cut=at.cut)
    if named is None:
        return False
    if named.pid not in at.voice.spared:
        _name(at, named, By.SELECTED)
    return True


def _shares(at: Place, text: str) -> bool:
    match = patterns.SHARES.match(text)
    if match is None:
        return False
    _name(at, Named(pid=int(match["pid"]), name=match["name"], numbers={}), By.SHARES)
    return True


def _name(at: Place, named: Named, by: By) -> tuple[KillDraft, Draft] | None:
    place = at.voice.name(named, by, at.line, at.line_no)
    if place is not None and at.lost and by is not By.KILLED:
        place[1].gaps = True  # records before the end of the table are missing
    return place


def _spared(at: Place, text: str) -> bool:
    """Take back a kill that was announced and not carried out."""
    match = patterns.SPARED.match(text)
    if match is None:
        return False
    pid = int(match["pid"])
    at.voice.spared.add(pid)
    for draft in at.voice.drafts:
        kill = draft.kill(pid)
        if kill is not None and By.KILLED not in kill.seen:
            del draft.kills[pid]
    return True


def _group(at: Place, text: str) -> bool:
    if patterns.GROUP.match(text) is None:
        return False
    drafts = at.voice.drafts
    if not drafts or drafts[-1].is_stale(at.line, at.line_no):
        at.voice.open(at.line, at.line_no)
    drafts[-1].group = True
    drafts[-1].touch(at.line, at.line_no)
    for kill in drafts[-1].kills.values():
        kill.group = True
    return True


def _panic(at: Place, text: str) -> bool:
    if patterns.PANIC.match(text) is None:
        return False
    at.current().panic = True
    return True


_READERS: tuple[tuple[str, Callable[[Place, str], bool]], ...] = (
    ("oom-killer: ", _header),
    ("oom-kill:constraint", _constraint),
    ("Killed process ", _killed),
    ("ill process ", _selected),
    ("sharing same memory", _shares),
    ("is already exiting", _spared),
    ("memory.oom.group set", _group),
    ("limit of /", _task_in),
    ("Memory cgroup stats for ", _stats_of),
    ("omm: ", _cpu),
    ("Kernel panic", _panic),
    (" pages", _facts),
    ("kB", _facts),
    ("kB", _more_sizes),
    ("oom_score_adj:", _more_sizes),
    ("adj=", _header_rest),
    ("order=", _header_rest),
)
"""Words that a line must hold, and who reads it then; the first who understands it has it."""
