"""What journald is asked, and what is made of its answer."""

import json
from pathlib import Path

import pytest

from leakguard.core.kills import Killer
from leakguard.linux import journal
from leakguard.testing.clock import FakeClock

CLOCK = FakeClock()
NOW = CLOCK.now()
KILLED = (
    "Out of memory: Killed process {pid} (app) total-vm:100kB, anon-rss:80kB, file-rss:10kB, "
    "shmem-rss:5kB, UID:5 pgtables:4kB oom_score_adj:7"
)
EARLYOOM = 'sending SIGTERM to process 71 uid 9 "py": badness 209, VmRSS 300 MiB'


def entry(message: object, ago_s: float, **fields: str) -> str:
    """Make an entry as `--output=json` prints it."""
    wall = f"{int((NOW.wall_s - ago_s) * 1e6)}"
    return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": wall, **fields})


def kernel(text: str, ago_s: float, stamp_s: float) -> str:
    """Make an entry of the kernel."""
    stamp = f"{int(stamp_s * 1e6)}"
    return entry(text, ago_s, _TRANSPORT="kernel", _SOURCE_MONOTONIC_TIMESTAMP=stamp)


def unit(name: str, message: object, ago_s: float = 2.0) -> str:
    """Make an entry of a service."""
    return entry(message, ago_s, _TRANSPORT="journal", _SYSTEMD_UNIT=name)


def test_a_journal_is_there_when_it_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """journalctl alone is none: in a container it finds no files."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    root, found = str(tmp_path), []
    found.append(journal.is_there(root))
    (programs / "journalctl").touch(mode=0o755)
    found.append(journal.is_there(root))
    (tmp_path / "var/log/journal/0").mkdir(parents=True)
    (tmp_path / "var/log/journal/0/system.journal").touch()
    found.append(journal.is_there(root))
    (programs / "journalctl").unlink()
    found.append(journal.is_there(root))
    assert found == [False, False, True, False]


def test_the_question_is_short_and_about_this_boot() -> None:
    """Only who kills for memory, and the kernel only where its own log cannot be read."""
    argv = journal.question(1_795_000_000.9, kernel=True)
    assert argv[:6] == (
        "journalctl",
        "--quiet",
        "--no-pager",
        "--boot",
        "--output=json",
        "--output-fields=MESSAGE,_TRANSPORT,_SYSTEMD_UNIT,_SOURCE_MONOTONIC_TIMESTAMP",
    )
    assert argv[6:] == (
        "--lines=4000",
        "--since=@1795000000",
        "_TRANSPORT=kernel",
        "+",
        "_SYSTEMD_UNIT=earlyoom.service",
        "+",
        "_SYSTEMD_UNIT=nohang.service",
        "+",
        "_SYSTEMD_UNIT=nohang-desktop.service",
        "+",
        "_SYSTEMD_UNIT=systemd-oomd.service",
    )
    assert "_TRANSPORT=kernel" not in journal.question(1.0, kernel=False)


def test_kills_of_all_killers_are_found() -> None:
    """With the time at which journald took them."""
    oomd = "Killed /s due to memory pressure for / being 1% > 0% for > 1s with reclaim activity"
    text = "\n".join(
        [
            kernel("eth0: link up", 9.0, 50.0),
            kernel(KILLED.format(pid=41), 3.0, 56.0),
            unit("earlyoom.service", EARLYOOM, 2.0),
            unit("systemd-oomd.service", oomd, 1.0),
        ]
    )
    kills = journal.answer(text, NOW)
    assert [(k.killer, k.pid, round(NOW.boot_s - (k.boot_s or 0), 2)) for k in kills] == [
        (Killer.KERNEL, 41, 3.0),
        (Killer.EARLYOOM, 71, 2.0),
        (Killer.SYSTEMD_OOMD, None, 1.0),
    ]


def test_the_kernels_clock_is_not_believed() -> None:
    """It stands still while the machine sleeps: here it is an hour behind."""
    (kill,) = journal.answer(kernel(KILLED.format(pid=41), 3.0, 56.0), NOW, foreign=True)
    assert (round(kill.boot_s or 0.0, 2), kill.foreign) == (round(NOW.boot_s - 3.0, 2), True)


def test_who_said_it_counts() -> None:
    """Anybody may write the words of earlyoom."""
    assert journal.answer(unit("app.service", EARLYOOM), NOW) == ()


def test_what_is_no_entry_is_left_out() -> None:
    """Hints of journalctl, a cut first line, a message that is no text, broken stamps."""
    text = "\n".join(
        [
            '_TRANSPORT":"kernel"}',
            "Hint: You are currently not seeing messages from other users",
            "[1]",
            "",
            unit("earlyoom.service", [1, 2]),
            json.dumps({"_SYSTEMD_UNIT": "earlyoom.service", "MESSAGE": EARLYOOM}),
            json.dumps({"MESSAGE": "x", "__REALTIME_TIMESTAMP": "9" * 40}),
        ]
    )
    assert [(k.pid, k.boot_s) for k in journal.answer(text, NOW)] == [(71, None)]
