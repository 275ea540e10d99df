"""Why a service died: each cause, what is no death, how long evidence is waited for, one alert."""

import json
from dataclasses import replace

import pytest

from leakguard.core.alerts import Alert, AlertRules, AlertStatus, Route
from leakguard.core.codec import from_plain, to_plain
from leakguard.core.death_teller import EVIDENCE_S, PENDING
from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import OutcomeKind, RestartRequest
from leakguard.core.kill_book import NAME_WAIT_S
from leakguard.core.kills import Killer, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.policy import Respawn, RestartRules
from leakguard.core.sample import Absent, Reading, Sample
from leakguard.core.severity import Severity
from leakguard.core.state import ServiceRecord
from leakguard.core.units import MIB
from leakguard.testing.bench import CHANNEL, NAME, Bench, Heard, guarded, sample_of
from leakguard.testing.ticks import run_of

KEY = "v2:/s/worker"
CHILD = RestartRules(driver="child", starts=True, respawn=Respawn.ALWAYS)
WARNINGS = AlertRules(channels=(CHANNEL,), routes=(Route(to=(CHANNEL,)),))


def alive(
    bench: Bench, *, after_s: float = 1.0, pid: int = 100, heard: Heard | None = None
) -> None:
    """Let time pass and see the service, alone in its cgroup."""
    bench.clock.advance(after_s)
    bench.hear(heard or Heard(counts={KEY: 0}), sample(bench, pid))


def sample(bench: Bench, pid: int = 100) -> Sample:
    """Read it."""
    return replace(sample_of(bench.clock.now(), 100, run=run_of(pid)), cgroup=KEY, alone=True)


def absent(bench: Bench, exit_code: int | None = None, *, ambiguous: bool = False) -> Absent:
    """Find nothing."""
    return Absent(
        service=NAME,
        at=bench.clock.now(),
        reason="no process",
        exit_code=exit_code,
        ambiguous=ambiguous,
    )


def watched(**options: object) -> Bench:
    """Give a bench with a service that was seen once."""
    bench = Bench(alerts=WARNINGS, **options)  # type: ignore[arg-type]  # tests choose the fields
    alive(bench)
    return bench


def gone(bench: Bench, heard: Heard | None = None, *, exit_code: int | None = None) -> None:
    """Let a moment pass and find it gone."""
    bench.clock.advance(0.5)
    bench.hear(heard or Heard(), absent(bench, exit_code))


def waits(bench: Bench, *readings: Reading, seconds: float = EVIDENCE_S) -> None:
    """Let the time for evidence pass."""
    bench.clock.advance(seconds)
    bench.hear(Heard(), *readings)


def deaths(bench: Bench) -> list[Event]:
    """Give the deaths that were told."""
    return [e for e in bench.events if e.kind is EventKind.SERVICE_DIED]


def kill(pid: int | None = 100, **more: object) -> NamedKill:
    """Make a kill by the service's own limit."""
    values: dict[str, object] = {
        "pid": pid,
        "name": "app",
        "scope": Domain.MEMCG,
        "task_memcg": "/s/worker",
        "oom_memcg": "/s/worker",
        "limit_bytes": 256 * MIB,
        "anon_bytes": 240 * MIB,
        "oom_score_adj": 0,
    }
    return NamedKill(**{**values, **more})  # type: ignore[arg-type]  # tests choose the fields


@pytest.mark.parametrize(
    ("changes", "cause", "words"),
    [
        (
            {},
            "oom_own_limit",
            " its limit of 256 MiB; raise that limit, or have it restarted earlier",
        ),
        (
            {"oom_memcg": "/s"},
            "oom_ancestor_limit",
            " its limit of 256 MiB; raise that limit, or limit what else is below it",
        ),
        (
            {"scope": Domain.HOST, "oom_memcg": None, "limit_bytes": None},
            "oom_host",
            "the host ran out of memory; add memory or swap, or limit the largest services",
        ),
        (
            {"oom_memcg": None, "limit_bytes": None},
            "oom",
            "a cgroup reached its limit",
        ),
        (
            {"killer": Killer.EARLYOOM, "anon_bytes": None, "rss_bytes": 240 * MIB},
            "userspace_killer",
            "because memory was short; add memory or swap, or exempt it there",
        ),
    ],
)
def test_a_death_that_a_log_explains(changes: dict[str, object], cause: str, words: str) -> None:
    """At once, as soon as both are known."""
    bench = watched()
    gone(bench, Heard(kills=(replace(kill(), **changes),)))  # type: ignore[arg-type]  # cases choose the fields
    (event,) = deaths(bench)
    assert (event.details["cause"], event.severity) == (cause, Severity.CRITICAL)
    assert event.message.startswith("worker (pid 100) died: ")
    assert event.message.endswith(words)
    assert "killed it (app, 240 MiB " in event.message
    assert (bench.service.record.deaths, bench.service.record.dying) == ({cause: 1}, ())


def test_systemd_oomd_kills_what_its_cgroup_holds() -> None:
    """It names no process."""
    bench = watched()
    oomd = NamedKill(pid=None, name="s", killer=Killer.SYSTEMD_OOMD, task_memcg="/s")
    gone(bench)
    bench.hear(Heard(kills=(oomd,)))
    (event,) = deaths(bench)
    assert (event.details["cause"], event.details["killer"]) == ("userspace_killer", "systemd-oomd")


def test_evidence_may_come_later() -> None:
    """The journal takes a second."""
    bench = watched()
    gone(bench)
    assert deaths(bench) == []
    bench.clock.advance(1.0)
    bench.hear(Heard(kills=(kill(),)), absent(bench))
    assert [e.details["cause"] for e in deaths(bench)] == ["oom_own_limit"]


def test_evidence_may_come_before() -> None:
    """The log is read each tick, the service perhaps every ten seconds."""
    bench = watched()
    bench.clock.advance(0.5)
    bench.hear(Heard(kills=(kill(),)))
    bench.clock.advance(9.0)
    bench.hear(Heard(), absent(bench))
    assert [e.details["cause"] for e in deaths(bench)] == ["oom_own_limit"]


def test_without_evidence_it_is_not_known() -> None:
    """After the wait, once, with the reason why nobody could be asked."""
    bench = watched()
    gone(bench)
    bench.clock.advance(EVIDENCE_S)
    bench.hear(Heard(no_names="/dev/kmsg must not be read"), absent(bench))
    waits(bench, absent(bench))
    (event,) = deaths(bench)
    assert (event.details["cause"], event.severity, event.message) == (
        "unknown",
        Severity.WARNING,
        (
            "worker (pid 100) ended, and nothing says why: no kill for memory is known of it; "
            "/dev/kmsg must not be read"
        ),
    )


def test_a_count_in_its_own_cgroup_explains_it() -> None:
    """Without a name; which limit it was is not known here."""
    bench = watched()
    gone(bench, Heard(counts={KEY: 1}))
    waits(bench, absent(bench))
    waits(bench, absent(bench), seconds=NAME_WAIT_S)
    (event,) = deaths(bench)
    assert (event.details["cause"], event.message) == (
        "oom",
        "worker (pid 100) died: the kernel killed in its cgroup: which limit was hit is not known",
    )


def test_the_kill_of_another_process_may_explain_it() -> None:
    """People were woken by that kill; that the service fell too is said less loudly."""
    bench = watched()
    bench.clock.advance(0.2)
    bench.hear(Heard(kills=(kill(900),)))
    gone(bench)
    waits(bench, absent(bench))
    (event,) = deaths(bench)
    assert (event.details["cause"], event.severity) == ("oom_own_limit", Severity.WARNING)
    assert "the kernel killed its process app (pid 900, 240 MiB anonymous" in event.message


@pytest.mark.parametrize(
    ("code", "at_once", "words"),
    [
        (1, True, "worker (pid 100) ended by itself with code 1"),
        (139, True, "worker (pid 100) was ended by SIGSEGV; no kill for memory is known of it"),
        (137, False, "worker (pid 100) was ended by SIGKILL; no kill for memory is known of it"),
        (143, False, "worker (pid 100) was ended by SIGTERM; no kill for memory is known of it"),
        (200, True, "worker (pid 100) was ended by signal 72; no kill for memory is known of it"),
    ],
)
def test_a_child_that_crashed(code: int, at_once: bool, words: str) -> None:
    """Its code is known; only what killers send is waited for."""
    bench = watched()
    gone(bench, exit_code=code)
    assert bool(deaths(bench)) == at_once
    waits(bench, absent(bench, code))
    (event,) = deaths(bench)
    assert (event.details["cause"], event.details["exit_code"], event.message) == (
        "crash",
        code,
        words,
    )


def test_a_killed_child_with_evidence_did_not_crash() -> None:
    """The kernel's SIGKILL is a kill for memory."""
    bench = watched()
    gone(bench, Heard(kills=(kill(),)), exit_code=137)
    assert [e.details["cause"] for e in deaths(bench)] == ["oom_own_limit"]


# ---- what is no death


def test_a_child_that_ended_well_did_not_die() -> None:
    """It was done."""
    bench = watched()
    gone(bench, exit_code=0)
    waits(bench, absent(bench, 0))
    assert (deaths(bench), bench.service.record.deaths) == ([], {})


def test_what_a_restart_of_ours_ends_did_not_die() -> None:
    """Whether it comes back or not."""
    bench = watched()
    bench.see(100, requests=(RestartRequest(id="r", service=NAME),))
    gone(bench)
    bench.see(50, pid=101, outcomes=(bench.outcome(OutcomeKind.DONE),))
    bench.see(50, pid=101, requests=(RestartRequest(id="s", service=NAME),))
    gone(bench)
    waits(bench, absent(bench), seconds=100.0)
    waits(bench, absent(bench))
    assert EventKind.RESTART_FAILED in bench.kinds()
    assert deaths(bench) == []


def test_a_target_that_lets_go_of_a_process_ends_nothing() -> None:
    """The pidfile is gone and the process runs on."""
    bench = watched()
    bench.clock.advance(1.0)
    bench.hear(Heard(still_running=(NAME,)), absent(bench))
    bench.clock.advance(1.0)
    waits(bench, sample(bench, 101))
    assert deaths(bench) == []


def test_a_process_that_was_let_go_may_die_later() -> None:
    """Then it is told."""
    bench = watched()
    for still_running in ((NAME,), (NAME,), ()):
        bench.clock.advance(1.0)
        bench.hear(Heard(still_running=still_running), absent(bench))
    waits(bench, absent(bench))
    waits(bench, absent(bench))
    assert len(deaths(bench)) == 1


def test_several_matches_end_nothing() -> None:
    """Which one it is is not known."""
    bench = watched()
    bench.clock.advance(1.0)
    bench.hear(Heard(), absent(bench, ambiguous=True))
    waits(bench)
    assert deaths(bench) == []


def test_a_reboot_is_no_death() -> None:
    """Everything runs anew after it."""
    bench = watched()
    bench.clock.boot_id = "another"
    alive(bench, pid=101)
    waits(bench)
    assert deaths(bench) == []


def test_a_service_that_was_never_seen_did_not_die() -> None:
    """It is missing, and that is told aloud."""
    bench = Bench(alerts=WARNINGS)
    bench.miss()
    waits(bench)
    assert [(e.kind, e.severity) for e in bench.events] == [
        (EventKind.SERVICE_MISSING, Severity.WARNING)
    ]


# ---- how it is told


def test_a_death_is_one_alert_and_its_end_another() -> None:
    """Not one for the kill, one for the absence and one for the death."""
    bench = watched()
    alerts: list[Alert] = []
    bench.clock.advance(0.5)
    alerts += bench.hear(Heard(kills=(kill(),)), absent(bench)).alerts
    bench.clock.advance(60.0)
    alerts += bench.hear(Heard(), absent(bench)).alerts
    alerts += bench.see(50, pid=101).alerts
    assert [(a.status, a.kind, a.key) for a in alerts] == [
        (AlertStatus.FIRING, EventKind.SERVICE_DIED, "leakguard/localhost/worker/missing"),
        (AlertStatus.RESOLVED, EventKind.SERVICE_RETURNED, "leakguard/localhost/worker/missing"),
    ]
    told = [e.kind for e in bench.events]
    assert told == [
        EventKind.OOM_KILL_OBSERVED,
        EventKind.SERVICE_MISSING,
        EventKind.SERVICE_DIED,
        EventKind.RESTARTED_BY_OTHERS,
        EventKind.SERVICE_RETURNED,
    ]


def test_a_kill_after_which_it_runs_again_is_news_and_no_problem() -> None:
    """There is nothing to wait for."""
    bench = watched()
    bench.clock.advance(0.5)
    made = bench.hear(Heard(kills=(kill(),)), sample(bench, 101))
    (event,) = deaths(bench)
    assert event.message.endswith(". It runs again as pid 101")
    assert [(a.status, a.kind) for a in made.alerts] == [
        (AlertStatus.NOTICE, EventKind.SERVICE_DIED)
    ]
    assert bench.service.record.problems == {}


def test_a_restart_by_others_wakes_nobody() -> None:
    """Somebody deployed."""
    bench = watched()
    alive(bench, pid=101)
    waits(bench, sample(bench, 101))
    (event,) = deaths(bench)
    assert (event.severity, event.details["cause"]) == (Severity.INFO, "unknown")


def test_a_child_that_is_started_again_wakes_nobody_twice() -> None:
    """`RestartDecided` does."""
    bench = watched(rules=guarded(restart=CHILD))
    gone(bench, exit_code=1)
    assert [e.severity for e in deaths(bench)] == [Severity.INFO]


def test_a_death_while_nobody_watched_is_told_as_that() -> None:
    """The record knew a run that is not there any more."""
    bench = Bench()
    record = ServiceRecord(name=NAME, incarnation=run_of(99))
    bench.state = replace(bench.state, services={})
    bench.see(100, pid=99)
    known = replace(bench.service, sample=None, last=None, record=record)
    bench.state = replace(bench.state, services={NAME: known})
    alive(bench)
    waits(bench)
    (event,) = deaths(bench)
    assert "ended while leakguard was not watching" in event.message


def test_of_many_deaths_the_oldest_is_told_at_once() -> None:
    """A service that dies every moment must not fill the memory."""
    bench = watched()
    for pid in range(101, 101 + PENDING + 1):
        alive(bench, after_s=0.1, pid=pid)
    assert (len(deaths(bench)), len(bench.service.record.dying)) == (1, PENDING)


def test_at_the_end_nothing_is_waited_for() -> None:
    """`exec` ends with its child."""
    bench = watched()
    gone(bench, exit_code=137)
    bench.clock.advance(0.1)
    bench.hear(Heard(kills=(kill(),), ending=True))
    assert [e.details["cause"] for e in deaths(bench)] == ["oom_own_limit"]


def test_a_count_is_waited_for_a_little_longer_and_not_for_ever() -> None:
    """Counts that go on coming do not hold a death back."""
    bench = watched()
    gone(bench)
    for number in range(1, 7):
        bench.clock.advance(1.0)
        bench.hear(Heard(counts={KEY: number}), absent(bench))
    assert len(deaths(bench)) == 1


def test_a_crash_of_the_guard_loses_no_death() -> None:
    """What waits for evidence is in the durable record."""
    bench = watched()
    gone(bench)
    record = from_plain(ServiceRecord, json.loads(json.dumps(to_plain(bench.service.record))))
    assert record == bench.service.record
    bench.state = replace(
        bench.state, services={NAME: replace(bench.service, record=record, last=None)}
    )
    waits(bench, absent(bench))
    assert len(deaths(bench)) == 1
