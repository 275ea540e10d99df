"""`check` says in words what a plan would do, without acting and, if asked, without the machine."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leakguard.cli.main import main
from leakguard.core.instant import Instant
from leakguard.core.policy import ScheduleRule
from leakguard.core.units import MIB, Amount
from leakguard.runtime.schedule_words import clock_notes, report
from leakguard.runtime.self_check import check
from leakguard.runtime.trigger_words import guards_in_words, triggers_in_words
from leakguard.testing.settings import WORKER, load_service, load_text

NOW = Instant(
    wall_s=datetime(2026, 3, 27, 12, tzinfo=UTC).timestamp(), boot_s=1000.0, boot_id="test"
)
FULL = """
services:
  worker:
    mode: act
    target: {cmdline: my-worker}
    measure: rss
    timezone: Europe/Berlin
    restart:
      driver: {signal: {respawned_by: runit}}
      forecast: {risk: 10%, lead: 10m}
      threshold: {above: 80%, for: 2m}
      schedule: {cron: "30 2 * * *", skip_below: 300MiB, catch_up: skip}
      max_age: 7d
"""


def test_triggers_in_words(tmp_path: Path) -> None:
    """Each trigger is one line, in the order in which they act."""
    assert triggers_in_words(load_service(tmp_path, FULL).rules) == (
        "threshold: rss above 80% of the effective limit for 2m",
        "forecast: the chance of reaching a limit within 10m is above 10%",
        (
            "schedule: 30 2 * * * in Europe/Berlin, unless rss is below 300 MiB; "
            "a missed time is skipped"
        ),
        "quiet time: a leak waits for the quietest time of the day before the end",
        "age: it has run for 7d",
    )


def test_no_trigger_is_said(tmp_path: Path) -> None:
    """An empty list would read as if something had been forgotten."""
    text = "services: {a: {target: {cmdline: a}, restart: {forecast: false}}}"
    assert triggers_in_words(load_service(tmp_path, text).rules) == ("nothing: no trigger is set",)


def test_guards_in_words(tmp_path: Path) -> None:
    """Mode, grace and breaker hold a restart back."""
    assert guards_in_words(load_service(tmp_path, WORKER).rules) == (
        "mode observe: decided, logged and alerted, but nothing is restarted",
        "grace: schedules, age and slow forecasts wait 5m after a start",
        "breaker: after 4 restarts within 6h leakguard only watches and alerts",
    )


def test_the_budget_of_all_services_in_words(tmp_path: Path) -> None:
    """It is named with every service that it may hold."""
    text = f"max_restarts: {{count: 20, per: 1h}}\n{WORKER}"
    *_, last = guards_in_words(load_service(tmp_path, text).rules)
    assert last == "breaker: and after 20 restarts of all services within 1h"


def test_bought_time_in_words(tmp_path: Path) -> None:
    """Each way of bending is named."""
    text = (
        "services: {a: {target: {cmdline: a}, restart: {windows: {cron: '0 3 * * *', length: 1h}, "
        "buy_time: {raise_by: 20%, at_most: 1.5GiB, throttle_below: 5%}}}}"
    )
    assert (
        "buy time: the limit is raised by at most 20%, raised to at most 1.50 GiB, throttled from "
        "5% below it on, until its window comes"
    ) in guards_in_words(load_service(tmp_path, text).rules)


def test_a_schedule_in_words() -> None:
    """Words, zone, the next five times with the clock change among them, and a note on it."""
    rule = ScheduleRule(
        cron="30 2 * * *", timezone="Europe/Berlin", skip_below=Amount(size_bytes=300 * MIB)
    )
    said = report(rule, NOW)
    assert said.words == "At 02:30 every day, unless below 300 MiB"
    assert [moment.text for moment in said.next] == [
        "Sat 28 Mar 2026 02:30 CET",
        "Sun 29 Mar 2026 03:00 CEST",
        "Mon 30 Mar 2026 02:30 CEST",
        "Tue 31 Mar 2026 02:30 CEST",
        "Wed 01 Apr 2026 02:30 CEST",
    ]
    assert said.next[1].at == "2026-03-29T01:00:00Z"
    assert said.notes == (
        "on Sun 29 Mar 2026 the clock skips 02:00 to 03:00: 02:30 comes at 03:00",
        "on Sun 25 Oct 2026 the clock shows 02:00 to 03:00 twice: 02:30 counts once, the first",
    )


@pytest.mark.parametrize(
    ("expr", "zone"),
    [
        ("0 12 * * *", "Europe/Berlin"),
        ("30 2 * * *", "UTC"),
        ("30 2 * * *", "Asia/Tokyo"),
        ("0 * * * *", "Europe/Berlin"),
        ("0 2 * * mon", "Europe/Berlin"),
    ],
)
def test_a_schedule_beside_the_clock_change_needs_no_note(expr: str, zone: str) -> None:
    """Only a time that the clock skips or repeats is worth a line."""
    assert tuple(clock_notes(expr, zone, datetime(2026, 1, 1, tzinfo=UTC))) == ()


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("Europe/London", ["29 Mar", "25 Oct"]),
        ("America/New_York", ["08 Mar", "01 Nov"]),
        ("America/Santiago", ["04 Apr", "06 Sep"]),
        ("Australia/Sydney", ["05 Apr", "04 Oct"]),
        ("Australia/Lord_Howe", ["05 Apr", "04 Oct"]),
    ],
)
def test_clock_changes_are_found_to_the_minute(zone: str, days: list[str]) -> None:
    """Every hour is in the schedule, so every change is."""
    expr = "5,35 0-4,23 * * *"
    notes = list(clock_notes(expr, zone, datetime(2026, 1, 1, tzinfo=UTC)))
    assert [note[7:13] for note in notes] == days


def test_without_a_machine_nothing_is_looked_at(tmp_path: Path) -> None:
    """In CI there is no service to find, and that is no problem."""
    plan = load_text(tmp_path, WORKER).plan
    said = check(plan, NOW, None)
    assert (said.ok, said.machine, said.services[0].matches) == (True, False, ())


def test_the_command_exits_78_for_a_wrong_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each on stderr, nothing on stdout."""
    file = tmp_path / "c.yaml"
    file.write_text("services: {a: {target: {cmdline: a}, mode: atc, limit: 3}}")
    assert main(["check", "-c", str(file)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(f"{file}:1: ")[2].split(":")[0] for line in err.splitlines()] == [
        "services.a.limit",
        "services.a.mode",
    ]


def test_the_command_gives_one_document_for_a_wrong_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script reads the same problems from JSON."""
    file = tmp_path / "c.yaml"
    file.write_text("sevices: {}")
    assert main(["check", "-c", str(file), "--json"]) == 78
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "config": {
            "ok": False,
            "problems": [f"{file}:1: sevices: is not known here - did you mean 'services'?"],
        },
    }


def test_the_command_prints_text_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both say that the file is right, and what would restart the service."""
    file = tmp_path / "c.yaml"
    file.write_text(FULL)
    assert main(["check", "-c", str(file), "--no-machine"]) == 0
    text = capsys.readouterr().out
    assert main(["check", "-c", str(file), "--no-machine", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert text.splitlines()[-1] == "ok: the configuration (this machine was not looked at)"
    assert document["ok"] is True
    assert [line for line in document["services"][0]["triggers"] if line not in text] == []


def test_schema_prints_json_or_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """One for editors, one for people."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "leakguard configuration"
    assert main(["schema", "--docs"]) == 0
    assert capsys.readouterr().out.startswith("### Settings\n")
