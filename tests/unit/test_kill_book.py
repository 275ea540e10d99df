"""Every kill counted once: nested counters, names before and after their counts, late names."""

from dataclasses import replace

import pytest

from leakguard.core import kill_book
from leakguard.core.instant import Instant
from leakguard.core.kill_book import CREDIT_S, HOST, NAME_WAIT_S, KillBook, Rise, SeenKill
from leakguard.core.kills import Killer, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.testing.clock import FakeClock

CLOCK = FakeClock()
NOW = CLOCK.now()


def later(seconds: float) -> Instant:
    """Give a later moment."""
    return NOW.plus(seconds)


def kill(pid: int = 7, group: str | None = "/a/b", *, at: float = 1.0, **more: object) -> NamedKill:
    """Make a kill that the kernel's log names, some seconds after the first tick."""
    values = {"pid": pid, "name": "app", "task_memcg": group, "scope": Domain.MEMCG}
    return NamedKill(**{**values, "boot_s": NOW.boot_s + at, **more})  # type: ignore[arg-type]  # tests choose the fields


def counted(*readings: dict[str, int], book: KillBook | None = None) -> list[tuple[str, int]]:
    """Read counters again and again; give the rises."""
    book = book or KillBook()
    for reading in readings:
        book = kill_book.read_counters(book, reading, NOW)
    return [(rise.key, rise.count) for rise in book.rises]


def test_the_first_look_is_a_baseline() -> None:
    """What was counted before is no news."""
    assert counted({HOST: 97, "v2:/a": 3}) == []


def test_a_kill_in_nested_v2_cgroups_is_one_kill_of_the_innermost() -> None:
    """Each cgroup above counts it too, and so does the host."""
    before = {HOST: 9, "v2:/": 5, "v2:/a": 3, "v2:/a/b": 1}
    after = {key: number + 1 for key, number in before.items()}
    assert counted(before, after) == [("v2:/a/b", 1)]


def test_a_kill_above_the_innermost_is_one_of_its_own() -> None:
    """In a cgroup that nobody watches, or in the middle one itself."""
    before = {HOST: 0, "v1:/a": 0, "v1:/a/b": 0}
    assert counted(before, {HOST: 3, "v1:/a": 2, "v1:/a/b": 1}) == [
        ("v1:/a/b", 1),
        ("v1:/a", 1),
        (HOST, 1),
    ]


def test_the_host_may_be_read_before_the_cgroup() -> None:
    """A kill between two reads is seen in the cgroup first, and not once more in the host."""
    before = {HOST: 0, "v2:/a": 0}
    assert counted(before, {HOST: 0, "v2:/a": 1}, {HOST: 1, "v2:/a": 1}) == [("v2:/a", 1)]


def test_a_cgroup_that_is_not_read_is_accounted_for() -> None:
    """Its next reading holds what was told of the one below."""
    before = {HOST: 0, "v2:/a": 0, "v2:/a/b": 0}
    rises = counted(before, {HOST: 1, "v2:/a/b": 1}, {HOST: 1, "v2:/a": 1, "v2:/a/b": 1})
    assert rises == [("v2:/a/b", 1)]


def test_cgroups_of_two_versions_are_not_nested() -> None:
    """A hybrid machine has the same paths in both trees."""
    before = {"v1:/a": 0, "v2:/a/b": 0}
    assert counted(before, {"v1:/a": 1, "v2:/a/b": 1}) == [("v2:/a/b", 1), ("v1:/a", 1)]


def test_a_name_is_no_prefix() -> None:
    """`/ab` is not below `/a`."""
    before = {"v2:/a": 0, "v2:/ab": 0}
    assert counted(before, {"v2:/a": 1, "v2:/ab": 1}) == [("v2:/ab", 1), ("v2:/a", 1)]


def test_a_cgroup_made_anew_counts_from_where_it_is() -> None:
    """A fall is a new cgroup under an old name; what it counted before is not known to be ours."""
    assert counted({"v2:/a": 3}, {"v2:/a": 1}, {"v2:/a": 2}) == [("v2:/a", 1)]


def named(book: KillBook, *kills: NamedKill, now: Instant = NOW) -> KillBook:
    """Set names against counts."""
    return kill_book.settle(kill_book.owe(book, kills, now), now)


def rising(*keys: str) -> KillBook:
    """Give a book with one unnamed kill each."""
    return KillBook(since=NOW, rises=tuple(Rise(key=key, count=1, since=NOW) for key in keys))


@pytest.mark.parametrize(
    ("keys", "group", "left"),
    [
        (("v1:/a/b", HOST), "/a/b", [HOST]),
        (("v1:/a", HOST), "/a/b", [HOST]),
        ((HOST,), "/a/b", []),
        (("v1:/c",), "/a/b", ["v1:/c"]),
        (("v1:/c", HOST), None, [HOST]),
    ],
)
def test_a_name_takes_the_innermost_count_that_it_fits(
    keys: tuple[str, ...], group: str | None, left: list[str]
) -> None:
    """The victim's own cgroup, one above, or the host; never a sibling's."""
    assert [rise.key for rise in named(rising(*keys), kill(group=group)).rises] == left


def test_from_another_namespace_any_count_fits() -> None:
    """The kernel's paths are not those that we see."""
    far = kill(group="/docker/x", foreign=True)
    assert [rise.key for rise in named(rising("v2:/c", HOST), far).rises] == [HOST]


def test_a_name_may_come_before_its_count() -> None:
    """It waits for it, and the count is then no second kill."""
    book = named(kill_book.read_counters(KillBook(), {HOST: 0, "v2:/a": 0}, NOW), kill(group="/a"))
    book = kill_book.read_counters(book, {HOST: 1, "v2:/a": 1}, later(1))
    assert kill_book.settle(book, later(1)).rises == ()


def test_a_count_that_never_comes_is_not_waited_for() -> None:
    """A kill that was announced and not carried out must not hide a later one."""
    book = kill_book.settle(named(KillBook(since=NOW), kill()), later(CREDIT_S))
    assert book.credits == ()


def test_a_group_kill_may_count_the_chosen_one_twice() -> None:
    """The kernel kills it, then its whole cgroup, itself included."""
    victims = (kill(1, group_kill=True), kill(2, chosen=False, group_kill=True))
    book = replace(rising(), rises=(Rise(key="v2:/a/b", count=3, since=NOW),))
    assert named(book, *victims).rises == ()
    assert (
        named(replace(book, rises=(Rise(key="v2:/a/b", count=2, since=NOW),)), *victims).rises == ()
    )


def test_who_shares_the_victims_memory_is_not_counted() -> None:
    """The kernel kills it without counting."""
    assert named(rising("v2:/a/b"), kill(counted=False)).rises != ()


def test_a_killer_in_user_space_is_not_counted_by_the_kernel() -> None:
    """Its kill must not take the count of another."""
    assert named(rising("v2:/a/b"), kill(killer=Killer.EARLYOOM)).rises != ()


def test_a_rise_waits_for_its_name() -> None:
    """Then it is told without; at the end of the guard at once."""
    book = rising("v2:/a")
    assert kill_book.take_unnamed(book, later(NAME_WAIT_S - 0.1))[1] == ()
    assert kill_book.take_unnamed(book, later(NAME_WAIT_S)) == (replace(book, rises=()), book.rises)
    assert kill_book.take_unnamed(book, NOW, at_once=True)[1] == book.rises


def told(book: KillBook, *seen: SeenKill) -> KillBook:
    """Remember kills that were told."""
    return kill_book.remember(book, seen, NOW)


def test_one_kill_is_news_once() -> None:
    """Two logs name it, with clocks that differ a little; another moment is another process."""
    book = told(KillBook(since=NOW), SeenKill(at=NOW, key=HOST, kill=kill(at=1.0)))
    assert [kill_book.is_news(book, kill(at=at)) for at in (1.0, 2.5, 4.0)] == [False, False, True]
    assert kill_book.is_news(book, kill(8))


def test_kills_before_the_first_tick_are_no_news() -> None:
    """A journal goes back further than we do."""
    assert not kill_book.is_news(KillBook(since=NOW), kill(at=-1.0))


def test_a_late_name_goes_to_the_kill_that_was_told_without() -> None:
    """And to no other."""
    unnamed = SeenKill(at=later(3), key="v2:/a", count=2)
    book = told(KillBook(since=NOW), unnamed)
    late = kill(group="/a/b", at=2.0)
    assert kill_book.told_unnamed(book, late) == unnamed
    book = kill_book.name_late(book, unnamed, late)
    assert [(s.count, s.kill) for s in book.seen] == [(1, None), (1, late)]


@pytest.mark.parametrize(
    "other",
    [
        kill(group="/c", at=2.0),
        kill(group="/a/b", at=4.0),
        kill(group="/a/b", at=2.0, counted=False),
        kill(group="/a/b", at=2.0, killer=Killer.NOHANG),
    ],
)
def test_what_cannot_be_the_kill_that_was_told_is_another(other: NamedKill) -> None:
    """Elsewhere, later, or not counted at all."""
    book = told(KillBook(since=NOW), SeenKill(at=later(3), key="v2:/a"))
    assert kill_book.told_unnamed(book, other) is None


def test_what_was_told_is_forgotten_after_a_while() -> None:
    """A book that is kept for months stays small."""
    book = told(KillBook(), *(SeenKill(at=NOW, key=HOST) for _ in range(kill_book.REMEMBER + 5)))
    assert len(book.seen) == kill_book.REMEMBER
    assert kill_book.remember(book, (), later(kill_book.REMEMBER_S)).seen == ()
