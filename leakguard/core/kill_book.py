"""Every OOM kill counted once: counters of nested cgroups, and the names that a log gives them.

Kills are counted at several places: by the host, by the victim's cgroup and (v2) by each cgroup
above it. The host tells *how many* there were, the innermost cgroup that shows a rise *where*, and
all around it take it as accounted for: a counter that could not be read for a while may later name
a wrong place, and never one kill more. A rise then waits for its name; a name that comes before
its rise waits for that as a credit. What is never named is a kill without a name, never two kills.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.kills import KillCause, Killer, NamedKill
from leakguard.core.severity import Severity

HOST = ""
"""Key of the whole machine among the counters."""
NAME_WAIT_S = 2.0
"""The kernel prints the name 1 to 10 ms after it has counted; a journal takes longer."""
CREDIT_S = 10.0
"""A name whose count does not come within this was never counted."""
FORGET_S = 3600.0
"""A counter that was not read for this long is forgotten: containers come and go."""
REMEMBER_S = 60.0
REMEMBER = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One counter of kills: what it showed last, and up to where its kills are accounted for."""

    seen: int
    counted: int
    read: Instant
    ahead: int = 0
    """Kills that it showed and the host did not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """Kills that a counter shows and that have no name yet."""

    key: str
    count: int
    since: Instant
    after_boot_s: float = -math.inf
    """When the host's counter was read before: what had happened by then is not among these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """A named kill whose count is still to come. `spare`: the kernel may have counted it twice."""

    since: Instant
    task_memcg: str | None = None
    foreign: bool = False
    spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenKill:
    """Kills that were told, kept for a while: they explain deaths that are noticed later."""

    at: Instant
    key: str
    """Where it was counted."""
    count: int = 1
    kill: NamedKill | None = None
    service: str = ""
    """The guarded service that the victim belonged to."""
    root: bool = False
    """The victim was the root of that service."""
    cause: KillCause = KillCause.UNKNOWN
    path: str = ""
    """The cgroup that ran out, as far as known; empty for the host."""
    limit_bytes: int | None = None
    paged: bool = False
    """People were woken by it already."""

    @property
    def boot_s(self) -> float:
        """When it happened, or else when it was noticed."""
        told = self.kill.boot_s if self.kill is not None else None
        return self.at.boot_s if told is None else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Hush:
    """Kills in one place that people need not hear of one by one."""

    told: Instant
    severity: Severity
    count: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KillBook:
    """What is known of kills between two ticks."""

    since: Instant | None = None
    """The first tick: kills before it are no news."""
    counters: Mapping[str, Counter] = field(default_factory=dict)
    rises: tuple[Rise, ...] = ()
    credits: tuple[Credit, ...] = ()
    seen: tuple[SeenKill, ...] = ()
    forgot_boot_s: float = -math.inf
    """What was told up to here may be forgotten."""
    hushed: Mapping[str, Hush] = field(default_factory=dict)


def path_of(key: str) -> str:
    """Give the path of a cgroup's key."""
    version, colon, path = key.partition(":")
    return path if colon and version in {"v1", "v2"} else key


def is_within(inner: str, outer: str) -> bool:
    """Tell whether one cgroup's path is another's or below it."""
    return outer in {inner, "/"} or inner.startswith(f"{outer}/")


def read_counters(book: KillBook, readings: Mapping[str, int], now: Instant) -> KillBook:
    """Take what the counters show, by cgroup key and HOST; new kills become rises."""
    counters, rises = dict(book.counters), list(book.rises)
    room = _new_on_host(book, readings)
    after = book.counters[HOST].read.boot_s if not math.isinf(room) else -math.inf
    for key in sorted(readings, key=_depth, reverse=True):
        shown, known = readings[key], counters.get(key)
        if known is None or shown < known.seen:  # new to us, or a cgroup that was made anew
            counters[key] = Counter(seen=shown, counted=shown, read=now)
            continue
        risen = max(0, shown - known.counted)
        new = int(min(risen, room))
        # The host may have been read a moment before: what it does not show yet, it shows next
        # time. What it does not show then was told already, when this one could not be read.
        told = min(risen - new, known.ahead)
        counters[key] = Counter(
            seen=shown, counted=known.counted + new + told, ahead=risen - new - told, read=now
        )
        room -= new
        if new:
            rises.append(Rise(key=key, count=new, since=now, after_boot_s=after))
            _account(counters, key, new)
    return replace(
        book,
        since=book.since or now,
        counters={k: c for k, c in counters.items() if now.since(c.read) < FORGET_S},
        rises=tuple(rises),
    )


def _new_on_host(book: KillBook, readings: Mapping[str, int]) -> float:
    """Give how many kills the host shows that are not accounted for; no end without its counter."""
    known = book.counters.get(HOST)
    if known is None or readings.get(HOST, -1) < known.seen:
        return math.inf
    return max(0, readings[HOST] - known.counted)


def _account(counters: dict[str, Counter], key: str, count: int) -> None:
    """Take kills as accounted for in all that counts them too."""
    for outer, known in counters.items():
        if _is_around(outer, key):
            counters[outer] = replace(known, counted=known.counted + count)


def is_news(book: KillBook, kill: NamedKill) -> bool:
    """Tell whether a named kill happened on our watch and was not told under this name."""
    if kill.boot_s is not None and book.since is not None and kill.boot_s < book.since.boot_s:
        return False
    if kill.boot_s is not None and kill.boot_s <= book.forgot_boot_s:
        return False
    return not any(seen.kill is not None and seen.kill.is_same(kill) for seen in book.seen)


def told_unnamed(book: KillBook, kill: NamedKill) -> SeenKill | None:
    """Find a kill that was told without its name before this name came.

    Where nothing waits for a name any more, the host has counted this one, and it was told.
    """
    if kill.killer is not Killer.KERNEL or not kill.counted:
        return None
    late = [
        seen
        for seen in book.seen
        if seen.kill is None and seen.count and (kill.boot_s or 0.0) <= seen.at.boot_s
    ]
    fitting = next((seen for seen in late if _fits(seen.key, kill.task_memcg)), None)
    open_ones = sum(r.count for r in book.rises if (kill.boot_s or math.inf) > r.after_boot_s)
    waiting = open_ones - sum(not c.spare for c in book.credits)
    if fitting is not None or HOST not in book.counters or waiting > 0:
        return fitting
    return next(iter(late), None)


def owe(book: KillBook, kills: Iterable[NamedKill], now: Instant) -> KillBook:
    """Note the counts that named kills stand for.

    The chosen one of a group kill is killed, and counted, once more with its group where it still
    has memory then.
    """
    owed = list(book.credits)
    counted = [k for k in kills if k.killer is Killer.KERNEL and k.counted]
    owed += [Credit(since=now, task_memcg=k.task_memcg, foreign=k.foreign) for k in counted]
    owed += [
        Credit(since=now, task_memcg=k.task_memcg, foreign=k.foreign, spare=True)
        for k in counted
        if k.group_kill and k.chosen
    ]
    return replace(book, credits=tuple(owed))


def settle(book: KillBook, now: Instant) -> KillBook:
    """Set names against counts; a credit that found no count in time is dropped."""
    if not book.credits:
        return book
    rises, left = list(book.rises), []
    for credit in sorted(book.credits, key=lambda c: c.spare):
        at = _find(rises, credit, any_place=HOST in book.counters)
        if at is None:
            left.append(credit)
            continue
        rises[at] = replace(rises[at], count=rises[at].count - 1)
    return replace(
        book,
        rises=tuple(rise for rise in rises if rise.count),
        credits=tuple(c for c in left if now.since(c.since) < CREDIT_S),
    )


def take_unnamed(
    book: KillBook, now: Instant, *, at_once: bool = False
) -> tuple[KillBook, tuple[Rise, ...]]:
    """Take out the rises that have waited long enough for a name."""
    due = tuple(r for r in book.rises if at_once or now.since(r.since) >= NAME_WAIT_S)
    return replace(book, rises=tuple(r for r in book.rises if r not in due)), due


def remember(book: KillBook, told: Iterable[SeenKill], now: Instant) -> KillBook:
    """Keep what was told, and forget what is old."""
    seen = (*book.seen, *told)
    if not seen:
        return book
    kept = tuple(s for s in seen if now.since(s.at) < REMEMBER_S)[-REMEMBER:]
    gone = (s.at.boot_s for s in seen[: len(seen) - len(kept)])
    return replace(book, seen=kept, forgot_boot_s=max(book.forgot_boot_s, *gone, -math.inf))


def name_late(
    book: KillBook, unnamed: SeenKill, kill: NamedKill, service: str = "", *, root: bool = False
) -> KillBook:
    """Give one of the kills that were told without a name its name, and the service it was of."""
    rest = replace(unnamed, count=unnamed.count - 1)
    service = service or unnamed.service
    named = replace(unnamed, count=1, kill=kill, service=service, root=root)
    at = book.seen.index(unnamed)
    return replace(book, seen=(*book.seen[:at], rest, named, *book.seen[at + 1 :]))


def _depth(key: str) -> tuple[int, str]:
    """Sort the host first, then the root, then by how deep a cgroup lies."""
    path = path_of(key)
    if key == HOST:
        return -1, key
    return (0 if path == "/" else path.count("/")), key


def _is_around(outer: str, inner: str) -> bool:
    if inner in {outer, HOST}:
        return False
    same = outer.partition(":")[0] == inner.partition(":")[0]
    return outer == HOST or (same and is_within(path_of(inner), path_of(outer)))


def _fits(key: str, task_memcg: str | None) -> bool:
    """Tell whether the kill of a process of that cgroup may be counted there."""
    return key == HOST or task_memcg is None or is_within(task_memcg, path_of(key))


def _find(rises: list[Rise], credit: Credit, *, any_place: bool) -> int | None:
    """Find the innermost rise that a name may belong to.

    From within another cgroup namespace the paths of the log say nothing. `any_place`: the host
    counts every kill, so a name that fits nowhere is of one that was taken for another place's.
    """
    open_ones = [at for at, rise in enumerate(rises) if rise.count]
    fitting = [at for at in open_ones if _fits(rises[at].key, credit.task_memcg)]
    if credit.foreign and all(rises[at].key == HOST for at in fitting):
        fitting = open_ones
    if not fitting and any_place and not credit.spare:
        fitting = open_ones
    return max(fitting, key=lambda at: _depth(rises[at].key), default=None)
