"""`leakguard forecast`: the documented lines, units, limits, and what is said of bad input."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from leakguard.cli.main import main
from leakguard.core.units import MIB
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.runtime.outlook import LEAST, Outlook

Capture = pytest.CaptureFixture[str]
KEYS = ["series", "t", "verdict", "alarm", "value", "slope_per_s", "time_to_limit_s", "reason"]
LIMIT = 100.0


def rows(name: str, slope: float, count: int = 240, start: float = 10.0) -> list[str]:
    """Write a line of so much a minute, with a ripple, sampled once a minute."""
    return [f"{name},{i * 60},{start + slope * i + 0.2 * (i % 3):.4f}" for i in range(count)]


def written(path: Path, *series: list[str]) -> str:
    """Write series of rows as one file."""
    lines = ["series_id,t_seconds,value", *(row for each in series for row in each)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def lines_of(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    """Run the command with --json and give its lines."""
    assert main(["forecast", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_line_has_the_documented_keys(tmp_path: Path, capsys: Capture) -> None:
    """In their order, for every judgement."""
    file = written(tmp_path / "a.csv", rows("leak", 0.3), rows("flat", 0.0))
    said = lines_of(capsys, file, "--limit", "100")
    assert {tuple(line) for line in said} == {tuple(KEYS)}
    assert {line["series"] for line in said} == {"leak", "flat"}


def test_a_leak_is_told_with_its_time_and_a_flat_series_is_not(
    tmp_path: Path, capsys: Capture
) -> None:
    """The end of a line lies inside of the band."""
    file = written(tmp_path / "a.csv", rows("leak", 0.3), rows("flat", 0.0))
    last = {line["series"]: line for line in lines_of(capsys, file, "--limit", "100")}
    leak, flat = last["leak"], last["flat"]
    true_s = (LIMIT - leak["value"]) / 0.3 * 60
    times = leak["time_to_limit_s"]
    assert (leak["verdict"], leak["alarm"]) == ("leaking", True)
    assert times["p05"] < true_s < times["p95"]
    assert leak["slope_per_s"] == pytest.approx(0.3 / 60, rel=0.05)
    assert (flat["alarm"], flat["slope_per_s"], flat["time_to_limit_s"]) == (False, None, None)


def test_nothing_is_known_before_it_happens(tmp_path: Path, capsys: Capture) -> None:
    """What comes later changes no earlier line."""
    whole = rows("leak", 0.3)
    early = lines_of(capsys, written(tmp_path / "a.csv", whole[:150]), "--limit", "100")
    late = lines_of(capsys, written(tmp_path / "b.csv", whole), "--limit", "100")
    assert late[: len(early)] == early


@pytest.mark.parametrize(
    ("unit", "factor", "limit"),
    [("bytes", MIB, "100MiB"), ("MiB", 1.0, "100MiB"), ("percent", 1.0, "100%")],
)
def test_a_unit_changes_words_only(
    tmp_path: Path, capsys: Capture, unit: str, factor: float, limit: str
) -> None:
    """Verdicts and times are the same; values and slopes are in the unit of the file."""
    plain = lines_of(capsys, written(tmp_path / "a.csv", rows("leak", 0.3)), "--limit", "100")
    parts = [row.rsplit(",", 1) for row in rows("leak", 0.3)]
    scaled = [f"{head},{float(value) * factor}" for head, value in parts]
    file = written(tmp_path / "b.csv", scaled)
    said = lines_of(capsys, file, "--limit", limit, "--unit", unit)
    assert [line["verdict"] for line in said] == [line["verdict"] for line in plain]
    ends = said[-1]["time_to_limit_s"]["p50"], plain[-1]["time_to_limit_s"]["p50"]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)
    assert said[-1]["value"] == pytest.approx(plain[-1]["value"] * factor, rel=1e-5)


def test_percent_ends_at_a_hundred(tmp_path: Path, capsys: Capture) -> None:
    """Without a limit of one's own."""
    file = written(tmp_path / "a.csv", rows("leak", 0.3))
    assert lines_of(capsys, file, "--unit", "percent") == lines_of(
        capsys, file, "--unit", "percent", "--limit", "100"
    )


def test_limits_are_of_each_series(tmp_path: Path, capsys: Capture) -> None:
    """And go before the general one."""
    file = written(tmp_path / "a.csv", rows("one", 0.3), rows("two", 0.3))
    limits = tmp_path / "limits.csv"
    limits.write_text("series_id,limit\ntwo,200\n")
    said = lines_of(capsys, file, "--limits", str(limits), "--limit", "100")
    last = {line["series"]: line["time_to_limit_s"] for line in said}
    assert last["two"]["p50"] > 2 * last["one"]["p50"]


def test_packed_is_read_as_plain(tmp_path: Path, capsys: Capture) -> None:
    """Known by its first bytes, not by its name."""
    file = written(tmp_path / "a.csv", rows("leak", 0.3))
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(Path(file).read_bytes()))
    assert lines_of(capsys, str(packed)) == lines_of(capsys, file)


def test_without_a_limit_no_time_is_foreseen(tmp_path: Path, capsys: Capture) -> None:
    """The verdict is there all the same."""
    said = lines_of(capsys, written(tmp_path / "a.csv", rows("leak", 0.3)))
    assert {line["time_to_limit_s"] is None for line in said} == {True}


def test_people_read_changes_and_a_table(tmp_path: Path, capsys: Capture) -> None:
    """A line for each new verdict, then how it stands at the end; in the unit of the file."""
    file = written(tmp_path / "a.csv", rows("leak", 0.3))
    assert main(["forecast", file, "--limit", "100", "--unit", "percent"]) == 0
    shown = capsys.readouterr().out
    assert "leak  " in shown
    assert ": leaking: grows " in shown
    assert "%/h over " in shown
    assert "LIMIT IN" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.csv"], "missing.csv: No such file"),
        (["a.csv", "--limit", "lots"], "--limit 'lots'"),
        (["a.csv", "--limit", "5", "--unit", "bytes"], "'5'"),
        (["a.csv", "--every", "0s"], "--every must be longer than nothing"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    arguments: list[str],
    words: str,
) -> None:
    """With exit code 2."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a.csv", rows("leak", 0.3))
    assert main(["forecast", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_judgement_comes_every_twelve_samples_at_least() -> None:
    """And never before there are twelve, unless `every` has passed."""
    outlook = Outlook("x", EnvelopeDetector(Options()), 100.0 * MIB, 1e9)
    judged = [i for i in range(1, 2000) if outlook.add(float(i), 10.0 * MIB) is not None]
    gaps = [b - a for a, b in itertools.pairwise(judged)]
    assert (judged[0], max(gaps)) == (LEAST, LEAST)


def test_a_slow_series_is_judged_at_every_interval() -> None:
    """Samples further apart than `every` are each judged."""
    outlook = Outlook("x", EnvelopeDetector(Options()), 100.0 * MIB, 300.0)
    judged = [outlook.add(i * 300.0, 10.0 * MIB) is not None for i in range(20)]
    assert judged == [False] + [True] * 19
