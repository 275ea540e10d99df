"""The reports of one voice: which of the open ones a line belongs to."""

from dataclasses import field

from leakguard.core.frozen import dataclass
from leakguard.core.oomlog.draft import By, Draft, KillDraft
from leakguard.core.oomlog.lines import Line
from leakguard.core.oomlog.patterns import Named

HELD = 16
"""Reports kept open: lines of one may come between, or after, those of the next."""


REMEMBERED = 1024
"""Kills that were given out, kept in mind so that a late line about one makes no second."""


@dataclass(slots=True)
class Voice:
    """What one host, or one thread of it, has said: open reports, oldest first."""

    drafts: list[Draft] = field(default_factory=list)
    begun: tuple[Line, str] | None = None
    """The beginning of a line whose end is missing so far."""
    spared: set[int] = field(default_factory=set)
    """Chosen in the newest report, and found to be dying already."""
    done: dict[int, Draft] = field(default_factory=dict)
    """By the pid of each kill in it: reports that were given out, their tables dropped."""
    last_kill: KillDraft | None = None
    last_kill_no: int = 0

    def open(self, line: Line, line_no: int) -> Draft:
        """Begin a report."""
        draft = Draft(line_no)
        self.spared.clear()
        draft.touch(line, line_no)
        self.drafts.append(draft)
        return draft

    def current(self, line: Line, line_no: int) -> Draft:
        """Give the newest report if nobody has died in it yet, else begin one."""
        if self.drafts:
            draft = self.drafts[-1]
            if not draft.kills and not draft.is_stale(line, line_no):
                draft.touch(line, line_no)
                return draft
        return self.open(line, line_no)

    def is_open(self) -> bool:
        """Tell whether the newest report waits for more than the rest of a line."""
        if not self.drafts:
            return False
        draft = self.drafts[-1]
        return draft.group or not any(By.KILLED in kill.seen for kill in draft.kills.values())

    def with_table(self) -> Draft | None:
        """Give the newest report whose table has begun and in which nobody died yet."""
        return next((d for d in reversed(self.drafts) if d.columns and not d.kills), None)

    def name(
        self, named: Named, by: By, line: Line, line_no: int
    ) -> tuple[KillDraft, Draft] | None:
        """Give the kill that a line names: one already known, or a new one where it belongs.

        None: it was given out before, and this line names it once more.
        """
        live = [draft for draft in reversed(self.drafts) if not draft.is_stale(line, line_no)]
        kill, draft = _known(live, named, by)
        if draft is None:
            draft = _place(live, named, by, line)
            in_group = draft is not None and draft.group
            if self._was_given(named, by, line, line_no, in_group=in_group):
                return None
            draft = draft or self.open(line, line_no)
        if kill is None:
            kill = _new_kill(draft, named, by)
        elif by is By.KILLED:
            kill.name = named.name
        draft.touch(line, line_no)
        kill.take(named, by, line)
        draft.child_words = draft.child_words or named.child_words
        draft.old_capitals = draft.old_capitals or (named.scope or "").startswith("Out of Memory")
        return kill, draft

    def give_out(self, draft: Draft) -> None:
        """Remember whom a finished report named."""
        draft.rows, draft.pids = [], set()
        for pid in draft.kills:
            self.done.pop(pid, None)
            self.done[pid] = draft
        while len(self.done) > REMEMBERED:
            del self.done[next(iter(self.done))]

    def _was_given(self, named: Named, by: By, line: Line, line_no: int, *, in_group: bool) -> bool:
        """Tell whether a line says once more, in other words, what was given out already."""
        draft = self.done.get(named.pid)
        if draft is None or draft.is_stale(line, line_no):
            return False
        kill = draft.kills[named.pid]
        return kill.name == named.name and (by not in kill.seen or in_group)


def _known(live: list[Draft], named: Named, by: By) -> tuple[KillDraft | None, Draft | None]:
    """Find a kill that this line names once more."""
    for draft in live:
        kill = draft.kill(named.pid)
        again = draft.group and by is By.KILLED  # the chosen one is printed twice then
        if kill is not None and (by not in kill.seen or again):
            return kill, draft
    return None, None


def _place(live: list[Draft], named: Named, by: By, line: Line) -> Draft | None:
    """Find the report in which a victim not named before belongs."""
    for draft in live:
        if draft.kills and draft.is_at_once(line):
            if by is By.SHARES or (draft.group and by is By.KILLED):
                return draft
            if by is By.KILLED and any(
                draft.waits_for_child(kill) for kill in draft.kills.values()
            ):
                return draft
        if not draft.kills and (named.pid in draft.pids or draft.group):
            return draft
    if live and not live[0].kills:
        return live[0]
    return None


def _new_kill(draft: Draft, named: Named, by: By) -> KillDraft:
    """Add a kill; one that follows "or sacrifice child" takes the place of its parent."""
    kill = KillDraft(pid=named.pid, name=named.name, group=draft.group)
    kill.chosen = by is not By.SHARES and not (draft.group and draft.kills)
    parent = _parent(draft, named) if by is By.KILLED and not draft.group else None
    if parent is not None:
        kill.selected, kill.scope = parent, parent.scope
        del draft.kills[parent.pid]
    draft.kills[kill.pid] = kill
    return kill


def _parent(draft: Draft, named: Named) -> KillDraft | None:
    """Give the process that was chosen and for which a child may have died.

    Kernels that take children say "Killed process" without a scope; only the first ones had it.
    """
    if named.scope is not None and draft.child_words != "and children":
        return None
    if draft.pids and named.pid not in draft.pids:
        return None
    return next((kill for kill in draft.kills.values() if draft.waits_for_child(kill)), None)
