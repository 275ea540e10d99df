"""`leakguard oom-log`: where it reads, what it prints, how it ends."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leakguard.cli._kernel_log import file_lines, journal_lines
from leakguard.cli.main import main
from leakguard.core.errors import LeakguardError, PermissionRefused, UsageError
from leakguard.testing.kernel_log import FORMATS, OomEvent, Task, dmesg, killed_line, render

Capture = pytest.CaptureFixture[str]
BIG = Task(pid=500, name="big one", uid=1000, anon=9_000)
ASKS = Task(pid=600, name="asks", anon=3_000)
EVENT = OomEvent(tasks=(BIG, ASKS), victim=0, invoker=ASKS, memcg="/pods", task_memcg="/pods/one")
NEW = FORMATS[-1]
LINES = dmesg(render(EVENT, NEW))
TEXT = "\n".join(LINES) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with one kill."""
    path = tmp_path / "kern.log"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_for_people(log: Path, capsys: Capture) -> None:
    """Who, where, how big, who asked, and what the model says."""
    assert main(["oom-log", str(log)]) == 0
    sizes = "anon 35.2 MiB, file 40.0 KiB, page tables 20.0 KiB, address space 3.91 MiB"
    assert capsys.readouterr().out.splitlines() == [
        f"{2048 + (len(LINES) - 1) / 1e6:.6f}  big one (500) killed",
        '  domain  cgroup /pods, killed in /pods/one ("Memory cgroup out of memory")',
        f"  sizes   {sizes}, uid 1000, oom_score_adj 0",
        "  asked   asks (600), order 0",
        "  model   agrees (2 tasks, era signed)",
    ]


def test_for_programs(log: Path, capsys: Capture) -> None:
    """One line of JSON a kill."""
    assert main(["oom-log", str(log), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert (record["source"], record["pid"], record["name"]) == (str(log), 500, "big one")
    assert (record["model_victim"], record["model_agrees"]) == (500, True)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A rotated log is known by its first bytes, whatever its name."""
    path = tmp_path / "kern.log.2"
    path.write_bytes(pack(TEXT.encode()))
    assert list(file_lines(str(path))) == TEXT.splitlines(keepends=True)


def test_a_packed_file_that_ends_early(tmp_path: Path, capsys: Capture) -> None:
    """What can be read is read; the rest is said to be missing."""
    path = tmp_path / "kern.log.gz"
    noise = os.urandom(200_000).hex()
    path.write_bytes(gzip.compress((TEXT + noise).encode())[:-100_000])
    assert main(["oom-log", str(path)]) == 0
    said = capsys.readouterr()
    assert "big one (500) killed" in said.out
    assert "ends early or is damaged" in said.err


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """`-`, and no FILE at all in a pipe."""
    for args in (["oom-log", "-"], ["oom-log"]):
        stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(TEXT.encode())))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(args) == 0
        assert "big one (500) killed" in capsys.readouterr().out


def test_bytes_that_are_no_text(tmp_path: Path, capsys: Capture) -> None:
    """A latin-1 month or a name of any bytes: shown as escapes, nothing is lost."""
    path = tmp_path / "messages"
    raw = killed_line(EVENT, NEW, BIG).encode().replace(b"big one", b"b\xe4g")
    path.write_bytes(b"M\xe4r 13 11:16:48 host kernel: " + raw + b"\r\n")
    assert main(["oom-log", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["time"]) == ("b\\xe4g", "M\\xe4r 13 11:16:48")


def test_no_kill(tmp_path: Path, capsys: Capture) -> None:
    """Not a failure; a word says so."""
    path = tmp_path / "quiet.log"
    path.write_text("nothing happened\n", encoding="utf-8")
    assert main(["oom-log", str(path)]) == 0
    assert capsys.readouterr() == ("", f"leakguard: no kernel OOM kill in {path}\n")


def test_reports_without_a_victim_are_counted(tmp_path: Path, capsys: Capture) -> None:
    """A report that was cut is said to be there."""
    path = tmp_path / "cut.log"
    path.write_text("\n".join(LINES[:5]), encoding="utf-8")
    assert main(["oom-log", str(path)]) == 0
    assert f"{path}: OOM reports that name no victim (cut off, or a panic): 1" in (
        capsys.readouterr().err
    )


def test_a_reaper_without_its_kill_is_mentioned(tmp_path: Path, capsys: Capture) -> None:
    """It names somebody who died; the record of it is in another file."""
    path = tmp_path / "late.log"
    path.write_text("oom_reaper: reaped process 7 (x), now anon-rss:0kB\n", encoding="utf-8")
    assert main(["oom-log", str(path)]) == 0
    assert f"{path}: x (7) was reaped; the line of its kill is not here" in capsys.readouterr().err


def test_a_missing_file_does_not_hide_the_others(log: Path, capsys: Capture) -> None:
    """One line on stderr, the other file's kills, and exit code 2."""
    assert main(["oom-log", "/nonexistent/log", str(log)]) == 2
    said = capsys.readouterr()
    assert said.err == "leakguard: /nonexistent/log: No such file or directory\n"
    assert "big one (500) killed" in said.out


def test_a_folder(tmp_path: Path, capsys: Capture) -> None:
    """Not a log."""
    assert main(["oom-log", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"leakguard: {tmp_path}: Is a directory\n"


def test_files_and_journal(log: Path, capsys: Capture) -> None:
    """One or the other."""
    assert main(["oom-log", "--journal", str(log)]) == 2
    assert "leave out the files" in capsys.readouterr().err


def test_a_file_that_may_not_be_read(log: Path) -> None:
    """Exit code 77 and one line that says what would help."""
    log.chmod(0)
    code = (
        "import os, sys\nfrom leakguard.cli import _group, oom_log\n"
        "os.getuid() or os.setuid(65534)\nsys.exit(_group.run(['oom-log', sys.argv[1]]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(log)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 77
    assert ended.stderr == (
        f"leakguard: {log}: Permission denied: run as root, or as a member of the group that"
        " owns it\n"
    )


def test_a_device_gives_what_it_has_and_does_not_wait() -> None:
    """A terminal gives one line a read and then nothing, as /dev/kmsg does."""
    master, slave = os.openpty()
    try:
        os.write(master, b"one\ntwo\n")
        assert list(file_lines(os.ttyname(slave))) == ["one", "two"]
    finally:
        os.close(master)
        os.close(slave)


def printing(code: str) -> tuple[str, ...]:
    """Give a program in journalctl's place."""
    return (sys.executable, "-c", code)


def test_journal_is_read_line_by_line() -> None:
    """The last line counts without a newline too."""
    assert list(journal_lines(printing("print('one'); print('two', end='')"))) == ["one", "two"]


def test_journal_may_not_be_read() -> None:
    """What journalctl says is passed on, as a matter of permission."""
    code = "import sys; sys.exit('No journal files were opened due to insufficient permissions.')"
    with pytest.raises(PermissionRefused, match="insufficient permissions"):
        list(journal_lines(printing(code)))


def test_journal_fails() -> None:
    """Its words and its exit code."""
    with pytest.raises(LeakguardError, match="ended with 1: no such boot"):
        list(journal_lines(printing("import sys; sys.exit('no such boot')")))


def test_there_is_no_journal() -> None:
    """A machine without systemd."""
    with pytest.raises(UsageError, match="give a log file instead"):
        list(journal_lines(("/nonexistent/journalctl",)))


def test_a_reader_that_stops_ends_the_journal() -> None:
    """A program that would print for ever is ended with its reader."""
    reader = journal_lines(printing("while True: print('x' * 100)"))
    assert next(reader) == "x" * 100
    reader.close()
