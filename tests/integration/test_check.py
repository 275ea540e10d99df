"""`check` on this machine: real processes are found, measured and rehearsed, none is touched."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard.cli.main import main
from leakguard.core.instant import Instant
from leakguard.core.units import MIB
from leakguard.runtime.check_report import ServiceReport
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.self_check import check, this_machine
from leakguard.testing.settings import load_text

HOLD = "import sys; x = bytearray({size}); print('up', flush=True); sys.stdin.read()  # {mark}"


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """Give a word that no other process on this machine carries."""
    return f"leakguard-{tmp_path.name}"


@pytest.fixture
def running(mark: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start two unrelated processes that hold 32 MiB each."""
    code = HOLD.format(size=32 * MIB, mark=mark)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    yield started
    for process in started:
        process.communicate(timeout=10)


def look(folder: Path, service: str) -> ServiceReport:
    """Check one service, written as the inside of its mapping."""
    plan = load_text(folder, f"services: {{a: {{{service}}}}}").plan
    clock = SystemClock()
    now: Instant = clock.now()
    (found,) = check(plan, now, this_machine(plan, clock)).services
    return found


def test_each_match_is_measured_with_its_limit(
    tmp_path: Path, mark: str, running: list[subprocess.Popen[bytes]]
) -> None:
    """Pid, memory, PSS beside it, the effective limit and where it comes from."""
    report = look(tmp_path, f"target: {{cmdline: {mark}, each: true}}, limit: 4GiB, measure: rss")
    assert {match.pid for match in report.matches} == {process.pid for process in running}
    assert report.problems == ()
    for match in report.matches:
        assert match.value_bytes is not None
        assert 32 * MIB <= match.value_bytes < 200 * MIB
        assert match.pss_bytes is not None
        assert match.pss_bytes <= match.value_bytes
        assert "configured" in {limit.source for limit in match.limits}
        assert match.effective_source != ""
        assert match.processes == 1


def look_at_two(folder: Path, one: str, other: str) -> tuple[ServiceReport, ...]:
    """Check two entries, `one` and `other`."""
    plan = load_text(folder, f"services: {{one: {{{one}}}, other: {{{other}}}}}").plan
    clock = SystemClock()
    return check(plan, clock.now(), this_machine(plan, clock)).services


def test_what_has_an_entry_of_its_own_is_left_out_of_a_pattern(
    tmp_path: Path, mark: str, running: list[subprocess.Popen[bytes]]
) -> None:
    """And which one that is, is said under the pattern; so it is when nothing else is left."""
    own, left = (process.pid for process in running)
    pattern = f"target: {{cmdline: {mark}, each: true}}"
    first, second = look_at_two(tmp_path, pattern, f"target: {{pid: {own}}}")
    assert [match.pid for match in first.matches] == [left]
    assert [match.pid for match in second.matches] == [own]
    name = second.matches[0].name
    assert f"pid {own} ({name}) has an entry of its own: other" in first.notes
    running.pop().communicate(timeout=10)
    first, _ = look_at_two(tmp_path, pattern, f"target: {{pid: {own}}}")
    assert (first.matches, first.unmatched) == ((), "nothing that has no entry of its own")


def test_a_process_of_two_entries_is_told_under_both(
    tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """Each restart would be one of both."""
    target = f"target: {{pid: {running[0].pid}}}"
    for found, other in zip(look_at_two(tmp_path, target, target), ("other", "one"), strict=True):
        (match,) = found.matches
        (said,) = (note for note in found.notes if "is guarded as" in note)
        assert said == (
            f"pid {match.pid} ({match.name}) is guarded as {other} too: a restart of one is a "
            "restart of both, so keep one of them"
        )


def test_unrelated_matches_are_ambiguous(
    tmp_path: Path, mark: str, running: list[subprocess.Popen[bytes]]
) -> None:
    """Two services cannot be one: the message says how to go on."""
    (problem,) = look(tmp_path, f"target: {{cmdline: {mark}}}").problems
    assert problem.startswith("a: 2 unrelated processes match ")
    assert problem.endswith("make the target narrower, or set `each: true`")
    assert all(str(process.pid) in problem for process in running)


@pytest.mark.parametrize(
    ("target", "row"),
    [
        ("cmdline: {mark}", "2 unrelated processes match "),
        ("cmdline: no-such-{mark}", "nothing now"),
        ("pidfile: {folder}/none.pid", "nothing now"),
    ],
)
@pytest.mark.usefixtures("running")
def test_what_matches_is_said_as_it_is(
    tmp_path: Path,
    mark: str,
    capsys: pytest.CaptureFixture[str],
    target: str,
    row: str,
) -> None:
    """Too much is not nothing."""
    inside = target.format(mark=mark, folder=tmp_path)
    file = tmp_path / "c.yaml"
    file.write_text(
        f"services: {{a: {{target: {{{inside}}}}}}}\nstate: {{path: ''}}\nhttp: {{listen: off}}\n"
        f"socket: {tmp_path}/x.sock\n"
    )
    assert main(["check", "-c", str(file)]) == 1
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  matches")]
    assert [line.partition("matches")[2].strip()[: len(row)] for line in rows] == [row]


def test_no_match_is_a_problem(tmp_path: Path, mark: str) -> None:
    """A pattern that finds nothing is most often wrong."""
    report = look(tmp_path, f"target: {{cmdline: {mark}}}")
    assert report.matches == ()
    assert len(report.problems) == 1
    assert mark in report.problems[0]


def test_a_limit_below_present_use_is_a_problem(
    tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """It could only be restarted again and again."""
    report = look(tmp_path, f"target: {{pid: {running[0].pid}}}, limit: 8MiB, measure: rss")
    (problem,) = report.problems
    assert "which is above its limit of 8.00 MiB (configured)" in problem


def test_a_threshold_below_present_use_is_a_note(
    tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """It may be meant, so the check does not fail for it."""
    report = look(
        tmp_path,
        f"target: {{pid: {running[0].pid}}}, measure: rss, restart: {{threshold: 8MiB}}",
    )
    assert report.problems == ()
    assert any("it would be restarted at once" in note for note in report.notes)


@pytest.mark.parametrize(("mode", "fails"), [("act", True), ("observe", False)])
def test_the_rehearsal_fails_the_check_only_where_leakguard_acts(
    tmp_path: Path, mark: str, running: list[subprocess.Popen[bytes]], mode: str, fails: bool
) -> None:
    """A driver that cannot act is a problem in `act`, a note in `observe`."""
    report = look(
        tmp_path,
        f"mode: {mode}, target: {{cmdline: {mark}, each: true}}, "
        "restart: {driver: {command: [/nowhere/restart-it]}}",
    )
    found = report.problems if fails else report.notes
    assert len([line for line in found if line.startswith("cannot act on a:")]) == len(running)
    assert bool(report.problems) == fails


def test_a_garbage_pidfile_is_a_problem(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "a.pid").write_text("no number")
    (problem,) = look(tmp_path, f"target: {{pidfile: {tmp_path}/a.pid}}").problems
    assert f"{tmp_path}/a.pid" in problem


def test_a_child_is_not_missed_before_it_is_started(tmp_path: Path) -> None:
    """It runs only while leakguard does."""
    report = look(tmp_path, "mode: act, target: {child: [sleep, '60']}")
    assert (report.problems, report.driver) == ((), "child")
    assert "leakguard starts it when it runs" in report.notes


def test_a_cgroup_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    """Its path is named."""
    (problem,) = look(tmp_path, "target: {cgroup: /leakguard-no-such-group}").problems
    assert "leakguard-no-such-group" in problem
