"""One process under two names: restarted once, and said so under the other name."""

from dataclasses import replace

import pytest

from leakguard.core.events import EventKind
from leakguard.core.inbox import OutcomeKind, RestartRequest
from leakguard.testing.several import HARD_MIB, Several, member, restarted

OVER = HARD_MIB + 100


def share(several: Several) -> None:
    """Let both entries find the run that `one` has."""
    several.pids["other"], several.born["other"] = several.pids["one"], several.born["one"]


def twins(health_within_s: float | None = None) -> Several:
    """Make two entries that match one process; `one` is being restarted."""
    several = Several.of(member("one", health_within_s=health_within_s), member("other"))
    share(several)
    several.look()
    several.mib["one"] = OVER
    assert restarted(several.look()) == ["one"]
    return several


def renew(several: Several) -> None:
    """Let the restart give a new process."""
    several.run("one")
    share(several)


@pytest.mark.parametrize("force", [False, True])
def test_nobody_restarts_it_a_second_time_meanwhile(force: bool) -> None:
    """Not a person either, and not by force: the refusal names the other entry."""
    several = twins()
    ask = RestartRequest(id="r", service="other", force=force)
    (reply,) = several.look(ask).replies
    assert (reply.accepted, reply.message) == (
        False, "in_flight: it is being restarted as one, which is the same process",
    )  # fmt: skip


def test_its_new_process_is_left_alone_until_the_health_gate_is_through() -> None:
    """The restart is not over before that, whatever its name."""
    several = twins(health_within_s=30.0)
    renew(several)
    several.mib |= {"one": 100.0, "other": OVER}
    assert [restarted(several.look()) for _ in range(2)] == [[], []]
    healthy = several.outcome("one", OutcomeKind.HEALTHY, suffix="/health")
    assert restarted(several.look(outcomes=(healthy,))) == ["other"]


def test_it_is_the_same_process_whatever_its_manager_calls_it() -> None:
    """A container has an id of its own, which a pidfile does not know."""
    several = twins()
    service = several.state.services["one"]
    flight, known = service.record.flight, service.record.incarnation
    assert flight is not None
    assert flight.old is not None
    assert known is not None
    named = replace(
        service.record,
        incarnation=replace(known, token="c0ffee"),
        flight=replace(flight, old=replace(flight.old, token="c0ffee")),
    )
    services = {**several.state.services, "one": replace(service, record=named)}
    several.state = replace(several.state, services=services)
    several.mib["other"] = OVER
    assert restarted(several.look(only=("other",))) == []


def test_another_process_is_none_of_it() -> None:
    """Entries that match two processes are independent of each other."""
    several = Several.of(member("one"), member("other"))
    several.mib |= {"one": OVER, "other": OVER}
    assert restarted(several.look()) == ["one", "other"]


@pytest.mark.parametrize(
    ("after_s", "said"),
    [(1.0, "it was restarted as one"), (90.0, "leakguard did not restart it")],
)
def test_who_restarted_it_is_said_under_the_other_name(after_s: float, said: str) -> None:
    """As long as a restart of that name is lately over."""
    several = twins()
    renew(several)
    several.mib["one"] = 100.0
    several.look(only=("one",))
    several.look(after_s=after_s, only=("other",))
    assert several.told(EventKind.RESTARTED_BY_OTHERS) == [
        ("other", f"other runs anew as pid {several.pids['one']}; {said}")
    ]
