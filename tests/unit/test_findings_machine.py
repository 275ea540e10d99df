"""Findings about the kernel, its settings, and what cannot be seen: one test a rule."""

from typing import Any

import pytest

from leakguard.core.findings import ending_settings, sight
from leakguard.core.findings.facts import (
    CommitFacts,
    Controller,
    KillerFacts,
    ProcessFacts,
    Psi,
    SwapFacts,
)
from leakguard.core.findings.finding import Finding
from leakguard.core.findings.services import other_killers, unkillable
from leakguard.core.severity import Severity
from leakguard.core.units import GIB, KIB, MIB
from leakguard.testing.facts import case, domain, guard, host, machine, service

RULES = (*ending_settings.RULES, *sight.MACHINE_RULES)


def found(**changes: Any) -> dict[str, Finding]:
    """Give what every rule about the machine finds, by key; disk swap is there always."""
    facts = machine(**changes)
    findings = [finding for rule in RULES if (finding := rule(facts)) is not None]
    return {finding.key: finding for finding in findings}


def test_a_usual_machine_has_nothing_but_its_swap() -> None:
    """Defaults surprise nobody."""
    assert set(found()) == {"disk_swap"}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "it then stays down"), (10, "it then boots again after 10 s")]
)
def test_panic_on_oom_is_critical_and_says_what_follows(seconds: int, words: str) -> None:
    """The machine stops; kernel.panic decides whether it comes back."""
    finding = found(panic_on_oom=1, panic_s=seconds)["panic_on_oom"]
    assert finding.severity is Severity.CRITICAL
    assert words in finding.why
    assert "of the host, not of a cgroup" in finding.why
    assert finding.fix.startswith("sysctl -w vm.panic_on_oom=0")


def test_panic_on_oom_2_holds_for_cgroups_too() -> None:
    """2 panics on a memory cgroup as well."""
    assert "of a cgroup too" in found(panic_on_oom=2)["panic_on_oom"].why


def test_kill_allocating_task() -> None:
    """Nobody can say whom it takes."""
    finding = found(kill_allocating_task=True)["kill_allocating_task"]
    assert finding.severity is Severity.WARNING


def test_overcommit_2_gives_the_numbers() -> None:
    """Limit, promised, and what is left, in words and as evidence."""
    commit = CommitFacts(mode=2, ratio=50, limit_bytes=6 * GIB, promised_bytes=4 * GIB)
    finding = found(commit=commit)["overcommit_never"]
    assert finding.severity is Severity.WARNING
    assert "once 6.00 GiB are promised" in finding.why
    assert "4.00 GiB are, 2.00 GiB are left" in finding.why
    assert finding.evidence == {
        "commit_limit_bytes": 6 * GIB,
        "committed_bytes": 4 * GIB,
        "left_bytes": 2 * GIB,
        "overcommit_ratio": 50,
    }


def test_overcommit_2_is_critical_when_little_is_left() -> None:
    """Less than a tenth left: the next fork may fail."""
    commit = CommitFacts(mode=2, limit_bytes=6 * GIB, promised_bytes=6 * GIB - 100 * MIB)
    assert found(commit=commit)["overcommit_never"].severity is Severity.CRITICAL


def test_no_swap_is_a_hint() -> None:
    """It makes the end sharp."""
    finding = found(swap=SwapFacts())["no_swap"]
    assert (finding.severity, "disk_swap" in found(swap=SwapFacts())) == (Severity.INFO, False)


def test_zram_alone_and_beside_a_disk() -> None:
    """Each kind of swap is named with its part."""
    alone = found(swap=SwapFacts(total_bytes=GIB, zram_bytes=GIB))
    both = found(swap=SwapFacts(total_bytes=3 * GIB, zram_bytes=GIB, used_bytes=5 * MIB))
    assert alone["zram"].what == "all of the swap is zram"
    assert "disk_swap" not in alone
    assert both["zram"].what == "1.00 GiB of the swap is zram"
    assert both["disk_swap"].what == "2.00 GiB of swap are on a disk"
    assert "5.00 MiB are in use" in both["disk_swap"].why


def test_swappiness_0_matters_only_with_swap() -> None:
    """A cgroup then kills while swap is free."""
    assert found(swappiness=0)["swappiness_zero"].severity is Severity.WARNING
    assert "swappiness_zero" not in found(swappiness=0, swap=SwapFacts())


@pytest.mark.parametrize(
    ("controller", "raspberry", "words"),
    [
        (Controller.DISABLED, False, "take `cgroup_disable=memory` from"),
        (Controller.DISABLED, True, "cgroup_enable=memory cgroup_memory=1"),
        (Controller.MISSING, True, "cgroup_enable=memory cgroup_memory=1"),
        (Controller.MISSING, False, "-v /sys/fs/cgroup:/sys/fs/cgroup:ro"),
    ],
)
def test_no_memory_controller(controller: Controller, raspberry: bool, words: str) -> None:
    """The fix fits the reason: the command line, a Raspberry Pi's file, or a mount."""
    finding = found(controller=controller, raspberry_pi=raspberry)["no_memory_controller"]
    assert finding.severity is Severity.WARNING
    assert words in finding.fix


@pytest.mark.parametrize(
    ("psi", "words"), [(Psi.OFF, "add psi=1"), (Psi.MISSING, "Linux 4.20 or newer")]
)
def test_no_memory_pressure(psi: Psi, words: str) -> None:
    """Off and too old have different fixes."""
    finding = found(psi=psi)["psi_off"]
    assert finding.severity is Severity.INFO
    assert finding.fix.startswith(words)


def test_the_kernel_log_is_missed_only_when_both_ways_are_closed() -> None:
    """One of /dev/kmsg and the journal is enough."""
    assert "kernel_log_unreadable" not in found(kmsg_readable=False)
    assert "kernel_log_unreadable" not in found(journal_readable=False)
    finding = found(kmsg_readable=False, journal_readable=False)["kernel_log_unreadable"]
    assert finding.severity is Severity.WARNING
    assert "counters only" in finding.why


def test_oom_dump_tasks_off() -> None:
    """The report of a kill lacks its table."""
    assert found(dump_tasks=False)["oom_dump_tasks_off"].severity is Severity.INFO


def test_a_container_sees_its_own_processes_and_cgroups() -> None:
    """Both are hints: what is up there is unknown, not absent."""
    keys = set(found(sees_all=False, ancestors_hidden=True))
    assert keys == {"disk_swap", "pid_namespace", "ancestors_hidden"}


def test_processes_that_cannot_be_read_are_counted() -> None:
    """The largest number of any domain is said."""
    finding = sight.hidden_processes(case(domains=(host(hidden=3), domain(hidden=1))))
    assert finding is not None
    assert finding.what == "3 processes cannot be read"
    assert finding.severity is Severity.WARNING


def test_hidepid_hides_from_those_who_may_not_trace() -> None:
    """With CAP_SYS_PTRACE it hides nothing."""
    hiding = machine(hidepid=2)
    finding = sight.hidden_processes(case(machine=hiding, guard=guard(can_trace=False)))
    assert finding is not None
    assert "hidepid=2" in finding.what
    assert sight.hidden_processes(case(machine=hiding)) is None
    assert sight.hidden_processes(case()) is None


@pytest.mark.parametrize(
    ("error", "severity"), [(512 * KIB, Severity.INFO), (100 * MIB, Severity.WARNING)]
)
def test_the_counter_error_weighs_by_the_smallest_domain(error: int, severity: Severity) -> None:
    """100 MiB are much in a cgroup of 1 GiB."""
    finding = sight.counter_error(case(machine=machine(counter_error_bytes=error)))
    assert finding is not None
    assert finding.severity is severity
    assert "4 CPUs" in finding.why
    assert sight.counter_error(case()) is None


def test_no_right_to_trace() -> None:
    """Shared memory of other users is unknown then."""
    assert sight.cannot_trace(guard()) is None
    finding = sight.cannot_trace(guard(can_trace=False))
    assert finding is not None
    assert finding.severity is Severity.INFO


def test_other_killers_are_named_with_their_rule() -> None:
    """Each of them is a warning of its own."""
    killers = (
        KillerFacts(name="earlyoom", pid=7, rule="the highest oom_score"),
        KillerFacts(name="systemd-oomd", pid=8, rule="whole cgroups"),
    )
    first, second = other_killers(case(machine=machine(killers=killers)))
    assert first.what == "earlyoom (pid 7) runs too"
    assert "the highest oom_score" in first.why
    assert second.fix.endswith("systemctl disable --now systemd-oomd")
    assert {first.severity, second.severity} == {Severity.WARNING}


def test_a_large_process_that_is_never_chosen_is_told() -> None:
    """Small ones and guarded ones are not: the latter have a rule of their own."""
    own = service(processes=(ProcessFacts(pid=3, name="own", oom_score_adj=-1000),))
    biggest = (
        ProcessFacts(pid=1, name="vault", oom_score_adj=-1000, size_bytes=2 * GIB, parent="sshd"),
        ProcessFacts(pid=2, name="sshd", oom_score_adj=-1000, size_bytes=2 * MIB),
        ProcessFacts(pid=3, name="own", oom_score_adj=-1000, size_bytes=GIB),
        ProcessFacts(pid=4, name="java", size_bytes=3 * GIB),
    )
    (finding,) = unkillable(case(services=(own,), biggest=biggest))
    assert finding.what == "vault (pid 1) has oom_score_adj -1000"
    assert "sshd has it too" in finding.why
    assert finding.fix.startswith("choom -p 1 -n 0")
