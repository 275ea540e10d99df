"""The journal is asked in a thread, with an argv, a deadline and a bounded answer."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from leakguard.core.kills import NamedKill
from leakguard.linux.children import Children, run_here
from leakguard.runtime import kill_watch
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.kill_watch import Journal
from tests.workloads.guarded import until

EARLYOOM = 'sending SIGTERM to process 71 uid 9 "py": badness 209, VmRSS 300 MiB'
PATIENCE_S = 20.0


class Asked:
    """A journal of this machine whose `journalctl` is a script of ours."""

    def __init__(self, folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
        program = folder / "journalctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        self.told: list[NamedKill] = []
        self.done = threading.Event()
        clock = SystemClock()
        self.journal = Journal(Children(run_here, clock), clock, self._hear)
        self.began = self.journal.ask(clock.now().wall_s - 5.0, kernel=True, foreign=False)

    def _hear(self, kills: tuple[NamedKill, ...]) -> None:
        self.told += kills
        self.done.set()


def test_an_answer_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kills that the entries tell of."""
    entry = json.dumps({"_SYSTEMD_UNIT": "earlyoom.service", "MESSAGE": EARLYOOM})
    (tmp_path / "entries").write_text(f"{entry}\n")
    script = f'echo "$@" > {tmp_path}/argv; /bin/cat {tmp_path}/entries'
    asked = Asked(tmp_path, script, monkeypatch)
    assert asked.done.wait(PATIENCE_S)
    assert [kill.pid for kill in asked.told] == [71]
    assert "--output=json" in (tmp_path / "argv").read_text()


def test_one_question_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is open no other one is begun; afterwards it may be."""
    os.mkfifo(tmp_path / "fifo")
    asked = Asked(tmp_path, f"/bin/cat {tmp_path}/fifo", monkeypatch)
    assert (asked.began, asked.journal.ask(0.0, kernel=False, foreign=False)) == (True, False)
    (tmp_path / "fifo").write_text("no entry\n")
    assert asked.done.wait(PATIENCE_S)
    until(lambda: asked.journal.ask(0.0, kernel=False, foreign=False))
    asked.done.clear()
    (tmp_path / "fifo").write_text("")
    assert asked.done.wait(PATIENCE_S)


def test_a_journal_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed at the deadline, and the answer is empty."""
    monkeypatch.setattr(kill_watch, "ANSWER_S", 0.3)
    asked = Asked(tmp_path, "while :; do /bin/sleep 1; done", monkeypatch)
    assert asked.done.wait(PATIENCE_S)
    assert asked.told == []
