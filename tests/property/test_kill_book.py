"""No order of counts and names counts a kill twice, loses one or invents one.

Kills happen in a tree of cgroups; each is counted by its cgroup, by all above and by the host. The
counters are read at odd moments and not all at once, names come early, late or never, and twice.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings, strategies as st

from leakguard.core import kill_book
from leakguard.core.instant import Instant
from leakguard.core.kill_book import CREDIT_S, HOST, NAME_WAIT_S, KillBook, SeenKill
from leakguard.core.kills import NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.testing.clock import FakeClock

WATCHED = ("/a", "/a/b", "/a/b/c", "/d")
PLACES = (*WATCHED, "/a/x", "/y")
"""Two of them are not watched."""
MOST_LATE_S = CREDIT_S - NAME_WAIT_S - 1.0


@dataclass
class Machine:
    """What really happened, and what the book made of it."""

    clock: FakeClock = field(default_factory=FakeClock)
    book: KillBook = field(default_factory=KillBook)
    counts: dict[str, int] = field(default_factory=lambda: {f"v2:{p}": 3 for p in WATCHED})
    host: int = 97
    pids: int = 1000
    unsaid: list[NamedKill] = field(default_factory=list)
    said: list[NamedKill] = field(default_factory=list)
    kills: int = 0
    told: int = 0
    named: list[int] = field(default_factory=list)

    def kill(self, place: str) -> None:
        """Kill a process in a cgroup."""
        self.clock.advance(0.01)
        self.kills += 1
        self.pids += 1
        self.host += 1
        for key in self.counts:
            if kill_book.is_within(place, kill_book.path_of(key)):
                self.counts[key] += 1
        self.unsaid.append(
            NamedKill(
                pid=self.pids,
                name="x",
                scope=Domain.MEMCG,
                task_memcg=place,
                boot_s=self.clock.boot_s,
            )
        )

    def tick(self, readable: set[str], says: int, again: int) -> None:
        """Read some counters, hear some names, some of them once more; tell what is due."""
        now = self.clock.advance(0.3)
        heard, self.unsaid = self.unsaid[:says], self.unsaid[says:]
        self.said += heard
        self.deal(now, readable, (*heard, *self.said[:again]))

    def deal(self, now: Instant, readable: set[str], names: tuple[NamedKill, ...]) -> None:
        """Do what a tick of the engine does."""
        readings = {k: n for k, n in self.counts.items() if k in readable} | {HOST: self.host}
        book = kill_book.read_counters(self.book, readings, now)
        fresh = []
        for kill in names:
            if not kill_book.is_news(book, kill) or kill in fresh:
                continue
            unnamed = kill_book.told_unnamed(book, kill)
            if unnamed is not None:
                book = kill_book.name_late(book, unnamed, kill)
            else:
                fresh.append(kill)
                book = kill_book.owe(book, (kill,), now)
        book = kill_book.settle(book, now)
        book, due = kill_book.take_unnamed(book, now)
        told = [SeenKill(at=now, key=HOST, kill=kill) for kill in fresh]
        told += [SeenKill(at=now, key=rise.key, count=rise.count) for rise in due]
        self.told += sum(seen.count for seen in told)
        self.named += [kill.pid for kill in fresh if kill.pid is not None]
        self.book = kill_book.remember(book, told, now)


OPERATIONS = st.one_of(
    st.tuples(st.just("kill"), st.sampled_from(PLACES)),
    st.tuples(
        st.just("tick"),
        st.sets(st.sampled_from([f"v2:{place}" for place in WATCHED])),
        st.integers(0, 4),
        st.integers(0, 2),
    ),
    st.tuples(st.just("wait"), st.sampled_from([0.5, NAME_WAIT_S, MOST_LATE_S])),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(OPERATIONS, max_size=40))
def test_every_kill_is_told_once(life: list[tuple[object, ...]]) -> None:
    """All of them, by name or without, whatever comes first."""
    machine = Machine()
    machine.deal(machine.clock.now(), set(machine.counts), ())
    for operation in life:
        match operation:
            case ("kill", str(place)):
                machine.kill(place)
            case ("tick", set(readable), int(says), int(again)):
                machine.tick(readable, says, again)
            case ("wait", float(seconds)):
                machine.clock.advance(seconds)
        assert machine.told <= machine.kills
    machine.tick(set(machine.counts), 0, 0)
    machine.clock.advance(NAME_WAIT_S)
    machine.tick(set(machine.counts), 0, 0)
    assert machine.told == machine.kills
    assert len(machine.named) == len(set(machine.named))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["", "v1:/a", "v1:/a/b", "v2:/"]), st.integers(0, 5)))
)
def test_counters_that_make_no_sense_break_nothing(readings: list[dict[str, int]]) -> None:
    """They may fall, vanish and come back; no rise is ever negative."""
    clock, book = FakeClock(), KillBook()
    for reading in readings:
        book = kill_book.read_counters(book, reading, clock.advance(1.0))
        book, due = kill_book.take_unnamed(book, clock.now())
        assert all(rise.count > 0 for rise in (*due, *book.rises))
