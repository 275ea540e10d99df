"""Leakguard beside the system's own systemd: as root, and as the shipped unit with its rule.

The machine has cgroup v2, systemd and polkit, and no network. Nothing here depends on how fast it
is: whoever waits, waits for minutes, and a leak that was stalled does not catch up.
"""

from typing import Any

import pytest

from tests.vm.conftest import BootPlan
from tests.vm.judge import MIB
from tests.vm.machine import Record

PLAN = "units"
RIGHT = "org.freedesktop.systemd1.manage-units"
RULE = "config/polkit/50-leakguard.rules"
CAPABILITIES = "0000000000080020"  # CAP_KILL and CAP_SYS_PTRACE
PERMISSION, CONFIGURATION = 77, 78

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def together(booted: BootPlan) -> Record:
    """Several units under one daemon that is root."""
    return record_of(booted, "units-together")


@pytest.fixture
def shipped(booted: BootPlan) -> Record:
    """The life of the shipped unit."""
    return record_of(booted, "shipped-play")


def record_of(booted: BootPlan, case: str) -> Record:
    """Give what was reported of a case."""
    boot = booted(PLAN)
    found = [record for record in boot.of("unit") if record["case"] == case]
    assert len(found) == 1, [record["text"] for record in boot.of("error")]
    return found[0]


def told(record: Record, service: str) -> list[str]:
    """Give the kinds of events of a service, in order."""
    return [event["event"] for event in record["events"] if event.get("service") == service]


def changed(record: dict[str, Any]) -> set[str]:
    """Name the units that are another run afterwards."""
    before, after = record["before"], record["after"]
    return {name for name in before if before[name] != after[name]}


def test_machine_plays_its_plan_to_the_end(booted: BootPlan) -> None:
    """A machine boots, reports every scenario, and switches itself off."""
    boot = booted(PLAN)
    assert [record["text"] for record in boot.of("error")] == []
    assert len(boot.of("done")) == 1, boot.tail()


# ---------------------------------------------------------------- as root


def test_leaking_unit_is_restarted_before_the_kernel_kills(together: Record) -> None:
    """By systemd itself: no restart of its own is counted, and cgroup and score are right."""
    assert told(together, "leaky").count("RestartSucceeded") >= 1, together["said"]
    assert together["killed"] == 0, together["log"]
    assert together["after"]["leaky.service"]["NRestarts"] == "0"
    assert together["oom_score_adj"] == "123"
    assert together["cgroup"] == "0::/system.slice/leaky.service"


def test_pattern_restarts_the_instance_that_leaks(together: Record) -> None:
    """Each instance is a service by its own name; the others are the runs that they were."""
    restarted = {
        event["service"] for event in together["events"] if event["event"] == "RestartSucceeded"
    }
    assert restarted == {"leaky", "worker:worker@a.service", "full"}, together["said"]
    assert told(together, "worker:1") == ["ServiceMissing"], together["said"]
    assert changed(together) == {"leaky.service", "worker@a.service", "full.service"}


def test_unit_that_starts_full_is_not_restarted_for_ever(together: Record) -> None:
    """At most `max_restarts`, then one alert, and it is left alone, alive."""
    kinds = told(together, "full")
    assert together["full_bytes"] >= 0.93 * 80 * MIB
    assert 1 <= kinds.count("RestartDecided") <= 2, together["said"]
    loud = [kind for kind in kinds if kind in {"RestartLimitHit", "FutilityFound"}]
    assert len(loud) == 1, together["said"]
    assert "RestartDecided" not in kinds[kinds.index(loud[0]) :], together["said"]
    state = together["after"]["full.service"]
    assert (state["ActiveState"], state["NRestarts"]) == ("active", "0")


def test_limits_of_a_unit_are_bent(booted: BootPlan) -> None:
    """The kernel's files and systemd agree: bent, put back, bent, and put back by a restart."""
    usual = ["max", str(96 * MIB), None, 96 * MIB]
    bent = [str(64 * MIB), str(128 * MIB), 64 * MIB, 128 * MIB]
    assert record_of(booted, "units-limits")["found"] == [usual, bent, usual, bent, usual]


# ---------------------------------------------------------------- as the shipped unit


def test_shipped_unit_ends_without_a_configuration(shipped: Record) -> None:
    """It says what is missing, and systemd does not try it again."""
    said = shipped["unconfigured"]
    state = said["state"]
    assert said["code"] != 0
    assert (state["ActiveState"], state["ExecMainStatus"]) == ("failed", str(CONFIGURATION))
    assert "no configuration: there is no" in said["journal"]


def test_shipped_unit_starts_as_its_account(shipped: Record) -> None:
    """Ready by sd_notify, enabled, with two capabilities and its score, and nothing gained."""
    said = shipped["started"]
    state, process = said["state"], said["process"]
    assert (state["ActiveState"], state["UnitFileState"]) == ("active", "enabled"), state
    assert (state["Type"], state["User"], state["NRestarts"]) == ("notify", "leakguard", "0")
    assert set(process["Uid"].split()) == {said["account"]} != {"0"}
    assert (process["CapEff"], process["CapBnd"]) == (CAPABILITIES, CAPABILITIES)
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    assert said["oom_score_adj"] == "-900"


def test_shipped_unit_answers_those_who_may_ask(shipped: Record) -> None:
    """root and the account by the socket, nobody else; over loopback only as configured."""
    asked = shipped["asked"]
    for who in ("root", "leakguard"):
        code, said = asked[who]
        assert (code, '"name": "worker"' in said) == (0, True), said
    assert asked["lab"][0] == PERMISSION, asked["lab"]
    assert asked["loopback"] == 200


def test_shipped_unit_is_safe_in_the_eyes_of_doctor(shipped: Record) -> None:
    """Neither its own limits nor its score are a danger to it."""
    said = shipped["asked"]["doctor"]
    assert "When memory runs out" in said
    assert "critical" not in said.replace("0 critical", ""), said


@pytest.mark.parametrize("way", ["bus", "command"])
def test_missing_right_is_named(shipped: Record, way: str) -> None:
    """Before a restart and in its refusal: without the rule, and for a unit it does not list."""
    for said in (shipped["without"][way]["worker.service"], shipped["rule"][way]["other.service"]):
        assert " | refused: " in said
        assert (said.count(RIGHT), said.count(RULE)) == (2, 2), said


@pytest.mark.parametrize("way", ["bus", "command"])
def test_rule_gives_the_right_for_what_it_lists(shipped: Record, way: str) -> None:
    """Nothing else is needed to restart it, over D-Bus or by systemctl."""
    assert shipped["rule"][way]["worker.service"] == "rehearsed:  | done"
    assert changed(shipped["rule"]) == {"worker.service"}


def test_shipped_unit_says_what_it_cannot_restart(shipped: Record) -> None:
    """At its start, and no more once the rule is there."""
    before, able, _ = shipped["journal"].partition("event=ServiceCanAct service=worker ")
    lines = [line for line in before.splitlines() if "event=ServiceCannotAct" in line]
    named = [line for line in lines if RIGHT in line and RULE in line]
    assert {line.partition("service=")[2].split()[0] for line in named} == {"worker", "other"}
    assert able, shipped["journal"]


def test_shipped_unit_restarts_a_leak_before_the_kernel_kills(shipped: Record) -> None:
    """By the right that the rule gives; the unit beside it is the same run."""
    leak = shipped["leak"]
    assert leak["done"] is True, shipped["journal"]
    assert leak["kills"] == 0, shipped["log"]
    assert changed(leak) == {"worker.service"}
    assert leak["after"]["worker.service"]["NRestarts"] == "0"


def test_shipped_unit_feeds_its_watchdog(shipped: Record) -> None:
    """After some periods it is the same process as at the start."""
    state, first = shipped["watched"]["state"], shipped["started"]["state"]
    assert (state["ActiveState"], state["NRestarts"]) == ("active", "0"), shipped["journal"]
    assert state["MainPID"] == first["MainPID"]
    assert state["WatchdogUSec"] == "15s"


def test_shipped_unit_learns_whom_the_kernel_killed(shipped: Record) -> None:
    """From the journal, which its account may read."""
    assert shipped["kill"]["told"] is True, shipped["journal"]
    died = f"victim (pid {shipped['kill']['pid']}) died: the kernel killed it (python3, "
    assert died in shipped["journal"]


def test_guard_that_hangs_is_replaced(shipped: Record) -> None:
    """systemd's watchdog ends it and starts it again, and it answers."""
    hang = shipped["hang"]
    assert (hang["after"]["NRestarts"], hang["after"]["ActiveState"]) == ("1", "active"), hang
    assert hang["after"]["MainPID"] != hang["before"]["MainPID"]
    assert hang["status"][0] == 0, hang["status"]


def test_shipped_unit_stops_cleanly(shipped: Record) -> None:
    """With code 0, within systemd's time."""
    state = shipped["stopped"]
    assert (state["ActiveState"], state["Result"]) == ("inactive", "success"), state
    assert state["ExecMainStatus"] == "0"
