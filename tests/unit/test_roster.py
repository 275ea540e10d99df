"""Which services there are and where each runs: one match, ambiguity, slots of `each`."""

from dataclasses import replace

import pytest

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.instant import Instant
from leakguard.core.plan import PluginSpec, ServicePlan
from leakguard.core.sample import Incarnation
from leakguard.runtime.roster import EACH_S, FORGET_S, RELOCATE_S, Entry, Roster
from leakguard.testing.bench import guarded
from leakguard.testing.clock import FakeClock
from leakguard.testing.targets import ScriptedTarget


def run(pid: int) -> Incarnation:
    """Make the incarnation that the scripted target gives."""
    return Incarnation(boot_id="b", pid=pid, start_ticks=pid)


def roster_of(
    target: ScriptedTarget, *, each: bool = False, known: dict[str, Incarnation] | None = None
) -> Roster:
    """Make a roster of one entry."""
    plan = ServicePlan(rules=guarded(), target=PluginSpec(key="pid"), each=each)
    return Roster({"worker": Entry(plan=plan, target=target)}, known or {})


def pids(roster: Roster) -> dict[str, int]:
    """Give the pid last seen in each slot."""
    return {name: incarnation.pid for name, incarnation in roster.known().items()}


def later(clock: FakeClock, seconds: float = EACH_S) -> Instant:
    """Let time pass."""
    return clock.advance(seconds)


# ---- one service


def test_a_service_is_found_and_remembered() -> None:
    """A target is not asked at every sample."""
    target, clock = ScriptedTarget(7), FakeClock()
    roster = roster_of(target)
    found = [roster.where("worker", later(clock, 1.0)).root for _ in range(5)]
    assert (found, target.looks) == ([run(7)] * 5, 1)


def test_a_location_is_looked_up_again_after_a_while_or_when_asked() -> None:
    """The target may have moved on."""
    target, clock = ScriptedTarget(7), FakeClock()
    roster = roster_of(target)
    roster.where("worker", clock.now())
    target.match(8)
    assert roster.where("worker", later(clock, RELOCATE_S - 1)).root == run(7)
    assert roster.where("worker", clock.now(), again=True).root == run(8)
    target.match(9)
    assert roster.where("worker", later(clock, RELOCATE_S)).root == run(9)
    roster.forget("worker")
    target.match(10)
    assert roster.where("worker", clock.now()).root == run(10)


def test_no_match_is_said_with_what_was_looked_for() -> None:
    """And nothing is remembered."""
    with pytest.raises(TargetError, match="worker: no scripted process"):
        roster_of(ScriptedTarget()).where("worker", FakeClock().now())


def test_several_unrelated_matches_are_ambiguous() -> None:
    """With the pids, and what to do."""
    roster = roster_of(ScriptedTarget(*range(1, 8)))
    said = (
        r"worker: 7 unrelated processes match scripted process: 1 \(app1\), .* and 2 more; "
        "make the target narrower, or set `each: true`"
    )
    with pytest.raises(TargetError, match=said) as caught:
        roster.where("worker", FakeClock().now())
    assert caught.value.ambiguous


def test_a_few_ambiguous_matches_are_all_named() -> None:
    """Up to five."""
    with pytest.raises(TargetError, match=r"1 \(app1\), 2 \(app2\); make"):
        roster_of(ScriptedTarget(1, 2)).where("worker", FakeClock().now())


def test_the_executor_looks_afresh() -> None:
    """It changes nothing that the loop remembers."""
    target = ScriptedTarget(7)
    roster = roster_of(target)
    roster.where("worker", FakeClock().now())
    target.match(8)
    found = roster.fresh("worker")
    assert found is not None
    assert (found.root, pids(roster)) == (run(8), {"worker": 7})


def test_the_executor_is_told_when_nothing_is_there() -> None:
    """Neither an unknown service nor one without a match is anywhere."""
    roster = roster_of(ScriptedTarget())
    assert (roster.fresh("worker"), roster.fresh("stranger")) == (None, None)


def test_the_executor_is_told_when_it_cannot_be_known_which_one_is_meant() -> None:
    """Several matches are not none: with nothing there, `child` would start one more."""
    roster = roster_of(ScriptedTarget(7, 8))
    with pytest.raises(TargetError, match=r"2 unrelated processes .* 7 \(app7\), 8 \(app8\)"):
        roster.fresh("worker")


def test_an_entry_belongs_to_all_its_slots() -> None:
    """`worker:2` is an instance of `worker`."""
    roster = roster_of(ScriptedTarget(), each=True)
    assert roster.entry("worker:2") is roster.entry("worker")


# ---- each


def test_each_match_gets_the_lowest_free_slot() -> None:
    """The first slot is always there."""
    clock = FakeClock()
    roster = roster_of(ScriptedTarget(7, 8, 9), each=True)
    assert roster.names() == ("worker:1",)
    roster.scan(clock.now())
    assert pids(roster) == {"worker:1": 7, "worker:2": 8, "worker:3": 9}


def test_a_replacement_takes_the_slot_that_was_left() -> None:
    """State, breaker and series follow the place and not the pid."""
    target, clock = ScriptedTarget(7, 8, 9), FakeClock()
    roster = roster_of(target, each=True)
    roster.scan(clock.now())
    target.match(7, 9, 50)
    roster.scan(later(clock))
    assert pids(roster) == {"worker:1": 7, "worker:2": 50, "worker:3": 9}


def test_a_slot_finds_its_own_process_or_a_free_one() -> None:
    """Also between two scans."""
    target, clock = ScriptedTarget(7, 8), FakeClock()
    roster = roster_of(target, each=True)
    roster.scan(clock.now())
    assert roster.where("worker:2", clock.now(), again=True).root == run(8)
    target.match(7, 50)
    assert roster.where("worker:2", clock.now(), again=True).root == run(50)
    target.match(7)
    with pytest.raises(TargetError, match="worker:2: no further scripted process"):
        roster.where("worker:2", clock.now(), again=True)


def test_scans_are_spaced() -> None:
    """A command line pattern reads all of /proc."""
    target, clock = ScriptedTarget(7), FakeClock()
    roster = roster_of(target, each=True)
    for _ in range(5):
        roster.scan(later(clock, EACH_S / 5))
    assert target.looks == 1


def test_an_empty_slot_is_given_up_after_a_while_and_the_first_never() -> None:
    """A service that shrank is not missing for ever."""
    target, clock = ScriptedTarget(7, 8), FakeClock()
    roster = roster_of(target, each=True)
    roster.scan(clock.now())
    for name in roster.names():
        roster.where(name, clock.now())
    target.match()
    dropped: list[str] = []
    for _ in range(int(FORGET_S / EACH_S) + 1):
        now = later(clock)
        for name in roster.names():
            with pytest.raises(TargetError):
                roster.where(name, now, again=True)
        dropped += roster.scan(now)
    assert (dropped, roster.names()) == (["worker:2"], ("worker:1",))


def test_a_slot_of_an_earlier_daemon_that_stays_empty_is_given_up_too() -> None:
    """It was never seen by this one."""
    clock = FakeClock()
    roster = roster_of(ScriptedTarget(7), each=True, known={"worker:1": run(7), "worker:2": run(8)})
    assert roster.scan(clock.now()) == ()
    assert roster.scan(later(clock, FORGET_S)) == ("worker:2",)


def test_slots_of_an_earlier_daemon_keep_their_processes() -> None:
    """Whatever order the matches come in."""
    roster = roster_of(
        ScriptedTarget(8, 7), each=True, known={"worker:1": run(7), "worker:2": run(8)}
    )
    roster.scan(FakeClock().now())
    assert pids(roster) == {"worker:1": 7, "worker:2": 8}


@pytest.mark.parametrize("error", [TargetError("none"), ReadingError("no right")])
def test_a_scan_survives_a_target_that_cannot_answer(error: Exception) -> None:
    """What cannot be known gives up nothing."""
    target, clock = ScriptedTarget(7, 8), FakeClock()
    roster = roster_of(target, each=True)
    roster.scan(clock.now())
    target.error = error
    assert (roster.scan(later(clock)), len(roster.names())) == ((), 2)


def test_entries_without_each_are_not_scanned() -> None:
    """They have one place."""
    target = ScriptedTarget(7)
    assert (roster_of(target).scan(FakeClock().now()), target.looks) == ((), 0)


# ---- matches that their manager has a name for


def members(target: ScriptedTarget, *named: tuple[str, int]) -> None:
    """Let a target match members by their names and pids."""
    target.match(*(pid for _, pid in named))
    target.found = tuple(
        replace(location, member=member)
        for location, (member, _) in zip(target.found, named, strict=True)
    )


def test_a_match_with_a_name_of_its_own_is_called_by_it() -> None:
    """A unit or a container keeps its name, whichever starts first."""
    target, clock = ScriptedTarget(), FakeClock()
    roster = roster_of(target, each=True)
    members(target, ("a.service", 7), ("b.service", 8))
    assert roster.scan(later(clock)) == ("worker:1",)
    assert pids(roster) == {"worker:a.service": 7, "worker:b.service": 8}
    members(target, ("b.service", 9), ("a.service", 10))
    roster.scan(later(clock))
    assert pids(roster) == {"worker:a.service": 10, "worker:b.service": 9}
    assert roster.member("worker:b.service") == "b.service"


def test_a_number_never_takes_a_match_that_has_a_name() -> None:
    """Where none ran at first, a unit that starts is called by its name, and at once."""
    target, clock = ScriptedTarget(), FakeClock()
    roster = roster_of(target, each=True)
    roster.scan(clock.now())
    members(target, ("a.service", 7))
    with pytest.raises(TargetError, match="worker:1: no further"):
        roster.where("worker:1", later(clock, 1.0))
    assert roster.fresh("worker:1") is None
    assert roster.scan(clock.now()) == ("worker:1",)
    assert pids(roster) == {"worker:a.service": 7}


def test_a_named_match_never_stands_in_for_another() -> None:
    """The restart of one unit must not meet its neighbour."""
    target, clock = ScriptedTarget(), FakeClock()
    roster = roster_of(target, each=True, known={"worker:a.service": run(7)})
    members(target, ("b.service", 8))
    assert roster.fresh("worker:a.service") is None
    roster.scan(later(clock))
    assert roster.names() == ("worker:a.service", "worker:b.service")


def test_a_named_slot_that_stays_empty_is_given_up_but_not_the_last() -> None:
    """Containers come and go; when none is left, one slot says so."""
    target, clock = ScriptedTarget(), FakeClock()
    roster = roster_of(target, each=True)
    members(target, ("a.service", 7), ("b.service", 8))
    roster.scan(later(clock))
    roster.forget("worker:a.service")
    roster.forget("worker:b.service")
    target.match()
    roster.scan(later(clock))
    assert roster.scan(later(clock, FORGET_S)) == ("worker:a.service",)
    assert roster.scan(later(clock, FORGET_S)) == ()


def test_matches_that_share_a_name_have_places() -> None:
    """Pods of one workload: the one that replaces another takes its place, never a neighbour's."""
    target, clock = ScriptedTarget(), FakeClock()
    roster = roster_of(target, each=True)
    members(target, ("web", 7), ("web", 8), ("db", 9))
    roster.scan(later(clock))
    assert pids(roster) == {"worker:web": 7, "worker:web#2": 8, "worker:db": 9}
    members(target, ("web", 8), ("db", 9), ("web", 10))
    assert roster.fresh("worker:web#2") == target.found[0]
    roster.scan(later(clock))
    assert pids(roster) == {"worker:web": 10, "worker:web#2": 8, "worker:db": 9}
    assert [roster.member(f"worker:{name}") for name in ("web", "web#2", "db")] == [
        "web",
        "web",
        "db",
    ]


def test_shared_names_are_known_again_after_a_start() -> None:
    """By the run that was in each place, in whatever order they are found."""
    target = ScriptedTarget()
    roster = roster_of(target, each=True, known={"worker:web": run(7), "worker:web#2": run(8)})
    members(target, ("web", 8), ("web", 7))
    roster.scan(later(FakeClock()))
    assert pids(roster) == {"worker:web": 7, "worker:web#2": 8}


def test_a_place_that_nobody_is_awaited_in_was_taken_away() -> None:
    """Its manager removed the pod: that is no alarm; one that should be there is."""
    target, clock = ScriptedTarget(), FakeClock()
    roster = roster_of(target, each=True)
    members(target, ("web", 7), ("db", 9))
    roster.scan(later(clock))
    members(target, ("db", 9))
    roster.forget("worker:web")
    for awaited, said in ((True, "web does not run"), (False, "web was taken away")):
        target.awaited = awaited
        with pytest.raises(TargetError, match=said) as caught:
            roster.where("worker:web", clock.now())
        assert caught.value.taken_away is not awaited


def test_a_name_of_digits_is_no_number() -> None:
    """A container may be called `7`; after a start it is looked for by that name."""
    target = ScriptedTarget()
    members(target, ("7", 10), ("8", 11))
    roster = roster_of(target, each=True)
    roster.scan(later(FakeClock()))
    assert pids(roster) == {"worker:7#1": 10, "worker:8#1": 11}
    again = roster_of(target, each=True, known=roster.known())
    assert [again.member(name) for name in again.names()] == ["7", "8"]
    again.scan(later(FakeClock()))
    assert pids(again) == {"worker:7#1": 10, "worker:8#1": 11}


# ---- what has an entry of its own


class Shop:
    """An entry `web` of one service, and an entry `all` that matches whatever runs."""

    def __init__(self, known: dict[str, Incarnation] | None = None) -> None:
        self.web, self.all, self.clock = ScriptedTarget(7), ScriptedTarget(), FakeClock()
        self.roster = Roster(
            {
                name: Entry(
                    plan=ServicePlan(rules=guarded(), target=PluginSpec(key="pid"), each=each),
                    target=target,
                )
                for name, target, each in (("web", self.web, False), ("all", self.all, True))
            },
            known or {},
        )
        members(self.all, ("web", 7), ("api", 8))

    def scan(self) -> tuple[str, ...]:
        """Look for new matches; gives the slots that are given up."""
        return self.roster.scan(later(self.clock))


def test_what_has_an_entry_of_its_own_is_left_out_of_a_pattern() -> None:
    """Its own rules hold for it, and it is not guarded twice."""
    shop = Shop()
    assert shop.scan() == ("all:1",)
    assert shop.roster.names() == ("web", "all:api")


def test_a_new_run_of_what_has_an_entry_of_its_own_is_left_out_too() -> None:
    """Whoever looks first after its restart."""
    shop = Shop()
    shop.scan()
    shop.web.match(17)
    members(shop.all, ("web", 17), ("api", 8))
    shop.scan()
    assert shop.roster.names() == ("web", "all:api")


def test_an_entry_of_its_own_is_not_asked_again_for_what_is_known() -> None:
    """A scan costs one look, as long as nothing new is found."""
    shop = Shop()
    shop.scan()
    shop.roster.where("web", shop.clock.now())
    looks = shop.web.looks
    for _ in range(3):
        shop.scan()
    assert shop.web.looks == looks


@pytest.mark.parametrize("error", [TargetError("none"), ReadingError("no right")])
def test_an_entry_that_cannot_be_located_leaves_its_process_to_the_pattern(
    error: Exception,
) -> None:
    """Better guarded by general rules than by none; given back as soon as it is found."""
    shop = Shop()
    shop.web.error = error
    shop.scan()
    assert shop.roster.names() == ("web", "all:web", "all:api")
    shop.web.match(7)
    assert shop.scan() == ("all:web",)
    assert shop.roster.names() == ("web", "all:api")


def test_an_ambiguous_entry_owns_nothing() -> None:
    """It guards none of what it matches."""
    shop = Shop()
    shop.web.match(7, 9)
    shop.scan()
    assert shop.roster.names() == ("web", "all:web", "all:api")


def test_a_slot_of_an_earlier_daemon_is_given_up_for_an_entry_of_its_own() -> None:
    """The entry was written since."""
    shop = Shop({"all:web": run(7), "all:api": run(8)})
    assert shop.scan() == ("all:web",)
    assert shop.roster.names() == ("web", "all:api")


def test_the_last_slot_stays_although_its_match_has_an_entry_of_its_own() -> None:
    """Somebody has to say that nothing else matches."""
    shop = Shop({"all:web": run(7)})
    members(shop.all, ("web", 7))
    assert (shop.scan(), shop.roster.names()) == ((), ("web", "all:web"))
    assert shop.roster.fresh("all:web") is None
