"""What the commands print, made from plain documents without a daemon."""

import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from leakguard.cli import _output, _words, plugins_, status, why
from leakguard.cli._options import who
from leakguard.cli._table import Column, fitted
from leakguard.cli.main import main
from leakguard.core.codec import to_plain
from leakguard.core.forecast import TimeToLimit
from leakguard.core.status import LimitStatus, ServiceStatus, ThrottleStatus
from leakguard.plugins import KINDS, names
from leakguard.testing.web import MIB, quiet, sample_status, worker

Capture = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def plain(service: ServiceStatus) -> dict[str, Any]:
    """Give a service as the API does."""
    return dict(to_plain(service))


def passed(headroom_bytes: int) -> LimitStatus:
    """Give a limit that is reached at once."""
    return LimitStatus(
        kind="cgroup",
        path="/x",
        limit_bytes=100 * MIB,
        headroom_bytes=headroom_bytes,
        time_to_limit=TimeToLimit(p05_s=0.0, p50_s=0.0, p95_s=0.2),
    )


def full_at(p05: float | None, p50: float | None, p95: float | None) -> str:
    """Print when a limit with these quantiles is reached."""
    times = TimeToLimit(p05_s=p05, p50_s=p50, p95_s=p95)
    near = LimitStatus(kind="host", path="", limit_bytes=1, headroom_bytes=1, time_to_limit=times)
    return _words.full_at(plain(worker(nearest=near)))


@pytest.mark.parametrize(
    ("quantiles", "text"),
    [
        ((600.0, 1200.0, 1800.0), "Sun 22 Nov 21:20 (21:10 to 21:30)"),
        ((600.0, 20000.0, 90000.0), "Mon 23 Nov 02:33 (Sun 22 Nov 21:10 to 22:00)"),
        ((600.0, 1200.0, None), "Sun 22 Nov 21:20 (21:10 to beyond 30 days)"),
        ((600.0, None, None), "Sun 22 Nov 21:10 (21:10 to beyond 30 days)"),
        ((None, None, None), "-"),
    ],
)
def test_a_time_is_a_date_with_a_range(
    quantiles: tuple[float | None, float | None, float | None], text: str
) -> None:
    """Days are left out where they are the same; what is not foreseen is said."""
    assert full_at(*quantiles) == text


def test_the_evidence_names_what_is_passed() -> None:
    """Less than nothing is not left."""
    shown = dict(why.evidence(plain(worker(limits=(passed(-5 * MIB),)))))
    assert shown["limit (cgroup)"] == ("100 MiB (104857600 B) passed by 5.00 MiB (5242880 B) /x")


@pytest.mark.parametrize(("headroom_bytes", "text"), [(-1, "passed"), (0, "now"), (4096, "now")])
def test_a_limit_that_is_reached_has_no_range(headroom_bytes: int, text: str) -> None:
    """`21:00 (21:00 to 21:00)` would say nothing."""
    assert _words.full_at(plain(worker(nearest=passed(headroom_bytes)))) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 ticks"), (1, "1 tick"), (2, "2 ticks")])
def test_one_is_singular(number: int, text: str) -> None:
    """A number and its word agree."""
    assert _output.count(number, "tick") == text


def test_what_is_not_known_is_a_dash() -> None:
    """A service without a reading has no numbers in its row."""
    words = [f(plain(quiet())) for f in (_words.memory, _words.limit, _words.slope, _words.full_at)]
    assert words == ["-"] * 4


def test_a_limit_without_a_forecast_is_still_named() -> None:
    """The smallest limit is shown when no forecast chose one."""
    assert _words.limit(plain(worker(nearest=None))) == "1.00 GiB"


def test_on_a_terminal_states_have_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour comes on top of the word, never instead of it."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "300")
    text = status._draw([plain(worker())])  # noqa: SLF001  the drawing is what is tested
    assert "\x1b[33mleaking\x1b[0m" in text
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in status._draw([plain(worker())])  # noqa: SLF001  as above


def test_a_narrow_terminal_gets_the_decision_on_its_own_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What does not fit beside the numbers stands below them."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "150")
    lines = status._draw([plain(worker()), plain(quiet())]).splitlines()  # noqa: SLF001  as above
    assert lines[2] == "  hold (forecast): the window at 03:00 comes first"
    assert len(lines) == 4  # nothing was decided of the second


@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (140, "SERVICE MODE PHASE VERDICT MEMORY LIMIT SLOPE LIMIT REACHED LEFT"),
        (100, "SERVICE MODE PHASE VERDICT MEMORY LIMIT SLOPE LIMIT REACHED LEFT"),
        (80, "SERVICE MODE PHASE VERDICT MEMORY LIMIT LIMIT REACHED"),
        (50, "SERVICE PHASE MEMORY LIMIT REACHED"),
        (40, "SERVICE PHASE MEMORY"),
    ],
)
def test_a_terminal_gets_what_fits(
    columns: int, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is wider than the terminal; what a person needs most goes last."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    lines = status._draw([plain(worker()), plain(quiet())]).splitlines()  # noqa: SLF001  as above
    assert max(map(len, lines)) <= columns
    assert " ".join(lines[0].split()) == header


def test_a_table_without_an_end_keeps_everything() -> None:
    """In a pipe nothing is shortened or left out."""
    columns = [Column(header="A", cells=["x" * 300], short=["x"], shrinks=1, goes=1)]
    assert fitted(columns, None) == columns
    assert [column.cells for column in fitted(columns, 10)] == [["x"]]


def test_columns_that_never_go_may_be_too_wide() -> None:
    """Better a line that the terminal folds than no name."""
    columns = [Column(header="A", cells=["name"]), Column(header="B", cells=["x"], goes=1)]
    assert [column.header for column in fitted(columns, 2)] == ["A"]


def test_long_prose_is_cut_visibly() -> None:
    """A cell that goes on says so."""
    assert [_output.cut(text, 4) for text in ("four", "fives")] == ["four", "fiv…"]


def test_no_service_is_said() -> None:
    """An empty status is a sentence, not an empty table."""
    assert status._draw([]) == "no service is guarded yet"  # noqa: SLF001  as above


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paused": "paused by bob"}, "`leakguard resume worker` ends that"),
        ({"breaker_open": True}, "it had too many restarts"),
        ({"breaker": "half-open"}, "its next restart is on probation"),
        ({"futile": "restarts do not help"}, "`leakguard resume worker` lets them be tried again"),
        ({"mode": "observe"}, "`mode: act` lets leakguard restart it"),
        ({"driver": ""}, "give it a `restart.driver`"),
        ({"cannot_act": ("no right to signal: run as root",)}, "no right to signal: run as root"),
        ({"nearest": None, "limits": ()}, "`limit: SIZE`"),
        ({"threshold_bytes": None}, "`restart.threshold`"),
        ({}, "`leakguard restart worker` restarts it now"),
        ({"mode": "observe"}, "`leakguard restart worker` restarts it now"),
        ({"paused": "paused by bob"}, "`leakguard restart worker --force` restarts it now"),
        ({"breaker_open": True}, "`leakguard restart worker --force` restarts it now"),
        ({"phase": "missing"}, "worker is not found: it is guarded again once its target matches"),
        ({"phase": "missing", "driver": "command"}, "`leakguard restart worker` restarts it now"),
    ],
)
def test_why_says_what_would_change_it(changes: dict[str, object], words: str) -> None:
    """Each thing that holds leakguard back comes with the way to change it."""
    assert words in " ".join(why.changes(plain(worker(**changes))))


@pytest.mark.parametrize(
    "changes",
    [
        {"driver": ""},
        {"in_flight": "a7"},
        {"cannot_act": ("nobody is known to start it again",)},
        {"phase": "missing"},
    ],
)
def test_why_offers_no_restart_that_would_be_refused(changes: dict[str, object]) -> None:
    """Without a driver, in flight, with what cannot act, or where nothing runs."""
    assert "leakguard restart" not in " ".join(why.changes(plain(worker(**changes))))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "From 400 MiB on (memory.high) it is throttled, in about 12m."),
        (
            {"limited": False},
            "it is throttled, in about 12m, and it has no limit, so that need not end.",
        ),
        ({"now": True}, "It is throttled now: it has reached memory.high (400 MiB) of /a."),
    ],
)
def test_why_tells_where_it_is_slowed_down(changes: dict[str, object], words: str) -> None:
    """When it comes to that, or that it is so."""
    values: dict[str, object] = {
        "path": "/a", "high_bytes": 400 * MIB, "headroom_bytes": 10 * MIB, "limited": True,
        "now": False, "time_to_throttle": TimeToLimit(p05_s=1.0, p50_s=720.0, p95_s=None),
    }  # fmt: skip
    high = ThrottleStatus(**{**values, **changes})  # type: ignore[arg-type]  # the fields are chosen
    facts = plain(worker(throttle=high))
    assert words in " ".join(why.sentences(facts))
    assert dict(why.evidence(facts))["throttled from"] == "400 MiB (419430400 B) (memory.high) /a"


def test_why_tells_that_malloc_fails() -> None:
    """At CommitLimit nobody is killed."""
    limit = LimitStatus(kind="commit", path="", limit_bytes=MIB, headroom_bytes=MIB)
    text = " ".join(why.sentences(plain(worker(nearest=limit))))
    assert "Then malloc fails (ENOMEM) at CommitLimit, and nobody is killed." in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value_bytes": None, "phase": "missing"}, "worker is missing; its memory is not known"),
        ({"nearest": None}, "No limit is known for it."),
        ({"slope_bytes_per_s": -1000.0}, "shrinking by"),
        ({"last_decision": ""}, "Nothing has called for a restart yet."),
        ({"in_flight": "a7"}, "A restart is in flight (a7)."),
        ({"mode": "observe"}, "a restart would be alerted of, not carried out."),
        ({"driver": ""}, "without a driver, a restart would be alerted of, not carried out."),
        ({"paused": "paused by bob"}, "while it is paused, nothing restarts it."),
        ({"breaker_open": True}, "the breaker is open, so a restart would be alerted of"),
        ({"breaker": "half-open"}, "the breaker is half-open: the next restart is on probation"),
        ({"futile": "no help: raise it"}, "No help: raise it."),
        ({"futile": "no help"}, "restarts for its memory are held back, since they do not help."),
        ({"bent": "its limit is raised to 1 GiB"}, "To buy time, its limit is raised to 1 GiB."),
        ({"cannot_act": ("no right",)}, "a restart would be tried, and fail as things are."),
        ({"phase": "missing"}, "Next: it is looked for again and again, and nothing is restarted"),
        ({"phase": "missing", "driver": "child"}, "Next: leakguard starts it again"),
        ({"restarts_left": 1}, "1 restart is left before the breaker opens"),
        ({"nearest": passed(-5 * MIB)}, "The cgroup limit of /x is passed by 5.00 MiB."),
        (
            {"nearest": passed(4096)},
            "4.00 KiB are left below the cgroup limit of /x, which is full now.",
        ),
        ({"value_bytes": 921 * 1024**2}, "the threshold of 920 MiB is crossed"),
        ({"pid": None, "age_s": None}, "worker (its processes watching) held"),
    ],
)
def test_why_speaks_of_each_state(changes: dict[str, object], words: str) -> None:
    """The paragraph says what is so, in each state of a service."""
    assert words in " ".join(why.sentences(plain(worker(**changes))))


@pytest.mark.parametrize(
    ("came", "words"),
    [
        ((1, 18, 1), "Of its last 20 forecasts 18 came inside the range, 1 came before it."),
        ((0, 3, 1), "Of its last 4 forecasts 3 came inside the range."),
    ],
)
def test_why_tells_how_right_it_was(came: tuple[int, int, int], words: str) -> None:
    """So that people know what the range is worth here; nothing of less than two."""
    outcomes = dict(zip(("early", "inside", "late"), came, strict=True))
    assert words in " ".join(why.sentences(plain(worker(outcomes=outcomes))))
    one = {"early": 0, "inside": 1, "late": 0}
    assert "inside the range" not in " ".join(why.sentences(plain(worker(outcomes=one))))


def test_a_limit_that_is_not_foreseen_has_no_date() -> None:
    """Without a forecast the room is named, and no time."""
    near = LimitStatus(kind="host", path="", limit_bytes=2048, headroom_bytes=1024)
    text = " ".join(why.sentences(plain(worker(nearest=near))))
    assert "1.00 KiB are left below the host limit, with no end in sight." in text


def test_a_table_is_aligned_and_has_no_trailing_space() -> None:
    """Columns are as wide as their widest cell."""
    assert _output.table(("A", "BB"), [("xxx", "y"), ("", "")]) == "A    BB\nxxx  y\n"


def test_times_without_a_zone_are_utc() -> None:
    """A time is never guessed to be local."""
    assert _output.instant("2026-11-22T21:00:00") == _output.instant("2026-11-22T21:00:00Z")


def test_who_asks_is_seen_through_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind sudo, the person is named, not root; a uid without a name is named by number."""
    monkeypatch.setenv("SUDO_USER", "alice")
    assert who() == "alice"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert who() == "uid 4000000"


def test_plugins_lists_every_kind(capsys: Capture) -> None:
    """Every plug-in is in the document, with its summary or what is wrong with it."""
    assert main(["plugins", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["plugins"]
    assert [(p["kind"], p["key"]) for p in found] == [(k, n) for k in KINDS for n in names(k)]
    assert all(p["summary"] or p["problem"] for p in found)


def test_plugins_shows_options_with_their_docs(capsys: Capture) -> None:
    """One plug-in can be asked for; a required option is marked."""
    assert main(["plugins", "drivers", "command"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("drivers\n  command")
    assert "argv*" in out


def test_plugins_names_the_right_key(capsys: Capture) -> None:
    """A typo in a key is a usage error with the nearest name."""
    assert main(["plugins", "drivers", "comand"]) == 2
    assert "did you mean 'command'?" in capsys.readouterr().err


def test_an_option_is_described_by_its_field() -> None:
    """Name, type, default and doc come from the dataclass."""
    options = plugins_.describe("drivers", "command")["options"]
    argv = next(option for option in options if option["name"] == "argv")
    assert (argv["required"], argv["default"], bool(argv["doc"])) == (True, None, True)


def test_the_sample_is_whole() -> None:
    """The status used here survives the codec, so that these tests see what the API gives."""
    assert to_plain(sample_status())["services"][1]["nearest"] is None
