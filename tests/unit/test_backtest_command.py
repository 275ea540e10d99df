"""`leakguard backtest`: from a file to the sentence, the table and the JSON document."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from leakguard.cli.main import main
from leakguard.core.units import MIB
from leakguard.runtime.backtest.recording import Recording
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.recordings import START_S, leak, recording
from leakguard.testing.ticks import sample, tick

LEAK = recording(leak(100, 20.6, 20), hours=50, spacing_s=600.0)
"""20 hours to 512 MiB: killed twice in 50 hours."""
CRON = 'defaults: {restart: {schedule: "0 */6 * * *", forecast: off}}\n'
THRESHOLD = "defaults: {mode: act, restart: {threshold: 80%, forecast: off}}\n"


def csv_of(what: Recording = LEAK, name: str = "worker", *, begins_s: float = 0.0) -> str:
    """Write a recording as CSV; `begins_s` is taken off its times."""
    rows = zip(what.times, what.values, strict=True)
    lines = [f"{name},{t - begins_s:.0f},{value:.0f}" for t, value in rows]
    return "\n".join(["series_id,t_seconds,value", *lines, ""])


@pytest.fixture(name="folder")
def a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a recording and two configurations, in UTC."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    (tmp_path / "worker.csv").write_text(csv_of())
    (tmp_path / "A.yaml").write_text(CRON)
    (tmp_path / "B.yaml").write_text(THRESHOLD)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    """Run the command with --json and give its document."""
    assert main(["backtest", *args, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.usefixtures("folder")
def test_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """One policy is one sentence, its restarts, and what was assumed."""
    assert main(["backtest", "worker.csv", "--limit", "512MiB"]) == 0
    said = capsys.readouterr()
    first = said.out.splitlines()[0]
    assert first == (
        "with defaults the recorded 2d 2h would have had 2 restarts, 0 OOM kills, "
        "0 needless restarts; left alone: 2 OOM kills"
    )
    assert "forecast  no      no" in said.out
    assert "\nassumed:\n- a restart that the recording does not have: " in said.out
    assert "- worker: a sample every 10m; the recording shows 2 kills at the limit;" in said.out
    assert said.err == ""


@pytest.mark.usefixtures("folder")
def test_table_of_policies(capsys: pytest.CaptureFixture[str]) -> None:
    """Several policies are a table, beside what happens without any."""
    args = ["backtest", "worker.csv", "--limit", "512MiB", "-c", "A.yaml", "-c", "B.yaml"]
    assert main(args) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()[1:5]]
    assert table == [
        ["POLICY", "RESTARTS", "IN", "WINDOW", "OOM", "KILLS", "NEEDLESS", "BREAKER", "REASONS"],
        ["A.yaml", "8", "8", "0", "7", "(+1?)", "closed", "8", "schedule"],
        ["B.yaml", "3", "0", "0", "0", "(+1?)", "closed", "3", "threshold"],
        ["left", "alone", "0", "-", "2", "-", "-", "-"],
    ]


@pytest.mark.usefixtures("folder")
def test_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The contract: counts, reasons, decisions with their times, assumptions."""
    found = answer(capsys, "worker.csv", "--limit", "512MiB", "-c", "A.yaml", "-c", "B.yaml")
    first, second = found["policies"]
    counts = ("config", "restarts", "in_window", "oom_kills", "needless", "by_reason")
    assert [first[key] for key in counts] == ["A.yaml", 8, 8, 0, 7, {"schedule": 8}]
    assert [second[key] for key in counts] == ["B.yaml", 3, 0, 0, 0, {"threshold": 3}]
    assert first["decisions"][0] == {
        "series": "worker",
        "t": START_S + 7200,
        "at": "2023-11-15T00:00:00Z",
        "trigger": "schedule",
        "reason": "scheduled for 2023-11-15T00:00:00Z (0 */6 * * *, UTC)",
        "value_bytes": round(141.2 * MIB),
        "in_window": True,
        "needless": True,
        "could_wait_until": "2023-11-15T06:00:00Z",
        "limit_reached_after_s": None,
    }
    assert found["left_alone"] == {"oom_kills": 2}
    assert "A.yaml: mode observe is played as act" in found["assumptions"]


def test_packed_file_and_stdin_give_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path, a packed one and a pipe are one and the same."""
    plain = answer(capsys, "worker.csv", "--limit", "512MiB", "-c", "B.yaml")
    (folder / "w.csv.gz").write_bytes(gzip.compress(csv_of().encode()))
    packed = answer(capsys, "w.csv.gz", "--limit", "512MiB", "-c", "B.yaml")
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(csv_of().encode())))
    )
    piped = answer(capsys, "-", "--limit", "512MiB", "-c", "B.yaml")
    assert plain == packed == piped


def test_files_of_several_days_are_one_series(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recorder that begins a file a day needs no joining."""
    lines = csv_of().splitlines()
    (folder / "1.csv").write_text("\n".join(lines[:150]))
    (folder / "2.csv").write_text("\n".join(lines[150:]))
    whole = answer(capsys, "worker.csv", "--limit", "512MiB", "-c", "B.yaml")
    assert answer(capsys, "1.csv", "2.csv", "--limit", "512MiB", "-c", "B.yaml") == whole
    assert main(["backtest", "2.csv", "1.csv", "--limit", "512MiB"]) == 2
    assert "1.csv: series worker: the time goes back from" in capsys.readouterr().err


def test_own_service_only_service_defaults(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A series takes the entry of its name, else the only one, else the defaults."""
    entry = "{target: {pidfile: /run/x.pid}, restart: {max_age: 10h, forecast: off}}"
    (folder / "own.yaml").write_text(
        f"services: {{worker: {entry}, other: {{target: {{pid: 1}}}}}}"
    )
    (folder / "only.yaml").write_text(f"services: {{other: {entry}}}")
    (folder / "none.yaml").write_text(
        "defaults: {restart: {threshold: 80%, forecast: off}}\n"
        f"services: {{one: {entry}, two: {entry}}}"
    )
    args = ("-c", "own.yaml", "-c", "only.yaml", "-c", "none.yaml")
    found = answer(capsys, "worker.csv", "--limit", "512MiB", *args)
    assert [list(policy["by_reason"]) for policy in found["policies"]] == [
        ["max_age"], ["max_age"], ["threshold"],
    ]  # fmt: skip
    said = "\n".join(found["assumptions"])
    assert "only.yaml: worker by services.other, since no service has that name" in said
    assert "none.yaml: worker by its defaults, since no service has that name" in said


def test_units_and_limits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same series in bytes, in MiB and in percent gives the same restarts."""
    rows = list(zip(LEAK.times, LEAK.values, strict=True))
    (folder / "mib.csv").write_text("".join(f"worker,{t},{v / MIB}\n" for t, v in rows))
    (folder / "share.csv").write_text("".join(f"worker,{t},{v / MIB / 5.12}\n" for t, v in rows))
    (folder / "limits.csv").write_text("series_id,limit\nworker,512\n")
    (folder / "shares.csv").write_text("series_id,limit\nworker,100\n")
    policy = ("-c", "B.yaml")
    asked = (
        ("worker.csv", "--limit", "512MiB"),
        ("mib.csv", "--unit", "MiB", "--limits", "limits.csv"),
        ("share.csv", "--unit", "percent"),
        ("share.csv", "--unit", "percent", "--limit", "512MiB", "--limits", "shares.csv"),
    )
    moments = [
        [d["t"] for d in answer(capsys, *args, *policy)["policies"][0]["decisions"]]
        for args in asked
    ]
    assert moments == [moments[0]] * 4


def test_times_that_count_from_zero(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are taken for 1970, and said so; --start says when they began."""
    (folder / "zero.csv").write_text(csv_of(begins_s=START_S))
    found = answer(capsys, "zero.csv", "--limit", "512MiB", "-c", "A.yaml")
    assert found["policies"][0]["decisions"][0]["at"] == "1970-01-01T06:00:00Z"
    assert "time 0 is taken for 1970-01-01T00:00:00Z" in found["assumptions"][-1]
    started = ("--start", "2023-11-14T22:00:00Z")
    found = answer(capsys, "zero.csv", "--limit", "512MiB", "-c", "A.yaml", *started)
    assert found["policies"][0]["decisions"][0]["at"] == "2023-11-15T00:00:00Z"
    assert found["assumptions"][-1] == "time 0 is 2023-11-14T22:00:00Z"
    assert main(["backtest", "zero.csv", "--limit", "512MiB", "-c", "A.yaml"]) == 0
    assert "\n+6h " in capsys.readouterr().out


def test_newest_part_and_chosen_series(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--last` cuts, `--series` chooses."""
    (folder / "two.csv").write_text(csv_of() + csv_of(name="other").partition("\n")[2])
    found = answer(capsys, "two.csv", "--limit", "512MiB", "-c", "B.yaml", "--series", "other")
    assert {d["series"] for d in found["policies"][0]["decisions"]} == {"other"}
    found = answer(capsys, "worker.csv", "--limit", "512MiB", "-c", "A.yaml", "--last", "12h")
    assert found["policies"][0]["restarts"] == 2


@pytest.mark.usefixtures("folder")
def test_windows_count_restarts_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """The first threshold restart lies at one in the afternoon."""
    args = ("worker.csv", "--limit", "512MiB", "-c", "B.yaml", "--window", "0 12 * * * 3h")
    found = answer(capsys, *args)["policies"][0]
    assert [d["in_window"] for d in found["decisions"]] == [True, False, False]
    assert found["in_window"] == 1


@pytest.mark.usefixtures("folder")
def test_no_limit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a limit there are neither kills nor forecasts, and the fix is named."""
    found = answer(capsys, "worker.csv")
    assert found["policies"][0]["restarts"] == 0
    assert any(a.startswith("worker: no limit is known") for a in found["assumptions"])


def test_state_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the daemon kept is played like any recording."""
    clock = FakeClock()
    store = SqliteStore(str(folder / "state.db"), clock)
    for minute in range(400):
        now = clock.advance(60.0)
        store.commit(tick(now, samples=(sample(now, (100 + minute) * MIB),)))
    store.close()
    found = answer(capsys, "--state", "state.db", "--limit", "600MiB", "-c", "B.yaml")
    assert [d["value_bytes"] for d in found["policies"][0]["decisions"]] == [481 * MIB]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "name one source: CSV files, --state PATH, or --prometheus URL --query Q"),
        (["worker.csv", "--state", "s.db"], "name one source"),
        (["--prometheus", "http://x"], "--prometheus needs --query"),
        (["worker.csv", "--query", "up"], "--query and --end go with --prometheus"),
        (["--state", "s.db", "--unit", "MiB"], "leave out --start, --unit"),
        (["worker.csv", "--start", "2023-01-01"], "these are Unix times"),
        (["--prometheus", "http://x", "--query", "up", "--start", "soon"], "'soon' is not a time"),
        (["worker.csv", "--series", "wroker"], "there is no series named 'wroker'"),
        (["worker.csv", "--limit", "512"], "'512' is not a size"),
        (["worker.csv", "--window", "night"], "'night' is not a window"),
        (["none.csv"], "none.csv: No such file or directory"),
        (["empty.csv"], "there is no series of at least two samples"),
        (["bad.csv"], "bad.csv, line 2: 'x' is not a number"),
    ],
)
def test_what_cannot_work_is_a_usage_error(
    folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    """Exit code 2 and one line that says what to do."""
    (folder / "empty.csv").write_text("series_id,t_seconds,value\n")
    (folder / "bad.csv").write_text("worker,0,1\nworker,x,1\n")
    assert main(["backtest", *args]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""


def test_bad_configuration_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 78, with file and line, before anything is played."""
    (folder / "bad.yaml").write_text("defaults: {restart: {treshold: 80%}}\n")
    assert main(["backtest", "worker.csv", "-c", "bad.yaml"]) == 78
    assert "bad.yaml:1: defaults.restart.treshold" in capsys.readouterr().err
