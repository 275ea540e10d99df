"""Findings about guarded services, their units and cgroups, and leakguard itself."""

from dataclasses import replace
from typing import Any

import pytest

from leakguard.core.badness import Candidate
from leakguard.core.findings.facts import GroupKill, KillerFacts, ProcessFacts, ServiceFacts
from leakguard.core.findings.guard import (
    guard_adj_handed_down,
    guard_findings,
    guard_in_target_cgroup,
    guard_is_victim,
    guard_unprotected,
)
from leakguard.core.findings.services import adj_inherited, group_kill, kill_disabled, throttled
from leakguard.core.findings.units import (
    managed_by_oomd,
    oom_policy_kill,
    oom_policy_stop,
    own_unit,
    score_adjust_never,
)
from leakguard.core.severity import Severity
from leakguard.core.units import MIB
from leakguard.core.victims import End
from leakguard.testing.facts import case, domain, guard, machine, service, unit

NEVER = ProcessFacts(pid=10, name="python3", oom_score_adj=-1000)
USUAL = ProcessFacts(pid=11, name="python3")
SLICE = unit(name="system.slice", oom_policy="", restart="")


def in_unit(**changes: Any) -> ServiceFacts:
    """Give the service in a unit with these settings."""
    return service(units=(unit(**changes), SLICE))


@pytest.mark.parametrize("restart", ["no", "on-abort", "on-success", "on-watchdog", ""])
def test_oom_policy_stop_that_stays_down_is_a_warning(restart: str) -> None:
    """systemd counts a kill as Result=oom-kill, which these values do not restart after."""
    finding = oom_policy_stop(in_unit(oom_policy="stop", restart=restart))
    assert finding is not None
    assert finding.severity is Severity.WARNING
    assert "does not start it again" in finding.why
    assert "Restart=on-failure" in finding.fix
    assert finding.evidence["restart"] == restart


@pytest.mark.parametrize("restart", ["always", "on-failure", "on-abnormal"])
def test_oom_policy_stop_that_comes_back_is_a_hint(restart: str) -> None:
    """The whole unit is stopped for one process, but it runs again."""
    finding = oom_policy_stop(in_unit(oom_policy="stop", restart=restart))
    assert finding is not None
    assert finding.severity is Severity.INFO
    assert f"starts it again (Restart={restart})" in finding.why


def test_oom_policy_is_of_units_only() -> None:
    """Without a unit, or with another policy, there is nothing to say."""
    assert oom_policy_stop(service()) is None
    assert oom_policy_stop(service(units=(SLICE,))) is None
    assert oom_policy_stop(in_unit()) is None
    assert oom_policy_kill(in_unit()) is None


def test_oom_policy_kill_takes_the_whole_unit() -> None:
    """It sets memory.oom.group, and Restart= decides how loud that is."""
    calm = oom_policy_kill(in_unit(oom_policy="kill"))
    loud = oom_policy_kill(in_unit(oom_policy="kill", restart="no"))
    assert calm is not None
    assert loud is not None
    assert (calm.severity, loud.severity) == (Severity.INFO, Severity.WARNING)
    assert "memory.oom.group" in calm.why


def test_oom_score_adjust_never() -> None:
    """Others die for its leak."""
    finding = score_adjust_never(in_unit(oom_score_adjust=-1000))
    assert finding is not None
    assert finding.severity is Severity.WARNING
    assert score_adjust_never(in_unit(oom_score_adjust=-500)) is None


def test_systemd_oomd_may_kill_what_lies_below_a_marked_slice() -> None:
    """Loud only while it runs."""
    marked = unit(name="user.slice", managed_pressure="kill")
    inside = service(units=(unit(), marked))
    calm = managed_by_oomd(inside, machine())
    killers = (KillerFacts(name="systemd-oomd", pid=3, rule=""),)
    loud = managed_by_oomd(inside, machine(killers=killers))
    assert calm is not None
    assert loud is not None
    assert calm.what == "user.slice has ManagedOOMMemoryPressure=kill"
    assert "does not run now" in calm.why
    assert "may kill all of worker" in loud.why
    assert (calm.severity, loud.severity) == (Severity.INFO, Severity.WARNING)


def test_systemd_oomd_takes_only_what_is_below_the_marked_unit() -> None:
    """The unit that carries the setting is no candidate itself."""
    killers = (KillerFacts(name="systemd-oomd", pid=3, rule=""),)
    finding = managed_by_oomd(in_unit(managed_swap="kill"), machine(killers=killers))
    assert finding is not None
    assert "a cgroup below worker.service" in finding.why
    assert finding.severity is Severity.INFO


def test_systemd_oomd_omits_whom_it_is_told_to() -> None:
    """ManagedOOMPreference=omit ends the matter, and so does a unit that is not marked."""
    marked = unit(name="user.slice", managed_swap="kill")
    assert managed_by_oomd(service(units=(unit(preference="omit"), marked)), machine()) is None
    assert managed_by_oomd(in_unit(), machine()) is None


def test_the_own_unit_is_no_slice() -> None:
    """A process that lies in a slice alone has no unit of its own."""
    assert own_unit(service(units=(SLICE,))) is None
    assert own_unit(in_unit()) == unit()


def test_an_inherited_minus_1000_names_where_it_came_from() -> None:
    """The parent that has it too is named."""
    child = ProcessFacts(pid=10, name="python3", oom_score_adj=-1000, parent="sshd (pid 3)")
    finding = adj_inherited(service(processes=(child,)))
    assert finding is not None
    assert finding.what == "worker (python3, pid 10) has oom_score_adj -1000"
    assert "inherited from sshd (pid 3)" in finding.why
    assert finding.fix.startswith("now: choom -p 10 -n 0;")
    assert finding.severity is Severity.WARNING


def test_an_inherited_minus_1000_of_some_and_of_all() -> None:
    """Who has it is counted; without a parent that has it, the usual ones are named."""
    some = adj_inherited(service(processes=(NEVER, USUAL)))
    several = adj_inherited(service(processes=(NEVER, NEVER, USUAL)))
    everybody = adj_inherited(service(processes=(NEVER, NEVER)))
    assert some is not None
    assert several is not None
    assert everybody is not None
    assert some.what.startswith("worker (python3, pid 10) has")
    assert several.what.startswith("2 of 3 processes of worker have")
    assert everybody.what.startswith("all processes of worker have")
    assert "often sshd" in some.why


def test_minus_1000_that_the_unit_asks_for_is_not_inherited() -> None:
    """Then the rule about the unit speaks."""
    asked = service(processes=(NEVER,), units=(unit(oom_score_adjust=-1000),))
    assert adj_inherited(asked) is None
    assert adj_inherited(service()) is None


def test_a_group_kill_names_who_dies_too() -> None:
    """An ancestor's memory.oom.group takes the neighbours along."""
    shared = GroupKill(path="/jobs", directory="/cg/jobs", names=("worker", "nginx", "redis"))
    finding = group_kill(service(group_kill=shared))
    assert finding is not None
    assert finding.severity is Severity.WARNING
    assert finding.why.endswith("worker, and with it nginx and redis.")
    assert finding.fix.startswith("echo 0 > /cg/jobs/memory.oom.group;")


def test_a_group_kill_of_itself_alone_is_a_hint() -> None:
    """And nothing at all where the unit's OOMPolicy=kill says it already."""
    alone = GroupKill(path="/jobs", names=("worker",))
    finding = group_kill(service(group_kill=alone))
    assert finding is not None
    assert finding.severity is Severity.INFO
    said = service(group_kill=alone, units=(unit(oom_policy="kill"),))
    assert group_kill(said) is None
    assert group_kill(service()) is None


def test_oom_kill_disable_is_critical_where_somebody_lives() -> None:
    """Processes stand still; an empty group is only a trap."""
    full, empty = (
        kill_disabled(domain(end=End.HANG)),
        kill_disabled(domain(end=End.HANG, processes=0)),
    )
    assert full is not None
    assert empty is not None
    assert (full.severity, empty.severity) == (Severity.CRITICAL, Severity.WARNING)
    assert full.fix == "echo 0 > /sys/fs/cgroup/memory/jobs/memory.oom_control"
    assert kill_disabled(domain()) is None


def test_memory_high_throttles() -> None:
    """Whether it does so now is said."""
    later, now = throttled(domain(throttled_from=700 * MIB)), throttled(domain(throttled_from=MIB))
    assert later is not None
    assert now is not None
    assert later.what == "cgroup /jobs has memory.high 700 MiB"
    assert "and that is now" in now.why
    assert "and that is now" not in later.why
    assert throttled(domain()) is None


def test_memory_high_without_a_limit_never_ends() -> None:
    """The fix is another one, and there is no limit among the numbers."""
    finding = throttled(domain(end=End.THROTTLED, limit=700 * MIB, throttled_from=700 * MIB))
    assert finding is not None
    assert finding.what == "cgroup /jobs has memory.high 700 MiB and no limit"
    assert finding.why.startswith("From there on the kernel slows it down instead of killing: ")
    assert finding.fix.endswith("or set MemoryMax= a little above it")
    assert finding.evidence["limit_bytes"] is None


def test_a_guard_beside_its_target_shares_the_limit() -> None:
    """A group kill there is critical; a cgroup without guarded services is no matter."""
    shared = domain(guard_inside=True)
    together = domain(guard_inside=True, group_kill="/jobs")
    (plain,) = guard_in_target_cgroup(case(domains=(shared,)), guard())
    (loud,) = guard_in_target_cgroup(case(domains=(together,)), guard())
    assert plain.what == "leakguard is in cgroup /jobs, beside worker"
    assert (plain.severity, loud.severity) == (Severity.WARNING, Severity.CRITICAL)
    assert guard_in_target_cgroup(case(domains=(shared,), services=()), guard()) == ()
    assert guard_in_target_cgroup(case(), guard()) == ()


def test_without_a_daemon_the_place_of_this_command_is_told() -> None:
    """A leakguard started from here would be in there."""
    (finding,) = guard_in_target_cgroup(
        case(domains=(domain(guard_inside=True),)), guard(daemon=False)
    )
    assert finding.what.startswith("a leakguard that is started from here is in")


def test_a_guard_that_would_be_killed_is_critical() -> None:
    """Also as one of a group; then that it is unprotected need not be said again."""
    dying = domain(killed=(Candidate(pid=1), Candidate(pid=500)))
    bare = guard(oom_score_adj=0)
    (finding,) = guard_is_victim(case(domains=(dying,)), bare)
    assert finding.severity is Severity.CRITICAL
    assert finding.what == "the kernel would kill leakguard (pid 500) when cgroup /jobs is full"
    assert [f.key for f in guard_findings(case(domains=(dying,)), bare)] == ["guard_is_victim"]
    assert guard_is_victim(case(domains=(dying,)), guard(daemon=False)) == ()


def test_a_guard_alone_below_its_own_limit_is_as_it_should_be() -> None:
    """The shipped unit sets MemoryMax= and MemoryHigh=; being slowed down now is told."""
    me = Candidate(pid=500)
    own = domain(guard_inside=True, processes=1, killed=(me,))
    assert guard_is_victim(case(domains=(own,)), guard()) == ()
    high = replace(own.domain, throttled_from_bytes=own.domain.usage_bytes + 1)
    assert throttled(replace(own, domain=high)) is None
    now = replace(own.domain, throttled_from_bytes=own.domain.usage_bytes)
    assert throttled(replace(own, domain=now)) is not None


def test_an_unprotected_guard_is_a_hint() -> None:
    """What it lacks to protect itself is said; this command is no daemon."""
    able, unable = (
        guard_unprotected(guard(oom_score_adj=0)),
        guard_unprotected(guard(oom_score_adj=0, can_lower=False)),
    )
    assert able is not None
    assert unable is not None
    assert "CAP_SYS_RESOURCE" not in able.why
    assert "CAP_SYS_RESOURCE" in unable.why
    assert "systemd sets it" in unable.fix
    assert guard_unprotected(guard()) is None
    assert guard_unprotected(guard(daemon=False, oom_score_adj=0)) is None


@pytest.mark.parametrize(("adj", "severity"), [(-900, Severity.WARNING), (300, Severity.INFO)])
def test_a_child_with_the_guards_own_adj_is_told(adj: int, severity: Severity) -> None:
    """A protection must not go to the leaker; a malus may."""
    child = service(
        started_by_guard=True, processes=(ProcessFacts(pid=9, name="app", oom_score_adj=adj),)
    )
    finding = guard_adj_handed_down(case(services=(child,)), guard(oom_score_adj=adj))
    assert finding is not None
    assert finding.what == f"worker has leakguard's own oom_score_adj {adj}"
    assert finding.severity is severity


def test_children_at_their_own_adj_are_fine() -> None:
    """0 is what leakguard starts them with."""
    child = service(started_by_guard=True)
    assert guard_adj_handed_down(case(services=(child,)), guard()) is None
    assert guard_adj_handed_down(case(), guard(oom_score_adj=0)) is None
