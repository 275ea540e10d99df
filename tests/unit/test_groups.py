"""Groups: one after the other, enough of them well, and nothing due is lost meanwhile."""

from dataclasses import replace

import pytest

from leakguard.core.alerts import AlertRules
from leakguard.core.events import EventKind
from leakguard.core.flight import resumed
from leakguard.core.groups import is_well
from leakguard.core.inbox import (
    OutcomeKind,
    PauseRequest,
    RestartRequest,
    ResumeRequest,
    ScheduleDue,
)
from leakguard.core.pace import TURN_PACE_S
from leakguard.core.policy import GroupRules, RestartRules
from leakguard.core.propose import DUE_LASTS_S
from leakguard.core.tick import Tick
from leakguard.core.trend import Verdict
from leakguard.testing.bench import trend_of
from leakguard.testing.several import CRON, HARD_MIB, Several, member, restarted

OVER = HARD_MIB + 100


def group(max_parallel: int = 1, min_healthy: int = 0, stagger_s: float = 0.0) -> GroupRules:
    """Make a group."""
    return GroupRules(
        name="workers", max_parallel=max_parallel, min_healthy=min_healthy, stagger_s=stagger_s
    )


def three(rules: GroupRules, **options: float) -> Several:
    """Make three members under different drivers."""
    names = (("a", "systemd"), ("b", "docker"), ("c", "signal"))
    made = Several.of(
        *(member(n, rules, driver=d, health_within_s=options.get("health")) for n, d in names)
    )
    made.look()
    return made


def due(several: Several, name: str) -> ScheduleDue:
    """Make a cron moment that comes with the next tick."""
    return ScheduleDue(service=name, cron=CRON, due_wall_s=several.clock.wall_s + 0.5)


def manual(name: str, *, force: bool = False) -> RestartRequest:
    """Make what a person asks for."""
    return RestartRequest(id=f"req-{name}", service=name, force=force)


def finish(several: Several, name: str, after_s: float = 1.0) -> list[str]:
    """Let a restart come to its end; gives what begins in the same tick."""
    several.run(name)
    several.mib[name] = 100.0
    return restarted(several.look(after_s=after_s))


def vetoes(several: Several) -> list[str]:
    """Give what was said of restarts that were held back."""
    return [text for _, text in several.told(EventKind.RESTART_VETOED)]


def test_one_at_a_time_whatever_the_driver() -> None:
    """Three members over their threshold at once: they go one after the other."""
    several = three(group())
    several.mib |= dict.fromkeys("abc", OVER)
    order = restarted(several.look())
    for _ in range(2):
        assert len(order) == len(set(order))
        order += finish(several, order[-1])
    assert sorted(order) == ["a", "b", "c"]


def test_the_reason_names_who_is_in_flight() -> None:
    """A person reads whom it waits for."""
    several = three(group())
    several.mib |= {"a": OVER, "b": OVER}
    several.look()
    assert vetoes(several)[0].endswith("(group workers: a is being restarted, max_parallel is 1)")


def test_more_at_a_time_where_it_is_told_so() -> None:
    """`max_parallel: 2` lets two go."""
    several = three(group(max_parallel=2))
    several.mib |= dict.fromkeys("abc", OVER)
    assert restarted(several.look()) == ["a", "b"]
    assert vetoes(several)[0].endswith(
        "(group workers: a and b are being restarted, max_parallel is 2)"
    )


def test_a_health_gate_belongs_to_the_restart() -> None:
    """The next one begins when the gate of the first has passed, not when it runs."""
    several = three(group(), health=30.0)
    several.mib |= {"a": OVER, "b": OVER}
    several.look()
    assert finish(several, "a") == []
    healthy = several.outcome("a", OutcomeKind.HEALTHY, suffix="/health")
    assert restarted(several.look(outcomes=(healthy,))) == ["b"]


def test_other_groups_and_loners_do_not_wait() -> None:
    """A group is about its members only."""
    other = GroupRules(name="other")
    several = Several.of(member("a", group()), member("b", other), member("c"))
    several.look()
    several.mib |= dict.fromkeys("abc", OVER)
    assert restarted(several.look()) == ["a", "b", "c"]


def test_slots_are_members_of_their_entrys_group() -> None:
    """`each` makes one guarded service per match: all of them are in the group."""
    several = Several.of(member("w", group()), each={"w": 3})
    several.look()
    several.mib |= {"w:2": OVER, "w:3": OVER}
    assert restarted(several.look()) == ["w:2"]


def test_the_nearest_end_goes_first() -> None:
    """Of several that are proposed in one tick, the one whose memory ends first."""
    names = ("a", "b", "c")
    several = Several.of(*(member(name, group(), limit_mib=400) for name in names))
    for name, speed in zip(names, (0.5, 2.0, 1.0), strict=True):
        several.detectors[name].trend = trend_of(Verdict.LEAKING, speed)
    several.look()
    several.mib |= dict.fromkeys(names, 399.0)
    assert restarted(several.look()) == ["b"]


def test_what_cannot_wait_goes_before_what_can() -> None:
    """A hard threshold goes before a person's request and a schedule of the same tick."""
    several = three(group())
    several.mib["c"] = OVER
    made = several.look(due(several, "a"), manual("b"))
    assert restarted(made) == ["c"]
    assert [reply.accepted for reply in made.replies] == [False]


@pytest.mark.parametrize("force", [False, True])
def test_nobody_forces_two_at_a_time(force: bool) -> None:
    """`max_parallel` holds a person too; the refusal names the guard and the other one."""
    several = three(group())
    several.look(manual("a"))
    made = several.look(manual("b", force=force))
    assert [reply.message for reply in made.replies] == [
        "group: group workers: a is being restarted, max_parallel is 1"
    ]


def test_a_child_that_ended_is_started_at_once() -> None:
    """A start costs the group nothing, so that nothing holds it; others wait for it."""
    several = Several.of(
        member("a", group(min_healthy=2), starts=True), member("b", group(min_healthy=2))
    )
    several.look()
    several.mib["b"] = OVER
    several.pids["a"] = None
    assert restarted(several.look()) == ["a"]


def test_enough_stay_well() -> None:
    """A scheduled restart waits while it would leave too few; the reason says who is not well."""
    several = three(group(min_healthy=2))
    several.pids["c"] = None
    assert restarted(several.look(due(several, "a"))) == []
    assert vetoes(several)[-1].endswith(
        "(group workers: it would leave 1 of 3 healthy, min_healthy is 2; c does not run)"
    )
    several.run("c")
    assert restarted(several.look()) == ["a"]


def test_a_member_whose_gate_failed_is_not_well() -> None:
    """It runs, but nobody may count on it; it may be restarted, since that costs nothing."""
    several = three(group(min_healthy=2), health=30.0)
    several.look(manual("a"))
    finish(several, "a")
    several.look(outcomes=(several.outcome("a", OutcomeKind.UNHEALTHY, suffix="/health"),))
    made = several.look(manual("b"), after_s=10.0)
    assert made.replies[0].message.endswith("min_healthy is 2; a failed its health gate")
    assert restarted(several.look(manual("a"))) == ["a"]


def test_a_restart_that_does_nothing_cures_nobody() -> None:
    """The one whose gate failed runs on after an attempt that is abandoned: it is no better."""
    several = three(group(min_healthy=2), health=30.0)
    several.look(manual("a"))
    finish(several, "a")
    several.look(outcomes=(several.outcome("a", OutcomeKind.UNHEALTHY, suffix="/health"),))
    several.look(manual("a", force=True), after_s=10.0)
    several.look(after_s=70.0)
    assert [name for name, _ in several.told(EventKind.RESTART_ABANDONED)] == ["a"]
    made = several.look(manual("b"))
    assert made.replies[0].message.endswith("min_healthy is 2; a failed its health gate")


def test_resuming_a_member_makes_it_count_again() -> None:
    """A person has looked at it."""
    several = three(group(min_healthy=2), health=30.0)
    several.look(manual("a"))
    finish(several, "a")
    several.look(outcomes=(several.outcome("a", OutcomeKind.UNHEALTHY, suffix="/health"),))
    several.look(ResumeRequest(id="r", service="a"))
    assert restarted(several.look(manual("b"))) == ["b"]


def test_a_member_that_was_not_sampled_lately_is_not_well() -> None:
    """What nobody has looked at may be down."""
    several = three(group(min_healthy=2))
    several.look(after_s=100.0, only=("a", "b"))
    tick = Tick.of(several.state, several.clock.now(), AlertRules(), several.rules, durable=True)
    assert [name for name in "abc" if is_well(tick, name)] == ["a", "b"]
    assert restarted(several.look(manual("a"), only=("a", "b"))) == []


@pytest.mark.parametrize("stagger_s", [0.0, 60.0])
def test_a_certain_end_does_not_wait_for_others_to_be_well(stagger_s: float) -> None:
    """The kernel would take the member anyway: a hard threshold yields neither to few nor soon."""
    several = three(group(min_healthy=2, stagger_s=stagger_s))
    several.look(manual("a"))
    finish(several, "a")
    several.pids["c"] = None
    several.mib["b"] = OVER
    assert restarted(several.look()) == ["b"]


def leaking(several: Several, name: str, mib: float, mib_per_s: float) -> None:
    """Let a member leak towards 400 MiB."""
    several.detectors[name].trend = trend_of(Verdict.LEAKING, mib_per_s)
    several.mib[name] = mib


@pytest.mark.parametrize(("mib", "goes"), [(395.0, ["a"]), (330.0, [])])
def test_a_forecast_waits_while_there_is_time(mib: float, goes: list[str]) -> None:
    """With 5 s left it goes below `min_healthy`, with 70 s left it does not."""
    rules = group(min_healthy=2)
    several = Several.of(*(member(name, rules, limit_mib=400) for name in "abc"))
    several.pids["c"] = None
    several.look()
    leaking(several, "a", mib, 1.0)
    made = several.look()
    assert [n for n in restarted(made) if n == "a"] == goes


def test_force_overrides_what_can_wait() -> None:
    """A person who forces it takes the group below `min_healthy`, and does not wait."""
    several = three(group(min_healthy=3, stagger_s=600.0))
    several.look(manual("a", force=True))
    assert several.flying() == ["a"]
    finish(several, "a")
    assert restarted(several.look(manual("b", force=True))) == ["b"]


def test_the_next_waits_its_stagger() -> None:
    """From the end of one to the begin of the next; the reason says how long."""
    several = three(group(stagger_s=30.0))
    several.look(due(several, "a"), due(several, "b"))
    finish(several, "a")
    assert restarted(several.look(after_s=28.0)) == []
    assert several.state.services["b"].last_decision.endswith(
        "group workers: the restart of a ended 28s ago, the next begins in 2s (stagger 30s)"
    )
    assert restarted(several.look(after_s=2.0)) == ["b"]


def test_a_failed_restart_staggers_too() -> None:
    """It disturbed the service all the same; what was skipped did not."""
    several = three(group(stagger_s=30.0))
    several.look(manual("a"))
    several.look(outcomes=(several.outcome("a", OutcomeKind.STALE),))
    several.look(manual("b"))
    assert several.flying() == ["b"]
    several.look(outcomes=(several.outcome("b", OutcomeKind.FAILED, "no"),))
    assert several.flying() == []
    assert restarted(several.look(manual("c"))) == []


def test_all_due_in_the_same_second_go_one_after_the_other() -> None:
    """What a group holds stays due: none of the three is lost."""
    several = three(group(stagger_s=30.0))
    order = restarted(several.look(*(due(several, name) for name in "abc")))
    for _ in range(2):
        finish(several, order[-1])
        order += restarted(several.look(after_s=31.0))
    assert sorted(order) == ["a", "b", "c"]
    assert [several.record(name).due for name in "abc"] == [None, None, None]


def test_what_is_due_survives_leakguard() -> None:
    """It is part of the record."""
    several = three(group())
    several.look(due(several, "a"), due(several, "b"))
    several.state = type(several.state)(
        instance="next",
        serial=1000,
        services={
            name: type(service)(record=resumed(service.record), series=service.series)
            for name, service in several.state.services.items()
        },
    )
    assert finish(several, "a") == ["b"]


def test_a_held_schedule_is_told_once() -> None:
    """It is proposed in every tick, and said when it begins to wait."""
    several = three(group())
    several.look(due(several, "a"), due(several, "b"))
    for _ in range(20):
        several.look()
    assert len(vetoes(several)) == 1


def test_waiting_for_the_turn_is_sampled_soon() -> None:
    """The next one goes within a second of the end of the last."""
    several = three(group())
    made = several.look(due(several, "a"), due(several, "b"))
    assert made.pace["b"] == TURN_PACE_S
    assert made.pace["c"] > TURN_PACE_S


def test_a_schedule_gives_up_in_the_end() -> None:
    """Held for too long, it says so and waits no more."""
    several = three(group(min_healthy=2))
    several.pids["c"] = None
    several.look(due(several, "a"))
    several.look(after_s=DUE_LASTS_S + 1)
    assert [text[-16:] for _, text in several.told(EventKind.RESTART_SKIPPED)] == [
        "held back for 6h"
    ]
    assert several.record("a").due is None


def test_a_later_moment_takes_the_place_of_an_earlier_one() -> None:
    """Two are one restart."""
    several = three(group(min_healthy=2))
    several.pids["c"] = None
    several.look(due(several, "a"))
    several.clock.advance(3600)
    several.look(due(several, "a"))
    found = several.record("a").due
    assert found is not None
    assert found.due_wall_s == several.clock.wall_s - 0.5


def test_a_restart_for_another_reason_serves_what_is_due() -> None:
    """It is not restarted twice."""
    several = three(group())
    several.look(manual("c"))
    several.look(due(several, "a"))
    several.mib["a"] = OVER
    finish(several, "c")
    assert several.flying() == ["a"]
    finish(several, "a")
    assert several.record("a").due is None
    assert several.flying() == []


def test_a_start_by_others_serves_what_is_due() -> None:
    """It has been started anew since: that was the purpose."""
    several = three(group())
    several.look(manual("c"))
    several.look(due(several, "a"))
    several.look()
    several.run("a")
    several.look()
    assert several.told(EventKind.RESTART_SKIPPED)[0][1].endswith("it has been started anew since")


def test_what_is_held_for_good_is_not_due() -> None:
    """A pause is no turn to wait for: the moment passes, as it did."""
    several = three(group())
    several.look(PauseRequest(id="p", service="a"))
    several.look(due(several, "a"))
    assert several.record("a").due is None
    several.look(ResumeRequest(id="r", service="a"))
    assert several.flying() == []


def test_without_a_driver_it_is_a_member_that_counts() -> None:
    """One that is only watched can be well, too."""
    rules = group(min_healthy=1)
    watched = replace(member("b", rules), restart=RestartRules())
    several = Several.of(member("a", rules), watched)
    several.look()
    assert restarted(several.look(manual("a"))) == ["a"]
