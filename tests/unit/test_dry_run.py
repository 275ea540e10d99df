"""A dry run says what a restart would do now, in its words, and leaves nothing behind."""

from collections.abc import Callable

import pytest

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.dry_run import DryRun, DryRunReply
from leakguard.core.engine import Inputs, Step
from leakguard.core.guards import Guard
from leakguard.core.inbox import DryRunRequest, Outcome, OutcomeKind, PauseRequest, RestartRequest
from leakguard.core.policy import GroupRules, GuardRules, LeaveRules, Mode, RestartRules
from leakguard.core.sample import Snapshot
from leakguard.core.state import State
from leakguard.testing.bench import NAME, Bench, guarded, threshold
from leakguard.testing.clock import FakeClock
from leakguard.testing.several import Several, member

TRY = (DryRunRequest(id="d", service=NAME, by="ann", reason="new release"),)
TRY_FORCED = (DryRunRequest(id="d", service=NAME, force=True),)
PAUSE = (PauseRequest(id="p", service=NAME, by="bob", reason="load test"),)
ASKED = RestartRules(driver="fake", leave=LeaveRules(within_s=5.0, at_most_s=1800.0))


def said(made: Step) -> DryRunReply:
    """Give the one reply of a step."""
    (reply,) = made.replies
    assert isinstance(reply, DryRunReply)
    return reply


def found(made: Step) -> DryRun:
    """Give what the one reply of a step says."""
    return said(made).dry_run


def running(bench: Bench | None = None) -> Bench:
    """Give a bench whose service was seen twice."""
    bench = bench or Bench()
    bench.see(50)
    bench.see(50)
    return bench


def paused() -> Bench:
    """Give a bench whose service is paused."""
    bench = running()
    bench.see(50, requests=PAUSE)
    return bench


def in_flight() -> Bench:
    """Give a bench whose service is being restarted."""
    bench = running()
    bench.see(50, requests=(RestartRequest(id="r", service=NAME),))
    return bench


def used_up() -> Bench:
    """Give a bench whose breaker has no restart left."""
    return running(Bench(rules=guarded(guards=GuardRules(max_restarts=0))))


def without_driver() -> Bench:
    """Give a bench whose service nothing can restart."""
    return running(Bench(rules=guarded(restart=RestartRules(driver=""))))


def observing() -> Bench:
    """Give a bench that only observes: a person's restart acts all the same."""
    return running(Bench(rules=guarded(threshold(20), mode=Mode.OBSERVE)))


def being_asked() -> Bench:
    """Give a bench whose service is being asked for leave by a trigger."""
    bench = Bench(rules=guarded(threshold(20), restart=ASKED))
    bench.see(50)
    return bench


def busy() -> Bench:
    """Give a bench whose service said that it is busy."""
    bench = being_asked()
    leave = bench.service.record.leave
    assert leave is not None
    outcome = Outcome(
        action_id=leave.action_id, service=NAME, kind=OutcomeKind.REFUSED, again_s=300.0
    )
    bench.see(50, outcomes=(outcome,))
    return bench


SITUATIONS: dict[str, Callable[[], Bench]] = {
    "running": running,
    "paused": paused,
    "in flight": in_flight,
    "used up": used_up,
    "without driver": without_driver,
    "observing": observing,
    "being asked": being_asked,
    "busy": busy,
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_it_answers_what_the_restart_then_answers(situation: str, *, force: bool) -> None:
    """Whether it would be taken, and the guard and its words, are those of the restart itself."""
    dry, real = SITUATIONS[situation](), SITUATIONS[situation]()
    told = said(dry.see(50, requests=(DryRunRequest(id="q", service=NAME, force=force),)))
    replies = real.see(50, requests=(RestartRequest(id="q", service=NAME, force=force),)).replies
    if told.dry_run.asks_leave:
        assert (told.accepted, replies) == (True, ())
    else:
        (reply,) = [one for one in replies if one.request_id == "q"]
        assert told.accepted == reply.accepted
        assert told.accepted or told.message == reply.message


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_it_leaves_nothing_behind(situation: str, *, force: bool) -> None:
    """A tick with a dry run gives what the tick without it gives, but for the reply."""
    with_it, without = SITUATIONS[situation](), SITUATIONS[situation]()
    made = with_it.see(50, requests=(DryRunRequest(id="q", service=NAME, force=force),))
    expected = without.see(50)
    assert shown(made) == shown(expected)
    assert records(made.state) == records(expected.state)
    assert made.state.serial == expected.state.serial


def shown(made: Step) -> tuple[object, ...]:
    """Give what a step does to the world and to the store."""
    return made.actions, made.events, made.alerts, made.decisions, made.records, made.pace


def records(state: State) -> dict[str, object]:
    """Give what the store would keep."""
    return {name: (s.record, s.held, s.last_decision) for name, s in state.services.items()}


def test_it_says_that_it_would_restart_and_why() -> None:
    """The message has the person's own reason, and no action has an id."""
    reply = said(running().see(50, requests=TRY))
    assert (reply.accepted, reply.message, reply.action_id) == (
        True,
        "would be restarted: asked for by ann: new release",
        "",
    )
    assert reply.dry_run == DryRun(
        service=NAME, running=True, restarts_left=4, deadline_s=RestartRules().deadline_s
    )


def test_what_does_not_run_would_be_started() -> None:
    """There is nothing to stop."""
    bench = running()
    bench.miss()
    reply = said(bench.step(requests=TRY))
    assert (reply.dry_run.running, reply.dry_run.first) == (False, False)
    assert reply.message.startswith("would be started: ")


def test_a_guard_is_named_with_its_words_and_whether_force_helps() -> None:
    """A pause yields to force."""
    (held,) = found(paused().see(50, requests=TRY)).held_by
    assert (held.guard, held.reason, held.yields_to_force) == (
        "paused",
        "paused by bob: load test",
        True,
    )


def test_force_does_not_help_against_everything() -> None:
    """A restart in flight holds a forced one too."""
    held = found(in_flight().see(50, requests=TRY)).held_by
    assert [(one.guard, one.yields_to_force) for one in held] == [("in_flight", False)]
    assert said(in_flight().see(50, requests=TRY_FORCED)).accepted is False


def test_force_names_what_it_overrides() -> None:
    """The guards that would hold it back without are told, and hold nothing."""
    told = said(paused().see(50, requests=TRY_FORCED))
    assert (told.accepted, told.dry_run.held_by) == (True, ())
    assert [held.guard for held in told.dry_run.overridden] == ["paused"]


def test_leave_is_asked_by_the_restart_alone() -> None:
    """A dry run says that the service would be asked, and does not ask it."""
    made = running(Bench(rules=guarded(restart=ASKED))).see(50, requests=TRY)
    assert (found(made).asks_leave, made.actions) == (True, ())
    assert said(made).message.startswith("would be asked for leave, and restarted if it gives it")


def test_force_asks_nobody_for_leave() -> None:
    """What would have to be asked is named as overridden."""
    told = found(running(Bench(rules=guarded(restart=ASKED))).see(50, requests=TRY_FORCED))
    assert (told.asks_leave, told.overridden) == (False, ())


def test_a_restart_that_this_tick_decides_is_in_the_way() -> None:
    """The dry run is answered last: what else was decided goes first."""
    bench = running(Bench(rules=guarded(threshold(100))))
    assert [held.guard for held in found(bench.see(200, requests=TRY)).held_by] == ["in_flight"]


def test_a_stranger_is_refused_as_by_a_restart() -> None:
    """Only guarded services have an answer."""
    made = running().see(50, requests=(DryRunRequest(id="d", service="stranger"),))
    (reply,) = made.replies
    assert (reply.accepted, reply.message) == (False, "no service named 'stranger' is guarded")


def test_it_is_written_to_a_recording() -> None:
    """A replay has the same requests, and gives the same ticks."""
    now = FakeClock().now()
    inputs = Inputs(now=now, snapshot=Snapshot(at=now, readings=()), requests=TRY)
    assert from_plain(Inputs, to_plain(inputs)) == inputs


def test_dependents_are_named_in_the_order_of_their_stop_and_start() -> None:
    """worker stands on cache, cache on db: down from the top, up from the bottom."""
    shop = Several.of(member("worker", needs=("cache", "db")), member("cache", needs=("db",)),
                      member("db"), member("other"))  # fmt: skip
    shop.look()
    told = found(shop.look(DryRunRequest(id="d", service="db")))
    assert told.stops_first == ("worker", "cache")
    assert told.starts_after == ("cache", "worker")


def test_a_group_holds_it_back_and_force_only_where_it_may() -> None:
    """`min_healthy` yields to force, `max_parallel` never does."""
    group = GroupRules(name="g", max_parallel=1, min_healthy=2)
    pair = Several.of(member("a", group=group), member("b", group=group))
    pair.look()
    (few,) = found(pair.look(DryRunRequest(id="d", service="a"))).held_by
    assert (few.guard, few.yields_to_force) == (Guard.GROUP.value, True)
    pair.look(RestartRequest(id="r", service="b", force=True))
    (many,) = found(pair.look(DryRunRequest(id="d", service="a"))).held_by
    assert (many.guard, many.yields_to_force) == (Guard.GROUP.value, False)
