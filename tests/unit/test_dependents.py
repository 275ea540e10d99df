"""Dependents stop before a restart and start after it, whatever becomes of it."""

from dataclasses import replace

import pytest

from leakguard.core import linked
from leakguard.core.decision import RestartService
from leakguard.core.dependents import AT_MOST_S
from leakguard.core.events import EventKind
from leakguard.core.flight import START_TRIES, resumed
from leakguard.core.inbox import Outcome, OutcomeKind, PauseRequest, RestartRequest, ScheduleDue
from leakguard.core.policy import GroupRules
from leakguard.core.state import FlightStage, State
from leakguard.core.trend import Verdict
from leakguard.testing.bench import trend_of
from leakguard.testing.several import CRON, HARD_MIB, Several, member, orders

OVER = HARD_MIB + 100
DEADLINE_S = 60.0


def shop(health: float | None = None) -> Several:
    """Make db, cache on it, and worker on both."""
    made = Several.of(
        member("worker", needs=("cache", "db")),
        member("cache", needs=("db",), health_within_s=health),
        member("db", health_within_s=health),
        member("other"),
    )
    made.look()
    return made


def ask(name: str = "db", *, force: bool = False) -> RestartRequest:
    """Make what a person asks for."""
    return RestartRequest(id=f"req-{name}", service=name, force=force)


def gone(several: Several, name: str) -> list[str]:
    """Let a service be down; gives what is ordered then."""
    several.pids[name] = None
    return orders(several.look())


def back(several: Several, name: str, kind: OutcomeKind | None = None) -> list[str]:
    """Let a service run anew; gives what is ordered then."""
    several.run(name)
    outcomes = () if kind is None else (several.outcome(name, kind),)
    return orders(several.look(outcomes=outcomes))


def stages(several: Several) -> dict[str, str]:
    """Give where each flight stands."""
    found = {name: service.record.flight for name, service in several.state.services.items()}
    return {name: flight.stage.value for name, flight in found.items() if flight is not None}


def down(several: Several) -> None:
    """Order a restart of db, and let both dependents go down."""
    several.look(ask())
    gone(several, "worker")
    gone(several, "cache")


# ---- the order


def test_the_order_goes_down_and_up() -> None:
    """worker stands on cache, cache on db: down from the top, up from the bottom."""
    several = shop()
    assert orders(several.look(ask())) == ["stop worker"]
    assert gone(several, "worker") == ["stop cache"]
    assert gone(several, "cache") == ["restart db"]
    assert back(several, "db") == ["start cache"]
    assert back(several, "cache") == ["start worker"]
    assert back(several, "worker") == []
    assert several.flying() == []


def test_health_gates_come_between() -> None:
    """What stands on a service starts when its gate has passed, not when it runs."""
    several = shop(health=30.0)
    down(several)
    assert back(several, "db") == ["check db"]
    healthy = several.outcome("db", OutcomeKind.HEALTHY, suffix="/health")
    assert orders(several.look(outcomes=(healthy,))) == ["start cache"]
    assert back(several, "cache") == ["check cache"]
    healthy = several.outcome("cache", OutcomeKind.HEALTHY, suffix="/health")
    assert orders(several.look(outcomes=(healthy,))) == ["start worker"]


def test_dependents_that_stand_beside_each_other_stop_together() -> None:
    """Nothing is between them, so nobody waits."""
    several = Several.of(member("a", needs=("db",)), member("b", needs=("db",)), member("db"))
    several.look()
    assert orders(several.look(ask())) == ["stop a", "stop b"]


def test_all_services_of_an_entry_depend() -> None:
    """`each`: every match of the dependent's entry is stopped, for every match of the other."""
    several = Several.of(member("w", needs=("db",)), member("db"), each={"w": 2, "db": 2})
    several.look()
    assert orders(several.look(ask("db:2"))) == ["stop w:1", "stop w:2"]
    gone(several, "w:1")
    assert gone(several, "w:2") == ["restart db:2"]


def test_a_restart_of_a_dependent_stops_nothing_below() -> None:
    """Only what stands on a service is in its way."""
    several = shop()
    assert orders(several.look(ask("cache"))) == ["stop worker"]
    assert gone(several, "worker") == ["restart cache"]


def test_the_decision_says_what_stops_first() -> None:
    """People read it before it happens."""
    several = shop()
    several.look(ask())
    assert several.told(EventKind.RESTART_DECIDED) == [
        ("db", "restarting db: asked for; stops worker, cache first")
    ]


def test_every_stop_and_start_is_an_event() -> None:
    """Of the dependent, naming the service it is for; and none says that it is missing."""
    several = shop()
    down(several)
    back(several, "db")
    back(several, "cache")
    back(several, "worker")
    assert several.told(EventKind.SERVICE_STOPPED) == [
        ("worker", "worker was stopped for the restart of db"),
        ("cache", "cache was stopped for the restart of db"),
    ]
    assert several.told(EventKind.SERVICE_STARTED) == [
        ("cache", "cache runs again 4s after the restart of db was decided"),
        ("worker", "worker runs again 5s after the restart of db was decided"),
    ]
    kinds = {event.kind for event in several.events}
    assert kinds.isdisjoint(
        {EventKind.SERVICE_MISSING, EventKind.SERVICE_DIED, EventKind.RESTARTED_BY_OTHERS}
    )


def test_a_dependency_counts_in_no_breaker() -> None:
    """It is a restart of ours, and not one that the service needed."""
    several = shop()
    down(several)
    back(several, "db")
    back(several, "cache")
    assert len(several.record("db").restarts) == 1
    assert several.record("cache").restarts == ()
    assert several.record("cache").restart_counts == {"dependency/succeeded": 1}


def test_the_stop_of_dependents_counts_in_the_time_of_a_restart() -> None:
    """The lead of the next forecast has to cover it."""
    several = shop()
    down(several)
    back(several, "db")
    assert several.record("db").stop_start_s == 3.0


# ---- who is left alone


def test_what_does_not_run_is_neither_stopped_nor_started() -> None:
    """Perhaps somebody wants it so."""
    several = shop()
    several.pids["worker"] = None
    several.look()
    assert orders(several.look(ask())) == ["stop cache"]
    assert gone(several, "cache") == ["restart db"]
    assert back(several, "db") == ["start cache"]
    assert back(several, "cache") == []


def test_a_start_stops_nobody() -> None:
    """A child that ended is down already: its dependents have seen that."""
    several = Several.of(member("w", needs=("db",)), member("db", starts=True))
    several.look()
    assert gone(several, "db") == ["restart db"]


def test_a_pause_of_a_dependent_holds_its_own_restarts_only() -> None:
    """A person keeps leakguard off it for its own sake, not its database from being cured."""
    several = shop()
    several.look(PauseRequest(id="p", service="worker"))
    assert orders(several.look(ask())) == ["stop worker"]


# ---- what waits


def test_nothing_else_is_done_with_a_dependent_meanwhile() -> None:
    """Its own restart is refused, and one that is due stays so, until it was started anew."""
    several = shop()
    moment = several.clock.wall_s + 1
    several.look(ask(), ScheduleDue(service="cache", cron=CRON, due_wall_s=moment))
    made = several.look(ask("cache"))
    assert made.replies[0].message.startswith("in_flight: ")
    assert several.record("cache").due is not None
    gone(several, "worker")
    gone(several, "cache")
    several.look()
    back(several, "db")
    back(several, "cache")
    assert several.record("cache").due is None
    restarts = [action for action in several.actions if isinstance(action, RestartService)]
    assert [action.service for action in restarts] == ["db"]


def test_a_child_waits_for_what_it_stands_on() -> None:
    """Started together, the lower one goes first and the upper one when it is up."""
    several = Several.of(member("w", needs=("db",), starts=True), member("db", starts=True))
    several.pids |= {"w": None, "db": None}
    assert orders(several.look()) == ["restart db"]
    assert orders(several.look()) == []
    assert back(several, "db") == ["restart w"]


def test_a_restart_waits_for_those_above_it() -> None:
    """A dependent that is being restarted is not stopped in the middle of that."""
    several = shop()
    several.look(ask("worker"))
    made = several.look(ask())
    assert made.replies[0].message == ("in_flight: worker, which depends on it, is being restarted")


def test_one_before_a_certain_end_does_not_wait_for_those_above() -> None:
    """It leaves alone what is in a restart of its own, and stops the others."""
    several = shop()
    several.look(ask("worker"))
    several.mib["db"] = OVER
    assert orders(several.look()) == ["stop cache"]
    assert gone(several, "cache") == ["restart db"]


def test_both_at_once_go_as_one_restart() -> None:
    """What others stand on goes first: its restart serves them too."""
    several = shop()
    several.mib |= {"db": OVER, "worker": OVER}
    assert orders(several.look()) == ["stop worker"]
    gone(several, "worker")
    several.mib |= {"db": 100.0, "worker": 100.0}
    gone(several, "cache")
    back(several, "db")
    back(several, "cache")
    assert back(several, "worker") == []
    assert several.flying() == []


# ---- what goes wrong


@pytest.mark.parametrize("how", ["failed", "late"])
def test_a_dependent_that_does_not_stop_ends_the_restart(how: str) -> None:
    """The database is not restarted under it; who was stopped is started again."""
    several = shop()
    several.look(ask())
    gone(several, "worker")
    if how == "failed":
        made = several.look(outcomes=(several.outcome("cache", OutcomeKind.FAILED, "it hangs"),))
    else:
        made = several.look(after_s=DEADLINE_S + 5)
    assert orders(made) == ["start cache"]
    (said,) = several.told(EventKind.RESTART_FAILED)
    assert said[1].startswith(
        "the restart of db failed: cache, which depends on it, could not be stopped: "
    )
    done = several.outcome("cache", OutcomeKind.DONE)
    assert orders(several.look(outcomes=(done,))) == ["start worker"]
    assert back(several, "worker") == []
    assert several.flying() == []


def test_one_before_a_certain_end_goes_on_without_it() -> None:
    """The kernel would not wait for it either."""
    several = shop()
    several.mib["db"] = OVER
    several.look()
    failed = several.outcome("worker", OutcomeKind.FAILED, "it hangs")
    assert orders(several.look(outcomes=(failed,))) == ["stop cache"]
    assert gone(several, "cache") == ["restart db"]
    several.mib["db"] = 100.0
    assert back(several, "db") == ["start cache"]
    assert back(several, "cache") == ["start worker"]


def test_the_early_edge_ends_the_wait_for_dependents() -> None:
    """Half of the time that is left is theirs; who is not down by then is not waited for."""
    several = Several.of(member("w", needs=("db",)), member("db", limit_mib=400.0))
    several.look()
    several.detectors["db"].trend = trend_of(Verdict.LEAKING, 1.0)
    several.mib["db"] = 391.0
    assert orders(several.look()) == ["stop w"]
    assert orders(several.look(after_s=3.0)) == []
    assert orders(several.look(after_s=1.6)) == ["restart db"]
    assert stages(several) == {"w": "stopping", "db": "acting"}
    several.mib["db"] = 100.0
    back(several, "db")
    assert gone(several, "w") == ["start w"]


def test_one_that_somebody_starts_again_does_not_stop() -> None:
    """A manager that brings it back at once would have it run against a database that is away."""
    several = shop()
    several.look(ask())
    several.run("worker")
    several.look()
    assert "worker, which depends on it, could not be stopped: somebody started it again" in str(
        several.told(EventKind.RESTART_FAILED)
    )
    assert stages(several) == {"worker": "acting"}
    several.look(outcomes=(several.outcome("worker", OutcomeKind.DONE),))
    assert several.flying() == []


@pytest.mark.parametrize("how", ["failed", "abandoned", "skipped", "unhealthy"])
def test_dependents_start_whatever_came_of_the_restart(how: str) -> None:
    """A database that is not back is no reason to leave everything else down."""
    several = shop(health=30.0)
    down(several)
    match how:
        case "failed":
            several.look(outcomes=(several.outcome("db", OutcomeKind.FAILED, "no"),))
        case "abandoned":
            several.look(after_s=DEADLINE_S + 5)
        case "skipped":
            several.look(outcomes=(several.outcome("db", OutcomeKind.STALE),))
        case _:
            back(several, "db")
            ill = several.outcome("db", OutcomeKind.UNHEALTHY, suffix="/health")
            several.look(outcomes=(ill,))
    assert stages(several) == {"worker": "down", "cache": "acting"}


def test_a_start_is_tried_again_and_told() -> None:
    """With pauses, some times; then it is missing, and people are told that it is."""
    several = Several.of(member("w", needs=("db",)), member("db"))
    several.look()
    several.look(ask())
    gone(several, "w")
    back(several, "db")
    for _ in range(START_TRIES):
        assert stages(several) == {"w": "acting"}
        several.look(outcomes=(several.outcome("w", OutcomeKind.FAILED, "no such file"),))
        several.look(after_s=301.0)
    assert several.flying() == []
    said = [text for _, text in several.told(EventKind.RESTART_FAILED)]
    assert ["; next try in" in text for text in said] == [True] * (START_TRIES - 1) + [False]
    assert said[-1].endswith("no such file: start it by hand")
    assert [name for name, _ in several.told(EventKind.SERVICE_MISSING)] == ["w"]


def test_a_dependent_is_not_held_down_by_restarts_without_end() -> None:
    """Whatever else is restarted below it, after half an hour it starts."""
    several = Several.of(member("w", needs=("db",)), member("db"))
    several.look()
    several.look(ask())
    gone(several, "w")
    services = dict(several.state.services)
    db = services["db"]
    assert db.record.flight is not None
    again = replace(db.record.flight, action_id="another", deadline_s=1e9)
    services["db"] = replace(db, record=replace(db.record, flight=again))
    several.state = replace(several.state, services=services)
    assert orders(several.look(after_s=AT_MOST_S - 10)) == []
    assert orders(several.look(after_s=11)) == ["start w"]


def test_a_child_that_leakguard_is_to_start_is_waited_for() -> None:
    """Its next try comes in some seconds; but not for ever."""
    several = Several.of(member("w", needs=("db",)), member("db", starts=True))
    several.look()
    several.look(ask())
    gone(several, "w")
    several.pids["db"] = None
    several.look(outcomes=(several.outcome("db", OutcomeKind.FAILED, "no"),))
    assert stages(several) == {"w": "down"}
    assert orders(several.look(after_s=6.0)) == ["restart db"]
    assert back(several, "db") == ["start w"]


# ---- crashes and changes


def next_daemon(several: Several) -> None:
    """End leakguard, and go on with what was written."""
    several.state = State(
        instance="next",
        serial=1000,
        services={
            name: type(service)(record=resumed(service.record), series=service.series)
            for name, service in several.state.services.items()
        },
    )


@pytest.mark.parametrize("when", ["stopping", "between", "restarting", "starting"])
def test_the_next_daemon_goes_on(when: str) -> None:
    """Every stage is in the records: nobody stays down, nothing is done twice."""
    several = shop()
    several.look(ask())
    if when == "stopping":
        next_daemon(several)
    gone(several, "worker")
    if when == "between":
        next_daemon(several)
    gone(several, "cache")
    if when == "restarting":
        next_daemon(several)
    back(several, "db")
    if when == "starting":
        next_daemon(several)
    back(several, "cache")
    back(several, "worker")
    assert several.flying() == []
    verbs = [f"{type(action).__name__} {action.service}" for action in several.actions]
    assert verbs == [
        "StopService worker", "StopService cache", "RestartService db",
        "StartService cache", "StartService worker",
    ]  # fmt: skip


def test_a_lost_start_is_ordered_again() -> None:
    """leakguard was killed before it was carried out: after its deadline it comes again."""
    several = Several.of(member("w", needs=("db",)), member("db"))
    several.look()
    several.look(ask())
    gone(several, "w")
    assert back(several, "db") == ["start w"]
    next_daemon(several)
    several.look(after_s=DEADLINE_S + 1)
    assert orders(several.look(after_s=6.0)) == ["start w"]


def test_a_dependent_that_is_no_longer_guarded_is_started() -> None:
    """Nobody would ever do it later."""
    several = Several.of(member("w", needs=("db",)), member("db"), each={"w": 1})
    several.look()
    several.look(ask())
    gone(several, "w:1")
    several.pids.pop("w:1")
    several.dropped = ("w:1",)
    assert orders(several.look()) == ["start w:1"]


def test_a_late_answer_of_a_stop_changes_nothing() -> None:
    """It was seen to be down; that its command complained afterwards is no failure."""
    several = shop()
    several.look(ask())
    late = several.outcome("worker", OutcomeKind.FAILED, "exit code 1")
    gone(several, "worker")
    several.look(outcomes=(late,))
    assert stages(several) == {"worker": "down", "cache": "stopping", "db": "clearing"}


def test_an_outcome_of_another_action_is_dropped() -> None:
    """Only the one in flight counts."""
    several = shop()
    several.look(ask())
    stranger = Outcome(action_id="x", service="worker", kind=OutcomeKind.FAILED, message="no")
    assert orders(several.look(outcomes=(stranger,))) == []
    assert stages(several)["worker"] == "stopping"


# ---- groups


def test_a_restart_with_its_dependents_is_one_in_their_group() -> None:
    """All of them go down for it together; another member waits until they are back."""
    workers = GroupRules(name="workers")
    several = Several.of(
        member("a", workers, needs=("db",)), member("b", workers, needs=("db",)),
        member("c", workers), member("db"),
    )  # fmt: skip
    several.look()
    assert orders(several.look(ask())) == ["stop a", "stop b"]
    made = several.look(ask("c", force=True))
    assert made.replies[0].message == (
        "group: group workers: a is being restarted, max_parallel is 1"
    )


def test_a_restart_that_takes_too_many_down_waits() -> None:
    """`min_healthy` of the dependents' group counts for what they depend on."""
    workers = GroupRules(name="workers", min_healthy=1)
    several = Several.of(
        member("a", workers, needs=("db",)), member("b", workers, needs=("db",)),
        member("c", workers), member("db"),
    )  # fmt: skip
    several.look()
    several.pids["c"] = None
    several.look()
    made = several.look(ask())
    assert made.replies[0].message.startswith("group: group workers: it would leave 0 of 3 healthy")
    several.run("c")
    assert orders(several.look(ask())) == ["stop a", "stop b"]


# ---- relations


def test_relations_reach_through() -> None:
    """Directly or not, in the order of the stop."""
    rules = shop().rules
    assert linked.dependents(rules, "db") == ("worker", "cache")
    assert linked.dependencies(rules, "worker") == {"cache", "db"}
    assert linked.dependents(rules, "other") == ()


def test_a_circle_does_not_hang() -> None:
    """The configuration refuses it; a rule made by hand ends all the same."""
    rules = {r.name: r for r in (member("a", needs=("b",)), member("b", needs=("a",)))}
    assert linked.dependencies(rules, "a") == {"a", "b"}


def test_stages_have_a_word_each() -> None:
    """They are part of the state file."""
    assert {stage.value for stage in FlightStage} == {
        "acting", "health", "clearing", "queued", "stopping", "down",
    }  # fmt: skip
