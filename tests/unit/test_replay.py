"""A recording replays to the same decisions, byte for byte; a damaged line is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from leakguard.cli.main import main
from leakguard.core.alerts import AlertRules
from leakguard.core.engine import Inputs, Rules, step
from leakguard.core.errors import UsageError
from leakguard.core.plan import Plan, PluginSpec, ServicePlan
from leakguard.core.policy import Mode, Policy, ServiceRules
from leakguard.core.sample import Snapshot
from leakguard.core.state import State
from leakguard.runtime.record import RecordedRules, Recorder, plain_decisions
from leakguard.runtime.replay import engine_rules, replay
from leakguard.testing.bench import guarded, sample_of, threshold
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of


def plan_of(rules: ServiceRules) -> Plan:
    """Make a plan of one service."""
    return Plan(
        host="db1",
        services=(ServicePlan(rules=rules, target=PluginSpec(key="pid", options={"pid": 1})),),
        alerts=AlertRules(host="db1", channels=("ops",)),
    )


FIRST = plan_of(guarded(threshold(150)))
SECOND = plan_of(guarded(threshold(400)))
OBSERVED = plan_of(guarded(threshold(150), mode=Mode.OBSERVE))


def record(path: Path) -> list[str]:
    """Record a leak of 100 ticks with a reload after 60, and give the lines."""
    clock, state, pid, born = FakeClock(), State(instance="rec"), 100, 0
    recorder, plan = Recorder(path, FIRST, state), FIRST
    for i in range(100):
        if i == 60:
            plan = SECOND
            recorder.reload(plan)
        now = clock.advance(10.0)
        reading = sample_of(now, 100.0 + 4 * (i - born), run=run_of(pid), age_s=10.0 * (i - born))
        inputs = Inputs(now=now, snapshot=Snapshot(at=now, readings=(reading,)))
        made = step(state, inputs, engine_rules(RecordedRules.of(plan)))
        state = made.state
        recorder.tick(inputs, made)
        if made.actions:
            pid, born = pid + 1, i
    recorder.close()
    return path.read_text().splitlines(keepends=True)


@pytest.fixture
def lines(tmp_path: Path) -> list[str]:
    """Give a recording."""
    return record(tmp_path / "recording.jsonl")


def test_a_replay_gives_the_recorded_decisions_byte_for_byte(lines: list[str]) -> None:
    """Also over a reload."""
    ticks = list(replay(lines))
    assert len(ticks) == 100
    assert [json.dumps(t.decisions) for t in ticks] == [json.dumps(t.recorded) for t in ticks]
    assert sum(bool(t.decisions) for t in ticks) == 4


def test_a_recording_is_the_same_each_time(tmp_path: Path) -> None:
    """The engine knows no randomness."""
    assert record(tmp_path / "a") == record(tmp_path / "b")


def test_other_rules_decide_differently(lines: list[str]) -> None:
    """What would this policy have done?"""
    ticks = list(replay(lines, OBSERVED))
    verbs = {d["verb"] for t in ticks for d in t.decisions}
    assert verbs == {"hold"}
    assert any(t.decisions != t.recorded for t in ticks)


def test_other_rules_hold_over_a_reload(lines: list[str]) -> None:
    """The recorded ones do not come back."""
    quiet = plan_of(guarded(Policy(forecast=None)))
    assert [t.decisions for t in replay(lines, quiet)] == [[]] * 100


Damage = Callable[[list[str]], None]


def cut(lines: list[str]) -> None:
    """Cut a line short."""
    lines[7] = lines[7][:-20] + "\n"


def swap(lines: list[str]) -> None:
    """Put something else that is JSON there."""
    lines[7] = '["inputs"]'


def number(lines: list[str]) -> None:
    """As above."""
    lines[7] = "5"


def empty(lines: list[str]) -> None:
    """Put an object there that says nothing."""
    lines[7] = "{}"


def misspell(lines: list[str]) -> None:
    """Rename a field."""
    lines[7] = lines[7].replace('"value_bytes"', '"valve_bytes"')


@pytest.mark.parametrize("damage", [cut, swap, number, empty, misspell])
def test_a_damaged_line_names_its_number(lines: list[str], damage: Damage) -> None:
    """And what is wrong with it."""
    damage(lines)
    with pytest.raises(UsageError, match="line 8 is not part of a recording: "):
        list(replay(lines))


def test_a_recording_begins_with_rules_and_state(lines: list[str]) -> None:
    """A tail of one cannot be replayed."""
    with pytest.raises(UsageError, match="begins with a line that has `rules` and `state`"):
        list(replay(lines[1:]))


def test_a_recording_of_another_format_is_refused(lines: list[str]) -> None:
    """With both numbers."""
    first = json.loads(lines[0]) | {"leakguard": 9}
    with pytest.raises(UsageError, match="has format 9, this version reads 1"):
        list(replay([json.dumps(first)]))


def test_nothing_recorded_is_an_error() -> None:
    """An empty file is no recording: most often the wrong file was named."""
    with pytest.raises(UsageError, match="nothing is recorded here: give what `leakguard run"):
        list(replay([]))


def test_a_recording_without_a_tick_is_one(lines: list[str]) -> None:
    """The daemon may have been stopped at once."""
    assert list(replay(lines[:1])) == []


@pytest.mark.parametrize(("text", "code"), [("", 2), ("x", 2)])
def test_the_command_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    """One line with the file's name and exit code 2."""
    (tmp_path / "rec").write_text(text)
    assert main(["replay", str(tmp_path / "rec")]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith(f"leakguard: {tmp_path}/rec: ")) == ("", 1, True)


def test_the_command_prints_the_decisions(
    tmp_path: Path, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each on stdout; the count is talk; what differs from the recording is exit 1."""
    path = tmp_path / "rec"
    path.write_text("".join(lines))
    assert main(["replay", str(path)]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (4, "100 ticks, 4 decisions\n")
    path.write_text("".join(line.replace('"verb":"restart"', '"verb":"hold"') for line in lines))
    assert main(["replay", str(path)]) == 1
    assert capsys.readouterr().err.endswith("leakguard: 4 ticks decided otherwise than recorded\n")


def test_rules_name_their_detectors() -> None:
    """The objects are built from plain values."""
    rules = engine_rules(RecordedRules.of(FIRST))
    assert isinstance(rules, Rules)
    assert sorted(rules.detectors) == ["", "worker"]


def test_decisions_are_plain() -> None:
    """As they are printed."""
    assert plain_decisions(()) == []
