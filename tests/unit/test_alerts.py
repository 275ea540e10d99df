"""Which events people are told of, how loud, where, and under which key."""

import pytest

from leakguard.core.alerts import (
    TOPICS,
    Alert,
    AlertRules,
    AlertStatus,
    Route,
    alert_for,
    channels_for,
    remind_after_s,
    title_of,
    topic_key,
)
from leakguard.core.engine import Notice
from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import OutcomeKind, RestartRequest
from leakguard.core.policy import RestartRules
from leakguard.core.severity import Severity
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB
from leakguard.core.watch import CALM_S
from leakguard.testing.bench import NAME, Bench, guarded, trend_of

ASK = (RestartRequest(id="r", service=NAME),)
EVERYTHING = AlertRules(channels=("ops",), routes=(Route(severity=Severity.INFO, to=("ops",)),))


def event(
    kind: EventKind = EventKind.LEAK_SUSPECTED,
    *,
    service: str = NAME,
    severity: Severity = Severity.WARNING,
    **details: str | float | bool | None,
) -> Event:
    """Make an event."""
    return Event(
        id="i-1",
        kind=kind,
        service=service,
        wall_s=1.0,
        severity=severity,
        message="it leaks",
        details=details,
    )


def told(alerts: tuple[Alert, ...]) -> list[tuple[str, str]]:
    """Give kind and status of alerts."""
    return [(a.kind.value, a.status.value) for a in alerts]


ROUTES = AlertRules(
    channels=("ops", "hook", "pager"),
    routes=(
        Route(severity=Severity.WARNING, to=("ops",), remind_s=7200.0),
        Route(severity=Severity.CRITICAL, to=("hook", "ops"), remind_s=3600.0),
    ),
)


@pytest.mark.parametrize(
    ("severity", "channels"),
    [
        (Severity.INFO, ()),
        (Severity.WARNING, ("ops",)),
        (Severity.CRITICAL, ("ops", "hook")),
    ],
)
def test_routes_choose_channels_by_severity(severity: Severity, channels: tuple[str, ...]) -> None:
    """Each channel once, in the order of the configuration."""
    assert channels_for(severity, ROUTES) == channels


@pytest.mark.parametrize(
    ("severity", "channels"), [(Severity.INFO, ()), (Severity.WARNING, ("a", "b"))]
)
def test_without_routes_every_channel_hears_from_warning_up(
    severity: Severity, channels: tuple[str, ...]
) -> None:
    """Information is for those who ask for it."""
    assert channels_for(severity, AlertRules(channels=("a", "b"))) == channels


@pytest.mark.parametrize(
    ("severity", "after"),
    [(Severity.INFO, None), (Severity.WARNING, 7200.0), (Severity.CRITICAL, 3600.0)],
)
def test_the_shortest_reminder_that_applies_counts(severity: Severity, after: float | None) -> None:
    """A loud problem is covered by the quieter routes as well."""
    assert remind_after_s(severity, ROUTES) == after


def test_an_event_that_nobody_is_told_of_makes_no_alert() -> None:
    """There is no channel for it."""
    assert alert_for(event(), AlertRules(), status=AlertStatus.FIRING) is None


def test_an_alert_has_facts_for_people_and_details_for_machines() -> None:
    """In people's units, and in base units."""
    made = alert_for(
        event(
            value_bytes=812 * MIB,
            measure="auto",
            limit_bytes=1024 * MIB,
            slope_bytes_per_s=21.0 * MIB / 3600,
            time_to_limit_p50_s=9000.0,
            trigger="forecast",
            restarts_left=3,
        ),
        ROUTES,
        status=AlertStatus.FIRING,
    )
    assert made is not None
    assert dict(made.facts) == {
        "Memory": "812 MiB (auto)",
        "Limit": "1.00 GiB",
        "Trend": "21.0 MiB/h",
        "Time to limit": "2h 30m",
        "Trigger": "forecast",
        "Restarts left": "3",
    }
    assert (made.id, made.key, made.title) == (
        "i-1",
        "leakguard/localhost/worker/leak",
        "worker is leaking on localhost",
    )


def test_a_size_without_a_measure_is_a_bare_size() -> None:
    """And what is no number is printed as it is."""
    made = alert_for(event(value_bytes=MIB, took_s=True), ROUTES, status=AlertStatus.FIRING)
    assert made is not None
    assert dict(made.facts) == {"Memory": "1.00 MiB", "Took": "True"}


def test_a_notice_is_keyed_by_its_kind() -> None:
    """It is part of no problem."""
    made = alert_for(
        event(EventKind.SERVICE_STARTED, severity=Severity.CRITICAL),
        ROUTES,
        status=AlertStatus.NOTICE,
    )
    assert made is not None
    assert made.key == "leakguard/localhost/worker/ServiceStarted"


def test_titles_and_keys_are_bounded() -> None:
    """Receivers refuse longer ones."""
    long = event(service="w" * 400)
    made = alert_for(long, ROUTES, status=AlertStatus.FIRING)
    assert made is not None
    assert (len(made.title), len(made.key)) == (120, 255)


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_has_a_title(kind: EventKind) -> None:
    """With the service and the host in it, or leakguard's own name."""
    title = title_of(event(kind, service=""), "db1")
    assert "db1" in title
    assert "{" not in title


def test_deliveries_are_one_problem_per_channel() -> None:
    """Slack may work while the webhook does not."""
    failed = topic_key(event(EventKind.DELIVERY_FAILED, channel="ops"))
    unnamed = topic_key(event(EventKind.DELIVERY_FAILED))
    assert failed is not None
    assert unnamed is not None
    assert (failed.name, unnamed.name) == ("delivery/ops", "delivery")


def test_every_problem_can_end() -> None:
    """A topic that is opened by some event is resolved by another."""
    opened = {t.name for t in TOPICS.values() if not t.resolves}
    resolved = {t.name for t in TOPICS.values() if t.resolves}
    assert opened == resolved


# ---- problems over time


def test_a_problem_is_told_once_and_resolved_to_the_same_people() -> None:
    """An end is INFO, and still goes to those who heard the warning."""
    bench = Bench()
    bench.own.trend = trend_of()
    alerts = [*bench.see(1).alerts, *bench.see(1).alerts, *bench.see(1).alerts]
    bench.own.trend = trend_of(Verdict.STABLE, None)
    alerts += bench.see(1, after_s=CALM_S).alerts
    assert told(tuple(alerts)) == [("LeakSuspected", "firing"), ("LeakCleared", "resolved")]


def test_a_louder_event_of_the_same_problem_is_told() -> None:
    """A restart that fails after it was decided."""
    bench = Bench(alerts=EVERYTHING)
    bench.see(1)
    first = bench.see(1, requests=ASK).alerts
    second = bench.see(1, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),)).alerts
    again = bench.see(1, after_s=10.0, requests=ASK).alerts
    assert [told(a) for a in (first, second, again)] == [
        [("RestartDecided", "firing")],
        [("RestartFailed", "firing")],
        [],
    ]
    assert len({a.key for a in (*first, *second)}) == 1


def test_a_first_start_ends_the_problem_that_its_decision_opened() -> None:
    """Else `restarting worker` would stand for ever."""
    bench = Bench(
        rules=guarded(restart=RestartRules(driver="child", starts=True)), alerts=EVERYTHING
    )
    opened = bench.miss().alerts
    closed = bench.see(1, age_s=0.1).alerts
    assert [told(a) for a in (opened, closed)] == [
        [("RestartDecided", "firing")],
        [("ServiceStarted", "resolved")],
    ]
    assert bench.service.record.problems == {}


def test_a_restart_that_was_not_needed_ends_its_problem() -> None:
    """The action was skipped because another incarnation ran already."""
    bench = Bench(alerts=EVERYTHING)
    bench.see(1, requests=ASK)
    closed = bench.see(1, outcomes=(bench.outcome(OutcomeKind.STALE),)).alerts
    assert told(closed) == [("RestartSkipped", "resolved")]


def test_a_start_of_the_daemon_is_a_notice_or_the_end_of_a_bad_configuration() -> None:
    """A daemon only starts with a good one."""
    bench = Bench(alerts=EVERYTHING)
    started = Notice(kind="DaemonStarted", service="", severity="info", message="up")
    rejected = Notice(kind="ConfigRejected", service="", severity="warning", message="bad")
    found = [bench.step(notices=(n,)).alerts for n in (started, rejected, started)]
    assert [told(a) for a in found] == [
        [("DaemonStarted", "notice")],
        [("ConfigRejected", "firing")],
        [("DaemonStarted", "resolved")],
    ]


def test_an_end_without_a_problem_is_not_told() -> None:
    """Nobody was told that there was one."""
    bench = Bench(alerts=EVERYTHING)
    recovered = Notice(kind="StoreRecovered", service="", severity="info", message="ok")
    assert bench.step(notices=(recovered,)).alerts == ()


def test_a_problem_nobody_hears_of_is_known_all_the_same() -> None:
    """It is told when it becomes loud enough."""
    bench = Bench(alerts=AlertRules(channels=("ops",)))
    bench.see(1)
    quiet = bench.see(1, requests=ASK).alerts
    loud = bench.see(1, outcomes=(bench.outcome(OutcomeKind.FAILED, "no"),)).alerts
    assert (quiet, told(loud)) == ((), [("RestartFailed", "firing")])
    assert bench.service.record.problems["restart"].severity is Severity.CRITICAL
