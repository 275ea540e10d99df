"""Frequent restarts of one service are one alert with their number, not one alert each."""

from leakguard.core.alerts import Alert, AlertRules, AlertStatus, Route
from leakguard.core.engine import Step
from leakguard.core.events import Event, EventKind, Severity
from leakguard.core.inbox import OutcomeKind
from leakguard.core.policy import GuardRules
from leakguard.testing.bench import CHANNEL, Bench, guarded, threshold

FREQUENT, RARE = EventKind.RESTARTS_BECAME_FREQUENT, EventKind.RESTARTS_BECAME_RARE
HOUR_S = 3600.0


def bench(singly: int = 3) -> Bench:
    """Give a bench that may restart often, and tells everything."""
    rules = AlertRules(
        channels=(CHANNEL,),
        routes=(Route(severity=Severity.INFO, to=(CHANNEL,)),),
        restarts_singly=singly,
    )
    return Bench(rules=guarded(threshold(200), guards=GuardRules(max_restarts=100)), alerts=rules)


def restart(bench: Bench, number: int, *, apart_s: float = HOUR_S) -> list[Alert]:
    """Let the service be restarted once; give the alerts of it."""
    steps: list[Step] = [
        bench.see(300, pid=100 + number, after_s=apart_s),
        bench.see(100, pid=101 + number, age_s=0.5),
        bench.see(100, pid=101 + number, after_s=6.0, age_s=6.5),
    ]
    return [alert for made in steps for alert in made.alerts]


def topics(alerts: list[Alert]) -> list[tuple[str, str]]:
    """Give what each alert is about, and its status."""
    told = {"restart", "rate", "RestartSucceeded"}
    pairs = [(alert.key.rpartition("/")[2], alert.status.value) for alert in alerts]
    return [pair for pair in pairs if pair[0] in told]


def events(bench: Bench, kind: EventKind) -> list[Event]:
    """Give the events of a kind."""
    return [event for event in bench.events if event.kind is kind]


EACH = [("restart", "firing"), ("RestartSucceeded", "notice"), ("restart", "resolved")]


def test_the_first_ones_are_told_one_by_one() -> None:
    """The decision, the success and what the memory became."""
    own = bench()
    assert [topics(restart(own, n)) for n in range(3)] == [EACH, EACH, EACH]
    assert events(own, FREQUENT) == []


def test_further_ones_are_one_alert_that_is_said_again_at_doublings() -> None:
    """With one key, the number and the reasons."""
    own = bench()
    told = [restart(own, n) for n in range(20)]
    assert [n + 1 for n in range(20) if ("rate", "firing") in topics(told[n])] == [4, 8, 16]
    assert {t for n in range(3, 20) for t in topics(told[n])} == {("rate", "firing")}
    rate = [a for made in told for a in made if a.kind is FREQUENT]
    assert {alert.key for alert in rate} == {"leakguard/localhost/worker/rate"}
    assert rate[1].title == "8 restarts of worker on localhost within a day"
    assert rate[1].summary == (
        "8 restarts of worker within a day: 8 × threshold; you are told again when there are "
        "twice as many"
    )


def test_every_restart_stays_an_event() -> None:
    """The history has them all; only alerts are joined."""
    own = bench()
    for n in range(8):
        restart(own, n)
    assert len(events(own, EventKind.RESTART_DECIDED)) == 8


def test_a_day_with_fewer_resolves_it() -> None:
    """Then they are told one by one again."""
    own = bench()
    for n in range(5):
        restart(own, n)
    made = own.see(100, pid=105, after_s=86400.0 - 2 * HOUR_S)
    assert [(a.status, a.kind) for a in made.alerts] == [(AlertStatus.RESOLVED, RARE)]
    assert topics(restart(own, 5, apart_s=2 * HOUR_S)) == EACH


def test_a_failed_one_is_always_told() -> None:
    """It is another problem than that there are many."""
    own = bench(0)
    own.see(300)
    made = own.see(300, outcomes=(own.outcome(OutcomeKind.FAILED, "no"),))
    assert ("restart", "firing") in topics(list(made.alerts))


def test_none_may_be_told_singly() -> None:
    """`restarts_singly: 0` begins with the first."""
    assert topics(restart(bench(0), 0)) == [("rate", "firing")]
