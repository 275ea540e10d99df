"""The log channel: one alert, one line."""

import json
from pathlib import Path

import pytest

from leakguard.core.errors import NotifyError
from leakguard.notifiers.base import NotifierContext
from leakguard.notifiers.log import LogFormat, LogNotifier, Options
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert


def notifier(options: Options) -> LogNotifier:
    """Make a notifier."""
    return LogNotifier(options, NotifierContext(channel="log", clock=FakeClock()))


def test_text_line(capsys: pytest.CaptureFixture[str]) -> None:
    """key=value pairs in the words of the event, on standard error."""
    notifier(Options()).send(alert())
    assert capsys.readouterr().err == (
        "at=2026-11-18T11:06:40Z severity=warning status=firing event=LeakSuspected"
        ' service=worker host=host-1 id=i-1 message="worker leaks 21.0 MiB/h"'
        " value_bytes=476053504 slope_bytes_per_s=6116.7\n"
    )


@pytest.mark.parametrize("form", LogFormat)
def test_a_line_stays_a_line(form: LogFormat, tmp_path: Path) -> None:
    """Nobody writes a line of their own through a service's name."""
    path = tmp_path / "alerts.log"
    log = notifier(Options(path=str(path), format=form))
    log.send(alert(service="a\nevent=Forged\x1b[2J\u2028", summary='x" event="Forged\r\n'))
    text = path.read_text()
    assert text.splitlines(keepends=True) == [text]
    assert text.endswith("\n")
    assert "\x1b" not in text


def test_json_line(tmp_path: Path) -> None:
    """One object a line, in the words of the event."""
    path = tmp_path / "alerts.log"
    log = notifier(Options(path=str(path), format=LogFormat.JSON))
    log.send(alert("i-1"))
    log.send(alert("i-2"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(x["event"], x["id"]) for x in lines] == [("LeakSuspected", f"i-{n}") for n in (1, 2)]


def test_a_rotated_file_is_made_anew(tmp_path: Path) -> None:
    """logrotate needs to tell nobody."""
    path = tmp_path / "alerts.log"
    log = notifier(Options(path=str(path)))
    log.send(alert("i-1"))
    path.rename(tmp_path / "alerts.log.1")
    log.send(alert("i-2"))
    assert ["id=i-2" in line for line in path.read_text().splitlines()] == [True]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """It may be mended, so it is tried again."""
    with pytest.raises(NotifyError, match=r"cannot write to .*: Is a directory") as failed:
        notifier(Options(path=str(tmp_path))).send(alert())
    assert not failed.value.permanent
