"""Whom a kill concerns: pids, trees, cgroups, namespaces, and the domain behind it."""

from dataclasses import replace

import pytest

from leakguard.core import facts
from leakguard.core.attribution import (
    SHORT_S,
    Weight,
    cause_of,
    explains,
    inside,
    owner_of,
    ran_out,
)
from leakguard.core.kill_book import HOST, SeenKill
from leakguard.core.kills import KillCause, Killer, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.sample import Sample
from leakguard.core.series import Series
from leakguard.core.state import Death, DomainState, ServiceRecord, ServiceState
from leakguard.testing.bench import NAME, sample_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

NOW = FakeClock().now()
HOME = "/s/worker"


def last(pid: int = 100, *, age_s: float = 60.0, cgroup: str = HOME, alone: bool = True) -> Sample:
    """Make a last sample."""
    made = sample_of(NOW, 100, run=run_of(pid), age_s=age_s, domains=(f"v2:{cgroup}",))
    return replace(made, cgroup=f"v2:{cgroup}" if cgroup else "", alone=alone)


def service(sample: Sample | None = None, *dying: Death, pid: int = 100) -> ServiceState:
    """Make a service that was last seen so."""
    record = ServiceRecord(name=NAME, incarnation=run_of(pid), dying=dying)
    return ServiceState(record=record, series=Series(), last=sample)


def death(sample: Sample | None, pid: int = 100) -> Death:
    """Make a death that is noticed now."""
    return Death(incarnation=run_of(pid), noticed=NOW, last=sample)


def kill(pid: int | None = 100, group: str | None = None, **more: object) -> NamedKill:
    """Make a kill."""
    return NamedKill(**{"pid": pid, "name": "x", "task_memcg": group, **more})  # type: ignore[arg-type]  # tests choose the fields


OTHERS = last(alone=False)


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (kill(100), (NAME, True)),
        (kill(100, boot_s=NOW.boot_s - 50.0), (NAME, True)),
        (kill(100, boot_s=NOW.boot_s - 70.0), ("", False)),
        (kill(100, foreign=True), ("", False)),
        (kill(5), ("", False)),
        (kill(5, HOME), ("", False)),
        (kill(5, member_of=NAME), (NAME, False)),
        (kill(5, member_of="dropped"), ("", False)),
    ],
)
def test_by_pid_and_by_tree(one: NamedKill, found: tuple[str, bool]) -> None:
    """A pid counts only for the run that had it then, in the namespace that we watch."""
    assert owner_of(one, {NAME: service(OTHERS)}, NOW) == found


def test_a_run_that_died_is_still_known() -> None:
    """Its service runs anew already when the log is read."""
    anew = service(last(101), death(last(100)), pid=101)
    assert owner_of(kill(100), {NAME: anew}, NOW) == (NAME, True)


def test_a_pid_of_another_boot_is_another_process() -> None:
    """Numbers begin anew."""
    old = replace(NOW, boot_id="another")
    assert owner_of(kill(100), {NAME: service(OTHERS)}, old) == ("", False)


@pytest.mark.parametrize(
    ("sample", "group", "owned"),
    [
        (last(), HOME, True),
        (last(), f"{HOME}/sub", True),
        (last(), "/s", False),
        (last(), "/s/workers", False),
        (OTHERS, HOME, False),
        (None, HOME, False),
    ],
)
def test_by_cgroup(sample: Sample | None, group: str, owned: bool) -> None:
    """Where the service is all that a cgroup holds, what dies in it is the service's."""
    assert owner_of(kill(5, group), {NAME: service(sample)}, NOW)[0] == (NAME if owned else "")


def test_the_cause_without_a_home_is_read_from_the_victims_cgroup() -> None:
    """A service whose cgroup cannot be seen."""
    one = kill(5, "/s/w", scope=Domain.MEMCG, oom_memcg="/s")
    assert cause_of(one, None) is KillCause.ANCESTOR_LIMIT
    assert cause_of(replace(one, oom_memcg="/x"), None) is KillCause.UNKNOWN


@pytest.mark.parametrize(
    ("key", "cgroup", "is_inside"),
    [
        (f"v2:{HOME}", HOME, True),
        (f"v2:{HOME}/sub", HOME, True),
        ("v2:/x", HOME, False),
        ("v2:/x", "/", False),
        ("v2:/", "/", True),
        (HOST, HOME, False),
    ],
)
def test_services_where_something_was_counted(key: str, cgroup: str, is_inside: bool) -> None:
    """The root cgroup holds everybody, so it says nothing of anybody."""
    found = inside(key, {NAME: service(last(cgroup=cgroup))}, {})
    assert found == ((NAME,) if is_inside else ())


def domain(path: str, short_s: float | None = None) -> DomainState:
    """Make a domain that was at its limit so long ago."""
    at = None if short_s is None else NOW.boot_s - short_s
    return DomainState(series=Series(), path=path, limit_bytes=1, short_boot_s=at)


@pytest.mark.parametrize(
    ("domains", "found"),
    [
        ({"v1:/s": domain("/s", 1), "v1:/s/worker": domain(HOME, 1)}, None),
        ({"v2:/s": domain("/s", 1), "v2:/s/worker": domain(HOME, 1)}, "v2:/s/worker"),
        ({"v2:/s": domain("/s", 1), "v2:/s/worker": domain(HOME)}, "v2:/s"),
        ({"v2:/s": domain("/s", SHORT_S + 1), "v2:/x": domain("/x", 1)}, "v2:/s"),
        ({facts.HOST: domain("", 1), "v2:/s": domain("/s")}, facts.HOST),
        ({facts.HOST: domain("", 1), "v2:/s": domain("/s", 1)}, None),
        ({}, None),
    ],
)
def test_which_domain_ran_out(domains: dict[str, DomainState], found: str | None) -> None:
    """The one that was at its limit; the only one there is; else nobody knows."""
    assert ran_out("v2:/s/worker", domains, NOW) == found


def test_what_nobody_watches_is_the_hosts_or_not_known() -> None:
    """A kill that only the host has counted."""
    assert ran_out(HOST, {facts.HOST: domain("", 1), "v2:/s": domain("/s", 1)}, NOW) == facts.HOST
    assert ran_out(HOST, {"v2:/s": domain("/s", 1)}, NOW) is None


def seen(one: NamedKill | None, *, at: float = 0.0, **more: object) -> SeenKill:
    """Make a kill that was told of the service."""
    values = {"at": NOW.plus(at), "key": HOST, "kill": one, "service": NAME}
    return SeenKill(**{**values, **more})  # type: ignore[arg-type]  # tests choose the fields


@pytest.mark.parametrize(
    ("one", "weight"),
    [
        (seen(kill(100)), Weight.ROOT),
        (seen(kill(100), service=""), Weight.ROOT),
        (seen(kill(5)), Weight.MEMBER),
        (seen(kill(101), root=True), Weight.NOTHING),
        (seen(kill(5), service="other"), Weight.NOTHING),
        (seen(None), Weight.COUNTED),
        (seen(None, count=0), Weight.NOTHING),
        (seen(None, at=-2.0), Weight.NOTHING),
        (seen(None, at=4.0), Weight.NOTHING),
        (seen(kill(None, "/s", killer=Killer.SYSTEMD_OOMD)), Weight.ROOT),
        (seen(kill(None, "/x", killer=Killer.SYSTEMD_OOMD), service=""), Weight.NOTHING),
    ],
)
def test_how_well_a_kill_explains_a_death(one: SeenKill, weight: Weight) -> None:
    """Its root best, then another process of it, then a count where it was; in its time only."""
    assert explains(one, NAME, death(last()), NOW) is weight


def test_a_death_that_nobody_watched_is_explained_by_its_pid_only() -> None:
    """Where it was is not known."""
    oomd = seen(kill(None, "/s", killer=Killer.SYSTEMD_OOMD), service="")
    assert explains(oomd, NAME, death(None), NOW) is Weight.NOTHING
    assert explains(seen(kill(100), service=""), NAME, death(None), NOW) is Weight.ROOT
