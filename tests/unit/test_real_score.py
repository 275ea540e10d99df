"""How the recorded real services are judged, on made-up recordings and forecasts."""

import csv
import gzip
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench import real_services
from tests.bench.real_benign import benign
from tests.bench.real_leaks import leaks
from tests.bench.real_recorder import MIB, Recording, Row, load_recording
from tests.bench.real_score import (
    ALARM,
    FAR,
    HALF,
    Judged,
    Totals,
    add_up,
    judge,
    line,
    read_predictions,
    recordings,
    summary,
    write_series,
)

LIFE_S = 1000.0


def rows(life_s: float = LIFE_S) -> tuple[Row, ...]:
    """Make a value of 10 MiB with 2 MiB of the kernel's and 5 MiB of page cache beside it."""
    value, used, usage = 10 * MIB, 12 * MIB, 17 * MIB
    return tuple(
        Row(float(t), value, value, 0, 0, 5 * MIB, value, usage, used, 0)
        for t in range(0, int(life_s), 10)
    )


def recording(*, leak: bool = True, ended: str = "", onset_s: float = 0.0) -> Recording:
    """Make a recording of 1,000 s."""
    return Recording(
        name="one", leak=leak, shape="made up", seed=1, limit_bytes=64 * MIB, onset_s=onset_s,
        ended=ended or ("killed" if leak else "time"), life_s=LIFE_S, rows=rows(),
    )  # fmt: skip


def said(
    t: float, *, alarm: bool = False, times: Iterable[float | None] | None = None
) -> dict[str, Any]:
    """Make a line of the forecast without its series."""
    named = None if times is None else dict(zip(("p05", "p50", "p95"), times, strict=True))
    verdict = "leaking" if alarm else "stable"
    return {"t": t, "verdict": verdict, "alarm": alarm, "time_to_limit_s": named}


def judged(
    one: Recording,
    own: Iterable[dict[str, Any]] = (),
    domain: Iterable[dict[str, Any]] = (),
) -> Judged:
    """Judge a recording by lines of the forecast."""
    lines = [{"series": "one/own", **each} for each in own]
    lines += [{"series": "one/domain", **each} for each in domain]
    return judge(one, read_predictions(json.dumps(each) for each in lines))


def test_an_alarm_in_time_is_right() -> None:
    """A leak is to be called one with at least 30 % of its life, or five minutes, left."""
    assert judged(recording(), [said(100), said(700, alarm=True)]).right


def test_an_alarm_too_late_is_wrong() -> None:
    """One step later there are less than five minutes left."""
    one = judged(recording(), [said(100), said(701, alarm=True)])
    assert (one.right, one.why_not) == (False, "called a leak 299 s before, not 300")


def test_a_short_leak_may_be_called_later() -> None:
    """Of a leak that lives 400 s, 30 % of its life is less than five minutes."""
    late = recording(onset_s=600.0)
    assert [judged(late, [said(t, alarm=True)]).right for t in (880, 881)] == [True, False]


def test_no_alarm_is_wrong_for_a_leak() -> None:
    """A leak that is never called one is missed."""
    assert judged(recording(), [said(900)]).why_not == "never called a leak"


def test_an_alarm_with_another_verdict_is_wrong() -> None:
    """The verdict has to be `leaking` as well."""
    other = {**said(100, alarm=True), "verdict": "warming_up"}
    assert not judged(recording(), [other]).right


def test_an_alarm_before_the_onset_is_wrong() -> None:
    """What is called a leak before it is one is a false alarm."""
    one = judged(recording(onset_s=300.0), [said(299, alarm=True)])
    assert one.why_not == "called a leak before it began"


def test_a_benign_service_may_never_alarm() -> None:
    """One alarm in its whole life is too many."""
    quiet, loud = [said(100)], [said(100), said(990, alarm=True), said(999)]
    one = recording(leak=False)
    assert [judged(one, own).right for own in (quiet, loud)] == [True, False]


def test_a_series_without_forecast_is_wrong() -> None:
    """Silence is no verdict."""
    assert judged(recording(leak=False)).why_not == "nothing was said of it"


@pytest.mark.parametrize(
    ("leak", "ended"), [(True, "time"), (True, "exit 1"), (False, "killed"), (False, "exit 0")]
)
def test_a_recording_that_ended_otherwise_is_wrong(*, leak: bool, ended: str) -> None:
    """A leak that nobody killed and a benign service that was killed say nothing."""
    one = judged(recording(leak=leak, ended=ended), [said(100, alarm=leak)])
    assert one.why_not == f"the recording ended by {ended}"


def test_the_kill_is_judged_on_the_domain_at_three_places() -> None:
    """At half, at four fifths and at the first alarm, by the last forecast until then."""
    own = [said(300, alarm=True), said(900, alarm=True)]
    domain = [
        said(290, times=(600, 700, 709)),
        said(490, times=(400, 500, 600)),
        said(510, times=(1, 2, 3)),
        said(800, times=(100, 150, None)),
    ]
    found = judged(recording(), own, domain).foretold
    assert {place: (one.killed_s, one.inside) for place, one in found.items()} == {
        HALF: (510.0, True),
        FAR: (200.0, True),
        ALARM: (710.0, False),
    }


def test_the_way_begins_at_the_onset() -> None:
    """Half of the way of a leak that begins at 600 s and kills at 1,000 s is at 800 s."""
    found = judged(recording(onset_s=600.0), (), [said(800, times=(1, 2, 3))]).foretold
    assert (found[HALF].killed_s, found[HALF].median_s) == (200.0, 2.0)


def test_nothing_foreseen_is_not_inside() -> None:
    """A leak without a forecast counts as one whose kill was missed."""
    found = judged(recording(), (), [said(400)]).foretold
    assert [found[place].inside for place in (HALF, FAR)] == [False, False]


def test_an_open_end_is_infinite() -> None:
    """Without p50 and p95, p05 alone still bounds the kill from below."""
    found = judged(recording(), (), [said(400, times=(599, None, None))]).foretold[HALF]
    assert (found.inside, found.median_s, found.late_s) == (True, math.inf, math.inf)


def test_the_bar_is_held_at_each_place() -> None:
    """85 % of the kills inside, all verdicts right, and a dozen of each kind."""
    well = Totals(
        leaks=20, leaks_right=20, benign=12, benign_right=12,
        inside={HALF: 17, FAR: 20, ALARM: 20}, errors={}, widths={},
    )  # fmt: skip
    assert well.problems() == []
    assert replace(well, inside={HALF: 16, FAR: 20, ALARM: 20}).problems() == [
        "50 %: only 16 of 20 kills inside of [p05, p95]"
    ]
    assert replace(well, benign_right=11).problems() == ["1 verdicts are wrong"]
    assert len(replace(well, benign=11, benign_right=11).problems()) == 1


def test_totals_and_table() -> None:
    """Errors and widths are medians, as shares of the time that was left."""
    one = judged(recording(), [said(300, alarm=True)], [said(300, times=(350, 770, 1050))])
    totals = add_up([one])
    assert (totals.inside[ALARM], totals.errors[ALARM], totals.widths[ALARM]) == (1, 0.1, 1.0)
    assert "350 < 700 < 1050  in" in line(one)
    assert "in 1 of 1; median error of p50 10%; median width 100% of the time left" in summary(
        totals
    )


def read(path: Path) -> list[list[str]]:
    """Read a CSV file, plain or compressed."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return list(csv.reader(text.decode("ascii").splitlines()))


def test_both_series_are_written_with_their_room(tmp_path: Path) -> None:
    """The service's own limit leaves out the most that is charged beside it and stays."""
    last = Row(990.0, 10 * MIB, 10 * MIB, 0, 0, 0, 10 * MIB, 13 * MIB, 13 * MIB, 0)
    one = replace(recording(), rows=(*rows()[:-1], last))
    write_series([one], tmp_path / "series.csv.gz", tmp_path / "limits.csv")
    series, limits = read(tmp_path / "series.csv.gz"), read(tmp_path / "limits.csv")
    assert series[:2] == [
        ["series_id", "t_seconds", "value"],
        ["one/own", "0.0", str(10 * MIB)],
    ]
    assert series[-1] == ["one/domain", "990.0", str(13 * MIB)]
    assert limits[1:] == [["one/own", str(61 * MIB)], ["one/domain", str(64 * MIB)]]


def test_a_recording_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """Nothing is lost on the way to the disk, and other files are left alone."""
    one = replace(recording(), name="saved")
    one.save(tmp_path)
    (tmp_path / "saved.log").write_text("said\n", "utf-8")
    assert (load_recording(tmp_path, "saved"), recordings(tmp_path)) == (one, (one,))


def test_score_ends_with_1_when_the_bar_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`score --json` gives the totals and what is wrong, from a file of predictions."""
    recording().save(tmp_path)
    told = tmp_path / "told.jsonl"
    told.write_text(json.dumps({"series": "one/own", **said(100, alarm=True)}) + "\n", "utf-8")
    words = ["bench", "score", str(tmp_path), "--predictions", str(told), "--json"]
    monkeypatch.setattr("sys.argv", words)
    assert real_services.main() == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["totals"]["leaks_right"]) == (False, 1)


def test_a_folder_keeps_to_its_seed(tmp_path: Path) -> None:
    """What is missing is recorded with the seed of what is there; another one is refused."""
    assert real_services.seed_for(tmp_path, 7) == 7
    recording().save(tmp_path)
    assert [real_services.seed_for(tmp_path, asked) for asked in (None, 1)] == [1, 1]
    with pytest.raises(SystemExit, match="seed 1, not 7"):
        real_services.seed_for(tmp_path, 7)


def test_a_missing_program_is_named_with_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs it and how to install it; nothing where nobody needs it."""
    monkeypatch.setenv("PATH", "")
    services = real_services.chosen(real_services.catalogue(1), ["redis_filling", "sessions"])
    assert real_services.lacking(services) == (
        "no redis-server (apt install redis-server), needed by: redis_filling"
    )
    assert real_services.lacking(real_services.chosen(services, ["sessions"])) == ""


@pytest.mark.parametrize("seed", range(5))
def test_every_seed_makes_the_same_services_with_other_numbers(seed: int) -> None:
    """Names stay, at least a dozen of each kind; numbers follow from the seed alone."""
    made = real_services.catalogue(seed)
    names = [one.name for one in made]
    assert names == [one.name for one in real_services.catalogue(seed + 1)]
    assert (len(set(names)), len(leaks(seed)) >= 12, len(benign(seed)) >= 12) == (
        len(names),
        True,
        True,
    )
    assert [one.command for one in made] == [one.command for one in real_services.catalogue(seed)]
